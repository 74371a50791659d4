"""The 3×3 convolutions of a frozen network, there and back, as plain functions of tensors.

Weights are laid out once, for every way in which a convolution is computed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Borders(NamedTuple):
    """A kernel's outer lines, laid out for the border of a replicated picture by `border_kernels`.

    Each is (2, 3·C, C'): first and last row (or column) of the kernel, and the same of the kernel
    turned round, for the way back.
    """

    rows: Tensor
    columns: Tensor
    turned_rows: Tensor
    turned_columns: Tensor


class Convolution(NamedTuple):
    """The weights of a frozen 3×3 convolution, laid out once for every way it is computed in.

    Attributes:
        weight: (C', C, 3, 3).
        bias: (C',).
        turned: (C, C', 3, 3), the kernel turned round and its channels exchanged, for the way back;
            maybe with channels of zeros after those.
        borders: of the kernel; they make padding replicate the border instead of being zero.
        quads: `quad_kernel` of ``turned``, for a faster way back to a picture of three channels.
    """

    weight: Tensor
    bias: Tensor
    turned: Tensor
    borders: Borders | None = None
    quads: Tensor | None = None


def convolve(
    x: Tensor,
    convolution: Convolution,
    padding: tuple[int, int],
    *,
    biased: bool = True,
    is_open: tuple[bool, bool] = (False, False),
) -> Tensor:
    """Convolve ``x`` (B, C, H, W) padded by (rows, columns) of zeros or of its own border.

    Where it ``is_open``, above or below, it has no border: rows that see beyond are left out.
    """
    bias = convolution.bias if biased else None
    if any(is_open):
        if all(is_open):
            return convolve(x, convolution, (0, padding[1]), biased=biased)
        # One row more is computed than is wanted, which costs less than a copy that is padded.
        y = convolve(x, convolution, padding, biased=biased)
        return y.narrow(2, int(is_open[0]), y.shape[2] - 1)
    y = F.conv2d(x, convolution.weight, bias, padding=padding)
    if convolution.borders is not None:
        _add_border(y, x, convolution.borders, padding)
    return y


def convolve_back(
    gradient: Tensor,
    convolution: Convolution,
    padding: tuple[int, int],
    *,
    is_open: tuple[bool, bool] = (False, False),
) -> Tensor:
    """The gradient of ``x`` from that (B, C', H', W') of what `convolve` makes of it."""
    if any(is_open):
        slope = convolve_back(gradient, convolution, (0, padding[1]))
        return slope if all(is_open) else _without_border(slope, convolution, at_end=is_open[0])
    rest = (2 - padding[0], 2 - padding[1])
    if convolution.quads is not None:
        slope = convolve_quads(gradient, convolution.quads, rest)
    else:
        slope = F.conv2d(gradient, convolution.turned, padding=rest)
        if len(convolution.turned) > convolution.weight.shape[1]:
            slope = slope[:, : convolution.weight.shape[1]]
    if convolution.borders is not None:
        _add_border_slope(slope, gradient, convolution.borders, padding)
    return slope


def _without_border(slope: Tensor, convolution: Convolution, *, at_end: bool) -> Tensor:
    """The gradient of an input from that of the same with its padding before or after it."""
    height = slope.shape[2] - 1
    if convolution.borders is not None:
        border, inner = (height, height - 1) if at_end else (0, 1)
        slope.select(2, inner).add_(slope.select(2, border))
    return slope.narrow(2, int(not at_end), height)


def quad_kernel(kernel: Tensor) -> Tensor:
    """Four kernels in one: (C', C, K, K) to (4·C', C, K + 1, K + 1), for a stride of two.

    A CPU computes 16 channels in the time of three. Four neighbouring pixels of three channels are
    12 channels of a quarter of the positions: half of the time.
    """
    after, before, side, _ = kernel.shape
    quads = kernel.new_zeros(2, 2, after, before, side + 1, side + 1)
    for row in (0, 1):
        for column in (0, 1):
            quads[row, column, :, :, row : row + side, column : column + side] = kernel
    return quads.flatten(0, 2)


def convolve_quads(
    x: Tensor, quads: Tensor, padding: tuple[int, int] = (0, 0), bias: Tensor | None = None
) -> Tensor:
    """Convolve zero-padded (B, C, H, W) with a `quad_kernel`, four pixels at a time."""
    # An odd number of lines is computed with one more before the first.
    odd = [length % 2 for length in x.shape[2:]]
    rows, columns = (pad + more for pad, more in zip(padding, odd, strict=True))
    biases = None if bias is None else bias.repeat(4)
    found = F.conv2d(x, quads, biases, stride=2, padding=(rows, columns))
    height, width = found.shape[2:]
    parts = found.view(len(x), 2, 2, -1, height, width)
    slope = parts.permute(0, 3, 4, 1, 5, 2).reshape(len(x), -1, 2 * height, 2 * width)
    return slope[:, :, odd[0] :, odd[1] :]


def border_kernels(weight: Tensor) -> Borders:
    """Lay out the outer lines of a kernel (C', C, 3, 3) for `convolve`, once."""
    turned = weight.flip(2, 3).transpose(0, 1)
    ends = (0, -1)
    return Borders(
        weight[:, :, ends].permute(2, 3, 1, 0).flatten(1, 2).contiguous(),
        weight[..., ends].permute(3, 2, 1, 0).flatten(1, 2).contiguous(),
        # The turned kernel has its lines in the opposite order.
        turned[:, :, ends].flip(2).permute(2, 3, 1, 0).flatten(1, 2).contiguous(),
        turned[..., ends].flip(3).permute(3, 2, 1, 0).flatten(1, 2).contiguous(),
    )


def _add_border(y: Tensor, x: Tensor, borders: Borders, padding: tuple[int, int]) -> None:
    """Add what replicated pixels contribute to a zero-padded convolution ``y`` of ``x``.

    Only the border sees them: a product for each pair of its lines takes the place of a padded copy
    of the whole.
    """
    rows, columns = padding
    if rows:
        lines = _end_lines(x, 2)
        if columns:
            lines = torch.cat([lines[:, :1], lines, lines[:, -1:]], 1)
        _add_end_lines(y, 2, _convolved(lines, borders.rows))
    if columns:
        lines = F.pad(_end_lines(x, 3), (0, 0, rows, rows))
        _add_end_lines(y, 3, _convolved(lines, borders.columns))


def _add_border_slope(
    slope: Tensor, gradient: Tensor, borders: Borders, padding: tuple[int, int]
) -> None:
    """Add to the gradient of the input what flows through its replicated pixels."""
    rows, columns = padding
    if rows:
        lines = F.pad(_end_lines(gradient, 2), (0, 0, 2, 2))
        part = _convolved(lines, borders.turned_rows)
        if columns:
            part[:, 1] += part[:, 0]
            part[:, -2] += part[:, -1]
            part = part[:, 1:-1]
        _add_end_lines(slope, 2, part)
    if columns:
        lines = F.pad(_end_lines(gradient, 3), (0, 0, 2 - rows, 2 - rows))
        _add_end_lines(slope, 3, _convolved(lines, borders.turned_columns))


def _end_lines(x: Tensor, axis: int) -> Tensor:
    """First and last row (axis 2) or column (axis 3) of (B, C, H, W), as (2·B, length, C)."""
    last = x.permute(0, 2, 3, 1)
    return torch.cat([last.select(axis - 1, 0), last.select(axis - 1, -1)])


def _add_end_lines(y: Tensor, axis: int, lines: Tensor) -> None:
    """Add (2·B, length, C) to the first and last row or column of (B, C, H, W)."""
    last, (first, second) = y.permute(0, 2, 3, 1), lines.chunk(2)
    last.select(axis - 1, 0).add_(first)
    last.select(axis - 1, -1).add_(second)


def _convolved(lines: Tensor, kernels: Tensor) -> Tensor:
    """Convolve the first half of the lines (2·B, length, C) with ``kernels[0]``, the rest with [1].

    A window of three positions is a row of a matrix whose rows overlap in memory, so that the
    convolution is one product, without copies and without the overhead of PyTorch's convolutions,
    which costs more than these few numbers.
    """
    num_lines, length, channels = lines.shape
    windows = lines.contiguous().as_strided(
        (num_lines, length - 2, 3 * channels), (length * channels, channels, 1)
    )
    if num_lines > 2:
        kernels = kernels.repeat_interleave(num_lines // 2, 0)
    return torch.bmm(windows, kernels)
