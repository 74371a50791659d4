"""The few tensor operations that every step spends its time in, as autograd nodes that save little.

Each node keeps only what its backward needs: a convolution with ReLU keeps one bit of each output,
a pooling one byte (`hires.kernels.gradient_masks`), and no node ever computes a gradient for
weights. Feature maps stay in memory only where a loss looks at them. All of them stay in
channels-last, so that gradients meet in one layout.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.kernels.convolution import Convolution, convolve, convolve_back
from hires.kernels.gradient_masks import max_pool_2x2, pack_positive, pass_positive, unpool_2x2


class ConvRelu(Function):
    """3×3 convolution, bias and (optionally) ReLU in one node that keeps a bit of each output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        convolution: Convolution,
        padding: tuple[int, int],
        relu: bool,
        seen: bool,
    ) -> Tensor:
        """Convolve ``x`` (B, C, H, W) padded by (rows, columns) of zeros or of its own border."""
        y = convolve(x, convolution, padding)
        if relu:
            y = y.relu_()
            _save_switches(ctx, y, seen)
        ctx.convolution, ctx.padding, ctx.relu = convolution, padding, relu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of the input: the masked gradient convolved with the turned kernel."""
        gradient = _through_relu(ctx, gradients[0]) if ctx.relu else gradients[0]
        slope = convolve_back(gradient, ctx.convolution, ctx.padding)
        return slope, None, None, None, None


class Relu(Function):
    """A ReLU of its own, where a loss looks at the convolution before it; it keeps bits as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seen: bool) -> Tensor:
        """Set what is negative in ``x`` (B, C, H, W) to zero."""
        y = x.relu()
        _save_switches(ctx, y, seen)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Nothing where the output was zero."""
        return _through_relu(ctx, gradients[0]), None


def _save_switches(ctx: Any, y: Tensor, seen: bool) -> None:
    """Save which way gradients go through a ReLU, if any will; ``y`` is what came out of it."""
    ctx.seen = seen
    if ctx.needs_input_grad[0]:
        # Whoever looks at the output keeps it already.
        ctx.save_for_backward(y if seen else pack_positive(y))


def _through_relu(ctx: Any, gradient: Tensor) -> Tensor:
    (kept,) = ctx.saved_tensors
    if not ctx.seen:
        return pass_positive(gradient, kept)
    passed: Tensor = torch.ops.aten.threshold_backward(gradient, kept, 0)
    return passed


class ReflectPad(Function):
    """Padding by reflection that keeps nothing: PyTorch's keeps its input, for its shape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: tuple[int, int]) -> Tensor:
        """Pad ``x`` (B, C, H, W) by (rows, columns) on either side."""
        rows, columns = padding
        ctx.size, ctx.padding = x.shape, [columns, columns, rows, rows]
        return F.pad(x, ctx.padding, mode="reflect")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Add up what the copies of each pixel receive."""
        (gradient,) = gradients
        shaped = torch.empty(
            ctx.size,
            dtype=gradient.dtype,
            device=gradient.device,
            memory_format=torch.channels_last,
        )
        slope = torch.ops.aten.reflection_pad2d_backward(gradient, shaped, ctx.padding)
        return slope, None


class MaxPool2x2(Function):
    """2×2 max pooling, with or without a ReLU, that keeps a byte of each output.

    The ReLU of a maximum is the maximum of the ReLUs, at a quarter of the cost, forward and back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, relu: bool) -> Tensor:
        """Pool ``x`` (B, C, H, W); an odd last row or column is dropped."""
        pooled, switches = max_pool_2x2(x, relu=relu, switched=ctx.needs_input_grad[0])
        if switches is not None:
            ctx.save_for_backward(switches)
        ctx.size = x.shape[2:]
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Send each gradient to the first maximum of its window, as PyTorch's own pooling does."""
        (switches,) = ctx.saved_tensors
        return unpool_2x2(gradients[0], switches, ctx.size), None


class MomentSums(Function):
    """``Σ m f`` and ``Σ m f fᵀ`` of features, in one node."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, dtype: torch.dtype, exact: bool, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Sum (1, C, H, W), weighted by (1, 1, H, W) or alike, to (C,) and (C, C) in ``dtype``."""
        ctx.save_for_backward(features)
        ctx.mask = mask
        rows = as_rows(features)
        if mask is None:
            return row_sums(rows, dtype, exact=exact)
        return weighted_row_sums(rows, as_rows(mask), dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``m (f (Ḡ + Ḡᵀ) + ḡ)``."""
        total, product = gradients
        (features,) = ctx.saved_tensors
        # The matrix is symmetric, so it does not matter that `linear` transposes it.
        matrix, shift = (product + product.T).to(features.dtype), total.to(features.dtype)
        slope = F.linear(as_rows(features), matrix, shift)
        if ctx.mask is not None:
            slope.mul_(as_rows(ctx.mask).to(slope.dtype))
        height, width = features.shape[2:]
        return slope.view(1, height, width, -1).permute(0, 3, 1, 2), None, None, None


class SquaredError(Function):
    """``Σ m (f - target)²`` of features, in one node."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, target: Tensor, dtype: torch.dtype, mask: Tensor | None
    ) -> Tensor:
        """Compare (1, C, H, W) with a target of that shape; weighted by (1, 1, H, W) or alike."""
        wide = torch.promote_types(features.dtype, torch.float32)
        target = target.to(features.dtype)
        # Both are kept by others: their difference is made again rather than kept as well.
        ctx.save_for_backward(features)
        ctx.target, ctx.mask = target, mask
        difference = (features - target).to(wide)
        if mask is not None:
            difference.mul_(mask.to(wide).sqrt())
        flat = difference.flatten()
        return torch.dot(flat, flat).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``2 m (f - target)``."""
        (gradient,) = gradients
        (features,) = ctx.saved_tensors
        slope = torch.sub(features, ctx.target, out=torch.empty_like(features))
        if ctx.mask is not None:
            slope.mul_(ctx.mask.to(slope.dtype))
        return slope.mul_((2 * gradient).to(features.dtype)), None, None, None


def conv_relu(
    x: Tensor,
    convolution: Convolution,
    padding: tuple[int, int],
    *,
    relu: bool = True,
    seen: bool = False,
) -> Tensor:
    """Apply `ConvRelu`; ``seen``: a loss keeps the output, so nothing is kept for the ReLU."""
    y: Tensor = ConvRelu.apply(x, convolution, padding, relu, seen)
    return y


def relu(x: Tensor, *, seen: bool = False) -> Tensor:
    """Apply `Relu`; ``seen`` as in `conv_relu`."""
    y: Tensor = Relu.apply(x, seen)
    return y


def reflect_pad(x: Tensor, padding: tuple[int, int]) -> Tensor:
    """Apply `ReflectPad`."""
    y: Tensor = ReflectPad.apply(x, padding)
    return y


def max_pool(x: Tensor, *, relu: bool = False) -> Tensor:
    """Apply `MaxPool2x2`."""
    y: Tensor = MaxPool2x2.apply(x, relu)
    return y


def moment_sums(
    features: Tensor, dtype: torch.dtype, *, exact: bool, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Apply `MomentSums`."""
    sums: tuple[Tensor, Tensor] = MomentSums.apply(features, dtype, exact, mask)
    return sums


def squared_error(
    features: Tensor, target: Tensor, dtype: torch.dtype, *, mask: Tensor | None = None
) -> Tensor:
    """Apply `SquaredError`."""
    total: Tensor = SquaredError.apply(features, target, dtype, mask)
    return total


def as_rows(features: Tensor) -> Tensor:
    """View (or copy) (1, C, H, W) features as (N, C), one row per position."""
    return features[0].permute(1, 2, 0).reshape(-1, features.shape[1])


# Elements per partial sum. A float32 sum over a million positions loses three digits; partial sums
# added up in a wider type keep the error of the whole at that of one part. This many also stay in a
# processor's cache while they are cast, summed and multiplied.
_BLOCK = 2**20
# Elements of the rows that are summed side by side.
_ABREAST = 2**13
# Up to this many channels a float32 product costs no more than the memory traffic around it.
_NARROW = 32


def _at_a_time(device: torch.device) -> int:
    """Elements that are summed in one go: a GPU wants more of them."""
    return _BLOCK if device.type == "cpu" else 64 * _BLOCK


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
    step = max(_at_a_time(rows.device) // num_channels, 1)
    for block in torch.split(rows, step):
        if rows.is_cuda and half:
            total += block.sum(0, dtype=torch.float32)
            product += torch.mm(block.T, block, out_dtype=torch.float32)
            continue
        wide = block.float() if cast else block
        total += column_sums(wide, dtype)
        product += wide.T @ wide
    return total, product


def weighted_row_sums(rows: Tensor, mask: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """``Σ m row`` (C,) and ``Σ m rowᵀ row`` (C, C) of (N, C) rows, weighted by (N, 1).

    Sums are added up in ``dtype``. Products are never rounded to half precision, and the matrix is
    that of rows times ``√m``: symmetric and positive, whatever rounding does.
    """
    num_channels = rows.shape[1]
    wide = torch.promote_types(rows.dtype, torch.float32)
    total = torch.zeros(num_channels, dtype=dtype, device=rows.device)
    product = torch.zeros(num_channels, num_channels, dtype=dtype, device=rows.device)
    step = max(_at_a_time(rows.device) // num_channels, 1)
    for block, weights in zip(torch.split(rows, step), torch.split(mask, step), strict=True):
        roots = weights.to(wide).sqrt()
        weighted = block.to(wide) * roots
        product += weighted.T @ weighted
        total += column_sums(weighted.mul_(roots), dtype)
    return total, product
