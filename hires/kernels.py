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
    ) -> Tensor:
        """Convolve ``x`` (B, C, H, W) with zero ``padding`` of (rows, columns)."""
        y = F.conv2d(x, weight, bias, padding=padding)
        if relu:
            y = y.relu_()
        ctx.save_for_backward(*((turned, y) if relu else (turned,)))
        ctx.padding = padding
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
        gradient = F.conv2d(gradient, turned, padding=(2 - rows, 2 - columns))
        return gradient, None, None, None, None, None


class MaxPool2x2(Function):
    """2×2 max pooling that finds its maxima again in backward instead of keeping int64 indices."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Pool ``x`` (B, C, H, W); an odd last row or column is dropped."""
        ctx.save_for_backward(x)
        return F.max_pool2d(x, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Send each gradient to the first maximum of its window, as PyTorch's own pooling does."""
        (gradient,) = gradients
        (x,) = ctx.saved_tensors
        _, indices = torch.ops.aten.max_pool2d_with_indices(x, [2, 2], [2, 2])
        return torch.ops.aten.max_pool2d_with_indices_backward(
            gradient, x, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
        )


class MomentSums(Function):
    """``Σf`` and ``Σf fᵀ`` over a window of features, in one node."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, window: tuple[slice, slice], dtype: torch.dtype, exact: bool
    ) -> tuple[Tensor, Tensor]:
        """Sum over ``features[..., *window]`` of (1, C, H, W); returns (C,) and (C, C) in ``dtype``."""
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
        gradient = torch.addmm(
            total.to(rows.dtype), rows, (product + product.T).to(rows.dtype)
        )
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


def as_rows(features: Tensor, window: tuple[slice, slice]) -> Tensor:
    """View (or copy) a window of (1, C, H, W) features as an (N, C) matrix, one row per position."""
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
# Up to this many channels a float32 product costs no more than the memory traffic around it.
_NARROW = 128


def row_sums(rows: Tensor, dtype: torch.dtype, *, exact: bool) -> tuple[Tensor, Tensor]:
    """``Σ row`` (C,) and ``Σ rowᵀ row`` (C, C) of an (N, C) matrix, added up in ``dtype``.

    With ``exact`` the products of half-precision rows are not rounded to half precision on their way
    out, which a covariance (the difference of two large numbers) cannot bear.
    """
    num_rows, num_channels = rows.shape
    half = rows.dtype in (torch.bfloat16, torch.float16)
    cast = half and (exact or num_channels <= _NARROW)
    total = torch.zeros(num_channels, dtype=dtype, device=rows.device)
    product = torch.zeros(num_channels, num_channels, dtype=dtype, device=rows.device)
    step = max((_BLOCK if rows.device.type == "cpu" else 64 * _BLOCK) // num_channels, 1)
    ones = torch.ones(1, min(step, num_rows), dtype=rows.dtype, device=rows.device)
    for block in rows.split(step):
        if rows.is_cuda and half:
            total += block.sum(0, dtype=torch.float32)
            product += torch.mm(block.T, block, out_dtype=torch.float32)
            continue
        wide = block.float() if cast else block
        # On a CPU a product with ones is many times faster than a sum over the outer dimension.
        total += (ones[:, : len(block)].to(wide.dtype) @ wide)[0]
        product += wide.T @ wide
    return total, product
