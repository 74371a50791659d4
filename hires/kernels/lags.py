"""Products of pixels with their neighbours, summed over a picture: its autocorrelation.

Three colours make for products of three rows, which no matrix library is fast at. Pixels are
therefore laid out colour by colour, row after row, and read two at a time, a *group* of six
numbers: three groups side by side are then a row of a matrix, and hold all columns that a group is
multiplied with. Nothing is copied for it but the pixels themselves.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# How far apart the pixels of a product are at most, in rows and in columns.
REACH = 2
_GROUP = 2
_COLOURS = 3
_WIDTH = _GROUP * _COLOURS
# Rows that are multiplied in one go.
_ROWS = 8


def lag_sums(pixels: Tensor, rows: slice, dtype: torch.dtype) -> Tensor:
    """``R[y, x] = Σₚ v(p) v(p + (y, x - 2))ᵀ`` over pixels p of some rows, zero beyond the picture.

    Args:
        pixels: (1, 3, h, w): those rows, and up to two more before and after them.
        rows: which they are.
        dtype: type of the sums.

    Returns:
        (3, 5, 3, 3): lags of 0 to 2 rows, of -2 to 2 columns, and both colours. Its gradient along
        the pixels is `lag_gradient`.
    """
    found: Tensor = _LagSums.apply(pixels, rows, dtype)
    return found


def lag_gradient(pixels: Tensor, rows: slice, slope: Tensor) -> Tensor:
    """Gradient of a function of `lag_sums` along the pixels of some rows.

    It is that of the sums over the whole picture, to which the rows before and after add; these
    get none. A convolution of the pixels with the slopes, each both ways.

    Args:
        pixels: as for `lag_sums`.
        rows: likewise.
        slope: (3, 5, 3, 3), of the function along the sums.

    Returns:
        (1, 3, h, w).
    """
    gradient = torch.zeros_like(pixels)
    if rows.start == rows.stop:
        return gradient
    laid, stride = _laid_out(pixels, rows)
    num_rows, width = rows.stop - rows.start + 2 * REACH, pixels.shape[3]
    groups = laid.flatten()[: num_rows * stride].view(1, num_rows, -1, _WIDTH)
    found = F.conv2d(groups.permute(0, 3, 1, 2), _kernel(slope.to(laid.dtype)), padding=(0, 1))
    found = found.permute(0, 2, 3, 1).reshape(1, rows.stop - rows.start, -1, _COLOURS)
    gradient[..., rows, :] = found[:, :, REACH : REACH + width].permute(0, 3, 1, 2)
    return gradient


class _LagSums(Function):
    """`lag_sums` as a node that keeps nothing but the pixels."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, rows: slice, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(pixels)
        ctx.rows = rows
        laid, stride = _laid_out(pixels, rows)
        flat, num_rows = laid.flatten(), rows.stop - rows.start
        whole = num_rows // _ROWS * _ROWS
        total = _products(flat, stride, REACH, whole // _ROWS, _ROWS, dtype)
        total += _products(flat, stride, REACH + whole, 1, num_rows - whole, dtype)
        total = total.view(REACH + 1, _GROUP, _COLOURS, 3 * _GROUP, _COLOURS)
        # The pixel at place i of its group meets the one at place j of three groups at i + lag.
        parts = [total[:, i, :, i : i + 2 * REACH + 1].transpose(1, 2) for i in range(_GROUP)]
        return torch.stack(parts).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (pixels,) = ctx.saved_tensors
        return lag_gradient(pixels, ctx.rows, gradients[0]), None, None


def _products(
    flat: Tensor, stride: int, first: int, num_blocks: int, num_rows: int, dtype: torch.dtype
) -> Tensor:
    """Products of groups with three groups each, one row block after the other, (3, 6, 18)."""
    length, row = num_rows * stride, 3 * _WIDTH
    shape, steps = (num_blocks, length // row), (length, row, 1)
    found = flat.new_zeros(REACH + 1, num_blocks, _WIDTH, row)
    for lag in range(REACH + 1):
        for phase in range(3):
            start = first * stride + phase * _WIDTH
            ones = flat.as_strided((*shape, _WIDTH), steps, start + _WIDTH)
            others = flat.as_strided((*shape, row), steps, start + lag * stride)
            torch.baddbmm(found[lag], ones.transpose(1, 2), others, out=found[lag])
    return found.sum(1, dtype=dtype)


def _laid_out(pixels: Tensor, rows: slice) -> tuple[Tensor, int]:
    """Rows with two before and after them, (rows, columns, 3), zero beyond the picture.

    Returns:
        That, a row of zeros after it, and how many numbers a row has.
    """
    height, width = pixels.shape[2:]
    num_rows = rows.stop - rows.start
    columns = -(-(width + 2 * REACH) // (3 * _GROUP)) * 3 * _GROUP
    laid = pixels.new_zeros(num_rows + 2 * REACH + 1, columns, _COLOURS)
    first, last = max(rows.start - REACH, 0), min(rows.stop + REACH, height)
    at = first - rows.start + REACH
    laid[at : at + last - first, REACH : REACH + width] = pixels[0, :, first:last].permute(1, 2, 0)
    return laid, columns * _COLOURS


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
