"""The street of the city by night: facades, shops and their windows, sky and towers behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samples_art.cells import Labels, scatter
from samples_art.fields import Field, as_field, colour, fractal, mix, sample, smoothstep

WALLS = {-1: -9.0, 1: 8.6}  # x of the facades on the left and on the right, in metres
SHOP, FLOOR, BAY = 4.2, 3.2, 2.4  # heights of shop and floor, width of a window's bay
LAMP = as_field([1.0, 0.66, 0.30])
LAMP_X, LAMP_Y, LAMP_FIRST, LAMP_STEP = 5.9, 4.7, 9.0, 12.0
FAR = 150.0  # the square at the street's end
STONES = ("#b59a7a", "#8f4a38", "#a8876a", "#6d7486", "#c2a878", "#7f5a4a", "#8d8f9a")
PANES = ("#ffc766", "#ffb04a", "#ffdf9a", "#ff9a3c", "#fff0c8", "#9fc4ff")
SIGNS = ("#ff4f5e", "#44d7ff", "#ffb52e", "#7dff9a", "#ff6fd0", "#fff1c0")
MIST = as_field([0.046, 0.040, 0.075])


def linear(*codes: str) -> Field:
    """Colour codes as linear light, (N, 3)."""
    return as_field(np.stack([colour(code) for code in codes]) ** 2.2)


def within(values: Field, low: float | Field, high: float | Field, edge: float = 0.02) -> Field:
    """1 between low and high, 0 outside, with soft edges."""
    return as_field(
        smoothstep(low, low + edge, values) * (1.0 - smoothstep(high - edge, high, values))
    )


@dataclass
class Row:
    """The houses along one side: where each begins, in metres from the eye, and how high it is."""

    side: int
    starts: Field
    heights: Field

    @staticmethod
    def build(side: int, rng: np.random.Generator) -> Row:
        """Houses of 9 to 15 m, each with three to six floors over its shop."""
        widths = BAY * rng.integers(4, 7, 40)
        starts = np.concatenate([[-6.0], -6.0 + np.cumsum(widths)])
        heights = SHOP + FLOOR * rng.integers(3, 6, 41)
        return Row(side, as_field(starts), as_field(heights))

    def colours(self, z: Field, y: Field, noise: Field) -> tuple[Field, Field]:
        """Light (N, 3) of the facade at z, y, and whether there is one (N,)."""
        house = np.clip(np.searchsorted(self.starts, z) - 1, 0, len(self.heights) - 1)
        left = z - self.starts[house]
        top = self.heights[house]
        key = house.astype(np.int64) * 7 + self.side
        zero = key * 0
        roof = 2.6 + 1.2 * scatter(key, zero, 3)
        flue = (np.abs(left - 2.5) < 0.55) | (np.abs(left - 7.4) < 0.45)
        there = (y < top + roof + 1.3 * flue) & (y > 0)
        wall = linear(*STONES)[(scatter(key, zero, 7) * len(STONES)).astype(np.int64)]
        grain = sample(noise, as_field(z * 0.11), as_field(y * 0.11))
        bricks = 0.92 + 0.08 * np.sin(y * 21.0) * (z < 50)
        light = wall * (bricks + 0.13 * grain)[..., None]
        light = mix(light, as_field(light * 1.9), self.trim(left, y, top))
        light = light * self.lamplight(z, y)
        light = self.windows(light, left, y, top, key)
        light = self.shops(light, left, y, key)
        slate = as_field([0.010, 0.012, 0.022]) * (1.0 + 0.3 * np.sin(14.0 * y))[..., None]
        light = mix(light, as_field(slate), as_field(y > top))
        dormer = within((left % 4.8) - 2.4, -0.6, 0.6) * within(y - top, 0.6, 1.9)
        lit = (scatter(key, np.floor(left / 4.8).astype(np.int64), 19) < 0.5)[..., None]
        glow = np.where(lit, linear("#ffb85a") * 0.7, linear("#1b2340") * 0.5)
        return mix(light, as_field(glow), dormer), as_field(there)

    def trim(self, left: Field, y: Field, top: Field) -> Field:
        """Where there is pale stone: the cornice, the bands between floors, the houses' edges."""
        floor = (y - SHOP) % FLOOR
        bands = within(floor, 0.0, 0.22) * (y > SHOP) + within(top - y, -0.3, 0.35)
        return as_field(np.clip(bands + (left < 0.35), 0.0, 1.0))

    def lamplight(self, z: Field, y: Field) -> Field:
        """What the street's lamps and the night sky throw on the wall, (N, 3)."""
        gap = abs(abs(WALLS[self.side]) - LAMP_X)
        phase = np.mod(z - LAMP_FIRST + LAMP_STEP / 2, LAMP_STEP) - LAMP_STEP / 2
        total = np.zeros_like(z)
        for step in (-1, 0, 1):
            square = gap**2 + (phase + step * LAMP_STEP) ** 2 + (y - LAMP_Y) ** 2
            total = total + gap / square**1.5
        return as_field(15.0 * total[..., None] * LAMP + as_field([0.055, 0.065, 0.13]))

    def windows(self, light: Field, left: Field, y: Field, top: Field, key: Labels) -> Field:
        """Panes with their frames; some are lit, each by a lamp of its own colour."""
        bay, floor = np.floor(left / BAY).astype(np.int64), np.floor((y - SHOP) / FLOOR)
        u, v = left - (bay + 0.5) * BAY, (y - SHOP) - floor * FLOOR
        number = key * 131 + floor.astype(np.int64) * 17
        upstairs = as_field((y > SHOP) & (y < top))
        surround = within(u, -0.86, 0.86) * within(v, 0.55, 2.85) * upstairs
        pane = within(u, -0.62, 0.62) * within(v, 0.75, 2.62) * upstairs
        bars = np.maximum(within(u, -0.05, 0.05), within(v, 1.92, 2.02))
        chance, kind = scatter(bay, number, 23), scatter(bay, number, 29)
        tint = linear(*PANES)[(kind * len(PANES)).astype(np.int64)]
        curtain = 0.35 + 0.65 * within(np.abs(u), -1.0, 0.42 - 0.12 * v / 2.6, 0.14)
        inside = tint * (curtain * (0.6 + 0.5 * v) * (0.4 + 1.2 * kind))[..., None]
        dark = linear("#131a34") * (0.4 + 0.35 * v)[..., None]
        shown = np.where((chance < 0.46)[..., None], inside, dark)
        light = mix(light, as_field(light * 1.7), surround)
        light = mix(light, as_field(shown), pane)
        return mix(light, as_field(light * 0.25), as_field(pane * bars))

    def shops(self, light: Field, left: Field, y: Field, key: Labels) -> Field:
        """The ground floor: bright windows with goods, awnings and signs."""
        unit = np.floor(left / (2 * BAY)).astype(np.int64)
        u = left - (unit + 0.5) * 2 * BAY
        open_late = scatter(unit, key, 31) < 0.75
        kind = scatter(unit, key, 37)
        glass = within(u, -2.0, 2.0) * within(y, 0.55, 2.85)
        goods = scatter(
            np.floor(left * 3.1).astype(np.int64), np.floor(y * 3.7).astype(np.int64), 41
        )
        ware = linear(*PANES)[(goods * 5).astype(np.int64)]
        inside = ware * (0.25 + 1.1 * within(y, 1.6, 2.9, 0.8) + 0.5 * (goods > 0.8))[..., None]
        shown = np.where(open_late[..., None], inside * 1.3, linear("#141a2c"))
        light = mix(light, as_field(shown), glass)
        stripes = np.where(np.sin(left * 9.0)[..., None] > 0, linear("#a31f2a"), linear("#e8dcc0"))
        cloth = np.where((kind < 0.5)[..., None], stripes, linear("#24543c"))
        awning = within(u, -2.2, 2.2) * within(y, 2.72, 3.35)
        light = mix(light, as_field(cloth * (0.25 + 0.35 * (y - 2.6))[..., None]), awning)
        tint = linear(*SIGNS)[(kind * len(SIGNS)).astype(np.int64)]
        letters = scatter(np.floor(left * 4.0).astype(np.int64), unit, 43) < 0.72
        stroke = within((left * 4.0) % 1.0, 0.12, 0.82, 0.1) * letters * open_late
        sign = within(u, -1.5, 1.5) * within(y, 3.50, 3.98) * stroke
        return as_field(light + 2.2 * tint * sign[..., None])


class Beyond:
    """What stands and hangs behind the houses: the sky, the moon, and a clock tower."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw the clouds."""
        self.clouds = fractal(rng, 1024, 1.9, lowest=2)
        self.moon = (0.085, 0.400)  # slopes to the right and upwards

    def colours(self, sx: Field, sy: Field) -> Field:
        """Light (N, 3) along rays of slopes sx to the right and sy upwards."""
        rise = np.clip(sy, 0.0, 0.9) / 0.9
        low, high = as_field([0.150, 0.075, 0.115]), as_field([0.010, 0.016, 0.060])
        light = mix(np.broadcast_to(low, (*sx.shape, 3)), high, smoothstep(-0.15, 0.75, rise))
        cover = sample(self.clouds, as_field(0.55 * sx + 0.2), as_field(1.1 * sy))
        cloud = smoothstep(-0.2, 1.6, cover)
        lit = as_field([0.13, 0.085, 0.12]) * (1.2 - 0.7 * rise)[..., None]
        away = np.hypot(sx - self.moon[0], sy - self.moon[1])
        silver = as_field([0.55, 0.60, 0.75]) * np.exp(-away / 0.09)[..., None]
        light = mix(light, as_field(lit + 0.8 * silver), as_field(0.8 * cloud))
        halo = 0.22 * np.exp(-away / 0.05) + 0.05 * np.exp(-away / 0.2)
        light = light + as_field([0.75, 0.82, 1.0]) * halo[..., None]
        face = 1.0 + 0.22 * sample(self.clouds, as_field(sx * 6), as_field(sy * 6))
        disc = smoothstep(0.031, 0.028, as_field(away))
        light = mix(as_field(light), as_field(face[..., None] * as_field([0.95, 0.9, 0.72])), disc)
        return self.tower(light, sx, sy)

    def tower(self, light: Field, sx: Field, sy: Field) -> Field:
        """The clock tower over the square, in the mist."""
        x, y = (sx - 0.005) * FAR, sy * FAR
        shaft = within(x, -5.5, 5.5, 0.3) * (y < 41)
        belfry = within(x, -6.4, 6.4, 0.3) * within(y, 40, 44, 0.4)
        spire = (np.abs(x) < (72 - y) * 0.19) & (y > 43) & (y < 72)
        halls = (y < 15 + 3.0 * (np.floor(x / 9.0) % 2)) | (
            (np.abs(x) < 24) & (y < 21 - 0.2 * np.abs(x))
        )
        stone = as_field([0.060, 0.046, 0.060]) * (1.0 + 0.5 * np.exp(-y / 14))[..., None]
        light = mix(light, as_field(stone), as_field(np.clip(shaft + belfry + spire + halls, 0, 1)))
        arch = within(np.abs(x) % 3.4, 0.9, 2.5, 0.2) * within(y, 24, 29, 0.5) * shaft
        light = mix(light, linear("#ff9a3c") * 0.55, as_field(arch))
        radius = as_field(np.hypot(x, y - 35.5))
        dial = smoothstep(3.7, 3.4, radius)
        light = mix(light, linear("#ffe9b0") * 1.5, dial)
        hands = (np.abs(x * 0.5 - (y - 35.5) * 0.87) < 0.22) | (np.abs(x) < 0.18) & (y > 35.5)
        return mix(light, light * 0.1, as_field(hands * (radius < 2.9)))
