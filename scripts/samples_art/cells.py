"""Cells and distances: how a plane is cut into pieces, and how far each pixel is from the cuts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samples_art.fields import Field, as_field

Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]


def scatter(i: Labels, j: Labels, seed: int) -> Field:
    """Pseudo-random numbers in [0, 1) for pairs of integers, the same at every call."""
    mixed = i * 374761393 + j * 668265263 + seed * 1442695041
    mixed = (mixed ^ (mixed >> 13)) * 1274126177 & 0x7FFFFFFF
    mixed = (mixed ^ (mixed >> 16)) * 1103515245 & 0x7FFFFFFF
    return as_field((mixed >> 7) % 65536 / 65536.0)


def voronoi(u: Field, v: Field, seed: int, jitter: float = 0.8) -> Labels:
    """Number of the nearest point of a jittered unit grid, for any u, v of one shape."""
    column, row = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    nearest = np.full(u.shape, np.inf, np.float32)
    found = np.zeros(u.shape, np.int64)
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            i, j = column + di, row + dj
            px = i + 0.5 + jitter * (scatter(i, j, seed) - 0.5)
            py = j + 0.5 + jitter * (scatter(i, j, seed + 1) - 0.5)
            distance = as_field((u - px) ** 2 + (v - py) ** 2)
            closer = distance < nearest
            nearest = np.where(closer, distance, nearest)
            found = np.where(closer, (i & 0xFFFF) * 65536 + (j & 0xFFFF), found)
    return found


def borders(labels: Labels) -> Mask:
    """Pixels (H, W) whose right or lower neighbour has another label."""
    found = np.zeros(labels.shape, bool)
    found[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    found[:-1] |= labels[1:] != labels[:-1]
    return found


def junctions(labels: Labels) -> Mask:
    """Pixels (H, W) in whose square of 2x2 three labels or more meet."""
    square = np.stack([labels[:-1, :-1], labels[:-1, 1:], labels[1:, :-1], labels[1:, 1:]])
    square.sort(axis=0)
    found = np.zeros(labels.shape, bool)
    found[:-1, :-1] = (square[1:] != square[:-1]).sum(axis=0) >= 2
    return found


def distance_to(mask: Mask, reach: int) -> Field:
    """Euclidean distance in pixels to the nearest set pixel of (H, W), at most `reach`."""
    far = np.float32(reach * reach)
    squared = np.where(mask, np.float32(0.0), far)
    for axis in (0, 1):
        before = squared
        squared = before.copy()
        for step in range(1, reach + 1):
            near, away = (slice(step, None), slice(None, -step))
            for here, there in ((near, away), (away, near)):
                at = (here, slice(None)) if axis == 0 else (slice(None), here)
                of = (there, slice(None)) if axis == 0 else (slice(None), there)
                np.minimum(squared[at], before[of] + np.float32(step * step), out=squared[at])
    return as_field(np.sqrt(np.minimum(squared, far)))
