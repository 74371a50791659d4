"""Which rows of a canvas each process answers for, and which ones it sees besides. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hires.errors import ConfigError
from hires.tiling.geometry import Span

# Bands are cut at multiples of so many rows, the deepest layer's stride: no pooling window is cut
# in two, and terms that look at smaller pictures find whole squares.
UNIT = 16


@dataclass(frozen=True, slots=True)
class Band:
    """The rows of a canvas that one process has.

    Attributes:
        own: those that it answers for: their positions count, and it moves their pixels.
        seen: those and a strip above and below, where the canvas goes on.
    """

    own: Span
    seen: Span

    def rows(self, stride: int) -> Span:
        """Its own rows of a layer with this stride, counted from the first that it sees."""
        first, own = self.seen.start // stride, rows_of_layer(self.own, stride)
        return Span(own.start - first, own.stop - first)


def even_bands(height: int, num_bands: int) -> tuple[Span, ...]:
    """Cut the rows of a canvas into nearly equal bands, at multiples of `UNIT`.

    Raises:
        ConfigError: if there are too few rows.
    """
    num_units = height // UNIT
    if num_units < num_bands:
        raise ConfigError(
            f"a canvas of {height} rows has {num_units} bands of {UNIT}, and {num_bands} processes"
            f" paint it: start at most {num_units}, or give a larger `min_size`"
        )
    cuts = [num_units * i // num_bands * UNIT for i in range(num_bands)]
    return tuple(Span(start, stop) for start, stop in pairwise([*cuts, height]))


def rows_of_layer(rows: Span, stride: int) -> Span:
    """Those of a layer with this stride that lie in some rows of a canvas."""
    return Span(rows.start // stride, rows.stop // stride)


def stride_of(height: int, num_rows: int) -> int:
    """The stride of a layer, a power of two, that has so many of a canvas's rows."""
    return 1 << (height // num_rows).bit_length() - 1


def seen_by(own: Span, height: int, strip: int) -> Span:
    """The rows of a band and ``strip`` more on either side, as far as the canvas goes."""
    return Span(max(own.start - strip, 0), min(own.stop + strip, height))


def overlap(one: Span, other: Span) -> Span | None:
    """The rows that two spans have in common; None if they have none."""
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    return Span(start, stop) if start < stop else None
