"""Finished paintings to take away: handed over by ``hires deliver`` when somebody asks for one."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from threading import Lock

from hires.errors import ConfigError
from hires.serve import processes
from hires.serve.runs import Found
from hires.serve.store import Store

_MOST_KEPT = 20
_FORMATS = {"lab": ("tif", "jpg", "pdf"), "master": ("tif", "png")}
_NAMES = {"tif": "TIFF", "jpg": "JPEG", "pdf": "PDF", "png": "PNG"}
_TYPES = {
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".webp": "image/webp",
}


class Deliveries:
    """The files that were made to be taken away.

    Args:
        store: where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def offered(self, run: Found) -> list[dict[str, str]]:
        """What can be taken of a finished run."""
        if run.output is None or not run.output.is_file():
            return []
        url = f"/api/runs/{run.key}/download"
        found = [{"label": f"As painted ({run.output.suffix[1:].upper()})", "url": url}]
        if run.record is None or run.output.suffix == ".pdf":
            return found  # Of a network that paints in one pass: 8 bit, and no run to hand over.
        delivery = run.record.settings.get("delivery", {})
        is_deep = run.record.settings.get("bit_depth") == 16 or delivery.get("deliver") == "master"
        for deliver, formats in _FORMATS.items():
            if deliver == "lab" or is_deep:
                found += [
                    {
                        "label": f"{'For a lab' if deliver == 'lab' else 'Master'} ({_NAMES[one]})",
                        "url": f"{url}?deliver={deliver}&format={one}",
                    }
                    for one in formats
                ]
        return found

    def file(self, run: Found, deliver: str, form: str) -> Path:
        """The file that is taken; made if it is not there. Takes as long as saving does.

        Raises:
            ConfigError: for what cannot be had.
        """
        source = run.output
        if source is None or not source.is_file():
            raise ConfigError("there is no painting to take yet")
        if not deliver and not form:
            return source
        if deliver not in _FORMATS:
            raise ConfigError(f"`deliver`: choose one of {', '.join(_FORMATS)}")
        if form not in _FORMATS[deliver]:
            raise ConfigError(f"`format`: choose one of {', '.join(_FORMATS[deliver])}")
        told = f"{source}\0{source.stat().st_mtime_ns}\0{deliver}\0{form}"
        folder = self._store.place("deliveries", hashlib.sha256(told.encode()).hexdigest()[:16])
        with self._lock:  # One after the other: each holds a picture in memory.
            path = folder / f"{deliver}.{form}"
            if path.is_file():
                os.utime(folder)
                return path
            self._store.prune("deliveries", _MOST_KEPT - 1)
            folder.mkdir(exist_ok=True)
            self._make(source, path, deliver)
            return path

    def _make(self, source: Path, path: Path, deliver: str) -> None:
        words = [f"./{self._store.relative(source)}", "-o", self._store.relative(path)]
        words = ["deliver", *words, "--deliver", deliver, "--quiet"]
        self._child = processes.start(words, folder=self._store.folder, log_folder=path.parent)
        code = self._child.wait()
        if code or not path.is_file():
            raise ConfigError(processes.said(path.parent) or "it could not be made")

    def close(self) -> None:
        """End what is being made."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()


def name_of(run: Found, path: Path) -> str:
    """What a file is called where it is saved."""
    stem = "painting" if run.output is None else run.output.stem
    purpose = "" if path == run.output else f"-{path.stem}"
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in stem)
    return f"{kept.encode('ascii', 'ignore').decode()[:80] or 'painting'}{purpose}{path.suffix}"


def type_of(path: Path) -> str:
    """Its media type."""
    return _TYPES.get(path.suffix.lower(), "application/octet-stream")
