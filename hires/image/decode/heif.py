"""What an AVIF or HEIC file says in its boxes of its colours and of how many pictures it holds.

A box is a length, a name of four letters and a body, often of further boxes (ISO/IEC 14496-12).
Those of a picture are named by ISO/IEC 23008-12. Decoders follow the matrix and the range that an
``nclx`` box names; primaries and transfer are left to whoever looks at the picture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from hires.image.colour.code_points import SRGB_TRANSFER, VIDEO_TRANSFERS, coded_profile

_MOST_BYTES = 2**24  # of the boxes beside the pixels
_UNSPECIFIED = 2


def stated_colours(path: Path) -> tuple[bytes | None, tuple[str, ...]]:
    """An ICC profile for what a file without one says.

    Returns:
        The profile, None for sRGB; and what the user should know.
    """
    primaries, transfer = _code(path)
    if primaries == _UNSPECIFIED:
        primaries = 1
    # Phones and encoders name the curves of video cameras for what is meant as sRGB.
    if transfer in (_UNSPECIFIED, *VIDEO_TRANSFERS):
        transfer = SRGB_TRANSFER
    if (primaries, transfer) == (1, SRGB_TRANSFER):
        return None, ()
    found = coded_profile(primaries, transfer)
    if found is None:
        told = f"its colour space (nclx {primaries} {transfer}) is unknown; taken for sRGB"
        return None, (told,)
    return found


def num_frames(path: Path) -> int:
    """Pictures of a sequence, 1 where there is none."""
    counts = [1]
    for track in _named(b"trak", _top(path, b"moov")):
        sizes = track
        for name in (b"mdia", b"minf", b"stbl", b"stsz"):
            sizes = next(_named(name, sizes), b"")
        if len(sizes) >= 12:
            counts.append(struct.unpack(">I", sizes[8:12])[0])
    return max(counts)


def _code(path: Path) -> tuple[int, int]:
    """Primaries and transfer of the primary picture, by the numbers of ITU-T H.273."""
    meta = _top(path, b"meta")[4:]
    properties = next(_named(b"iprp", meta), b"")
    held = [*_boxes(next(_named(b"ipco", properties), b""))]
    primary = next(_named(b"pitm", meta), b"")
    number = int.from_bytes(primary[4:8] if primary[:1] == b"\1" else primary[4:6])
    for indices in _named(b"ipma", properties):
        for index in _associated(indices, number):
            name, body = held[index - 1] if 0 < index <= len(held) else (b"", b"")
            if name == b"colr" and body[:4] == b"nclx" and len(body) >= 8:
                found: tuple[int, int] = struct.unpack(">2H", body[4:8])
                return found
    return _UNSPECIFIED, _UNSPECIFIED


def _associated(body: bytes, number: int) -> list[int]:
    """Which of the properties, counted from 1, an ``ipma`` box gives to an item."""
    if len(body) < 8:
        return []
    version, is_wide = body[0], body[3] & 1
    size, step = (4 if version else 2), (2 if is_wide else 1)
    at = 8
    for _ in range(int.from_bytes(body[4:8])):
        item, count = int.from_bytes(body[at : at + size]), int.from_bytes(body[at + size :][:1])
        at += size + 1
        indices = body[at : at + count * step]
        at += count * step
        if item == number:
            mask = 0x7FFF if is_wide else 0x7F  # The first bit says whether it is essential.
            return [
                int.from_bytes(indices[i : i + step]) & mask for i in range(0, len(indices), step)
            ]
        if at >= len(body):
            break
    return []


def _top(path: Path, wanted: bytes) -> bytes:
    """The body of one of a file's own boxes, empty without it; pixels are passed over."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            body = length - 8
            if length == 1:
                body = int.from_bytes(file.read(8)) - 16
            if name == wanted:
                return file.read(min(body, _MOST_BYTES) if body >= 0 else _MOST_BYTES)
            if not 0 <= body < 2**60:
                break
            file.seek(body, 1)
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        if length < 8:
            return
        yield name, data[at + 8 : at + length]
        at += length


def _named(wanted: bytes, data: bytes) -> Iterator[bytes]:
    return (body for name, body in _boxes(data) if name == wanted)
