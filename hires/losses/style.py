"""Style: losses of a canvas's moments and a style's.

The house's own are relative: the squared distance to the style's statistic over the squared size of
that statistic. A weight therefore means the same for every layer, network and picture size. Those
of the presets are as their documents state them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Self

import torch
from torch import Tensor

from hires.kernels.matrix_roots import CrossTrace
from hires.kernels.sums import moment_sums
from hires.losses.moments import TINY, Moments, blend
from hires.losses.positions import View
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
    """Moments that shall be those of the styles.

    Attributes:
        loss: distance of moments to a target's.
        layers: what each layer's loss counts; `shares_of` makes them from weights.
        weight: of the term.
        targets: moments of the styles, blended; of every layer.
        counts: positions of every layer of the canvas.
        num_pixels: of the canvas.
        exact: whether products of half-precision features stay unrounded; None where the loss
            needs it.
    """

    loss: StyleLoss
    layers: Mapping[str, float]
    weight: float = 1.0
    name: str = "style"
    targets: Mapping[str, Moments] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    num_pixels: float = 1.0
    exact: bool | None = None

    def at(self, references: References) -> Self:
        """Measure the styles of a rung and blend them, position for position, by their shares."""
        positions = references.positions
        each = references.of_styles(replace(self, exact=True))
        targets = {
            name: blend([moments_of(style, name) for style in each], references.shares)
            for name in self.layers
        }
        counts = {name: positions.count(name) for name in self.layers}
        return replace(self, targets=targets, counts=counts, num_pixels=positions.num_pixels)

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Sums of the features and of their outer products."""
        exact = self.loss in CENTRED_LOSSES if self.exact is None else self.exact
        total, product = moment_sums(features, view.sum_dtype, exact=exact, mask=view.mask)
        return {"total": total, "product": product}

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """The layers' losses, added up by their shares."""
        losses = [share * self._distance(name, statistics) for name, share in self.layers.items()]
        found = reduce(torch.add, losses)
        return found / self.num_pixels**2 if self.loss in SUMMED_LOSSES else found

    def _distance(self, layer: str, statistics: Mapping[str, Statistics]) -> Tensor:
        sums = statistics[layer]
        moments = Moments(self.counts[layer], sums["total"], sums["product"])
        return self.loss(moments, self.targets[layer])


def shares_of(layers: Mapping[str, float], reduction: str) -> dict[str, float]:
    """What each layer's loss counts in its term.

    Args:
        layers: their weights.
        reduction: ``mean``, where only ratios of the weights matter, or ``sum``.
    """
    total = sum(layers.values()) if reduction == "mean" else 1.0
    return {name: weight / total for name, weight in layers.items()}


def moments_of(measured: Measured, layer: str) -> Moments:
    """A layer's moments, of what a `Style` has measured."""
    sums = measured.statistics[layer]
    return Moments(measured.positions.count(layer), sums["total"], sums["product"])
