"""Pictures of libvips as arrays, a band of rows at a time: no copy of the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
from numpy.typing import NDArray

from hires.image.libvips import BAND_ROWS, VIPS_ERRORS

_TYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}

Take = Callable[[int, NDArray[Any]], None]


def for_each_band(image: pyvips.Image, take: Take) -> None:
    """Run the decoder once, from top to bottom.

    Args:
        image: of bytes, 16-bit numbers or floats; read in order, so it may be a sequential one.
        take: gets the first row of a band and its values, (rows, W, C), which are overwritten
            afterwards. What it raises ends the reading and is raised here.
    """
    bands = _Bands(image, take)
    target = pyvips.TargetCustom()
    target.on_write(bands.write)
    try:
        # libvips computes what comes next in threads of its own while a band is taken.
        image.rawsave_target(target)
        bands.finish()
    except VIPS_ERRORS:
        if bands.error is None:
            raise
    if bands.error is not None:
        raise bands.error


class _Bands:
    """Bytes as they come, made into bands of rows."""

    def __init__(self, image: pyvips.Image, take: Take) -> None:
        shape = (min(BAND_ROWS, image.height), image.width, image.bands)
        self._values = np.empty(shape, _TYPES[image.format])
        self._bytes = self._values.reshape(-1).view(np.uint8)
        self._take = take
        self._top = self._filled = 0
        self.error: BaseException | None = None

    def write(self, chunk: bytes) -> int:
        """Called from C, where nothing may be raised: an error is kept, and no byte accepted."""
        if self.error is not None:
            return 0
        try:
            given = np.frombuffer(chunk, np.uint8)
            for start in range(0, len(given), len(self._bytes)):
                self._put(given[start : start + len(self._bytes)])
        except BaseException as error:
            self.error = error
            return 0
        return len(given)

    def _put(self, part: NDArray[np.uint8]) -> None:
        """Lay no more bytes than a band holds behind those that are there."""
        first = part[: len(self._bytes) - self._filled]
        rest = part[len(first) :]
        self._bytes[self._filled : self._filled + len(first)] = first
        self._filled += len(first)
        if self._filled == len(self._bytes):
            self.finish()
            self._bytes[: len(rest)] = rest
            self._filled = len(rest)

    def finish(self) -> None:
        """Hand over the rows that are there."""
        rows = self._values[: self._filled * len(self._values) // len(self._bytes)]
        if len(rows):
            self._take(self._top, rows)
        self._top, self._filled = self._top + len(rows), 0
