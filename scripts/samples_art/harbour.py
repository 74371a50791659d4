"""A harbour in the afternoon sun: the scene that the paintings' styles are laid on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from samples_art.air_and_water import Sky, Water
from samples_art.fields import Field, as_field, resize
from samples_art.foliage import overgrow, tree_shade
from samples_art.land import (
    Camera,
    Land,
    first_hits,
    ground_colours,
    haze,
    shade,
    survey,
)
from samples_art.solids import Solid, sun_through, trace
from samples_art.village import build

ASPECT = 0.75
SUPERSAMPLING = 2
MIRROR_NEAREST = 32.0  # the foreshore hides its own reflection


def stand(width: int, eye: float = 7.0) -> Camera:
    """The camera for a picture `width` pixels wide."""
    height = round(width * ASPECT)
    return Camera(height, width, 0.95 * width, 0.46 * height, eye)


def paint_land(land: Land, camera: Camera, depth: Field, shades: list[Solid], out: Field) -> None:
    """Fill the pixels of `out` (H, W, 3) whose ray meets land."""
    chosen = np.isfinite(depth)
    at = survey(land, camera, depth, chosen, coarse=max(2, camera.width // 1024))
    spots = np.stack([at.x, at.y, at.z], axis=-1)
    sun = at.sun.copy()
    close = (at.z > 8.0) & (at.z < 150.0)
    sun[close] *= sun_through(shades, as_field(spots[close] + 0.02 * at.normal[close]))
    light = shade(ground_colours(land, at), at.normal, sun)
    out[chosen] = haze(light, at.z, as_field(at.x / at.z))


def above_water(
    land: Land, sky: Sky, camera: Camera, solids: list[Solid]
) -> tuple[Field, Field, Field]:
    """Sky, land and buildings, (H, W, 3) linear light; their depth (H, W); 1 where solids stand."""
    rows, columns = (as_field(g + 0.5) for g in np.mgrid[0 : camera.height, 0 : camera.width])
    out = sky.colours(*camera.slopes(rows, columns))
    if camera.eye > 0:
        depth = first_hits(land, camera)
        surface = np.where(rows > camera.horizon, camera.eye * camera.focal, np.inf)
        water = surface / np.maximum(rows - camera.horizon, 1e-3)
        land_depth = as_field(np.where(depth < water, depth, np.inf))
    else:
        depth = land_depth = first_hits(land, camera, MIRROR_NEAREST)
        water = np.full_like(depth, np.inf)
    shades = solids + tree_shade(land, np.random.default_rng(9))
    paint_land(land, camera, land_depth, shades, out)
    depth = as_field(np.minimum(depth, water))
    behind = depth.copy()
    trace(solids, camera, depth, out)
    return out, depth, as_field(depth < behind)


def develop(light: Field) -> Field:
    """Turn linear light into sRGB in [0, 1] with a film-like shoulder."""
    exposed = 0.95 * light
    toned = exposed * (1.0 + exposed / 5.5) / (1.0 + exposed * 0.62)
    return as_field(np.clip(toned * 1.12, 0.0, 1.0) ** (1.0 / 2.2))


def paint(size: int, seed: int = 5) -> Field:
    """Paint the scene `size` pixels wide. Returns (round(0.75 * size), size, 3) sRGB in [0, 1]."""
    return _scene(size, seed)[0]


def regions(size: int, seed: int = 5) -> dict[str, Field]:
    """Masks of parts of the same scene, (round(0.75 * size), size) in [0, 1], 1 inside."""
    _, sky, buildings = _scene(size, seed)
    return {"sky": sky, "buildings": buildings}


@lru_cache(maxsize=1)
def _scene(size: int, seed: int) -> tuple[Field, Field, Field]:
    """The picture, the share of each pixel that is sky, and that is building or boat."""
    rng = np.random.default_rng(seed)
    land, sky, water = Land(rng), Sky(rng), Water(rng)
    camera = stand(size * SUPERSAMPLING)
    solids = build(land)
    mirror, *_ = above_water(land, sky, stand(size).mirrored(), solids)
    picture, depth, built = above_water(land, sky, camera, solids)
    rows, columns = np.mgrid[0 : camera.height, 0 : camera.width]
    surface = camera.eye * camera.focal / np.maximum(rows + 0.5 - camera.horizon, 1e-3)
    wet = (rows + 0.5 > camera.horizon) & (depth >= surface * 0.9999)
    spots = as_field(rows[wet] + 0.5), as_field(columns[wet] + 0.5)
    sea = water.colours(camera, land, mirror, *spots)
    picture[wet] = haze(sea, surface[wet], camera.slopes(*spots)[0])
    bare = develop(picture)
    grown = overgrow(bare, land, camera, depth)
    seen = as_field((abs(grown - bare) < 1 / 255).all(axis=-1))  # What no plant hides.
    parts = grown, seen * ~np.isfinite(depth), seen * built
    whole, far, near = (resize(as_field(part), round(size * ASPECT), size) for part in parts)
    return whole, far, near
