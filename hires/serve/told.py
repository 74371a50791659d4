"""What the page is told of a run, from what its process left on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hires.config.paper import DEFAULT_DPI
from hires.errors import ImageError
from hires.image.pyramid import Pyramid
from hires.runs.record import (
    PREVIEW,
    SETTINGS,
    TRACE,
    Record,
    RunDirectoryError,
    is_finished,
    read_record,
)
from hires.runs.trace import Step, read_steps
from hires.runs.watch import RungPlan, asked_to_stop, is_painted, standing
from hires.serve.processes import Known, said
from hires.serve.store import read_json

JOB = "job.json"
MOST_POINTS = 500
_STAMPED = ("settings.json", "state.json", "stop", TRACE, PREVIEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run of the folder, whoever began it.

    Attributes:
        key: its id.
        folder: that all paths start from.
        job: what the page has noted of it; empty if it was begun elsewhere.
        log: where its process says what it says, None if it was begun elsewhere.
        path: its run directory, which need not be there.
    """

    key: str
    folder: Path
    job: Mapping[str, Any]
    log: Path | None
    path: Path

    @property
    def record(self) -> Record | None:
        """What it paints; None before it begins."""
        with suppress(RunDirectoryError, OSError):
            return read_record(self.path)
        return None

    @property
    def process(self) -> Known | None:
        """Its process, if the page has started one."""
        pid = self.job.get("pid")
        return Known(pid, str(self.job.get("began", ""))) if isinstance(pid, int) else None

    @property
    def device(self) -> str:
        """Where it is painted."""
        if self.job:
            return str(self.job.get("device", "auto"))
        record = self.record
        config = record.settings.get("config", {}) if record else {}
        return str(config.get("device", "auto"))

    @property
    def is_alive(self) -> bool:
        """Whether it is painted at the moment."""
        process = self.process
        return (process is not None and process.is_alive) or is_painted(self.path)

    @property
    def painting(self) -> Path | None:
        """Its finished file, if that lies in the folder."""
        output: Path | None = None
        record = self.record
        with suppress(RunDirectoryError):
            if self.job.get("model"):
                output = self.folder / str(self.job["output"])
            elif record is not None and is_finished(self.path, record):
                output = record.folder_of(self.path) / str(record.settings.get("output"))
        if output is None or not output.is_file():
            return None
        found = output.resolve()
        return found if found.is_relative_to(self.folder) else None

    @property
    def so_far(self) -> Path | None:
        """What was painted of a run that was cut short: saved as its painting, or a preview."""
        record = self.record
        if record is None or is_finished(self.path, record):
            return None
        with suppress(RunDirectoryError, OSError):
            output = record.folder_of(self.path) / str(record.settings.get("output"))
            began = (self.path / SETTINGS).stat().st_mtime_ns
            is_ours = output.resolve().is_relative_to(self.folder)
            if is_ours and output.stat().st_mtime_ns >= began:
                return output.resolve()
        return self.preview

    @property
    def shown(self) -> Path | None:
        """What can be walked up to; nothing while it is painted."""
        return None if self.is_alive else self.painting or self.so_far

    @property
    def preview(self) -> Path | None:
        """A small picture of it."""
        places = [self.path / PREVIEW] + ([self.log / PREVIEW] if self.log else [])
        found = (path for path in places if path.is_file())
        # A run directory may be a link, or hold one.
        return next((p for p in found if p.resolve().is_relative_to(self.folder)), None)

    @property
    def state(self) -> str:
        """One word, as `docs/page.md` tells them."""
        if self.job.get("state") == "queued":
            return "queued"
        if self.is_alive:
            asked = self.job.get("stop") or asked_to_stop(self.path)
            return "stopping" if asked else "running"
        record = self.record
        is_done = record is not None and is_finished(self.path, record)
        if is_done or (self.job.get("model") and self.painting is not None):
            return "done"
        return "failed" if self._problem() else "stopped"

    def _problem(self) -> str:
        """What its process said at last, if it was not that it was asked to end."""
        if self.log is None or self.job.get("stop"):
            return ""
        line = said(self.log)
        return "" if line.startswith("interrupted") else line

    def stamp(self) -> tuple[object, ...]:
        """Differs when something has changed."""
        times: list[int] = []
        for name in _STAMPED:
            with suppress(OSError):
                times.append((self.path / name).stat().st_mtime_ns)
        return (*times, self.job.get("state"), self.job.get("pid"), self.job.get("stop"))

    def told(self) -> dict[str, Any]:
        """As a list has it."""
        stands, state, record = standing(self.path), self.state, self.record
        last = stands.rungs[-1] if stands.rungs else None
        made = self.job.get("made") or (record.begun if record else "")
        preview = self.preview or self.painting  # Of the latter one is made when it is asked for.
        stamp = preview.stat().st_mtime_ns if preview else 0
        return {
            "id": self.key,
            "name": str(self.job.get("name") or self.path.stem),
            "state": state,
            "made": made,
            "width": last.width if last else None,
            "height": last.height if last else None,
            "preview": f"/api/runs/{self.key}/preview.jpg?v={stamp}" if preview else None,
            "progress": 1.0 if state == "done" else stands.fraction,
            "seconds_left": stands.seconds_left if state == "running" else None,
        }

    def told_in_full(self, command: str) -> dict[str, Any]:
        """As the page shows the one that is looked at."""
        stands, told = standing(self.path), self.told()
        last, content, painting = stands.last, self.job.get("content"), self.painting
        last_rung = stands.rungs[-1] if stands.rungs else None
        picture = _picture(self.key, self.shown)
        return {
            **told,
            "rung": last.rung if last else None,
            "step": last.iteration if last else None,
            "rungs": [_rung(rung) for rung in stands.rungs],
            "trace": thinned(read_steps(self.path / TRACE)),
            "command": command,
            "dpi": self._dpi(picture["width"] / last_rung.width if picture and last_rung else 1),
            "error": self._problem() if told["state"] == "failed" else None,
            "picture": picture,
            "content_preview": f"/api/pictures/{content}/preview.jpg" if content else None,
            "downloads": downloads(self.key, painting),
        }

    def _dpi(self, share: float) -> float | None:
        """Of a picture that has a share of the pixels in a row, on the same paper."""
        record = self.record
        asked = record.settings.get("print", {}) if record else {}
        found = asked.get("dpi") or (DEFAULT_DPI if asked.get("paper") else None)
        return float(found) * min(share, 1.0) if found else None


def read_run(key: str, folder: Path, log: Path) -> Run | None:
    """A run that the page has noted; None if the note is gone."""
    job = read_json(log / JOB)
    if not job.get("run_dir"):
        return None
    return Run(key=key, folder=folder, job=job, log=log, path=folder / str(job["run_dir"]))


def thinned(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """So many steps that they can be drawn, the last one among them."""
    every = max(-(-len(steps) // MOST_POINTS), 1)
    kept = [*steps[::-1][::every]][::-1]
    return [{"step": one.iteration, "rung": one.rung, "terms": one.terms} for one in kept]


def downloads(key: str, painting: Path | None) -> list[dict[str, str]]:
    """What can be had of a finished painting."""
    if painting is None:
        return []
    own, url = painting.suffix.lower(), f"/api/runs/{key}/download"
    found = [(f"The file as painted ({own[1:].upper()})", url)]
    if own in (".png", ".tif", ".tiff"):
        found.append(("Master: 16-bit TIFF, to keep", f"{url}?deliver=master&format=tif"))
    if own != ".pdf":
        names = {"tif": "TIFF", "jpg": "JPEG", "pdf": "PDF"}
        found += [(f"For a lab: {n}", f"{url}?deliver=lab&format={f}") for f, n in names.items()]
    return [{"label": label, "url": at} for label, at in found]


def _rung(rung: RungPlan) -> dict[str, int]:
    return {"size": max(rung.width, rung.height), "steps": rung.steps}


def _picture(key: str, painting: Path | None) -> dict[str, Any] | None:
    if painting is None:
        return None
    with suppress(ImageError):
        height, width = Pyramid(painting, painting.parent).size
        return {"key": key, "width": width, "height": height}
    return None
