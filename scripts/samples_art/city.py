"""A city street in the rain by night: lamps, lit windows, a tram, people under umbrellas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from samples_art.cells import Mask
from samples_art.fields import Field, as_field, blur, fractal, mix, resize, sample, smoothstep
from samples_art.street import (
    FAR,
    LAMP,
    LAMP_FIRST,
    LAMP_STEP,
    LAMP_X,
    LAMP_Y,
    MIST,
    WALLS,
    Beyond,
    Row,
    linear,
    within,
)

ASPECT = 0.75
SUPERSAMPLING = 1.5
EYE = 2.5  # metres above the street
STAND = 0.35  # metres right of its middle
FOCAL, HORIZON = 0.92, 0.60  # in widths and in heights
GLINTS = 4  # mirrored rays for each pixel of the wet street
TRAM = (-3.35, -0.85, 21.0, 34.0, 3.5)  # left, right, front, back, roof

Paint = Callable[[Field, Field], tuple[Field, Field]]  # x, y in metres -> light (N, 3), cover (N,)


@dataclass(frozen=True)
class Flat:
    """Something that faces the eye at a distance, drawn on a plane of metres."""

    distance: float
    paint: Paint


def tram_front(x: Field, y: Field) -> tuple[Field, Field]:
    """The face of the tram: red below, cream above, bright windows, two lights."""
    left, right, _, _, roof = TRAM
    u = x - (left + right) / 2
    shape = within(u, -1.25, 1.25, 0.05) * within(y, 0.32, roof - 0.12 * u**4, 0.05)
    red = as_field(y < 1.45)
    light = mix(linear("#e9d9b0") * 0.55, linear("#b3202a") * 0.55, red)
    light = as_field(light * (0.75 + 0.25 * np.cos(u))[..., None])
    pane = within(np.abs(u), 0.06, 0.52, 0.03) + within(np.abs(u), 0.60, 1.10, 0.03)
    pane = as_field(pane * within(y, 1.62, 2.72, 0.04))
    inside = linear("#ffdf9a") * (0.55 + 0.55 * within(y, 2.2, 2.8, 0.5))[..., None]
    driver = as_field(np.hypot((u + 0.30) / 0.20, (y - 2.05) / 0.27) < 1.0)
    driver = np.maximum(driver, as_field((np.abs(u + 0.30) < 0.30) & (y < 1.86)))
    light = mix(light, mix(as_field(inside), as_field(inside * 0.06), driver), pane)
    board = within(u, -0.72, 0.72) * within(y, 2.92, 3.22)
    letters = linear("#ffb52e") * (0.5 + 1.6 * (np.sin(19 * u) > 0))[..., None]
    light = mix(light, as_field(letters), board)
    for spot in (-0.78, 0.78):
        lamp = np.exp(-((np.hypot(u - spot, y - 0.98) / 0.15) ** 4))
        light = as_field(light + 4.0 * lamp[..., None] * linear("#fff0c8"))
    buffer = within(y, 0.42, 0.56) * within(u, -1.2, 1.2)
    return mix(light, light * 0.15, buffer), shape


def tram_side(z: Field, y: Field) -> tuple[Field, Field]:
    """The long side of the tram, seen at a slant."""
    _, _, front, back, roof = TRAM
    along = z - front
    shape = within(z, front, back, 0.05) * within(y, 0.32, roof - 0.1, 0.05)
    light = np.where((y < 1.45)[..., None], linear("#8f1a24"), linear("#cdbd98")) * 0.30
    pane = as_field(within(along % 1.7, 0.18, 1.55, 0.05) * within(y, 1.62, 2.72, 0.04))
    heads = np.hypot((along % 1.7 - 0.8) / 0.26, (y - 1.85) / 0.34) < 1.0
    inside = linear("#ffd98a") * (0.95 - 0.8 * heads)[..., None]
    return mix(as_field(light), as_field(inside), pane), shape


def walker(place: float, coat: str, cloth: str, height: float = 1.72, lit: float = 0.4) -> Paint:
    """Somebody seen from behind, under an umbrella."""

    def paint(x: Field, y: Field) -> tuple[Field, Field]:
        u, v = (x - place) / height, y / height
        body = np.abs(u) < 0.105 + 0.070 * smoothstep(0.80, 0.30, v)
        body &= (v > 0.27) & (v < 0.84)
        legs = (np.abs(np.abs(u) - 0.055) < 0.040) & (v >= 0.0) & (v <= 0.30)
        head = np.hypot(u / 0.062, (v - 0.91) / 0.085) < 1.0
        rim = 0.98 + 0.020 * np.abs(np.sin(u * 26.0))
        top = 0.98 + 0.22 * np.sqrt(np.clip(1.0 - (u / 0.38) ** 2, 0.0, 1.0))
        dome = (np.abs(u) < 0.38) & (v > rim) & (v < top)
        rib = 0.78 + 0.22 * np.abs(np.cos(u * 13.0))
        sheen = lit * rib * (0.35 + 2.6 * np.clip(v - 0.98, 0.0, 0.3))
        light = np.where(dome[..., None], linear(cloth) * sheen[..., None], linear(coat) * 0.30)
        edge = 0.05 * smoothstep(0.05, 0.16, as_field(np.abs(u))) * body
        light = light + edge[..., None] * LAMP
        return as_field(light), as_field(body | legs | head | dome)

    return paint


def car(place: float, tint: str, front: bool) -> Paint:
    """A car from ahead, its headlights on, or from behind."""

    def paint(x: Field, y: Field) -> tuple[Field, Field]:
        u = x - place
        low = (np.abs(u) < 0.90) & (y > 0.28) & (y < 0.86)
        cabin = (np.abs(u) < 0.80 - 0.42 * (y - 0.86)) & (y >= 0.86) & (y < 1.44)
        wheels = (np.abs(np.abs(u) - 0.70) < 0.13) & (y > 0.0) & (y < 0.4)
        glass = (np.abs(u) < 0.70 - 0.42 * (y - 0.86)) & (y > 0.92) & (y < 1.36)
        light = linear(tint) * (0.10 + 0.22 * within(y, 0.7, 0.9, 0.1))[..., None]
        light = np.where(glass[..., None], linear("#27304e") * 0.7, light)
        light = np.where(wheels[..., None], linear("#050507"), light)
        for spot in (-0.66, 0.66):
            lamp = np.exp(-((np.hypot((u - spot) / 0.17, (y - 0.66) / 0.11)) ** 4))
            glow = linear("#fff2d0") * 5.0 if front else linear("#ff1a12") * 2.2
            light = light + lamp[..., None] * glow
        return as_field(light), as_field(low | cabin | wheels)

    return paint


def lamp_post(side: int) -> Paint:
    """A lantern on its post."""

    def paint(x: Field, y: Field) -> tuple[Field, Field]:
        u = x - side * LAMP_X
        post = (np.abs(u) < 0.055 + 0.07 * (y < 0.9)) & (y > 0) & (y < LAMP_Y - 0.3)
        bracket = (np.abs(u) < 0.32) & (np.abs(y - LAMP_Y + 0.42) < 0.03)
        glass = (np.abs(u) < 0.17 + 0.10 * (y - LAMP_Y + 0.3)) & (np.abs(y - LAMP_Y) < 0.30)
        cap = (
            (np.abs(u) < 0.30 - 0.9 * (y - LAMP_Y - 0.3)) & (y >= LAMP_Y + 0.3) & (y < LAMP_Y + 0.6)
        )
        light = np.where(glass[..., None], LAMP * 6.0, as_field([0.012, 0.013, 0.018]))
        return as_field(light), as_field(post | bracket | glass | cap)

    return paint


def furnish() -> list[Flat]:
    """All that stands in the street, the nearest last."""
    flats = [Flat(LAMP_FIRST + LAMP_STEP * k, lamp_post(s)) for k in range(11) for s in (-1, 1)]
    flats += [
        Flat(TRAM[2], tram_front),
        Flat(29.0, car(2.6, "#d8d8e0", True)),
        Flat(47.0, car(2.7, "#803030", True)),
        Flat(70.0, car(2.6, "#a0a0b0", True)),
        Flat(14.5, walker(-6.9, "#3a3f58", "#2f6f9a", 1.70, 0.8)),
        Flat(13.2, walker(6.9, "#5a4030", "#c99a2e", 1.66, 0.8)),
        Flat(18.5, walker(-5.2, "#40342c", "#7a3f86", 1.74, 0.8)),
        Flat(25.0, walker(5.1, "#30343c", "#3f8f5a", 1.74, 0.8)),
        Flat(33.0, walker(-6.6, "#30343c", "#c0392f", 1.70, 0.8)),
        Flat(8.4, walker(1.35, "#2a2f48", "#d8202c", 1.70, 1.5)),
    ]
    return sorted(flats, key=lambda flat: -flat.distance)


class City:
    """The whole street; tells the light along any ray."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Build the houses and hang the sky."""
        self.noise = fractal(rng, 1024, 1.2, lowest=4)
        self.stones = fractal(rng, 1024, 0.7, lowest=24)
        self.rows = [Row.build(side, rng) for side in WALLS]
        self.beyond = Beyond(rng)
        self.flats = furnish()

    def above(self, sx: Field, sy: Field, eye: float) -> Field:
        """Light (N, 3) of all but the ground along rays of slopes (N,) from so high an eye."""
        light = self.beyond.colours(sx, sy)
        depth = np.full(sx.shape, FAR, np.float32)
        for row in self.rows:
            ahead = np.where(sx * row.side > 1e-4, sx, np.inf * row.side)
            meets = as_field((WALLS[row.side] - STAND) / ahead)
            hit = (meets > 0.1) & (meets < FAR)
            z = as_field(np.where(hit, meets, FAR))
            wall, there = row.colours(z, as_field(eye + sy * z), self.noise)
            there = as_field(there * hit)
            light = mix(light, haze(wall, z), there)
            depth = as_field(np.where(there > 0.5, z, depth))
        z = as_field((TRAM[1] - STAND) / np.where(sx < -1e-4, sx, -np.inf))
        side, cover = tram_side(z, as_field(eye + sy * z))
        light = mix(light, haze(side, z), as_field(cover * (z < depth)))
        depth = as_field(np.where(cover * (z < depth) > 0.5, z, depth))
        for flat in self.flats:
            near = flat.distance < depth
            at = np.nonzero(near)
            x, y = STAND + sx[at] * flat.distance, eye + sy[at] * flat.distance
            seen, cover = flat.paint(as_field(x), as_field(y))
            where = cover > 0.01
            spots = tuple(part[where] for part in at)
            depths = np.full(len(spots[0]), flat.distance, np.float32)
            light[spots] = mix(light[spots], haze(seen[where], depths), as_field(cover[where]))
        return light

    def ground(self, sx: Field, sy: Field, rng: np.random.Generator) -> Field:
        """Light (N, 3) of the wet street along rays that go down."""
        z = as_field(EYE / -sy)
        x = as_field(STAND + sx * z)
        rough = sample(self.stones, as_field(x * 0.16), as_field(z * 0.16))
        pool = smoothstep(-0.3, 0.9, sample(self.noise, as_field(x * 0.035), as_field(z * 0.035)))
        fade = 1.0 / (1.0 + z / 18.0)
        seen = np.zeros((*sx.shape, 3), np.float32)
        for _ in range(GLINTS):
            ripple = rng.standard_normal(sx.shape) * (0.17 - 0.12 * pool) + 0.30 * rough * fade * (
                1.1 - pool
            )
            slope = -sy * np.exp(np.clip(ripple, -1.2, 1.2))
            drift = 0.012 * rng.standard_normal(sx.shape) * (1.2 - pool)
            seen += self.above(as_field(sx + drift), as_field(slope), -EYE)
        seen /= GLINTS
        grazing = 0.16 + 0.84 * (1.0 - np.clip(-sy, 0.0, 0.9)) ** 3
        phase = np.mod(z - LAMP_FIRST + LAMP_STEP / 2, LAMP_STEP) - LAMP_STEP / 2
        lit = sum(1.0 / (LAMP_Y**2 + phase**2 + (x - s * LAMP_X) ** 2) ** 1.5 for s in (-1, 1))
        asphalt = (0.05 + 0.02 * rough)[..., None] * (14.0 * lit[..., None] * LAMP + 0.10)
        walk = np.abs(x) > 5.0
        slabs = within(as_field((z * 0.9) % 1.0), 0.05, 1.0) * within(
            as_field((x * 1.1) % 1.0), 0.05, 1.0
        )
        asphalt = np.where(walk[..., None], asphalt * (1.2 + 0.5 * slabs)[..., None], asphalt)
        kerb = within(as_field(np.abs(x)), 4.85, 5.05)
        rails = sum(within(x, r - 0.045, r + 0.045, 0.02) for r in (-2.85, -1.35, 1.15, 2.65))
        strength = grazing * (0.50 + 0.45 * pool) * (1.0 - 0.35 * walk)
        light = asphalt + seen * (strength + 0.4 * rails * grazing)[..., None]
        light = light * (1.0 - 0.5 * kerb)[..., None]
        return haze(as_field(light), z)


def haze(light: Field, z: Field) -> Field:
    """Light (N, 3) from z metres away, through the mist."""
    share = 1.0 - np.exp(-np.minimum(z, 400.0) / 240.0)
    return mix(light, np.broadcast_to(MIST, light.shape), as_field(share))


def develop(light: Field, width: int) -> Field:
    """Linear light to sRGB: the glow round lamps, then a film-like curve."""
    height = light.shape[0]
    small = resize(np.minimum(light, 6.0), height // 4, width // 4)
    glow = np.zeros_like(light)
    for share, radius in ((0.10, 0.004), (0.07, 0.014), (0.05, 0.045)):
        soft = np.stack([blur(small[..., c], radius * width / 4 + 0.5) for c in range(3)], -1)
        glow += share * resize(as_field(soft), height, width)
    exposed = 2.9 * (0.86 * light + glow)
    toned = exposed * (1.0 + exposed / 7.0) / (1.0 + 0.9 * exposed)
    shown = np.clip(toned - 0.012, 0.0, 1.0) ** (1 / 2.2)
    curved = shown + 0.55 * shown * (1.0 - shown) * (2.0 * shown - 0.85)
    grey = curved.mean(axis=2, keepdims=True)
    return as_field(np.clip(grey + 1.22 * (curved - grey), 0.0, 1.0))


def paint(size: int, seed: int = 21) -> Field:
    """Paint the scene `size` pixels wide. Returns (round(0.75 * size), size, 3) sRGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    city = City(rng)
    width, height = round(size * SUPERSAMPLING), round(size * ASPECT * SUPERSAMPLING)
    rows, columns = (as_field(g + 0.5) for g in np.mgrid[0:height, 0:width])
    sx = as_field((columns - width / 2) / (FOCAL * width))
    sy = as_field((HORIZON * height - rows) / (FOCAL * width))
    light = city.above(sx, sy, EYE)
    depth_ground = sy < -EYE / FAR
    wet = city.ground(sx[depth_ground], sy[depth_ground], rng)
    light[depth_ground] = np.where(
        standing(city, sx[depth_ground], sy[depth_ground])[..., None], light[depth_ground], wet
    )
    return resize(develop(light, width), round(size * ASPECT), size)


def standing(city: City, sx: Field, sy: Field) -> Mask:
    """Whether a ray that goes down (N,) meets something before the ground."""
    ground = EYE / -sy
    found: Mask = np.abs(STAND + sx * ground) > np.where(sx < 0, -WALLS[-1], WALLS[1])
    for flat in city.flats:
        cover = flat.paint(
            as_field(STAND + sx * flat.distance), as_field(EYE + sy * flat.distance)
        )[1]
        found |= (flat.distance < ground) & (cover > 0.5)
    z = as_field((TRAM[1] - STAND) / np.where(sx < -1e-4, sx, -np.inf))
    return found | ((z < ground) & (tram_side(z, as_field(EYE + sy * z))[1] > 0.5))
