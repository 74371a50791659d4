"""A picture of any size in tiles of every scale, as deep-zoom viewers ask for them.

Levels and tiles are those of a Deep Zoom Image: level 0 is a pixel, each is twice the one before,
the last is the picture. Tiles are JPEG, in sRGB, upright, what is transparent laid on white.

The levels up to about two thousand pixels are made in one pass and kept in memory; a JPEG is
reduced while it is read for it. All of them are made in a second pass, which streams from the
decoder to an archive on disk: a tile is then a part of a file. Neither pass holds the picture.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyvips  # type: ignore[import-untyped]

from hires.errors import ImageError
from hires.image.decode.opening import opened
from hires.image.decode.stored import picture_size, reading
from hires.image.formats.signatures import kind_of
from hires.image.reduced import shown
from hires.utils.files import replacing

TILE, OVERLAP = 510, 1  # pixels: with its neighbours' edges a tile has 512
MOST_PIXELS = 2**31  # a hundred square metres at 150 dpi; a bomb has more
# Of kinds that decoders hold whole: interlaced PNG, progressive JPEG (6 bytes a pixel), WebP...
MOST_WHOLE = 2**26
# Pixels that a byte of a file can stand for: a blank page has 344 in Deflate, 205 in JPEG. What
# says that it has more is a bomb; smaller pictures than this are not worth asking.
_MOST_PER_BYTE, _UNASKED = 1000, 2**24
_STREAMED = ("JPEG", "PNG", "TIFF")
PREVIEW_SIDE = 1024
_BASE_SIDE = 2048  # of the largest level that is kept in memory
_JPEG = {"Q": 90, "keep": "none"}  # From quality 90 on libvips keeps the colours of each pixel.
_NAME = "p"
_ARCHIVE = re.compile(r"[0-9a-f]{40}\.zip")

Size = tuple[int, int]


class Pyramid:
    """A picture's tiles. `make` makes them; `tile` may be called from any thread meanwhile.

    Args:
        path: the picture.
        folder: where its archive is kept, made if need be.

    Attributes:
        size: ``(height, width)`` in pixels, upright.
        folder: where its archive is kept.
        tag: a name that changes with the file.

    Raises:
        ImageError: if it cannot be read, or has more than `MOST_PIXELS`, or `MOST_WHOLE` of a kind
            that is decoded as a whole.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.size = path, picture_size(path)
        _require_bounded(path, self.size)
        self.tag, self.folder = _tag(path), folder
        self._archive_path = folder / f"{self.tag}.zip"
        self._archive: zipfile.ZipFile | None = None
        self._levels: dict[int, pyvips.Image] = {}
        self._running: pyvips.Image | None = None
        self._is_stopped = False

    def is_of(self, path: Path) -> bool:
        """Whether these are the tiles of a file as it is now."""
        return self.tag == _tag(path)

    @property
    def num_levels(self) -> int:
        """Of the whole pyramid; the last level is the picture."""
        return (max(self.size) - 1).bit_length() + 1

    def size_of(self, level: int) -> Size:
        """``(height, width)`` of a level in pixels."""
        scale = 2 ** (self.num_levels - 1 - level)
        return -(-self.size[0] // scale), -(-self.size[1] // scale)

    def has(self, level: int, column: int, row: int) -> bool:
        """Whether there is such a tile."""
        if not 0 <= level < self.num_levels:
            return False
        height, width = self.size_of(level)
        return 0 <= column * TILE < width and 0 <= row * TILE < height

    @property
    def base(self) -> int:
        """The largest level that is kept in memory."""
        sides = (max(self.size_of(level)) for level in range(self.num_levels))
        return max(level for level, side in enumerate(sides) if side <= _BASE_SIDE)

    @property
    def is_made(self) -> bool:
        """Whether every tile can be had."""
        return self.num_levels - 1 in self._levels or self._archive is not None

    def level(self, level: int) -> pyvips.Image:
        """A level that is made, and lies in memory."""
        return self._levels[level]

    def dzi(self) -> str:
        """The descriptor that viewers read."""
        height, width = self.size
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="jpg"'
            f' Overlap="{OVERLAP}" TileSize="{TILE}">\n'
            f'  <Size Width="{width}" Height="{height}"/>\n</Image>\n'
        )

    def tile(self, level: int, column: int, row: int) -> bytes | None:
        """A tile as JPEG; None if it is not made yet.

        Raises:
            ValueError: if there is no such tile.
        """
        if not self.has(level, column, row):
            raise ValueError(f"no tile {column}_{row} at level {level}")
        image = self._levels.get(level)
        if image is not None:
            left, top = (max(at * TILE - OVERLAP, 0) for at in (column, row))
            right = min((column + 1) * TILE + OVERLAP, image.width)
            bottom = min((row + 1) * TILE + OVERLAP, image.height)
            part = image.crop(left, top, right - left, bottom - top)
            return bytes(part.jpegsave_buffer(**_JPEG))
        if self._archive is None:
            return None
        return self._archive.read(f"{_NAME}_files/{level}/{column}_{row}.jpg")

    def open(self) -> bool:
        """Whether all is made already, now or by another process before."""
        if not self.is_made and self._archive_path.is_file():
            with suppress(OSError, zipfile.BadZipFile):
                os.utime(self._archive_path)  # Those that nobody looks at go first.
                self._archive = zipfile.ZipFile(self._archive_path)
        return self.is_made

    def make_base(self, preview: Path | None = None) -> None:
        """Make the levels that are kept in memory, as far as there are none.

        Args:
            preview: the same picture, smaller; in its place, for as many levels as it has. One of
                another shape is left alone.

        Raises:
            ImageError: if the picture cannot be read.
        """
        level, path = self.base, self.path
        if preview is not None:
            level, path = self._base_of(preview), preview
        if level < 0 or level in self._levels:
            return
        with reading(path):
            if preview is None:
                image = shown(path, 2 ** (self.num_levels - 1 - level)).copy_memory()
            else:
                image = _resized(shown(path), self.size_of(level)).copy_memory()
        found = {level: image}
        for smaller in range(level - 1, -1, -1):
            image = image.shrink(2, 2, ceil=True).copy_memory()
            found[smaller] = image
        self._levels |= found

    def _base_of(self, preview: Path) -> int:
        """The largest level that a smaller copy has the pixels for; -1 for none."""
        try:
            size = picture_size(preview)
        except ImageError:
            return -1
        scale = max(size) / max(self.size)
        if any(abs(side * scale - got) > 1 for side, got in zip(self.size, size, strict=True)):
            return -1
        sides = [max(self.size_of(level)) for level in range(self.num_levels)]
        return max((level for level, side in enumerate(sides) if side <= max(size)), default=-1)

    def make_archive(self) -> None:
        """Make all levels, if they are not in memory or on disk.

        Raises:
            ImageError: if the picture cannot be read.
            SaveError: if the archive cannot be written.
        """
        if self._is_stopped or self.open():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with reading(self.path), replacing(self._archive_path) as temporary:
            image = shown(self.path)
            image.set_progress(True)
            self._running = image
            # Given a name, libvips would make the file of a failed attempt when it is forgotten.
            with temporary.open("wb") as file:
                image.dzsave_target(
                    pyvips.Target.new_to_descriptor(file.fileno()),
                    container="zip",
                    basename=_NAME,
                    suffix=f".jpg[Q={_JPEG['Q']}]",
                    tile_size=TILE,
                    overlap=OVERLAP,
                    depth="onepixel",
                    keep="none",
                )
        self._running = None
        self.open()

    def stop(self) -> None:
        """Give up what is being made."""
        self._is_stopped = True
        if self._running is not None:
            self._running.set_kill(True)

    def close(self) -> None:
        """Stop, and close the archive."""
        self.stop()
        archive, self._archive = self._archive, None
        if archive is not None:
            archive.close()


def preview_of(picture: Pyramid) -> bytes:
    """A picture as a JPEG of at most `PREVIEW_SIDE` pixels a side; all of it is decoded for that.

    Raises:
        ImageError: if it cannot be read.
    """
    picture.make_base()
    image = picture.level(picture.base)
    scale = min(PREVIEW_SIDE / max(image.width, image.height), 1.0)
    return bytes(image.resize(scale).jpegsave_buffer(**_JPEG))


def _require_bounded(path: Path, size: Size) -> None:
    with reading(path):
        image, _ = opened(path)
        kind, is_interlaced = kind_of(path), "interlaced" in image.get_fields()
    told = f"cannot show {path}: {size[1]}x{size[0]} are too many pixels"
    if math.prod(size) > MOST_PIXELS:
        raise ImageError(f"{told}; shrink it")
    if math.prod(size) > _UNASKED and math.prod(size) > _MOST_PER_BYTE * path.stat().st_size:
        raise ImageError(
            f"cannot show {path}: it says that it has {size[1]}x{size[0]} pixels, but it is too"
            " short for that; save or fetch it anew"
        )
    if math.prod(size) > MOST_WHOLE and (is_interlaced or kind not in _STREAMED):
        how = f"an interlaced {kind}" if is_interlaced else kind
        raise ImageError(f"{told} for {how}, which is decoded as a whole; save it as TIFF")


def _tag(path: Path) -> str:
    file = path.stat()
    told = f"{path.resolve()}\0{file.st_mtime_ns}\0{file.st_size}\0{TILE}"
    return hashlib.sha256(os.fsencode(told)).hexdigest()[:40]


def prune(folder: Path, most_bytes: int) -> None:
    """Remove archives that were not opened for longest, until the rest takes no more than that."""
    found = sorted(_archives(folder), key=lambda one: one[0], reverse=True)
    total = 0
    for _, size, path in found:
        total += size
        if total > most_bytes:
            with suppress(OSError):  # In use, on Windows.
                path.unlink()


def _archives(folder: Path) -> Iterator[tuple[float, int, Path]]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if _ARCHIVE.fullmatch(path.name):
            with suppress(OSError):
                file = path.stat()
                yield file.st_mtime, file.st_size, path


def _resized(image: pyvips.Image, size: Size) -> pyvips.Image:
    height, width = size
    if (image.height, image.width) == size:
        return image
    return image.resize(width / image.width, vscale=height / image.height)
