"""Canvases that wrap: what lies beyond a border is what lies within the opposite one."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from hires.image.resample import resize

# Pixels of the larger of two sizes that a cubic kernel looks at, on either side.
_REACH = 4


def wrapped(image: Tensor, margin: int) -> Tensor:
    """A picture (1, C, H, W) with ``margin`` pixels of what comes next on each side of it."""
    for dim in (2, 3) if margin else ():
        parts = _parts(image.shape[dim], margin)
        image = torch.cat([image.narrow(dim, first, length) for _, first, length in parts], dim)
    return image


def folded(gradient: Tensor, margin: int) -> Tensor:
    """The gradient of a picture from that of what `wrapped` made of it: every copy adds its own."""
    for dim in (2, 3) if margin else ():
        side = gradient.shape[dim] - 2 * margin
        found = gradient.narrow(dim, margin, side).clone()
        for start, first, length in _parts(side, margin):
            if start != margin:
                found.narrow(dim, first, length).add_(gradient.narrow(dim, start, length))
        gradient = found
    return gradient


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """What `hires.image.resample.resize` makes of a picture (1, C, H, W) that repeats for ever."""
    for dim in (2, 3):
        before, after = image.shape[dim], size[dim - 2]
        if before == after:
            continue
        # So many pixels become a whole number of pixels.
        unit = before // math.gcd(before, after)
        reach = math.ceil(_REACH * max(before / after, 1))
        margin = -(-reach // unit) * unit
        beyond = margin * after // before
        parts = _parts(before, margin)
        image = torch.cat([image.narrow(dim, first, length) for _, first, length in parts], dim)
        wanted = [image.shape[2], image.shape[3]]
        wanted[dim - 2] = after + 2 * beyond
        image = resize(image, (wanted[0], wanted[1])).narrow(dim, beyond, after)
    return image.contiguous()


def _parts(side: int, margin: int) -> Iterator[tuple[int, int, int]]:
    """The lines of a wrapped picture: where some begin, which ones they are, and how many."""
    start = 0
    while start < side + 2 * margin:
        first = (start - margin) % side
        length = min(side - first, side + 2 * margin - start)
        yield start, first, length
        start += length
