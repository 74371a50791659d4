"""What the page keeps in a folder: under names that it makes itself, and nowhere else."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from hires.utils.files import write_json

HIDDEN, UPLOADS = ".hires-serve", "uploads"
Kind = Literal["pictures", "jobs", "plans", "variations", "closeups", "deliveries"]
_KINDS: tuple[Kind, ...] = ("pictures", "jobs", "plans", "variations", "closeups", "deliveries")
_ID = re.compile(r"[0-9a-f]{16}")
_MOST_LETTERS = 32  # of a name that a file is called after
# What Windows takes for a device, whatever its ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)")


class Store:
    """The hidden folder in a folder of paintings.

    Args:
        folder: that of the paintings; made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        for kind in _KINDS:
            (self.folder / HIDDEN / kind).mkdir(parents=True, exist_ok=True)

    def new(self, kind: Kind) -> tuple[str, Path]:
        """An id that nothing else has, and its folder."""
        name = secrets.token_hex(8)
        path = self.place(kind, name)
        path.mkdir()
        return name, path

    def place(self, kind: Kind, name: str) -> Path:
        """The folder of an id."""
        assert _ID.fullmatch(name)
        return self.folder / HIDDEN / kind / name

    def find(self, kind: Kind, name: object) -> Path | None:
        """The folder of an id that somebody asks for, None if there is none."""
        if not isinstance(name, str) or not _ID.fullmatch(name):
            return None
        path = self.place(kind, name)
        return path if path.is_dir() else None

    def all(self, kind: Kind) -> Iterator[Path]:
        """The folders of all ids of a kind."""
        folder = self.folder / HIDDEN / kind
        yield from sorted(path for path in folder.iterdir() if _ID.fullmatch(path.name))

    def relative(self, path: Path) -> str:
        """A path as it is written from the folder: it begins with no hyphen and no drive."""
        return path.relative_to(self.folder).as_posix()

    def prune(self, kind: Kind, most: int) -> None:
        """Remove all but the newest so many of a kind."""
        found = sorted(self.all(kind), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[most:]:
            shutil.rmtree(path, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """A file of ours; empty if it is not there or half made."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of ours, whole or not at all."""
    write_json(path, content)


def plain_name(name: str, other: str) -> str:
    """Letters, digits and hyphens of a name, for files that we call after it: never a path.

    Args:
        name: as somebody has sent it.
        other: in its place, where nothing is left of it.
    """
    stem = re.split(r"[\\/]", name)[-1].rpartition(".")
    text = unicodedata.normalize("NFKD", stem[0] or stem[2]).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", text.lower())
    found = "-".join(words)[:_MOST_LETTERS].strip("-")
    return other if not found or _DEVICES.fullmatch(found) else found


def now() -> str:
    """The time as it is shown."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
