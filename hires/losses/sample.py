"""Features of a picture at some of its positions, gathered by tiles."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hires.errors import ConfigError
from hires.losses.positions import View
from hires.losses.terms import Measured, Statistics, Term

# Seeds tell so many steps and layers apart.
_STEPS, _LAYERS = 1_000_003, 101
# Features of a sample, at most.
_MOST_VALUES = 2**24


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


def seed_of(seed: int, step: int, number: int = 0) -> int:
    """A seed of its own for a step of a run, and for something in it."""
    return ((seed * _STEPS + step) * _LAYERS + number) % 2**63


def sample_of_step(layers: Collection[str], most: int, seed: int, step: int) -> Sample:
    """A sample of at most so many positions, others at every step.

    Args:
        layers: what it looks at.
        most: positions of each.
        seed: of the run.
        step: its number.
    """
    return Sample(
        layers=tuple(layers), most_values=_MOST_VALUES, most=most, seed=seed_of(seed, step)
    )


def mixed(
    styles: Sequence[Measured], layer: str, regions: Sequence[Sequence[float]]
) -> tuple[Tensor, Tensor]:
    """Vectors (n, C) of all styles, and what each counts in every region, (n, R); columns sum to 1.

    Args:
        styles: what a `Sample` has measured on each.
        layer: its name.
        regions: share of each style in every region.

    Raises:
        ConfigError: if nothing of a style is left for a region.
    """
    weights = []
    for i, style in enumerate(styles):
        own = style.statistics[layer]["weights"].clone()
        for region, shares in enumerate(regions):
            total = own[:, region].sum()
            if shares[i] and not total > 0:
                height, width = style.positions.size
                raise ConfigError(
                    f"nothing of a style's mask is left at {width}x{height}: mask more of the"
                    " style, or give a larger `min_size`"
                )
            own[:, region] *= shares[i] / total if shares[i] else 0.0
        weights.append(own)
    return torch.cat([style.statistics[layer]["vectors"] for style in styles]), torch.cat(weights)
