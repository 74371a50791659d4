"""A pencil drawing: a still life, hatched in several directions on paper with a tooth."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

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
from samples_art.sculpt import (
    View,
    capsule,
    depths,
    ellipsoid,
    join,
    normals,
    openness,
    shadow,
    turned_body,
)

ASPECT = 0.8  # height over width
GUIDE_HEIGHT = 400
INKED_SCALE = 2  # lines are drawn at this multiple of the final size
VIEW = View(eye=(0.0, 2.7, 8.4), target=(0.0, 0.86, 0.0), focal=2.05)
KEY = as_field([-0.62, 0.62, 0.42])
PAPER, LEAD = colour("#f4efe4"), colour("#2b2a2d")
JUG = ((0.0, 0.34), (0.05, 0.52), (0.25, 0.66), (0.60, 0.74), (0.95, 0.66), (1.25, 0.44),
       (1.50, 0.34), (1.72, 0.36), (1.90, 0.48))  # fmt: skip
BOWL = ((0.0, 0.30), (0.10, 0.34), (0.16, 0.55), (0.34, 0.82), (0.56, 0.98))


@dataclass(frozen=True)
class Hatch:
    """A layer of strokes: where it is darker than `below`, how they run, how long and how apart.

    turn is an angle from the horizontal, or from the form's own slope if `follows`; lengths are in
    pixels of a drawing 1440 px wide.
    """

    below: float
    turn: float
    length: float
    gap: float
    weight: float
    follows: bool = False


LAYERS = (
    Hatch(0.93, 0.80, 70, 5.2, 0.30),
    Hatch(0.80, 0.00, 46, 4.6, 0.42, follows=True),
    Hatch(0.62, 2.25, 58, 4.6, 0.45),
    Hatch(0.48, 1.57, 40, 4.2, 0.50, follows=True),
    Hatch(0.36, 0.48, 50, 4.0, 0.60),
    Hatch(0.22, 1.15, 36, 3.4, 0.75),
)


@dataclass(frozen=True)
class Guide:
    """What the draughtsman sees (H, W): how light it is, which way forms slope, where edges are."""

    tone: Field
    slope: Field
    edges: Field
    along: Field


def jug(points: Field) -> Field:
    """A jug with a handle, hollow at its mouth."""
    place = (-0.75, 0.0, -0.25)
    body = turned_body(points, place, JUG)
    hollow = turned_body(points, place, ((1.2, 0.30), (1.50, 0.26), (1.72, 0.29), (2.1, 0.46)))
    body = np.maximum(body, -hollow)
    bend = (
        (-1.15, 1.62, -0.2),
        (-1.58, 1.66, -0.1),
        (-1.80, 1.30, -0.05),
        (-1.70, 0.88, -0.1),
        (-1.42, 0.62, -0.2),
    )
    for start, end in pairwise(bend):
        body = join(as_field(body), capsule(points, start, end, (0.085, 0.085)), 0.06)
    lip = capsule(points, (-0.42, 1.86, -0.20), (-0.18, 1.98, -0.12), (0.12, 0.05))
    return join(as_field(body), as_field(np.maximum(lip, -hollow)), 0.08)


def pear(points: Field, x: float, z: float, lean: float) -> Field:
    """A pear with its stalk."""
    fruit = ellipsoid(points, (x, 0.40, z), (0.44, 0.41, 0.44))
    fruit = join(fruit, ellipsoid(points, (x + 0.5 * lean, 0.82, z), (0.25, 0.30, 0.25)), 0.25)
    return np.minimum(
        fruit, capsule(points, (x + 0.6 * lean, 1.08, z), (x + 1.3 * lean, 1.32, z), (0.03, 0.022))
    )


def apple(points: Field, x: float, y: float, z: float) -> Field:
    """An apple with a dimple and a stalk."""
    fruit = ellipsoid(points, (x, y, z), (0.40, 0.36, 0.40))
    fruit = -join(as_field(-fruit), ellipsoid(points, (x, y + 0.42, z), (0.14, 0.16, 0.14)), 0.12)
    return np.minimum(
        as_field(fruit), capsule(points, (x, y + 0.26, z), (x + 0.06, y + 0.52, z), (0.022, 0.016))
    )


def bowl(points: Field) -> Field:
    """A bowl with three apples."""
    place = (0.98, 0.0, -0.45)
    body = np.maximum(
        turned_body(points, place, BOWL),
        -turned_body(points, place, ((0.14, 0.40), (0.34, 0.74), (0.56, 0.91), (0.8, 1.1))),
    )
    return as_field(body)


def cloth(points: Field) -> Field:
    """The table with a cloth on it, and a curtain that hangs behind in folds."""
    x, y, z = points.T
    ripple = 0.035 * np.sin(3.2 * x + 1.7 * z) * smoothstep(0.2, 1.6, z) + 0.02 * np.sin(
        7.0 * x - 2.0 * z
    ) * smoothstep(0.6, 2.0, z)
    folds = 0.13 * np.sin(4.2 * x + 0.35 * y) + 0.05 * np.sin(9.7 * x - 0.5 * y + 1.0)
    return as_field(np.minimum(y - ripple, (z + 1.75 - folds) * 0.6))


PARTS = (
    cloth,
    jug,
    bowl,
    lambda p: pear(p, 0.02, 0.62, 0.10),
    lambda p: pear(p, -1.62, 0.72, -0.09),
    lambda p: apple(p, 0.70, 0.62, -0.35),
    lambda p: apple(p, 1.30, 0.60, -0.55),
    lambda p: apple(p, 1.00, 0.36, 0.72),
)
DARKNESS = as_field([0.92, 0.62, 0.85, 0.80, 0.74, 0.66, 0.72, 0.60])


def everything(points: Field) -> Field:
    """Distance to the nearest part."""
    return as_field(np.min([part(points) for part in PARTS], axis=0))


def observe() -> Guide:
    """Look at the still life, at a small size."""
    height, width = GUIDE_HEIGHT, round(GUIDE_HEIGHT / ASPECT)
    start, ways = VIEW.rays(height, width)
    points = as_field(
        start + np.minimum(depths(everything, VIEW, height, width, 4.0, 14.0), 14.0)[:, None] * ways
    )
    normal = normals(everything, points, 0.006)
    key = KEY / np.linalg.norm(KEY)
    facing = np.clip(normal @ key, 0.0, 1.0)
    lit = facing * shadow(everything, as_field(points + 0.015 * normal), key, 9.0)
    part = np.argmin([shape(points) for shape in PARTS], axis=0)
    room = openness(everything, points, normal, 0.6)
    half = key - ways
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    gleam = 0.5 * np.clip((normal * half).sum(1), 0.0, 1.0) ** 40 * (part > 0) * (lit > 0.2)
    tone = DARKNESS[part] * (0.85 * lit + 0.30 * room * (0.7 + 0.3 * normal[:, 1])) + gleam
    tone = as_field(np.clip(tone, 0.02, 1.2)).reshape(height, width)
    slope = np.arctan2(-normal[:, 1], normal[:, 0] + 1e-3).reshape(height, width) + np.pi / 2
    distance = np.linalg.norm(points - start, axis=1).reshape(height, width)
    jumps = np.abs(np.gradient(distance)).max(axis=0) > 0.06
    number = part.reshape(height, width)
    jumps |= (np.abs(np.gradient(as_field(number))).max(axis=0) > 0) & ~jumps
    soft = blur(as_field(jumps), 2.0)
    spread = as_field(number) * 3.0 + as_field(distance)
    down, across = np.gradient(blur(spread, 1.6))
    return Guide(tone, as_field(slope), as_field(jumps * soft), as_field(np.arctan2(across, -down)))


class Drawing:
    """Graphite on paper, (H, W): how hard the pencil has pressed where."""

    def __init__(self, size: int, guide: Guide, rng: np.random.Generator) -> None:
        """Take a sheet `size` pixels wide."""
        self.guide, self.rng = guide, rng
        self.height, self.width = round(size * ASPECT), size
        self.to_guide = guide.tone.shape[1] / size
        self.unit = size / 1440
        self.pressed = np.zeros((self.height, self.width), np.float32)

    def read(self, field: Field, x: Field, y: Field) -> Field:
        """A field of the guide at pixels of the sheet."""
        return lookup(field, as_field(x * self.to_guide), as_field(y * self.to_guide))

    def lay(self, x: Field, y: Field, force: Field, thick: float) -> None:
        """Draw strokes (N, M) with a force at each of their points, and press them in."""
        scale = INKED_SCALE
        image = Image.new("L", (self.width * scale, self.height * scale))
        draw = ImageDraw.Draw(image)
        grey = np.clip(force * 255.0, 0.0, 255.0).astype(int)
        width = max(1, round(thick * scale * self.unit))
        for i in self.rng.permutation(len(x)):
            for k in np.nonzero(grey[i, :-1] > 5)[0]:
                ends = [
                    (x[i, k] * scale, y[i, k] * scale),
                    (x[i, k + 1] * scale, y[i, k + 1] * scale),
                ]
                draw.line(ends, fill=int(grey[i, k]), width=width)
        drawn = as_field(np.array(image, np.float32) / 255.0)
        self.pressed += resize(drawn, self.height, self.width)

    def trace(
        self, x: Field, y: Field, angle: Field, length: Field, bow: Field
    ) -> tuple[Field, Field]:
        """Slightly bent strokes (N, 14) about places (N,)."""
        place = np.linspace(-0.5, 0.5, 14)[None]
        dx, dy = np.cos(angle)[:, None], np.sin(angle)[:, None]
        along, across = length[:, None] * place, (bow * length)[:, None] * (place**2 - 0.08)
        return as_field(x[:, None] + along * dx - across * dy), as_field(
            y[:, None] + along * dy + across * dx
        )

    def hatch(self, layer: Hatch) -> None:
        """Strokes side by side wherever the guide is darker than the layer asks."""
        length, gap = layer.length * self.unit, layer.gap * self.unit
        count = int(1.35 * self.width * self.height / (length * gap))
        x, y = self.rng.uniform(0, self.width, count), self.rng.uniform(0, self.height, count)
        angle = np.full(count, layer.turn) + self.rng.normal(0.0, 0.035, count)
        if layer.follows:
            angle = angle + self.read(self.guide.slope, as_field(x), as_field(y))
        else:
            across = np.round((y * np.cos(layer.turn) - x * np.sin(layer.turn)) / gap) * gap
            shift = across - (y * np.cos(layer.turn) - x * np.sin(layer.turn))
            x, y = x - shift * np.sin(layer.turn), y + shift * np.cos(layer.turn)
        lengths = length * self.rng.uniform(0.6, 1.25, count)
        px, py = self.trace(
            as_field(x),
            as_field(y),
            as_field(angle),
            as_field(lengths),
            as_field(self.rng.normal(0.05, 0.03, count)),
        )
        tone = self.read(self.guide.tone, px, py)
        taper = 1.0 - np.abs(np.linspace(-1.0, 1.0, 14)) ** 3 * 0.8
        hand = self.rng.uniform(0.65, 1.15, (count, 1))
        force = layer.weight * hand * taper * smoothstep(0.0, 0.30, as_field(layer.below - tone))
        self.lay(px, py, as_field(force * self.reach(px, py)), 1.25)

    def reach(self, x: Field, y: Field) -> Field:
        """How far the drawing goes: it is left open towards the sheet's edges."""
        u, v = x / self.width - 0.5, y / self.height - 0.5
        ragged = 0.035 * np.sin(9.0 * u + 4.0 * v) + 0.03 * np.sin(23.0 * v - 11.0 * u)
        away = np.maximum(np.abs(u) / 0.47, np.abs(v) / 0.46) ** 1.0 + ragged
        return smoothstep(1.0, 0.86, as_field(away))

    def outline(self, count: int, weight: float, length: float) -> None:
        """Short strokes along the edges, laid over one another as a searching hand does."""
        rows, columns = np.nonzero(self.guide.edges > 0.0)
        chosen = self.rng.integers(0, len(rows), count)
        jitter = self.rng.normal(0.0, 0.45, (2, count))
        x, y = (
            as_field((columns[chosen] + jitter[0]) / self.to_guide),
            as_field((rows[chosen] + jitter[1]) / self.to_guide),
        )
        angle = self.guide.along[rows[chosen], columns[chosen]] + self.rng.normal(0.0, 0.05, count)
        lengths = as_field(length * self.unit * self.rng.uniform(0.5, 1.3, count))
        px, py = self.trace(
            x, y, as_field(angle), lengths, as_field(self.rng.normal(0.0, 0.02, count))
        )
        dark = 1.15 - 0.75 * np.clip(self.read(self.guide.tone, px, py), 0.0, 1.0)
        taper = 1.0 - np.abs(np.linspace(-1.0, 1.0, 14)) ** 2 * 0.85
        self.lay(px, py, as_field(weight * dark * taper * self.reach(px, py)), 1.5)


def on_paper(drawing: Drawing, rng: np.random.Generator) -> Field:
    """Graphite sticks to the paper's tooth first; dark places shine a little. Returns (H, W, 3)."""
    height, width = drawing.height, drawing.width
    y, x = (as_field(g / 1152.0 / drawing.unit) for g in np.mgrid[0:height, 0:width])
    tooth = sample(fractal(rng, 1024, 0.55, lowest=150), as_field(x * 1.1), as_field(y * 1.1))
    cloud = sample(fractal(rng, 512, 1.6, lowest=3), x, y)
    tooth = as_field(np.clip(0.5 + 0.20 * tooth, 0.0, 1.0))
    tone = np.minimum(resize(drawing.guide.tone, height, width), 1.0)
    rubbed = (
        0.16
        * np.clip(0.95 - tone, 0.0, 1.0)
        * drawing.reach(*(as_field(g) for g in np.mgrid[0:height, 0:width][::-1]))
    )
    force = 0.72 * drawing.pressed + rubbed
    firm = as_field(np.minimum(force, 1.0))
    covered = smoothstep(as_field(0.75 - 0.75 * firm), as_field(1.0 - 0.55 * firm), tooth)
    caught = force * (0.45 + 1.25 * covered)
    graphite = 0.93 * (1.0 - np.exp(-1.25 * caught))
    sheet = PAPER * (1.0 + 0.030 * (tooth - 0.5) + 0.004 * cloud)[..., None]
    return mix(as_field(sheet), LEAD, as_field(graphite))


def paint(size: int, seed: int = 8) -> Field:
    """Draw the picture `size` pixels wide. Returns (round(0.8 * size), size, 3) sRGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    drawing = Drawing(size, observe(), rng)
    for layer in LAYERS:
        drawing.hatch(layer)
    drawing.outline(5200, 0.55, 34.0)
    drawing.outline(1500, 0.85, 60.0)
    return as_field(np.clip(on_paper(drawing, rng), 0.0, 1.0))
