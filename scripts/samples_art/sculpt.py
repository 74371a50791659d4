"""Solid shapes as distance functions, and the rays, shadows and soft light that show them.

A shape is a function of points (N, 3) in its own units, x right, y up, z towards the eye, that
returns distances (N,): negative inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from samples_art.fields import Field, as_field

Shape = Callable[[Field], Field]


def ellipsoid(points: Field, centre: tuple[float, ...], radii: tuple[float, ...]) -> Field:
    """About the distance to an ellipsoid along the axes."""
    offset, reach = points - as_field(centre), as_field(radii)
    scaled = np.sqrt(((offset / reach) ** 2).sum(1))
    steep = np.sqrt(((offset / reach**2) ** 2).sum(1)) + 1e-6
    return as_field(scaled * (scaled - 1.0) / steep)


def capsule(points: Field, start: tuple[float, ...], end: tuple[float, ...],
            radii: tuple[float, float]) -> Field:  # fmt: skip
    """Distance to a rod with round ends, whose radius goes from one to the other."""
    first, axis = as_field(start), as_field(end) - as_field(start)
    offset = points - first
    place = np.clip(offset @ axis / (axis @ axis), 0.0, 1.0)
    gap = np.sqrt(((offset - place[:, None] * axis) ** 2).sum(1))
    return as_field(gap - (radii[0] + (radii[1] - radii[0]) * place))


def turned_body(points: Field, centre: tuple[float, float, float],
                profile: tuple[tuple[float, float], ...]) -> Field:  # fmt: skip
    """About the distance to a body turned on a lathe: (height, radius) along its upright axis."""
    heights, radii = (as_field(part) for part in zip(*profile, strict=True))
    dense = np.linspace(heights[0], heights[-1], 200)
    kernel = np.hanning(39)
    padded = np.pad(np.interp(dense, heights, radii), 19, mode="reflect", reflect_type="odd")
    offset = points - as_field(centre)
    radius = np.interp(offset[:, 1], dense, np.convolve(padded, kernel / kernel.sum(), "valid"))
    around = np.hypot(offset[:, 0], offset[:, 2]) - radius
    cap = np.maximum(heights[0] - offset[:, 1], offset[:, 1] - heights[-1])
    return as_field(np.maximum(around, cap) * 0.75)


def join(first: Field, second: Field, width: float) -> Field:
    """Union of two distances, smooth over `width`."""
    share = np.clip(0.5 + 0.5 * (second - first) / width, 0.0, 1.0)
    return as_field(second + (first - second) * share - width * share * (1.0 - share))


def carve(first: Field, second: Field, width: float) -> Field:
    """The first without the second, smooth over `width`."""
    return as_field(-join(as_field(-first), second, width))


def rotate(points: Field, yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Field:
    """Points in the coordinates of something turned by angles about y, x and z."""
    for angle, (i, j) in ((yaw, (2, 0)), (pitch, (1, 2)), (roll, (0, 1))):
        c, s = np.cos(angle), np.sin(angle)
        first, second = points[:, i] * c + points[:, j] * s, points[:, j] * c - points[:, i] * s
        points = points.copy()
        points[:, i], points[:, j] = first, second
    return as_field(points)


@dataclass(frozen=True)
class View:
    """Where the eye is, what it looks at, and how narrow it sees (focal length in heights)."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    focal: float

    def rays(self, height: int, width: int) -> tuple[Field, Field]:
        """Start (3,) and unit directions (height * width, 3) of the rays, row by row."""
        start = as_field(self.eye)
        ahead = as_field(self.target) - start
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, as_field([0.0, 1.0, 0.0]))
        right /= np.linalg.norm(right)
        up = np.cross(right, ahead)
        rows, columns = np.mgrid[0:height, 0:width] + 0.5
        x, y = (columns - width / 2) / height, (height / 2 - rows) / height
        ways = ahead * self.focal + x[..., None] * right + y[..., None] * up
        ways = ways.reshape(-1, 3)
        return start, as_field(ways / np.linalg.norm(ways, axis=1, keepdims=True))


def march(shape: Shape, starts: Field, ways: Field, near: Field | float, far: float,
          steps: int = 90) -> Field:  # fmt: skip
    """Distance along each ray (N,) to the shape; inf where it is missed."""
    travelled = as_field(np.broadcast_to(near, len(ways))).copy()
    active = np.arange(len(ways))
    starts = np.broadcast_to(starts, ways.shape)
    for _ in range(steps):
        gap = shape(as_field(starts[active] + travelled[active, None] * ways[active]))
        travelled[active] += 0.9 * gap
        active = active[(np.abs(gap) > 6e-4) & (travelled[active] < far)]
        if not len(active):
            break
    travelled[travelled >= far] = np.inf
    return travelled


def depths(shape: Shape, view: View, height: int, width: int, near: float, far: float) -> Field:
    """Distance along every ray (height * width,) to the shape: few rays first, then near them."""
    rows, columns = -(-height // 8), -(-width // 8)
    start, ways = view.rays(rows, columns)
    rough = march(shape, start, ways, near, far).reshape(rows, columns)
    around = np.pad(rough, 1, mode="edge")
    least = np.min([around[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], 0)
    begin = np.where(np.isfinite(least), least - 0.12, far)
    i = np.minimum(np.arange(height) * rows // height, rows - 1)
    j = np.minimum(np.arange(width) * columns // width, columns - 1)
    start, ways = view.rays(height, width)
    return march(shape, start, ways, as_field(begin[i][:, j].reshape(-1)), far)


def normals(shape: Shape, points: Field, reach: float = 0.004) -> Field:
    """Unit normals (N, 3) of the shape at points on it."""
    corners = as_field([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    slope = sum(way * shape(as_field(points + reach * way))[:, None] for way in corners)
    return as_field(slope / (np.linalg.norm(slope, axis=1, keepdims=True) + 1e-9))


def shadow(shape: Shape, points: Field, towards: Field, softness: float, far: float = 5.0) -> Field:
    """How much of a light in direction `towards` (3,) reaches points (N,), 0 to 1."""
    lit = np.ones(len(points), np.float32)
    travelled = np.full(len(points), 0.03, np.float32)
    for _ in range(22):
        gap = shape(as_field(points + travelled[:, None] * towards))
        lit = np.minimum(lit, np.clip(0.5 + 0.5 * softness * gap / travelled, 0.0, 1.0))
        travelled = travelled + np.clip(gap, 0.03, 0.4)
        if travelled.min() > far:
            break
    return as_field(lit * lit * (3.0 - 2.0 * lit))


def openness(shape: Shape, points: Field, normal: Field, reach: float = 0.5) -> Field:
    """How much of the surroundings points (N,) see: 1 in the open, less in hollows."""
    closed = np.zeros(len(points), np.float32)
    for k, share in enumerate((0.10, 0.25, 0.5, 1.0)):
        away = share * reach
        gap = shape(as_field(points + away * normal))
        closed += np.maximum(away - gap, 0.0) / away * 0.5**k
    return as_field(np.clip(1.0 - 0.55 * closed, 0.0, 1.0))
