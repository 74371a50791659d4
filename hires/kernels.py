"""The few tensor operations that every step spends its time in, as autograd nodes that save little.

Each node keeps only what its backward needs: a convolution with ReLU keeps one bit of each output,
a pooling one byte (`hires.switches`), and no node ever computes a gradient for weights. Feature
maps stay in memory only where a loss looks at them. All of them stay in channels-last, so that
gradients meet in one layout.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.switches import max_pool_2x2, pack_positive, pass_positive, unpool_2x2
from hires.winograd import winograd_conv


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
        turned: (C, C', 3, 3), the kernel turned round and its channels exchanged, for the way back.
        borders: of the kernel; they make padding replicate the border instead of being zero.
        quads: `quad_kernel` of ``turned``, for a faster way back to a picture of three channels.
        mapped: `winograd_kernel` of ``weight`` and of ``turned``, where that is faster.
    """

    weight: Tensor
    bias: Tensor
    turned: Tensor
    borders: Borders | None = None
    quads: Tensor | None = None
    mapped: tuple[Tensor, Tensor] | None = None


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
        if convolution.mapped is not None:
            y = winograd_conv(x, convolution.mapped[0], convolution.bias, padding)
        else:
            y = F.conv2d(x, convolution.weight, convolution.bias, padding=padding)
        if convolution.borders is not None:
            _add_border(y, x, convolution.borders, padding)
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
        convolution: Convolution = ctx.convolution
        rows, columns = ctx.padding
        rest = (2 - rows, 2 - columns)
        if convolution.mapped is not None:
            slope = winograd_conv(gradient, convolution.mapped[1], None, rest)
        else:
            slope = _convolve(gradient, convolution.turned, rest, convolution.quads)
        if convolution.borders is not None:
            _add_border_slope(slope, gradient, convolution.borders, ctx.padding)
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


def quad_kernel(kernel: Tensor) -> Tensor:
    """Four 3×3 kernels in one: (C', C, 3, 3) to (4·C', C, 4, 4), for a stride of two.

    A CPU computes 16 channels in the time of three. Four neighbouring pixels of three channels are
    12 channels of a quarter of the positions: half of the time.
    """
    after, before = kernel.shape[:2]
    quads = kernel.new_zeros(2, 2, after, before, 4, 4)
    for row in (0, 1):
        for column in (0, 1):
            quads[row, column, :, :, row : row + 3, column : column + 3] = kernel
    return quads.flatten(0, 2)


def _convolve(x: Tensor, kernel: Tensor, padding: tuple[int, int], quads: Tensor | None) -> Tensor:
    """Convolve with a kernel, four pixels at a time where its `quad_kernel` is given."""
    if quads is None:
        return F.conv2d(x, kernel, padding=padding)
    # An odd number of lines is computed with one more before the first.
    odd = [length % 2 for length in x.shape[2:]]
    rows, columns = (pad + more for pad, more in zip(padding, odd, strict=True))
    found = F.conv2d(x, quads, stride=2, padding=(rows, columns))
    height, width = found.shape[2:]
    parts = found.view(len(x), 2, 2, -1, height, width)
    slope = parts.permute(0, 3, 4, 1, 5, 2).reshape(len(x), -1, 2 * height, 2 * width)
    return slope[:, :, odd[0] :, odd[1] :]


def border_kernels(weight: Tensor) -> Borders:
    """Lay out the outer lines of a kernel (C', C, 3, 3) for `conv_relu`, once."""
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
    """``Σf`` and ``Σf fᵀ`` of features, in one node."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, dtype: torch.dtype, exact: bool
    ) -> tuple[Tensor, Tensor]:
        """Sum (1, C, H, W) to (C,) and (C, C) in ``dtype``."""
        ctx.save_for_backward(features)
        return row_sums(as_rows(features), dtype, exact=exact)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``f (Ḡ + Ḡᵀ) + ḡ``."""
        total, product = gradients
        (features,) = ctx.saved_tensors
        # The matrix is symmetric, so it does not matter that `linear` transposes it.
        matrix, shift = (product + product.T).to(features.dtype), total.to(features.dtype)
        slope = F.linear(as_rows(features), matrix, shift)
        height, width = features.shape[2:]
        return slope.view(1, height, width, -1).permute(0, 3, 1, 2), None, None


class SquaredError(Function):
    """Sum of squared differences between features and a target, in one node."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, target: Tensor, dtype: torch.dtype) -> Tensor:
        """Compare (1, C, H, W) with a target of that shape."""
        wide = torch.promote_types(features.dtype, torch.float32)
        target = target.to(features.dtype)
        # Both are kept by others: their difference is made again rather than kept as well.
        ctx.save_for_backward(features)
        ctx.target = target
        flat = (features - target).to(wide).flatten()
        return torch.dot(flat, flat).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``2 (f - target)``."""
        (gradient,) = gradients
        (features,) = ctx.saved_tensors
        slope = torch.sub(features, ctx.target, out=torch.empty_like(features))
        return slope.mul_((2 * gradient).to(features.dtype)), None, None


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


def moment_sums(features: Tensor, dtype: torch.dtype, *, exact: bool) -> tuple[Tensor, Tensor]:
    """Apply `MomentSums`."""
    sums: tuple[Tensor, Tensor] = MomentSums.apply(features, dtype, exact)
    return sums


def squared_error(features: Tensor, target: Tensor, dtype: torch.dtype) -> Tensor:
    """Apply `SquaredError`."""
    total: Tensor = SquaredError.apply(features, target, dtype)
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
