"""Losses over moments and over pixels, the only two kinds that a tile walk can add up exactly.

Every style loss is relative: the squared distance to the style's statistic over the squared size of
that statistic. A weight therefore means the same for every layer, network and picture size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.kernels import MomentSums


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over positions of features ``f`` and of ``f fᵀ``: everything that a style loss needs.

    Attributes:
        count: number of positions n.
        total: (C,), Σf.
        product: (C, C), Σf fᵀ.
    """

    count: int
    total: Tensor
    product: Tensor

    def __add__(self, other: Moments) -> Moments:
        """Moments of two disjoint sets of positions."""
        return Moments(
            self.count + other.count, self.total + other.total, self.product + other.product
        )

    @property
    def mean(self) -> Tensor:
        """(C,), the mean feature."""
        return self.total / self.count

    @property
    def gram(self) -> Tensor:
        """(C, C), the second moment (Gatys et al. 2016, eq. 3), divided by the number of positions."""
        return self.product / self.count

    @property
    def covariance(self) -> Tensor:
        """(C, C), population covariance."""
        return self.gram - torch.outer(self.mean, self.mean)

    @property
    def variance(self) -> Tensor:
        """(C,), population variance, at least zero."""
        return (self.gram.diagonal() - self.mean.square()).clamp_min(0)


def measure(
    features: Tensor, window: tuple[slice, slice], dtype: torch.dtype, *, exact: bool
) -> Moments:
    """Moments of ``features[..., *window]``, differentiable.

    Args:
        features: (1, C, H, W), any float dtype.
        window: rows and columns to count.
        dtype: type of the sums.
        exact: whether products of half-precision features stay unrounded, as covariances need.
    """
    total, product = MomentSums.apply(features, window, dtype, exact)
    height, width = features[0, 0, *window].shape
    return Moments(height * width, total, product)


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
    """``‖G - Gₜ‖² / ‖Gₜ‖²`` with Gram matrices per position (Gatys et al. 2016, eq. 4, relative)."""
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
    covariances get 1e-4 of the target's mean variance on the diagonal, so that their roots exist.
    """
    size = target.covariance.shape[0]
    ridge = 1e-4 * target.variance.mean() + _TINY
    eye = torch.eye(size, dtype=target.total.dtype, device=target.total.device)
    covariance, wanted = moments.covariance + ridge * eye, target.covariance + ridge * eye
    root = _symmetric_root(wanted.detach())
    cross = TraceRoot.apply(root @ covariance @ root)
    distance = (moments.mean - target.mean).square().sum()
    distance = distance + covariance.diagonal().sum() + wanted.diagonal().sum() - 2 * cross
    return distance / (target.gram.diagonal().sum() + _TINY)


STYLE_LOSSES: dict[str, StyleLoss] = {
    "gram": gram_loss,
    "meanstd": mean_std_loss,
    "wasserstein": wasserstein_loss,
}
# Losses of spreads: the mean is subtracted from the second moment, so its rounding must not show.
CENTRED_LOSSES: frozenset[StyleLoss] = frozenset({mean_std_loss, wasserstein_loss})


def _symmetric_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


class TraceRoot(Function):
    """``tr(M^½)`` of a symmetric positive definite matrix; its gradient is ``½ M^-½``."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        """Take both roots from one coupled Newton-Schulz iteration."""
        root, inverse = newton_schulz(matrix)
        ctx.save_for_backward(inverse)
        return root.diagonal().sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The derivative of the trace of a square root."""
        (inverse,) = ctx.saved_tensors
        return 0.5 * gradients[0] * inverse


def newton_schulz(
    matrix: Tensor, *, max_steps: int = 60, tolerance: float = 1e-13
) -> tuple[Tensor, Tensor]:
    """Square root and inverse square root by the coupled iteration (Higham 2008, eq. 6.35).

    Args:
        matrix: (C, C), symmetric positive definite, float32 or float64.
        max_steps: most iterations; a condition number of 1e8 needs about 40.
        tolerance: relative change at which the iteration is at rest.

    Returns:
        ``M^½`` and ``M^-½``, both symmetric.
    """
    size = matrix.shape[0]
    eye = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    # The iteration converges for eigenvalues in (0, 3); a norm bounds them all, the trace does not
    # spread them as far when one direction dominates.
    scale = torch.linalg.matrix_norm(matrix)
    y, z = matrix / scale, eye
    for _ in range(max_steps):
        step = 1.5 * eye - 0.5 * (z @ y)
        y, z = y @ step, step @ z
        if (step - eye).abs().max() < max(tolerance, 4 * torch.finfo(matrix.dtype).eps):
            break
    y, z = (y + y.T) / 2, (z + z.T) / 2
    return y * scale.sqrt(), z / scale.sqrt()


# Gradient of a sixth of the sum over pairs of neighbours of their squared difference, the diagonal
# pairs counted half (so that the weights around a pixel sum to one).
_TV_KERNEL = ((-0.5, -1.0, -0.5), (-1.0, 6.0, -1.0), (-0.5, -1.0, -0.5))


def total_variation(window: Tensor, edges: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Squared total variation of a window of the canvas, and its exact gradient.

    Nine-point: a sixth of the sum over pairs of neighbours of their squared difference, diagonal pairs
    counted half, the picture replicated at its border. Own stencil rather than kornia's (which sums
    ``|∂x| + |∂y|`` along two axes): the diagonals damp the checkerboards that pooling leaves behind,
    and a square has no kink at zero. Being a quadratic form it is ``½ Σ x·(its gradient)``.

    Args:
        window: (1, 3, h, w), a region of the canvas with one more pixel on every inner side.
        edges: top, bottom, left, right; 1 where the canvas ends there and has to be replicated.

    Returns:
        The sum over the inner region (not divided by anything), and its gradient (1, 3, h', w').
        Summed over regions that partition the canvas, both are those of the whole canvas.
    """
    top, bottom, left, right = edges
    x = F.pad(window, (left, right, top, bottom), mode="replicate")
    kernel = (torch.tensor(_TV_KERNEL, dtype=x.dtype, device=x.device) / 3).view(1, 1, 3, 3)
    gradient = F.conv2d(x.transpose(0, 1), kernel).transpose(0, 1)
    inner = x[..., 1:-1, 1:-1]
    return 0.5 * (inner.double() * gradient.double()).sum(), gradient
