"""The queue: jobs on disk, one after the other on each device, each a process of its own.

All that is known of a job lies in its folder, so that a server that was stopped finds everything
as it was: what waits, what runs (runs go on without it), what has ended.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any

from hires.errors import ConfigError
from hires.serve import processes
from hires.serve.processes import Known
from hires.serve.store import Store, now, read_json, write

MOST_QUEUED = 20
_JOB, _STATE = "job.json", "state.json"
QUEUED, STARTED, ENDED, REMOVED = "queued", "started", "ended", "removed"


class QueueFullError(ConfigError):
    """No further job is taken at the moment."""


class Jobs:
    """The jobs of a store.

    Args:
        store: where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = RLock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._states: dict[str, dict[str, Any]] = {}
        self._jobs: dict[str, dict[str, Any]] = {}
        for folder in store.all("jobs"):
            job, state = read_json(folder / _JOB), read_json(folder / _STATE)
            if job and state:
                self._jobs[folder.name], self._states[folder.name] = job, state

    def add(self, key: str, job: Mapping[str, Any]) -> None:
        """Put a job at the end of the queue.

        Args:
            key: its id; its folder is made if need be.
            job: ``words`` to start it with, ``device``, ``name``, ``run`` (its run directory) and
                whatever else is to be kept.

        Raises:
            QueueFullError: if too many wait already.
        """
        with self._lock:
            self.require_room()
            folder = self._store.place("jobs", key)
            folder.mkdir(exist_ok=True)
            self._jobs[key] = {"made": now(), **job}
            write(folder / _JOB, self._jobs[key])
            self._enqueue(key)

    def require_room(self) -> None:
        """Refuse what the queue has no room for.

        Raises:
            QueueFullError: if too many wait already.
        """
        if len(self._in(QUEUED)) >= MOST_QUEUED:
            raise QueueFullError(
                f"{MOST_QUEUED} runs are queued already: wait for one to end, or remove one"
            )

    def again(self, key: str, words: Sequence[str]) -> None:
        """Queue a job that has ended once more, with other words.

        Raises:
            QueueFullError: if too many wait already.
        """
        with self._lock:
            self.require_room()
            self._jobs[key] = {**self._jobs[key], "words": [*words]}
            write(self._store.place("jobs", key) / _JOB, self._jobs[key])
            self._enqueue(key)

    def _enqueue(self, key: str) -> None:
        numbers = [int(state.get("number", 0)) for state in self._states.values()]
        self._set(key, {"state": QUEUED, "number": max(numbers, default=0) + 1})

    def _set(self, key: str, state: dict[str, Any]) -> None:
        self._states[key] = state
        write(self._store.place("jobs", key) / _STATE, state)

    def remove(self, key: str) -> bool:
        """Take a job out of the queue; returns whether it waited there."""
        with self._lock:
            if self.state(key) != QUEUED:
                return False
            self._set(key, {"state": REMOVED})
            return True

    def job(self, key: str) -> Mapping[str, Any]:
        """What was asked for; empty for none."""
        return self._jobs.get(key, {})

    def known(self) -> list[str]:
        """All ids but of what was removed."""
        return [key for key, state in self._states.items() if state["state"] != REMOVED]

    def state(self, key: str) -> str | None:
        """What a job is: queued, started, ended, removed; None for none."""
        return self._states.get(key, {}).get("state")

    def code(self, key: str) -> int | None:
        """How a job that has ended did so; None if nobody was there to see it."""
        found = self._states.get(key, {}).get("code")
        return found if isinstance(found, int) else None

    def said(self, key: str) -> str:
        """The last line that a job's process has said."""
        return processes.said(self._store.place("jobs", key))

    def is_busy(self) -> bool:
        """Whether something waits or runs."""
        return any(state["state"] in (QUEUED, STARTED) for state in self._states.values())

    def _in(self, wanted: str) -> list[str]:
        found = [key for key, state in self._states.items() if state["state"] == wanted]
        return sorted(found, key=lambda key: int(self._states[key].get("number", 0)))

    def stop(self, key: str) -> None:
        """Stop a job's process as Ctrl-C does, once: a run then saves what it has painted."""
        with self._lock:
            process = self._process(key)
            if self.state(key) == STARTED and process is not None and not self.is_stopping(key):
                self._set(key, {**self._states[key], "stopping": True})
                process.terminate()

    def is_stopping(self, key: str) -> bool:
        """Whether a job's process was told to stop."""
        return bool(self._states.get(key, {}).get("stopping"))

    def tick(self, elsewhere: Sequence[str] = ()) -> list[str]:
        """See what has ended, and start what may begin.

        Args:
            elsewhere: devices on which runs are painted that are none of these jobs.

        Returns:
            Ids of the jobs that have ended since the last time.
        """
        with self._lock:
            ended = [key for key in self._in(STARTED) if self._has_ended(key)]
            taken = [*elsewhere, *(self._device(key) for key in self._in(STARTED))]
            for key in self._in(QUEUED):
                device = self._device(key)
                if not any(_is_same(device, other) for other in taken):
                    self._start(key)
                taken.append(device)  # Nor does one overtake another.
            return ended

    def _device(self, key: str) -> str:
        return str(self._jobs[key].get("device", "auto"))

    def _start(self, key: str) -> None:
        folder = self._store.place("jobs", key)
        words = [str(word) for word in self._jobs[key]["words"]]
        number = self._states[key].get("number", 0)
        try:
            child = processes.start(words, folder=self._store.folder, log_folder=folder)
        except OSError as error:
            (folder / processes.LOG).write_text(f"cannot be started: {error}\n", encoding="utf-8")
            self._set(key, {"state": ENDED, "number": number, "code": 2})
            return
        self._children[key] = child
        began = processes.known(child.pid)
        state = {"state": STARTED, "number": number, "pid": began.pid, "began": began.began}
        self._set(key, state)

    def _process(self, key: str) -> Known | None:
        state = self._states[key]
        with suppress(KeyError, TypeError, ValueError):
            return Known(int(state["pid"]), str(state["began"]))
        return None

    def _has_ended(self, key: str) -> bool:
        child, number = self._children.get(key), self._states[key].get("number", 0)
        if child is not None:
            code = child.poll()
            if code is None:
                return False
            del self._children[key]
        else:
            process = self._process(key)
            if process is not None and process.is_alive:
                return False
            code = None
        self._set(key, {"state": ENDED, "number": number, "code": code})
        return True


def _is_same(one: str, other: str) -> bool:
    """Whether two devices may be one: ``auto`` may be any."""
    short = {"cuda": "cuda:0"}
    one, other = short.get(one, one), short.get(other, other)
    return one == other or "auto" in (one, other)


def log_of(store: Store, key: str) -> Path:
    """What a job's process has said."""
    return store.place("jobs", key) / processes.LOG
