"""How a picture of any size goes through a network that normalises: which walks, what is kept.

A normalisation needs the statistics of the whole feature map before anything above it can be
computed. So the picture is walked once for every normalisation, and a last time for the result. A
walk starts from what is *kept* of an earlier one (at first the picture itself) and recomputes what
lies between. The more is kept, the less is computed twice; how much may be kept is the user's
choice. `plan_walks` finds the cheapest walks that fit. Arithmetic only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from hires.config.values import format_bytes
from hires.errors import ConfigError
from hires.feedforward.network import Reach, Stage
from hires.tiling.geometry import Region, Span, even_spans

Size = tuple[int, int]

# Index of the picture itself, before the first stage.
PICTURE = -1
# Shares of the memory for what is kept, and for a tile while it is computed. The rest is for the
# program itself and for what its libraries take besides.
_KEPT_SHARE, _TILE_SHARE = 0.72, 0.0625
# Below this side, in positions of the stage's output, the halo is most of the work.
MIN_CORE = 32


@dataclass(frozen=True)
class Course:
    """The stages of a network and the sizes that a picture takes on its way through them.

    Attributes:
        stages: the stages, in order.
        size: ``(height, width)`` of the picture.
        factor: how many times larger the result is.
    """

    stages: tuple[Stage, ...]
    size: Size
    factor: int

    @cached_property
    def sizes(self) -> tuple[Size, ...]:
        """Size of the output of every stage; that of the last may exceed the result's."""
        found, size = [], self.size
        for stage in self.stages:
            size = stage.length(size[0]), stage.length(size[1])
            found.append(size)
        return tuple(found)

    @property
    def last(self) -> int:
        """Index of the last stage."""
        return len(self.stages) - 1

    def size_of(self, index: int) -> Size:
        """Size of what a stage, or `PICTURE`, puts out."""
        return self.size if index == PICTURE else self.sizes[index]

    def walked_size(self, index: int) -> Size:
        """Size of what a walk to a stage covers: of the last one, only what the result shows."""
        if index == self.last:
            return self.size[0] * self.factor, self.size[1] * self.factor
        return self.sizes[index]

    def stride(self, index: int) -> int:
        """Pixels of the picture from a position of a stage's output to the next."""
        stages = self.stages[: index + 1]
        return math.prod(one.stride for one in stages) // math.prod(one.enlarge for one in stages)

    def opener(self, index: int) -> int | None:
        """The stage that opened the residual connection in which a stage lies, if any."""
        for i in range(index, PICTURE, -1):
            if self.stages[i].opens:
                return i
            if self.stages[i].closes and i != index:
                return None
        return None

    def values(self, index: int) -> int:
        """Numbers to keep of a stage: its output and the open residual connection."""
        if index == PICTURE:
            return 0
        opener = self.opener(index)
        channels = self.stages[index].after
        channels += 0 if opener is None else self.stages[opener].before
        height, width = self.sizes[index]
        return channels * height * width

    def replaces(self, old: int, new: int) -> bool:
        """Whether what is kept of a stage can take the place of what was kept of another."""
        if old == PICTURE or self.sizes[old] != self.sizes[new]:
            return False
        return self.stages[old].after == self.stages[new].after

    def work(self, start: int, stop: int) -> float:
        """Multiply-adds from what is kept of a stage to the output of another, without halos."""
        total = 0.0
        for i in range(start + 1, stop + 1):
            height, width = self.walked_size(i)
            total += self.stages[i].multiply_adds * height * width
        return total

    def regions(self, core: Region, start: int, stop: int) -> tuple[Region, ...]:
        """What a region of a stage's output needs of every stage from ``start`` on.

        Returns:
            A region of the output of each stage from ``start`` to ``stop``; the last is the core.
        """
        found = [core]
        for i in range(stop, start, -1):
            rows, columns = self.reaches(found[0], i)
            found.insert(0, Region(rows.span, columns.span))
        return tuple(found)

    def reaches(self, region: Region, index: int) -> tuple[Reach, Reach]:
        """What a region of a stage's output reads along rows and columns."""
        height, width = self.size_of(index - 1)
        stage = self.stages[index]
        return stage.reads(region.rows, height), stage.reads(region.columns, width)


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk over the picture.

    Attributes:
        start: the stage whose output was kept, or `PICTURE`.
        stop: the stage whose output is computed.
        keep: whether that is kept.
        core: ``(height, width)`` of the largest tile, in positions of the output.
    """

    start: int
    stop: int
    keep: bool
    core: Size


def plan_walks(
    course: Course, *, itemsize: int, memory: int, tile: int | None, known: bool = False
) -> tuple[Walk, ...]:
    """Choose the walks.

    Args:
        course: the way of the picture.
        itemsize: bytes of a number.
        memory: budget in bytes, for what is kept and for tiles.
        tile: largest side of a tile, in pixels of the picture; None for as memory allows.
        known: whether all statistics are known, so that one walk does it.

    Raises:
        ConfigError: if the memory does not hold one tile; the message names an amount that does.
    """
    walks = _walks(course, itemsize, memory, tile, known)
    if walks is not None:
        return walks
    enough = memory
    while _walks(course, itemsize, enough, tile, known) is None:
        enough = int(enough * 1.2) + 2**20
    raise ConfigError(
        f"`memory={format_bytes(memory)}` is too small for a tile of this picture:"
        f" give at least {-(-enough // 2**20)}MiB" + (" or a smaller `tile`" if tile else "")
    )


def _walks(
    course: Course, itemsize: int, memory: int, tile: int | None, known: bool
) -> tuple[Walk, ...] | None:
    """The walks, or None if the memory does not hold a tile of one of them."""
    normalised = [i for i, stage in enumerate(course.stages) if stage.norm and not known]
    kept = _cheapest(course, normalised, itemsize, int(memory * _KEPT_SHARE))
    walks, start = [], PICTURE
    for index in [*normalised, course.last]:
        walk = Walk(start, index, index in kept, course.walked_size(index))
        core = _core(course, walk, itemsize, int(memory * _TILE_SHARE), tile)
        if core is None:
            return None
        walks.append(replace(walk, core=core))
        start = index if walk.keep else start
    return tuple(walks)


def _cheapest(
    course: Course, normalised: Sequence[int], itemsize: int, memory: int
) -> frozenset[int]:
    """Which stages to keep, by the shortest path from the picture to the last stage."""
    best: dict[int, tuple[float, frozenset[int]]] = {PICTURE: (0.0, frozenset())}
    for index in [*normalised, course.last]:
        found: list[tuple[float, frozenset[int]]] = []
        for start, (cost, kept) in best.items():
            if index != course.last and _bytes(course, start, index, itemsize) > memory:
                continue
            between = [i for i in normalised if start < i < index]
            work = sum(course.work(start, i) for i in [*between, index])
            found.append((cost + work, kept | {index}))
        if found:
            best[index] = min(found, key=lambda option: option[0])
    return best[course.last][1] - {course.last}


def _bytes(course: Course, old: int, new: int, itemsize: int) -> int:
    """Bytes of what is kept while a walk replaces, or adds to, what an earlier one kept."""
    before, after = course.values(old), course.values(new)
    return itemsize * (max(before, after) if course.replaces(old, new) else before + after)


def _core(course: Course, walk: Walk, itemsize: int, memory: int, tile: int | None) -> Size | None:
    """The largest tile that fits, found by halving a side until it does; None if none does."""
    height, width = walk.core
    rows, columns = height, width
    if tile is not None:
        limit = max(round(tile * width / course.size[1]), 1)
        rows, columns = min(rows, limit), min(columns, limit)
    least = MIN_CORE if tile is None else min(rows, columns, MIN_CORE)
    while True:
        # What replaces its own source waits until two rows of tiles later.
        waits = walk.keep and course.replaces(walk.start, walk.stop) and rows < height
        waiting = 2 * rows / height * course.values(walk.stop) * itemsize if waits else 0
        if _tile_bytes(course, walk, (rows, columns), itemsize) + waiting <= memory:
            return rows, columns
        if max(rows, columns) <= least:
            return None
        if rows > least and (rows >= columns or waiting > memory / 2):
            rows = max(-(-rows // 2), least)
        elif columns > least:
            columns = max(-(-columns // 2), least)
        else:
            rows = least


def _tile_bytes(course: Course, walk: Walk, core: Size, itemsize: int) -> int:
    """Bytes at the fullest moment of a tile's way, for a tile in the middle of the picture."""
    height, width = course.walked_size(walk.stop)
    top, left = (height - core[0]) // 2, (width - core[1]) // 2
    region = Region(Span(top, top + core[0]), Span(left, left + core[1]))
    regions = course.regions(region, walk.start, walk.stop)
    fullest = 0
    for i, (before, after) in enumerate(pairwise(regions), walk.start + 1):
        stage = course.stages[i]
        # The input twice (as loaded or normalised, and enlarged or padded), the output three
        # times (as computed, normalised, and widened where it is summed), an open residual.
        enlarged = before.num_pixels * stage.before * (1 + stage.enlarge**2)
        residual = before.num_pixels * stage.before if course.opener(i) is not None else 0
        fullest = max(fullest, enlarged + residual + 3 * after.num_pixels * stage.after)
    return fullest * max(itemsize, 4 if walk.stop == course.last else itemsize)


def bytes_needed(course: Course, walks: Sequence[Walk], itemsize: int) -> int:
    """Bytes of what is kept and of a tile, at the fullest moment of the walks."""
    fullest, kept = 0, PICTURE
    for walk in walks:
        held = itemsize * course.values(kept)
        if walk.keep:
            held = _bytes(course, walk.start, walk.stop, itemsize)
            kept = walk.stop
        fullest = max(fullest, held + _tile_bytes(course, walk, walk.core, itemsize))
    return fullest


def tiled_work(course: Course, walks: Sequence[Walk]) -> float:
    """Multiply-adds of all walks, with what neighbouring tiles compute twice."""
    total = 0.0
    for walk in walks:
        for row in tiles(course.walked_size(walk.stop), walk.core):
            for core in row:
                regions = course.regions(core, walk.start, walk.stop)[1:]
                for stage, region in zip(course.stages[walk.start + 1 :], regions, strict=False):
                    total += stage.multiply_adds * region.num_pixels
    return total


def tiles(size: Size, core: Size) -> tuple[tuple[Region, ...], ...]:
    """Rows of regions that partition ``(height, width)``, each at most as large as the core."""
    columns = even_spans(size[1], core[1])
    return tuple(
        tuple(Region(rows, column) for column in columns) for rows in even_spans(size[0], core[0])
    )
