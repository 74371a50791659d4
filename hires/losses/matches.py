"""Which features of a style belong to which positions of a canvas, from one matching to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hires.kernels.nearest import nearest
from hires.kernels.sums import as_rows
from hires.losses.positions import Positions, View


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Features of the styles of a region at a layer, about their mean.

    Attributes:
        directions: (M, C) of length one, in the features' dtype.
        centre: (C,), the styles' mean feature, in the type in which cosines are taken.
        least: length of a feature about the centre that counts as one: see `cosine_error`.
    """

    directions: Tensor
    centre: Tensor
    least: float


@dataclass(eq=False)
class Matches:
    """The matches of a canvas at a rung, which a walk over its tiles makes, and later steps keep.

    Attributes:
        numbers: of every layer, for each region, (H, W) int32: entries of its dictionary.
        content: features (1, C, H, W) of the content, which queries of the first matching are
            mixed with; empty after it.
        is_due: whether the walk that comes makes them.
    """

    numbers: Mapping[str, Sequence[Tensor]]
    content: dict[str, Tensor] = field(default_factory=dict)
    is_due: bool = True

    @staticmethod
    def of(
        positions: Positions,
        dictionaries: Mapping[str, Sequence[Dictionary]],
        content: Mapping[str, Tensor],
    ) -> Matches:
        """None yet, of a canvas with these positions."""
        return Matches(
            {
                name: [
                    torch.zeros(
                        positions.size_of(name), dtype=torch.int32, device=each.centre.device
                    )
                    for each in regions
                ]
                for name, regions in dictionaries.items()
            },
            dict(content),
        )

    def settle(self) -> None:
        """Keep what there is: the walk is complete, or none was due."""
        self.is_due = False
        self.content.clear()

    def make(
        self, view: View, region: int, features: Tensor, dictionary: Dictionary, share: float
    ) -> None:
        """Find the nearest entry of each position of a part, from all of the dictionary.

        Args:
            view: where the part lies.
            region: of the canvas.
            features: (1, C, h, w) of the part.
            dictionary: of the region.
            share: of the content in what is looked for, where it is still known.
        """
        rows, centre = as_rows(features.detach()), dictionary.centre
        if view.layer in self.content:
            wide = rows.to(centre.dtype)
            target = self.content[view.layer][..., *view.index]
            rows = torch.lerp(wide, as_rows(target.to(wide)), share)
        found = nearest(rows, dictionary.directions, centre)
        self.numbers[view.layer][region][view.index] = found.view(features.shape[2:])
