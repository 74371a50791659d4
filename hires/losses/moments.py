"""Moments of features: the sums that style losses are functions of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from torch import Tensor

from hires.kernels.matrix_roots import square_roots

TINY = 1e-12  # Keeps a ratio finite for a dead layer; far below any layer's power.


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
        return (1e-4 * self.variance.mean() + TINY) * identity

    @cached_property
    def covariance_root(self) -> Tensor:
        """(C, C), symmetric square root of covariance plus ridge; not differentiable."""
        return square_roots((self.covariance + self.ridge).detach())[0]


def blend(moments: Sequence[Moments], weights: Sequence[float]) -> Moments:
    """Mix several styles: the weighted mean of their per-position moments, as one position's."""
    scale = sum(weights)
    parts = [
        Moments(0, m.mean * (w / scale), m.gram * (w / scale))
        for m, w in zip(moments, weights, strict=True)
    ]
    mixed = reduce(lambda a, b: a + b, parts)
    return Moments(1, mixed.total, mixed.product)
