"""What people built round the harbour: lighthouse, cottage, quay, boats, and their materials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from samples_art.fields import Field, as_field, fractal, mix, sample, smoothstep
from samples_art.land import Land, linear
from samples_art.solids import Material, Solid, box, frustum, gable, hull, hull_planes

GRAIN = fractal(np.random.default_rng(17), 512, 1.3, lowest=2)


def grain(u: Field, v: Field) -> Field:
    """Weathering noise about [-2, 2] for surface coordinates in metres."""
    return sample(GRAIN, as_field(u / 6.0), as_field(v / 6.0))


def surface_place(point: Field, normal: Field) -> tuple[Field, Field]:
    """Coordinates on a wall or roof: along it, and up it."""
    sideways = np.abs(normal[:, 0]) > 0.7
    return as_field(np.where(sideways, point[:, 2], point[:, 0])), as_field(point[:, 1])


def plain(code: str, variation: float = 0.10) -> Material:
    """One colour, a little weathered."""

    def material(point: Field, normal: Field) -> Field:
        u, v = surface_place(point, normal)
        return as_field(linear(code) * (1.0 + variation * grain(u, v))[:, None])

    return material


def courses(code: str, size: tuple[float, float], joint: float, variation: float) -> Material:
    """Stones, bricks or tiles in staggered courses of `size` (length, height) metres."""

    def material(point: Field, normal: Field) -> Field:
        u, v = surface_place(point, normal)
        if np.any(np.abs(normal[:, 1]) > 0.2):
            v = as_field(point[:, 1] * 1.4)
        row = np.floor(v / size[1])
        along = u / size[0] + 0.5 * (row % 2) + 0.17 * np.sin(row * 12.9)
        chance = np.sin(np.floor(along) * 127.1 + row * 311.7) * 43758.5453
        tone = 1.0 + variation * (2.0 * (chance - np.floor(chance)) - 1.0) + 0.09 * grain(u, v)
        gap = np.minimum(np.abs(along % 1.0 - 0.5) * size[0], np.abs(v / size[1] % 1.0 - 0.5))
        seam = np.maximum(np.abs(along % 1.0 - 0.5) * 2.0, np.abs(v / size[1] % 1.0 - 0.5) * 2.0)
        dark = smoothstep(1.0 - joint, 1.0, as_field(seam + 0.0 * gap))
        return as_field(linear(code) * (tone * (1.0 - 0.45 * dark))[:, None])

    return material


def plaster(openings: tuple[tuple[float, ...], ...], door: tuple[float, ...]) -> Material:
    """A lime-washed wall, with windows (u, v, half width, half height) and a door on its front."""

    def material(point: Field, normal: Field) -> Field:
        u, v = surface_place(point, normal)
        wash = as_field(linear("#ebe3d2") * (1.0 + 0.07 * grain(u, v))[:, None])
        damp = smoothstep(0.9, 0.0, as_field(v + 0.25 * grain(u, v)))
        result = mix(wash, linear("#8f8a78"), as_field(0.55 * damp))
        front = normal[:, 2] < -0.7
        for cx, cy, wide, tall in openings:
            result = put_window(result, as_field(u - cx), as_field(v - cy), (wide, tall))
        leaf = (np.abs(u - door[0]) < door[2]) & (np.abs(v - door[1]) < door[3]) & front
        planks = 1.0 - 0.25 * (np.abs(np.sin(u * 16.0)) > 0.93)
        return np.where(leaf[:, None], linear("#2d5a66") * planks[:, None], result)

    return material


def put_window(wall: Field, u: Field, v: Field, half: tuple[float, float]) -> Field:
    """Lay a framed window with panes over a wall at u, v metres from the window's middle."""
    wide, tall = half
    frame = (np.abs(u) < wide + 0.12) & (np.abs(v) < tall + 0.12)
    sill = (np.abs(u) < wide + 0.22) & (v < -tall - 0.08) & (v > -tall - 0.26)
    glass = (np.abs(u) < wide) & (np.abs(v) < tall)
    glass &= (np.abs(u) > 0.04) & (np.abs(v - 0.1 * tall) > 0.04)
    pane = mix(linear("#1c2730"), linear("#7d97a8"), smoothstep(-tall, tall, as_field(v + 0.4 * u)))
    result = np.where((frame | sill)[:, None], linear("#f6f3ea"), wall)
    return as_field(np.where(glass[:, None], pane, result))


def banded(point: Field, _normal: Field) -> Field:
    """The lighthouse tower: white, two red bands, small windows, rust and damp."""
    angle = np.arctan2(point[:, 0], -point[:, 2])
    u, v = as_field(angle * 2.4), point[:, 1]
    red = ((v > 4.4) & (v < 7.4)) | ((v > 10.4) & (v < 13.2))
    base = np.where(red[:, None], linear("#b23a2a"), linear("#f1ece0"))
    streak = sample(GRAIN, as_field(u / 3.0), as_field(v / 40.0))
    base = as_field(base * (1.0 + 0.07 * grain(u, v) - 0.08 * np.maximum(streak, 0.0))[:, None])
    for height, turn in ((3.4, -0.25), (8.6, 0.1), (12.0, -0.35)):
        base = put_window(base, as_field(u - 2.4 * turn), as_field(v - height), (0.26, 0.55))
    return mix(base, linear("#77705f"), as_field(0.6 * smoothstep(1.2, 0.0, as_field(v))))


def lantern(point: Field, _normal: Field) -> Field:
    """Glass between bars, warm inside."""
    angle = np.arctan2(point[:, 0], -point[:, 2])
    bars = np.abs(np.sin(angle * 5.0)) > 0.965
    glow = mix(linear("#5d7482"), linear("#ffe2a0"), smoothstep(1.0, 0.1, as_field(np.abs(angle))))
    return as_field(np.where(bars[:, None], linear("#2a2d30"), glow))


def planked(side: str, inside: str, size: tuple[float, float, float]) -> Material:
    """A clinker-built hull: strakes outside, a pale rail, thwarts and shadowed boards inside."""
    sides = hull_planes(*size)[2:]
    height = size[2]

    def material(point: Field, normal: Field) -> Field:
        x, y, z = point[:, 0], point[:, 1], point[:, 2]
        lines = smoothstep(0.72, 1.0, as_field((y / 0.17) % 1.0))
        outer = linear(side) * (1.0 - 0.40 * lines + 0.08 * grain(x, y))[:, None]
        outer = np.where((y > height - 0.10)[:, None], linear("#e8dcc0"), outer)
        outer = np.where((y < 0.12)[:, None], linear("#7a2f22"), outer)
        gaps = sides[None, :, 3] - point @ sides[:, :3].T
        rim = gaps.min(axis=1)
        thwart = (np.abs((x + 0.3) % 1.7 - 0.85) < 0.15) & (rim > 0.1)
        shadow = 0.10 + 0.34 * smoothstep(0.1, 0.8, as_field(rim + 0.35 * z))
        boards = shadow * (1.0 - 0.35 * (np.abs(np.sin(z * 11.0)) > 0.93))
        inner = linear(inside) * np.where(thwart, 0.95, boards)[:, None]
        inner = np.where((rim < 0.10)[:, None], linear("#d8c49a"), inner)
        return as_field(np.where((normal[:, 1] > 0.9)[:, None], inner, outer))

    return material


def lighthouse(x: float, y: float, z: float) -> list[Solid]:
    """Tower, gallery with its rail, lantern and cap."""
    iron, red = plain("#33363a"), plain("#a83526")
    parts = [
        frustum(-2.0, 0.9, (3.3, 3.2), courses("#9b9384", (0.9, 0.45), 0.12, 0.2)),
        frustum(0.9, 15.2, (2.65, 1.75), banded),
        frustum(15.2, 15.6, (2.2, 2.55), iron),
        frustum(15.6, 18.0, (1.25, 1.25), lantern),
        frustum(18.0, 18.25, (1.6, 1.55), iron),
        frustum(18.25, 19.7, (1.45, 0.2), red),
        frustum(19.6, 20.9, (0.07, 0.05), iron),
    ]
    for turn in np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False):
        c, s = 2.4 * float(np.cos(turn)), 2.4 * float(np.sin(turn))
        parts.append(frustum(15.6, 16.75, (0.045, 0.045), iron).at(c, 0.0, s))
        rail = box((-0.48, 16.68, -0.04), (0.48, 16.77, 0.04), iron)
        parts.append(rail.at(c, 0.0, s, yaw=0.5 * float(np.pi) - float(turn)))
    return [shifted(part, x, y, z) for part in parts]


def shifted(part: Solid, x: float, y: float, z: float, yaw: float = 0.0) -> Solid:
    """Move a part placed about its building's origin to where the building stands."""
    turn = replace(part, yaw=yaw).turned()
    place = part.place @ turn.T + as_field([x, y, z])
    return replace(part, place=as_field(place), yaw=part.yaw + yaw)


def cottage(x: float, y: float, z: float, yaw: float) -> list[Solid]:
    """The keeper's house: walls, tiled roof, two chimneys, a lean-to."""
    tiles = courses("#a4553a", (0.36, 0.30), 0.22, 0.22)
    brick = courses("#8a5a48", (0.42, 0.18), 0.2, 0.2)
    openings = ((-4.0, 2.0, 0.5, 0.75), (-1.9, 2.0, 0.5, 0.75), (2.6, 2.0, 0.5, 0.75),
                (4.4, 2.0, 0.5, 0.75))  # fmt: skip
    walls = plaster(openings, (0.35, 1.15, 0.55, 1.15))
    parts = [
        box((-5.6, -2.0, -3.2), (5.6, 3.7, 3.2), walls),
        gable((5.4, 3.2), 3.6, 2.9, plain("#e3dac7")),
        gable((6.0, 3.75), 3.55, 3.15, tiles),
        box((-4.6, 4.5, -0.5), (-3.7, 8.0, 0.5), brick),
        box((3.8, 4.5, -0.5), (4.7, 8.0, 0.5), brick),
        box((-4.7, 8.0, -0.6), (-3.6, 8.2, 0.6), plain("#6d655a")),
        box((3.7, 8.0, -0.6), (4.8, 8.2, 0.6), plain("#6d655a")),
        box((-9.4, -2.0, -2.4), (-5.6, 2.3, 2.4), courses("#a29a8a", (0.7, 0.34), 0.16, 0.22)),
    ]
    parts.append(gable((2.2, 2.8), 2.25, 1.7, tiles).at(-7.5, 0.0, 0.0))
    return [shifted(part, x, y, z, yaw) for part in parts]


def rowing_boat(x: float, z: float, yaw: float, side: str) -> list[Solid]:
    """An open boat on its mooring, with a mast."""
    size = (6.4, 2.2, 0.72)
    parts = [
        hull(*size, planked(side, "#c09a62", size)),
        frustum(0.3, 4.6, (0.075, 0.05), plain("#8a6a42")).at(0.7, 0.0, 0.0),
        box((-1.9, 1.55, -0.05), (0.75, 1.66, 0.05), plain("#8a6a42")),
        box((-1.8, 1.64, -0.13), (0.6, 1.86, 0.13), plain("#d9cdb2")),
    ]
    return [shifted(part, x, 0.0, z, yaw) for part in parts]


def sailing_boat(x: float, z: float, yaw: float, cloth: str) -> list[Solid]:
    """A small yacht under main and jib."""
    size = (8.0, 2.5, 0.95)
    body = hull(*size, planked("#26394a", "#b08a58", size))
    main = Solid(
        as_field([[0, 0, 1, 0.05], [0, 0, -1, 0.05], [0, -1, 0, -1.8], [1, 0, 0, 0.4],
                  [-0.885, 0.47, 0, 4.82]]),
        plain(cloth, 0.05), reach=6.0, span=(0.0, 12.0))  # fmt: skip
    jib = Solid(
        as_field([[0, 0, 1, 0.05], [0, 0, -1, 0.05], [0, -1, 0, -1.4], [-1, 0, 0, -0.6],
                  [0.923, 0.386, 0, 4.41]]),
        plain(cloth, 0.05), reach=6.0, span=(0.0, 12.0))  # fmt: skip
    mast = frustum(0.9, 11.4, (0.09, 0.06), plain("#6d5638")).at(0.5, 0.0, 0.0)
    return [shifted(part, x, 0.0, z, yaw) for part in (body, main, jib, mast)]


def build(land: Land) -> list[Solid]:
    """Everything built, standing on the land."""

    def ground(x: float, z: float) -> float:
        return float(land.heights(as_field([x]), as_field([z]))[0])

    stones = courses("#8c8577", (1.1, 0.5), 0.12, 0.25)
    quay = box((-11.0, -3.0, -2.6), (11.0, 1.7, 2.6), stones).at(-4.0, 0.0, 80.5, 0.10)
    parts = [quay, *lighthouse(22.5, ground(22.5, 92.0) - 0.2, 92.0)]
    parts += cottage(8.5, ground(8.5, 91.0), 91.0, 0.22)
    parts += rowing_boat(4.3, 36.0, 2.75, "#2f6f86") + rowing_boat(-4.5, 62.0, 0.4, "#a8442e")
    parts += sailing_boat(-34.0, 210.0, 0.5, "#f4ecda") + sailing_boat(-2.0, 420.0, 2.4, "#c9683c")
    return parts
