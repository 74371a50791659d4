"""Which features of a style belong to which positions of a canvas, between two matchings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hires.kernels.nearest import nearest
from hires.kernels.sums import as_rows, blocks
from hires.losses.moments import TINY
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
        content: features (1, C, H, W) of the content at every layer, which queries of the first
            matching are mixed with; empty after it.
        means: their means (C,) in each region.
        is_due: whether the walk that comes makes them.
    """

    numbers: Mapping[str, Sequence[Tensor]]
    content: dict[str, Tensor] = field(default_factory=dict)
    means: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
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
            {
                name: [
                    _mean(features, positions.weights(name, number), positions.sum_dtype)
                    for number in range(len(dictionaries[name]))
                ]
                for name, features in content.items()
            },
        )

    def settle(self) -> None:
        """Keep what there is: the walk is complete, or none was due."""
        self.is_due = False
        self.content.clear()

    def make(
        self, view: View, region: int, features: Tensor, dictionary: Dictionary, share: float
    ) -> None:
        """Find the nearest entry of each position of a part, from all of the dictionary.

        The content's features are taken about their own mean: that it is bright, say, where the
        style is dark shall not have all of it look for the style's lights.

        Args:
            view: where the part lies.
            region: of the canvas.
            features: (1, C, h, w) of the part.
            dictionary: of the region.
            share: of the content in what is looked for, where it is still known.
        """
        rows, centre, others = as_rows(features.detach()), dictionary.centre, None
        if view.layer in self.content:
            others = as_rows(self.content[view.layer][..., *view.index])
            centre = centre.lerp(self.means[view.layer][region].to(centre), share)
        found = nearest(rows, dictionary.directions, centre, others=others, share=share)
        self.numbers[view.layer][region][view.index] = found.view(features.shape[2:])


def _mean(features: Tensor, weights: Tensor | None, dtype: torch.dtype) -> Tensor:
    """(C,), the mean of features (1, C, H, W), each position of which counts (1, 1, H, W)."""
    weights = torch.ones(1, 1, *features.shape[2:]) if weights is None else weights
    rows, counts = as_rows(features), as_rows(weights).to(features.device)
    total = torch.zeros(rows.shape[1], dtype=dtype, device=rows.device)
    for part, count in zip(blocks(rows), torch.split(counts, len(blocks(rows)[0])), strict=True):
        total += (count.T.to(dtype) @ part.to(dtype))[0]
    return total / counts.sum(dtype=dtype).clamp_min(TINY)
