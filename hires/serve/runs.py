"""All runs of a folder, and the queue: on the disk, so that nothing is lost with the server."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hires.config.settings import job_of
from hires.errors import ConfigError
from hires.runs.record import PREVIEW, RunDirectoryError, has_checkpoints, read_record
from hires.runs.watch import When, ask_to_stop, withdraw_stop
from hires.serve.asked import Asked
from hires.serve.pictures import MOST_PIXELS, look
from hires.serve.processes import known, let_go, start
from hires.serve.store import HIDDEN, Store, now, plain_name, write
from hires.serve.told import JOB, Run, read_run
from hires.serve.words import Words

MOST_QUEUED = 100
# What files that somebody has changed by hand may lead to: their runs are left out.
_NO_RUN = "there is no such run, or its run directory is damaged"
DAMAGED = (TypeError, ValueError, AttributeError, KeyError, OSError)


class NoRunError(ConfigError):
    """An id that no run has."""


class Runs:
    """The runs of a folder.

    Args:
        store: what the page keeps there.
        words: the commands that are started.
    """

    def __init__(self, store: Store, words: Words) -> None:
        self.store, self._words = store, words
        self._lock = threading.RLock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._known: dict[str, tuple[object, dict[str, Any]]] = {}
        self._may_wait = True  # From an earlier server.
        self.latest: list[dict[str, Any]] = []

    def all(self) -> list[Run]:
        """Those of the page and all others, the newest first."""
        found = {run.path: run for run in map(self._noted, self.store.all("jobs")) if run}
        for settings in self._settings_files():
            path = settings.parent
            if path not in found:
                key = _key_of(path.relative_to(self.store.folder))
                found[path] = Run(key=key, folder=self.store.folder, job={}, log=None, path=path)
        return [*found.values()]

    def _settings_files(self) -> list[Path]:
        """Of runs in the folder, or one folder further down, as batches have them."""
        found: list[Path] = []
        for pattern in ("*.run/settings.json", "*/*.run/settings.json"):
            found += [file for file in self.store.folder.glob(pattern) if HIDDEN not in file.parts]
        return [file for file in found if file.resolve().is_relative_to(self.store.folder)]

    def _noted(self, log: Path) -> Run | None:
        return read_run(log.name, self.store.folder, log)

    def find(self, key: object) -> Run:
        """A run by its id.

        Raises:
            NoRunError: if there is none.
        """
        log = self.store.find("jobs", key)
        run = self._noted(log) if log else None
        run = run or next((one for one in self.all() if one.key == key), None)
        with suppress(*DAMAGED):
            if run is not None and run.told():
                return run
        raise NoRunError(_NO_RUN)

    def told(self) -> list[dict[str, Any]]:
        """All runs as the page lists them, the newest first."""
        runs, seen = self.all(), dict[str, tuple[object, dict[str, Any]]]()
        for run in runs:
            stamp, before = run.stamp(), self._known.get(run.key)
            is_still = before and before[0] == stamp and before[1]["state"] in ("done", "queued")
            with suppress(*DAMAGED):
                told = before[1] if before and is_still else run.told()
                seen[run.key] = (stamp, told)
        self._known = seen
        return sorted((told for _, told in seen.values()), key=lambda t: str(t["made"]))[::-1]

    def one(self, run: Run) -> dict[str, Any]:
        """A run in full."""
        with suppress(*DAMAGED):
            return run.told_in_full(self._command(run))
        raise NoRunError(_NO_RUN)

    def _command(self, run: Run) -> str:
        """What repeats it."""
        if run.job.get("command"):
            return str(run.job["command"])
        with suppress(RunDirectoryError, ConfigError, *DAMAGED):
            job = job_of(read_record(run.path).settings)
            return shlex.join(["hires", *self._words.stylize(job)])
        return ""

    def add(self, asked: Asked) -> str:
        """Put a run into the queue; returns its id.

        Raises:
            ConfigError: if the queue is full.
        """
        with self._lock:
            waiting = sum(run.job.get("state") == "queued" for run in self.all())
            if waiting >= MOST_QUEUED:
                raise ConfigError(f"{MOST_QUEUED} runs are waiting already: wait, or remove some")
            key, log = self.store.new("jobs")
            stem = f"{plain_name(asked.name, 'painting')}-{key[:8]}"
            output, path = f"{stem}{asked.ending}", f"{stem}.run"
            if asked.job is None:
                words = self._words.apply(str(asked.model), asked.picture, output)
                device = "auto"
            else:
                job = replace(asked.job, output=output)
                words, device = self._words.stylize(job), job.config.device
            note = {
                "name": asked.name,
                "made": now(),
                "state": "queued",
                "words": words,
                "command": shlex.join(["hires", *words]),
                "device": device,
                "output": output,
                "run_dir": path,
                "content": asked.content,
                "model": asked.model,
                "close_up": asked.close_up,
            }
            write(log / JOB, note)
            self._may_wait = True
            return key

    def stop(self, key: object, when: When) -> None:
        """Stop a run now, or at the end of its size."""
        with self._lock:
            run = self.find(key)
            if run.state not in ("running", "stopping"):
                raise ConfigError(f"the run is {run.state}, and cannot be stopped")
            if run.log is not None and run.job.get("stop") == "now":
                return  # Whoever is told twice does not save.
            if run.log is not None:
                write(run.log / JOB, {**run.job, "stop": when})
            if when == "now" and run.process is not None:
                withdraw_stop(run.path)
                run.process.terminate()
            elif run.path.is_dir():
                ask_to_stop(run.path, when)
            else:
                raise ConfigError("the run has not begun yet; try again in a moment")

    def resume(self, key: object) -> None:
        """Put a run into the queue that was cut short."""
        with self._lock:
            run = self.find(key)
            if run.state not in ("stopped", "failed"):
                raise ConfigError(f"the run is {run.state}, and cannot be resumed")
            log, note = run.log, {**run.job}
            if log is None:
                log = self.store.place("jobs", run.key)
                log.mkdir(exist_ok=True)
                path = run.path.relative_to(self.store.folder).as_posix()
                record = run.record
                note = {"name": run.path.stem, "made": record.begun if record else now()}
                note |= {"run_dir": path, "device": "auto"}
            withdraw_stop(run.path)
            is_begun = run.record is not None and (run.log is None or has_checkpoints(run.path))
            if is_begun:
                note["next"] = self._words.resume(str(note["run_dir"]))
            write(log / JOB, {**note, "state": "queued", "stop": None, "pid": None})
            self._may_wait = True

    def remove(self, key: object) -> None:
        """Take a run out of the queue."""
        with self._lock:
            run = self.find(key)
            if run.state != "queued" or run.log is None:
                raise ConfigError(f"the run is {run.state}, and not in the queue")
            if run.record is not None:
                write(run.log / JOB, {**run.job, "state": "started"})
            else:
                shutil.rmtree(run.log)

    def tick(self, *, is_watched: bool) -> list[str]:
        """Start what can start; returns ids of those that have ended.

        Args:
            is_watched: whether somebody wants to know what there is: it is noted in `latest`.
        """
        with self._lock:
            # Asked for how they have ended: else they stay as zombies.
            ended = [key for key, child in self._children.items() if child.poll() is not None]
            for key in ended:
                del self._children[key]
            if self._may_wait:
                self._start_next()
        if is_watched:
            self.latest = self.told()
        return ended

    def _start_next(self) -> None:
        runs = self.all()
        queued = [run for run in runs if run.job.get("state") == "queued"]
        self._may_wait = bool(queued)
        if not queued:
            return
        busy = {run.device for run in runs if run not in queued and run.is_alive}
        for run in sorted(queued, key=lambda run: str(run.job.get("made"))):
            device = run.device
            # What "auto" becomes is the run's to know, so it shares with nobody.
            if device in busy or (busy and "auto" in (device, *busy)):
                continue
            self._start(run)
            busy.add(device)

    def _start(self, run: Run) -> None:
        assert run.log is not None
        words = self._words.quiet([*(run.job.get("next") or run.job["words"])])
        child = start(words, folder=self.store.folder, log_folder=run.log)
        self._children[run.key] = child
        process = known(child.pid)
        note = {**run.job, "state": "started", "pid": process.pid, "began": process.began}
        write(run.log / JOB, note)

    def close(self) -> None:
        """Leave what is painted to itself."""
        for child in self._children.values():
            let_go(child)

    def make_preview(self, run: Run) -> Path | None:
        """A small picture of a run; of what was painted in seconds it is made when asked for."""
        found, painting = run.preview, run.painting
        if found is None and painting is not None and run.log is not None:
            look([str(painting), str(run.log / PREVIEW), str(MOST_PIXELS)])
            return run.log / PREVIEW
        return found


def _key_of(path: Path) -> str:
    """The id of a run that the page has not begun: the same each time, and no path."""
    return hashlib.sha256(path.as_posix().encode()).hexdigest()[:16]
