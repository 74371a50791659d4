"""How a canvas is walked: which tiles, where their cores lie in the features, how many bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hires.config import ConfigError, format_bytes
from hires.features import Layer, Network
from hires.tiling import Region, Span, Tile, grid, round_up

# Below this core the halo is most of the work; a budget that small is refused.
MIN_CORE = 64


class TileMemoryError(ConfigError):
    """The budget does not hold one tile.

    Attributes:
        needed: the least budget that does, in bytes.
    """

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


@dataclass(frozen=True, slots=True)
class TilePlan:
    """How a canvas is walked: its tiles, and how many of their graphs stay in memory."""

    tiles: tuple[Tile, ...]
    core: int
    num_kept: int
    bytes_needed: int


def feature_window(layer: Layer, tile: Tile) -> tuple[slice, slice]:
    """Where the core lies in the features of the padded tile."""
    spans = (tile.core.rows, tile.core.columns), (tile.padded.rows, tile.padded.columns)
    rows, columns = (
        _offset(layer, core, padded, bordered)
        for core, padded, bordered in zip(*spans, tile.bordered, strict=True)
    )
    return rows, columns


def _offset(layer: Layer, core: Span, padded: Span, bordered: bool) -> slice:
    origin = (padded.start if bordered else padded.start + layer.halo) // layer.stride
    return slice(core.start // layer.stride - origin, core.stop // layer.stride - origin)


def canvas_window(layer: Layer, core: Region) -> tuple[slice, slice]:
    """Where the core lies in the features of the whole canvas."""
    rows, columns = core.rows, core.columns
    return (
        slice(rows.start // layer.stride, rows.stop // layer.stride),
        slice(columns.start // layer.stride, columns.stop // layer.stride),
    )


def tile_bytes(network: Network, names: Sequence[str], dtype: torch.dtype) -> tuple[int, int]:
    """Bytes per pixel of a padded tile: what its graph keeps, and what a pass needs besides.

    Kept are the outputs of every layer. Besides, the widest point of the backward pass holds a few
    tensors of the widest layer, and the image, its gradient and their float copies.
    """
    deepest = max(network.layers[name].multiply_adds for name in names)
    used = [
        layer.channels / layer.stride**2
        for name, layer in network.layers.items()
        if layer.multiply_adds <= deepest and not name.startswith("conv")
    ]
    kept = sum(used) * dtype.itemsize + 24
    besides = 3.5 * max(used) * dtype.itemsize + 40
    return round(kept), round(besides)


def plan_tiles(
    network: Network,
    names: Sequence[str],
    size: tuple[int, int],
    *,
    dtype: torch.dtype,
    memory: int,
    tile: int | None = None,
) -> TilePlan:
    """Choose the tiles for a canvas: one if it fits the memory, else the largest that do.

    Args:
        network: the feature network.
        names: layers that are looked at.
        size: ``(height, width)`` of the canvas.
        dtype: type of the features.
        memory: budget for feature maps in bytes.
        tile: largest side of a core in pixels; None for as large as the memory allows.

    Raises:
        ConfigError: if the deepest layer sees nothing in so small a picture.
        TileMemoryError: if not even the smallest tile fits; the message says what would.
    """
    if min(size) < network.least_side(names):
        raise ConfigError(
            f"a picture is too small for the layers at {size[1]}x{size[0]}: its short side needs"
            f" {network.least_side(names)} px, so crop it or give a larger --size"
        )
    halo, alignment = network.reach(names)
    kept, besides = tile_bytes(network, names, dtype)
    largest = round_up(max(size), alignment)
    core = largest if tile is None else min(max(round_up(tile, alignment), alignment), largest)

    def layout(core: int) -> tuple[tuple[Tile, ...], int]:
        tiles = grid(size, core=core, halo=halo, alignment=alignment)
        return tiles, max(tile.padded.num_pixels for tile in tiles)

    tiles, pixels = layout(core)
    smallest = min(round_up(MIN_CORE, alignment), core)
    while pixels * (kept + besides) > memory and core > smallest and tile is None:
        core = max(_smaller(core, alignment), smallest)
        tiles, pixels = layout(core)
    if pixels * (kept + besides) > memory:
        needed = layout(smallest if tile is None else core)[1] * (kept + besides)
        raise TileMemoryError(
            f"--memory {format_bytes(memory)} is too small for a tile of {core} px:"
            f" give at least {needed // 2**20 + 1}MiB" + (" or a smaller --tile" if tile else ""),
            needed,
        )
    num_kept = min((memory - pixels * besides) // (pixels * kept), len(tiles))
    return TilePlan(tiles, core, num_kept, pixels * (besides + kept * num_kept))


def replan(
    network: Network,
    names: Sequence[str],
    size: tuple[int, int],
    plan: TilePlan,
    *,
    core: int,
    num_kept: int,
) -> TilePlan:
    """The tiles of an earlier run instead of those of a plan, which are returned if they agree."""
    if (plan.core, plan.num_kept) == (core, num_kept):
        return plan
    halo, alignment = network.reach(names)
    tiles = grid(size, core=core, halo=halo, alignment=alignment)
    return TilePlan(tiles, core, num_kept, plan.bytes_needed)


def _smaller(core: int, alignment: int) -> int:
    """The next core to try: about 6% less."""
    return min(round_up(int(core * 0.94), alignment), core - alignment)
