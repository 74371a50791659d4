"""Style: losses of a canvas's moments and a style's.

The house's own are relative: the squared distance to the style's statistic over the squared size of
that statistic. A weight therefore means the same for every layer, network and picture size. Those
of the presets are as their documents state them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Self

import torch
from torch import Tensor

from hires.kernels.matrix_roots import CrossTrace
from hires.kernels.sums import moment_sums, nothing
from hires.losses.moments import TINY, Moments, blend
from hires.losses.positions import View
from hires.losses.regional import Regional, count_of, of_region
from hires.losses.terms import Measured, References, Statistics, Term

StyleLoss = Callable[[Moments, Moments], Tensor]


def gram_loss(moments: Moments, target: Moments) -> Tensor:
    """``‖G - Gₜ‖² / ‖Gₜ‖²``, Gram matrices per position (Gatys et al. 2016, eq. 4, relative)."""
    return (moments.gram - target.gram).square().sum() / (target.gram.square().sum() + TINY)


def mean_std_loss(moments: Moments, target: Moments) -> Tensor:
    """``(‖μ - μₜ‖² + ‖σ - σₜ‖²) / (‖μₜ‖² + ‖σₜ‖²)`` (Huang & Belongie 2017, eq. 13, relative).

    Every variance gets 1e-8 of the target's mean power, so that its root has a slope.
    """
    floor = 1e-8 * target.gram.diagonal().mean() + TINY
    deviation, wanted = (moments.variance + floor).sqrt(), (target.variance + floor).sqrt()
    distance = (moments.mean - target.mean).square().sum() + (deviation - wanted).square().sum()
    return distance / (target.mean.square().sum() + wanted.square().sum())


def wasserstein_loss(moments: Moments, target: Moments) -> Tensor:
    """Squared 2-Wasserstein distance of two Gaussians over the target's power.

    ``‖μ - μₜ‖² + tr(Σ + Σₜ - 2 (Σₜ^½ Σ Σₜ^½)^½)`` (Olkin & Pukelsheim 1982), over ``tr Gₜ``. Both
    covariances get the target's ridge, so that their roots exist.
    """
    root, covariance = target.covariance_root, moments.covariance + target.ridge
    cross: Tensor = CrossTrace.apply(covariance, root)
    distance = (moments.mean - target.mean).square().sum() + covariance.diagonal().sum()
    distance = distance + (target.covariance + target.ridge).diagonal().sum() - 2 * cross
    return distance / (target.gram.diagonal().sum() + TINY)


def gram_mse_loss(moments: Moments, target: Moments) -> Tensor:
    """``mean(Δ(F Fᵀ / (C N))²)`` over the C² entries: not relative, as tutorials have it.

    PyTorch's tutorial (A. Jacq) and Dive into Deep Learning, the preset's ``tutorial`` and ``d2l``.
    """
    num_channels = len(moments.total)
    return ((moments.gram - target.gram) / num_channels).square().mean()


def gram_sum_loss(moments: Moments, target: Moments) -> Tensor:
    """``Σ Δ(F Fᵀ)² / (4 · 3²)``, the Gram matrices being sums over the canvas's positions.

    F. Chollet's form, the preset ``keras``. It is still to be divided by the square of the number
    of *pixels* (`SUMMED_LOSSES`), which moments do not know. The target's Gram matrix is taken per
    position and counted as often as the canvas has positions, so that its size does not matter.
    """
    return ((moments.gram - target.gram) * moments.count).square().sum() / 36


STYLE_LOSSES: dict[str, StyleLoss] = {
    "gram": gram_loss,
    "meanstd": mean_std_loss,
    "wasserstein": wasserstein_loss,
    "gram-mse": gram_mse_loss,
    "gram-sum": gram_sum_loss,
}
# Losses of sums over positions: to be divided by the square of the number of pixels.
SUMMED_LOSSES: frozenset[StyleLoss] = frozenset({gram_sum_loss})
# Losses of spreads: the mean is subtracted from the second moment, so its rounding must not show.
CENTRED_LOSSES: frozenset[StyleLoss] = frozenset({mean_std_loss, wasserstein_loss})


@dataclass(frozen=True, eq=False, kw_only=True)
class Style(Term):
    """Moments that shall be those of the styles, in each region by itself.

    The loss is that of each region by its share of the canvas, so that a pixel's balance with other
    terms is that of a canvas without regions.

    Several losses judge the same sums, which are taken once.

    Attributes:
        losses: distances of moments to a target's, and what each counts.
        layers: what each layer's loss counts; `shares_of` makes them from weights.
        styles: the style that a layer takes, by its place from 0, in each region that has it; all
            by their shares where none is named.
        weight: of the term.
        targets: moments of the styles, blended; of every layer, for each region.
        canvas: how many positions there are.
        num_pixels: of the canvas.
        exact: whether products of half-precision features stay unrounded; None where the loss
            needs it.
    """

    losses: Mapping[StyleLoss, float]
    layers: Mapping[str, float]
    styles: Mapping[str, int] = field(default_factory=dict)
    weight: float = 1.0
    name: str = "style"
    targets: Mapping[str, Sequence[Moments]] = field(default_factory=dict)
    canvas: Regional = field(default_factory=Regional)
    num_pixels: float = 1.0
    exact: bool | None = None

    def at(self, references: References) -> Self:
        """Measure the styles of a rung and blend them, position for position, by their shares."""
        each = references.of_styles(replace(self, exact=True))
        return replace(
            self,
            targets={
                name: [
                    blended(each, name, number, shares)
                    for number, shares in enumerate(references.regions_of(self.styles.get(name)))
                ]
                for name in self.layers
            },
            canvas=Regional.of(references, self.layers),
            num_pixels=references.positions.num_pixels,
        )

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Sums of the features and of their outer products, in each region."""
        exact = self.exact
        if exact is None:
            exact = not CENTRED_LOSSES.isdisjoint(self.losses)
        found: dict[str, Tensor] = {}
        for number, part in enumerate(view.regional):
            if part is None:
                channels, dtype = features.shape[1], view.sum_dtype
                sums = (
                    nothing(features, (channels,), dtype),
                    nothing(features, (channels, channels), dtype),
                )
            else:
                sums = moment_sums(features, view.sum_dtype, exact=exact, mask=part.mask)
            found |= dict(zip(_names(number), sums, strict=True))
        return found

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """The losses, each that of all layers by their shares."""
        return reduce(
            torch.add,
            (share * self._of_layers(one, statistics) for one, share in self.losses.items()),
        )

    def _of_layers(self, loss: StyleLoss, statistics: Mapping[str, Statistics]) -> Tensor:
        losses = []
        for name, share in self.layers.items():
            sums = statistics[name]
            regional = partial(self._regional, loss, name, sums=sums)
            losses.append(share * self.canvas.mean(name, regional, sums))
        found = reduce(torch.add, losses)
        return found / self.num_pixels**2 if loss in SUMMED_LOSSES else found

    def _regional(self, loss: StyleLoss, layer: str, number: int, sums: Statistics) -> Tensor:
        total, product = (sums[name] for name in _names(number))
        count, area = self.canvas.counts[layer][number], self.canvas.areas[number]
        if area != 1 and loss in SUMMED_LOSSES:
            # As if all of the canvas were like it: its share of that loss is a share.
            total, product, count = total / area, product / area, count / area
        return loss(Moments(count, total, product), self.targets[layer][number])


def _names(region: int) -> tuple[str, str]:
    """Of the sums of a region."""
    return f"total{region}", f"product{region}"


def shares_of(layers: Mapping[str, float], reduction: str) -> dict[str, float]:
    """What each layer's loss counts in its term.

    Args:
        layers: their weights.
        reduction: ``mean``, where only ratios of the weights matter, or ``sum``.
    """
    total = sum(layers.values()) if reduction == "mean" else 1.0
    return {name: weight / total for name, weight in layers.items()}


def blended(
    styles: Sequence[Measured], layer: str, region: int, shares: Sequence[float]
) -> Moments:
    """A layer's moments of a region's styles, of what a `Style` has measured.

    Raises:
        ConfigError: if nothing of a style is left for the region.
    """
    used = of_region(styles, layer, region, shares)
    moments = [_moments(sums, count, region) for sums, count, _ in used]
    return blend(moments, [share for _, _, share in used])


def moments_of(measured: Measured, layer: str, region: int = 0) -> Moments:
    """A layer's moments of a region, of what a `Style` has measured.

    Raises:
        ConfigError: if there is nothing of the region.
    """
    return _moments(measured.statistics[layer], count_of(measured, layer, region), region)


def _moments(sums: Statistics, count: float, region: int) -> Moments:
    return Moments(count, *(sums[name] for name in _names(region)))
