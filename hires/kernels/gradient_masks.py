"""Which way a gradient goes through ReLU and max pooling, kept in a bit or a byte.

A frozen network's backward needs no feature maps, only their *switches* (Zeiler and Fergus 2014,
section 2.1): one bit of every ReLU, and the place of every window's maximum. All of it is integer
arithmetic on the bits of the numbers, which a CPU does several times faster than it compares or
selects floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# Of as many bytes as the floats that they stand for.
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
# Times eight bytes of 0 or 1 it gathers them, the first lowest, as the bits of the highest byte.
_GATHER = 0x0102040810204080
_HIGHEST_BYTE = 56
# Times a byte it copies it to all eight; of the copies, this has the first's lowest bit, the next
# one's second, and so on.
_COPY = 0x0101010101010101
_ONE_OF_EACH = 0x8040201008040201 - 2**64
# Maxima that are compared at a time on a CPU, where they stay in its cache from one operation to
# the next.
_BAND = 2**19
# Of the values that pass a ReLU, a multiple of eight.
_CHUNK = 2**21


def pack_positive(x: Tensor) -> Tensor:
    """Where ``x`` (B, C, H, W) is above zero: (⌈B·C·H·W / 8⌉,) uint8, eight positions a byte."""
    bits = bits_of(x.permute(0, 2, 3, 1).contiguous()).clamp(0, 1).to(torch.uint8).flatten()
    if len(bits) % 8:
        bits = torch.nn.functional.pad(bits, (0, -len(bits) % 8))
    gathered = bits.view(torch.int64) * _GATHER
    return gathered.bitwise_right_shift_(_HIGHEST_BYTE).to(torch.uint8)


def pass_positive(gradient: Tensor, packed: Tensor) -> Tensor:
    """A gradient (B, C, H, W) where the packed ``x`` was above zero, and nothing elsewhere."""
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    passed = torch.empty_like(gradient)
    before, after = (bits_of(x.permute(0, 2, 3, 1)).view(-1) for x in (gradient, passed))
    step = _CHUNK if gradient.device.type == "cpu" else 32 * _CHUNK
    for start in range(0, len(before), step):
        some = before[start : start + step]
        spread = packed[start // 8 : (start + step) // 8].to(torch.int64).mul_(_COPY)
        bits = spread.bitwise_and_(_ONE_OF_EACH).view(torch.uint8)[: len(some)].clamp_(max=1)
        torch.bitwise_and(some, bits.to(some.dtype).neg_(), out=after[start : start + step])
    return passed


def max_pool_2x2(x: Tensor, *, relu: bool, switched: bool) -> tuple[Tensor, Tensor | None]:
    """Pool (B, C, H, W) by 2×2, with or without a ReLU; an odd last row or column is dropped.

    Returns:
        The maxima (B, C, H/2, W/2), and their switches if they are wanted, uint8 of the same shape:
        the place of the first maximum, 1 to 4 row by row, or 0 where the ReLU lets nothing pass.
    """
    batch, channels, height, width = x.shape
    shape = (batch, channels, height // 2, width // 2)
    pooled = _channels_last(shape, x, x.dtype)
    switches = _channels_last(shape, x, torch.uint8) if switched else None
    for band in _bands(shape, x.device):
        corners = [corner[:, :, band] for corner in _corners(x)]
        upper = torch.maximum(corners[0], corners[1])
        lower = torch.maximum(corners[2], corners[3])
        maxima = torch.maximum(upper, lower, out=pooled[:, :, band])
        if switches is not None:
            is_lower = _differs(upper, maxima)
            place = _differs(corners[0], upper)
            # In the row of the maximum.
            place += _differs(corners[2], lower).sub_(place).mul_(is_lower)
            place += is_lower.mul_(2).add_(1)
        if relu:
            maxima.relu_()
        if switches is not None:
            if relu:
                place *= bits_of(maxima).clamp(0, 1)
            switches[:, :, band] = place
    return pooled, switches


def unpool_2x2(gradient: Tensor, switches: Tensor, size: tuple[int, int]) -> Tensor:
    """Send a gradient (B, C, H/2, W/2) to the maxima of windows in (B, C, *size)."""
    spread = _channels_last((*gradient.shape[:2], *size), gradient, gradient.dtype)
    if size[0] % 2:
        spread[:, :, -1] = 0
    if size[1] % 2:
        spread[..., -1] = 0
    corners = _corners(spread)
    for band in _bands(gradient.shape, gradient.device):
        bits = bits_of(gradient[:, :, band])
        places = switches[:, :, band].to(bits.dtype)
        for place, corner in enumerate(corners, start=1):
            # -1, all bits, where the place agrees, else 0.
            mask = places.bitwise_xor(place).clamp_(0, 1).sub_(1)
            torch.bitwise_and(bits, mask, out=bits_of(corner[:, :, band]))
    return spread


def _channels_last(shape: Sequence[int], like: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=torch.channels_last)


def _bands(shape: Sequence[int], device: torch.device) -> Iterator[slice]:
    """Rows of (B, C, H, W), as many at a time as a processor's cache holds."""
    batch, channels, height, width = shape
    step = height if device.type != "cpu" else max(_BAND // (batch * channels * width), 1)
    return (slice(start, start + step) for start in range(0, height, step))


def bits_of(x: Tensor) -> Tensor:
    """The same memory as signed integers: above zero where ``x`` is, zero where it is +0."""
    return x.view(_INTEGERS[x.itemsize])


def _differs(a: Tensor, b: Tensor) -> Tensor:
    """1 where the bits of two tensors differ, else 0."""
    return bits_of(a).bitwise_xor(bits_of(b)).clamp_(-1, 1).bitwise_and_(1)


def _corners(x: Tensor) -> list[Tensor]:
    """The four strided views whose same places make a window: upper row first."""
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    return [x[:, :, row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]
