"""Which of a TIFF file's pictures is the picture, and what its channels mean.

A file may begin with a thumbnail and keep the picture itself on a later page or in a subdirectory
(TIFF 6.0 with supplement 1; the DNG specification builds on both).
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

_WIDTH, _BITS, _SAMPLE_FORMAT, _PHOTOMETRIC = 256, 258, 339, 262
_SUBFILE_TYPE, _SUBDIRECTORIES, _EXTRA_SAMPLES, _DNG_VERSION = 254, 330, 338, 50706
# Of NewSubfileType: a reduced copy, a transparency mask.
_NO_PICTURE = 1 | 4
_CMYK, _CIELAB = 5, 8
_FLOATS, _UNSPECIFIED = 3, 0
_MOST_PAGES = 1000
_BIG = b"II+\0", b"MM\0+"


@dataclass(frozen=True, slots=True)
class Page:
    """One picture of a TIFF file.

    Attributes:
        place: options of libvips' loader that lead to it.
        is_raw: whether it belongs to a raw photograph (DNG).
        is_picture: whether it is not marked as a smaller copy or a mask.
        is_cmyk: whether its colours are inks.
        is_lab8: whether they are CIELAB in bytes.
        is_double: whether they are floats of 64 bit.
        has_unspecified: whether it has further channels of which the first is not said to be alpha.
    """

    place: dict[str, int]
    is_raw: bool = False
    is_picture: bool = True
    is_cmyk: bool = False
    is_lab8: bool = False
    is_double: bool = False
    has_unspecified: bool = False


def picture_page(path: Path) -> tuple[Page, int]:
    """The first picture of a TIFF file that is no thumbnail, and how many of those there are."""
    pages: list[Page] = []
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pages.extend(_pages(file))
    except (SyntaxError, OSError, ValueError, TypeError, KeyError, OverflowError, struct.error):
        pass  # A damaged directory is the decoder's to report; Pillow reads no big-endian BigTIFF.
    found = [page for page in pages if page.is_picture]
    first = next(iter([*found, *pages]), Page({}))
    is_raw = any(page.is_raw for page in pages)
    return replace(first, is_raw=is_raw), max(len(found), 1)


def _pages(file: BinaryIO) -> Iterator[Page]:
    head = file.read(8)
    directory = ImageFileDirectory_v2(head + (file.read(8) if head[:4] in _BIG else b""))
    seen: set[int] = set()
    for number in range(_MOST_PAGES):
        start = directory.next
        if not start or start in seen:  # A directory that is cut off leads to itself.
            return
        seen.add(start)
        file.seek(start)
        directory.load(file)
        if _WIDTH not in directory:
            return
        following, children = directory.next, directory.get(_SUBDIRECTORIES) or ()
        place = {"page": number} if number else {}
        yield _page(place, directory)
        for index, offset in enumerate(children if isinstance(children, tuple) else (children,)):
            file.seek(offset)
            directory.load(file)
            yield _page({**place, "subifd": index}, directory)
        directory.next = following


def _page(place: dict[str, int], directory: ImageFileDirectory_v2) -> Page:
    def number(tag: int, missing: int) -> int:
        value = directory.get(tag)
        if isinstance(value, tuple):
            value = value[0] if value else None
        return missing if value is None else int(value)

    bits, colours = number(_BITS, 1), number(_PHOTOMETRIC, -1)
    return Page(
        place,
        is_raw=directory.get(_DNG_VERSION) is not None,
        is_picture=not number(_SUBFILE_TYPE, 0) & _NO_PICTURE,
        is_cmyk=colours == _CMYK,
        is_lab8=colours == _CIELAB and bits == 8,
        is_double=bits == 64 and number(_SAMPLE_FORMAT, 1) == _FLOATS,
        has_unspecified=number(_EXTRA_SAMPLES, 1) == _UNSPECIFIED,
    )
