"""Which of a TIFF file's pictures is the picture, and what its channels mean; tags of text.

A file may begin with a thumbnail and keep the picture itself on a later page or in a subdirectory
(TIFF 6.0 with supplement 1; the DNG specification builds on both).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

_BITS, _SAMPLE_FORMAT, _PHOTOMETRIC = 258, 339, 262
_OLD_SUBFILE_TYPE, _NUM_SAMPLES = 255, 277
_SUBFILE_TYPE, _SUBDIRECTORIES, _EXTRA_SAMPLES, _DNG_VERSION = 254, 330, 338, 50706
# Of NewSubfileType: a reduced copy, a transparency mask.
_NO_PICTURE = 1 | 4
_CMYK, _CIELAB = 5, 8
_MOSAIC, _LINEAR_RAW = 32803, 34892  # what a sensor saw (TIFF/EP, DNG)
_FLOATS = 3
_MOST_PAGES = 1000
_MOST_TAGS, _MOST_VALUES = 4096, 4096
_TAGS = frozenset(
    {_BITS, _SAMPLE_FORMAT, _PHOTOMETRIC, _OLD_SUBFILE_TYPE, _SUBFILE_TYPE, _SUBDIRECTORIES}
    | {_NUM_SAMPLES, _EXTRA_SAMPLES, _DNG_VERSION}
)
_ASCII = 2  # a type
# Types of whole numbers: BYTE, SHORT, LONG, IFD, and BigTIFF's LONG8 and IFD8.
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True, slots=True)
class TiffPage:
    """One picture of a TIFF file.

    Attributes:
        place: options of libvips' loader that lead to it.
        is_raw: whether it belongs to a raw photograph (DNG, TIFF/EP).
        is_picture: whether it is not marked as a smaller copy or a mask.
        is_cmyk: whether its colours are inks.
        is_lab8: whether they are CIELAB in bytes.
        is_double: whether they are floats of 64 bit.
        bits: per channel.
        num_channels: of colour and further ones; one for a palette.
        is_float: whether they are floats.
        extra_samples: what its further channels are: 0 unspecified, 1 and 2 alpha.
        num_pictures: how many the file holds besides copies.
        num_copies: how many smaller copies and masks it holds.
    """

    place: dict[str, int]
    is_raw: bool = False
    is_picture: bool = True
    is_cmyk: bool = False
    is_lab8: bool = False
    is_double: bool = False
    bits: int = 8
    num_channels: int = 1
    is_float: bool = False
    extra_samples: tuple[int, ...] = ()
    num_pictures: int = 1
    num_copies: int = 0


def picture_page(path: Path) -> TiffPage:
    """The first picture of a TIFF file that is no thumbnail."""
    pages: list[TiffPage] = []
    try:
        with path.open("rb") as file:
            pages.extend(_pages(file))
    except (OSError, KeyError, ValueError, OverflowError, struct.error):
        pass  # A damaged directory is the decoder's to report.
    found = [page for page in pages if page.is_picture]
    first = next(iter([*found, *pages]), TiffPage({}))
    count = max(len(found), 1)
    return replace(
        first,
        is_raw=any(page.is_raw for page in pages),
        num_pictures=count,
        num_copies=max(len(pages) - count, 0),
    )


def add_texts(path: Path, texts: Mapping[int, bytes]) -> None:
    """Give the first picture of a TIFF file tags of text, which libvips does not write.

    Its directory is written anew behind all that is in the file, and the header leads there:
    nothing else is moved or changed.

    Args:
        path: the file.
        texts: what they say by tag, without the zero at their ends.
    """
    with path.open("rb+") as file:
        order, is_big, start = _header(file)
        number, word, size = ("Q", "Q", 20) if is_big else ("H", "I", 12)
        room = struct.calcsize(word)
        file.seek(start)
        (count,) = struct.unpack(order + number, file.read(struct.calcsize(number)))
        old = [file.read(size) for _ in range(count)]
        following = file.read(room)
        entries = {struct.unpack(f"{order}H", entry[:2])[0]: entry for entry in old}
        end = file.seek(0, os.SEEK_END)
        added = bytes(-end % 8)
        for tag, text in texts.items():
            value = text + b"\0"
            place = value.ljust(room, b"\0")
            if len(value) > room:
                place = struct.pack(order + word, end + len(added))
                added += value + bytes(-len(value) % 8)
            entries[tag] = struct.pack(f"{order}HH{word}", tag, _ASCII, len(value)) + place
        directory = struct.pack(order + number, len(entries))
        directory += b"".join(entries[tag] for tag in sorted(entries)) + following
        file.write(added + directory)
        file.seek(8 if is_big else 4)
        file.write(struct.pack(order + word, end + len(added)))


def _header(file: BinaryIO) -> tuple[str, bool, int]:
    """The order of bytes, whether it is a BigTIFF, and where the first directory begins."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}[head[:2]]
    is_big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    (start,) = struct.unpack(order + "IQ"[is_big], head[8:] if is_big else head[4:8])
    return order, is_big, start


def _pages(file: BinaryIO) -> Iterator[TiffPage]:
    order, is_big, start = _header(file)
    seen: set[int] = set()
    while start and start not in seen and len(seen) < _MOST_PAGES:
        place = {"page": len(seen)} if seen else {}
        seen.add(start)
        tags, start = _directory(file, start, order, is_big)
        yield _page(place, tags)
        for index, offset in enumerate(tags.get(_SUBDIRECTORIES, ())):
            yield _page({**place, "subifd": index}, _directory(file, offset, order, is_big)[0])


def _directory(
    file: BinaryIO, start: int, order: str, is_big: bool
) -> tuple[dict[int, tuple[int, ...]], int]:
    """The whole numbers that one directory holds, by tag, and where the next one begins."""
    number, word, room = ("Q", "Q", 8) if is_big else ("H", "I", 4)
    head, size = struct.Struct(f"{order}HH{word}"), 4 + 2 * room
    file.seek(start)
    (count,) = struct.unpack(order + number, file.read(struct.calcsize(number)))
    table = file.read(min(count, _MOST_TAGS) * size)
    (following,) = struct.unpack(order + word, file.read(room))
    tags: dict[int, tuple[int, ...]] = {}
    for at in range(0, len(table), size):
        tag, kind, length = head.unpack(table[at : at + head.size])
        if tag not in _TAGS or kind not in _NUMBERS or length > _MOST_VALUES:
            continue
        form = struct.Struct(f"{order}{length}{_NUMBERS[kind]}")
        place = table[at + head.size : at + size]
        if form.size > room:
            file.seek(*struct.unpack(order + word, place))
            place = file.read(form.size)
        tags[tag] = form.unpack(place[: form.size])
    return tags, following


def _page(place: dict[str, int], tags: dict[int, tuple[int, ...]]) -> TiffPage:
    def number(tag: int, missing: int) -> int:
        return next(iter(tags.get(tag, ())), missing)

    bits, colours, extra = number(_BITS, 1), number(_PHOTOMETRIC, -1), tags.get(_EXTRA_SAMPLES, ())
    is_float = number(_SAMPLE_FORMAT, 1) == _FLOATS
    is_reduced = number(_SUBFILE_TYPE, 0) & _NO_PICTURE or number(_OLD_SUBFILE_TYPE, 1) == 2
    return TiffPage(
        place,
        is_raw=_DNG_VERSION in tags or colours in (_MOSAIC, _LINEAR_RAW),
        is_picture=not is_reduced,
        is_cmyk=colours == _CMYK,
        is_lab8=colours == _CIELAB and bits == 8,
        is_double=bits == 64 and is_float,
        bits=bits,
        num_channels=number(_NUM_SAMPLES, 1),
        is_float=is_float,
        extra_samples=extra,
    )
