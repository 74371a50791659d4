"""Regions: what each has of a canvas, and what the styles have for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from hires.errors import ConfigError
from hires.losses.terms import Measured, References, Statistics


@dataclass(frozen=True, slots=True, eq=False)
class Regional:
    """A canvas in its regions; one without is a region of its own.

    Attributes:
        counts: positions of every layer, in each region.
        areas: share of the canvas that each region has.
    """

    counts: Mapping[str, Sequence[float]] = field(default_factory=dict)
    areas: Sequence[float] = (1.0,)

    @staticmethod
    def of(references: References, layers: Iterable[str]) -> Regional:
        """The canvas of a rung."""
        positions, numbers = references.positions, range(len(references.regions))
        counts = {name: [positions.count_of(name, number) for number in numbers] for name in layers}
        return Regional(counts, [positions.area(number) for number in numbers])

    def mean(self, layer: str, loss: Callable[[int], Tensor], sums: Statistics) -> Tensor:
        """The loss of each region at a layer by its share of the canvas.

        So a pixel's balance with other terms is that of a canvas without regions.

        Args:
            layer: its name.
            loss: of a region, by its number; asked for those that have a position there.
            sums: of the layer, for a loss of nothing where no region has any.
        """
        numbers = [number for number, count in enumerate(self.counts[layer]) if count]
        if not numbers:
            return next(iter(sums.values())).sum() * 0
        return reduce(torch.add, (self._share(number, loss(number)) for number in numbers))

    def _share(self, region: int, loss: Tensor) -> Tensor:
        area = self.areas[region]
        return loss if area == 1 else area * loss


def of_region(
    styles: Sequence[Measured], layer: str, region: int, shares: Sequence[float]
) -> list[tuple[Statistics, float, float]]:
    """Of the styles that a region is painted in: sums of a layer, number of positions, share.

    Raises:
        ConfigError: if nothing of a style is left for the region.
    """
    used = [(style, share) for style, share in zip(styles, shares, strict=True) if share]
    return [
        (style.statistics[layer], count_of(style, layer, region), share) for style, share in used
    ]


def count_of(style: Measured, layer: str, region: int) -> float:
    """How many positions of a layer a style has for a region.

    Raises:
        ConfigError: if there are none.
    """
    count = style.positions.count_of(layer, region)
    if not count:
        height, width = style.positions.size
        raise ConfigError(
            f"nothing of a style's mask is left at {width}x{height}: mask more of the style, or"
            " give a larger `min_size`"
        )
    return count
