"""An oil painting: thousands of curved strokes along a swirling flow, lit as thick paint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samples_art.fields import (
    Field,
    as_field,
    blur,
    colour,
    fractal,
    lookup,
    mix,
    resize,
    sample,
    smoothstep,
)

Indices = NDArray[np.int64]

ASPECT = 0.8  # height over width
WORKING_SCALE = 1.5  # strokes are laid at this multiple of the final size, then averaged down
GUIDE_WIDTH = 840
SPACING = 0.66  # of a stroke's samples in pixels; wider leaves holes on the outside of bends

SKY = ("#10184a", "#1b2f86", "#2a50b4", "#4f86c6", "#9cc4d2", "#eef0dc")
LIGHT = ("#fffbe6", "#ffe58a", "#f6b93a", "#d9862c", "#8fb3a8")
FIELD = ("#5a1a1c", "#a52a1e", "#dd4524", "#e98a2e", "#e9bd55", "#7c8a34")
CYPRESS = ("#0b1420", "#12301f", "#1f4a2c", "#46692f", "#8a6a2c")
# Lights of the sky: x, y, radius and spin, in units of the picture's height.
LIGHTS = (
    (0.965, 0.215, 0.105, 1.0),
    (0.385, 0.125, 0.045, -1.0),
    (0.640, 0.085, 0.030, 1.0),
    (0.120, 0.105, 0.038, 1.0),
    (0.560, 0.405, 0.026, -1.0),
    (1.180, 0.445, 0.032, -1.0),
)
EDDIES = ((0.545, 0.255, 0.135, 1.0), (0.770, 0.355, 0.085, -1.0), (0.335, 0.345, 0.075, -1.0))


@dataclass(frozen=True)
class Guide:
    """What the painter knows before a stroke: colours (H, W, 3), directions and detail (H, W)."""

    colours: Field
    direction_x: Field
    direction_y: Field
    detail: Field


@dataclass(frozen=True)
class Brush:
    """One layer of strokes: width and length in pixels of a 1680 px picture, coverage, spread."""

    width: float
    length: float
    coverage: float
    spread: float
    detail_only: bool = False


BRUSHES = (
    Brush(46, 340, 3.0, 0.05),
    Brush(27, 210, 2.4, 0.09),
    Brush(16, 125, 1.7, 0.12),
    Brush(10, 76, 1.5, 0.13, detail_only=True),
    Brush(6, 42, 1.0, 0.12, detail_only=True),
)


def ramp(palette: tuple[str, ...], position: Field) -> Field:
    """Colours along a palette: position 0 is its first colour, 1 its last. Returns (..., 3)."""
    stops = np.stack([colour(code) for code in palette])
    place = np.clip(position, 0.0, 1.0) * (len(palette) - 1)
    channels = [np.interp(place, np.arange(len(palette)), stops[:, c]) for c in range(3)]
    return as_field(np.stack(channels, axis=-1))


def sky_flow(x: Field, y: Field) -> tuple[Field, Field]:
    """Wind that bends round every light and eddy; returns unnormalised (dx, dy)."""
    dx, dy = np.ones_like(x), 0.35 * np.sin(5.2 * x + 3.0 * y)
    for cx, cy, radius, spin in LIGHTS + EDDIES:
        rx, ry = x - cx, y - cy
        distance = np.hypot(rx, ry) + 1e-6
        pull = 4.5 * spin * np.exp(-((distance / (1.55 * radius)) ** 2))
        dx, dy = dx - pull * ry / distance, dy + pull * rx / distance
    return as_field(dx), as_field(dy)


def sky_colours(x: Field, y: Field, noise: Field) -> Field:
    """Ultramarine bands drawn out along the wind, spiral arms in the eddies, haloed lights."""
    warp = 0.05 * sample(noise, x * 0.6, y * 0.6)
    band = sample(noise, as_field((x + warp) * 0.35), as_field((y + warp) * 1.5))
    tone = 0.30 + 0.16 * band + 0.42 * smoothstep(0.30, 0.64, y)
    for cx, cy, radius, spin in EDDIES:
        distance = np.hypot(x - cx, y - cy) / radius
        angle = np.arctan2(y - cy, x - cx) * spin
        arms = np.cos(2.0 * angle - 5.0 * np.log(distance + 0.12))
        tone = tone + 0.34 * arms * np.exp(-((distance / 1.25) ** 2))
    result = ramp(SKY, as_field(tone))
    for cx, cy, radius, _ in LIGHTS:
        distance = as_field(np.hypot(x - cx, y - cy) / radius)
        rings = distance / 2.1 + 0.06 * np.sin(distance * 9.0)
        result = mix(result, ramp(LIGHT, as_field(rings)), smoothstep(2.2, 1.0, distance))
    return result


def hill_line(x: Field, base: float, swing: float, phase: float) -> Field:
    """Height of a rolling ridge at x."""
    return as_field(base + swing * (np.sin(3.1 * x + phase) + 0.45 * np.sin(7.3 * x + 2 * phase)))


def lay_hills(x: Field, y: Field, guide: list[Field], noise: Field) -> None:
    """Put three ridges over the sky, in place: colours, then the direction of their slopes."""
    palettes = (
        ("#1c2a66", "#3b4f93", "#7a8bb8"),
        ("#123a3a", "#2f6b52", "#8fa860"),
        ("#4a4a1c", "#8f8430", "#e2bf5a"),
    )
    for (base, swing, phase), palette in zip(
        ((0.575, 0.030, 0.4), (0.635, 0.026, 2.3), (0.690, 0.018, 4.4)), palettes, strict=True
    ):
        top = hill_line(x, base, swing, phase)
        inside = smoothstep(-0.002, 0.002, as_field(y - top))
        shade = 0.85 - 7.0 * (y - top) + 0.22 * sample(noise, x * 1.2, (y - top) * 5.0)
        slope = (hill_line(as_field(x + 0.01), base, swing, phase) - top) / 0.01
        lean = 0.9 * np.sin(9.0 * x + phase) * smoothstep(0.0, 0.05, as_field(y - top))
        guide[0] = mix(guide[0], ramp(palette, as_field(shade)), inside)
        guide[1] = as_field(guide[1] * (1 - inside) + inside)
        guide[2] = as_field(guide[2] * (1 - inside) + (slope + lean) * inside)


def lay_field(x: Field, y: Field, guide: list[Field], noise: Field) -> None:
    """Put the furrowed field in the foreground, in place; furrows meet at a far point."""
    top = hill_line(x, 0.735, 0.008, 1.1)
    inside = smoothstep(-0.002, 0.002, as_field(y - top))
    depth = np.maximum(y - 0.66, 0.01)
    bend = 0.05 * np.sin(22.0 * y)
    row = (x - 0.74 + bend) / depth
    tone = 0.42 + 0.30 * np.sin(row * 3.4) + 0.20 * sample(noise, row * 0.06, y * 1.3)
    tone = tone + 0.25 * (0.5 - np.abs(x - 0.8))
    guide[0] = mix(guide[0], ramp(FIELD, as_field(tone)), inside)
    guide[1] = as_field(guide[1] * (1 - inside) + (row + 0.9 * np.cos(22.0 * y)) * inside)
    guide[2] = as_field(guide[2] * (1 - inside) + inside)


def lay_cypress(x: Field, y: Field, guide: list[Field], noise: Field) -> None:
    """Put two dark flames of cypress at the left, in place."""
    for centre, top, foot, girth in ((0.205, 0.17, 0.90, 0.066), (0.325, 0.42, 0.86, 0.036)):
        along = np.clip((y - top) / (foot - top), 0.0, 1.0)
        axis = centre + 0.016 * np.sin(9.0 * y + 5.0 * centre)
        half = girth * (along**0.75) * (1.02 - along**14) + 0.010 * np.sin(34 * y) * along
        side = (x - axis) / np.maximum(half, 1e-3)
        within = as_field((y > top) & (y < foot))
        inside = smoothstep(1.0, 0.9, as_field(np.abs(side))) * within
        flame = sample(noise, as_field(side * 0.11 + 0.3), as_field(y * 0.7))
        tone = 0.36 + 0.22 * side + 0.24 * flame
        guide[0] = mix(guide[0], ramp(CYPRESS, as_field(tone)), as_field(inside))
        lean = 0.16 * np.cos(9.0 * y) + 0.40 * np.sin(26.0 * y + 3.0 * side) - 0.35 * side
        guide[1] = as_field(guide[1] * (1 - inside) + lean * inside)
        guide[2] = as_field(guide[2] * (1 - inside) - inside)


def make_guide(rng: np.random.Generator) -> Guide:
    """Compose sky, hills, field and cypresses at a small size."""
    height = round(GUIDE_WIDTH * ASPECT)
    y, x = (as_field(g) for g in np.mgrid[0:height, 0:GUIDE_WIDTH] / float(height))
    noise = fractal(rng, 512, 1.5, lowest=2)
    parts = [sky_colours(x, y, noise), *sky_flow(x, y)]
    lay_hills(x, y, parts, noise)
    lay_field(x, y, parts, noise)
    lay_cypress(x, y, parts, noise)
    length = np.hypot(parts[1], parts[2]) + 1e-6
    light = parts[0] @ as_field([0.3, 0.6, 0.1])
    edges = np.hypot(*np.gradient(blur(as_field(light), 1.5)))
    detail = np.clip(blur(as_field(edges), 3.0) / 0.02, 0.0, 1.0)
    return Guide(parts[0], as_field(parts[1] / length), as_field(parts[2] / length), detail)


def trace(guide: Guide, x: Field, y: Field, step: float, num_steps: int) -> tuple[Field, Field]:
    """Follow the flow both ways from guide positions (N,). Returns two (N, 2 * num_steps + 1)."""
    halves = []
    for sign in (-1.0, 1.0):
        px, py, points = x, y, []
        for _ in range(num_steps):
            dx, dy = lookup(guide.direction_x, px, py), lookup(guide.direction_y, px, py)
            scale = sign * step / (np.hypot(dx, dy) + 1e-6)
            px, py = as_field(px + dx * scale), as_field(py + dy * scale)
            points.append((px, py))
        halves.append(points if sign > 0 else points[::-1])
    path = [*halves[0], (x, y), *halves[1]]
    return np.stack([p[0] for p in path], 1), np.stack([p[1] for p in path], 1)


def bristle_texture(rng: np.random.Generator) -> Field:
    """Streaks a bristle wide and many pixels long, (1024, 2048), about [-1, 1]."""
    noise = as_field(rng.standard_normal((1024, 2048)))
    spectrum = np.fft.rfft2(noise)
    across = np.exp(-((np.fft.fftfreq(1024) * 6.0) ** 2))[:, None]
    along = np.exp(-((np.fft.rfftfreq(2048) * 190.0) ** 2))[None]
    streaks = np.fft.irfft2(spectrum * across * along, s=(1024, 2048))
    return as_field(np.clip(streaks / (2.0 * streaks.std()), -1.0, 1.0))


class Canvas:
    """Wet paint: colour (H, W, 3) and height (H, W), both changed by every stroke."""

    def __init__(self, rng: np.random.Generator, ground: Field) -> None:
        """Prime the canvas with the colours `ground` (H, W, 3)."""
        height, width = ground.shape[:2]
        self.rng = rng
        self.paint = ground.reshape(-1, 3).copy()
        self.relief = np.zeros(height * width, np.float32)
        self.height, self.width = height, width
        self.bristles = bristle_texture(rng)

    def stroke(self, x: Field, y: Field, width: float, tints: Field) -> None:
        """Lay one stroke along the path x, y (n,) in pixels, `tints` (2, 3) mixed on the brush."""
        columns, rows, along, across = ribbon(x, y, width)
        num_across, num_along = across.shape[0], along.shape[1]
        top = self.rng.integers(0, 1024 - num_across)
        left = self.rng.integers(0, 2048 - num_along)
        bristle = self.bristles[top : top + num_across, left : left + num_along]
        alpha, profile = stroke_shape(along, across, bristle, self.rng.uniform(0.2, 1.0))
        inside = (alpha > 0.02) & (columns >= 0) & (columns < self.width)
        inside &= (rows >= 0) & (rows < self.height)
        spot = (rows * self.width + columns)[inside]
        opacity, lift = alpha[inside], profile[inside] * min(1.0, 0.3 + width / 55.0)
        load = np.clip(0.5 + 0.9 * bristle + 0.35 * across, 0.0, 1.0)[inside][:, None]
        tint = tints[0] * load + tints[1] * (1.0 - load)
        tint = tint * (1.0 + 0.10 * bristle[inside][:, None])
        cover = opacity[:, None]
        self.paint[spot] = self.paint[spot] * (1.0 - cover) + tint * cover
        under = self.relief[spot]
        self.relief[spot] = under * (1.0 - opacity) + (0.45 * under + lift) * opacity


def ribbon(x: Field, y: Field, width: float) -> tuple[Indices, Indices, Field, Field]:
    """Spread a path (n,) into a band of samples `SPACING` pixels apart.

    Returns columns and rows (across, along) of the pixels hit, the place along the stroke (1, m)
    in [0, 1] and the place across it (k, 1) in [-1, 1].
    """
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    num_along = min(2000, max(4, int(travelled[-1] / SPACING)))
    place = np.linspace(0.0, travelled[-1], num_along)
    px, py = np.interp(place, travelled, x), np.interp(place, travelled, y)
    tx, ty = np.gradient(px), np.gradient(py)
    length = np.hypot(tx, ty) + 1e-6
    across = np.linspace(-1.0, 1.0, max(4, int(width / SPACING)))[:, None]
    columns = np.rint(px - across * (ty / length) * width / 2).astype(np.int64)
    rows = np.rint(py + across * (tx / length) * width / 2).astype(np.int64)
    along = np.linspace(0.0, 1.0, num_along)[None]
    return columns, rows, as_field(along), as_field(across)


def stroke_shape(along: Field, across: Field, bristle: Field, load: float) -> tuple[Field, Field]:
    """Opacity and paint thickness of a stroke; `load` in [0, 1] says how wet the brush is."""
    rounding = np.sqrt(np.clip(1.0 - ((np.abs(along - 0.5) * 2.0) ** 6), 0.0, 1.0))
    edge = np.abs(across) / np.maximum(rounding, 1e-3) + 0.10 * bristle
    body = smoothstep(1.0, 0.86, as_field(edge))
    dryness = bristle + 1.35 + 0.9 * load - 2.1 * along**2.5
    alpha = body * smoothstep(0.0, 0.45, as_field(dryness))
    ridge = np.exp(-(((edge - 0.80) / 0.13) ** 2))
    bead = np.exp(-(((along - 0.95) / 0.035) ** 2)) * load
    thickness = 0.55 + 0.36 * bristle + 0.42 * ridge + 0.45 * bead
    return alpha, as_field(thickness * (1.0 - 0.35 * along))


def choose_starts(guide: Guide, brush: Brush, rng: np.random.Generator) -> tuple[Field, Field]:
    """Positions in the guide for a brush's strokes: everywhere, or where there is detail."""
    height, width = guide.detail.shape
    area = 1680 * 1680 * ASPECT
    count = int(brush.coverage * area / (brush.width * brush.length))
    x = as_field(rng.uniform(0, width - 1, count))
    y = as_field(rng.uniform(0, height - 1, count))
    if not brush.detail_only:
        return x, y
    kept = rng.uniform(0.0, 1.0, count) < 0.12 + 0.88 * lookup(guide.detail, x, y)
    return x[kept], y[kept]


def stroke_tints(guide: Guide, x: Field, y: Field, spread: float, seed: int) -> Field:
    """Two colours for every stroke, (N, 2, 3): what the guide shows, broken up by `spread`."""
    rng = np.random.default_rng(seed)
    base = lookup(guide.colours, x, y)[:, None]
    value = 1.0 + rng.normal(0.0, 1.5 * spread, (len(x), 2, 1))
    hue = rng.normal(0.0, 0.55 * spread, (len(x), 2, 3))
    tints = base * value + hue
    light = base.mean(axis=2, keepdims=True)
    accent = rng.uniform(0.0, 1.0, (len(x), 1, 1)) < 0.08 * (light > 0.30)
    white = tints * 0.45 + 0.55 * colour("#f7f1dc")
    return as_field(np.clip(np.where(accent, white, tints), 0.0, 1.0))


def paint_layer(canvas: Canvas, guide: Guide, brush: Brush, seed: int) -> None:
    """Lay all strokes of one brush, in random order."""
    rng = np.random.default_rng(seed)
    x, y = choose_starts(guide, brush, rng)
    to_guide = guide.detail.shape[1] / 1680
    step = brush.length * to_guide / 20
    paths = trace(guide, x, y, step, 10)
    tints = stroke_tints(guide, x, y, brush.spread, seed + 1)
    to_canvas = canvas.width / guide.detail.shape[1]
    widths = brush.width * canvas.width / 1680 * rng.uniform(0.7, 1.25, len(x))
    starts = rng.integers(0, 6, len(x))
    for i in range(len(x)):
        part = slice(int(starts[i]), 21 - int(starts[i]) // 2)
        px, py = paths[0][i, part] * to_canvas, paths[1][i, part] * to_canvas
        canvas.stroke(as_field(px), as_field(py), float(widths[i]), tints[i])


def light_paint(paint: Field, relief: Field, weave: Field) -> Field:
    """Light the thick paint from the upper left: shading, then a gloss on the ridges."""
    surface = blur(as_field(relief + 0.03 * weave), 0.8) * 6.5
    slope_y, slope_x = np.gradient(surface)
    normal = np.stack([-slope_x, -slope_y, np.ones_like(slope_x)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = as_field([-0.52, -0.60, 0.61])
    halfway = (light + as_field([0.0, 0.0, 1.0])) / np.linalg.norm(light + as_field([0, 0, 1.0]))
    facing = np.clip(normal @ light, 0.0, 1.0)
    gloss = np.clip(normal @ halfway, 0.0, 1.0) ** 38
    shade = 0.48 + 0.85 * facing
    lit = paint * shade[..., None] + (0.20 * (gloss - 0.10))[..., None]
    return as_field(np.clip(lit, 0.0, 1.0))


def paint(size: int, seed: int = 11) -> Field:
    """Paint the picture `size` pixels wide. Returns (round(0.8 * size), size, 3) sRGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    guide = make_guide(rng)
    height, width = round(size * ASPECT), size
    ground = 0.75 * guide.colours + 0.25 * colour("#7a5a3a")
    shape = round(height * WORKING_SCALE), round(width * WORKING_SCALE)
    canvas = Canvas(rng, resize(as_field(ground), *shape))
    for index, brush in enumerate(BRUSHES):
        paint_layer(canvas, guide, brush, seed * 100 + 10 * index)
    warp, weft = (np.sin(np.arange(count) * 1.1) for count in shape)
    lit = light_paint(
        canvas.paint.reshape(*shape, 3),
        canvas.relief.reshape(shape),
        as_field(warp[:, None] * weft),
    )
    return resize(lit, height, width)
