"""What the page asks before a run, and of a finished one: each worked out in its own process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hires.config.job import PaintJob
from hires.config.output import Delivery
from hires.config.run import Config
from hires.config.variations import variations
from hires.errors import ConfigError
from hires.runs.record import CLOSE_UP
from hires.runs.watch import standing
from hires.serve.asked import Asked
from hires.serve.form import GROUPS
from hires.serve.processes import OUT, Known, known, let_go, said, start
from hires.serve.store import Kind, Store, read_json, write
from hires.serve.told import Run
from hires.serve.words import Words

_TASK, _SHEET, _PICTURES, _PAINTED = "task.json", "sheet.jpg", "pictures", "painting"
_MOST_KEPT, _MOST_AT_ONCE = 40, 2
_SIDE = 256  # of the pictures of variations
_PATIENCE = 1800.0  # seconds for a file to be delivered
_OFFERED = {name for names in GROUPS.values() for name in names}
_FORMATS = {("lab", "tif"), ("lab", "jpg"), ("lab", "pdf"), ("master", "tif"), ("master", "png")}


class Tasks:
    """Plans, variations, close-ups and deliveries.

    Args:
        store: where they are kept.
        words: the commands that are started.
    """

    def __init__(self, store: Store, words: Words) -> None:
        self._store, self._words = store, words
        self._lock = threading.Lock()
        self._children: list[subprocess.Popen[bytes]] = []
        self._leaving: list[subprocess.Popen[bytes]] = []  # Told to end; else they stay as zombies.

    def plan(self, asked: Asked) -> str:
        """Begin to tell what a run takes; returns an id."""
        job = _for_small(_job(asked))
        return self._begin("plans", lambda _: self._words.plan(job), {})

    def planned(self, key: object) -> dict[str, Any] | None:
        """What a plan has come to, None if there is none of that id."""
        folder = self._store.find("plans", key)
        if folder is None:
            return None
        with suppress(OSError, ValueError, KeyError, TypeError):
            return _plan(json.loads((folder / OUT).read_text(encoding="utf-8")))
        return _unfinished(folder)

    def variations(self, asked: Asked) -> str:
        """Begin to paint a dozen variations; returns an id."""
        job = _for_small(_job(asked))
        found = variations(job)
        cells = [
            {"label": one.name, "options": _changes(job, one.job)}
            | {"styles": [job.styles.index(style) + 1 for style in one.job.styles]}
            for one in found
        ]

        def words(folder: Path) -> list[str]:
            sheet = replace(job, output=self._store.relative(folder / _SHEET))
            pictures = self._store.relative(folder / _PICTURES)
            return self._words.variations(sheet, side=_SIDE, pictures=pictures)

        return self._begin("variations", words, {"cells": cells})

    def varied(self, key: object) -> dict[str, Any] | None:
        """How far variations are, None if there are none of that id."""
        folder = self._store.find("variations", key)
        if folder is None:
            return None
        url, told = f"/api/variations/{key}", read_json(folder / _TASK).get("cells", [])
        cells = [
            {**cell, "number": number, "picture": f"{url}/{number}.jpg"}
            for number, cell in enumerate(told, start=1)
            if (folder / _PICTURES / f"{number}.jpg").is_file()
        ]
        is_done = (folder / _SHEET).is_file()
        state = {"state": "done"} if is_done else _unfinished(folder)
        sheet = f"{url}/sheet.jpg" if is_done else None
        return {**state, "done": len(cells), "of": len(told), "sheet": sheet, "cells": cells}

    def variation_picture(self, key: object, name: str) -> Path | None:
        """A file of variations: ``sheet.jpg``, or a number."""
        folder = self._store.find("variations", key)
        stem = name.removesuffix(".jpg")
        if folder is None:
            return None
        if stem.isascii() and stem.isdigit() and len(stem) < 4:
            return folder / _PICTURES / f"{int(stem)}.jpg"
        return folder / _SHEET if stem == "sheet" else None

    def close_up(self, asked: Asked) -> str:
        """Begin a close-up of a painting to come; returns an id."""
        job = _for_small(_job(asked))

        def words(folder: Path) -> list[str]:
            output = self._store.relative(folder / f"{_PAINTED}.png")
            return self._words.close_up(replace(job, output=output))

        return self._begin("closeups", words, {})

    def closed_up(self, key: object) -> dict[str, Any] | None:
        """How far a close-up is, None if there is none of that id.

        Of one that is there, ``spot`` is its centre, in shares of height and width, ``size`` and
        ``whole`` are its pixels and the painting's, ``(height, width)`` all.
        """
        folder = self._store.find("closeups", key)
        if folder is None:
            return None
        run_dir, url = folder / f"{_PAINTED}.run", f"/api/closeup/{key}"
        place = read_json(run_dir / CLOSE_UP)
        if place and (folder / f"{_PAINTED}-closeup.png").is_file():
            pictures = {"picture": f"{url}/closeup.png", "around": f"{url}/preview.png"}
            return {"state": "done", "error": None, **pictures, **place}
        stands = standing(run_dir)
        last, rungs = stands.last, stands.rungs
        where = rungs[last.rung - 1] if last and last.rung <= len(rungs) else None
        told = {"size": max(where.width, where.height), "of": where.steps} if where else {}
        return {**_unfinished(folder), **told, "step": last.iteration if last else None}

    def close_up_picture(self, key: object, name: str) -> Path | None:
        """A file of a close-up: itself, or the painting that it lies in, small."""
        folder = self._store.find("closeups", key)
        if folder is None or name not in ("closeup.png", "preview.png"):
            return None
        return folder / f"{_PAINTED}-{name}"

    def _begin(self, kind: Kind, words: Any, about: Mapping[str, Any]) -> str:
        with self._lock:
            self._children = [child for child in self._children if child.poll() is None]
            self._leaving = [child for child in self._leaving if child.poll() is None]
            if len(self._children) >= _MOST_AT_ONCE:
                # The page has forgotten what it asked for before.
                forgotten = self._children.pop(0)
                known(forgotten.pid).terminate()
                self._leaving.append(forgotten)
            self._store.prune(kind, _MOST_KEPT)
            key, folder = self._store.new(kind)
            child = start(words(folder), folder=self._store.folder, log_folder=folder)
            self._children.append(child)
            process = known(child.pid)
            write(folder / _TASK, {**about, "pid": process.pid, "began": process.began})
            return key

    def deliver(self, run: Run, purpose: str | None, form: str | None) -> Path:
        """A file of a finished painting; made once, by one at a time.

        Raises:
            ConfigError: if it cannot be had.
        """
        painting = run.painting
        if painting is None:
            raise ConfigError("the painting is not finished, or its file is gone")
        if purpose is None and form is None:
            return painting
        if (purpose, form) not in _FORMATS:
            raise ConfigError("choose `deliver` lab with tif, jpg or pdf, or master with tif, png")
        told = f"{run.key} {purpose} {form} {painting.stat().st_mtime_ns}"
        folder = self._store.place("deliveries", hashlib.sha256(told.encode()).hexdigest()[:16])
        made = folder / f"painting.{form}"
        if not made.is_file():
            self._store.prune("deliveries", _MOST_KEPT)
            folder.mkdir(exist_ok=True)
            self._deliver(painting, made, str(purpose), folder)
        return made

    def _deliver(self, painting: Path, made: Path, purpose: str, folder: Path) -> None:
        words = self._words.deliver(str(painting), str(made), purpose)
        child = start(words, folder=self._store.folder, log_folder=folder)
        try:
            status = child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            known(child.pid).terminate()
            raise ConfigError("the file takes too long to make") from None
        if status or not made.is_file():
            raise ConfigError(said(folder) or "the file could not be made")

    def close(self) -> None:
        """End plans and variations: nobody will ask for them."""
        for child in (*self._children, *self._leaving):
            known(child.pid).terminate()
            let_go(child)


def _job(asked: Asked) -> PaintJob:
    if asked.job is None:
        raise ConfigError("what is painted in seconds has no plan, no variations and no close-up")
    return asked.job


def _for_small(job: PaintJob) -> PaintJob:
    """Without what is of the finished file alone."""
    return replace(job, bit_depth=8, delivery=Delivery(), output="plan.png")


def _plan(found: Mapping[str, Any]) -> dict[str, Any]:
    """As the page shows it."""
    rungs = found["rungs"]
    rows = [
        {
            "size": max(rung["width"], rung["height"]),
            "steps": rung["iterations"],
            "tiles": rung["tiles"],
            "memory": (rung["device_bytes"] or 0) + (rung["host_bytes"] or 0),
            "seconds": rung["seconds"],
        }
        for rung in rungs
    ]
    return {
        "state": "done",
        "rows": rows,
        "seconds": found["seconds"],
        "memory": found["peak_bytes"],
        "warnings": found["warnings"],
        "width": rungs[-1]["width"],
        "height": rungs[-1]["height"],
        "error": None,
    }


def _unfinished(folder: Path) -> dict[str, Any]:
    """Still at it, or failed."""
    task = read_json(folder / _TASK)
    if not task or Known(int(task["pid"]), str(task["began"])).is_alive:
        return {"state": "running", "error": None}
    return {"state": "failed", "error": said(folder) or "it was interrupted"}


def _changes(job: PaintJob, other: PaintJob) -> dict[str, Any]:
    """Options of a variation that differ."""
    names = [field.name for field in fields(Config) if field.name in _OFFERED]
    ours, theirs = job.config, other.config
    return {n: getattr(theirs, n) for n in names if getattr(theirs, n) != getattr(ours, n)}
