"""Colours of one picture brought to the mean and covariance of another's by an affine map.

L. A. Gatys, M. Bethge, A. Hertzmann, E. Shechtman 2016, "Preserving Color in Neural Artistic Style
Transfer", section 3. Of covariances S and C, any M with ``M S Mᵀ = C`` will do; it is
``A B⁻¹`` of roots ``A Aᵀ = C`` and ``B Bᵀ = S``, and which roots those are is a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Rows of a picture that are looked at at a time.
BAND_ROWS = 64
# Of the largest eigenvalue: below it a direction of colour does not vary, and cannot be stretched.
_NOTHING = 1e-7
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """What is known of the colours of a picture.

    Attributes:
        mean: (C,) float64.
        covariance: (C, C) float64.
    """

    mean: Tensor
    covariance: Tensor


def bands(height: int) -> Iterator[slice]:
    """The rows of a picture, some at a time."""
    for top in range(0, height, BAND_ROWS):
        yield slice(top, min(top + BAND_ROWS, height))


def colours_of(pixels: Tensor, mask: Tensor | None = None, convert: Map | None = None) -> Colours:
    """Mean and covariance over all pixels.

    Args:
        pixels: (1, C, H, W).
        mask: (1, 1, H, W) in [0, 1], how much each counts; None for all alike.
        convert: what is looked at, of some of its rows (1, C, h, W).
    """
    num, total, products = 0.0, torch.zeros(()), torch.zeros(())
    for rows in bands(pixels.shape[2]):
        band = pixels[..., rows, :] if convert is None else convert(pixels[..., rows, :])
        values = band.double().flatten(2)[0]
        weights = None if mask is None else mask[..., rows, :].double().flatten()
        weighted = values if weights is None else values * weights
        num += values.shape[1] if weights is None else float(weights.sum())
        total, products = total + weighted.sum(1), products + weighted @ values.T
    mean = total / num
    return Colours(mean, products / num - torch.outer(mean, mean))


def mixed(colours: Sequence[Colours], shares: Sequence[float]) -> Colours:
    """Those of several pictures taken together, which count by shares that sum to 1."""
    each = list(zip(colours, shares, strict=True))
    mean = torch.stack([share * one.mean for one, share in each]).sum(0)
    second = [share * (one.covariance + torch.outer(one.mean, one.mean)) for one, share in each]
    return Colours(mean, torch.stack(second).sum(0) - torch.outer(mean, mean))


def matching(source: Colours, target: Colours, root: str) -> Map:
    """What takes pixels (1, C, H, W) of one picture to the mean and covariance of another.

    Directions in which the source does not vary at all stay flat.

    Args:
        source: the picture that is changed.
        target: the one that it is matched to.
        root: pca, symmetric or cholesky.
    """
    onto, _ = _root(target.covariance, root)
    _, away = _root(source.covariance, root)
    if root == "pca":
        # Axes have no direction: each is taken in that which turns colours least.
        turned = (_axes(source.covariance) * _axes(target.covariance)).sum(0)
        onto = onto * torch.where(turned < 0, -1.0, 1.0)
    matrix = onto @ away
    shift = target.mean - matrix @ source.mean

    def match(pixels: Tensor) -> Tensor:
        found = torch.einsum("ij,bjhw->bihw", matrix.to(pixels), pixels)
        return found.add_(shift.to(pixels)[:, None, None])

    return match


def _axes(covariance: Tensor) -> Tensor:
    vectors: Tensor = torch.linalg.eigh(covariance).eigenvectors
    return vectors


def _root(covariance: Tensor, root: str) -> tuple[Tensor, Tensor]:
    """A root of a covariance, and its (pseudo-)inverse."""
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0)
    varies = values > _NOTHING * values[-1]
    scales = torch.where(varies, values.sqrt(), 0.0)
    inverse = torch.where(varies, 1 / scales, 0.0)
    if root == "pca":
        return vectors * scales, (vectors * inverse).T
    if root == "symmetric":
        return (vectors * scales) @ vectors.T, (vectors * inverse) @ vectors.T
    # The Cholesky root, also of a covariance that has no inverse: A Aᵀ = Rᵀ R with Aᵀ = Q R.
    upper = torch.linalg.qr((vectors * scales).T).R
    lower = (upper * upper.diagonal().sign()[:, None]).T
    return lower, torch.linalg.pinv(lower, rtol=_NOTHING**0.5)
