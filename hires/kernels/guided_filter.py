"""The guided filter: a smooth image whose edges are those of another.

K. He, J. Sun, X. Tang 2010, "Guided Image Filtering", equations 5, 6 and 8: in every window the
result is an affine function of the guide, ``q = a I + b``; a and b are averaged over the windows
that a pixel lies in.
"""

from __future__ import annotations

import torch
from torch import Tensor


def halo(radius: int) -> int:
    """How far a pixel of the result sees."""
    return 2 * radius


def guided_filter(image: Tensor, guide: Tensor, radius: int, least_variance: float) -> Tensor:
    """Smooth an image where its guide has no edges.

    Windows are cut off at the border. Time and memory do not depend on the radius.

    Args:
        image: (1, C, H, W).
        guide: (1, 1, H, W).
        radius: of the windows, in pixels: they measure ``2 radius + 1``.
        least_variance: of the guide within a window, from which on it is an edge.

    Returns:
        (1, C, H, W) float64; sums are taken in it.
    """
    image, guide = image.double(), guide.double()
    mean, level = _box_mean(image, radius), _box_mean(guide, radius)
    slope = _box_mean(image * guide, radius) - mean * level
    slope /= _box_mean(guide * guide, radius) - level * level + least_variance
    offset = mean - slope * level
    return _box_mean(slope, radius) * guide + _box_mean(offset, radius)


def _box_mean(image: Tensor, radius: int) -> Tensor:
    """Means over windows, as differences of running sums."""
    for dim in (2, 3):
        side = image.shape[dim]
        positions = torch.arange(side, device=image.device)
        stops = (positions + radius + 1).clamp_max(side)
        starts = (positions - radius).clamp_min(0)
        sums = torch.zeros_like(image.narrow(dim, 0, 1))
        sums = torch.cat([sums, image.cumsum(dim)], dim)
        shape = (-1, 1) if dim == 2 else (-1,)
        windows = sums.index_select(dim, stops) - sums.index_select(dim, starts)
        image = windows / (stops - starts).view(shape)
    return image
