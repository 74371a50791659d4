"""The run directory: what a run leaves behind so that nothing is lost.

``checkpoint-RUNG-STEP.safetensors`` are snapshots, of which the newest two are kept until the
painting is saved. Every file appears whole or not at all.
"""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from hires.engine.snapshot import Snapshot, SnapshotError, read_snapshot, write_snapshot
from hires.runs.record import (
    CHECKPOINT,
    LOCK,
    OURS,
    Record,
    RunDirectoryError,
    has_checkpoints,
    write_state,
)
from hires.tiling.geometry import Span

NUM_KEPT = 2
# Whoever only looks whether there is a run (`hires.runs.watch`) holds the lock for a moment.
_PATIENCE = 0.2  # seconds
_LEFTOVER = re.compile(r"\.[0-9a-f]{16}(\.\w+)?")
# Some network shares have no locks; there it is up to the user.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


class InProgressError(RunDirectoryError):
    """Another process paints there."""


class RunDirectory:
    """The directory of one run, locked as long as it is open.

    Args:
        path: the directory.
        record: what is painted in it.
        is_begun: whether `record` stands in the directory already.

    Raises:
        InProgressError: if another process has it open.
    """

    def __init__(self, path: Path, record: Record, *, is_begun: bool) -> None:
        self.path = path
        self.record = record
        self.is_begun = is_begun
        self._lock = _locked(path) if path.exists() else None
        self._newest: Path | None = None

    def begin(self) -> None:
        """Make the directory and write the record down, over that of a finished run.

        Raises:
            OSError: if that is not possible.
            InProgressError: if another process was quicker.
        """
        self.path.mkdir(exist_ok=True)
        self._lock = self._lock or _locked(self.path)
        if not self.is_begun:
            self.record.write(self.path)
            self._remove(OURS.fullmatch)
            write_state(self.path, self.record.run)
            self.is_begun = True
        self._remove(_LEFTOVER.fullmatch)

    def _remove(self, is_meant: Callable[[str], object]) -> None:
        for file in self.path.iterdir():
            if is_meant(file.name):
                file.unlink()

    def checkpoints(self) -> list[Path]:
        """Its checkpoints, the newest first; none if somebody has removed the directory."""
        files = list(self.path.iterdir()) if self.path.is_dir() else []
        found = [(name, file) for file in files if (name := re.fullmatch(CHECKPOINT, file.name))]
        ordered = sorted(found, key=lambda pair: (int(pair[0][1]), int(pair[0][2])), reverse=True)
        return [file for _, file in ordered]

    @property
    def newest(self) -> Path | None:
        """The checkpoint that was read or written last."""
        return self._newest

    def snapshot(self, rows_of: Callable[[int], Span] | None = None) -> Snapshot | None:
        """Where the run stands: the newest checkpoint that is sound; None before the first.

        Args:
            rows_of: see `read_snapshot`.

        Raises:
            RunDirectoryError: if there should be one.
        """
        damaged: list[Path] = []
        for file in self.checkpoints():
            try:
                found = read_snapshot(file, owner=self.record.run, rows_of=rows_of)
            except SnapshotError as error:
                warnings.warn(f"{error}: the one before it is used", stacklevel=2)
                damaged.append(file)
                continue
            for other in damaged:
                other.unlink()  # It would pass for the newest.
            self._newest = file
            return found
        if damaged or has_checkpoints(self.path):
            raise RunDirectoryError(
                f"{self.path} has no sound checkpoint left: start anew with hires stylize"
            )
        return None

    def keep(self, snapshot: Snapshot) -> bool:
        """Write a checkpoint, and remove all but the newest two.

        Returns:
            False if the newest one there is says the same.

        Raises:
            OSError: if it cannot be written; the newest that there is stays.
        """
        name = f"checkpoint-{snapshot.rung + 1}-{snapshot.iteration:06}.safetensors"
        path = self.path / name
        if path == self._newest:
            return False
        try:
            write_snapshot(snapshot, path, owner=self.record.run)
        except OSError:
            older = self.checkpoints()[1:]
            if not older:
                raise
            # A full disk: one checkpoint can make room for the next.
            for file in older:
                file.unlink()
            write_snapshot(snapshot, path, owner=self.record.run)
        if self._newest is None:
            write_state(self.path, self.record.run, checkpoints=True)
        self._newest = path
        for file in self.checkpoints()[NUM_KEPT:]:
            file.unlink()
        return True

    def finish(self) -> None:
        """The painting is saved: the checkpoints are not needed any more."""
        write_state(self.path, self.record.run, checkpoints=True, finished=True)
        for file in self.checkpoints():
            file.unlink()

    def release(self) -> None:
        """Let others in. The lock's file stays: removing it would race with the next owner."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def is_free(path: Path) -> bool:
    """Whether nothing is in a directory but what a run leaves before it begins."""
    names = [file.name for file in path.iterdir()]
    return all(name == LOCK or _LEFTOVER.fullmatch(name) for name in names)


def _locked(path: Path) -> FileLock:
    lock = FileLock(path / LOCK, timeout=_PATIENCE, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise InProgressError(
            f"{path}: another hires is painting there; wait for it, or give another `run_dir`"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return lock
