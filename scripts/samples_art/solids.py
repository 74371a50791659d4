"""A small ray tracer for convex solids: boxes, roofs, hulls, round towers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from samples_art.fields import Field, as_field
from samples_art.land import SUN, Camera, haze, shade

Material = Callable[[Field, Field], Field]  # local points, local normals (N, 3) -> albedo (N, 3)


@dataclass(frozen=True)
class Solid:
    """An intersection of half spaces n.p <= d and, optionally, of one upright cone.

    planes: (K, 4) rows n, d in local coordinates. cone: radius at y = 0 and its growth per metre.
    The solid stands at `place` (3,), turned by `yaw` radians about the vertical. It stays within
    `reach` of its axis, and between the two heights `span`.
    """

    planes: Field
    material: Material
    cone: tuple[float, float] | None = None
    place: Field = field(default_factory=lambda: np.zeros(3, np.float32))
    yaw: float = 0.0
    reach: float = 10.0
    span: tuple[float, float] = (-10.0, 10.0)
    casts_shadow: bool = True

    def turned(self) -> Field:
        """Matrix from local to world directions."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return as_field([[c, 0, s], [0, 1, 0], [-s, 0, c]])

    def at(self, x: float, y: float, z: float, yaw: float = 0.0) -> Solid:
        """The same solid standing elsewhere."""
        return replace(self, place=as_field([x, y, z]), yaw=yaw)


def box(low: tuple[float, ...], high: tuple[float, ...], material: Material) -> Solid:
    """An upright box between two corners."""
    sides = [[*(-np.eye(3)[i]), -low[i]] for i in range(3)]
    sides += [[*np.eye(3)[i], high[i]] for i in range(3)]
    corner = np.maximum(np.abs(low), np.abs(high))
    reach = float(np.hypot(corner[0], corner[2]))
    return Solid(as_field(sides), material, reach=reach, span=(low[1], high[1]))


def gable(half: tuple[float, float], base: float, rise: float, material: Material) -> Solid:
    """A ridged roof along x: half length and half width, its eaves at `base`, `rise` high."""
    length, width = half
    slope = np.array([rise, width]) / np.hypot(rise, width)
    planes = [[1, 0, 0, length], [-1, 0, 0, length], [0, -1, 0, -base]]
    top = slope[1] * (base + rise)
    planes += [[0, slope[1], side * slope[0], top] for side in (1.0, -1.0)]
    reach = float(np.hypot(length, width))
    return Solid(as_field(planes), material, reach=reach, span=(base, base + rise))


def frustum(low: float, high: float, radii: tuple[float, float], material: Material) -> Solid:
    """A round tower from y = low to high, its radius going from the first to the second."""
    growth = (radii[1] - radii[0]) / (high - low)
    planes = as_field([[0, -1, 0, -low], [0, 1, 0, high]])
    cone = radii[0] - growth * low, growth
    return Solid(planes, material, cone, reach=max(radii), span=(low, high))


def hull_planes(length: float, beam: float, height: float) -> Field:
    """Half spaces (K, 4) of a hull along x: pointed bow, flat stern, flared and rounded sides."""
    planes = [[0.0, 1.0, 0.0, height], [0.0, -1.0, 0.0, 0.5], [-1.0, -0.25, 0.0, 0.42 * length]]
    for x in np.linspace(-0.3, 0.5, 9) * length:
        fore = (x + 0.12 * length) / (0.62 * length)
        half = 0.5 * beam * (1.0 - fore * abs(fore))
        lean = -0.5 * beam * 2.0 * abs(fore) / (0.62 * length)
        reach = half - lean * x - 0.42 * height
        planes += [[-lean, -0.42, side, reach] for side in (1.0, -1.0)]
    return as_field(planes)


def hull(length: float, beam: float, height: float, material: Material) -> Solid:
    """A boat's hull along x, its rail at `height`."""
    planes = hull_planes(length, beam, height)
    return Solid(planes, material, reach=0.75 * length, span=(-0.5, height))


def clip_planes(solid: Solid, origin: Field, ray: Field) -> tuple[Field, Field, Field]:
    """Where local rays (N, 3) are inside all half spaces: from, to (N,), and the normal there."""
    enter = np.full(len(ray), -np.inf, np.float32)
    leave = np.full(len(ray), np.inf, np.float32)
    normal = np.zeros((len(ray), 3), np.float32)
    for plane in solid.planes:
        speed = ray @ plane[:3]
        gap = plane[3] - origin @ plane[:3]
        reach = as_field(gap / np.where(np.abs(speed) < 1e-9, 1e-9, speed))
        entering = (speed < 0) & (reach > enter)
        enter = np.where(entering, reach, enter)
        normal[entering] = plane[:3] / np.linalg.norm(plane[:3])
        leave = np.where(speed >= 0, np.minimum(leave, reach), leave)
    return enter, leave, normal


def clip_cone(
    solid: Solid, origin: Field, ray: Field, span: tuple[Field, Field, Field]
) -> tuple[Field, Field, Field]:
    """Narrow a span to the inside of the solid's cone."""
    assert solid.cone is not None
    enter, leave, normal = span
    base, growth = solid.cone
    wide, step = base + growth * origin[..., 1], growth * ray[:, 1]
    a = ray[:, 0] ** 2 + ray[:, 2] ** 2 - step**2
    b = origin[..., 0] * ray[:, 0] + origin[..., 2] * ray[:, 2] - wide * step
    c = origin[..., 0] ** 2 + origin[..., 2] ** 2 - wide**2
    root = b * b - a * c
    half = np.sqrt(np.maximum(root, 0.0))
    first = np.where(root > 0, (-b - half) / a, np.inf)
    last = np.where(root > 0, (-b + half) / a, -np.inf)
    rounded = first > enter
    point = origin + ray * np.where(np.isfinite(first), first, 0.0)[:, None]
    around = np.stack([point[:, 0], -growth * (base + growth * point[:, 1]), point[:, 2]], -1)
    around /= np.linalg.norm(around, axis=-1, keepdims=True) + 1e-9
    normal = np.where(rounded[:, None], around, normal)
    return as_field(np.maximum(enter, first)), as_field(np.minimum(leave, last)), as_field(normal)


def intersect(solid: Solid, origin: Field, ray: Field) -> tuple[Field, Field, Field]:
    """Where world rays enter: distance (N,), infinity for a miss; local points and normals."""
    turn = solid.turned()
    start, heading = as_field((origin - solid.place) @ turn), as_field(ray @ turn)
    span = clip_planes(solid, start, heading)
    if solid.cone is not None:
        span = clip_cone(solid, start, heading, span)
    enter, leave, normal = span
    hit = (enter < leave) & (enter > 1e-3)
    distance = as_field(np.where(hit, enter, np.inf))
    return distance, as_field(start + heading * np.where(hit, enter, 0.0)[:, None]), normal


def sun_through(solids: list[Solid], points: Field) -> Field:
    """1 where the sun reaches world points (N, 3) past all solids, 0 where one is in the way."""
    result = np.ones(len(points), np.float32)
    for solid in solids:
        if not solid.casts_shadow:
            continue
        middle, half = 0.5 * sum(solid.span), 0.5 * (solid.span[1] - solid.span[0])
        bound = np.hypot(solid.reach, half)
        centre = solid.place + as_field([0.0, middle, 0.0]) - points
        along = centre @ SUN
        aside = (centre**2).sum(axis=1) - along**2
        near = np.nonzero((along > -bound) & (aside < bound**2))[0]
        if len(near):
            ray = np.tile(SUN, (len(near), 1))
            distance = intersect(solid, points[near], ray)[0]
            result[near[np.isfinite(distance)]] = 0.0
    return result


def window(solid: Solid, camera: Camera) -> tuple[slice, slice]:
    """Rows and columns of the picture that can show the solid."""
    x, y, z = (float(v) for v in solid.place)
    near, far = max(z - solid.reach, 1.0), z + solid.reach
    heights = [y + h - camera.eye for h in solid.span]
    rows = [camera.horizon - h * camera.focal / d for h in heights for d in (near, far)]
    sides = [x - solid.reach, x + solid.reach]
    columns = [0.5 * camera.width + s * camera.focal / d for s in sides for d in (near, far)]
    limits = ((rows, camera.height), (columns, camera.width))
    spans = [
        slice(int(np.clip(min(at) - 1, 0, n)), int(np.clip(max(at) + 2, 0, n))) for at, n in limits
    ]
    return spans[0], spans[1]


def trace(solids: list[Solid], camera: Camera, depth: Field, out: Field) -> None:
    """Draw the solids into `out` (H, W, 3) where they are nearer than `depth` (H, W), in place."""
    eye = as_field([0.0, camera.eye, 0.0])
    for solid in solids:
        area = window(solid, camera)
        rows, columns = (as_field(g + 0.5) for g in np.mgrid[area])
        if rows.size == 0:
            continue
        dx, dy = (s.ravel() for s in camera.slopes(rows, columns))
        ray = np.stack([dx, dy, np.ones_like(dx)], axis=-1)
        distance, point, normal = intersect(solid, eye[None], as_field(ray))
        seen = distance.reshape(rows.shape) < depth[area]
        if camera.eye < 0:
            world_y = camera.eye + dy * np.where(np.isfinite(distance), distance, 0.0)
            seen &= world_y.reshape(rows.shape) > 0.0
        flat = seen.ravel()
        light = light_solid(solids, solid, point[flat], normal[flat])
        out[area][seen] = haze(light, distance[flat], dx[flat])
        depth[area][seen] = distance[flat]


def light_solid(solids: list[Solid], solid: Solid, point: Field, normal: Field) -> Field:
    """Sun, sky and shadows on local points of one solid. Returns linear light (N, 3)."""
    turn = solid.turned()
    facing = as_field(normal @ turn.T)
    world = as_field(point @ turn.T + solid.place + 0.03 * facing)
    return shade(solid.material(point, normal), facing, sun_through(solids, world))
