"""A watercolour: a meadow with poppies, in transparent washes on rough paper."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from samples_art.fields import (
    Field,
    as_field,
    blur,
    colour,
    fractal,
    resize,
    sample,
    smoothstep,
)

ASPECT = 0.8  # height over width
WORKING_SCALE = 1.25
RIGHT = 1.0 / ASPECT
PAPER = colour("#f7f2e6")
MARGIN = 0.028  # bare paper round the washes, in heights
PIGMENTS = {
    "cerulean": "#5fb0d8", "ultramarine": "#3c55b8", "violet": "#8a63b0", "rose": "#e88fa0",
    "ochre": "#eab54c", "sap": "#86a63a", "viridian": "#2f8a72", "indigo": "#2c3d5e",
    "sienna": "#b5683a", "scarlet": "#e2331f", "orange": "#f47a2a", "crimson": "#b31636",
    "lemon": "#f2dc56", "soot": "#3a3236",
}  # fmt: skip
HORIZON = 0.555


def absorbance(name: str) -> Field:
    """What a full wash of a pigment takes of red, green and blue light, (3,)."""
    return as_field(-np.log(np.clip(colour(PIGMENTS[name]) ** 1.6, 0.012, 1.0)))


class Sheet:
    """Rough paper that washes are laid on; x, y in heights, all fields (H, W)."""

    def __init__(self, height: int, rng: np.random.Generator) -> None:
        """Make the paper and the noises that washes flow by."""
        width = round(height / ASPECT)
        self.rng, self.height, self.width = rng, height, width
        self.y, self.x = (as_field((g + 0.5) / height) for g in np.mgrid[0:height, 0:width])
        self.slow, self.rough = fractal(rng, 512, 2.1, lowest=2), fractal(rng, 1024, 1.35, lowest=4)
        bumps = sample(
            fractal(rng, 1024, 1.2, lowest=90), as_field(self.x / 1.3), as_field(self.y / 1.3)
        )
        fine = sample(
            fractal(rng, 1024, 0.5, lowest=160), as_field(self.x / 1.1), as_field(self.y / 1.1)
        )
        self.relief = as_field(np.clip(0.5 + 0.22 * bumps + 0.07 * fine, 0.0, 1.0))
        self.absorbed = np.zeros((height, width, 3), np.float32)

    def noise(self, frequency: float, rough: bool = False) -> Field:
        """Noise of mean 0 and deviation 1, a new place of it at every call."""
        du, dv = self.rng.uniform(0.0, 1.0, 2)
        field = self.rough if rough else self.slow
        return sample(field, as_field(self.x * frequency + du), as_field(self.y * frequency + dv))

    def wobble(self, shape: Field, amount: float = 0.006) -> Field:
        """A shape (positive inside, in heights) whose outline a brush has drawn."""
        return as_field(shape + amount * (0.8 * self.noise(0.9) + 0.45 * self.noise(1.6, True)))

    def wash(self, inside: Field, pigments: dict[str, float], strength: Field | float = 1.0, *,
             rim: float = 0.55, grain: float = 0.55, bloom: float = 0.35) -> None:  # fmt: skip
        """Lay a wash where `inside` (0 to 1) says: pools, blooms, a dark rim, pigment in hollows.

        pigments: share of each, mixed on the paper, not on the palette.
        """
        pool = blur(inside, 0.0045 * self.height)
        ring = inside * np.clip(1.0 - pool, 0.0, 0.6) ** 1.4 * 2.6
        flow = 0.78 + 0.22 * self.noise(0.8) + 0.10 * self.noise(1.3, True)
        tide = self.noise(1.1)
        line = np.exp(-(((tide - 1.0) / 0.07) ** 2)) - 0.9 * smoothstep(1.0, 1.5, tide)
        settled = 1.0 + grain * (0.55 - self.relief) * 2.2
        body = np.clip(flow + bloom * line, 0.15, 2.0) * settled
        density = strength * (inside * body + rim * ring * (0.6 + 0.4 * flow))
        total = sum(pigments.values())
        for name, share in pigments.items():
            drift = np.clip(1.0 + 0.75 * self.noise(0.9), 0.1, 2.6) if len(pigments) > 1 else 1.0
            self.absorbed += (density * drift * (share / total))[..., None] * absorbance(name)

    def soft(self, shape: Field, wet: float = 0.0015) -> Field:
        """From a shape to how much paint there is: a hard edge, or a wide one on wet paper."""
        return smoothstep(-wet, wet, shape)

    def dry(self, inside: Field, how: float) -> Field:
        """What a dry brush leaves: paint on the paper's bumps only."""
        return as_field(inside * smoothstep(how, how + 0.16, self.relief))

    def drawn(self, draw: ImageDraw.ImageDraw, image: Image.Image) -> Field:
        """The mask (H, W) of what Pillow has drawn at twice the size."""
        del draw
        return resize(as_field(np.array(image) / 255.0), self.height, self.width).copy()

    def canvas(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """An empty mask of twice the size, and what draws on it."""
        image = Image.new("L", (2 * self.width, 2 * self.height))
        return image, ImageDraw.Draw(image)


def farmhouse(sheet: Sheet) -> tuple[Field, Field]:
    """The walls and the roof of a house, as shapes."""
    x, y = np.abs(sheet.x - 0.86), sheet.y
    walls = np.maximum(x - 0.062, np.abs(y - 0.548) - 0.030)
    roof = np.maximum(x - 0.080 + 0.65 * (0.520 - y).clip(0), np.abs(y - 0.500) - 0.022)
    return as_field(-walls), as_field(-roof)


def framed(sheet: Sheet) -> Field:
    """1 where the picture is, 0 on the bare margin, with a ragged edge."""
    x, y = sheet.x, sheet.y
    gap = np.minimum(np.minimum(x, RIGHT - x), np.minimum(y, 1.0 - y)) - MARGIN
    return sheet.soft(sheet.wobble(as_field(gap), 0.005))


def paint_sky(sheet: Sheet, frame: Field) -> None:
    """Blue let into wet paper round the clouds, warm light near the hills."""
    x, y = sheet.x, sheet.y
    drift = sample(sheet.slow, as_field(0.55 * x + 0.1), as_field(1.15 * y + 0.2))
    drift = drift + 0.35 * sample(sheet.rough, as_field(0.8 * x), as_field(1.6 * y))
    clear = smoothstep(-0.55, 0.75, as_field(drift + 0.9 * (0.34 - y)))
    high = smoothstep(HORIZON + 0.02, 0.05, y)
    glow = np.exp(-(((y - 0.47) / 0.11) ** 2))
    sheet.wash(as_field(frame * glow), {"ochre": 1.0, "rose": 0.9}, 0.42, rim=0.0, grain=0.3)
    sheet.wash(as_field(frame * clear * high**0.6), {"cerulean": 1.0, "ultramarine": 0.6}, 0.62,
               rim=0.25, grain=0.5)  # fmt: skip
    crisp = sheet.soft(as_field(0.05 * (drift - 0.50) - 0.10 * (y - 0.22)), 0.004)
    sheet.wash(
        as_field(frame * crisp * high),
        {"ultramarine": 1.0, "cerulean": 0.6},
        0.30,
        rim=0.7,
        grain=0.55,
    )
    under = smoothstep(0.1, -0.9, drift) * smoothstep(0.08, 0.2, y) * high
    sheet.wash(
        as_field(frame * under),
        {"violet": 1.0, "rose": 0.5, "indigo": 0.25},
        0.28,
        rim=0.0,
        grain=0.8,
    )


def paint_hills(sheet: Sheet, frame: Field) -> None:
    """Three ranges, each washed out into mist at its foot."""
    x, y = sheet.x, sheet.y
    ranges = (
        (0.440, 0.050, 2.3, 0.4, {"ultramarine": 1.0, "violet": 0.9, "rose": 0.3}, 0.42),
        (0.480, 0.036, 3.4, 2.2, {"ultramarine": 1.0, "viridian": 0.5, "violet": 0.4}, 0.45),
        (0.520, 0.022, 4.6, 4.0, {"viridian": 0.9, "sap": 0.8, "indigo": 0.3}, 0.45),
    )
    for level, swing, rate, phase, pigments, strength in ranges:
        ridge = (
            level + swing * np.sin(rate * x + phase) + 0.5 * swing * np.sin(2.3 * rate * x + phase)
        )
        shape = sheet.wobble(as_field(y - ridge), 0.007)
        fade = smoothstep(level + 0.17, level + 0.02, y)
        sheet.wash(as_field(frame * sheet.soft(shape) * fade), pigments, strength, rim=0.5)


def blob(rng: np.random.Generator, cx: float, cy: float, rx: float, ry: float,
         rough: float = 0.25) -> list[tuple[float, float]]:  # fmt: skip
    """A closed outline round a place, as a loaded brush leaves it."""
    angle = np.linspace(0.0, 2 * np.pi, 40, endpoint=False)
    waves = sum(
        rng.normal(0.0, rough / k) * np.cos(k * angle + rng.uniform(0, 7)) for k in (1, 2, 3, 5)
    )
    reach = np.clip(1.0 + waves, 0.35, 1.8)
    return list(zip(cx + rx * reach * np.cos(angle), cy + ry * reach * np.sin(angle), strict=True))


def paint_trees(sheet: Sheet, frame: Field) -> None:
    """A belt of trees, dabbed in three times, with two poplars; a house is left white."""
    rng, scale = sheet.rng, 2 * sheet.height
    walls, roof = farmhouse(sheet)
    for layer, (pigments, strength) in enumerate((
        ({"sap": 1.0, "lemon": 0.7, "viridian": 0.3}, 0.55),
        ({"viridian": 0.8, "sap": 1.0, "sienna": 0.2}, 0.42),
        ({"indigo": 1.0, "viridian": 0.8, "sienna": 0.4}, 0.42),
    )):  # fmt: skip
        image, draw = sheet.canvas()
        for _ in range(100 - 20 * layer):
            cx = rng.uniform(-0.02, RIGHT + 0.02)
            tall = 0.35 + 0.65 * np.sin(5.1 * cx + 0.8) ** 2 + 0.5 * (cx < 0.30)
            cy = 0.575 - rng.uniform(0.0, 0.075) * tall + 0.008 * layer
            size = rng.uniform(0.010, 0.026) * (1.0 - 0.2 * layer)
            draw.polygon(
                [(a * scale, b * scale) for a, b in blob(rng, cx, cy, size * 1.2, size)], fill=255
            )
        for cx, top in ((0.985, 0.40), (1.035, 0.43), (0.735, 0.455)):
            for k in range(16 - 4 * layer):
                cy, wide = (
                    0.58 - (0.58 - top) * k / (15 - 4 * layer),
                    0.013 * (1.1 - k / (17 - 4 * layer)),
                )
                spot = blob(rng, cx + rng.normal(0, 0.003) + 0.004 * layer, cy, wide, 0.016)
                draw.polygon([(a * scale, b * scale) for a, b in spot], fill=255)
        mask = sheet.drawn(draw, image)
        mask = sheet.dry(mask, 0.14 + 0.10 * layer) if layer else mask
        sheet.wash(as_field(frame * mask), pigments, strength, rim=0.9)
    tiles = sheet.soft(sheet.wobble(roof, 0.0015))
    sheet.wash(tiles, {"scarlet": 0.8, "sienna": 1.0}, 0.75, rim=0.8)
    shade = (sheet.x > 0.885) * sheet.soft(walls) * (1.0 - tiles)
    sheet.wash(as_field(shade), {"violet": 1.0, "ultramarine": 0.6}, 0.38)
    panes = sum(
        ((np.abs(sheet.x - c) < 0.007) & (np.abs(sheet.y - 0.545) < 0.010))
        for c in (0.82, 0.85, 0.90)
    )
    sheet.wash(as_field(panes), {"indigo": 1.0}, 0.7)


def paint_meadow(sheet: Sheet, frame: Field) -> None:
    """A yellow-green ground, darker drifts across it, and blades of grass in front."""
    x, y, rng, scale = sheet.x, sheet.y, sheet.rng, 2 * sheet.height
    ground = sheet.soft(sheet.wobble(as_field(y - 0.575), 0.005), 0.003)
    sheet.wash(
        as_field(frame * ground), {"lemon": 0.9, "sap": 1.0, "ochre": 0.5}, 0.62, rim=0.4, bloom=0.5
    )
    for level, wide in ((0.66, 0.020), (0.75, 0.032), (0.88, 0.06)):
        drift = sample(sheet.slow, as_field(0.9 * x + level), as_field(3.0 * y))
        band = smoothstep(0.1, 0.7, as_field(drift + 0.6 - ((y - level) / wide / 1.6) ** 2))
        sheet.wash(as_field(frame * ground * band), {"sap": 1.0, "viridian": 0.7}, 0.55, rim=0.5)
    for layer, pigments in enumerate(
        ({"sap": 1.0, "viridian": 0.5}, {"viridian": 1.0, "indigo": 0.6})
    ):
        image, draw = sheet.canvas()
        for _ in range(420):
            near = rng.uniform(0.0, 1.0) ** 0.6
            foot, root = rng.uniform(0.0, RIGHT), 0.66 + 0.36 * near
            tall, lean = rng.uniform(0.05, 0.20) * (0.25 + near), rng.normal(0.0, 0.035)
            place = np.linspace(0.0, 1.0, 14)
            bx, by = foot + lean * place**2, root - tall * place
            half = 0.0032 * (0.4 + near) * (1.0 - place**1.5)
            outline = [
                *zip(bx - half, by, strict=True),
                *zip((bx + half)[::-1], by[::-1], strict=True),
            ]
            draw.polygon([(a * scale, b * scale) for a, b in outline], fill=255)
        sheet.wash(
            as_field(frame * sheet.drawn(draw, image)), pigments, 0.46 + 0.10 * layer, rim=0.6
        )


def paint_poppies(sheet: Sheet, frame: Field) -> Field:
    """Poppies near and far, petal over petal, and cornflowers; returns where they are."""
    rng, scale = sheet.rng, 2 * sheet.height
    near = rng.uniform(0.0, 1.0, 70) ** 1.6
    flowers = [(rng.uniform(0.03, RIGHT - 0.03), 0.625 + 0.30 * v, 0.008 + 0.040 * v) for v in near]
    flowers += [
        (0.22, 0.74, 0.062),
        (0.55, 0.83, 0.070),
        (0.94, 0.77, 0.066),
        (0.36, 0.92, 0.055),
        (1.13, 0.90, 0.06),
    ]
    petals = (
        (-0.55, 0.05, 0.75, 0.62),
        (0.55, 0.0, 0.72, 0.64),
        (0.0, 0.34, 0.86, 0.52),
        (0.02, -0.40, 0.70, 0.50),
    )
    mixes = ({"scarlet": 1.0, "orange": 0.9}, {"scarlet": 1.0, "crimson": 0.3},
             {"orange": 0.7, "scarlet": 1.0}, {"scarlet": 0.8, "crimson": 0.6})  # fmt: skip
    taken = np.zeros_like(frame)
    for (dx, dy, rx, ry), pigments in zip(petals, mixes, strict=True):
        image, draw = sheet.canvas()
        for cx, cy, size in flowers:
            spot = blob(rng, cx + dx * size, cy + dy * size * 0.8, rx * size, ry * size, 0.16)
            draw.polygon([(a * scale, b * scale) for a, b in spot], fill=255)
        petal = sheet.drawn(draw, image)
        taken = np.maximum(taken, petal)
        sheet.wash(as_field(frame * petal), pigments, 0.36, rim=0.9, grain=0.35, bloom=0.6)
    image, draw = sheet.canvas()
    for cx, cy, size in flowers:
        draw.polygon(
            [
                (a * scale, b * scale)
                for a, b in blob(rng, cx, cy - 0.05 * size, 0.26 * size, 0.20 * size, 0.3)
            ],
            fill=255,
        )
        for _ in range(14 if size > 0.03 else 3):
            angle, away = rng.uniform(0, 7), size * rng.uniform(0.28, 0.46)
            px, py, r = cx + away * np.cos(angle), cy + 0.7 * away * np.sin(angle), 0.035 * size
            draw.ellipse(
                [(px - r) * scale, (py - r) * scale, (px + r) * scale, (py + r) * scale], fill=255
            )
    sheet.wash(
        as_field(frame * sheet.drawn(draw, image)), {"soot": 1.0, "indigo": 0.8}, 0.62, rim=0.6
    )
    image, draw = sheet.canvas()
    for _ in range(46):
        v = rng.uniform(0.0, 1.0) ** 1.3
        cx, cy, size = rng.uniform(0.03, RIGHT - 0.03), 0.64 + 0.31 * v, 0.005 + 0.015 * v
        for k in range(9):
            angle = 2 * np.pi * k / 9 + rng.normal(0, 0.2)
            spot = blob(
                rng,
                cx + size * np.cos(angle),
                cy + 0.8 * size * np.sin(angle),
                0.50 * size,
                0.42 * size,
            )
            draw.polygon([(a * scale, b * scale) for a, b in spot], fill=255)
    dabs = sheet.drawn(draw, image)
    sheet.wash(as_field(frame * dabs), {"ultramarine": 1.0, "violet": 0.5}, 0.60, rim=1.0)
    return as_field(np.maximum(taken, dabs))


def splash(sheet: Sheet) -> None:
    """Drops that fell from the brush."""
    rng, scale = sheet.rng, 2 * sheet.height
    for pigments, count in (({"scarlet": 1.0}, 45), ({"sap": 1.0}, 40), ({"ultramarine": 1.0}, 30)):
        image, draw = sheet.canvas()
        for _ in range(count):
            cx, cy = rng.uniform(0.0, RIGHT), rng.uniform(0.50, 1.0)
            size = 0.0012 + 0.0045 * rng.uniform() ** 4
            draw.polygon(
                [(a * scale, b * scale) for a, b in blob(rng, cx, cy, size, size, 0.12)], fill=255
            )
        sheet.wash(sheet.drawn(draw, image), pigments, 0.6, rim=1.2)


def paint(size: int, seed: int = 12) -> Field:
    """Paint the picture `size` pixels wide. Returns (round(0.8 * size), size, 3) sRGB in [0, 1]."""
    height = round(size * ASPECT)
    sheet = Sheet(round(height * WORKING_SCALE), np.random.default_rng(seed))
    frame = framed(sheet)
    paint_sky(sheet, frame)
    walls, roof = farmhouse(sheet)
    white = 1.0 - sheet.soft(sheet.wobble(as_field(np.maximum(walls, roof)), 0.002))
    flowers = paint_poppies(sheet, frame)
    free = as_field(frame * white * (1.0 - 0.88 * flowers))
    for stage in (paint_hills, paint_meadow, paint_trees):
        stage(sheet, free)
    splash(sheet)
    down, across = np.gradient(blur(sheet.relief, 0.0008 * sheet.height))
    shade = as_field(1.0 - 0.010 * sheet.height / 100 * (across + down))
    light = (PAPER**1.6) * np.exp(-sheet.absorbed) * np.clip(shade, 0.8, 1.15)[..., None]
    return resize(as_field(np.clip(light, 0.0, 1.0) ** (1 / 1.6)), height, size)
