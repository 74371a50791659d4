"""Features of a picture at some of its positions, gathered by tiles."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hires.losses.positions import View
from hires.losses.terms import Statistics, Term


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample(Term):
    """Features at one position of each cell of a grid, (n, C), and how much each counts, (n, R).

    It is only measured: a sum of tensors in which each part of a picture fills in its own rows.

    Attributes:
        layers: what it looks at.
        most_values: features of a layer, at most; of positions as many as come to that, ...
        most: ... and no more than so many.
        seed: which position of each cell.
    """

    layers: Collection[str]
    most_values: int
    most: int
    seed: int = 0
    weight: float = 0.0
    name: str = "sample"

    def measure(self, view: View, features: Tensor) -> Statistics:
        """``vectors`` in at least float32, and ``weights``, a column for each region."""
        rows, columns = self._places(view, features.shape[1])
        (top, bottom), (left, right) = ((span.start, span.stop) for span in view.index)
        here = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        at = rows[here].to(features.device) - top, columns[here].to(features.device) - left
        wide = torch.promote_types(features.dtype, torch.float32)
        vectors = torch.zeros(len(rows), features.shape[1], dtype=wide, device=features.device)
        vectors[here.to(features.device)] = features[0][:, *at].T.to(wide)
        weights = torch.zeros(len(rows), len(view.regional), dtype=wide, device=features.device)
        for number, part in enumerate(view.regional):
            if part is not None:
                seen = 1.0 if part.mask is None else part.mask[0, 0][at].to(wide)
                weights[here.to(features.device), number] = seen
        return {"vectors": vectors, "weights": weights}

    def _places(self, view: View, num_channels: int) -> tuple[Tensor, Tensor]:
        """Rows and columns (n,) of a layer."""
        height, width = view.size
        most = max(min(self.most, self.most_values // num_channels), 1)
        cell = 1
        while (height // cell) * (width // cell) > most:
            cell += 1
        generator = torch.Generator().manual_seed(self.seed)
        size = max(height // cell, 1), max(width // cell, 1)
        corners = torch.meshgrid(*(cell * torch.arange(side) for side in size), indexing="ij")
        rows, columns = (
            (corner + torch.randint(cell, size, generator=generator)).flatten()
            for corner in corners
        )
        return rows.clamp_max(height - 1), columns.clamp_max(width - 1)

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """Nothing: it is only measured."""
        raise NotImplementedError
