"""A stained-glass window: pieces of coloured glass between lead cames, lit from behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samples_art.cells import Labels, Mask, borders, distance_to, junctions, scatter, voronoi
from samples_art.fields import (
    Field,
    as_field,
    blur,
    fractal,
    mix,
    resize,
    sample,
    smoothstep,
)
from samples_art.impasto import ramp

ASPECT = 0.8  # height over width
WORKING_SCALE = 1.5
SUN = (0.80, 0.34)
FRAME = 0.045  # width of the border, in heights
LEAD, OUTLINE = 0.0026, 0.0042  # half widths of the cames, in heights

SKY = ("#fff3b0", "#ffd24a", "#f79a2e", "#e2603f", "#b23f74", "#6a3fa0", "#2f3f9e", "#16256e")
PEAKS = ("#7c6bc0", "#4f56a8", "#35408c", "#5b8fc4", "#9db8dc")
HILLS = ("#0f5a3c", "#1f7f45", "#4fa045", "#9cbf3f", "#d5cf4a")
WATER = ("#0d3f72", "#146a9a", "#1f95b0", "#66c2c0", "#bfe6d8")
LEAVES = ("#0c4f33", "#15773f", "#3f9a3a", "#8fbb3a", "#d8cf46")
BARK = ("#4a2414", "#6e3a1c", "#8f5526")
FLAME = ("#7c0f1c", "#b81a22", "#e03a2a", "#f2703a", "#f9a54a")
IRIS = ("#3a1f86", "#5a36b4", "#7d5ad0", "#a98be6", "#d9c3f4")
RIM = ("#123a7a", "#8c1c2c", "#1b6a58", "#c98a1f")


@dataclass
class Window:
    """The cartoon: x, y in heights, and for every pixel its form, its piece and its colour."""

    x: Field
    y: Field
    form: Labels
    piece: Labels
    tint: Field

    def lay(self, where: Mask, cells: Labels, palette: tuple[str, ...], tone: Field) -> None:
        """Put a form over what lies under it, cut along `cells`, each piece of one tint.

        tone (H, W) runs along the palette; a piece has that of its first pixel, off by chance.
        """
        number = int(self.form.max()) + 1
        _, first, inverse = np.unique(cells[where], return_index=True, return_inverse=True)
        shade = np.broadcast_to(tone, where.shape)[where][first]
        order = np.arange(len(first), dtype=np.int64)
        shade = shade + 0.22 * (scatter(order, order * 0 + number, 5) - 0.5)
        self.form[where] = number
        self.piece[where] = number * 100_000 + inverse.reshape(-1)
        self.tint[where] = ramp(palette, as_field(shade))[inverse.reshape(-1)]


def along(x: Field, points: tuple[tuple[float, float], ...]) -> Field:
    """A smooth line through (x, y) points, at x."""
    xs, ys = (as_field(part) for part in zip(*points, strict=True))
    dense = np.linspace(xs[0], xs[-1], 400)
    steps = np.interp(dense, xs, ys)
    kernel = np.hanning(41)
    padded = np.pad(steps, 20, mode="edge")
    return as_field(np.interp(x, dense, np.convolve(padded, kernel / kernel.sum(), "valid")))


def lay_sky(window: Window, noise: Field) -> None:
    """Rings of light round the sun, cut along its rays."""
    dx, dy = window.x - SUN[0], window.y - SUN[1]
    bend = 0.06 * sample(noise, as_field(window.x * 0.5), as_field(window.y * 0.5))
    radius = as_field(np.hypot(dx, dy) * (1.0 + bend))
    ring = np.floor(np.log(np.maximum(radius, 0.05) / 0.085) / 0.34)
    spokes = np.where(ring < 1, 16, np.where(ring < 3, 24, 30))
    turn = np.arctan2(dy, dx) / (2 * np.pi) + 0.5 + 0.013 * ring + 0.3 * bend
    cells = (ring.astype(np.int64) + 9) * 64 + np.floor(turn * spokes).astype(np.int64)
    everywhere = np.ones(radius.shape, bool)
    window.lay(everywhere, cells, SKY, as_field(0.06 + 1.02 * radius**0.85))
    window.lay(radius < 0.085, cells * 0, ("#fff2a8", "#ffe680"), as_field(radius * 0))
    for level, left, right, thick in ((0.16, 0.10, 0.62, 0.045), (0.47, 0.42, 1.10, 0.030)):
        place = np.clip((window.x - left) / (right - left), 0.0, 1.0)
        swell = np.sqrt(np.clip(np.sin(np.pi * place), 0.0, 1.0))
        top = level - thick * swell * (1 + 0.35 * np.sin(11.0 * place + 40 * level))
        cloud = (window.y > top) & (window.y < level + 0.5 * thick * swell)
        cuts = np.floor(place * 6 + 4.0 * (window.y - level)).astype(np.int64)
        window.lay(cloud, cuts, ("#f3c3a8", "#e8bcc4", "#a79ad2"), as_field(place))


def lay_land(window: Window, noise: Field) -> None:
    """Two ridges, the lake with the sun on it, and hills on both sides."""
    x, y = window.x, window.y
    jag = 0.018 * np.abs(sample(noise, as_field(x * 1.7), as_field(x * 0 + 0.3)))
    far = along(x, ((-0.1, 0.50), (0.18, 0.42), (0.34, 0.31), (0.50, 0.44), (0.70, 0.52),
                    (0.92, 0.49), (1.12, 0.40), (1.35, 0.47))) + jag  # fmt: skip
    slope = as_field(4.0 * x + 5.5 * np.abs(y - far))
    window.lay(y > far, voronoi(slope, as_field(7 * y - 3 * x), 3), PEAKS, as_field(1.6 - 2.4 * y))
    near = along(x, ((-0.1, 0.56), (0.2, 0.53), (0.45, 0.60), (0.75, 0.585), (1.0, 0.55),
                     (1.4, 0.52)))  # fmt: skip
    cells = voronoi(as_field(4.6 * x + y), as_field(16 * (y - near)), 11)
    window.lay(y > near, cells, HILLS, as_field(0.25 + 0.5 * np.sin(4 * x + 1) ** 2))
    lake = along(x, ((-0.1, 0.66), (0.3, 0.665), (0.7, 0.645), (1.0, 0.635), (1.4, 0.625)))
    wave = 0.008 * np.sin(17 * x + 31 * y)
    cells = voronoi(as_field(4.2 * x), as_field(26 * np.abs(y + wave) ** 1.25), 17, 0.9)
    glitter = np.exp(-(((x - SUN[0]) / (0.05 + 0.28 * (y - 0.62))) ** 2))
    tone = 0.62 - 1.2 * (y - 0.64) + 0.10 * np.sin(31 * y)
    window.lay(y > lake, cells, WATER, as_field(tone))
    band = 0.45 + 0.28 * np.sin(np.floor(17 * y) * 2.4)
    gold = (y > lake) & (glitter > band)
    window.lay(gold, cells, ("#f08c2e", "#f9b544", "#ffe08a"), as_field(0.2 + glitter - y + 0.6))
    shore = along(x, ((-0.1, 0.74), (0.2, 0.775), (0.45, 0.86), (0.62, 0.955), (0.75, 1.1),
                      (1.4, 1.3)))  # fmt: skip
    cells = voronoi(as_field(5 * x + 2 * y), as_field(13 * (y - shore)), 23)
    window.lay(y > shore, cells, HILLS, as_field(0.75 - 1.8 * (y - shore)))


def lay_tree(window: Window, noise: Field) -> None:
    """A tree at the left: bent trunk, three boughs, a crown of small leaves."""
    x, y = window.x, window.y
    sway = 0.012 * sample(noise, as_field(x * 1.3), as_field(y * 1.3))
    crown = np.zeros(x.shape, bool)
    for cx, cy, rx, ry in ((0.20, 0.24, 0.17, 0.13), (0.36, 0.30, 0.13, 0.10),
                           (0.09, 0.36, 0.12, 0.11), (0.25, 0.40, 0.15, 0.08)):  # fmt: skip
        crown |= ((x - cx + sway) / rx) ** 2 + ((y - cy + sway) / ry) ** 2 < 1.0
    cells = voronoi(as_field(19 * x + 6 * y), as_field(19 * y - 6 * x), 29, 0.9)
    light = 0.55 + 1.3 * (x - 0.2) - 1.5 * (y - 0.3)
    window.lay(crown, cells, LEAVES, as_field(light))
    boughs = (
        ((0.10, 0.33), (0.212, 0.60), 0.009),
        ((0.36, 0.29), (0.232, 0.58), 0.009),
        ((0.20, 0.20), (0.225, 0.86), 0.022),
    )
    for tip, foot, girth in boughs:
        place = np.clip((y - tip[1]) / (foot[1] - tip[1]), 0.0, 1.0)
        axis = tip[0] + (foot[0] - tip[0]) * place + 0.020 * np.sin(6.0 * place + 9 * girth)
        half = girth * (0.35 + 0.65 * place + 0.9 * place**8)
        wood = (np.abs(x - axis) < half) & (y > tip[1]) & (y < foot[1])
        window.lay(wood, np.floor(place * 7 * girth / 0.012).astype(np.int64), BARK, place)


def lay_flower(window: Window, cx: float, cy: float, size: float, palette: tuple[str, ...]) -> None:
    """Six petals round a heart, in two rings."""
    dx, dy = window.x - cx, window.y - cy
    radius, angle = np.hypot(dx, dy) / size, np.arctan2(dy, dx)
    for count, reach, turn, tone in ((6, 1.0, 0.3, 0.35), (6, 0.66, 0.82, 0.75)):
        phase = (angle + turn) * count / (2 * np.pi)
        edge = reach * (0.72 + 0.28 * np.abs(np.cos(np.pi * phase)) ** 0.7)
        cells = np.floor(phase + 0.5).astype(np.int64) % count
        window.lay(radius < edge, cells, palette, as_field(tone + 0 * radius))
    window.lay(
        radius < 0.24, np.zeros(radius.shape, np.int64), ("#f2c12e", "#f7dc6a"), as_field(radius)
    )


def lay_garden(window: Window) -> None:
    """Blades of leaves and flowers in front, at the lower right and left."""
    x, y = window.x, window.y
    blades = ((0.52, 0.60, 0.74, 0.024), (0.66, 0.71, 0.72, 0.026), (0.80, 0.74, 0.69, 0.026),
              (0.90, 0.97, 0.66, 0.026), (1.02, 0.99, 0.74, 0.024), (1.10, 1.17, 0.67, 0.026),
              (0.12, 0.07, 0.80, 0.022), (0.33, 0.39, 0.83, 0.022))  # fmt: skip
    for k, (foot, tip, top, girth) in enumerate(blades):
        place = np.clip((y - top) / (1.0 - top), 0.0, 1.0)
        axis = tip + (foot - tip) * place ** (0.6 if k % 2 else 1.7)
        blade = (np.abs(x - axis) < girth * np.sin(np.pi * (0.08 + 0.60 * place)) * place**0.35) & (
            y > top
        )
        cells = np.floor(place * 4).astype(np.int64) * 2 + (x > axis)
        window.lay(blade, cells, LEAVES, as_field(0.3 + 0.5 * (x > axis) - 0.25 * place))
    flowers = (
        (0.74, 0.80, 0.085, FLAME),
        (0.94, 0.73, 0.072, IRIS),
        (1.09, 0.83, 0.092, FLAME),
        (0.575, 0.87, 0.068, IRIS),
        (0.17, 0.90, 0.070, FLAME),
        (0.90, 0.91, 0.058, IRIS),
    )
    for cx, cy, size, palette in flowers:
        lay_flower(window, cx, cy, size, palette)


def lay_frame(window: Window) -> None:
    """A border of long panes, with squares at the corners."""
    x, y = window.x, window.y
    right = 1.0 / ASPECT
    across = np.minimum(x, right - x) < FRAME
    down = np.minimum(y, 1.0 - y) < FRAME
    lengthwise = np.floor(np.where(across, (y - FRAME) * 8.0, (x - FRAME) * 8.0)).astype(np.int64)
    side = across * (1 + (x > 0.6)) + down * (3 + 4 * (y > 0.5))
    for k, palette in enumerate(RIM):
        cells = lengthwise + 100 * side
        corner = across & down
        chosen = (across | down) & ~corner & ((lengthwise + side) % 4 == k)
        window.lay(chosen, cells, (palette, palette), as_field(x * 0))
    window.lay(across & down, side.astype(np.int64), ("#e0a62e", "#f0c65a"), as_field(x * 0))


def draw(height: int) -> Window:
    """The whole cartoon, `height` pixels high."""
    width = round(height / ASPECT)
    y, x = (as_field((g + 0.5) / height) for g in np.mgrid[0:height, 0:width])
    empty = np.zeros(x.shape, np.int64)
    window = Window(x, y, empty, empty.copy(), np.zeros((*x.shape, 3), np.float32))
    rng = np.random.default_rng(3)
    lay_sky(window, fractal(rng, 512, 3.0, lowest=2))
    lay_land(window, fractal(rng, 512, 2.2, lowest=2))
    lay_tree(window, fractal(rng, 512, 2.6, lowest=2))
    lay_garden(window)
    lay_frame(window)
    return window


def shine(window: Window, rng: np.random.Generator) -> Field:
    """Light through the glass (H, W, 3), linear: streaks, ripples and seeds of every piece."""
    height = window.x.shape[0]
    order = window.piece
    streaks, ripples = fractal(rng, 1024, 2.3, lowest=3), fractal(rng, 1024, 2.0, lowest=14)
    turn = 2 * np.pi * scatter(order, order * 0, 41)
    u = window.x * np.cos(turn) + window.y * np.sin(turn) + scatter(order, order * 0, 43)
    v = window.y * np.cos(turn) - window.x * np.sin(turn) + scatter(order, order * 0, 47)
    streak = sample(streaks, as_field(1.3 * u), as_field(3.0 * v))
    ripple = sample(ripples, as_field(1.5 * u), as_field(2.1 * v))
    slope = np.hypot(*np.gradient(blur(ripple, height / 700))) * height / 40
    base = window.tint**2.2
    deep = base**1.7
    pale = base * 0.85 + 0.15 * base.max(axis=2, keepdims=True)
    share = smoothstep(-1.9, 1.9, streak)
    light = mix(as_field(deep), as_field(pale), share)
    relief = 1.0 + 0.10 * ripple + 0.20 * np.clip(slope - 0.5, -0.5, 1.2)
    behind = 0.78 + 0.62 * np.exp(-(((window.x - SUN[0]) ** 2 + (window.y - SUN[1]) ** 2) / 0.14))
    seeds = sample(fractal(rng, 1024, 0.4, lowest=90), window.x, window.y)
    spark = smoothstep(2.7, 3.4, as_field(seeds))
    lit = light * (relief * behind)[..., None] + 0.35 * (spark * behind)[..., None] * base
    return as_field(lit * 1.25)


def cames(window: Window, rng: np.random.Generator) -> tuple[Field, Field, Field]:
    """The lead: how much of it there is (H, W), its light (H, W, 3), and the dirt along it."""
    height = window.x.shape[0]
    reach = round(height * 0.02)
    fine, bold = distance_to(borders(window.piece), reach), distance_to(borders(window.form), reach)
    joint = distance_to(junctions(window.piece), reach)
    wobble = 1.0 + 0.10 * sample(fractal(rng, 512, 1.2, lowest=8), window.x, window.y)
    inside = np.minimum(fine / (LEAD * height * wobble), bold / (OUTLINE * height * wobble))
    inside = as_field(np.minimum(inside, joint / (2.1 * LEAD * height * wobble)))
    bulge = blur(as_field(np.sqrt(np.clip(1.0 - inside**2, 0.0, 1.0))), height / 1400)
    down, across = np.gradient(bulge * OUTLINE * height * 0.9)
    patina = sample(fractal(rng, 1024, 0.9, lowest=30), window.x, window.y)
    facing = np.clip(0.5 - 0.5 * across - 0.6 * down, 0.0, 1.6)
    grey = 0.006 + 0.016 * facing + 0.050 * facing**5 * smoothstep(0.0, 1.0, bulge)
    grey = grey * (1.0 + 0.25 * patina)
    lead = as_field(grey[..., None] * as_field([0.92, 0.98, 1.10]))
    dirt = smoothstep(1.0, 2.6, inside)
    return smoothstep(1.08, 0.92, inside), lead, as_field(0.45 + 0.55 * dirt)


def paint(size: int, seed: int = 7) -> Field:
    """Make the window `size` pixels wide. Returns (round(0.8 * size), size, 3) sRGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    height = round(size * ASPECT)
    window = draw(round(height * WORKING_SCALE))
    light = shine(window, rng)
    cover, lead, dirt = cames(window, rng)
    picture = np.maximum(mix(as_field(light * dirt[..., None]), lead, cover), 0.0)
    bloom = np.stack([blur(picture[..., c], 0.006 * size) for c in range(3)], -1)
    wide = np.stack([blur(picture[..., c], 0.03 * size) for c in range(3)], -1)
    glowing = 0.96 * picture**1.12 + 0.05 * bloom + 0.02 * wide
    toned = np.clip(glowing / (1.0 + 0.20 * glowing) * 1.15, 0.0, 1.0) ** (1 / 2.2)
    return resize(as_field(toned), height, size)
