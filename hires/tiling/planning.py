"""Which tiles a canvas is walked in: as many bytes as there are, as little work as that allows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hires.config.values import format_bytes
from hires.errors import ConfigError
from hires.tiling.geometry import Layer, Span, Tile, feature_slice, grid, round_up
from hires.utils.memory import is_out_of_memory

Result = TypeVar("Result")

# Below this side seams are much of the work, and lines that wait at them much of the memory.
MIN_TILE = 64
# Pixels that take as long as one of a seam, forward and back.
_SEAM_WORK = 6
# Of the memory of a plan that did not fit, what the next one may take.
_LESS = 0.75
# So much more work is worth a saving of memory.
_NEARLY = 1.02


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

    @property
    def is_open(self) -> tuple[bool, bool]:
        """Whether the canvas goes on above and below, in nobody's tiles; see `Tile`."""
        return self.tiles[0].is_open[0], self.tiles[-1].is_open[1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Costs:
    """What tiles cost whose features are looked at; see `hires.features.costs`.

    What depends on whether graphs make their first layer again is there for no and for yes.

    Attributes:
        halo: how far the deepest layer sees, in pixels.
        alignment: its stride, in pixels.
        least_side: shortest side of a picture in which it sees anything, in pixels.
        graphs: every layer that is computed, and the bytes that graphs keep of each position.
        besides: bytes per pixel that a pass over a tile needs beside that.
        seam: bytes per pixel of a tile's side that it leaves to the next tile.
        per_tile: pixels that take as long as what a tile costs whatever its size.
        most_pixels: that a tile may have, whatever the memory.
        ample_side: side of a tile, in pixels, that keeps a GPU busy: memory for larger ones is
            better spent on graphs. None where tiles are chosen by work.
    """

    halo: int
    alignment: int
    least_side: int
    graphs: tuple[tuple[tuple[Layer, float], ...], tuple[tuple[Layer, float], ...]]
    besides: tuple[float, float]
    seam: float
    per_tile: float
    most_pixels: float = math.inf
    ample_side: int | None = None

    def tile_bytes(self, *, remakes: bool) -> float:
        """Bytes per pixel of a tile whose graph is kept."""
        kept = sum(size / layer.stride**2 for layer, size in self.graphs[remakes])
        return kept + self.besides[remakes]

    def kept_bytes(self, plan: TilePlan) -> int:
        """Bytes that the graphs of a plan's tiles keep at most at any time."""
        each = _bytes_each(plan.tiles, self.graphs[plan.remakes])
        together = sum(each[max(len(each) - plan.num_kept, 0) :]) if plan.num_kept else 0
        return math.ceil(max(together, max(each)))

    def bytes_needed(self, plan: TilePlan) -> int:
        """Memory for feature maps that a plan takes with as many graphs kept as it says."""
        counted = _counted(self, plan.tiles, remakes=plan.remakes)
        return math.ceil(next(itertools.islice(counted, max(plan.num_kept, 1) - 1, None)))


def _bytes_each(tiles: Sequence[Tile], graphs: Sequence[tuple[Layer, float]]) -> list[float]:
    """What the graph of each tile keeps; deep layers lie more in the last tiles than in others."""
    rows: dict[Span, tuple[tuple[bool, bool], bool]] = {}
    columns: dict[Span, tuple[tuple[bool, bool], bool]] = {}
    for tile in tiles:
        rows[tile.region.rows] = tile.goes_on[0], tile.is_open[0]
        columns[tile.region.columns] = tile.goes_on[1], False
    sizes = np.array([size for _, size in graphs])
    each = (_lengths(rows, graphs) * sizes) @ _lengths(columns, graphs).T
    numbers = [{span: i for i, span in enumerate(spans)} for spans in (rows, columns)]
    return [
        float(each[numbers[0][tile.region.rows], numbers[1][tile.region.columns]]) for tile in tiles
    ]


def _lengths(
    spans: Mapping[Span, tuple[tuple[bool, bool], bool]], graphs: Sequence[tuple[Layer, float]]
) -> NDArray[np.int64]:
    """How many rows or columns every span has in every layer: (spans, layers)."""
    places = [
        [feature_slice(layer, span, on, begins_late=late) for layer, _ in graphs]
        for span, (on, late) in spans.items()
    ]
    return np.array([[place.stop - place.start for place in row] for row in places])


def plan_tiles(
    costs: Costs,
    size: tuple[int, int],
    *,
    memory: int,
    tile: int | None = None,
    is_open: tuple[bool, bool] = (False, False),
) -> TilePlan:
    """Choose the tiles for a canvas: one if it fits the memory, else those with the least work.

    Small tiles leave room for more graphs, which saves second forwards; large tiles have fewer
    seams. Of those with nearly the least work, the ones that take the least memory are chosen.

    A GPU wants few and large tiles, each of which costs it hundreds of launches: it gets the
    largest that fit, up to `Costs.ample_side`. So more memory never makes for more launches.

    Args:
        costs: of its tiles.
        size: ``(height, width)`` of the canvas.
        memory: budget for feature maps in bytes.
        tile: largest side of a tile in pixels; None to choose it.
        is_open: whether the canvas goes on above and below, in nobody's tiles; see `Tile`.

    Raises:
        ConfigError: if the deepest layer sees nothing in so small a picture.
        TileMemoryError: if not even the smallest tile fits; the message says what would.
    """
    _check_size(costs, size)
    ample = costs.ample_side
    found: list[tuple[float, TilePlan]] = []
    least_work, least_needed, leanest = math.inf, 2**63, 0
    for side in _sides(costs, size, tile):
        tiles = grid(size, side, halo=costs.halo, alignment=costs.alignment, is_open=is_open)
        if ample is None and _work(tiles, len(tiles), costs.per_tile) > _NEARLY * least_work:
            break  # Even with all graphs kept: smaller tiles only have more seams.
        remakes = len(tiles) > 1
        num_kept, needed = _kept(costs, tiles, memory, remakes=remakes)
        least_needed, leanest = min((least_needed, leanest), (needed, side))
        if needed <= memory:
            plan = TilePlan(tiles, side, num_kept, needed, remakes)
            if not remakes or (ample is not None and side <= ample):
                return plan
            found.append((_work(tiles, num_kept, costs.per_tile), plan))
            least_work = min(least_work, found[-1][0])
        if needed > max(memory, 1.5 * least_needed):
            break  # Of smaller tiles, ever more lines would wait.
    if not found:
        raise _too_little(memory, leanest, least_needed, tile)
    good = (plan for work, plan in found if work <= _NEARLY * least_work)
    return min(good, key=lambda plan: plan.bytes_needed)


def _too_little(memory: int, side: int, needed: int, tile: int | None) -> TileMemoryError:
    return TileMemoryError(
        f"`memory={format_bytes(memory)}` is too small for tiles of {side} px:"
        f" give at least {needed // 2**20 + 1}MiB" + (" or leave out `tile`" if tile else ""),
        needed,
    )


def _sides(costs: Costs, size: tuple[int, int], tile: int | None) -> Iterator[int]:
    """The sides to try, from large to small."""
    alignment, ample = costs.alignment, costs.ample_side
    largest = round_up(max(size), alignment)
    if tile is not None:
        yield _allowed(costs, size, min(round_up(tile, alignment), largest))
        return
    smallest = min(round_up(MIN_TILE, alignment), largest)
    side = _allowed(costs, size, largest)
    while True:
        yield side
        if side <= smallest:
            return
        less = max(_smaller(side, alignment), smallest)
        side = ample if ample is not None and less < ample < side else less


def _check_size(costs: Costs, size: tuple[int, int]) -> None:
    if min(size) < costs.least_side:
        raise ConfigError(
            f"a picture is too small for the layers at {size[1]}x{size[0]}: its short side needs"
            f" {costs.least_side} px, so crop it or give a larger `size`"
        )


def _work(tiles: Sequence[Tile], num_kept: int, per_tile: float) -> float:
    """Passes over pixels, or what takes as long."""
    pixels = [tile.region.num_pixels for tile in tiles]
    seams = sum(
        before * side
        for tile in tiles
        for (before, _), side in zip(tile.meets, reversed(tile.region.size), strict=True)
    )
    walked = sum(pixels) + _SEAM_WORK * seams + per_tile * len(tiles)
    return 2 * walked + sum(pixels[: len(tiles) - num_kept])


def _kept(costs: Costs, tiles: Sequence[Tile], memory: float, *, remakes: bool) -> tuple[int, int]:
    """How many of the last tiles keep their graphs, one at least, and the bytes needed."""
    counted = _counted(costs, tiles, remakes=remakes)
    num_kept, needed = 1, next(counted)
    for total in counted:
        if total > memory:
            break
        num_kept, needed = num_kept + 1, total
    return num_kept, math.ceil(needed)


def _counted(costs: Costs, tiles: Sequence[Tile], *, remakes: bool) -> Iterator[float]:
    """The bytes needed where one graph is kept, where two are, and so on."""
    each = _bytes_each(tiles, costs.graphs[remakes])
    most = max(tile.region.num_pixels for tile in tiles) * costs.besides[remakes]
    # Lines that wait for the second walk, and those that are handed on meanwhile.
    seams = [_incoming(tile) * costs.seam for tile in tiles]
    waiting = sum(seams) + _in_flight(tiles) * costs.seam
    graphs, largest = 0.0, max(each)
    for one, seam in zip(reversed(each), reversed(seams), strict=True):
        graphs += one
        waiting -= seam
        yield most + max(graphs, largest) + waiting


def _incoming(tile: Tile) -> int:
    """Pixels of the lines before a tile."""
    (above, _), (left, _) = tile.meets
    height, width = tile.region.size
    return above * width + left * height


def _in_flight(tiles: Sequence[Tile]) -> int:
    """Pixels of the lines around a row of tiles."""
    if len(tiles) == 1:
        return 0
    width = max(tile.region.columns.stop for tile in tiles)
    return width + max(tile.region.rows.length for tile in tiles)


def smaller_plan(costs: Costs, size: tuple[int, int], plan: TilePlan) -> TilePlan:
    """What to try when there was less memory than a plan takes: fewer graphs, then other tiles.

    Raises:
        TileMemoryError: if no tiles take clearly less.
    """
    if plan.num_kept > 1:
        return replace(plan, num_kept=plan.num_kept // 2)
    memory = int(costs.bytes_needed(plan) * _LESS)
    return plan_tiles(costs, size, memory=memory, is_open=plan.is_open)


def within_memory(
    attempt: Callable[[TilePlan], Result],
    plan: TilePlan,
    smaller: Callable[[TilePlan], TilePlan],
) -> tuple[Result, TilePlan]:
    """Try a plan, and ever smaller ones from their start where memory runs out.

    Args:
        attempt: what takes a plan; broken off, it must leave no trace.
        plan: the first to try.
        smaller: what to try next; raises `TileMemoryError` if nothing is left.

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
                plan = smaller(plan)
            except TileMemoryError:
                raise ConfigError(
                    f"out of memory with tiles of {plan.side} px: give a smaller `size`"
                ) from None


def replan(
    costs: Costs, size: tuple[int, int], plan: TilePlan, *, side: int, num_kept: int
) -> TilePlan:
    """The tiles of an earlier run instead of those of a plan, which are returned if they agree."""
    if (plan.side, plan.num_kept) == (side, num_kept):
        return plan
    tiles = grid(size, side, halo=costs.halo, alignment=costs.alignment, is_open=plan.is_open)
    return TilePlan(tiles, side, num_kept, plan.bytes_needed, len(tiles) > 1)


def _allowed(costs: Costs, size: tuple[int, int], side: int) -> int:
    """The largest side up to one at which no tile has too many pixels."""
    tiles = partial(grid, size, halo=costs.halo, alignment=costs.alignment)
    while side**2 > costs.most_pixels:
        if max(tile.region.num_pixels for tile in tiles(side)) <= costs.most_pixels:
            break
        side = _smaller(side, costs.alignment)
    return side


def _smaller(side: int, alignment: int) -> int:
    """The next side to try: about 6% less."""
    return min(round_up(int(side * 0.94), alignment), side - alignment)
