"""Integer geometry of the tile walk: which pixels a tile answers for, and what lies around it.

No torch here. All coordinates are pixels of the canvas, all sizes are ``(height, width)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# Rows and columns that a 3x3 convolution looks at beside the position that it computes.
SEAM = 2


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
    """The pixels that one tile of a canvas answers for.

    Attributes:
        region: its pixels.
        place: its row and column among the tiles.
        goes_on: whether the canvas goes on above and below, left and right of it, in other tiles.
        is_open: whether what goes on above and below is in no other tile. Nothing comes from there:
            features begin and end a position later and earlier with every convolution.
    """

    region: Region
    place: tuple[int, int] = (0, 0)
    goes_on: tuple[tuple[bool, bool], tuple[bool, bool]] = ((False, False), (False, False))
    is_open: tuple[bool, bool] = (False, False)

    @property
    def meets(self) -> tuple[tuple[bool, bool], tuple[bool, bool]]:
        """Whether there are tiles above and below, left and right of it."""
        (above, below), columns = self.goes_on
        return (above and not self.is_open[0], below and not self.is_open[1]), columns

    @property
    def is_cut(self) -> tuple[bool, bool]:
        """Whether the canvas goes on beyond its rows, and beyond its columns."""
        return any(self.goes_on[0]), any(self.goes_on[1])

    @property
    def read(self) -> Region:
        """Its pixels and the lines before them that its first convolution looks at as well."""
        (above, _), (left, _) = self.meets
        rows, columns = self.region.rows, self.region.columns
        return Region(
            Span(rows.start - SEAM * above, rows.stop),
            Span(columns.start - SEAM * left, columns.stop),
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """Geometry and cost of one layer.

    Attributes:
        stride: pixels of the image per feature.
        halo: how far, in pixels of the image, a feature sees beyond its own ``stride`` pixels.
        channels: number of channels.
        multiply_adds: cost of computing everything up to this layer, per pixel of the image.
    """

    stride: int
    halo: int
    channels: int
    multiply_adds: float


def canvas_window(layer: Layer, tile: Tile) -> tuple[slice, slice]:
    """Where the features of a tile lie in those of the whole canvas.

    Every convolution leaves the last position of a tile to the next one, so that deep layers are
    cut above and left of where the pixels are.
    """
    (rows, columns), region = tile.goes_on, tile.region
    return (
        feature_slice(layer, region.rows, rows, begins_late=tile.is_open[0]),
        feature_slice(layer, region.columns, columns),
    )


def feature_slice(
    layer: Layer, span: Span, goes_on: tuple[bool, bool], *, begins_late: bool = False
) -> slice:
    """Rows or columns of a layer that a tile computes, of all that the canvas has."""
    before, after = goes_on
    lead = -layer.halo if begins_late else layer.halo * before
    return slice(
        (span.start - lead) // layer.stride,
        (span.stop - layer.halo * after) // layer.stride,
    )


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``value``."""
    return -(-value // multiple) * multiple


def even_spans(length: int, side: int) -> tuple[Span, ...]:
    """Cut ``[0, length)`` into nearly equal spans of at most ``side``."""
    num_spans = -(-length // side)
    cuts = [length * i // num_spans for i in range(num_spans + 1)]
    return tuple(Span(start, stop) for start, stop in pairwise(cuts))


def tile_spans(
    length: int,
    side: int,
    *,
    halo: int,
    alignment: int,
    is_open: tuple[bool, bool] = (False, False),
) -> tuple[Span, ...]:
    """Cut ``[0, length)`` into nearly equal spans, so that every layer's features are cut with it.

    A convolution cannot compute what looks beyond the end of a tile, so the features of a tile end
    a position earlier than what they are computed from, at every convolution; the next tile goes on
    there. After a whole number of the deepest layer's cells and its halo no pooling window is cut.

    Args:
        length: of the canvas.
        side: of a span at most, but for the rest of less than ``alignment`` that the last takes,
            and for the first, which is ``halo + alignment`` at least.
        halo: how far the deepest layer sees.
        alignment: stride of the deepest layer.
        is_open: see `Tile`. At an end that is open as many pixels as the deepest layer sees are
            computed beyond a whole number of its cells; what there is more is left out.

    Raises:
        ValueError: if ``side`` is smaller than the alignment.
    """
    if side < alignment:
        raise ValueError(f"a tile of {side} px is smaller than the network's stride {alignment}")
    spare = round_up(halo, alignment) - halo
    start, stop = spare * is_open[0], length - spare * is_open[1]
    least = -(-(start + halo) // alignment) + 1 if is_open[0] else 1
    num_spans = -(-(stop - start) // side)
    cuts = [start]
    for i in range(1, num_spans):
        cells = max((start + (stop - start) * i // num_spans - halo) // alignment, least)
        cut = halo + cells * alignment
        if cuts[-1] < cut <= stop - alignment:
            cuts.append(cut)
    return tuple(Span(start, stop) for start, stop in pairwise([*cuts, stop]))


def grid(
    size: tuple[int, int],
    side: int,
    *,
    halo: int,
    alignment: int,
    is_open: tuple[bool, bool] = (False, False),
) -> tuple[Tile, ...]:
    """Cover a canvas with tiles, row by row, as `tile_spans` cuts its sides.

    Args:
        size: ``(height, width)`` of the canvas in pixels.
        side: largest side of a tile.
        halo: how far the deepest layer sees, in pixels.
        alignment: stride of the deepest layer.
        is_open: whether the canvas goes on above and below, in nobody's tiles; see `Tile`.

    Returns:
        Tiles that partition the canvas exactly, but for what `tile_spans` leaves out at open ends.
    """
    rows = tile_spans(size[0], side, halo=halo, alignment=alignment, is_open=is_open)
    return joined(rows, tile_spans(size[1], side, halo=halo, alignment=alignment), is_open=is_open)


def joined(
    rows: Sequence[Span], columns: Sequence[Span], *, is_open: tuple[bool, bool] = (False, False)
) -> tuple[Tile, ...]:
    """The tiles between cuts, row by row."""
    opens = [(is_open[0] and i == 0, is_open[1] and i == len(rows) - 1) for i in range(len(rows))]
    return tuple(
        Tile(
            Region(row, column),
            (i, j),
            (
                (i > 0 or opens[i][0], i < len(rows) - 1 or opens[i][1]),
                (j > 0, j < len(columns) - 1),
            ),
            opens[i],
        )
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    )
