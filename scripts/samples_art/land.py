"""The land round the harbour: its heights, how a camera sees them, and how the sun lights them.

World: metres, x to the right, y up from the water, z away from the camera at x = z = 0. Light and
colours are linear; `linear` turns sRGB into them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samples_art.fields import Field, as_field, colour, fractal, mix, resize, sample, smoothstep

SUN = as_field(np.array([-0.74, 0.50, -0.36]) / np.linalg.norm([-0.74, 0.50, -0.36]))
SUNLIGHT = as_field([2.05, 1.72, 1.28])
SKYLIGHT = as_field([0.40, 0.50, 0.68])
NEAREST, FARTHEST = 5.0, 13000.0
# From where, and in how many steps, the land is looked at: finest where single trees stand out.
DEPTH_STEPS = ((NEAREST, 700), (200.0, 1200), (1500.0, 600))
HAZE_LENGTH = 5200.0
SEA_FLOOR = -4.0


def linear(code: str) -> Field:
    """Turn "#rrggbb" into linear light."""
    return as_field(colour(code) ** 2.2)


@dataclass(frozen=True)
class Camera:
    """A pinhole looking along z: picture size, focal length and horizon row in pixels, eye in m."""

    height: int
    width: int
    focal: float
    horizon: float
    eye: float

    def slopes(self, rows: Field, columns: Field) -> tuple[Field, Field]:
        """Ray directions (dx, dy) per metre of depth through pixel positions."""
        dx = (columns - 0.5 * self.width) / self.focal
        return as_field(dx), as_field((self.horizon - rows) / self.focal)

    def mirrored(self) -> Camera:
        """The same camera under the water: what it sees is what the water reflects."""
        return Camera(self.height, self.width, self.focal, self.horizon, -self.eye)


@dataclass(frozen=True)
class Surface:
    """Land seen at some pixels: position, normal (N, 3) and how much sun reaches it, (N,)."""

    x: Field
    y: Field
    z: Field
    normal: Field
    sun: Field


class Land:
    """A height field made of a foreshore, a headland for the lighthouse, hills and mountains."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw the noise that all heights and ground colours are made of."""
        self.rough = fractal(rng, 1024, 1.75, lowest=2)
        self.smooth = fractal(rng, 1024, 2.3, lowest=2)
        self.blobs = fractal(rng, 512, 2.2, lowest=28)

    def heights(self, x: Field, z: Field) -> Field:
        """Height above the water in metres at x, z (same shape); negative under water."""
        result = np.full_like(x, SEA_FLOOR)
        parts = ((self.foreshore, 0, 60), (self.headland, 40, 160), (self.mountains, 200, np.inf))
        for part, nearest, farthest in parts:
            chosen = (z > nearest) & (z < farthest)
            result[chosen] = np.maximum(result[chosen], part(x[chosen], z[chosen]))
        return result

    def foreshore(self, x: Field, z: Field) -> Field:
        """Grassy ground at the lower left, with boulders where it meets the water."""
        wide = sample(self.rough, x / 70.0, z / 70.0)
        fine = sample(self.rough, x / 16.0 + 0.3, z / 16.0)
        inland = 15.2 - 0.62 * x + 1.6 * wide - z
        ground = 3.3 * smoothstep(-2.0, 9.0, as_field(inland)) + 0.10 * np.maximum(-x - 1.0, 0.0)
        lumps = np.maximum(sample(self.blobs, x / 80.0, z / 80.0), 0.0)
        boulders = 1.0 - np.exp(-1.8 * lumps)
        shore = np.exp(-(((inland - 0.2) / 3.4) ** 2))
        ground = ground + shore * (0.95 * boulders + 0.22 * fine - 0.15)
        finest = sample(self.rough, x / 3.7, z / 3.7 + 0.1)
        ground = ground + 0.030 * finest * smoothstep(9.0, 1.0, as_field(inland))
        return as_field(ground + 0.10 * wide + 0.04 * fine - 4.0 * smoothstep(0.0, -6.0, inland))

    def headland(self, x: Field, z: Field) -> Field:
        """A low cliff with a flat top, right of the middle."""
        wide = sample(self.rough, x / 110.0 + 0.5, z / 110.0)
        fine = sample(self.rough, x / 28.0, z / 28.0 + 0.4)
        radius = np.hypot((x - 27.0) / 34.0, (z - 95.0) / 19.0) + 0.07 * wide + 0.025 * fine
        top = 7.0 * smoothstep(1.13, 0.78, as_field(radius)) + 1.0 * smoothstep(0.8, 0.3, radius)
        cliff = np.exp(-(((radius - 0.98) / 0.13) ** 2))
        floor = 0.8 + 3.0 * smoothstep(1.0, 1.35, as_field(radius))
        ledges = 0.6 * np.abs(fine) + 0.5 * wide
        return as_field(top + cliff * (ledges - 0.25) + 0.10 * fine - floor)

    def mountains(self, x: Field, z: Field) -> Field:
        """Wooded hills at the left, farther hills all round, mountains at the back."""
        bearing = x / np.maximum(z, 1.0)
        broad = sample(self.smooth, x / 2600.0, z / 2600.0)
        medium = sample(self.smooth, x / 620.0, z / 620.0 + 0.2)
        hills = np.exp(-(((z - 760.0) / 230.0) ** 2)) * (62.0 + 20.0 * broad + 8.0 * medium)
        hills = hills * smoothstep(0.03, -0.42, as_field(bearing + 0.02 * medium))
        hills = hills + self.canopy(x, z) * smoothstep(4.0, 12.0, as_field(hills))
        middle = np.exp(-(((z - 2300.0) / 620.0) ** 2)) * (120.0 + 75.0 * broad + 16.0 * medium)
        middle = middle * (0.25 + 0.75 * smoothstep(0.08, 0.34, as_field(np.abs(bearing - 0.05))))
        far = sample(self.smooth, x / 9000.0 + 0.15, z / 9000.0)
        crest = 1.0 - np.abs(far + 0.25 * broad) * 0.75
        range_ = np.exp(-(((z - 8200.0) / 2100.0) ** 2)) * (180.0 + 760.0 * crest)
        range_ = range_ * (0.55 + 0.45 * np.cos(5.0 * (bearing + 0.22)))
        return as_field(np.maximum.reduce([hills, middle, range_]) + SEA_FLOOR)

    def canopy(self, x: Field, z: Field) -> Field:
        """Tree tops over the near hills, in metres."""
        crowns = sample(self.blobs, x / 260.0, z / 260.0)
        woods = smoothstep(-0.5, 0.2, sample(self.rough, x / 900.0 + 0.4, z / 900.0))
        return as_field(4.2 * np.maximum(crowns + 0.6, 0.0) ** 0.6 * woods)

    def normals(self, x: Field, z: Field, height: Field, step: Field) -> Field:
        """Unit normals (N, 3) by differences over `step` metres."""
        slope_x = (self.heights(as_field(x + step), z) - height) / step
        slope_z = (self.heights(x, as_field(z + step)) - height) / step
        normal = np.stack([-slope_x, np.ones_like(slope_x), -slope_z], axis=-1)
        return as_field(normal / np.linalg.norm(normal, axis=-1, keepdims=True))

    def sunlit(self, x: Field, y: Field, z: Field) -> Field:
        """Share of the sun in [0, 1] that the land itself lets through to points, soft-edged."""
        result = np.ones_like(x)
        distance = as_field(0.012 * z + 0.05)
        for _ in range(15):
            away = [as_field(start + s * distance) for start, s in zip((x, y, z), SUN, strict=True)]
            clear = (away[1] - self.heights(away[0], away[2])) / (0.10 * distance) + 0.6
            result = np.minimum(result, np.clip(clear, 0.0, 1.0))
            distance = as_field(distance * 1.42)
        return as_field(result)


def viewing_depths(nearest: float) -> Field:
    """Depths in metres, from `nearest` to the end of the world, at which the land is looked at."""
    ends = [start for start, _ in DEPTH_STEPS[1:]] + [FARTHEST]
    spans = [
        np.geomspace(start, end, count, endpoint=False)
        for (start, count), end in zip(DEPTH_STEPS, ends, strict=True)
    ]
    depths = np.concatenate(spans)
    return as_field(depths[depths >= nearest])


def first_hits(land: Land, camera: Camera, nearest: float = NEAREST) -> Field:
    """Depth at which each pixel's ray meets the land, (H, W); infinity where it does not.

    Column by column, the land's profile is projected and its running maximum searched: the
    classic "voxel" landscape, with interpolation between depths.
    """
    depths = viewing_depths(nearest)
    columns = as_field(np.arange(camera.width)) + 0.5
    dx = camera.slopes(columns, columns)[0]
    x = depths[:, None] * dx[None]
    height = land.heights(as_field(x), np.broadcast_to(depths[:, None], x.shape))
    if camera.eye < 0:
        height = np.where(height < 0.0, as_field(-1e6), height)
    rise = camera.focal * (height - camera.eye) / depths[:, None]  # rows above the horizon
    skyline = np.maximum.accumulate(rise, axis=0)
    wanted = camera.horizon - (np.arange(camera.height) + 0.5)
    result = np.full((camera.height, camera.width), np.inf, np.float32)
    for column in range(camera.width):
        found = np.searchsorted(skyline[:, column], wanted)
        hit = found < len(depths)
        after = found[hit]
        before = np.maximum(after - 1, 0)
        low, high = rise[before, column], rise[after, column]
        share = np.clip((wanted[hit] - low) / np.maximum(high - low, 1e-6), 0.0, 1.0)
        result[hit, column] = depths[before] + share * (depths[after] - depths[before])
    return result


def survey(land: Land, camera: Camera, depth: Field, chosen: np.ndarray, coarse: int) -> Surface:
    """Land at the chosen pixels; its shadows are found on a grid `coarse` pixels apart."""
    rows, columns = (as_field(g + 0.5) for g in np.nonzero(chosen))
    dx, _ = camera.slopes(rows, columns)
    z = depth[chosen]
    x = as_field(dx * z)
    y = land.heights(x, z)
    normal = land.normals(x, z, y, as_field(np.maximum(0.02, 3.0 * z / camera.focal)))
    grid_rows, grid_columns = np.mgrid[0 : camera.height : coarse, 0 : camera.width : coarse]
    thin = np.minimum(depth[::coarse, ::coarse], FARTHEST)
    grid_dx, _ = camera.slopes(as_field(grid_rows), as_field(grid_columns))
    grid_x = as_field(grid_dx * thin)
    sun = land.sunlit(grid_x, as_field(land.heights(grid_x, thin)), thin)
    full = np.clip(resize(sun, camera.height, camera.width), 0.0, 1.0)
    return Surface(x, y, z, normal, full[chosen])


def ground_colours(land: Land, at: Surface) -> Field:
    """Albedo of grass, path, rock, wet stone, woods and bare mountains, (N, 3)."""
    period = np.where(at.z < 200.0, 5.0, 170.0)  # a short one would repeat in stripes far off
    broad = sample(land.rough, as_field(at.x / (9.0 * period)), as_field(at.z / (9.0 * period)))
    spot = as_field((at.x + at.y) / period), as_field((at.z + 0.7 * at.y) / period)
    fine = sample(land.rough, *spot)
    patches = sample(land.rough, at.x / 700.0 + 0.4, at.z / 700.0)
    steep = as_field(1.0 - at.normal[:, 1])
    grass = mix(linear("#56622a"), linear("#9a9350"), smoothstep(-1.2, 1.6, broad + 0.5 * fine))
    strata = sample(land.rough, as_field((at.x + at.z) / 26.0), as_field(at.y / 9.0))
    rock = mix(linear("#6a6058"), linear("#b3a68f"), smoothstep(-1.8, 1.8, strata + 0.7 * fine))
    grit = sample(land.rough, as_field((at.x + 0.8 * at.y) / 0.9), as_field((at.z + at.y) / 0.9))
    cracks = smoothstep(0.10, 0.0, as_field(np.abs(strata - 0.6 * fine + 0.25 * grit)))
    rock = rock * (1.0 + 0.13 * grit - 0.45 * cracks)[:, None]
    bare = smoothstep(0.10, 0.30, as_field(steep + 0.05 * fine))
    bare = np.maximum(bare, smoothstep(1.3, 0.5, as_field(at.y + 0.35 * broad)))
    pebbles = sample(land.blobs, as_field(at.x / 2.6), as_field((at.z + at.y) / 2.6))
    earth = path_colour(fine) * (1.0 + 0.10 * grit + 0.10 * pebbles)[:, None]
    near = mix(grass, as_field(earth), on_path(at.x, at.z, fine))
    near = mix(near, as_field(rock), as_field(bare))
    wet = smoothstep(0.55, 0.15, as_field(at.y + 0.12 * fine))
    near = near * (1.0 - 0.62 * wet[:, None])
    woods = mix(linear("#2b3d1e"), linear("#57662c"), smoothstep(-1.5, 1.5, fine))
    meadow = mix(linear("#8d9150"), linear("#bca763"), smoothstep(-0.6, 0.9, broad))
    hills = mix(meadow, woods, smoothstep(-0.30, 0.05, patches))
    stone = mix(linear("#69707a"), linear("#a09a90"), smoothstep(-1.5, 1.5, patches))
    result = mix(as_field(near), hills, smoothstep(200.0, 400.0, at.z))
    return mix(result, stone, smoothstep(3500.0, 5000.0, at.z))


def path_colour(fine: Field) -> Field:
    """Trodden earth."""
    return mix(linear("#a08663"), linear("#c9b28a"), smoothstep(-1.5, 1.5, fine))


def path_centre(z: Field) -> Field:
    """Where the foreground path runs: x at depth z."""
    return as_field(-2.6 - 0.16 * (z - 8.0) + 0.9 * np.sin(0.42 * z + 0.6))


def on_path(x: Field, z: Field, fine: Field) -> Field:
    """How much of a point is path, in [0, 1]."""
    distance = np.abs(x - path_centre(z)) + 0.10 * fine
    return as_field(smoothstep(0.75, 0.45, as_field(distance)) * (z < 24.0))


def haze(light: Field, distance: Field, dx: Field) -> Field:
    """Lay air between the eye and `light` (N, 3): blue at the right, warm towards the sun."""
    veil = mix(linear("#b4c6d8"), linear("#eddcc0"), smoothstep(0.30, -0.62, dx))
    return mix(light, as_field(veil * 1.05), as_field(1.0 - np.exp(-distance / HAZE_LENGTH)))


def shade(albedo: Field, normal: Field, sun: Field) -> Field:
    """Sun and sky on a matt surface: (N, 3) albedo and normals, (N,) share of sun."""
    facing = np.clip(normal @ SUN, 0.0, 1.0) * sun
    open_sky = 0.55 + 0.45 * normal[:, 1]
    return as_field(albedo * (facing[:, None] * SUNLIGHT + open_sky[:, None] * SKYLIGHT))
