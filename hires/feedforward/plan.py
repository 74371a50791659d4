"""How a picture of any size goes through a network that normalises: which passes, what is kept.

A normalisation needs the statistics of the whole feature map before anything above it can be
computed. So there is a pass over the picture for every normalisation, and a last one for the
result. A pass starts from the output that was last *kept* (at first the picture itself) and
computes again what lies between. Arithmetic only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from hires.config.values import format_bytes
from hires.errors import ConfigError
from hires.features.costs import MOST_VALUES
from hires.feedforward.stages import InputSpan, Stage
from hires.kernels.sums import GPU_BLOCK
from hires.tiling.geometry import Region, Span, even_spans

Size = tuple[int, int]

# Index of the picture itself, before the first stage.
PICTURE = -1
# Shares of the memory for what is kept, and for a tile while it is computed. The rest is for the
# program itself and for what its libraries take besides.
_KEPT_SHARE, _TILE_SHARE = 0.72, 0.0625
# What a GPU takes of a map besides while it sums a block of it, in bytes of each value.
_SUMMED_BYTES = 12
# Below this side, in positions of the stage's output, the halo is most of the work.
MIN_TILE = 32


@dataclass(frozen=True)
class Geometry:
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
        """Size of the output of every stage; of the last one only what the result shows."""
        found, (height, width) = [], self.size
        for stage in self.stages:
            height, width = stage.length(height), stage.length(width)
            found.append((height, width))
        return (*found[:-1], (self.size[0] * self.factor, self.size[1] * self.factor))

    @property
    def last(self) -> int:
        """Index of the last stage."""
        return len(self.stages) - 1

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
        return channels * math.prod(self.sizes[index])

    def replaces(self, old: int, new: int) -> bool:
        """Whether what is kept of a stage can take the place of what was kept of another."""
        if old == PICTURE or self.sizes[old] != self.sizes[new]:
            return False
        return self.stages[old].after == self.stages[new].after

    def values_while(self, old: int, new: int) -> int:
        """Numbers held while a stage is kept in place of, or beside, what was kept before it."""
        before, after = self.values(old), self.values(new)
        return max(before, after) if self.replaces(old, new) else before + after

    def work(self, start: int, stop: int) -> float:
        """Multiply-adds from what is kept of a stage to the output of another, without halos."""
        return sum(
            float(self.stages[i].multiply_adds * math.prod(self.sizes[i]))
            for i in range(start + 1, stop + 1)
        )

    def regions(self, tile: Region, start: int, stop: int) -> tuple[Region, ...]:
        """What a tile of a stage's output needs of each stage from ``start`` to ``stop``."""
        found = [tile]
        for i in range(stop, start, -1):
            rows, columns = self.input_spans(found[0], i)
            found.insert(0, Region(rows.span, columns.span))
        return tuple(found)

    def input_spans(self, region: Region, index: int) -> tuple[InputSpan, InputSpan]:
        """What the rows and columns of a region of a stage's output read."""
        height, width = self.size if index == 0 else self.sizes[index - 1]
        stage = self.stages[index]
        return stage.input_span(region.rows, height), stage.input_span(region.columns, width)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the picture: from what was kept of a stage to the output of another.

    Attributes:
        start: the first of them, or `PICTURE`.
        stop: the last.
        keep: whether its output is kept.
        tile: ``(height, width)`` of the largest tile, in positions of the output.
    """

    start: int
    stop: int
    keep: bool
    tile: Size


@dataclass(frozen=True)
class Plan:
    """The passes of a picture, in numbers of ``itemsize`` bytes, on a CPU or a GPU."""

    geometry: Geometry
    passes: tuple[Pass, ...]
    itemsize: int
    on_cpu: bool

    def tiles(self, one: Pass) -> Iterator[list[Region]]:
        """Rows of regions that partition what a pass computes."""
        height, width = self.geometry.sizes[one.stop]
        columns = even_spans(width, one.tile[1])
        for rows in even_spans(height, one.tile[0]):
            yield [Region(rows, span) for span in columns]

    @property
    def num_bytes(self) -> int:
        """Bytes of what is kept and of a tile, at the fullest moment of the passes."""
        fullest, kept = 0, PICTURE
        for one in self.passes:
            held = _held(self.geometry, kept, one)
            kept = one.stop if one.keep else kept
            tile = _tile_bytes(self.geometry, one, one.tile, self.itemsize, on_cpu=self.on_cpu)
            fullest = max(fullest, self.itemsize * held + tile)
        return fullest

    @property
    def work(self) -> float:
        """Multiply-adds of all passes, with what neighbouring tiles compute twice."""
        total = 0.0
        for one in self.passes:
            stages = self.geometry.stages[one.start + 1 : one.stop + 1]
            for tile in (tile for row in self.tiles(one) for tile in row):
                regions = self.geometry.regions(tile, one.start, one.stop)[1:]
                for stage, region in zip(stages, regions, strict=True):
                    total += stage.multiply_adds * region.num_pixels
        return total


def plan_passes(
    geometry: Geometry,
    *,
    itemsize: int,
    memory: int,
    tile: int | None,
    known: bool = False,
    on_cpu: bool = True,
) -> Plan:
    """Choose the passes.

    On a GPU, where a tile costs launches whatever its size, tiles get all the memory that is left
    of what is kept, as long as no map of one has more values than cuDNN counts. What is kept may
    have: it is only copied from and to.

    Args:
        geometry: the way of the picture.
        itemsize: bytes of a number.
        memory: budget in bytes, for what is kept and for tiles.
        tile: largest side of a tile, in pixels of the picture; None for as memory allows.
        known: whether all statistics are known, so that one pass does it.
        on_cpu: whether a CPU computes.

    Raises:
        ConfigError: if the memory does not hold one tile; the message names an amount that does.
    """
    enough = memory
    while (passes := _passes(geometry, itemsize, enough, tile, known, on_cpu)) is None:
        enough = int(enough * 1.2) + 2**20
    if enough == memory:
        return Plan(geometry, passes, itemsize, on_cpu)
    raise ConfigError(
        f"`memory={format_bytes(memory)}` is too small for a tile of this picture:"
        f" give at least {-(-enough // 2**20)}MiB" + (" or a smaller `tile`" if tile else "")
    )


def _passes(
    geometry: Geometry, itemsize: int, memory: int, tile: int | None, known: bool, on_cpu: bool
) -> tuple[Pass, ...] | None:
    """The passes, or None if the memory does not hold a tile of one of them."""
    normalised = [i for i, stage in enumerate(geometry.stages) if stage.norm and not known]
    kept = kept_stages(geometry, normalised, int(memory * _KEPT_SHARE) // itemsize)
    passes, start = [], PICTURE
    for index in [*normalised, geometry.last]:
        one = Pass(start, index, index in kept, geometry.sizes[index])
        left = memory - itemsize * _held(geometry, start, one)
        share = int(memory * _TILE_SHARE) if on_cpu else left
        size = _tile_size(geometry, one, itemsize, share, tile, on_cpu=on_cpu)
        if size is None:
            return None
        passes.append(replace(one, tile=size))
        start = index if one.keep else start
    return tuple(passes)


def kept_stages(geometry: Geometry, normalised: list[int], most: int) -> list[int]:
    """Which normalised stages to keep: all that fit, as ``most`` numbers, beside the one before.

    Most of the work lies where the map is smallest, in the residual blocks. So no earlier, larger
    map is kept beside which that one would not fit.
    """
    kept: list[int] = []
    smallest = min(normalised, key=geometry.values, default=PICTURE)
    for index in normalised:
        needed = geometry.values_while(kept[-1] if kept else PICTURE, index)
        if index < smallest:
            needed = max(needed, geometry.values_while(index, smallest))
        if needed <= most:
            kept.append(index)
    return kept


def _held(geometry: Geometry, kept: int, one: Pass) -> int:
    """Numbers held during a pass, where what is kept of a stage was kept before it."""
    return geometry.values_while(kept, one.stop) if one.keep else geometry.values(kept)


def _tile_size(
    geometry: Geometry, one: Pass, itemsize: int, memory: int, tile: int | None, *, on_cpu: bool
) -> Size | None:
    """The largest tile that fits, found by halving its longer side; None if none does."""
    height, width = rows, columns = one.tile
    if tile is not None:
        limit = max(round(tile * width / geometry.size[1]), 1)
        rows, columns = min(rows, limit), min(columns, limit)
    least = MIN_TILE if tile is None else min(rows, columns, MIN_TILE)
    waits = one.keep and geometry.replaces(one.start, one.stop)
    while True:
        # What replaces its own source waits until two rows of tiles later.
        waiting = 2 * rows / height * geometry.values(one.stop) * itemsize
        waiting = waiting if waits and rows < height else 0
        needed = _tile_bytes(geometry, one, (rows, columns), itemsize, on_cpu=on_cpu) + waiting
        is_counted = on_cpu or _most_values(geometry, one, (rows, columns)) <= MOST_VALUES
        if needed <= memory and is_counted:
            return rows, columns
        if max(rows, columns) <= least:
            return None
        if rows > least and (rows >= columns or waiting > memory / 2 or columns <= least):
            rows = max(-(-rows // 2), least)
        else:
            columns = max(-(-columns // 2), least)


def _tile_bytes(geometry: Geometry, one: Pass, tile: Size, itemsize: int, *, on_cpu: bool) -> int:
    """Bytes at the fullest moment of a tile's way, for a tile in the middle of the picture."""
    regions = _middle_regions(geometry, one, tile)
    fullest = 0
    for i, (before, after) in enumerate(pairwise(regions), one.start + 1):
        stage = geometry.stages[i]
        # The input twice (as loaded or normalised, and enlarged or padded), the output three
        # times (as computed, normalised, and widened where it is summed), an open residual.
        copies = 1 + stage.enlarge**2 + (geometry.opener(i) is not None)
        needed = before.num_pixels * stage.before * copies + 3 * after.num_pixels * stage.after
        fullest = max(fullest, needed)
    last = one.stop == geometry.last
    fullest *= max(itemsize, 4 if last else itemsize)
    if on_cpu:
        return fullest
    if last:
        # The last convolution reads a wider copy.
        narrow = regions[-2].num_pixels * geometry.stages[-1].before if itemsize < 4 else 0
        return fullest + itemsize * narrow
    summed = regions[-1].num_pixels * geometry.stages[one.stop].after
    return fullest + _SUMMED_BYTES * min(summed, GPU_BLOCK)


def _most_values(geometry: Geometry, one: Pass, tile: Size) -> int:
    """Of the largest map on a tile's way."""
    regions = _middle_regions(geometry, one, tile)
    stages = geometry.stages[one.start + 1 : one.stop + 1]
    return max(
        max(before.num_pixels * stage.enlarge**2 * stage.before, after.num_pixels * stage.after)
        for stage, (before, after) in zip(stages, pairwise(regions), strict=True)
    )


def _middle_regions(geometry: Geometry, one: Pass, tile: Size) -> tuple[Region, ...]:
    """What a tile in the middle of the picture needs of every stage of a pass."""
    height, width = geometry.sizes[one.stop]
    top, left = (height - tile[0]) // 2, (width - tile[1]) // 2
    region = Region(Span(top, top + tile[0]), Span(left, left + tile[1]))
    return geometry.regions(region, one.start, one.stop)
