"""Sums of powers of squashed features, as an autograd node that saves the features alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.kernels.sums import as_rows, block_sums

NUM_POWERS = 5
# Values that are taken through all powers in one go: a few copies of them fit a core's own cache.
_BLOCK = 2**17
# The same on a GPU, of whose memory a few copies must not take much.
_GPU_BLOCK = 2**23
# Values of the rows that are computed side by side.
_ABREAST = 2**9


def power_sums(
    features: Tensor,
    centres: Tensor,
    dtype: torch.dtype,
    *,
    mask: Tensor | None = None,
    are_known: bool = False,
) -> Tensor:
    """``Σ m (σ(f) - c)ᵏ`` for k from 1 to 5, (5, C) in ``dtype``; ``σ`` is the sigmoid.

    Args:
        features: (1, C, H, W), any float dtype.
        centres: (C,), c; near the mean of σ(f), or what sums are used for loses digits.
        dtype: type of the sums.
        mask: (1, 1, H, W), how much each position counts; None for all alike.
        are_known: whether they are wanted for their slope alone; they are zeros then.
    """
    sums: Tensor = _PowerSums.apply(features, centres, dtype, mask, are_known)
    return sums


class _PowerSums(Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        centres: Tensor,
        dtype: torch.dtype,
        mask: Tensor | None,
        are_known: bool,
    ) -> Tensor:
        ctx.save_for_backward(features)
        ctx.centres, ctx.mask = centres, mask
        if are_known:
            return torch.zeros(NUM_POWERS, len(centres), dtype=dtype, device=features.device)
        found = []
        for rows, weights in _parts(as_rows(features), mask):
            sums = torch.zeros(NUM_POWERS, rows.shape[1], dtype=dtype, device=rows.device)
            by_power, centre = list(sums), _along(rows, centres)
            for _, (first, second, _), weight in _squashed(rows, weights):
                for k, power in _powers(first.sub_(centre), second):
                    by_power[k] += block_sums(power if weight is None else power * weight, dtype)
            found.append(sums.view(NUM_POWERS, -1, len(centres)).sum(1))
        return reduce(torch.add, found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``m σ(f) (1 - σ(f)) Σ k ḡₖ (σ(f) - c)ᵏ⁻¹``."""
        (features,) = ctx.saved_tensors
        slope = torch.empty_like(as_rows(features), memory_format=torch.contiguous_format)
        orders = torch.arange(1, NUM_POWERS + 1, dtype=gradients[0].dtype, device=slope.device)
        factors = gradients[0] * orders[:, None]
        parts, found = _parts(as_rows(features), ctx.mask), _parts(slope, ctx.mask)
        for (rows, weights), (target, _) in zip(parts, found, strict=True):
            centre = _along(rows, ctx.centres)
            first, *others, last = (_along(rows, factor) for factor in factors)
            for place, (squashed, off, total), weight in _squashed(rows, weights):
                torch.sub(squashed, centre, out=off)
                torch.addcmul(others[-1], off, last, out=total)
                for factor in (*reversed(others[:-1]), first):
                    torch.addcmul(factor, total, off, out=total)
                torch.ops.aten.sigmoid_backward(total, squashed, grad_input=total)
                target[place] = total if weight is None else total.mul_(weight)
        height, width = features.shape[2:]
        return slope.view(1, height, width, -1).permute(0, 3, 1, 2), None, None, None, None


def _parts(rows: Tensor, mask: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    """(N, C) rows as longer ones, several side by side, and what is left over; their weights."""
    if mask is not None:
        return [(rows, as_rows(mask))]
    num_rows, num_channels = rows.shape
    abreast = max(_ABREAST // num_channels, 1)
    whole = num_rows // abreast * abreast
    parts = rows[:whole].reshape(-1, abreast * num_channels), rows[whole:]
    return [(part, None) for part in parts if part.numel()]


def _along(rows: Tensor, values: Tensor) -> Tensor:
    """Values (C,) of channels for rows in which several positions lie side by side."""
    wide = torch.promote_types(rows.dtype, torch.float32)
    return values.to(wide).repeat(rows.shape[1] // len(values))


def _squashed(
    rows: Tensor, weights: Tensor | None
) -> Iterator[tuple[slice, list[Tensor], Tensor | None]]:
    """Blocks of rows through the sigmoid, in at least float32, and their weights (n, 1).

    With each block come two more tensors of its shape, to compute in.
    """
    wide = torch.promote_types(rows.dtype, torch.float32)
    length = min(max((_GPU_BLOCK if rows.is_cuda else _BLOCK) // rows.shape[1], 1), len(rows))
    # Memory that is asked for anew has to be fetched anew.
    room = torch.empty(3, length, rows.shape[1], dtype=wide, device=rows.device)
    for start in range(0, len(rows), length):
        place = slice(start, min(start + length, len(rows)))
        found = list(room[:, : place.stop - start])
        found[0].copy_(rows[place]).sigmoid_()
        yield place, found, None if weights is None else weights[place].to(wide)


def _powers(first: Tensor, second: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The powers of ``first``, each with its exponent less one; the next one changes both."""
    yield 0, first
    yield 1, torch.mul(first, first, out=second)
    yield 2, first.mul_(second)
    yield 4, first.mul_(second)
    yield 3, second.mul_(second)
