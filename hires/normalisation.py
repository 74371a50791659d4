"""The statistics of instance normalisation: sums over positions, which add up over tiles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hires.kernels import column_sums

# Numbers that are widened at a time while they are summed.
_BLOCK = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Mean and variance of every channel of a feature map, (C,) each, in at least float32."""

    mean: Tensor
    variance: Tensor


class Sums:
    """n, Σf and Σf² over the tiles of a feature map, by channel; Σm, Σmf and Σmf² under a mask."""

    def __init__(self, channels: int, dtype: torch.dtype, device: torch.device) -> None:
        self.count = 0.0
        self.total = torch.zeros(channels, dtype=dtype, device=device)
        self.square = torch.zeros(channels, dtype=dtype, device=device)

    def add(self, features: Tensor, mask: Tensor | None = None) -> None:
        """Add the positions of (1, C, h, w).

        A mask (1, 1, h, w), in at least float32, says how much each of them counts.
        """
        rows = features[0].permute(1, 2, 0).reshape(-1, features.shape[1])
        wide = torch.promote_types(rows.dtype, torch.float32)
        step = max(_BLOCK // rows.shape[1], 1)
        weights = None if mask is None else torch.split(mask.reshape(-1, 1), step)
        for i, block in enumerate(torch.split(rows, step)):
            values = block.to(wide)
            weighted = values if weights is None else values * weights[i]
            self.total += column_sums(weighted, self.total.dtype)
            self.square += column_sums(weighted * values, self.total.dtype)
        self.count += len(rows) if mask is None else float(mask.sum(dtype=self.total.dtype))

    def finish(self, dtype: torch.dtype) -> Statistics:
        """The statistics of all positions."""
        mean = self.total / self.count
        variance = (self.square / self.count - mean.square()).clamp_min(0)
        return Statistics(mean.to(dtype), variance.to(dtype))
