"""Losses over moments and over pixels, the only two kinds that a tile walk can add up exactly.

The house's style losses are relative: the squared distance to the style's statistic over the
squared size of that statistic. A weight therefore means the same for every layer, network and
picture size. Those of the presets are as their documents state them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.kernels.operations import moment_sums
from hires.kernels.matrix_roots import CrossTrace, square_roots


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over positions of features ``f`` and of ``f fᵀ``: everything that a style loss needs.

    With a mask every position counts as much as its weight ``m`` (Gatys et al. 2017, eq. 6).

    Attributes:
        count: number of positions n, or Σm.
        total: (C,), Σf.
        product: (C, C), Σf fᵀ.
    """

    count: float
    total: Tensor
    product: Tensor

    def __add__(self, other: Moments) -> Moments:
        """Moments of two disjoint sets of positions."""
        return Moments(
            self.count + other.count, self.total + other.total, self.product + other.product
        )

    @cached_property
    def mean(self) -> Tensor:
        """(C,), the mean feature."""
        return self.total / self.count

    @cached_property
    def gram(self) -> Tensor:
        """(C, C), the second moment (Gatys et al. 2016, eq. 3) per position."""
        return self.product / self.count

    @cached_property
    def covariance(self) -> Tensor:
        """(C, C), population covariance."""
        return self.gram - torch.outer(self.mean, self.mean)

    @cached_property
    def variance(self) -> Tensor:
        """(C,), population variance, at least zero."""
        return (self.gram.diagonal() - self.mean.square()).clamp_min(0)

    @cached_property
    def ridge(self) -> Tensor:
        """(C, C), 1e-4 of the mean variance on the diagonal: what makes a covariance invertible."""
        identity = torch.eye(len(self.total), dtype=self.total.dtype, device=self.total.device)
        return (1e-4 * self.variance.mean() + _TINY) * identity

    @cached_property
    def covariance_root(self) -> Tensor:
        """(C, C), symmetric square root of covariance plus ridge; not differentiable."""
        return square_roots((self.covariance + self.ridge).detach())[0]


def measure(
    features: Tensor, dtype: torch.dtype, *, exact: bool, mask: Tensor | None = None
) -> Moments:
    """Moments of features, differentiable.

    Args:
        features: (1, C, H, W), any float dtype.
        dtype: type of the sums.
        exact: whether products of half-precision features stay unrounded, as covariances need.
        mask: (1, 1, H, W) in [0, 1], how much each position counts; None for all alike.
    """
    total, product = moment_sums(features, dtype, exact=exact, mask=mask)
    height, width = features.shape[2:]
    count = height * width if mask is None else float(mask.sum(dtype=dtype))
    return Moments(count, total, product)


def blend(moments: Sequence[Moments], weights: Sequence[float]) -> Moments:
    """Mix several styles: the weighted mean of their per-position moments, as one position's."""
    scale = sum(weights)
    parts = [
        Moments(0, m.mean * (w / scale), m.gram * (w / scale))
        for m, w in zip(moments, weights, strict=True)
    ]
    mixed = reduce(lambda a, b: a + b, parts)
    return Moments(1, mixed.total, mixed.product)


StyleLoss = Callable[[Moments, Moments], Tensor]
_TINY = 1e-12  # Keeps a ratio finite for a dead layer; far below any layer's power.


def gram_loss(moments: Moments, target: Moments) -> Tensor:
    """``‖G - Gₜ‖² / ‖Gₜ‖²``, Gram matrices per position (Gatys et al. 2016, eq. 4, relative)."""
    return (moments.gram - target.gram).square().sum() / (target.gram.square().sum() + _TINY)


def mean_std_loss(moments: Moments, target: Moments) -> Tensor:
    """``(‖μ - μₜ‖² + ‖σ - σₜ‖²) / (‖μₜ‖² + ‖σₜ‖²)`` (Huang & Belongie 2017, eq. 13, relative).

    Every variance gets 1e-8 of the target's mean power, so that its root has a slope.
    """
    floor = 1e-8 * target.gram.diagonal().mean() + _TINY
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
    return distance / (target.gram.diagonal().sum() + _TINY)


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


def total_variation(window: Tensor, edges: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Squared total variation of a window of the canvas, and its exact gradient.

    Nine-point: a sixth of the sum over pairs of neighbours of their squared difference, diagonal
    pairs counted half, the picture replicated at its border. Own stencil rather than kornia's
    (which sums ``|∂x| + |∂y|`` along two axes): the diagonals damp the checkerboards that pooling
    leaves behind, and a square has no kink at zero. Being a quadratic form it is ``½ Σ x·(its
    gradient)``.

    Args:
        window: (1, 3, h, w), a region of the canvas with one more pixel on every inner side.
        edges: top, bottom, left, right; 1 where the canvas ends there and has to be replicated.

    Returns:
        The sum over the inner region (not divided by anything), and its gradient (1, 3, h', w').
        Summed over regions that partition the canvas, both are those of the whole canvas.
    """
    top, bottom, left, right = edges
    x = F.pad(window, (left, right, top, bottom), mode="replicate")
    inner = x[..., 1:-1, 1:-1]
    # The sum over neighbours is half of a separable 1-2-1 filter, less the pixel itself: sums of
    # shifted views, which on a CPU take a tenth of the time of a convolution.
    rows = torch.add(x[..., :-2, :], x[..., 2:, :]).add_(x[..., 1:-1, :], alpha=2)
    smooth = torch.add(rows[..., :-2], rows[..., 2:]).add_(rows[..., 1:-1], alpha=2)
    gradient = smooth.mul_(-1 / 6).add_(inner, alpha=8 / 3)
    return 0.5 * (inner * gradient).sum(), gradient
