"""Integer geometry of the tile walk: which pixels a tile answers for and which it must see.

No torch here. All coordinates are pixels of the canvas, all sizes are ``(height, width)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open interval ``[start, stop)`` of rows or columns."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of pixels in the interval."""
        return self.stop - self.start

    @property
    def slice(self) -> slice:
        """The interval as an index."""
        return slice(self.start, self.stop)


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of pixels: a span of rows and a span of columns."""

    rows: Span
    columns: Span

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""
        return self.rows.length, self.columns.length

    @property
    def num_pixels(self) -> int:
        """Height times width."""
        return self.rows.length * self.columns.length

    @property
    def index(self) -> tuple[slice, slice]:
        """Index of the last two dimensions of a tensor: ``tensor[..., *region.index]``."""
        return self.rows.slice, self.columns.slice


@dataclass(frozen=True, slots=True)
class Tile:
    """The pixels a tile answers for (`core`) inside the pixels it reads (`padded`).

    ``bordered`` says, for rows and for columns, whether the padded region was cut at the border of
    the canvas. A bordered axis keeps the network's own padding on both sides; on any other axis the
    network runs without padding, and the features shrink towards the core as the layers go up.
    """

    core: Region
    padded: Region
    bordered: tuple[bool, bool]


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``value``."""
    return -(-value // multiple) * multiple


def core_spans(length: int, core: int, alignment: int) -> tuple[Span, ...]:
    """Cut ``[0, length)`` into nearly equal spans of at most ``core`` that start on the alignment.

    The last span also takes what is left over after the last aligned pixel, on top of ``core``, so
    that no span is a sliver that the deepest layer cannot see.

    Raises:
        ValueError: if ``core`` is smaller than the alignment.
    """
    if core < alignment:
        raise ValueError(f"a tile of {core} px is smaller than the network's stride {alignment}")
    num_cells = max(length // alignment, 1)
    num_spans = min(-(-length // core), num_cells)
    starts = [num_cells * i // num_spans * alignment for i in range(num_spans)]
    stops = [*starts[1:], length]
    return tuple(Span(start, stop) for start, stop in zip(starts, stops, strict=True))


def pad_span(core: Span, length: int, halo: int, alignment: int) -> tuple[Span, bool]:
    """Grow a core by its halo, cut at the border; also say whether the border did cut it.

    A bordered span starts on the alignment, because there the pooling windows of the tile must fall
    where those of the whole canvas fall. A free span needs its exact halo only: unpadded
    convolutions use it up layer by layer and every pooling window lands on the grid by itself.
    """
    if core.start - halo >= 0 and core.stop + halo <= length:
        return Span(core.start - halo, core.stop + halo), False
    start = max(core.start - round_up(halo, alignment), 0)
    return Span(start, min(core.stop + halo, length)), True


def grid(
    size: tuple[int, int], *, core: int | tuple[int, int], halo: int, alignment: int
) -> tuple[Tile, ...]:
    """Cover a canvas with tiles, row by row.

    Args:
        size: ``(height, width)`` of the canvas in pixels.
        core: largest side of a core in pixels, or ``(height, width)`` of it.
        halo: how far the deepest layer sees beyond a core, in pixels.
        alignment: stride of the deepest layer; cores start on multiples of it.

    Returns:
        Tiles whose cores partition the canvas exactly.
    """
    height, width = size
    core_height, core_width = (core, core) if isinstance(core, int) else core
    rows = [
        (span, *pad_span(span, height, halo, alignment))
        for span in core_spans(height, core_height, alignment)
    ]
    columns = [
        (span, *pad_span(span, width, halo, alignment))
        for span in core_spans(width, core_width, alignment)
    ]
    return tuple(
        Tile(Region(row, column), Region(row_padded, column_padded), (row_cut, column_cut))
        for row, row_padded, row_cut in rows
        for column, column_padded, column_cut in columns
    )


def bands(size: tuple[int, int], max_pixels: int) -> Iterator[Region]:
    """Cut a canvas into full-width bands of at most ``max_pixels`` (at least one row each)."""
    height, width = size
    step = max(max_pixels // width, 1)
    for start in range(0, height, step):
        yield Region(Span(start, min(start + step, height)), Span(0, width))
