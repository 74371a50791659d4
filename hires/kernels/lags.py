"""Products of pixels with their neighbours, summed over a picture: its autocorrelation.

Three colours make for matrix products of three rows, which no library is fast at. Pixels are
therefore laid out colour by colour, row after row, and read two at a time, a *group* of six
numbers: three groups side by side are a row of a matrix that holds all columns which the middle one
is multiplied with. Nothing is copied for it but the pixels themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# How far apart the pixels of a product are at most, in rows and in columns.
REACH = 2
# Shape of what is summed: lags of rows, lags of columns, colours of both pixels.
LAGS = (REACH + 1, 2 * REACH + 1, 3, 3)
_GROUP = 2
_COLOURS = 3
_WIDTH = _GROUP * _COLOURS
# Rows that are multiplied in one go.
_ROWS = 8


@dataclass(frozen=True, slots=True, eq=False)
class PixelRows:
    """Pixels row after row, with zeros around them, and a further row of zeros at the end.

    Attributes:
        padded: (2 + h + 2 + 1, columns, 3); the columns fill whole rows of matrices.
        size: ``(h, w)`` of what is not padding.
    """

    padded: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, pixels: Tensor) -> PixelRows:
        """Those of a picture (1, 3, h, w), copied."""
        height, width = pixels.shape[2:]
        columns = -(-(width + 2 * REACH) // (3 * _GROUP)) * 3 * _GROUP
        padded = pixels.new_empty(height + 2 * REACH + 1, columns, _COLOURS)
        padded[:REACH] = 0
        padded[REACH + height :] = 0
        padded[:, :REACH] = 0
        padded[:, REACH + width :] = 0
        inside = padded[REACH : REACH + height, REACH : REACH + width]
        for colour, plane in enumerate(pixels[0]):  # Faster than all at once, on a CPU.
            inside[..., colour] = plane
        return cls(padded, (height, width))


def lag_sums(pixels: PixelRows, rows: slice, dtype: torch.dtype, *, border: int = 0) -> Tensor:
    """``R[y, x] = Σₚ v(p) v(p + (y, x - 2))ᵀ`` over pixels p of some rows, zero beyond the picture.

    Args:
        pixels: those rows, and up to two more before and after them where the picture goes on.
        rows: which they are.
        dtype: type of the sums.
        border: columns on either side that are no p, only neighbours of some.

    Returns:
        (3, 5, 3, 3): lags of 0 to 2 rows, of -2 to 2 columns, and both colours.
    """
    num_rows = rows.stop - rows.start
    whole = num_rows // _ROWS * _ROWS
    ones = pixels.padded
    if border:
        ones = ones.clone()
        ones[:, : REACH + border] = 0
        ones[:, REACH + pixels.size[1] - border :] = 0
    total = _products(ones, pixels.padded, rows.start, whole // _ROWS, _ROWS, dtype)
    if num_rows > whole:
        rest = num_rows - whole
        total += _products(ones, pixels.padded, rows.start + whole, 1, rest, dtype)
    total = total.view(REACH + 1, _GROUP, _COLOURS, 3 * _GROUP, _COLOURS)
    # The pixel at place i of its group meets the one at place j of three groups at i + lag.
    parts = [total[:, i, :, i : i + 2 * REACH + 1].transpose(1, 2) for i in range(_GROUP)]
    return torch.stack(parts).sum(0)


def _products(
    ones: Tensor, others: Tensor, first: int, num_blocks: int, num_rows: int, dtype: torch.dtype
) -> Tensor:
    """Products of groups with three groups each, one block of rows after the other, (3, 6, 18)."""
    stride = others.stride(0)
    length, row = num_rows * stride, 3 * _WIDTH
    shape, steps = (num_blocks, length // row), (length, row, 1)
    found = others.new_zeros(REACH + 1, num_blocks, _WIDTH, row)
    for lag in range(REACH + 1):
        for phase in range(3):
            start = (REACH + first) * stride + phase * _WIDTH
            left = ones.as_strided((*shape, _WIDTH), steps, start + _WIDTH)
            right = others.as_strided((*shape, row), steps, start + lag * stride)
            torch.baddbmm(found[lag], left.transpose(1, 2), right, out=found[lag])
    return found.sum(1, dtype=dtype)


def lag_slopes(pixels: PixelRows, rows: slice, slope: Tensor) -> Tensor:
    """The slope of a function of `lag_sums` of a whole picture along the pixels of some rows.

    Args:
        pixels: those rows, and two more before and after them where the picture goes on.
        rows: which they are.
        slope: (3, 5, 3, 3), that along the sums.

    Returns:
        (rows, w, 3).
    """
    height, width = rows.stop - rows.start, pixels.size[1]
    around = pixels.padded[rows.start : rows.stop + 2 * REACH]
    groups = around.view(1, height + 2 * REACH, -1, _WIDTH).permute(0, 3, 1, 2)
    found = F.conv2d(groups, _kernel(slope.to(around.dtype)), padding=(0, 1))
    return found.permute(0, 2, 3, 1).reshape(height, -1, _COLOURS)[:, REACH : REACH + width]


def _kernel(slope: Tensor) -> Tensor:
    """Slopes (3, 5, 3, 3) along lags as a convolution of groups, (6, 6, 5, 3)."""
    lags = 2 * REACH + 1
    both = slope.new_zeros(lags, lags, _COLOURS, _COLOURS)
    both[REACH:] += slope
    both[: REACH + 1] += slope.flip(0, 1).transpose(2, 3)
    kernel = slope.new_zeros(_GROUP, _COLOURS, 3 * _GROUP, _COLOURS, lags)
    for i in range(_GROUP):
        kernel[i, :, i : i + lags] = both.permute(2, 1, 3, 0)
    kernel = kernel.view(_WIDTH, 3, _WIDTH, lags).permute(0, 2, 3, 1)
    return kernel.contiguous(memory_format=torch.channels_last)
