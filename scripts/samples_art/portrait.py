"""A portrait: somebody with a headscarf and a pearl, who turns to the window's light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from samples_art.fields import (
    Field,
    as_field,
    blur,
    colour,
    fractal,
    mix,
    resize,
    sample,
    smoothstep,
)
from samples_art.sculpt import (
    View,
    capsule,
    carve,
    depths,
    ellipsoid,
    join,
    normals,
    openness,
    rotate,
    shadow,
)

ASPECT = 1.25  # height over width
SUPERSAMPLING = 1.25
YAW, PITCH, ROLL = -0.52, 0.02, 0.07  # of the head, in radians
GAZE = (0.34, 0.01)  # how far the eyes turn back to the viewer
VIEW = View(eye=(0.0, -0.35, 8.2), target=(0.0, -0.34, 0.0), focal=2.1)
KEY = as_field([-0.62, 0.42, 0.66])
EYE_AT, EYE_RADIUS = (0.285, 0.0, 0.60), 0.165
PEARL = (0.80, -0.66, 0.02)

SKIN, BLUSH, LIPS = colour("#e8b998") ** 2.2, colour("#d4745c") ** 2.2, colour("#b5403e") ** 2.2
BLUE, GOLD, COAT = colour("#2f5fa8") ** 2.2, colour("#e2b04a") ** 2.2, colour("#9a6a2a") ** 2.2
LINEN, HAIR = colour("#efe6d2") ** 2.2, colour("#4a2a18") ** 2.2


def mirrored(points: Field) -> Field:
    """Points with x >= 0: the head is the same on both sides."""
    other = points.copy()
    other[:, 0] = np.abs(other[:, 0])
    return other


def face(points: Field) -> Field:
    """Skull, jaw, nose, lips, sockets and neck, in the head's own coordinates."""
    p = mirrored(points)
    head = ellipsoid(p, (0.0, 0.30, -0.12), (0.76, 0.90, 0.93))
    head = join(head, ellipsoid(p, (0.0, -0.32, 0.14), (0.585, 0.78, 0.66)), 0.22)
    head = join(head, ellipsoid(p, (0.0, -0.98, 0.50), (0.17, 0.13, 0.14)), 0.20)
    head = join(head, ellipsoid(p, (0.36, -0.28, 0.50), (0.20, 0.20, 0.18)), 0.22)
    head = join(head, capsule(p, (0.0, 0.20, 0.78), (0.36, 0.20, 0.62), (0.06, 0.05)), 0.16)
    head = carve(head, ellipsoid(p, (0.29, 0.0, 0.86), (0.20, 0.11, 0.16)), 0.12)
    head = join(head, capsule(p, (0.0, 0.10, 0.74), (0.0, -0.28, 0.93), (0.055, 0.082)), 0.09)
    head = join(head, ellipsoid(p, (0.0, -0.31, 0.935), (0.085, 0.075, 0.085)), 0.06)
    head = join(head, ellipsoid(p, (0.092, -0.330, 0.835), (0.060, 0.056, 0.09)), 0.09)
    head = carve(head, ellipsoid(p, (0.055, -0.405, 0.895), (0.034, 0.026, 0.045)), 0.025)
    head = carve(head, capsule(p, (0.0, -0.42, 0.87), (0.0, -0.50, 0.83), (0.015, 0.022)), 0.05)
    head = join(head, ellipsoid(p, (0.0, -0.60, 0.645), (0.24, 0.17, 0.16)), 0.10)
    upper = capsule(p, (0.035, -0.545, 0.815), (0.185, -0.580, 0.715), (0.042, 0.014))
    lower = capsule(p, (0.0, -0.652, 0.795), (0.150, -0.602, 0.725), (0.060, 0.020))
    head = join(head, upper, 0.030)
    head = join(head, lower, 0.035)
    head = carve(
        head, capsule(p, (0.0, -0.595, 0.862), (0.21, -0.582, 0.725), (0.010, 0.006)), 0.022
    )
    return join(head, capsule(p, (0.0, -0.60, -0.12), (0.0, -1.7, -0.30), (0.33, 0.37)), 0.16)


def lids(points: Field) -> Field:
    """Upper and lower eyelids: shells round the eyeballs, open between two planes."""
    p = mirrored(points) - as_field(EYE_AT)
    ball = np.sqrt((p**2).sum(1))
    shell = ball - (EYE_RADIUS + 0.020)
    arch = p[:, 1] + 1.3 * (p[:, 0] - 0.01) ** 2
    upper = np.maximum(shell, 0.078 + 0.04 * p[:, 0] - arch)
    lower = np.maximum(shell, (p[:, 1] - 1.1 * p[:, 0] ** 2) + 0.078)
    return as_field(np.minimum(upper, lower))


def eyeballs(points: Field) -> Field:
    """The two eyeballs."""
    p = mirrored(points) - as_field(EYE_AT)
    return as_field(np.sqrt((p**2).sum(1)) - EYE_RADIUS)


def scarf(points: Field) -> Field:
    """A cloth wound round the head in folds, and its end that hangs behind."""
    x, y, z = points.T
    turn = np.arctan2(z + 0.1, x)
    folds = 0.030 * np.sin(16.0 * (y - 0.55 * z) + 1.3 * np.sin(2 * turn))
    folds = folds + 0.012 * np.sin(37.0 * (y - 0.50 * z) + 2.0 * turn)
    cloth = ellipsoid(points, (0.0, 0.36, -0.20), (0.90, 0.98, 1.02)) - folds
    brim = 0.56 - 0.62 * (z - 0.60) * (z < 0.60) + 0.10 * x * x
    brim = np.where(z < -0.15, np.minimum(brim, -0.30 - 0.4 * (z + 0.15)), brim)
    edge = (np.where(z > -0.15, 0.57 - 0.80 * (0.72 - z), brim) - y) * 0.75
    cloth = -join(as_field(-cloth), as_field(-edge), 0.06)
    knot = ellipsoid(points, (0.05, 1.02, -0.85), (0.34, 0.30, 0.30))
    knot = join(cloth, knot + 0.02 * np.sin(20.0 * (x + y)), 0.12)
    wave = 0.05 * np.sin(5.0 * y)
    strip = np.stack([x - 0.10 - wave, y, z], 1)
    tail = capsule(as_field(strip), (0.1, 0.95, -1.02), (0.30, -1.9, -1.05), (0.17, 0.30))
    pleats = 0.022 * np.sin(26.0 * (x - wave) + 2.0 * y)
    return join(as_field(knot), as_field(tail + pleats), 0.12)


def ear(points: Field) -> Field:
    """The ear that the scarf leaves free."""
    shell = ellipsoid(points, (0.735, -0.16, -0.06), (0.075, 0.22, 0.13))
    shell = carve(shell, ellipsoid(points, (0.80, -0.12, -0.02), (0.05, 0.13, 0.07)), 0.04)
    return join(shell, ellipsoid(points, (0.735, -0.36, 0.0), (0.055, 0.075, 0.065)), 0.04)


def coat(points: Field) -> Field:
    """Shoulders in a coat with folds."""
    points = points - as_field([0.06, 0.36, 0.0])
    x, y = points.T[:2]
    folds = 0.030 * np.sin(9.0 * x + 5.0 * y + 2.0 * np.sin(3.0 * y)) + 0.015 * np.sin(
        17.0 * x - 8.0 * y
    )
    body = capsule(points, (-1.05, -2.55, -0.35), (1.05, -2.50, -0.45), (0.52, 0.54))
    body = join(body, ellipsoid(points, (0.0, -3.3, -0.1), (1.45, 1.2, 0.85)), 0.4)
    body = join(body, capsule(points, (0.0, -1.75, -0.30), (0.0, -2.4, -0.3), (0.46, 0.8)), 0.25)
    return as_field(body + folds * smoothstep(-1.8, -2.3, y))


def collar(points: Field) -> Field:
    """A white band of linen round the neck."""
    p = rotate(points - as_field([0.05, -1.36, -0.22]), 0.0, 0.25, 0.06)
    pleats = 0.015 * np.sin(14.0 * np.arctan2(p[:, 0], p[:, 2]))
    ring = np.hypot(p[:, 0], p[:, 2]) - 0.475 - 0.35 * np.abs(p[:, 1]) - pleats
    return as_field(np.maximum(np.abs(ring) - 0.035, np.abs(p[:, 1]) - 0.17) * 0.8)


def in_head(points: Field) -> Field:
    """Points of the room in the head's coordinates."""
    return rotate(points, YAW, PITCH, ROLL)


def pearl(points: Field) -> Field:
    """The earring."""
    return as_field(np.sqrt(((points - as_field(PEARL)) ** 2).sum(1)) - 0.125)


PARTS: dict[str, Callable[[Field], Field]] = {
    "skin": lambda p: join(join(face(in_head(p)), lids(in_head(p)), 0.018), ear(in_head(p)), 0.03),
    "eye": lambda p: eyeballs(in_head(p)),
    "scarf": lambda p: scarf(in_head(p)),
    "coat": coat,
    "collar": collar,
    "pearl": lambda p: pearl(in_head(p)),
}


def everything(points: Field) -> Field:
    """Distance to the nearest of all parts."""
    found = PARTS["skin"](points)
    for name in ("eye", "scarf", "coat", "collar", "pearl"):
        found = np.minimum(found, PARTS[name](points))
    return as_field(found)


def spot(p: Field, centre: tuple[float, ...], reach: tuple[float, ...]) -> Field:
    """A soft spot (N,) about a place of the head."""
    return as_field(np.exp(-(((p - as_field(centre)) / as_field(reach)) ** 2).sum(1)))


def skin_colour(points: Field, noise: Field) -> Field:
    """Albedo of the skin: cheeks, lips, brows and the lashes' line."""
    p = mirrored(in_head(points))
    x, y, z = p.T
    tone = sample(noise, as_field(points[:, 0] * 0.4), as_field(points[:, 1] * 0.4))
    albedo = SKIN * (1.0 + 0.03 * tone)[:, None]
    warm = 0.55 * spot(p, (0.40, -0.28, 0.6), (0.20, 0.16, 0.4))
    warm = (
        warm
        + 0.40 * spot(p, (0.0, -0.32, 0.98), (0.12, 0.10, 0.15))
        + 0.3 * spot(p, (0, -1.0, 0.6), (0.2, 0.12, 0.3))
    )
    albedo = mix(as_field(albedo), BLUSH, as_field(np.clip(warm, 0.0, 1.0)))
    bow = np.interp(x, (0.0, 0.025, 0.06, 0.20, 0.30), (-0.530, -0.526, -0.513, -0.580, -0.64))
    base = np.interp(x, (0.0, 0.06, 0.12, 0.20, 0.30), (-0.722, -0.716, -0.680, -0.590, -0.50))
    mouth = smoothstep(as_field(bow + 0.014), as_field(bow - 0.014), y) * smoothstep(
        as_field(base - 0.014), as_field(base + 0.014), y
    )
    mouth = mouth * smoothstep(0.215, 0.185, x) * (z > 0.5)
    albedo = mix(albedo, LIPS, as_field(0.85 * mouth))
    albedo = mix(albedo, LIPS * 0.25, as_field(0.8 * mouth * np.exp(-(((y + 0.592) / 0.010) ** 2))))
    arch = 0.235 + 0.06 * np.sin(np.clip((x - 0.10) / 0.40, 0.0, 1.0) * 2.6) - 0.04 * x
    brow = np.exp(-(((y - arch) / (0.030 - 0.035 * np.clip(x - 0.2, 0, 0.4))) ** 2))
    brow = brow * smoothstep(0.085, 0.15, x) * smoothstep(0.52, 0.40, x) * (z > 0.2)
    albedo = mix(albedo, HAIR, as_field(0.85 * brow))
    ball = p - as_field(EYE_AT)
    near = np.sqrt((ball**2).sum(1)) < EYE_RADIUS + 0.034
    rim = 0.078 + 0.04 * ball[:, 0] - 1.3 * (ball[:, 0] - 0.01) ** 2
    lash = np.exp(-(((ball[:, 1] - rim) / 0.016) ** 2)) * near * (z > 0.5)
    albedo = mix(albedo, HAIR * 0.3, as_field(0.9 * lash))
    line = 0.58 - 0.80 * (0.72 - z)
    hair = smoothstep(line - 0.10, line - 0.02, y) * (z > -0.1) * (z < 0.95)
    strands = 0.7 + 0.5 * sample(noise, as_field(y * 2.5 + z), as_field(z * 0.3))
    return mix(
        albedo, as_field(HAIR * strands[:, None]), as_field(0.92 * hair * smoothstep(0.25, 0.40, x))
    )


def eye_colour(points: Field) -> Field:
    """White, iris and pupil, both eyes turned to the viewer."""
    p = in_head(points)
    side = np.sign(p[:, :1])
    ball = p - as_field(EYE_AT) * np.concatenate([side, side * 0 + 1, side * 0 + 1], 1)
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    away = np.hypot(ball[:, 0] - GAZE[0], ball[:, 1] - GAZE[1])
    away = as_field(np.where(ball[:, 2] > 0, away, 9.0))
    ray = 0.8 + 0.25 * np.sin(40 * np.arctan2(ball[:, 1] - GAZE[1], ball[:, 0] - GAZE[0]))
    iris = (colour("#6a4a2a") ** 2.2) * ray[:, None] * (0.6 + 1.8 * away)[:, None]
    albedo = mix(
        np.broadcast_to(colour("#e6ddd6") ** 2.2, iris.shape),
        as_field(iris),
        smoothstep(0.43, 0.39, away),
    )
    albedo = mix(albedo, albedo * 0.25, as_field(np.exp(-(((away - 0.41) / 0.04) ** 2))))
    return mix(albedo, albedo * 0.02, smoothstep(0.19, 0.16, away))


def cloth_colour(name: str, points: Field, noise: Field) -> Field:
    """Albedo of scarf, coat and collar, with their weave."""
    x, y, z = points.T
    weave = 1.0 + 0.10 * sample(noise, as_field(x * 2.1 + z), as_field(y * 2.1))
    if name == "scarf":
        p = in_head(points)
        gold = smoothstep(-0.86, -0.92, p[:, 2]) * (p[:, 1] < 1.35)
        base = mix(np.broadcast_to(BLUE, points.shape), GOLD, as_field(gold))
    else:
        base = np.broadcast_to(COAT if name == "coat" else LINEN, points.shape)
    return as_field(base * weave[:, None])


@dataclass(frozen=True)
class Surface:
    """What the rays met: points, normals, albedo (N, 3), gloss and how waxy it is (N,)."""

    points: Field
    normal: Field
    albedo: Field
    gloss: Field
    wax: Field


def survey(points: Field, noise: Field) -> Surface:
    """Find which part each point belongs to, and what it looks like there."""
    gaps = np.stack([shape(points) for shape in PARTS.values()])
    nearest = gaps.argmin(axis=0)
    albedo = np.zeros_like(points)
    gloss, wax = np.full(len(points), 0.05, np.float32), np.zeros(len(points), np.float32)
    for k, name in enumerate(PARTS):
        own = nearest == k
        if name == "skin":
            albedo[own] = skin_colour(points[own], noise)
            gloss[own], wax[own] = 0.13, 1.0
        elif name == "eye":
            albedo[own], gloss[own] = eye_colour(points[own]), 1.6
        elif name == "pearl":
            albedo[own], gloss[own], wax[own] = colour("#e9e2d8") ** 2.2, 1.3, 0.3
        else:
            albedo[own] = cloth_colour(name, points[own], noise)
    return Surface(points, normals(everything, points), albedo, gloss, wax)


def light_up(at: Surface, ways: Field) -> Field:
    """Light (N, 3) from the surface towards the eye: window, room, and the skin's own glow."""
    key = KEY / np.linalg.norm(KEY)
    room = openness(everything, at.points, at.normal)
    facing = at.normal @ key
    towards = facing > -0.35
    lit = np.zeros(len(facing), np.float32)
    outside = as_field(at.points + 0.01 * at.normal)
    lit[towards] = shadow(everything, outside[towards], key, 7.0)
    plain = np.clip(facing, 0.0, 1.0) * lit
    soft = np.clip((facing + 0.32) / 1.32, 0.0, 1.0) ** 1.3 * (0.35 + 0.65 * lit)
    red = as_field([1.0, 0.62, 0.48])
    glow = plain[:, None] + (at.wax * (soft - plain))[:, None] * red * 0.55
    fill = 0.10 + 0.09 * at.normal[:, 1:2] + 0.10 * np.clip(at.normal[:, :1], 0.0, 1.0)
    bounce = as_field([0.62, 0.80, 1.0]) * fill * room[:, None]
    half = key - ways
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = np.clip((at.normal * half).sum(1), 0.0, 1.0)
    gleam = at.gloss * lit * np.where(at.gloss > 1, 1.9 * shine**300, 0.7 * shine**50)
    rim = (1.0 + (at.normal * ways).sum(1)) ** 3 * 0.10 * room
    warm = as_field([1.0, 0.93, 0.82])
    return as_field(at.albedo * (1.75 * glow * warm + bounce) + (gleam + 0.3 * rim)[:, None] * warm)


def backdrop(height: int, width: int, noise: Field) -> Field:
    """A wall in dark green, lighter where the window's light falls on it."""
    y, x = (as_field(g / height) for g in np.mgrid[0:height, 0:width])
    cloud = sample(noise, as_field(x * 0.5), as_field(y * 0.5))
    light = (
        0.35 + 0.9 * np.exp(-(((x - 0.72) / 0.42) ** 2 + ((y - 0.45) / 0.5) ** 2)) + 0.07 * cloud
    )
    return as_field(light[..., None] * (colour("#2c4a44") ** 2.2))


def paint(size: int, seed: int = 4) -> Field:
    """Paint the portrait `size` pixels wide. Returns (1.25 * size, size, 3) sRGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    noise = fractal(rng, 1024, 1.3, lowest=3)
    width, height = round(size * SUPERSAMPLING), round(size * ASPECT * SUPERSAMPLING)
    start, ways = VIEW.rays(height, width)
    depth = depths(everything, VIEW, height, width, 5.5, 11.0)
    light = backdrop(height, width, noise).reshape(-1, 3)
    hit = np.nonzero(np.isfinite(depth))[0]
    for part in np.array_split(hit, max(1, len(hit) // 200_000)):
        at = survey(as_field(start + depth[part, None] * ways[part]), noise)
        light[part] = light_up(at, ways[part])
    picture = light.reshape(height, width, 3)
    soft = np.stack([blur(picture[..., c], 0.006 * width) for c in range(3)], -1)
    exposed = 0.90 * picture + 0.10 * soft
    toned = np.clip(exposed * (1.0 + exposed / 6.0) / (1.0 + 0.55 * exposed), 0.0, 1.0)
    grain = 0.006 * rng.standard_normal((height, width, 1))
    return resize(as_field(toned ** (1 / 2.2) + grain), round(size * ASPECT), size)
