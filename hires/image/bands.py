"""Pictures of libvips in bands of rows: no copy of the whole.

libvips runs in a thread of its own at the other end of a pipe. Torch must stay in the caller's:
PyTorch would give another one a team of OpenMP threads too, and with more of those than cores GNU's
OpenMP stops spinning between two loops. All later work would take up to half as long again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BufferedReader, BufferedWriter
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
from numpy.typing import NDArray

# Rows that are converted at a time: a float copy is 8 MB at A0, and there are a dozen.
BAND_ROWS = 64
_TYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}


def read_bands(image: pyvips.Image) -> Iterator[tuple[int, NDArray[Any]]]:
    """Run the decoder once, from top to bottom.

    Args:
        image: of bytes, 16-bit numbers or floats; read in order, so it may be a sequential one.

    Yields:
        The first row of a band and its values, (rows, W, C), which the next band overwrites.
    """
    rows = min(BAND_ROWS, image.height)
    values = np.empty((rows, image.width, image.bands), _TYPES[image.format])
    reader, writer = _pipe()

    def write(chunk: bytes) -> int:
        # Called from C, where nothing may be raised. Nobody reads on: no byte is accepted.
        with suppress(BrokenPipeError):
            writer.write(chunk)
            return len(chunk)
        return 0

    def decode() -> None:
        target = pyvips.TargetCustom()
        target.on_write(write)
        with suppress(BrokenPipeError), writer:
            image.rawsave_target(target)

    with ThreadPoolExecutor(1, "decoder") as executor, reader:
        decoded = executor.submit(decode)
        for top in range(0, image.height, BAND_ROWS):
            band = values[: image.height - top]
            if reader.readinto(band.data.cast("B")) < band.nbytes:
                break
            yield top, band
        decoded.result()


def stream(chunks: Iterable[bytes], consume: Callable[[pyvips.Source], None]) -> None:
    """Make the bytes of a file here while libvips reads them in another thread."""
    reader, writer = _pipe()

    def encode() -> None:
        source = pyvips.SourceCustom()
        source.on_read(reader.read)
        with reader:
            consume(source)

    with ThreadPoolExecutor(1, "encoder") as executor:
        encoded = executor.submit(encode)
        # Where the pipe breaks, libvips has given up: it says why below.
        with suppress(BrokenPipeError), writer:
            for chunk in chunks:
                writer.write(chunk)
        encoded.result()


def _pipe() -> tuple[BufferedReader, BufferedWriter]:
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb"), os.fdopen(writer, "wb")
