"""Grass, flowers and a tree, drawn over the finished light of the foreground."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from samples_art.fields import Field, as_field, colour, lookup
from samples_art.land import Camera, Land, path_centre
from samples_art.solids import Solid, box
from samples_art.village import plain

TREE = (-6.3, 14.5)  # x, z of its foot
LEAVES = 30  # on each twig
Point = tuple[float, float]
Projection = Callable[[float, float], Point]


@dataclass
class Crown:
    """A tree before it is drawn: its limbs (from, to, widths) and its twig ends, in metres.

    A twig also knows the bough it belongs to: leaves are lit bough by bough.
    """

    limbs: list[tuple[Point, Point, float, float]]
    twigs: list[tuple[float, float, int]]


def tint(rgb: Field, gain: float = 1.0) -> tuple[int, int, int]:
    """An 8-bit colour for the drawing calls."""
    red, green, blue = (int(c) for c in np.clip(rgb * gain, 0.0, 1.0) * 255.0 + 0.5)
    return red, green, blue


def grow(
    crown: Crown, rng: np.random.Generator, foot: Point, reach: tuple[float, ...], bough: int = 0
) -> None:
    """Grow a limb and all it carries; `reach` is its length, direction in radians and width."""
    length, angle, width = reach
    bend = 0.90 * angle + rng.normal(0.0, 0.14)
    tip = (foot[0] + length * float(np.sin(bend)), foot[1] + length * float(np.cos(bend)))
    crown.limbs.append((foot, tip, width, 0.72 * width))
    bough = len(crown.limbs) if width > 0.075 else bough
    if width < 0.035 and rng.uniform() < 0.8:
        crown.twigs.append((*tip, bough))
    if width < 0.014:
        return
    for spread in rng.normal((-0.58, 0.54), 0.18):
        child = (length * rng.uniform(0.62, 0.86), bend + spread, width * rng.uniform(0.56, 0.72))
        grow(crown, rng, tip, child, bough)
    if width > 0.09:
        straight = (length * 0.7, bend + rng.normal(0.0, 0.2), width * 0.66)
        grow(crown, rng, tip, straight, bough)


def make_tree(rng: np.random.Generator) -> Crown:
    """A broad oak-like tree whose foot is the origin."""
    crown = Crown([], [])
    grow(crown, rng, (0.0, -0.3), (1.45, 0.12, 0.42))
    return crown


def tree_shade(land: Land, rng: np.random.Generator) -> list[Solid]:
    """Small boxes that cast the tree's dappled shadow; they are never seen."""
    ground = float(land.heights(as_field([TREE[0]]), as_field([TREE[1]]))[0])
    trunk = box((-0.2, -0.5, -0.2), (0.2, 3.0, 0.2), plain("#000000"))
    parts = [trunk.at(TREE[0], ground, TREE[1])]
    for _ in range(70):
        offset = rng.normal(0.0, (1.5, 1.0, 1.5))
        half = float(rng.uniform(0.12, 0.42))
        leaf = box((-half, -0.5 * half, -half), (half, 0.5 * half, half), plain("#000000"))
        place = (TREE[0] + offset[0], ground + 4.6 + offset[1], TREE[1] + offset[2])
        parts.append(replace(leaf, place=as_field(place), yaw=float(rng.uniform(0.0, 3.0))))
    return parts


def draw_limbs(
    draw: ImageDraw.ImageDraw, crown: Crown, project: Projection, rng: np.random.Generator
) -> None:
    """Draw the wood: tapered limbs, lit from the left, with furrowed bark on the stout ones."""
    scale = project(1.0, 0.0)[0] - project(0.0, 0.0)[0]
    light, dark = colour("#a08a68"), colour("#30271f")
    for foot, tip, start, end in crown.limbs:
        (x0, y0), (x1, y1) = project(*foot), project(*tip)
        length = float(np.hypot(x1 - x0, y1 - y0)) + 1e-6
        nx, ny = -(y1 - y0) / length * scale / 2, (x1 - x0) / length * scale / 2
        r = 0.42 * end * scale
        draw.ellipse((x1 - r, y1 - r, x1 + r, y1 + r), fill=tint(colour("#5d4f40")))
        num_strips = int(np.clip(scale * start / 5.0, 2, 30))
        edges = np.linspace(-1.0, 1.0, num_strips + 1)
        for a, b in pairwise(edges):
            share = float(np.clip(0.62 - 0.62 * a + rng.normal(0.0, 0.16), 0.0, 1.0))
            if nx < 0:
                a, b = -a, -b
            corners = [(x0 + s * nx * start, y0 + s * ny * start) for s in (a, b)]
            corners += [(x1 + s * nx * end, y1 + s * ny * end) for s in (b, a)]
            draw.polygon(corners, fill=tint(as_field(dark + share**1.3 * (light - dark))))


def draw_leaves(
    draw: ImageDraw.ImageDraw, crown: Crown, project: Projection, rng: np.random.Generator
) -> None:
    """Hang leaves round the twigs: dark ones first, those that face the sun last."""
    twigs = np.array(crown.twigs)
    names, members = np.unique(twigs[:, 2], return_inverse=True)
    shares = np.bincount(members)
    middles = np.stack([np.bincount(members, twigs[:, k]) / shares for k in (0, 1)], axis=1)
    spots = np.repeat(twigs[:, :2], LEAVES, axis=0)
    spots = spots + rng.normal(0.0, 0.13, spots.shape)
    depth = rng.uniform(0.0, 1.0, len(spots)) + np.repeat(
        rng.normal(0, 0.5, len(names))[members], LEAVES
    )
    toward = (spots - np.repeat(middles[members], LEAVES, axis=0)) @ np.array([-0.62, 0.95])
    whole = (spots - twigs[:, :2].mean(axis=0)) @ np.array([-0.07, 0.09])
    light = 0.36 + 0.50 * toward + whole + 0.20 * (depth - 0.5)
    light = light + rng.normal(0.0, 0.10, len(spots))
    scale = project(1.0, 0.0)[0] - project(0.0, 0.0)[0]
    stops = np.stack([colour(code) for code in ("#26351a", "#54702c", "#bcbc5e")])
    place = np.clip(light, 0.0, 1.0)
    tones = np.stack([np.interp(place, (0.0, 0.5, 1.0), stops[:, c]) for c in range(3)], axis=1)
    for i in np.argsort(depth):
        x, y = project(float(spots[i, 0]), float(spots[i, 1]))
        turn, half = rng.uniform(0.0, np.pi), scale * rng.uniform(0.028, 0.056)
        c, s = half * float(np.cos(turn)), half * float(np.sin(turn))
        leaf = [(x - c, y - s), (x + 0.45 * s, y - 0.45 * c), (x + c, y + s)]
        draw.polygon([*leaf, (x - 0.45 * s, y + 0.45 * c)], fill=tint(as_field(tones[i])))


def draw_tree(draw: ImageDraw.ImageDraw, land: Land, camera: Camera, seed: int) -> None:
    """Draw the tree at the left of the picture."""
    rng = np.random.default_rng(seed)
    ground = float(land.heights(as_field([TREE[0]]), as_field([TREE[1]]))[0])

    def project(x: float, y: float) -> Point:
        column = 0.5 * camera.width + (TREE[0] + x) * camera.focal / TREE[1]
        return column, camera.horizon - (ground + y - camera.eye) * camera.focal / TREE[1]

    crown = make_tree(rng)
    draw_limbs(draw, crown, project, rng)
    draw_leaves(draw, crown, project, rng)


def grass_spots(
    land: Land, camera: Camera, depth: Field, rng: np.random.Generator
) -> tuple[Field, Field, Field]:
    """Rows, columns and depths of the blades' feet, far ones first: grassy ground only."""
    count = 90000
    rows = as_field(rng.uniform(camera.horizon, camera.height - 1, count))
    columns = as_field(rng.uniform(0, camera.width - 1, count))
    z = depth[rows.astype(np.int64), columns.astype(np.int64)]
    x = as_field(camera.slopes(rows, columns)[0] * z)
    keep = np.isfinite(z) & (z < 24.0)
    rows, columns, x, z = rows[keep], columns[keep], x[keep], z[keep]
    y = land.heights(x, z)
    normal = land.normals(x, z, y, np.full_like(x, 0.15))
    tufts = land.heights(as_field(x * 3.0 + 400.0), as_field(z * 3.0))
    soft = (normal[:, 1] > 0.80) & (y > 1.35) & (np.abs(x - path_centre(z)) > 0.62)
    soft &= rng.uniform(0, 1, len(x)) < np.clip(0.55 + 0.5 * np.sin(tufts * 9.0), 0.25, 1.0)
    order = np.argsort(-z[soft])
    return rows[soft][order], columns[soft][order], z[soft][order]


def blade(foot: Point, tall: float, lean: float, wide: float, part: float) -> list[Point]:
    """Outline of a bent blade of grass from `part` of its height to its tip."""
    left, right = [], []
    for t in np.linspace(part, 1.0, 5):
        x, y = foot[0] + lean * float(t) ** 2, foot[1] - tall * float(t) * (1 - 0.12 * float(t))
        half = 0.5 * wide * (1.0 - float(t) ** 1.6) * min(1.0, 0.4 + 3.0 * float(t))
        left.append((x - half, y))
        right.append((x + half, y))
    return left + right[::-1]


def draw_grass(
    draw: ImageDraw.ImageDraw, spots: tuple[Field, Field, Field], below: Field, focal: float
) -> None:
    """Draw blades whose colours follow the lit ground `below` (H, W, 3), and some flowers."""
    rng = np.random.default_rng(23)
    rows, columns, depths = spots
    ground = lookup(below, columns, rows)
    for i in range(len(rows)):
        metre = focal / float(depths[i])
        foot = float(columns[i]), float(rows[i])
        tall = metre * rng.uniform(0.10, 0.36)
        lean = tall * rng.normal(0.25, 0.35)
        wide = max(1.6, metre * rng.uniform(0.006, 0.013))
        base = ground[i] * rng.uniform(0.75, 1.1) * as_field([1.0, 1.03, 0.85])
        draw.polygon(blade(foot, tall, lean, wide, 0.0), fill=tint(base, 0.90))
        draw.polygon(blade(foot, tall, lean, wide, 0.45), fill=tint(base, 1.28))
        if rng.uniform() < 0.022:
            head = foot[0] + lean, foot[1] - 0.9 * tall
            draw_flower(draw, head, metre * rng.uniform(0.018, 0.030), base, rng)


def draw_flower(
    draw: ImageDraw.ImageDraw, head: Point, size: float, base: Field, rng: np.random.Generator
) -> None:
    """Five petals round an eye, as bright as the ground's light allows."""
    codes = ("#fbf7ec", "#fbf7ec", "#f3cf4a", "#c79be0", "#e8664a")
    light = float(np.clip(0.45 + 1.3 * base.mean(), 0.5, 1.0))
    petals = tint(colour(codes[rng.integers(0, len(codes))]), light)
    for turn in np.linspace(0.0, 2.0 * np.pi, 5, endpoint=False) + rng.uniform(0, 1):
        x = head[0] + 0.7 * size * float(np.cos(turn))
        y = head[1] + 0.5 * size * float(np.sin(turn))
        draw.ellipse((x - 0.5 * size, y - 0.4 * size, x + 0.5 * size, y + 0.4 * size), fill=petals)
    x, y, r = *head, 0.3 * size
    draw.ellipse((x - r, y - r, x + r, y + r), fill=tint(colour("#d99a26"), light))


def overgrow(picture: Field, land: Land, camera: Camera, depth: Field) -> Field:
    """Draw all plants over an sRGB picture (H, W, 3). Returns a new picture."""
    image = Image.fromarray((picture * 255.0 + 0.5).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    spots = grass_spots(land, camera, depth, np.random.default_rng(21))
    draw_tree(draw, land, camera, seed=31)
    draw_grass(draw, spots, picture, camera.focal)
    return as_field(np.asarray(image)) / np.float32(255.0)
