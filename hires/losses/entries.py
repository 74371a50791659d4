"""Features of styles at positions drawn by chance: what the dictionary of a region is made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hires.losses.matches import Dictionary
from hires.losses.moments import TINY
from hires.losses.positions import Positions, View
from hires.losses.regional import of_region
from hires.losses.terms import Measured, Statistics, Term

# Length of a feature about the mean, over the root of the mean square of all lengths, below which
# it has no direction worth asking for.
_LEAST_LENGTH = 0.02


@dataclass(frozen=True, eq=False, kw_only=True)
class Entries(Term):
    """Gathers a style's features at given positions of each layer, and adds up those of all.

    Attributes:
        layers: what is looked at.
        places: flat positions (n,) of every layer, for each region, in ascending order.
    """

    layers: Collection[str]
    places: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
    name: str = "entries"
    weight: float = 0.0

    @staticmethod
    def drawn(
        positions: Positions, layers: Collection[str], *, num_regions: int, most: int, seed: int
    ) -> Entries:
        """For a style: at most so many positions of each layer and region, as each counts there."""
        generator = torch.Generator().manual_seed(seed)
        return Entries(
            layers=layers,
            places={
                layer: [
                    _drawn(positions, layer, region, most, generator)
                    for region in range(num_regions)
                ]
                for layer in layers
            },
        )

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Rows of the drawn positions, those beyond the part being zero; sums over all of it."""
        (rows, columns), width, found = view.index, view.size[1], dict[str, Tensor]()
        for region, part in enumerate(view.regional):
            places = self.places[view.layer][region].to(features.device)
            down, across = places // width, places % width
            inside = (down >= rows.start) & (down < rows.stop)
            inside &= (across >= columns.start) & (across < columns.stop)
            gathered = features.new_zeros(len(places), features.shape[1])
            at = down[inside] - rows.start, across[inside] - columns.start
            gathered[inside] = features[0, :, at[0], at[1]].T
            counted = features if part is None or part.mask is None else features * part.mask
            found[f"entries{region}"] = gathered
            found[f"total{region}"] = counted.sum((0, 2, 3), dtype=view.sum_dtype)
            if part is None:
                found[f"total{region}"].zero_()
        return found

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """Nothing: it is only measured."""
        raise NotImplementedError


def _drawn(
    positions: Positions, layer: str, region: int, most: int, generator: torch.Generator
) -> Tensor:
    """Positions drawn without replacement, each as probable as it counts (Efraimidis 2006)."""
    height, width = positions.size_of(layer)
    draws = torch.rand(height * width, generator=generator, dtype=torch.float64)
    weights, num_places = positions.weights(layer, region), height * width
    if weights is not None:
        weights = weights.flatten().to("cpu", torch.float64)
        num_places = int((weights > 0).sum())
        draws = draws.log().div_(weights)  # -inf where nothing counts.
    return draws.topk(min(most, num_places)).indices.sort().values


def dictionary_of(
    styles: Sequence[Measured],
    layer: str,
    region: int,
    shares: Sequence[float],
    *,
    budget: int,
) -> Dictionary:
    """The entries of a region, drawn from its styles by their shares, about their mean.

    Args:
        styles: what an `Entries` has measured on each.
        layer: which layer.
        region: of the canvas.
        shares: how much each style counts there.
        budget: entries at most.

    Raises:
        ConfigError: if nothing of a style is left for the region.
    """
    means, rows = [], []
    for sums, count, share in of_region(styles, layer, region, shares):
        means.append(share * sums[f"total{region}"] / count)
        entries = sums[f"entries{region}"]
        # They are in the order of their positions: every n-th of them is from everywhere.
        wanted = max(min(round(share * budget), len(entries)), 1)
        chosen = torch.arange(wanted, device=entries.device) * len(entries) // wanted
        rows.append(entries[chosen])
    centre = torch.stack(means).sum(0)
    dtype = rows[0].dtype
    about = torch.cat(rows).to(centre.dtype) - centre
    lengths = torch.linalg.vector_norm(about, dim=1)
    least = _LEAST_LENGTH * float(lengths.square().mean().sqrt()) + TINY
    directions = about / lengths.clamp_min(least)[:, None]
    # A style of one colour has no direction at all; one entry of no length stands for that.
    directions = directions[lengths >= least] if bool((lengths >= least).any()) else directions[:1]
    wide = torch.promote_types(dtype, torch.float32)
    return Dictionary(directions.to(dtype).contiguous(), centre.to(wide), least)
