"""What the page can do with a folder: pictures, forecasts, runs, files to take away. No HTTP."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hires.config.settings import job_of
from hires.errors import ConfigError
from hires.runs.record import PREVIEW
from hires.runs.watch import ask_to_stop, standing, withdraw_stop
from hires.serve.asked import MODELS, read_asked
from hires.serve.deliveries import Deliveries
from hires.serve.form import form_fields, papers
from hires.serve.jobs import MOST_QUEUED, STARTED, Jobs
from hires.serve.pictures import MOST_BYTES, MOST_PIXELS, Pictures, look
from hires.serve.runs import Found, Runs, trace
from hires.serve.store import Store
from hires.serve.tasks import Tasks, Typed


class Studio:
    """A folder, and all that is done in it.

    Args:
        folder: where paintings go.
        typed: the words after ``hires stylize`` that paint a job.
        most_pixels: that an uploaded picture may have.

    Attributes:
        pictures: what is uploaded.
        tasks: forecasts and sheets.
        jobs: the queue.
        runs: what is painted, and was.
        deliveries: files to take away.
    """

    def __init__(self, folder: Path, typed: Typed, most_pixels: int = MOST_PIXELS) -> None:
        self._store, self._typed = Store(folder), typed
        self._most_pixels = most_pixels
        self.pictures = Pictures(self._store, most_pixels)
        self.tasks = Tasks(self._store, typed)
        self.jobs = Jobs(self._store)
        self.runs = Runs(self._store, self.jobs)
        self.deliveries = Deliveries(self._store)

    def form(self) -> dict[str, Any]:
        """What the page can ask for."""
        limits = {"pixels": self._most_pixels, "bytes": MOST_BYTES, "queue": MOST_QUEUED}
        fields = [field.told() for field in form_fields()]
        return {"fields": fields, "papers": papers(), "models": [*MODELS], "limits": limits}

    def plan(self, asked: object) -> str:
        """Begin a forecast; returns its id."""
        return self.tasks.plan(read_asked(asked, self._store, self.pictures))

    def vary(self, asked: object) -> str:
        """Begin a sheet; returns its id."""
        return self.tasks.vary(read_asked(asked, self._store, self.pictures))

    def begin(self, asked: object) -> str:
        """Queue a run; returns its id."""
        found = read_asked(asked, self._store, self.pictures)
        self.jobs.require_room()
        key, _ = self._store.new("jobs")
        output = f"painting-{key}{found.ending}"
        job: dict[str, Any] = {
            "name": found.name,
            "output": output,
            "content": found.content,
            "run": None,
        }
        if found.job is None:
            words = ["apply", str(found.model), found.picture, "-o", output]
            job |= {"device": "auto"}
        else:
            painted = replace(found.job, output=output)
            words = ["stylize", *self._typed(painted)]
            job |= {"device": painted.config.device, "run": f"painting-{key}.run"}
        job |= {"words": words, "begin": words}
        self.jobs.add(key, {**job, "command": shlex.join(["hires", *words])})
        self.tick()
        return key

    def tick(self) -> None:
        """See what has ended, and start what may begin."""
        elsewhere = self.runs.devices_elsewhere() if self.jobs.is_busy() else []
        self.jobs.tick(elsewhere)

    def stop(self, run: Found, after: object) -> None:
        """Stop a run now, or at the end of its rung.

        Raises:
            ConfigError: if it does not run.
        """
        if after not in ("now", "size"):
            raise ConfigError("`after`: choose one of now, size")
        if self.runs.state(run) not in ("running", "stopping"):
            raise ConfigError("it does not run")
        path = run.path if run.record is not None else None
        if after == "size":
            if path is None:
                raise ConfigError("it has not begun yet: wait for its first step")
            ask_to_stop(path, "size")
        elif self.jobs.state(run.key) == STARTED:
            # By one way only: what comes twice cuts the saving short.
            if path is not None:
                withdraw_stop(path)
            self.jobs.stop(run.key)
        elif path is not None:
            ask_to_stop(path, "now")

    def resume(self, run: Found) -> None:
        """Queue a run that was cut short once more.

        Raises:
            ConfigError: if there is nothing to go on with.
        """
        state = self.runs.state(run)
        if state not in ("stopped", "failed"):
            raise ConfigError(f"it is {state}: only what was stopped can be gone on with")
        job = self.jobs.job(run.key)
        if run.path is not None and run.record is not None:
            withdraw_stop(run.path)
            # Whatever a folder is called, it is no option.
            words = ["resume", f"./{self._store.relative(run.path)}"]
        else:
            words = [*job["begin"]]
        if job:
            self.jobs.again(run.key, words)
        else:
            assert run.path is not None
            assert run.record is not None
            config: Mapping[str, Any] = run.record.settings.get("config", {})
            name = "" if run.output is None else run.output.name
            found = {"name": name, "words": words, "device": str(config.get("device", "auto"))}
            more = {"run": self._store.relative(run.path), "made": run.record.begun}
            self.jobs.add(run.key, found | more)
        self.tick()

    def remove(self, run: Found) -> None:
        """Take a run out of the queue.

        Raises:
            ConfigError: if it does not wait there.
        """
        if not self.jobs.remove(run.key):
            raise ConfigError("it does not wait in the queue: stop it instead")

    def about(self, run: Found) -> dict[str, Any]:
        """Everything that the page shows of a run."""
        told = self.runs.told(run)
        is_begun = run.path is not None and run.record is not None
        where = standing(run.path) if run.path is not None and is_begun else None
        last = None if where is None else where.last
        rungs = () if where is None else where.rungs
        job = self.jobs.job(run.key)
        content = job.get("content")
        told |= {
            "rung": None if last is None else last.rung,
            "step": None if last is None else last.iteration,
            "rungs": [
                {"size": f"{r.width}x{r.height}", "width": r.width, "height": r.height}
                | {"steps": r.steps}
                for r in rungs
            ],
            "trace": trace(run.path) if run.path is not None and is_begun else [],
            "command": self._command(run),
            "dpi": self._dpi(run),
            "error": self._error(run, str(told["state"])),
            "content_preview": f"/api/pictures/{content}/preview.jpg" if content else None,
            "picture": self._picture(run, str(told["state"])),
            "downloads": self.deliveries.offered(run) if told["state"] == "done" else [],
        }
        return told

    def _command(self, run: Found) -> str:
        """What repeats a run, typed in the folder."""
        command = self.jobs.job(run.key).get("command")
        if command:
            return str(command)
        with suppress(ConfigError, AssertionError):
            if run.record is not None:
                return shlex.join(["hires", "stylize", *self._typed(job_of(run.record.settings))])
        return ""

    def _dpi(self, run: Found) -> float | None:
        with suppress(ConfigError):
            if run.record is not None:
                return job_of(run.record.settings).print.dpi_of_file
        return None

    def _error(self, run: Found, state: str) -> str | None:
        if state != "failed":
            return None
        return self.jobs.said(run.key) or "it ended without a word"

    def _picture(self, run: Found, state: str) -> dict[str, Any] | None:
        """What can be looked at pixel for pixel: a painting, or what was saved of one so far."""
        size = self.runs.size(run) if state in ("done", "stopped") else None
        return None if size is None else {"key": run.key, "width": size[0], "height": size[1]}

    def zoomed(self, key: str) -> Path | None:
        """The picture of a run, or one that was uploaded, by its id."""
        run = self.runs.find(key)
        if run is None:
            folder = self._store.find("pictures", key)
            return None if folder is None else self.pictures.path(key, "picture")
        return run.output if run.output is not None and run.output.is_file() else None

    def preview(self, run: Found) -> Path | None:
        """The picture so far; one of what has none yet is made of its file."""
        found = self.runs.preview(run)
        if found is None and run.output is not None and self.runs.state(run) == "done":
            path = self._store.place("jobs", run.key)
            if path.is_dir() and run.output.is_file():
                look([str(run.output), str(path / PREVIEW), str(self._most_pixels)])
                return path / PREVIEW
        return found

    def close(self) -> None:
        """End what nobody looks at any more; runs go on."""
        self.tasks.close()
        self.deliveries.close()
