"""Histograms of features along directions, and what each bin sends back. Exact in any order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.kernels.sums import as_rows

# Values that are projected in one go.
_BLOCK = 2**17
# The same on a GPU, of whose memory a few copies must not take much.
_GPU_BLOCK = 2**23
# Weights are counted in such parts of 1.
PARTS = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Directions among channels, and bins of the same width along each.

    Attributes:
        directions: (K, C) unit vectors, each over the width of its bins.
        shifts: (K,) what makes numbers of bins of projections on them, those of a direction counted
            on from the last one's.
        least: (K,) int32, the first bin of each.
        most: (K,) int32, the last: what lies before and after all bins counts to these.
        num_bins: of each direction.
    """

    directions: Tensor
    shifts: Tensor
    least: Tensor
    most: Tensor
    num_bins: int

    @staticmethod
    def between(directions: Tensor, low: Tensor, high: Tensor, num_bins: int) -> Bins:
        """Bins (K, num_bins) along unit vectors (K, C), from one projection (K,) to another."""
        widths = (high - low) / num_bins
        least = num_bins * torch.arange(len(low), dtype=torch.int32, device=low.device)
        return Bins(
            directions=directions / widths[:, None],
            shifts=least - low / widths,
            least=least,
            most=least + (num_bins - 1),
            num_bins=num_bins,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of directions, and of bins along each."""
        return len(self.least), self.num_bins

    def places(self, rows: Tensor) -> Tensor:
        """(N, K) int32, the bins of (N, C) rows, which have the directions' dtype."""
        found = torch.addmm(self.shifts, rows, self.directions.T).int()
        return found.clamp_(self.least, self.most)


def histogram(bins: Bins, places: Tensor, weights: Tensor | None = None) -> Tensor:
    """How often each of a direction's bins is found in (N, K) places, (K, bins) float64.

    The same to the last bit in any order, as long as the weights are whole numbers.

    Args:
        bins: those of the places.
        places: of `Bins.places`.
        weights: (N, 1) float64, what each position counts; None for 1.
    """
    flat, size = places.flatten(), bins.shape[0] * bins.shape[1]
    each = None if weights is None else weights.expand_as(places).flatten()
    if not flat.is_cuda:
        return torch.bincount(flat, each, minlength=size).double().view(bins.shape)
    # `bincount` would wait for the largest place.
    if each is None:
        each = torch.ones((), dtype=torch.float64, device=flat.device).expand_as(flat)
    found = torch.zeros(size, dtype=torch.float64, device=flat.device)
    return found.index_add_(0, flat, each).view(bins.shape)


def counts(features: Tensor, bins: Bins, masks: Sequence[Tensor | None]) -> list[Tensor]:
    """How many positions lie in each bin, (K, bins) float64, for each mask.

    Args:
        features: (1, C, H, W), any float dtype; as constants.
        bins: what they are counted in.
        masks: (1, 1, H, W) in [0, 1], how much each position counts; None for all alike.
    """
    whole = [None if mask is None else whole_numbers(as_rows(mask)) for mask in masks]
    found = [torch.zeros(bins.shape, dtype=torch.float64, device=features.device) for _ in masks]
    for place, block in _blocks(as_rows(features.detach())):
        places = bins.places(block)
        for total, weights in zip(found, whole, strict=True):
            total += histogram(bins, places, None if weights is None else weights[place])
    return [
        total if weights is None else total / PARTS
        for total, weights in zip(found, whole, strict=True)
    ]


def whole_numbers(weights: Tensor) -> Tensor:
    """Weights as the nearest multiples of ``1 / PARTS``, and these as whole numbers, float64."""
    return weights.double().mul(PARTS).round_()


def sent_back(
    features: Tensor, bins: Bins, tables: Sequence[Tensor], masks: Sequence[Tensor | None]
) -> Tensor:
    """A number (0-d) whose slope along a projection is what a table has for its bin.

    Args:
        features: (1, C, H, W), any float dtype.
        bins: see `counts`.
        tables: (K, bins) for each mask, in widths of bins.
        masks: see `counts`.
    """
    found: Tensor = _SentBack.apply(features, bins, tables, masks)
    return found


class _SentBack(Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        bins: Bins,
        tables: Sequence[Tensor],
        masks: Sequence[Tensor | None],
    ) -> Tensor:
        ctx.save_for_backward(features)
        ctx.given = bins, tables, masks
        return torch.zeros((), dtype=torch.float64, device=features.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``Σ m t[bin] θ``."""
        (features,), (bins, tables, masks), (scale,) = ctx.saved_tensors, ctx.given, gradients
        rows = as_rows(features)
        slope = torch.empty_like(rows, memory_format=torch.contiguous_format)
        weights = [None if mask is None else as_rows(mask) for mask in masks]
        scaled = [(table * scale).to(bins.directions).flatten() for table in tables]
        for place, block in _blocks(rows):
            places = bins.places(block).flatten()
            parts = [table.index_select(0, places).view(len(block), -1) for table in scaled]
            for part, mask in zip(parts, weights, strict=True):
                if mask is not None:
                    part.mul_(mask[place])
            slope[place] = reduce(torch.add, parts) @ bins.directions
        height, width = features.shape[2:]
        return slope.view(1, height, width, -1).permute(0, 3, 1, 2), None, None, None


def _blocks(rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of (N, C) rows in at least float32."""
    wide = torch.promote_types(rows.dtype, torch.float32)
    length = max((_GPU_BLOCK if rows.is_cuda else _BLOCK) // rows.shape[1], 1)
    for start in range(0, len(rows), length):
        place = slice(start, start + length)
        yield place, rows[place].to(wide)
