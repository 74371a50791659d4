"""How a canvas is walked: which tiles, where their cores lie in the features, how many bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hires.config import ConfigError, format_bytes
from hires.features import Layer, Network
from hires.tiling import Region, Span, Tile, grid, round_up

# Below this core the halo is most of the work; a budget that small is refused.
MIN_CORE = 64
# Of three channels in float32.
_PIXEL_BYTES = 12
# As many tensors of the widest layer are alive at once, and one more where a layer is made again.
_WIDEST_LAYERS = 2
# Bytes that a CPU's heap takes for a byte that comes and goes, measured: it fragments.
_HEAP_SLACK = 2.25
# Of what graphs keep on a CPU: what does not fit the arena would scatter over the heap.
_SPARE_ROOM = 1.08


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
    """How a canvas is walked.

    Attributes:
        tiles: its tiles.
        core: largest side of a core in pixels.
        num_kept: of how many tiles, the last ones, graphs are kept between the two walks.
        bytes_needed: memory for feature maps at most.
        remakes: whether graphs make `remade_layer` again instead of keeping it, which takes a few
            hundredths longer.
    """

    tiles: tuple[Tile, ...]
    core: int
    num_kept: int
    bytes_needed: int
    remakes: bool = False


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


def remade_layer(names: Sequence[str]) -> str:
    """The layer that graphs make again instead of keeping it: the first convolution's.

    At full size it takes more memory than all others that are looked at together, and its few input
    channels make it the cheapest.
    """
    return "conv1_1" if "conv1_1" in names else "relu1_1"


def tile_bytes(
    network: Network, names: Sequence[str], dtype: torch.dtype, *, remakes: bool
) -> tuple[int, int]:
    """Bytes per pixel of a padded tile: what its graph keeps, and what a pass needs besides.

    Kept are the layers that are looked at, but for `remade_layer` where it is made again, and the
    switches of the others: a bit for each ReLU, a byte for each maximum (other poolings keep what
    they pool, and what they compute on the way). Besides, the widest point of the backward pass
    holds a few tensors of the widest layer, the pixels and their gradient; on a CPU counted with
    what the heap loses between them.
    """
    layers = network.layers
    deepest = max(layers[name].multiply_adds for name in names)
    kept, widest = 0.0, 0.0
    blocks = network.architecture.blocks
    for b, block in enumerate(blocks, start=1):
        for i in range(1, len(block) + 1):
            relu = f"relu{b}_{i}"
            if layers[relu].multiply_adds > deepest:
                continue
            width = layers[relu].channels / layers[relu].stride ** 2
            widest = max(widest, width)
            keeps = {f"conv{b}_{i}", relu}.intersection(names)
            if remakes:
                keeps -= {remade_layer(names)}
            kept += len(keeps) * width * dtype.itemsize
            pooled = i == len(block)
            if relu not in names and not (pooled and network.pooling == "max"):
                kept += width / 8
            if pooled and network.pooling == "max":
                kept += width / 4
            elif pooled:
                maps = (relu not in keeps) + (1.25 if network.pooling == "l2" else 0)
                kept += maps * width * dtype.itemsize
            if pooled and f"pool{b}" in names:
                kept += width / 4 * dtype.itemsize
    besides = (_WIDEST_LAYERS + remakes) * widest * dtype.itemsize + 3 * _PIXEL_BYTES
    if network.origin.device.type == "cpu":
        kept *= _SPARE_ROOM
        besides *= _HEAP_SLACK
    return round(kept), round(besides)


def kept_bytes(network: Network, names: Sequence[str], dtype: torch.dtype, plan: TilePlan) -> int:
    """Bytes that the graphs of a plan's tiles keep at most at any time."""
    pixels = [tile.padded.num_pixels for tile in plan.tiles]
    together = sum(pixels[max(len(pixels) - plan.num_kept, 0) :]) if plan.num_kept else 0
    kept, _ = tile_bytes(network, names, dtype, remakes=plan.remakes)
    return max(together, max(pixels)) * kept


def plan_tiles(
    network: Network,
    names: Sequence[str],
    size: tuple[int, int],
    *,
    dtype: torch.dtype,
    memory: int,
    tile: int | None = None,
) -> TilePlan:
    """Choose the tiles for a canvas: one if it fits the memory, else those with the least work.

    Small tiles leave room for more graphs, which saves second forwards; large tiles have less halo.

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
    largest = round_up(max(size), alignment)
    smallest = min(round_up(MIN_CORE, alignment), largest)
    core = largest if tile is None else min(max(round_up(tile, alignment), alignment), largest)
    best: TilePlan | None = None
    least_work = math.inf
    while True:
        tiles = grid(size, core=core, halo=halo, alignment=alignment)
        # A halo is half computed: the deeper the layer, the less of it.
        padded = [(tile.core.num_pixels + tile.padded.num_pixels) / 2 for tile in tiles]
        if 2 * sum(padded) >= least_work:
            break  # Smaller tiles only have more halo.
        remakes = len(tiles) > 1
        kept, besides = tile_bytes(network, names, dtype, remakes=remakes)
        num_kept, needed = _keep(tiles, kept, besides, memory)
        work = 2 * sum(padded) + sum(padded[: len(tiles) - num_kept])
        if needed <= memory and work < least_work:
            best, least_work = TilePlan(tiles, core, num_kept, needed, remakes), work
        if tile is not None or core <= smallest:
            break
        core = max(_smaller(core, alignment), smallest)
    if best is None:
        raise TileMemoryError(
            f"--memory {format_bytes(memory)} is too small for a tile of {core} px:"
            f" give at least {needed // 2**20 + 1}MiB" + (" or a smaller --tile" if tile else ""),
            needed,
        )
    return best


def _keep(tiles: Sequence[Tile], kept: int, besides: int, memory: int) -> tuple[int, int]:
    """How many of the last tiles keep their graphs, at least one, and the bytes that this takes."""
    pixels = [tile.padded.num_pixels for tile in tiles]
    needed = max(pixels) * (besides + kept)
    num_kept, total = 1, max(pixels) * besides + pixels[-1] * kept
    for more in reversed(pixels[:-1]):
        total += more * kept
        if total > memory:
            break
        num_kept, needed = num_kept + 1, max(needed, total)
    return num_kept, needed


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
    return TilePlan(tiles, core, num_kept, plan.bytes_needed, len(tiles) > 1)


def _smaller(core: int, alignment: int) -> int:
    """The next core to try: about 6% less."""
    return min(round_up(int(core * 0.94), alignment), core - alignment)
