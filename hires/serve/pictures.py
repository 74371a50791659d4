"""Pictures that are uploaded: checked before anything else is done with them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hires.errors import ConfigError
from hires.serve.store import UPLOADS, Store, now, plain_name, read_json, write

MOST_PIXELS = 400_000_000
MOST_BYTES = 2**30
MOST_PICTURES = 1000
KINDS = ("content", "style", "mask")
_ARRIVING, _PREVIEW, _ABOUT = "arriving", "preview.jpg", "about.json"
_ENDINGS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "TIFF": ".tif",
    "WebP": ".webp",
    "AVIF": ".avif",
    "GIF": ".gif",
    "BMP": ".bmp",
    "JPEG 2000": ".jp2",
    "HEIC": ".heic",
}
_PATIENCE = 180.0  # seconds for one picture to be decoded


@dataclass(frozen=True, slots=True)
class Arriving:
    """A picture that is being sent.

    Attributes:
        key: its id.
        kind: what it is for.
        folder: of what is known of it.
        path: where its bytes go.
    """

    key: str
    kind: str
    folder: Path
    path: Path


class Pictures:
    """The pictures of a store.

    Args:
        store: where they are kept.
        most_pixels: that a picture may have.
    """

    def __init__(self, store: Store, most_pixels: int = MOST_PIXELS) -> None:
        self._store, self._most = store, most_pixels

    @contextmanager
    def arriving(self, kind: str) -> Iterator[Arriving]:
        """A place for a picture that is sent; nothing stays of it if it is not taken.

        Raises:
            ConfigError: if there are too many, or for a kind that is none.
        """
        if kind not in KINDS:
            raise ConfigError(f"`kind` is '{kind[:40]}': choose one of {', '.join(KINDS)}")
        if sum(1 for _ in self._store.all("pictures")) >= MOST_PICTURES:
            raise ConfigError(
                f"{MOST_PICTURES} pictures are uploaded already: remove some from {UPLOADS} and"
                " start hires serve anew"
            )
        key, folder = self._store.new("pictures")
        try:
            yield Arriving(key, kind, folder, folder / _ARRIVING)
        finally:
            if not (folder / _ABOUT).is_file():
                shutil.rmtree(folder, ignore_errors=True)

    def take(self, arrived: Arriving, name: str) -> Mapping[str, Any]:
        """Keep a picture that has arrived, if it is one; returns what the page is told of it.

        Raises:
            ConfigError: for anything else, with what is wrong.
        """
        key, kind, folder = arrived.key, arrived.kind, arrived.folder
        found = look([str(arrived.path), str(folder / _PREVIEW), str(self._most)])
        ending = _ENDINGS.get(str(found.pop("kind", "")), "")
        told = {"id": key, "name": shown_name(name), "kind": kind, **found}
        path = self._store.folder / UPLOADS / f"{plain_name(name, kind)}-{key[:8]}{ending}"
        path.parent.mkdir(exist_ok=True)
        os.replace(arrived.path, path)
        write(folder / _ABOUT, {**told, "made": now(), "file": self._store.relative(path)})
        return {**told, "preview": f"/api/pictures/{key}/preview.jpg"}

    def forget(self) -> None:
        """Forget the pictures whose files are gone."""
        for folder in self._store.all("pictures"):
            if self._file(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)

    def _file(self, folder: Path | None) -> Path | None:
        """The picture that a folder of ours is of, if it is there."""
        name = None if folder is None else read_json(folder / _ABOUT).get("file")
        if not isinstance(name, str):
            return None
        path = self._store.folder / name
        return path if path.is_file() else None

    def path(self, key: object, what: str) -> Path:
        """The file of an id.

        Raises:
            ConfigError: if there is none.
        """
        path = self._file(self._store.find("pictures", key))
        if path is None:
            raise ConfigError(f"`{what}`: there is no such picture; upload it again")
        return path

    def about(self, key: object) -> Mapping[str, Any]:
        """What is known of an id; empty if there is none."""
        folder = self._store.find("pictures", key)
        return {} if folder is None else read_json(folder / _ABOUT)

    def preview(self, key: object) -> Path | None:
        """The small copy of an id."""
        folder = self._store.find("pictures", key)
        return None if folder is None else folder / _PREVIEW


def look(words: list[str]) -> dict[str, Any]:
    """Check a picture in a process of its own; see `hires.serve.look`.

    Raises:
        ConfigError: for what is no picture, or too large.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "hires.serve.look", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise ConfigError("the picture takes too long to read; save it anew") from None
    except ValueError:
        raise ConfigError("the picture breaks the reader; save it anew, as PNG or JPEG") from None
    if "error" in found:
        raise ConfigError(found["error"])
    return found


def shown_name(name: str) -> str:
    """What a picture is called on the page; never a path."""
    last = re.split(r"[\\/]", name)[-1]
    return "".join(letter for letter in last if letter.isprintable())[:100] or "picture"
