"""Colours: the distance of two pictures' histograms of log-chroma."""

from __future__ import annotations

import torch
from torch import Tensor

from hires.image.resample import resize

# As published: bins along each axis, over which range, and the width of what a pixel counts in.
_BINS, _RANGE, _WIDTH = 64, 3.0, 0.02
_LARGEST, _TINY = 256, 1e-6
_PIXELS_AT_ONCE = 8192


def palette_distance(picture: Tensor, other: Tensor) -> float:
    """Hellinger distance of two RGB-uv histograms, 0 (the same) to 1 (no colour in common).

    Afifi et al. 2021 (HistoGAN, arXiv 2011.11731), eq. 1 to 4: three histograms of 64 x 64 bins, of
    the logarithms of a channel over the other two, with an inverse quadratic kernel; each pixel
    counts by its brightness. Pictures are looked at with a long side of 256 px.

    Args:
        picture: (1, 3, H, W) in [0, 1].
        other: the same, of any size.
    """
    roots = [_histogram(image).sqrt() for image in (picture, other)]
    return float((roots[0] - roots[1]).square().sum().sqrt() / 2**0.5)


def _histogram(image: Tensor) -> Tensor:
    """(3, 64, 64) float64; sums to 1."""
    height, width = image.shape[2:]
    scale = min(_LARGEST / max(height, width), 1.0)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    pixels = resize(image, size, clamp=True)[0].flatten(1).double()
    bins = torch.linspace(-_RANGE, _RANGE, _BINS, dtype=torch.float64)
    total = torch.zeros(3, _BINS, _BINS, dtype=torch.float64)
    for part in torch.split(pixels, _PIXELS_AT_ONCE, dim=1):
        logs, weight = (part + _TINY).log(), part.square().sum(0).sqrt()
        for channel in range(3):
            u, v = (
                1 / (1 + ((logs[channel] - logs[other])[:, None] - bins).square() / _WIDTH**2)
                for other in range(3)
                if other != channel
            )
            total[channel] += (u * weight[:, None]).mT @ v
    return total / total.sum()
