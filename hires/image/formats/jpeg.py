"""The segments in front of a JPEG's pixels: density, EXIF and XMP, as readers expect them.

Density is told twice: many decoders look at JFIF alone, which libvips leaves out beside EXIF.
"""

import hashlib
import shutil
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyvips  # type: ignore[import-untyped]

from hires.image.metadata.xmp import XmpError, extension, joined, split

_START, _APP0, _APP1, _COMMENT = b"\xff\xd8", 0xE0, 0xE1, 0xFE
_JFIF = b"JFIF\0"
_XMP, _EXTENDED_XMP = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_MOST_PACKET_BYTES = 65_502
_PART_BYTES = 65_400


def complete(source: Path, target: Path, dpi: float | None, xmp: bytes | None) -> None:
    """Copy a JPEG file, with a density and metadata in front.

    Args:
        source: the file, with or without EXIF.
        target: the copy.
        dpi: pixels per inch, None if the file will not tell. JFIF holds whole numbers: it gets the
            nearest, of what EXIF tells exactly.
        xmp: a packet of any length, None for none.

    Warns:
        UserWarning: for a packet beyond 64 KB that is no XMP; it is left out.
    """
    density = (0, 1) if dpi is None else (1, min(max(round(dpi), 1), 65_535))
    parts = [(_APP0, _JFIF + struct.pack(">HBHHBB", 0x0102, *density, density[1], 0, 0))]
    with source.open("rb") as file, target.open("wb") as copy:
        found = [*_segments(file)]
        exif = [part for part in found if part[0] == _APP1]
        others = [part for part in found if part[0] not in (_APP0, _APP1)]
        copy.write(_START)
        for marker, body in (*parts, *exif, *_packets(xmp), *others):
            copy.write(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body)
        shutil.copyfileobj(file, copy, 2**20)


def read_xmp(path: Path) -> bytes | None:
    """The packet of a JPEG file, put together if it is spread; what is damaged of it is left out.

    Raises:
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        segments = [body for marker, body in _segments(file) if marker == _APP1]
    packet = next((body[len(_XMP) :] for body in segments if body.startswith(_XMP)), None)
    name = None if packet is None else extension(packet)
    if packet is None or name is None:
        return packet
    head = _EXTENDED_XMP + name.encode()
    end = len(head) + 8  # lengths of the whole and of what comes before
    parts = {body[end - 4 : end]: body[end:] for body in segments if body.startswith(head)}
    rest = b"".join(parts[offset] for offset in sorted(parts))
    if hashlib.md5(rest, usedforsecurity=False).hexdigest().upper() != name.upper():
        return packet
    try:
        return joined(packet, rest)
    except XmpError:
        return packet


def packet_of(image: pyvips.Image, path: Path) -> bytes | None:
    """The packet of an opened picture, whatever its format; None without one."""
    if "xmp-data" not in image.get_fields():
        return None
    if str(image.get("vips-loader")).startswith("jpeg"):
        return read_xmp(path)
    return bytes(image.get("xmp-data"))


def _packets(xmp: bytes | None) -> list[tuple[int, bytes]]:
    if xmp is None or len(xmp) <= _MOST_PACKET_BYTES:
        return [] if xmp is None else [(_APP1, _XMP + xmp)]
    try:
        first, rest, name = split(xmp, _MOST_PACKET_BYTES)
    except XmpError as error:
        warnings.warn(
            f"the metadata has {len(xmp) / 1000:.0f} kB, more than a JPEG holds in one piece, and"
            f" is no XMP that can be split ({error}): left out; give well-formed XMP, or save a"
            " .png",
            stacklevel=5,
        )
        return []
    head = _EXTENDED_XMP + name.encode() + struct.pack(">I", len(rest))
    starts = range(0, len(rest), _PART_BYTES)
    parts = (struct.pack(">I", start) + rest[start : start + _PART_BYTES] for start in starts)
    return [(_APP1, _XMP + first), *((_APP1, head + part) for part in parts)]


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Markers and bodies up to the first that is neither an application's nor a comment."""
    file.seek(len(_START))
    while True:
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or not (0xE0 <= head[1] <= 0xEF or head[1] == _COMMENT):
            file.seek(-len(head), 1)
            return
        yield head[1], file.read(max(struct.unpack(">H", head[2:])[0] - 2, 0))
