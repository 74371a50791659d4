"""Photographs to train on: folders of any size, read when needed, whatever cannot be read skipped.

Unlike `crops`, which invents and degrades, these are photographs as people take them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hires.errors import ImageError
from hires.image.decode.read import read_picture
from hires.image.folders import Found, search
from hires.image.formats.kinds import READABLE
from hires.image.resample import resize

# Decoded pictures are kept up to this many bytes, as 8 bit: reading again takes longer than a crop.
_CACHE_BYTES = 2**30
# A picture is read at no more than about this many times the crop's side.
_READ_SCALE = 4
# The short side of a picture is scaled to this many crops at most before one is cut out.
_MAX_ZOOM = 2.0


class Photographs:
    """An endless, seeded supply of crops; every picture is drawn once before any comes again.

    Args:
        folders: folders, searched with everything below them.
        seed: seed of every draw.

    Attributes:
        paths: the files.
        passed_over: what else lies there, as one line; hidden files and folders do not count.
        skipped: files that could not be read so far, with the reason.

    Raises:
        ImageError: if a folder is missing, or holds no picture file.
    """

    def __init__(self, folders: Sequence[Path], *, seed: int) -> None:
        self.random = random.Random(seed)
        found = Found()
        for folder in folders:
            found.add(searched(folder, recursive=True))
        self.paths, self.passed_over = found.pictures, found.passed_over()
        self.skipped: dict[Path, str] = {}
        self._queue: list[int] = []
        self._cache: dict[int, Tensor] = {}
        self._cached_bytes = 0

    def batch(self, count: int, size: int) -> Tensor:
        """Draw ``count`` crops of different pictures, (count, 3, size, size) float32 in [0, 1].

        Raises:
            ImageError: if no file of any folder can be read.
        """
        return torch.cat([self.crop(size) for _ in range(count)])

    def crop(self, size: int) -> Tensor:
        """Draw one crop at a random scale, perhaps mirrored, (1, 3, size, size)."""
        picture = self._next(size)
        short, draw = min(picture.shape[2:]), self.random
        zoom = draw.uniform(1.0, min(_MAX_ZOOM, max(short / size, 1.0)))
        scale = zoom * size / short
        height, width = (max(round(side * scale), size) for side in picture.shape[2:])
        # Only what the crop shows is resampled.
        top, left = draw.randint(0, height - size), draw.randint(0, width - size)
        rows = _span(top, size, height, picture.shape[2])
        columns = _span(left, size, width, picture.shape[3])
        part = picture[..., slice(*rows), slice(*columns)].float() / 255
        crop = resize(part, (size, size), clamp=True)
        return crop.flip(3) if draw.random() < 0.5 else crop

    def state(self) -> dict[str, Any]:
        """What `load_state` needs to go on from here."""
        return {"random": self.random.getstate(), "queue": list(self._queue)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state` of the same folders."""
        self.random.setstate(state["random"])
        self._queue = list(state["queue"])

    def _next(self, size: int) -> Tensor:
        while len(self.skipped) < len(self.paths):
            if not self._queue:
                self._queue = list(range(len(self.paths)))
                self.random.shuffle(self._queue)
            index = self._queue.pop()
            if index in self._cache:
                return self._cache[index]
            if self.paths[index] not in self.skipped:
                picture = self._read(index, size)
                if picture is not None:
                    return picture
        path, reason = next(iter(self.skipped.items()))
        raise ImageError(
            f"none of the {len(self.paths)} pictures can be read, {path.name} for example: {reason}"
        )

    def _read(self, index: int, size: int) -> Tensor | None:
        path = self.paths[index]
        try:
            pixels = read_picture(path, max_long_side=_READ_SCALE * size).pixels
        except ImageError as error:
            self.skipped[path] = str(error)
            return None
        picture = (pixels * 255).round().byte()
        if self._cached_bytes + picture.nbytes <= _CACHE_BYTES:
            self._cache[index] = picture
            self._cached_bytes += picture.nbytes
        return picture


def _span(start: int, size: int, length: int, source: int) -> tuple[int, int]:
    """Where ``[start, start + size)`` of a picture scaled to ``length`` lies in its source."""
    first = round(start * source / length)
    return first, min(max(round((start + size) * source / length), first + 1), source)


def searched(folder: Path, *, recursive: bool) -> Found:
    """The pictures to train on in a folder; `ImageError` if it is missing or holds none."""
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder; give folders of photographs to train on")
    found = search(folder, recursive=recursive)
    if not found.pictures:
        raise ImageError(f"{folder}: no pictures in this folder ({' '.join(READABLE)})")
    return found
