"""The few tensor operations that every step spends its time in, as autograd nodes that save little.

Each node keeps only what its backward needs: a convolution with ReLU keeps its output, a pooling
keeps its input (which is the output that the convolution before it keeps anyway), and no node ever
computes a gradient for weights. All of them stay in channels-last, so that gradients meet in one
layout.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class ConvRelu(Function):
    """3×3 convolution, bias and (optionally) ReLU in one node that keeps only its output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        turned: Tensor,
        padding: tuple[int, int],
        relu: bool,
        replicate: bool,
    ) -> Tensor:
        """Convolve ``x`` (B, C, H, W) padded by (rows, columns) of zeros or of its own border."""
        y = F.conv2d(x, weight, bias, padding=padding)
        if replicate:
            _add_border(y, x, weight, padding)
        if relu:
            y = y.relu_()
        ctx.save_for_backward(*((turned, y) if relu else (turned,)))
        ctx.padding, ctx.replicate = padding, replicate
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of the input: the masked gradient convolved with the turned kernel."""
        (gradient,) = gradients
        turned, *saved = ctx.saved_tensors
        if saved:
            gradient = torch.ops.aten.threshold_backward(gradient, saved[0], 0)
        rows, columns = ctx.padding
        slope = F.conv2d(gradient, turned, padding=(2 - rows, 2 - columns))
        if ctx.replicate:
            _add_border_slope(slope, gradient, turned, ctx.padding)
        return slope, None, None, None, None, None, None


# First and last line of a picture, each with the line of a 3x3 kernel that lies beyond it.
_ENDS = ((slice(0, 1), slice(0, 1)), (slice(-1, None), slice(2, 3)))


def _add_border(y: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> None:
    """Add what replicated pixels contribute to a zero-padded convolution ``y`` of ``x``.

    Four thin convolutions of the border take the place of a padded copy of the whole.
    """
    rows, columns = padding
    for line, beyond in _ENDS if rows else ():
        strip = F.pad(x[:, :, line], (columns, columns, 0, 0), mode="replicate")
        y[:, :, line] += F.conv2d(strip, weight[:, :, beyond])
    for line, beyond in _ENDS if columns else ():
        y[..., line] += F.conv2d(x[..., line], weight[..., beyond], padding=(rows, 0))


def _add_border_slope(
    slope: Tensor, gradient: Tensor, turned: Tensor, padding: tuple[int, int]
) -> None:
    """Add to the gradient of the input what flows through its replicated pixels."""
    rows, columns = padding
    # The turned kernel has its lines in the opposite order.
    ends = [(line, _ENDS[1 - i][1]) for i, (line, _) in enumerate(_ENDS)]
    for line, beyond in ends if rows else ():
        strip = F.conv2d(gradient[:, :, line], turned[:, :, beyond], padding=(0, 2))
        if columns:
            strip[..., 1] += strip[..., 0]
            strip[..., -2] += strip[..., -1]
            strip = strip[..., 1:-1]
        slope[:, :, line] += strip
    for line, beyond in ends if columns else ():
        slope[..., line] += F.conv2d(
            gradient[..., line], turned[..., beyond], padding=(2 - rows, 0)
        )


class MaxPool2x2(Function):
    """2×2 max pooling that finds its maxima again in backward instead of keeping int64 indices."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Pool ``x`` (B, C, H, W); an odd last row or column is dropped."""
        ctx.save_for_backward(x)
        if x.is_cuda:
            return F.max_pool2d(x, 2)
        # On a CPU four strided views are compared several times faster than PyTorch pools.
        height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
        return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Send each gradient to the first maximum of its window, as PyTorch's own pooling does."""
        (gradient,) = gradients
        (x,) = ctx.saved_tensors
        _, indices = torch.ops.aten.max_pool2d_with_indices(x, [2, 2], [2, 2])
        spread: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient, x, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
        )
        return spread


class MomentSums(Function):
    """``Σf`` and ``Σf fᵀ`` over a window of features, in one node."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, window: tuple[slice, slice], dtype: torch.dtype, exact: bool
    ) -> tuple[Tensor, Tensor]:
        """Sum ``features[..., *window]`` of (1, C, H, W) to (C,) and (C, C) in ``dtype``."""
        ctx.save_for_backward(features)
        ctx.window = window
        return row_sums(as_rows(features, window), dtype, exact=exact)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``f (Ḡ + Ḡᵀ) + ḡ`` inside the window, nothing outside."""
        total, product = gradients
        (features,) = ctx.saved_tensors
        rows = as_rows(features, ctx.window)
        gradient = torch.addmm(total.to(rows.dtype), rows, (product + product.T).to(rows.dtype))
        return from_rows(gradient, features, ctx.window), None, None, None


class SquaredError(Function):
    """Sum of squared differences between a window of features and a target, in one node."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        window: tuple[slice, slice],
        target: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        """Compare ``features[..., *window]`` (1, C, h, w) with ``target`` of that shape."""
        wide = torch.promote_types(features.dtype, torch.float32)
        difference = features[..., *window] - target.to(features.dtype)
        ctx.save_for_backward(features, difference)
        ctx.window = window
        flat = difference.to(wide).flatten()
        return torch.dot(flat, flat).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``2 (f - target)`` inside the window, nothing outside."""
        (gradient,) = gradients
        features, difference = ctx.saved_tensors
        scaled = difference * (2 * gradient).to(difference.dtype)
        return place(scaled, features, ctx.window), None, None, None


def conv_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    turned: Tensor,
    padding: tuple[int, int],
    relu: bool,
    *,
    replicate: bool = False,
) -> Tensor:
    """Apply `ConvRelu`; ``turned`` is the kernel turned round, its channels exchanged."""
    y: Tensor = ConvRelu.apply(x, weight, bias, turned, padding, relu, replicate)
    return y


def max_pool(x: Tensor) -> Tensor:
    """Apply `MaxPool2x2`."""
    y: Tensor = MaxPool2x2.apply(x)
    return y


def moment_sums(
    features: Tensor, window: tuple[slice, slice], dtype: torch.dtype, *, exact: bool
) -> tuple[Tensor, Tensor]:
    """Apply `MomentSums`."""
    sums: tuple[Tensor, Tensor] = MomentSums.apply(features, window, dtype, exact)
    return sums


def squared_error(
    features: Tensor, window: tuple[slice, slice], target: Tensor, dtype: torch.dtype
) -> Tensor:
    """Apply `SquaredError`."""
    total: Tensor = SquaredError.apply(features, window, target, dtype)
    return total


def as_rows(features: Tensor, window: tuple[slice, slice]) -> Tensor:
    """View (or copy) a window of (1, C, H, W) features as (N, C), one row per position."""
    return features[0, :, *window].permute(1, 2, 0).reshape(-1, features.shape[1])


def from_rows(rows: Tensor, like: Tensor, window: tuple[slice, slice]) -> Tensor:
    """Undo `as_rows`: a tensor shaped like ``like`` that is zero outside of the window."""
    height, width = like[0, 0, *window].shape
    return place(rows.view(1, height, width, -1).permute(0, 3, 1, 2), like, window)


def place(values: Tensor, like: Tensor, window: tuple[slice, slice]) -> Tensor:
    """Set ``values`` into zeros shaped and laid out like ``like``; no copy if they fill it."""
    if values.shape == like.shape:
        return values
    full = torch.zeros_like(like)
    full[..., *window] = values
    return full


# Elements per partial sum. A float32 sum over a million positions loses three digits; partial sums
# added up in a wider type keep the error of the whole at that of one part. This many also stay in a
# processor's cache while they are cast, summed and multiplied.
_BLOCK = 2**20
# Elements of the rows that are summed side by side.
_ABREAST = 2**13
# Up to this many channels a float32 product costs no more than the memory traffic around it.
_NARROW = 32


def column_sums(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum of the rows of (N, C), in ``dtype``.

    A product with ones: on a CPU it is many times faster than a sum over the outer dimension. It
    adds up every column in one chain, and a long one drifts in float32 (by 6e-4 for 65,536 equal
    values, a blank sky); so several rows are laid side by side, which makes the chains short.
    """
    num_rows, num_channels = rows.shape
    abreast = max(_ABREAST // num_channels, 1)
    whole = num_rows // abreast * abreast
    wide = rows[:whole].reshape(-1, abreast * num_channels)
    sums = torch.ones(1, len(wide), dtype=rows.dtype, device=rows.device) @ wide
    rest = rows[whole:].sum(0, dtype=dtype)
    return rest + sums.view(abreast, num_channels).sum(0, dtype=dtype)


def row_sums(rows: Tensor, dtype: torch.dtype, *, exact: bool) -> tuple[Tensor, Tensor]:
    """``Σ row`` (C,) and ``Σ rowᵀ row`` (C, C) of an (N, C) matrix, added up in ``dtype``.

    With ``exact`` the products of half-precision rows are not rounded to half precision on their
    way out, which a covariance (the difference of two large numbers) cannot bear.
    """
    num_channels = rows.shape[1]
    half = rows.dtype in (torch.bfloat16, torch.float16)
    cast = half and (exact or num_channels <= _NARROW)
    total = torch.zeros(num_channels, dtype=dtype, device=rows.device)
    product = torch.zeros(num_channels, num_channels, dtype=dtype, device=rows.device)
    step = max((_BLOCK if rows.device.type == "cpu" else 64 * _BLOCK) // num_channels, 1)
    for block in torch.split(rows, step):
        if rows.is_cuda and half:
            total += block.sum(0, dtype=torch.float32)
            product += torch.mm(block.T, block, out_dtype=torch.float32)
            continue
        wide = block.float() if cast else block
        total += column_sums(wide, dtype)
        product += wide.T @ wide
    return total, product
