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
        numbers: of every layer, for each region, (H, W) int32: entries of its dictionary. Of a band
            of the canvas, of the rows that are seen, as all that canvases are compared to.
        own: of every layer, the rows among them that this process answers for: all that it knows.
        content: features (1, C, H, W) of the content at every layer, which queries of the first
            matching are mixed with; empty after it.
        means: their means (C,) in each region, over all processes.
        is_due: whether the walk that comes makes them.
    """

    numbers: Mapping[str, Sequence[Tensor]]
    own: Mapping[str, slice] = field(default_factory=dict)
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
        numbers = {}
        for name, regions in dictionaries.items():
            rows, width = positions.seen_rows(positions.stride(name)), positions.size_of(name)[1]
            size = rows.stop - rows.start, width
            numbers[name] = [
                torch.zeros(size, dtype=torch.int32, device=each.centre.device) for each in regions
            ]
        means = {
            name: [_mean(features, positions, name, number) for number in range(len(numbers[name]))]
            for name, features in content.items()
        }
        own = {name: positions.own_rows(positions.stride(name)) for name in dictionaries}
        return Matches(numbers, own, dict(content), means)

    @property
    def known(self) -> Mapping[str, Tensor]:
        """Those of this process's own rows, (1, 1, h, W): views, by layer and region."""
        return {
            f"{name}.{number}": numbers[None, None, self.own[name]]
            for name, regions in self.numbers.items()
            for number, numbers in enumerate(regions)
        }

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
            others = as_rows(view.of(self.content[view.layer]))
            centre = centre.lerp(self.means[view.layer][region].to(centre), share)
        found = nearest(rows, dictionary.directions, centre, others=others, share=share)
        view.of(self.numbers[view.layer][region]).copy_(found.view(features.shape[2:]))


def _mean(features: Tensor, positions: Positions, layer: str, region: int) -> Tensor:
    """(C,), the mean in a region of what is seen of a layer's features, over all processes."""
    own, dtype = positions.own_rows(positions.stride(layer)), positions.sum_dtype
    weights, features = positions.weights(layer, region), features[..., own, :]
    weights = torch.ones(1, 1, *features.shape[2:]) if weights is None else weights[..., own, :]
    rows, counts = as_rows(features), as_rows(weights).to(features.device)
    total = torch.zeros(rows.shape[1] + 1, dtype=dtype, device=rows.device)
    total[-1] = counts.sum(dtype=dtype)
    for part, count in zip(blocks(rows), torch.split(counts, len(blocks(rows)[0])), strict=True):
        total[:-1] += (count.T.to(dtype) @ part.to(dtype))[0]
    total = positions.total(total)
    return total[:-1] / total[-1].clamp_min(TINY)
