"""How a picture becomes a file: streamed to libvips' encoders, and put in place as a whole."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]

from hires.config.paper import MM_PER_INCH
from hires.image.bands import stream
from hires.image.encode.raster import Raster, Sheet
from hires.image.libvips import VIPS_ERRORS, detail_of, first_line, forget_messages
from hires.utils.files import refused, replacing

CLASSIC_TIFF_BYTES = 2**32 - 2**26  # offsets are 32 bit; the margin covers tables and metadata
_SCREEN_DPI = 72.0  # what readers assume of a file that does not tell


def encode(
    sheet: Sheet, path: Path, *, xmp: bytes | None = None, exif: bytes | None = None
) -> None:
    """Write a picture through libvips' streaming encoder, tagged with its colour space.

    Neither the floats nor the integers are copied as a whole: the encoder asks for bands of rows.
    For a PDF, inks are put into a PNG as if the fourth were alpha; it is never seen as a picture.
    """
    file_format = sheet.file_format
    is_bare = sheet.has_inks and file_format.saver == "pngsave"
    options = dict(file_format.options)
    if file_format.saver == "tiffsave":
        options["bigtiff"] = sheet.num_bytes * file_format.growth > CLASSIC_TIFF_BYTES
    fields = {"xmp": xmp, "exif": exif, "icc": None if is_bare else sheet.profile.data}
    keep = [name for name, blob in fields.items() if blob is not None]
    if sheet.profile.data is None:
        options["profile"] = "srgb"
        keep.append("icc")
    if file_format.dpi_in_exif and sheet.dpi is not None and exif is None:
        keep.append("exif")
    rgb = "rgb16" if sheet.bit_depth == 16 else "srgb"
    kind = "cmyk" if sheet.has_inks and not is_bare else rgb
    per_mm = (sheet.dpi or _SCREEN_DPI) / MM_PER_INCH

    def save(pipe: pyvips.Source) -> None:
        image = pyvips.Image.new_from_source(pipe, "", access="sequential", fail_on="error")
        image = image.copy(interpretation=kind, xres=per_mm, yres=per_mm)
        for name, blob in fields.items():
            if blob is not None:
                field = "icc-profile-data" if name == "icc" else f"{name}-data"
                image.set_type(pyvips.GValue.blob_type, field, blob)
        write = getattr(image, file_format.saver)
        write(os.fsencode(path), keep="|".join(keep) or "none", **options)

    stream(_png_chunks(sheet), save)


def _png_chunks(sheet: Sheet) -> Iterator[bytes]:
    """The picture as a PNG without compression: the simplest stream that libvips reads in order."""
    (height, width), num_channels = sheet.size, sheet.num_channels
    kind = 2 if num_channels == 3 else 6
    header = struct.pack(">2I5B", width, height, sheet.bit_depth, kind, 0, 0, 0)
    yield b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
    packer = zlib.compressobj(level=0)
    for band in sheet.bands():
        yield _chunk(b"IDAT", packer.compress(_png_rows(band)))
    yield _chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b"")


def _png_rows(band: Raster) -> bytes:
    """Rows in network byte order, each behind a zero: no filter."""
    big = band.astype(band.dtype.newbyteorder(">"), copy=False)
    plain = big.reshape(len(big), -1).view(np.uint8)
    rows = np.zeros((len(big), 1 + plain.shape[1]), np.uint8)
    rows[:, 1:] = plain
    return rows.tobytes()


def _chunk(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(data, zlib.crc32(name))
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)


@contextmanager
def replacing_picture(path: Path) -> Iterator[Path]:
    """`replacing`, where libvips writes.

    Raises:
        SaveError: if the system refuses.
    """
    forget_messages()
    with replacing(path) as temporary:
        try:
            yield temporary
        except VIPS_ERRORS as error:
            marker = "system error: "
            causes = [line for line in detail_of(error).splitlines() if line.startswith(marker)]
            reason = causes[0].removeprefix(marker) if causes else first_line(error)
            raise refused(path, reason) from error
