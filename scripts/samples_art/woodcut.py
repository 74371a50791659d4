"""A colour woodcut: a black key block carved along the forms, over a few flat colour blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

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

ASPECT = 0.8  # height over width
DESIGN_WIDTH = 1200  # pixels of the drawing that is carved
PRESS_SCALE = 2  # blocks are cut at this multiple of the final size, then averaged down
MARGIN = 0.035  # bare paper round the block, of the width

PAPER, INK = colour("#f1e6cd"), colour("#1b1a1e")
INKS = {
    "paper": colour("#f1e6cd"),
    "straw": colour("#e3b65c"),
    "vermilion": colour("#cf4a2c"),
    "teal": colour("#3f7f8c"),
    "pale": colour("#a9c3b8"),
    "olive": colour("#7d8543"),
}
INK_NAMES = tuple(INKS)


@dataclass
class Design:
    """The drawing on the blocks, every field (H, W).

    x and y are in heights; form numbers what a pixel belongs to; ink indexes `INK_NAMES`; angle is
    the direction of the cuts in radians; tone runs from 0, black, to 1, bare.
    """

    x: Field
    y: Field
    form: NDArray[np.int64]
    ink: NDArray[np.int64]
    angle: Field
    tone: Field

    def lay(
        self, where: NDArray[np.bool_], ink: str, angle: Field | float, tone: Field | float
    ) -> None:
        """Put a new form over all that lies under it, in place."""
        number = int(self.form.max()) + 1
        self.form[where] = number
        self.ink[where] = INK_NAMES.index(ink)
        self.angle[where] = np.broadcast_to(as_field(angle), where.shape)[where]
        self.tone[where] = np.broadcast_to(as_field(tone), where.shape)[where]


def blank() -> Design:
    """An empty design."""
    height = round(DESIGN_WIDTH * ASPECT)
    y, x = (as_field(g / height) for g in np.mgrid[0:height, 0:DESIGN_WIDTH])
    zero = np.zeros(x.shape, np.int64)
    return Design(x, y, zero.copy(), zero.copy(), np.zeros_like(x), np.ones_like(x))


def draw_sky(design: Design) -> None:
    """Sun with its rays, in bands that darken upwards, and two long clouds."""
    x, y = design.x, design.y
    rx, ry = x - 0.86, y - 0.27
    distance = as_field(np.hypot(rx, ry))
    angle = as_field(np.arctan2(ry, rx))
    everywhere = np.ones(x.shape, bool)
    design.lay(everywhere, "pale", angle, as_field(0.35 + 0.25 * smoothstep(0.0, 0.5, y)))
    sky = int(design.form.max())
    for reach, ink, tone in ((0.60, "straw", 0.70), (0.27, "straw", 0.86)):
        rays = reach * (1.0 + 0.55 * np.abs((angle * 14.0 / np.pi) % 1.0 - 0.5) - 0.1)
        design.lay(distance < rays, ink, angle, tone)
    design.form[:] = sky  # one form: no knife line parts the sky from the sun's light
    design.lay(distance < 0.125, "vermilion", as_field(angle + np.pi / 2), 0.97)
    for level, left, right in ((0.115, 0.05, 0.62), (0.335, 0.02, 0.36), (0.20, 0.98, 1.25)):
        along = np.clip((x - left) / (right - left), 0.0, 1.0)
        bumps = (
            0.035
            * np.abs(np.sin(along * 9.0 + level * 40))
            * np.sqrt(np.maximum(np.sin(np.pi * along), 0.0))
        )
        cloud = (y > level - bumps - 0.012 * np.sin(np.pi * along)) & (x > left) & (x < right)
        cloud &= y < level + 0.022 * np.sin(np.pi * along)
        design.lay(cloud, "paper", 0.05, 0.93)


def ridge(x: Field, points: tuple[tuple[float, float], ...], rough: Field) -> Field:
    """A hand-drawn skyline through (x, y) points."""
    xs, ys = zip(*points, strict=True)
    return as_field(np.interp(x, xs, ys) + rough)


def draw_mountain(design: Design, noise: Field) -> None:
    """A peak in three facets: lit snow, lit rock, and a side in shadow."""
    x, y = design.x, design.y
    jag = 0.012 * sample(noise, x * 0.9, as_field(np.zeros_like(x)))
    line = ridge(x, ((-0.1, 0.52), (0.10, 0.45), (0.24, 0.36), (0.43, 0.135), (0.52, 0.22),
                     (0.60, 0.29), (0.74, 0.42), (0.95, 0.50), (1.4, 0.56)), jag)  # fmt: skip
    body = y > line
    design.lay(body, "teal", as_field(np.full_like(x, 1.0) + 0.5 * np.sin(9 * y)), 0.22)
    crest = 0.43 + 0.16 * (y - 0.135) + 0.030 * np.sin(31.0 * y) + 0.014 * np.sin(71.0 * y)
    design.lay(body & (x > crest), "pale", as_field(0.95 + 0.35 * np.sin(16 * x + 9 * y)), 0.74)
    fingers = 0.245 + 0.055 * np.abs(np.sin(25.0 * x)) + 0.02 * np.sin(57.0 * x)
    snow = body & (y < fingers + 0.25 * np.abs(x - 0.43) * 0.6)
    design.lay(snow & (x > crest), "paper", 1.05, 0.97)
    design.lay(snow & (x <= crest), "paper", 2.05, 0.60)


def draw_hills(design: Design, noise: Field) -> None:
    """Two ridges of woods and one of meadow, with cuts that run down their slopes."""
    x, y = design.x, design.y
    flat = as_field(np.zeros_like(x))
    rough = 0.006 * sample(noise, x * 2.0, flat)
    spikes = 0.020 * np.abs((x * 42.0) % 1.0 - 0.5) + 0.012 * np.abs((x * 67.0) % 1.0 - 0.5)
    woods = ridge(x, ((-0.1, 0.44), (0.16, 0.49), (0.40, 0.56), (0.66, 0.52), (1.0, 0.47),
                      (1.4, 0.42)), rough)  # fmt: skip
    fir = as_field(1.57 + 0.5 * np.sin(42.0 * 2 * np.pi * x))
    design.lay(y > woods + spikes, "teal", fir, as_field(0.30 + 0.9 * (y - woods)))
    down = ridge(x, ((-0.1, 0.60), (0.2, 0.565), (0.45, 0.615), (0.8, 0.60), (1.1, 0.555),
                     (1.4, 0.55)), rough)  # fmt: skip
    slope = as_field(0.55 * np.sin(5.0 * x + 0.8) + 2.2 * (y - down))
    design.lay(y > down, "olive", slope, as_field(0.78 - 1.2 * np.abs(y - down - 0.07)))


def draw_river(design: Design) -> None:
    """A river that winds towards us, cut along its current."""
    x, y = design.x, design.y
    t = np.clip((y - 0.62) / 0.38, 0.0, 1.0)
    middle = 0.70 + 0.16 * np.sin(5.2 * t**0.72 + 0.2) - 0.14 * t
    half = 0.012 + 0.20 * t**1.35
    step = 0.004
    after = np.clip((y + step - 0.62) / 0.38, 0.0, 1.0)
    drift = (0.70 + 0.16 * np.sin(5.2 * after**0.72 + 0.2) - 0.14 * after - middle) / step
    side = (x - middle) / half
    widening = drift + side * 0.4
    angle = as_field(np.arctan2(1.0, widening) + 0.22 * np.sin(26.0 * y + 5.0 * side))
    river = (np.abs(side) < 1.0) & (y > 0.62)
    tone = as_field(0.60 + 0.30 * np.cos(2.6 * side + 9.0 * y))
    design.lay(river & (np.abs(side) < 1.0), "teal", angle, tone)
    gleam = river & (np.abs(side - 0.25 * np.sin(12.0 * y)) < 0.16) & (y < 0.93)
    design.lay(gleam, "paper", angle, 0.95)


def draw_fields(design: Design) -> None:
    """Ploughed strips on both banks, each with furrows of its own direction."""
    x, y = design.x, design.y
    edges = (
        (0.665, 0.10, "straw", 0.30, 0.80),
        (0.735, -0.16, "vermilion", -0.12, 0.62),
        (0.805, 0.12, "olive", 0.42, 0.55),
        (0.890, -0.10, "straw", -0.30, 0.72),
    )
    for level, tilt, ink, angle, tone in edges:
        border = level + tilt * (x - 0.55) + 0.016 * np.sin(8.0 * x + 30.0 * level)
        bend = as_field(angle + 1.1 * (x - 0.5) + 0.25 * np.sin(7.0 * x + 20 * level))
        design.lay(y > border, ink, bend, as_field(tone + 0.10 * np.sin(20 * x)))


def draw_house(design: Design, foot: tuple[float, float], size: float, tower: bool) -> None:
    """A gabled house, or a chapel with its tower: lit front, shaded side, vermilion roof."""
    u, v = (design.x - foot[0]) / size, (foot[1] - design.y) / size
    side = (u > 0.0) & (u < 1.3) & (v > 0.0) & (v < 0.8)
    design.lay(side, "paper", 0.0, 0.74)
    front = (u > -0.8) & (u <= 0.0) & (v > 0.0) & (v < 0.8 + 0.72 * (1 - np.abs(u + 0.4) / 0.4))
    design.lay(front, "paper", 1.57, 0.98)
    slant = u - 0.50 * (v - 0.8)
    roof = (v > 0.74) & (v < 1.56) & (slant > -0.02 - 0.05) & (slant < 1.42 - 0.35 * (v - 0.8))
    roof &= u > -0.40 + (1.55 - v) * 0.55
    design.lay(roof, "vermilion", 1.10, 0.78)
    door = (np.abs(u + 0.40) < 0.13) & (v > 0.0) & (v < 0.46)
    design.lay(door, "teal", 1.57, 0.12)
    for column in (0.28, 0.65, 1.02):
        pane = (np.abs(u - column) < 0.09) & (np.abs(v - 0.42) < 0.15)
        design.lay(pane, "straw", 1.57, 0.97)
    if tower:
        shaft = (u > -1.25) & (u < -0.72) & (v > 0.0) & (v < 2.2)
        design.lay(
            shaft, "paper", 1.57, as_field(0.98 - 0.6 * smoothstep(-1.0, -0.95, as_field(u)))
        )
        cap = (v >= 2.2) & (v < 3.5) & (np.abs(u + 0.985) < 0.33 * (3.5 - v) / 1.3)
        design.lay(cap, "vermilion", 1.57, 0.70)
        bell = (np.abs(u + 0.985) < 0.09) & (np.abs(v - 1.75) < 0.2)
        design.lay(bell, "teal", 1.57, 0.05)


def draw_fir(design: Design, foot: tuple[float, float], tall: float, lean: float) -> None:
    """A fir in tiers of hanging boughs, lit from the right."""
    v = (foot[1] - design.y) / tall
    u = (design.x - foot[0]) / tall - lean * v * v
    trunk = (np.abs(u) < 0.022) & (v > -0.01) & (v < 0.2)
    design.lay(trunk, "vermilion", 1.57, 0.25)
    for tier in range(8):
        base, top = 0.08 + 0.105 * tier, 0.08 + 0.105 * tier + 0.24
        share = np.clip((top - v) / (top - base), 0.0, 1.0)
        half = 0.245 * (1.0 - tier / 8.6) * share**0.85
        droop = base + 0.030 * np.cos(46.0 * u + tier) - 0.05 * np.abs(u) / 0.2
        bough = (np.abs(u) < half) & (v > droop) & (v < top)
        angle = as_field(1.57 - np.sign(u) * 0.75 * np.clip(np.abs(u) / 0.12, 0.1, 1.0))
        tone = as_field(np.clip(0.24 + 3.2 * u, 0.12, 0.70))
        design.lay(bough, "olive", angle, tone)


def draw_scene(rng: np.random.Generator) -> Design:
    """Draw everything, far to near, with the wobble of a hand in every line."""
    design = blank()
    noise = fractal(rng, 512, 1.6, lowest=3)
    x, y = design.x.copy(), design.y.copy()
    design.x = as_field(x + 0.0022 * sample(noise, x * 1.1, y * 1.1))
    design.y = as_field(y + 0.0022 * sample(noise, x * 1.1 + 0.5, y * 1.1))
    draw_sky(design)
    draw_mountain(design, noise)
    draw_hills(design, noise)
    draw_fields(design)
    draw_river(design)
    for foot, size, tower in (((0.37, 0.705), 0.082, True), ((0.555, 0.695), 0.052, False),
                              ((0.975, 0.668), 0.052, False)):  # fmt: skip
        draw_house(design, foot, size, tower)
    firs = ((0.90, 0.652, 0.13), (1.165, 0.70, 0.20), (0.215, 0.72, 0.17), (1.12, 0.90, 0.50),
            (0.075, 0.93, 0.66), (0.245, 0.985, 0.36))  # fmt: skip
    for index, (foot_x, foot_y, tall) in enumerate(firs):
        draw_fir(design, (foot_x, foot_y), tall, 0.05 * (-1) ** index)
    return design


def trace_cuts(design: Design, x: Field, y: Field, num_steps: int) -> tuple[Field, Field]:
    """Follow the cutting direction both ways, 2 design pixels a step: two (N, 2n + 1) arrays."""
    cosine, sine = np.cos(design.angle), np.sin(design.angle)
    halves = []
    for sign in (-2.0, 2.0):
        px, py, points = x, y, []
        for _ in range(num_steps):
            column = np.clip(px, 0, design.x.shape[1] - 1).astype(np.int64)
            row = np.clip(py, 0, design.x.shape[0] - 1).astype(np.int64)
            px = as_field(px + sign * cosine[row, column])
            py = as_field(py + sign * sine[row, column])
            points.append((px, py))
        halves.append(points if sign > 0 else points[::-1])
    path = [*halves[0], (x, y), *halves[1]]
    return np.stack([p[0] for p in path], 1), np.stack([p[1] for p in path], 1)


def free_span(free: NDArray[np.bool_], middle: int) -> slice:
    """The unbroken run of True round `middle`."""
    blocked = np.nonzero(~free)[0]
    before, after = blocked[blocked < middle], blocked[blocked > middle]
    first = int(before[-1]) + 1 if len(before) else 0
    return slice(first, int(after[0]) if len(after) else len(free))


@dataclass(frozen=True)
class Cut:
    """One stroke of the gouge: its path (n, 2) in design pixels, its width, and what it leaves."""

    path: Field
    width: float
    leaves_ink: bool


def place_cuts(design: Design, rng: np.random.Generator, num_tries: int = 26000) -> list[Cut]:
    """Space cuts evenly along the forms: white cuts in dark forms, black lines left in light ones.

    Greedy evenly spaced streamlines: a cut is shortened where it would come too near another.
    """
    height, width = design.x.shape
    x, y = (as_field(rng.uniform(0, n - 1, num_tries)) for n in (width, height))
    xs, ys = trace_cuts(design, x, y, 22)
    columns = np.clip(xs, 0, width - 1).astype(np.int64)
    rows = np.clip(ys, 0, height - 1).astype(np.int64)
    same = design.form[rows, columns] == design.form[rows[:, 22], columns[:, 22]][:, None]
    same &= (xs > 0) & (xs < width - 1) & (ys > 0) & (ys < height - 1)
    tones = design.tone[rows[:, 22], columns[:, 22]]
    taken = np.zeros((height, width), bool)
    cuts: list[Cut] = []
    for i in range(num_tries):
        tone = float(tones[i])
        if tone > 0.955 or taken[rows[i, 22], columns[i, 22]]:
            continue
        span = free_span(same[i] & ~taken[rows[i], columns[i]], 22)
        if span.stop - span.start < 6:
            continue
        spacing = cut_spacing(tone)
        occupy(taken, rows[i, span], columns[i, span], spacing)
        path = np.stack([xs[i, span], ys[i, span]], axis=1)
        cuts.append(Cut(path, cut_width(tone, spacing) * rng.uniform(0.75, 1.2), tone >= 0.5))
    return cuts


def cut_spacing(tone: float) -> float:
    """Distance between cuts in design pixels: they crowd towards the middle tones."""
    return 4.6 + 7.0 * float(np.power(abs(tone - 0.5), 1.3))


def cut_width(tone: float, spacing: float) -> float:
    """Width of a cut, or of a line left standing, that gives the tone."""
    share = tone if tone < 0.5 else 1.0 - tone
    return float(np.clip(2.0 * spacing * share * 0.72, 1.3, 6.0))


def occupy(
    taken: NDArray[np.bool_], rows: NDArray[np.int64], columns: NDArray[np.int64], spacing: float
) -> None:
    """Reserve the surroundings of a path, in place."""
    reach = int(spacing)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(dy, dx) < spacing
    near_rows = np.clip(rows[:, None] + dy[disc][None], 0, taken.shape[0] - 1)
    near_columns = np.clip(columns[:, None] + dx[disc][None], 0, taken.shape[1] - 1)
    taken[near_rows, near_columns] = True


def gouge(cut: Cut, scale: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Outline of a cut: a blunt start, a swelling, a pointed end, an unsteady edge."""
    path = cut.path[:: 2 if len(cut.path) > 8 else 1]
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-6
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    t = np.linspace(0.0, 1.0, len(path))
    if rng.uniform() < 0.5:
        t = 1.0 - t
    swell = np.minimum(1.0, t / 0.12 + 0.25) * np.minimum(1.0, (1.0 - t) / 0.45) ** 0.8
    edges = [
        path + sign * normal * (0.5 * cut.width * swell * rng.uniform(0.8, 1.2, len(t)))[:, None]
        for sign in (1.0, -1.0)
    ]
    outline = np.concatenate([edges[0], edges[1][::-1]]) * scale
    return [(float(px), float(py)) for px, py in outline]


def outlines(design: Design, rng: np.random.Generator) -> Field:
    """Black lines round every form, thick and thin as a knife leaves them, (H, W) in [0, 1]."""
    form = design.form
    border = np.zeros(form.shape, np.float32)
    border[:, 1:] += form[:, 1:] != form[:, :-1]
    border[1:] += form[1:] != form[:-1]
    wide = blur(np.minimum(border, 1.0), 1.7)
    noise = fractal(rng, 512, 1.3, lowest=6)
    limit = 0.105 + 0.035 * sample(noise, design.x * 0.8, design.y * 0.8)
    limit = as_field(np.maximum(limit, 0.05))
    return smoothstep(limit - 0.02, limit + 0.02, wide)


def carve(design: Design, height: int, width: int, rng: np.random.Generator) -> Field:
    """The key block at press size: 1 where it carries ink, (height, width)."""
    dark = as_field(design.tone < 0.5)
    image = Image.fromarray((resize(dark, height, width) > 0.5).astype(np.uint8) * 255)
    draw = ImageDraw.Draw(image)
    scale = width / design.x.shape[1]
    for cut in place_cuts(design, rng):
        draw.polygon(gouge(cut, scale, rng), fill=255 if cut.leaves_ink else 0)
    carved = as_field(np.asarray(image)) / np.float32(255.0)
    lines = np.clip(resize(outlines(design, rng), height, width), 0.0, 1.0)
    return as_field(np.maximum(carved, lines))


def colour_blocks(design: Design, height: int, width: int, noise: Field) -> Field:
    """Flat inks as printed: a little off register, mottled, fading up the sky. (H, W, 3)."""
    y, x = (as_field(g / height) for g in np.mgrid[0:height, 0:width])
    scale = design.x.shape[1] / width
    columns = np.clip(np.arange(width) * scale + 1.6, 0, design.x.shape[1] - 1).astype(np.int64)
    rows = np.clip(np.arange(height) * scale + 1.1, 0, design.x.shape[0] - 1).astype(np.int64)
    palette = np.stack([INKS[name] for name in INK_NAMES])
    inked = palette[design.ink[rows][:, columns]]
    fade = smoothstep(0.38, 0.0, y) * (design.form[rows][:, columns] == 1)
    inked = mix(inked, INKS["teal"], as_field(0.9 * fade))
    mottle = (
        0.12 + 0.07 * sample(noise, x * 3.0, y * 3.0) + 0.05 * sample(noise, x * 17.0, y * 17.0)
    )
    planks = 0.05 * np.sin(sample(noise, x * 0.25, y * 2.2) * 9.0)
    return mix(as_field(inked), PAPER, as_field(np.clip(mottle + planks, 0.0, 1.0)))


def block_mask(height: int, width: int, noise: Field) -> Field:
    """1 inside the printed block, whose edge is cut by hand, 0 on the margin."""
    y, x = (as_field(g / width) for g in np.mgrid[0:height, 0:width])
    wobble = 0.0016 * sample(noise, x * 2.0, y * 2.0)
    inside = np.minimum.reduce([x, y, 1.0 - x, height / width - y]) + wobble - MARGIN
    return smoothstep(-0.0006, 0.0006, as_field(inside))


def press(design: Design, height: int, width: int, rng: np.random.Generator) -> Field:
    """Print the blocks on paper at press size, (height, width, 3)."""
    noise = fractal(rng, 1024, 1.25, lowest=3)
    y, x = (as_field(g / height) for g in np.mgrid[0:height, 0:width])
    tooth = sample(noise, x * 6.0, y * 6.0)
    fibres = sample(noise, x * 2.0, as_field(y * 9.0))
    key = blur(carve(design, height, width, rng), 0.8)
    wear = smoothstep(1.5, 2.7, as_field(tooth + 0.4 * fibres))
    key = smoothstep(0.35, 0.65, as_field(key + 0.07 * tooth)) * (1.0 - 0.75 * wear)
    sheet = as_field(PAPER * (1.0 + 0.012 * tooth + 0.012 * fibres)[..., None])
    coloured = colour_blocks(design, height, width, noise) * (1.0 + 0.018 * tooth)[..., None]
    ink = INK * (1.0 + 0.16 * np.maximum(fibres, 0.0))[..., None] + 0.018 * tooth[..., None]
    printed = mix(as_field(coloured), as_field(ink), as_field(0.97 * key))
    return as_field(np.clip(mix(sheet, printed, block_mask(height, width, noise)), 0.0, 1.0))


def paint(size: int, seed: int = 3) -> Field:
    """Print the picture `size` pixels wide. Returns (round(0.8 * size), size, 3) sRGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    height = round(size * ASPECT)
    design = draw_scene(rng)
    return resize(press(design, height * PRESS_SCALE, size * PRESS_SCALE, rng), height, size)
