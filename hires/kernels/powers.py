"""Sums of powers of squashed features, as an autograd node that saves the features alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.kernels.sums import GPU_BLOCK, as_rows, channel_sums

NUM_POWERS = 5
# Values that are taken through all powers in one go: a few copies of them fit a core's own cache.
_BLOCK = 2**16


def power_sums(
    features: Tensor, centres: Tensor, dtype: torch.dtype, *, mask: Tensor | None = None
) -> Tensor:
    """``Σ m (σ(f) - c)ᵏ`` for k from 1 to 5, (5, C) in ``dtype``; ``σ`` is the sigmoid.

    Args:
        features: (1, C, H, W), any float dtype.
        centres: (C,), c; near the mean of σ(f), or what sums are used for loses digits.
        dtype: type of the sums.
        mask: (1, 1, H, W), how much each position counts; None for all alike.
    """
    sums: Tensor = _PowerSums.apply(features, centres, dtype, mask)
    return sums


class _PowerSums(Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, centres: Tensor, dtype: torch.dtype, mask: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(features)
        ctx.centres, ctx.mask = centres, mask
        found = torch.zeros(NUM_POWERS, len(centres), dtype=dtype, device=features.device)
        for _, squashed, weights in _squashed(as_rows(features), mask):
            for k, power in _powers(squashed.sub_(centres.to(squashed))):
                found[k] += channel_sums(power if weights is None else power * weights, dtype)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``m σ(f) (1 - σ(f)) Σ k ḡₖ (σ(f) - c)ᵏ⁻¹``."""
        (features,) = ctx.saved_tensors
        slope = torch.empty_like(features)
        rows, found = as_rows(features), as_rows(slope)
        orders = torch.arange(1, NUM_POWERS + 1, dtype=gradients[0].dtype, device=rows.device)
        factors = gradients[0] * orders[:, None]
        for place, squashed, weights in _squashed(rows, ctx.mask):
            off = squashed - ctx.centres.to(squashed)
            parts = factors.to(squashed)
            total = off * parts[-1]
            for part in parts[1:-1].flip(0):
                total.add_(part).mul_(off)
            total.add_(parts[0]).mul_(squashed.addcmul_(squashed, squashed, value=-1))
            found[place] = total if weights is None else total.mul_(weights)
        return slope, None, None, None


def _squashed(rows: Tensor, mask: Tensor | None) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
    """Blocks of (N, C) rows through the sigmoid, in at least float32, and their weights (n, 1)."""
    wide = torch.promote_types(rows.dtype, torch.float32)
    weights = None if mask is None else as_rows(mask)
    length = max((GPU_BLOCK if rows.is_cuda else _BLOCK) // rows.shape[1], 1)
    for start in range(0, len(rows), length):
        place = slice(start, start + length)
        part = None if weights is None else weights[place].to(wide)
        yield place, torch.sigmoid(rows[place].to(wide)), part


def _powers(first: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The powers of some values, each with its exponent less one; the next one changes them."""
    yield 0, first
    second = first * first
    yield 1, second
    third = first.mul_(second)
    yield 2, third
    yield 4, third.mul_(second)
    yield 3, second.square_()
