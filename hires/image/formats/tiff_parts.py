"""A TIFF file of strips as several smaller ones, which can be decoded at the same time.

Strips are compressed each for itself (TIFF 6.0), but libtiff reads them one after the other. Each
part has the tags of the whole and some of its strips, byte for byte.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hires.image.formats.tiff import header

_HEIGHT, _COMPRESSION, _OFFSETS, _ROWS, _COUNTS, _PLANES = 257, 259, 273, 278, 279, 284
# None, LZW, Deflate by both its numbers, PackBits: nothing is shared by strips.
_APART = (1, 5, 8, 32946, 32773)
# Directories elsewhere in the file: smaller copies, EXIF, GPS.
_ELSEWHERE = {330, 34665, 34853}
_LONG = 4
_TYPES = {
    1: "B",
    2: "B",
    3: "H",
    4: "I",
    5: "2I",
    6: "b",
    7: "B",
    8: "h",
    9: "i",
    10: "2i",
    11: "f",
    12: "d",
}
_MOST_TAGS, _MOST_BYTES, _MOST_STRIPS = 4096, 2**24, 2**20


@dataclass(frozen=True, slots=True)
class TiffParts:
    """The first picture of a file, cut between strips.

    Attributes:
        path: the file.
        order: of bytes, as `struct` writes it.
        tags: type, count and bytes of each value.
        strips: where each begins, and how many bytes it has.
        num_rows: of a strip.
        height: of the picture, as it is stored.
    """

    path: Path
    order: str
    tags: dict[int, tuple[int, int, bytes]]
    strips: tuple[tuple[int, int], ...]
    num_rows: int
    height: int

    def cut(self, least: int, multiple: int) -> list[Callable[[], bytes]]:
        """What reads each part, as a TIFF file of its own; from the top.

        Args:
            least: rows that a part has, at least.
            multiple: rows of all parts but the last are a multiple of it.
        """
        step = multiple // math.gcd(multiple, self.num_rows)  # in strips
        step *= max(math.ceil(least / (step * self.num_rows)), 1)
        starts = range(0, len(self.strips), step)
        return [lambda at=at: self._part(at, at + step) for at in starts]  # type: ignore[misc]

    def _part(self, start: int, stop: int) -> bytes:
        strips = self.strips[start:stop]
        height = min(stop * self.num_rows, self.height) - start * self.num_rows
        with self.path.open("rb") as file:
            data = []
            for place, size in strips:
                file.seek(place)
                data.append(file.read(size))
        places, at = [], 8
        for strip in data:
            places.append(at)
            at += len(strip)
        changed = {_HEIGHT: [height], _OFFSETS: places, _COUNTS: [len(strip) for strip in data]}
        tags = self.tags | {tag: self._longs(values) for tag, values in changed.items()}
        return self._file(b"".join(data), tags)

    def _longs(self, values: list[int]) -> tuple[int, int, bytes]:
        return _LONG, len(values), struct.pack(f"{self.order}{len(values)}I", *values)

    def _file(self, strips: bytes, tags: dict[int, tuple[int, int, bytes]]) -> bytes:
        start = 8 + len(strips) + len(strips) % 2
        more, end = b"", start + 2 + 12 * len(tags) + 4
        directory = struct.pack(f"{self.order}H", len(tags))
        for tag in sorted(tags):
            kind, count, value = tags[tag]
            place = value.ljust(4, b"\0")
            if len(value) > 4:
                place = struct.pack(f"{self.order}I", end + len(more))
                more += value + bytes(len(value) % 2)
            directory += struct.pack(f"{self.order}HHI", tag, kind, count) + place
        mark = b"II*\0" if self.order == "<" else b"MM\0*"
        head = mark + struct.pack(f"{self.order}I", start)
        return head + strips + bytes(len(strips) % 2) + directory + bytes(4) + more


def tiff_parts(path: Path) -> TiffParts | None:
    """Cut a file; None for one of tiles, of one strip, of another kind, or damaged."""
    with suppress(OSError, KeyError, ValueError, IndexError, struct.error):
        return _cut(path)
    return None


def _cut(path: Path) -> TiffParts | None:
    with path.open("rb") as file:
        order, is_big, start = header(file)
        if is_big:
            return None
        file.seek(start)
        (count,) = struct.unpack(f"{order}H", file.read(2))
        if count > _MOST_TAGS:
            return None
        entries = [file.read(12) for _ in range(count)]
        tags: dict[int, tuple[int, int, bytes]] = {}
        for entry in entries:
            tag, kind, length = struct.unpack(f"{order}HHI", entry[:8])
            size = length * struct.calcsize(f"{order}{_TYPES[kind]}")
            if tag in _ELSEWHERE:
                continue
            if size > _MOST_BYTES:
                return None
            value = entry[8 : 8 + size]
            if size > 4:
                file.seek(*struct.unpack(f"{order}I", entry[8:]))
                value = file.read(size)
            tags[tag] = kind, length, value

    def numbers(tag: int) -> tuple[int, ...]:
        kind, length, value = tags[tag]
        found: tuple[int, ...] = struct.unpack(f"{order}{length}{_TYPES[kind]}", value)
        return found

    height, rows = numbers(_HEIGHT)[0], numbers(_ROWS)[0]
    strips = tuple(zip(numbers(_OFFSETS), numbers(_COUNTS), strict=True))
    is_apart = numbers(_COMPRESSION)[0] in _APART
    is_together = _PLANES not in tags or numbers(_PLANES)[0] == 1
    if not (is_apart and is_together and 1 < len(strips) == -(-height // rows) <= _MOST_STRIPS):
        return None
    most = path.stat().st_size
    if any(place + size > most for place, size in strips):
        return None
    return TiffParts(path, order, tags, strips, rows, height)
