"""Guides of regions at the layers of a network: who sees across a border does not count.

A feature looks at pixels around its position. Near the border of a region it would bring what lies
beyond into the region's moments, and paint the region's style over there; so a guide is eroded by
what the layer sees (Gatys et al. 2017, "Controlling perceptual factors", section 4). That is less
than its halo: the weight of pixels falls steeply from the middle of a receptive field (Luo et al.
2016, "Understanding the effective receptive field"), and a strip as wide as the halo would be seen
along the border, for no deep layer paints there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Share of a halo by which guides are eroded. A style's slope 8 to 12 pixels beyond its border is 2%
# of what it is within, then (0.1% with 1/2, 11% with 1/4), and strokes reach the border.
_SEEN = 1 / 3
# Of a region that is left at a layer, or it is eroded less: moments of a few positions say little.
_LEAST_SHARE = 0.5


def eroded(
    mask: Tensor,
    stride: int,
    halo: int,
    pictures: Sequence[tuple[slice, slice]],
    seen: Tensor | None = None,
) -> Tensor:
    """How much each position of a layer counts for a region.

    A position counts as much as the pixel of the region that counts least among those that its
    feature sees well, within a third of its halo. Beyond a picture nothing is seen. Where less than
    half of the region would be left, its erosion is halved until it is not; at last each position
    has the mean of its pixels.

    Args:
        mask: (1, 1, height, width) in [0, 1], how much each pixel belongs to the region.
        stride: pixels of a position, along each side.
        halo: how far a feature sees beyond those, in pixels.
        pictures: rows and columns of the pictures that lie side by side.
        seen: (1, 1, H, W) in [0, 1], how much of each position can be seen; None for all.

    Returns:
        (1, 1, H, W), as large as the layer.
    """
    plain = F.avg_pool2d(mask, stride)
    if halo == 0:
        return plain if seen is None else plain * seen
    # Of each position's own pixels, the one that counts least.
    least = -F.max_pool2d(-mask, stride)
    whole, radius = float(plain.double().sum()), math.ceil(halo * _SEEN / stride)
    while radius:
        found = _least_around(least, radius, stride, pictures)
        if float(found.double().sum()) >= _LEAST_SHARE * whole:
            break
        radius //= 2
    else:
        found = plain
    return found if seen is None else found * seen


def _least_around(
    cells: Tensor, radius: int, stride: int, pictures: Sequence[tuple[slice, slice]]
) -> Tensor:
    """The least value within a square around each cell, in each picture by itself."""
    found = torch.zeros_like(cells)
    for rows, columns in pictures:
        index = (
            slice(rows.start // stride, rows.stop // stride),
            slice(columns.start // stride, columns.stop // stride),
        )
        part, side = -cells[..., *index], 2 * radius + 1
        part = F.max_pool2d(part, (side, 1), 1, (radius, 0))
        found[..., *index] = -F.max_pool2d(part, (1, side), 1, (0, radius))
    return found
