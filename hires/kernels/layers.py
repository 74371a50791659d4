"""The layers of a feature network as autograd nodes that save little, for frozen weights.

Each node keeps only what its backward needs: a convolution with ReLU one bit of each output, a
pooling one byte (`gradient_masks`). Feature maps stay in memory only where a loss looks at them.
All of them stay in channels-last, so that gradients meet in one layout.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.kernels.convolution import Convolution, convolve, convolve_back
from hires.kernels.fused import activate_, max_pool_2x2, pack_positive, pass_positive, unpool_2x2


def conv_relu(
    x: Tensor,
    convolution: Convolution,
    padding: tuple[int, int],
    *,
    relu: bool = True,
    seen: bool = False,
    biased: bool = True,
    is_open: tuple[bool, bool] = (False, False),
) -> Tensor:
    """3×3 convolution, bias and (optionally) ReLU in one node that keeps a bit of each output.

    Args:
        x: (B, C, H, W).
        convolution: the weights.
        padding: (rows, columns) of zeros or of the border of ``x``.
        relu: whether there is a ReLU.
        seen: a loss keeps the output, so nothing is kept for the ReLU.
        biased: whether the bias is added, which a `max_pool` may do in its place.
        is_open: whether there is no padding above and below.
    """
    y: Tensor = _ConvRelu.apply(x, convolution, padding, relu, seen, biased, is_open)
    return y


def relu(x: Tensor, *, seen: bool = False) -> Tensor:
    """A ReLU of its own, where a loss looks at the convolution before it; it keeps bits as well."""
    y: Tensor = _Relu.apply(x, seen)
    return y


def reflect_pad(
    x: Tensor, padding: tuple[int, int], *, is_open: tuple[bool, bool] = (False, False)
) -> Tensor:
    """Pad (B, C, H, W) by (rows, columns) of its reflection on either side that is not open.

    It keeps nothing: PyTorch's keeps its input, for its shape.
    """
    y: Tensor = _ReflectPad.apply(x, padding, is_open)
    return y


def max_pool(x: Tensor, *, relu: bool = False, bias: Tensor | None = None) -> Tensor:
    """2×2 max pooling, with or without a ReLU, that keeps a byte of each output.

    A bias (C,) is added to ``x`` first, maybe in place: nobody else may need ``x`` then.

    The ReLU of a maximum is the maximum of the ReLUs, at a quarter of the cost. An odd last row or
    column is dropped; each gradient goes to the first maximum of its window, as PyTorch's does.
    """
    y: Tensor = _MaxPool2x2.apply(x, relu, bias)
    return y


def looked_at(x: Tensor, rows: slice | None) -> tuple[Tensor, Tensor]:
    """A map (B, C, H, W) for the next layer, and some rows of it, or all, for whoever looks at it.

    The gradient of the rows is added to that of the map where it lies; PyTorch would first make a
    map of zeros around it.
    """
    if rows is None:
        return x, x
    found: tuple[Tensor, Tensor] = _LookedAt.apply(x, rows)
    return found


class _LookedAt(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.size, ctx.rows = x.shape, rows
        return x.view_as(x), x[..., rows, :]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        whole, part = gradients
        if part is None:
            return whole, None
        if whole is None:  # The deepest layer.
            whole = torch.empty(
                ctx.size,
                dtype=part.dtype,
                device=part.device,
                memory_format=torch.channels_last,
            ).zero_()
        whole[..., ctx.rows, :].add_(part)
        return whole, None


class _ConvRelu(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        convolution: Convolution,
        padding: tuple[int, int],
        relu: bool,
        seen: bool,
        biased: bool,
        is_open: tuple[bool, bool],
    ) -> Tensor:
        # A GPU adds the bias in a pass of its own, or else in that of the ReLU.
        late = relu and x.is_cuda
        y = convolve(x, convolution, padding, biased=biased and not late, is_open=is_open)
        if relu:
            is_packed = ctx.needs_input_grad[0] and not seen
            packed = activate_(y, convolution.bias if late else None, packed=is_packed)
            _save_switches(ctx, y if packed is None else packed, seen)
        ctx.convolution, ctx.padding, ctx.is_open, ctx.relu = convolution, padding, is_open, relu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = _through_relu(ctx, gradients[0]) if ctx.relu else gradients[0]
        slope = convolve_back(gradient, ctx.convolution, ctx.padding, is_open=ctx.is_open)
        return slope, None, None, None, None, None, None


class _Relu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seen: bool) -> Tensor:
        y = x.relu()
        is_packed = ctx.needs_input_grad[0] and not seen
        _save_switches(ctx, pack_positive(y) if is_packed else y, seen)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _through_relu(ctx, gradients[0]), None


def _save_switches(ctx: Any, kept: Tensor, seen: bool) -> None:
    """Save which way gradients go through a ReLU, if any will.

    That is its packed output, or the output itself if that is seen: whoever looks at it keeps it.
    """
    ctx.seen = seen
    if ctx.needs_input_grad[0]:
        ctx.save_for_backward(kept)


def _through_relu(ctx: Any, gradient: Tensor) -> Tensor:
    (kept,) = ctx.saved_tensors
    if not ctx.seen:
        return pass_positive(gradient, kept)
    passed: Tensor = torch.ops.aten.threshold_backward(gradient, kept, 0)
    return passed


class _ReflectPad(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, padding: tuple[int, int], is_open: tuple[bool, bool]
    ) -> Tensor:
        above, below = (padding[0] * (not side) for side in is_open)
        ctx.size, ctx.padding = x.shape, [padding[1], padding[1], above, below]
        return F.pad(x, ctx.padding, mode="reflect")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        shaped = torch.empty(
            ctx.size,
            dtype=gradient.dtype,
            device=gradient.device,
            memory_format=torch.channels_last,
        )
        slope = torch.ops.aten.reflection_pad2d_backward(gradient, shaped, ctx.padding)
        return slope, None, None


class _MaxPool2x2(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, relu: bool, bias: Tensor | None) -> Tensor:
        is_switched = ctx.needs_input_grad[0]
        pooled, switches = max_pool_2x2(x, relu=relu, switched=is_switched, bias=bias)
        if switches is not None:
            ctx.save_for_backward(switches)
        ctx.size = x.shape[2:]
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (switches,) = ctx.saved_tensors
        return unpool_2x2(gradients[0], switches, ctx.size), None, None
