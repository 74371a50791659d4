"""Central moments: how features are spread to either side of their mean, channel by channel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from math import comb
from typing import Self

import torch
from torch import Tensor

from hires.kernels.powers import NUM_POWERS, power_sums
from hires.kernels.sums import nothing
from hires.losses.positions import View
from hires.losses.regional import Regional, of_region
from hires.losses.terms import References, Statistics, Term, Verdict

# What powers of the styles are taken about, between those of a feature of 0 and of a large one.
_MIDDLE = 0.75
# Variance that is added to every channel's: a hundredth of the sigmoid's range, within which
# rounding may decide about fifth powers.
_FLOOR = 1e-4


@dataclass(frozen=True, eq=False, kw_only=True)
class Central(Term):
    """Central moments up to the fifth that shall be those of the styles: skew and tails, too.

    Of each channel of ``x = σ(f)``, the sigmoid of the features, they are the mean ``c₁`` and
    ``cₖ = E (x - c₁)ᵏ`` (central moment discrepancy, Kalischek et al. 2021, arXiv 2103.07208).
    The paper takes features before their ReLU, here they are those of the layers that are named;
    and it adds up ``‖cₖ - cₖₜ‖``, of which hardly more than the mean is left where features spread
    little. See `central_loss` for what is added up here.

    Each region has its own; the loss is that of each by its share of the canvas.

    Attributes:
        layers: what each layer's loss counts.
        styles: the style that a layer takes, by its place from 0; all where none is named.
        weight: of the term.
        targets: (5, C) of the styles, blended, about the centres; of every layer, for each region.
        centres: (C,) what powers are taken about: the mean of the styles.
        canvas: how many positions there are.
    """

    layers: Mapping[str, float]
    styles: Mapping[str, int] = field(default_factory=dict)
    weight: float = 1.0
    name: str = "central"
    targets: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
    centres: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
    canvas: Regional = field(default_factory=Regional)

    def at(self, references: References) -> Self:
        """Measure the styles of a rung and blend them, position for position, by their shares."""
        means = {
            name: [_MIDDLE + one[0] for one in each] for name, each in self._powers(references)
        }
        centred = replace(self, centres=means, canvas=Regional.of(references, self.layers))
        found = {
            name: [central_moments(one) for one in each]
            for name, each in centred._powers(references)
        }
        return replace(centred, targets=found)

    def _powers(self, references: References) -> Iterator[tuple[str, list[Tensor]]]:
        """Means of powers (5, C) of the styles, blended; of every layer, for each region."""
        each = references.of_styles(self)
        for name in self.layers:
            regions = [*enumerate(references.regions_of(self.styles.get(name)))]
            yield (
                name,
                [_blended(of_region(each, name, i, shares), _name(i)) for i, shares in regions],
            )

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Sums of powers, (5, C) in each region."""
        return self._sums(view, features, are_known=False)

    def _sums(self, view: View, features: Tensor, *, are_known: bool) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        centres = self.centres.get(view.layer, [])
        for number, part in enumerate(view.regional):
            if part is None:
                shape = NUM_POWERS, features.shape[1]
                found[_name(number)] = nothing(features, shape, view.sum_dtype)
                continue
            centre = (
                centres[number] if centres else features.new_full((features.shape[1],), _MIDDLE)
            )
            found[_name(number)] = power_sums(
                features, centre, view.sum_dtype, mask=part.mask, are_known=are_known
            )
        return found

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """The layers' losses, added up by their shares."""

        def of_layer(name: str) -> Tensor:
            def loss(region: int) -> Tensor:
                powers = statistics[name][_name(region)] / self.canvas.counts[name][region]
                target, centre = (one[name][region] for one in (self.targets, self.centres))
                return central_loss(central_moments(powers), target, centre)

            return self.canvas.mean(name, loss, statistics[name])

        return reduce(torch.add, (share * of_layer(name) for name, share in self.layers.items()))

    def local(self, view: View, features: Tensor, verdict: Verdict) -> Tensor:
        """Sums are not taken a second time."""
        found = self._sums(view, features, are_known=True)
        return reduce(
            torch.add, ((verdict.slopes[name] * part).sum() for name, part in found.items())
        )


def central_moments(powers: Tensor) -> Tensor:
    """Mean ``c₁`` and central moments ``c₂`` to ``c₅``, (5, C), of as many raw ones.

    Args:
        powers: (5, C), means of ``(x - a)ᵏ`` about any a; the mean is then that of ``x - a``.
    """
    off, raw = powers[0], [torch.ones_like(powers[0]), *powers]
    about_mean = [
        reduce(torch.add, (comb(k, j) * raw[j] * (-off) ** (k - j) for j in range(k + 1)))
        for k in range(2, NUM_POWERS + 1)
    ]
    return torch.stack([off, *about_mean])


def central_loss(moments: Tensor, target: Tensor, centre: Tensor) -> Tensor:
    """Mean over k of ``‖rₖ - rₖₜ‖²``, the moments as `lengths`, over the power of the style.

    The power is that of ``x - ½``, which a feature of 0 has none of.

    Args:
        moments: (5, C) of `central_moments`, the mean being told from the centre.
        target: those of the style.
        centre: (C,), its mean.
    """
    wanted = torch.cat([0 * target[:1], target[1:]])
    distance = (lengths(moments) - lengths(wanted)).square().sum(1).mean()
    return distance / ((centre - 0.5).square() + target[1] + _FLOOR).sum()


def lengths(moments: Tensor) -> Tensor:
    """Central moments as lengths in the unit of ``x``, (5, C): something like their k-th roots.

    ``rₖ = √v zₖ (1 + zₖ²)^((1 - k) / 2k)``, where ``v`` is the variance plus a little and
    ``zₖ = cₖ / √vᵏ``. So each order counts alike, at any spread, no far tail counts for all, and
    moments of 0 have a slope.
    """
    spread = (moments[1].clamp_min(0) + _FLOOR).sqrt()
    orders = torch.arange(1, NUM_POWERS + 1, dtype=spread.dtype, device=spread.device)[:, None]
    relative = moments / spread**orders
    return spread * relative * (1 + relative.square()) ** ((1 - orders) / (2 * orders))


def _blended(styles: Iterable[tuple[Statistics, float, float]], name: str) -> Tensor:
    """Means of powers (5, C) of several styles."""
    return reduce(torch.add, (share * sums[name] / count for sums, count, share in styles))


def _name(region: int) -> str:
    """Of the sums of a region."""
    return f"powers{region}"
