"""How a canvas is walked: which tiles, where they lie in the features, how many bytes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from hires.config import ConfigError, format_bytes
from hires.features import Layer, Network
from hires.memory import is_out_of_memory
from hires.tiling import SEAM, Span, Tile, grid, round_up

Result = TypeVar("Result")

# Below this side seams are much of the work, and lines that wait at them much of the memory.
MIN_TILE = 64
# Of three channels in float32.
_PIXEL_BYTES = 12
# As many tensors of the widest layer are alive at once, and one more where a layer is made again.
_WIDEST_LAYERS = 2
# Bytes that a CPU's heap takes for a byte that comes and goes, measured: it fragments.
_HEAP_SLACK = 2.25
# Pixels that take as long as one of a seam, forward and back.
_SEAM_WORK = 6
# Multiply-adds that take as long as what a tile costs whatever its size, measured on a CPU.
_TILE_WORK = 7.6e8
# Of the memory of a plan that did not fit, what the next one may take.
_LESS = 0.75
# So much more work is worth a saving of memory.
_NEARLY = 1.02
# Of what graphs keep on a CPU: what does not fit the arena would scatter over the heap.
_SPARE_ROOM = 1.08


class TileMemoryError(ConfigError):
    """The budget holds no tiles of any size.

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
        side: largest side of a tile in pixels.
        num_kept: of how many tiles, the last ones, graphs are kept between the two walks.
        bytes_needed: memory for feature maps at most.
        remakes: whether graphs make `remade_layer` again instead of keeping it, which takes a few
            hundredths longer.
    """

    tiles: tuple[Tile, ...]
    side: int
    num_kept: int
    bytes_needed: int
    remakes: bool = False


def canvas_window(layer: Layer, tile: Tile) -> tuple[slice, slice]:
    """Where the features of a tile lie in those of the whole canvas.

    Every convolution leaves the last position of a tile to the next one, so that deep layers are
    cut above and left of where the pixels are.
    """
    (rows, columns), region = tile.goes_on, tile.region
    return _features(layer, region.rows, rows), _features(layer, region.columns, columns)


def _features(layer: Layer, span: Span, goes_on: tuple[bool, bool]) -> slice:
    before, after = goes_on
    return slice(
        (span.start - layer.halo * before) // layer.stride,
        (span.stop - layer.halo * after) // layer.stride,
    )


def remade_layer(names: Sequence[str]) -> str:
    """The layer that graphs make again instead of keeping it: the first convolution's.

    At full size it takes more memory than all others that are looked at together, and its few input
    channels make it the cheapest.
    """
    return "conv1_1" if "conv1_1" in names else "relu1_1"


def _depth(network: Network, names: Sequence[str]) -> float:
    """Multiply-adds per pixel of all that is computed for some layers."""
    return max(network.layers[name].multiply_adds for name in names)


def tile_bytes(
    network: Network, names: Sequence[str], dtype: torch.dtype, *, remakes: bool
) -> tuple[float, float]:
    """Bytes per pixel: what graphs keep, and what a pass over a tile needs besides.

    Besides, the widest point of the backward pass holds a few tensors of the widest layer, the
    pixels and their gradient; on a CPU counted with what the heap loses between them.
    """
    graphs = _graph_layers(network, names, dtype, remakes=remakes)
    kept = sum(size / layer.stride**2 for layer, size in graphs)
    widest = max(layer.channels / layer.stride**2 for layer, _ in graphs)
    besides = (_WIDEST_LAYERS + remakes) * widest * dtype.itemsize + 3 * _PIXEL_BYTES
    if network.origin.device.type == "cpu":
        besides *= _HEAP_SLACK
    return kept, besides


def _graph_layers(
    network: Network, names: Sequence[str], dtype: torch.dtype, *, remakes: bool
) -> list[tuple[Layer, float]]:
    """Every layer that is computed, and the bytes that graphs keep of each of its positions.

    Kept are the layers that are looked at, but for `remade_layer` where it is made again, and the
    switches of the others: a bit for each ReLU, a byte for each maximum (other poolings keep what
    they pool, and what they compute on the way).
    """
    layers = network.layers
    deepest = _depth(network, names)
    spare = _SPARE_ROOM if network.origin.device.type == "cpu" else 1.0
    found = []
    for b, block in enumerate(network.architecture.blocks, start=1):
        for i in range(1, len(block) + 1):
            relu = f"relu{b}_{i}"
            layer = layers[relu]
            if layer.multiply_adds > deepest:
                continue
            keeps = {f"conv{b}_{i}", relu}.intersection(names)
            if remakes:
                keeps -= {remade_layer(names)}
            kept = float(len(keeps) * dtype.itemsize)
            pooled = i == len(block)
            if relu not in names and not (pooled and network.pooling == "max"):
                kept += 1 / 8
            if pooled and network.pooling == "max":
                kept += 1 / 4
            elif pooled:
                maps = (relu not in keeps) + (1.25 if network.pooling == "l2" else 0)
                kept += maps * dtype.itemsize
            if pooled and f"pool{b}" in names:
                kept += dtype.itemsize / 4
            found.append((layer, kept * layer.channels * spare))
    return found


def kept_bytes(network: Network, names: Sequence[str], dtype: torch.dtype, plan: TilePlan) -> int:
    """Bytes that the graphs of a plan's tiles keep at most at any time."""
    graphs = _graph_layers(network, names, dtype, remakes=plan.remakes)
    each = _bytes_each(plan.tiles, graphs)
    together = sum(each[max(len(each) - plan.num_kept, 0) :]) if plan.num_kept else 0
    return math.ceil(max(together, max(each)))


def _bytes_each(tiles: Sequence[Tile], graphs: Sequence[tuple[Layer, float]]) -> list[float]:
    """What the graph of each tile keeps; deep layers lie more in the last tiles than in others."""
    rows: dict[Span, tuple[bool, bool]] = {}
    columns: dict[Span, tuple[bool, bool]] = {}
    for tile in tiles:
        rows[tile.region.rows], columns[tile.region.columns] = tile.goes_on
    sizes = np.array([size for _, size in graphs])
    each = (_lengths(rows, graphs) * sizes) @ _lengths(columns, graphs).T
    numbers = [{span: i for i, span in enumerate(spans)} for spans in (rows, columns)]
    return [
        float(each[numbers[0][tile.region.rows], numbers[1][tile.region.columns]]) for tile in tiles
    ]


def _lengths(
    spans: Mapping[Span, tuple[bool, bool]], graphs: Sequence[tuple[Layer, float]]
) -> NDArray[np.int64]:
    """How many rows or columns every span has in every layer: (spans, layers)."""
    places = [[_features(layer, span, on) for layer, _ in graphs] for span, on in spans.items()]
    return np.array([[place.stop - place.start for place in row] for row in places])


def seam_bytes(network: Network, names: Sequence[str], dtype: torch.dtype) -> float:
    """Bytes per pixel of a tile's side that it leaves to the next tile; what the heap loses too."""
    found, deepest = 0.0, _depth(network, names)
    # The first convolution reads its lines from the canvas.
    for key, before, _ in itertools.islice(network.architecture.convolutions(), 1, None):
        layer = network.layers[f"conv{key}"]
        if layer.multiply_adds <= deepest:
            found += SEAM * before / layer.stride * dtype.itemsize
    return found * (_HEAP_SLACK if network.origin.device.type == "cpu" else 1.0)


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

    Small tiles leave room for more graphs, which saves second forwards; large tiles have fewer
    seams. Of those with nearly the least work, the ones that take the least memory are chosen.

    Args:
        network: the feature network.
        names: layers that are looked at.
        size: ``(height, width)`` of the canvas.
        dtype: type of the features.
        memory: budget for feature maps in bytes.
        tile: largest side of a tile in pixels; None to choose it.

    Raises:
        ConfigError: if the deepest layer sees nothing in so small a picture.
        TileMemoryError: if not even the smallest tile fits; the message says what would.
    """
    if min(size) < network.least_side(names):
        raise ConfigError(
            f"a picture is too small for the layers at {size[1]}x{size[0]}: its short side needs"
            f" {network.least_side(names)} px, so crop it or give a larger `size`"
        )
    halo, alignment = network.reach(names)
    largest = round_up(max(size), alignment)
    smallest = min(round_up(MIN_TILE, alignment), largest)
    side = largest if tile is None else min(max(round_up(tile, alignment), alignment), largest)
    found: list[tuple[float, TilePlan]] = []
    least_work, least_needed, leanest = math.inf, 2**63, side
    budget, per_tile = _Budget(network, names, dtype), tile_work(network, names)
    while True:
        tiles = grid(size, side, halo=halo, alignment=alignment)
        if _work(tiles, len(tiles), per_tile) > _NEARLY * least_work:
            break  # Even with all graphs kept: smaller tiles only have more seams.
        remakes = len(tiles) > 1
        num_kept, needed = budget.keep(tiles, memory, remakes=remakes)
        least_needed, leanest = min((least_needed, leanest), (needed, side))
        if needed <= memory:
            work = _work(tiles, num_kept, per_tile)
            found.append((work, TilePlan(tiles, side, num_kept, needed, remakes)))
            least_work = min(least_work, work)
        if tile is not None or side <= smallest or (found and not remakes):
            break
        if needed > max(memory, 1.5 * least_needed):
            break  # Of smaller tiles, ever more lines would wait.
        side = max(_smaller(side, alignment), smallest)
    if not found:
        raise TileMemoryError(
            f"`memory={format_bytes(memory)}` is too small for tiles of {leanest} px:"
            f" give at least {least_needed // 2**20 + 1}MiB"
            + (" or leave out `tile`" if tile else ""),
            least_needed,
        )
    good = (plan for work, plan in found if work <= _NEARLY * least_work)
    return min(good, key=lambda plan: plan.bytes_needed)


def tile_work(network: Network, names: Sequence[str]) -> float:
    """Pixels that take as long as what a tile costs whatever its size."""
    return _TILE_WORK / _depth(network, names)


def _work(tiles: Sequence[Tile], num_kept: int, per_tile: float) -> float:
    """Passes over pixels, or what takes as long."""
    pixels = [tile.region.num_pixels for tile in tiles]
    seams = sum(
        before * side
        for tile in tiles
        for (before, _), side in zip(tile.goes_on, reversed(tile.region.size), strict=True)
    )
    walked = sum(pixels) + _SEAM_WORK * seams + per_tile * len(tiles)
    return 2 * walked + sum(pixels[: len(tiles) - num_kept])


class _Budget:
    """Counts the bytes of tiles of one network."""

    def __init__(self, network: Network, names: Sequence[str], dtype: torch.dtype) -> None:
        self._graphs = [
            _graph_layers(network, names, dtype, remakes=remakes) for remakes in (False, True)
        ]
        self._besides = [
            tile_bytes(network, names, dtype, remakes=remakes)[1] for remakes in (False, True)
        ]
        self._seam = seam_bytes(network, names, dtype)

    def keep(self, tiles: Sequence[Tile], memory: float, *, remakes: bool) -> tuple[int, int]:
        """How many of the last tiles keep their graphs, one at least, and the bytes needed."""
        counted = self._counted(tiles, remakes=remakes)
        num_kept, needed = 1, next(counted)
        for total in counted:
            if total > memory:
                break
            num_kept, needed = num_kept + 1, total
        return num_kept, math.ceil(needed)

    def needed(self, tiles: Sequence[Tile], num_kept: int, *, remakes: bool) -> int:
        """The bytes needed where the graphs of so many tiles are kept, or one at a time."""
        counted = self._counted(tiles, remakes=remakes)
        return math.ceil(next(itertools.islice(counted, max(num_kept, 1) - 1, None)))

    def _counted(self, tiles: Sequence[Tile], *, remakes: bool) -> Iterator[float]:
        """The bytes needed where one graph is kept, where two are, and so on."""
        each = _bytes_each(tiles, self._graphs[remakes])
        most = max(tile.region.num_pixels for tile in tiles) * self._besides[remakes]
        # Lines that wait for the second walk, and those that are handed on meanwhile.
        seams = [self._incoming(tile) for tile in tiles]
        waiting = sum(seams) + self._in_flight(tiles)
        graphs, largest = 0.0, max(each)
        for one, seam in zip(reversed(each), reversed(seams), strict=True):
            graphs += one
            waiting -= seam
            yield most + max(graphs, largest) + waiting

    def _incoming(self, tile: Tile) -> float:
        """Bytes of the lines before a tile."""
        (above, _), (left, _) = tile.goes_on
        height, width = tile.region.size
        return (above * width + left * height) * self._seam

    def _in_flight(self, tiles: Sequence[Tile]) -> float:
        """Bytes of the lines around a row of tiles."""
        if len(tiles) == 1:
            return 0.0
        width = max(tile.region.columns.stop for tile in tiles)
        return (width + max(tile.region.rows.length for tile in tiles)) * self._seam


def bytes_needed(network: Network, names: Sequence[str], dtype: torch.dtype, plan: TilePlan) -> int:
    """Memory for feature maps that a plan takes with as many graphs kept as it says."""
    return _Budget(network, names, dtype).needed(plan.tiles, plan.num_kept, remakes=plan.remakes)


def smaller_plan(
    network: Network,
    names: Sequence[str],
    size: tuple[int, int],
    plan: TilePlan,
    dtype: torch.dtype,
) -> TilePlan:
    """What to try when there was less memory than a plan takes: fewer graphs, then other tiles.

    Raises:
        TileMemoryError: if no tiles take clearly less.
    """
    if plan.num_kept > 1:
        return replace(plan, num_kept=plan.num_kept // 2)
    less = int(bytes_needed(network, names, dtype, plan) * _LESS)
    return plan_tiles(network, names, size, dtype=dtype, memory=less)


def within_memory(
    attempt: Callable[[TilePlan], Result],
    network: Network,
    names: Sequence[str],
    size: tuple[int, int],
    plan: TilePlan,
    dtype: torch.dtype,
) -> tuple[Result, TilePlan]:
    """Try a plan, and ever smaller ones from their start where memory runs out.

    Args:
        attempt: what takes a plan; broken off, it must leave no trace.
        network: the feature network.
        names: layers that are looked at.
        size: ``(height, width)`` of the canvas.
        plan: the first to try.
        dtype: type of the features.

    Returns:
        The result, and the plan that led to it.

    Raises:
        ConfigError: if no smaller plan is left.
    """
    while True:
        try:
            return attempt(plan), plan
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            try:
                plan = smaller_plan(network, names, size, plan, dtype)
            except TileMemoryError:
                raise ConfigError(
                    f"out of memory with tiles of {plan.side} px: give a smaller `size`"
                ) from None


def replan(
    network: Network,
    names: Sequence[str],
    size: tuple[int, int],
    plan: TilePlan,
    *,
    side: int,
    num_kept: int,
) -> TilePlan:
    """The tiles of an earlier run instead of those of a plan, which are returned if they agree."""
    if (plan.side, plan.num_kept) == (side, num_kept):
        return plan
    halo, alignment = network.reach(names)
    tiles = grid(size, side, halo=halo, alignment=alignment)
    return TilePlan(tiles, side, num_kept, plan.bytes_needed, len(tiles) > 1)


def _smaller(side: int, alignment: int) -> int:
    """The next side to try: about 6% less."""
    return min(round_up(int(side * 0.94), alignment), side - alignment)
