"""Kernels of Triton: what `gradient_masks` does in several passes over memory, done in one.

Importing this module imports Triton and registers the kernels with PyTorch as ``torch.ops.hires``,
for tensors on a GPU and for fake ones; `fused` does so when it first meets a tensor on a GPU.

Maps are (B, C, H, W) in channels-last, C a multiple of eight. Eight channels of a position are a
*group*: 16 bytes of half precision, and a byte of packed bits. Offsets of groups are 64 bits wide,
so a map may have any size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# Of a program.
_GROUPS = 256
_LANES = 8


@triton.jit
def _bits(x):
    """The same bits as signed integers, above zero where ``x`` is."""
    if x.dtype.primitive_bitwidth == 16:
        found = x.to(tl.int16, bitcast=True)
    elif x.dtype.primitive_bitwidth == 32:
        found = x.to(tl.int32, bitcast=True)
    else:
        found = x.to(tl.int64, bitcast=True)
    return found


@triton.jit
def _wide(x):
    """At least float32, in which sums are rounded once and Triton's interpreter can compare."""
    return x.to(tl.float32) if x.dtype.primitive_bitwidth == 16 else x


@triton.jit
def _plus(x, bias):
    """A sum, rounded once, to the type of ``x``."""
    return (_wide(x) + _wide(bias)).to(x.dtype)


@triton.jit
def _rectified(x):
    """A ReLU that lets NaN pass, as PyTorch's does."""
    return tl.where(_wide(x) <= 0, tl.zeros_like(x), x)


@triton.jit
def _larger(a, b):
    """The maximum as PyTorch's on a GPU: NaN if either is, the first of two; +0 before -0."""
    one, other = _wide(a), _wide(b)
    is_second = (other > one) | ((other == one) & (_bits(b) > _bits(a))) | (other != other)
    return tl.where((one == one) & is_second, b, a)


@triton.jit
def _lanes(groups):
    """Offsets of the eight values of each group."""
    return groups[:, None] * 8 + tl.arange(0, 8)[None, :]


@triton.jit(do_not_specialize=["num_groups", "channel_groups"])
def _activate(
    x,
    bias,
    packed,
    num_groups,
    channel_groups,
    BIASED: tl.constexpr,
    RELU: tl.constexpr,
    PACKED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add a bias and rectify in place; write which values are positive."""
    start = tl.program_id(0).to(tl.int64) * BLOCK
    groups = start + tl.arange(0, BLOCK)
    inside = groups < num_groups
    places = x + _lanes(groups)
    values = tl.load(places, mask=inside[:, None], other=0.0)
    if BIASED:
        channels = ((start % channel_groups).to(tl.int32) + tl.arange(0, BLOCK)) % channel_groups
        values = _plus(values, tl.load(bias + _lanes(channels)))
    if RELU:
        values = _rectified(values)
    if BIASED or RELU:
        tl.store(places, values, mask=inside[:, None])
    if PACKED:
        bits = (_bits(values) > 0).to(tl.int32) << tl.arange(0, 8)[None, :]
        tl.store(packed + groups, tl.sum(bits, axis=1).to(tl.uint8), mask=inside)


@triton.jit(do_not_specialize=["height", "row_groups", "batch_stride", "row_stride", "num_blocks"])
def _pass_positive(
    gradient,
    packed,
    passed,
    height,
    row_groups,
    batch_stride,
    row_stride,
    num_blocks,
    BLOCK: tl.constexpr,
):
    """Copy rows of a gradient where bits are set; strides are in groups."""
    row = (tl.program_id(0) // num_blocks).to(tl.int64)
    groups = (tl.program_id(0) % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = groups < row_groups
    before = (row // height) * batch_stride + (row % height) * row_stride + groups
    after = row * row_groups + groups
    values = tl.load(gradient + _lanes(before), mask=inside[:, None], other=0.0)
    bits = tl.load(packed + after, mask=inside, other=0).to(tl.int32)
    is_set = ((bits[:, None] >> tl.arange(0, 8)[None, :]) & 1) != 0
    values = tl.where(is_set, values, tl.zeros_like(values))
    tl.store(passed + _lanes(after), values, mask=inside[:, None])


@triton.jit(do_not_specialize=["height", "width", "channel_groups", "num_blocks"])
def _max_pool(
    x,
    bias,
    pooled,
    switches,
    height,
    width,
    channel_groups,
    num_blocks,
    BIASED: tl.constexpr,
    RELU: tl.constexpr,
    SWITCHED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Pool a row of windows; write maxima and their places."""
    row = (tl.program_id(0) // num_blocks).to(tl.int64)
    groups = (tl.program_id(0) % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    row_groups = (width // 2) * channel_groups
    inside = (groups < row_groups)[:, None]
    channels = groups % channel_groups
    line = (row // (height // 2)) * height + (row % (height // 2)) * 2
    line_groups = width.to(tl.int64) * channel_groups
    upper_left = line * line_groups + groups * 2 - channels
    first = tl.load(x + _lanes(upper_left), mask=inside, other=0.0)
    second = tl.load(x + _lanes(upper_left + channel_groups), mask=inside, other=0.0)
    third = tl.load(x + _lanes(upper_left + line_groups), mask=inside, other=0.0)
    fourth = tl.load(x + _lanes(upper_left + line_groups + channel_groups), mask=inside, other=0.0)
    if BIASED:
        added = tl.load(bias + _lanes(channels))
        first, second = _plus(first, added), _plus(second, added)
        third, fourth = _plus(third, added), _plus(fourth, added)
    upper, lower = _larger(first, second), _larger(third, fourth)
    maxima = _larger(upper, lower)
    is_upper = _bits(upper) == _bits(maxima)
    if RELU:
        maxima = _rectified(maxima)
    after = _lanes(row * row_groups + groups)
    tl.store(pooled + after, maxima, mask=inside)
    if SWITCHED:
        in_upper = tl.where(_bits(first) == _bits(upper), 1, 2)
        in_lower = tl.where(_bits(third) == _bits(lower), 3, 4)
        place = tl.where(is_upper, in_upper, in_lower)
        if RELU:
            place = tl.where(_bits(maxima) > 0, place, 0)
        tl.store(switches + after, place.to(tl.uint8), mask=inside)


@triton.jit(
    do_not_specialize=[
        "height", "width", "channel_groups", "batch_stride", "row_stride", "num_blocks",
    ]
)  # fmt: skip
def _unpool(
    gradient,
    switches,
    spread,
    height,
    width,
    channel_groups,
    batch_stride,
    row_stride,
    num_blocks,
    BLOCK: tl.constexpr,
):
    """Write two rows of a map: a gradient at the place of each maximum, zero elsewhere."""
    num_lines = (height + 1) // 2
    row = (tl.program_id(0) // num_blocks).to(tl.int64)
    groups = (tl.program_id(0) % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    channels = groups % channel_groups
    columns = (groups // channel_groups) * 2
    image, line = row // num_lines, row % num_lines
    row_groups = (width // 2) * channel_groups
    has_window = ((groups < row_groups) & (line < height // 2))[:, None]
    before = image * batch_stride + line * row_stride + groups
    values = tl.load(gradient + _lanes(before), mask=has_window, other=0.0)
    kept = (image * (height // 2) + line) * row_groups + groups
    place = tl.load(switches + _lanes(kept), mask=has_window, other=0)
    nothing = tl.zeros_like(values)
    line_groups = width.to(tl.int64) * channel_groups
    upper_left = (image * height + line * 2) * line_groups + groups * 2 - channels
    for corner in tl.static_range(4):
        down, right = corner // 2, corner % 2
        inside = ((columns + right < width) & (line * 2 + down < height))[:, None]
        after = spread + _lanes(upper_left + down * line_groups + right * channel_groups)
        tl.store(after, tl.where(place == corner + 1, values, nothing), mask=inside)


def activate_(x: Tensor, bias: Tensor | None, relu: bool, packed: bool) -> Tensor:
    """Add a bias (C,) to (B, C, H, W) and rectify it in place.

    Returns:
        `gradient_masks.pack_positive` of the result, or nothing, (0,), where it is not wanted.
    """
    bits = _room_for_bits(x, packed)
    num_groups = x.numel() // _LANES
    if num_groups:
        _activate[(triton.cdiv(num_groups, _GROUPS),)](
            x, x if bias is None else bias, bits if packed else x, num_groups, _channel_groups(x),
            BIASED=bias is not None, RELU=relu, PACKED=packed, BLOCK=_GROUPS,
        )  # fmt: skip
    return bits


def pack_positive(x: Tensor) -> Tensor:
    """`gradient_masks.pack_positive`."""
    return activate_(x, None, relu=False, packed=True)


def pass_positive(gradient: Tensor, packed: Tensor) -> Tensor:
    """`gradient_masks.pass_positive`."""
    passed = _empty(gradient.shape, gradient)
    batch, _, height, width = gradient.shape
    row_groups = width * _channel_groups(gradient)
    num_blocks = triton.cdiv(row_groups, _GROUPS)
    if passed.numel():
        _pass_positive[(batch * height * num_blocks,)](
            gradient, packed, passed, height, row_groups, *_strides(gradient), num_blocks,
            BLOCK=_GROUPS,
        )  # fmt: skip
    return passed


def max_pool_2x2(
    x: Tensor, bias: Tensor | None, relu: bool, switched: bool
) -> tuple[Tensor, Tensor]:
    """`gradient_masks.max_pool_2x2` of the sum of ``x`` and a bias (C,).

    Where switches are not wanted, they are (0,).
    """
    pooled, switches = _room_for_maxima(x, switched)
    batch, _, height, width = x.shape
    num_blocks = triton.cdiv((width // 2) * _channel_groups(x), _GROUPS)
    if pooled.numel():
        _max_pool[(batch * (height // 2) * num_blocks,)](
            x, x if bias is None else bias, pooled, switches if switched else x, height, width,
            _channel_groups(x), num_blocks,
            BIASED=bias is not None, RELU=relu, SWITCHED=switched, BLOCK=_GROUPS,
        )  # fmt: skip
    return pooled, switches


def unpool_2x2(gradient: Tensor, switches: Tensor, height: int, width: int) -> Tensor:
    """`gradient_masks.unpool_2x2`."""
    batch, channels = gradient.shape[:2]
    spread = _empty((batch, channels, height, width), gradient)
    num_blocks = triton.cdiv(((width + 1) // 2) * _channel_groups(gradient), _GROUPS)
    if spread.numel():
        _unpool[(batch * ((height + 1) // 2) * num_blocks,)](
            gradient, switches, spread, height, width, _channel_groups(gradient),
            *_strides(gradient), num_blocks, BLOCK=_GROUPS,
        )  # fmt: skip
    return spread


def _channel_groups(x: Tensor) -> int:
    return x.shape[1] // _LANES


def _strides(x: Tensor) -> tuple[int, int]:
    """Between pictures, and between rows, in groups."""
    return x.stride(0) // _LANES, x.stride(2) // _LANES


def _room_for_bits(x: Tensor, packed: bool) -> Tensor:
    return x.new_empty(x.numel() // _LANES if packed else 0, dtype=torch.uint8)


def _room_for_maxima(x: Tensor, switched: bool) -> tuple[Tensor, Tensor]:
    batch, channels, height, width = x.shape
    pooled = _empty((batch, channels, height // 2, width // 2), x)
    return pooled, _empty(pooled.shape if switched else (0, 0, 0, 0), x, torch.uint8)


def _empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    dtype = like.dtype if dtype is None else dtype
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=torch.channels_last)


def _register(schema: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Make a kernel ``torch.ops.hires``'s, for tensors on a GPU and for fake ones."""

    def on_gpu(x: Tensor, *rest: Any) -> Any:
        with torch.cuda.device(x.device):
            return kernel(x, *rest)

    name = _LIBRARY.define(schema)
    _LIBRARY.impl(name, on_gpu, "CUDA")
    torch.library.register_fake(f"hires::{name}", fake, lib=_LIBRARY)


_LIBRARY = torch.library.Library("hires", "DEF")
_register(
    "activate_(Tensor(a!) x, Tensor? bias, bool relu, bool packed) -> Tensor",
    activate_,
    lambda x, _bias, _relu, packed: _room_for_bits(x, packed),
)
_register("pack_positive(Tensor x) -> Tensor", pack_positive, lambda x: _room_for_bits(x, True))
_register(
    "pass_positive(Tensor gradient, Tensor packed) -> Tensor",
    pass_positive,
    lambda gradient, _packed: _empty(gradient.shape, gradient),
)
_register(
    "max_pool_2x2(Tensor x, Tensor? bias, bool relu, bool switched) -> (Tensor, Tensor)",
    max_pool_2x2,
    lambda x, _bias, _relu, switched: _room_for_maxima(x, switched),
)
_register(
    "unpool_2x2(Tensor gradient, Tensor switches, int height, int width) -> Tensor",
    unpool_2x2,
    lambda gradient, _, height, width: _empty((*gradient.shape[:2], height, width), gradient),
)
