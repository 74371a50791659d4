"""The run directory: what a run leaves behind so that nothing is lost, and how it is found again.

`settings.json` says what is painted, of which files, where and by what; `state.json` how far it has
come; ``checkpoint-RUNG-STEP.safetensors`` are snapshots, of which the newest two are kept until the
painting is saved. Every file appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hires.config.job import PaintJob
from hires.config.settings import job_of, settings_of
from hires.engine.snapshot import Snapshot, SnapshotError, read_snapshot, write_snapshot
from hires.errors import ConfigError
from hires.runs.fingerprint import difference, fingerprint, num_threads
from hires.utils.files import is_writable, sha256, write_json
from hires.utils.locks import Lock
from hires.version import __version__

LAYOUT = 1
NUM_KEPT = 2
_MOST_RUNS = 1000  # unfinished ones, beside one output
_SETTINGS, _STATE, _LOCK = "settings.json", "state.json", ".lock"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)-(\d+)\.safetensors")
_LEFTOVER = re.compile(r"\.[0-9a-f]{16}(\.\w+)?")
# Of a run, but not of its painting: these may differ between two calls for the same picture.
ASIDE = ("quiet", "save_every", "run_dir", "no_run_dir", "checkpoint_every", "preview")


class RunDirectoryError(ConfigError):
    """A run directory that cannot be used; the message says what to do."""


class InProgressError(RunDirectoryError):
    """Another process paints there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What `settings.json` holds.

    Attributes:
        layout: version of the run directory's layout.
        hires: version of the package.
        run: name of the run, by which it knows its checkpoints.
        begun: when, in local time.
        folder: where paths in the settings start: from the root, and from the run directory.
        settings: all that was asked for (`hires.config.settings.settings_of`).
        inputs: SHA-256 of every file that is read.
        machine: what bits depend on (`hires.runs.fingerprint.fingerprint`).
        threads: how many threads compute.
    """

    layout: int
    hires: str
    run: str
    begun: str
    folder: Sequence[str]
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    machine: Mapping[str, str]
    threads: int

    def paints_the_same(self, other: Record) -> bool:
        """Whether both end with the same bits."""
        return _essence(self) == _essence(other)


def _essence(record: Record) -> object:
    settings = {name: value for name, value in record.settings.items() if name not in ASIDE}
    parts = record.hires, settings, record.inputs, record.machine, record.threads
    return json.loads(json.dumps(parts))


def record_of(job: PaintJob, inputs: Sequence[str], directory: Path) -> Record:
    """Write down a run that is about to begin.

    Args:
        job: what is asked for.
        inputs: every file that is read.
        directory: its run directory.
    """
    here = os.getcwd()
    try:
        relative = os.path.relpath(here, os.path.abspath(directory))
    except ValueError:  # another drive of Windows
        relative = here
    return Record(
        layout=LAYOUT,
        hires=__version__,
        run=secrets.token_hex(8),
        begun=datetime.now().astimezone().isoformat(timespec="seconds"),
        folder=[here, relative],
        settings=settings_of(job),
        inputs={path: sha256(path) for path in inputs},
        machine=fingerprint(job.config),
        threads=num_threads(),
    )


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
            # First of all: from here on, everything else in the directory is of no run.
            write_json(self.path / _SETTINGS, asdict(self.record))
            for file in self.path.iterdir():
                if _is_ours(file.name):
                    file.unlink()
            self._write_state()
            self.is_begun = True
        for file in self.path.iterdir():
            if _LEFTOVER.fullmatch(file.name):
                file.unlink()

    def checkpoints(self) -> list[Path]:
        """Its checkpoints, the newest first; none if somebody has removed the directory."""
        if not self.path.is_dir():
            return []
        names = {file: _CHECKPOINT.fullmatch(file.name) for file in self.path.iterdir()}
        found = {file: (int(name[1]), int(name[2])) for file, name in names.items() if name}
        return sorted(found, key=lambda file: found[file], reverse=True)

    def snapshot(self) -> Snapshot | None:
        """Where the run stands: the newest checkpoint that is sound; None before the first.

        Raises:
            RunDirectoryError: if there should be one.
        """
        damaged: list[Path] = []
        for file in self.checkpoints():
            try:
                found = read_snapshot(file, owner=self.record.run)
            except SnapshotError as error:
                warnings.warn(f"{error}: the one before it is used", stacklevel=2)
                damaged.append(file)
                continue
            for other in damaged:
                other.unlink()  # It would pass for the newest.
            self._newest = file
            return found
        if damaged or _state(self.path).get("checkpoints"):
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
            self._write_state(checkpoints=True)
        self._newest = path
        for file in self.checkpoints()[NUM_KEPT:]:
            file.unlink()
        return True

    def finish(self) -> None:
        """The painting is saved: the checkpoints are not needed any more."""
        self._write_state(checkpoints=True, finished=True)
        for file in self.checkpoints():
            file.unlink()

    def release(self) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _write_state(self, *, checkpoints: bool = False, finished: bool = False) -> None:
        state = {"run": self.record.run, "checkpoints": checkpoints, "finished": finished}
        write_json(self.path / _STATE, state)


def _locked(path: Path) -> Lock:
    try:
        return Lock(path / _LOCK)
    except BlockingIOError:
        raise InProgressError(
            f"{path}: another hires is painting there; wait for it, or give another --run-dir"
        ) from None


def _is_ours(name: str) -> bool:
    """Whether a file is one that runs leave, besides the record and the lock."""
    fixed = (_STATE, "trace.jsonl", "index.html", "preview.jpg")
    pattern = _CHECKPOINT.fullmatch(name) or re.fullmatch(r"rung-\d+\.jpg", name)
    return name in fixed or pattern is not None


def read_record(path: Path) -> Record:
    """What is painted in a directory.

    Raises:
        RunDirectoryError: if it is no run directory, half deleted, or of another layout.
    """
    if not path.is_dir():
        raise RunDirectoryError(f"{path}: there is no such run directory")
    names = [file.name for file in path.iterdir()]
    if _SETTINGS not in names:
        ours = any(_is_ours(name) for name in names)
        problem = "is half deleted: it has no settings.json" if ours else "is no run directory"
        raise RunDirectoryError(f"{path} {problem}")
    try:
        found = json.loads((path / _SETTINGS).read_text(encoding="utf-8"))
        layout = found["layout"]
        if layout == LAYOUT:
            return Record(**found)
    except (ValueError, KeyError, TypeError):
        raise RunDirectoryError(f"{path} is damaged: its settings.json cannot be read") from None
    raise RunDirectoryError(
        f"{path} was made by another version of hires (layout {layout}, this one reads {LAYOUT}):"
        f" continue with hires {found.get('hires', 'of that time')}, or start anew"
    )


def is_finished(path: Path, record: Record) -> bool:
    """Whether the painting of a directory is saved."""
    state = _state(path)
    return bool(state.get("run") == record.run and state.get("finished"))


def _state(path: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads((path / _STATE).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def default_path(output: str | Path) -> Path:
    """``out.run`` for ``out.png``."""
    output = Path(output)
    return output.with_name(f"{output.stem}.run")


def claim(job: PaintJob, inputs: Sequence[str]) -> RunDirectory:
    """The directory for a run: a free one, or that of the same run, left unfinished.

    An unfinished run is never overwritten. If it paints something else, and the directory was not
    asked for by name, the next free name is taken: ``out-2.run``.

    Raises:
        RunDirectoryError: if the directory that was asked for cannot be used.
    """
    assert job.output is not None
    if job.run_dir is not None:
        return _claim(Path(job.run_dir), job, inputs)
    first = default_path(job.output)
    refused: list[str] = []
    for number in range(1, _MOST_RUNS + 1):
        path = first if number == 1 else first.with_name(f"{first.stem}-{number}.run")
        try:
            found = _claim(path, job, inputs)
        except InProgressError:
            raise
        except RunDirectoryError as error:
            refused.append(str(error))
            continue
        if refused:
            warnings.warn(f"{refused[0]}; this run is kept in {path}", stacklevel=2)
        return found
    raise RunDirectoryError(f"{first}: too many unfinished runs beside it; remove some")


def _claim(path: Path, job: PaintJob, inputs: Sequence[str]) -> RunDirectory:
    record = record_of(job, inputs, path)
    if not path.exists():
        _require_place(path)
        return RunDirectory(path, record, is_begun=False)
    if path.is_dir() and all(_is_private(file.name) for file in path.iterdir()):
        return RunDirectory(path, record, is_begun=False)
    before = read_record(path)
    if is_finished(path, before):
        return RunDirectory(path, record, is_begun=False)
    directory = RunDirectory(path, before, is_begun=True)
    if record.paints_the_same(before):
        return directory
    directory.release()
    raise RunDirectoryError(
        f"{path} holds an unfinished run with other settings, pictures or machine, and is left"
        f" alone (hires resume {path} continues it)"
    )


def _is_private(name: str) -> bool:
    return name == _LOCK or _LEFTOVER.fullmatch(name) is not None


def _require_place(path: Path) -> None:
    parent = path.absolute().parent
    if not parent.is_dir():
        raise RunDirectoryError(f"{path}: there is no folder {parent}; create it first")
    if not is_writable(path):
        raise RunDirectoryError(f"{path}: no permission to write there; choose another --run-dir")


def reopen(path: Path, *, anyway: bool = False) -> RunDirectory:
    """The directory of an unfinished run, to continue it with the same result.

    Args:
        path: the directory.
        anyway: continue on another machine or with another version, with a warning.

    Raises:
        RunDirectoryError: if the run cannot be continued, or not with the same result.
    """
    record = read_record(path)
    directory = RunDirectory(path, record, is_begun=True)
    try:
        _require_unfinished(path, record)
        _require_inputs(path, record)
        _require_machine(path, record, anyway)
    except BaseException:
        directory.release()
        raise
    return directory


def _require_unfinished(path: Path, record: Record) -> None:
    if is_finished(path, record):
        raise RunDirectoryError(
            f"{path} is finished: its painting was saved as {record.settings.get('output')}"
        )


def folder_of(path: Path, record: Record) -> Path:
    """Where the paths in a run's settings start; it may have moved together with the run."""
    moved = Path(os.path.normpath(path.absolute() / record.folder[1]))
    folders = [folder for folder in (moved, Path(record.folder[0])) if folder.is_dir()]
    for folder in folders:
        if all((folder / name).is_file() for name in record.inputs):
            return folder
    if not folders:
        raise RunDirectoryError(f"{path}: the run began in {record.folder[0]}, which is gone")
    return folders[0]


def _require_inputs(path: Path, record: Record) -> None:
    folder = folder_of(path, record)
    for name, expected in record.inputs.items():
        file = folder / name
        if not file.is_file():
            raise RunDirectoryError(f"{path}: {file} is missing; put it back to continue")
        if sha256(str(file)) != expected:
            raise RunDirectoryError(
                f"{path}: {file} has changed since the run began; put the old one back to"
                " continue, or start anew with hires stylize"
            )


def _require_machine(path: Path, record: Record, anyway: bool) -> None:
    now = {"hires": __version__, **fingerprint(job_of(record.settings).config)}
    found = difference({"hires": record.hires, **record.machine}, now)
    if found is None:
        return
    what = "version" if record.hires != __version__ else "machine"
    if not anyway:
        raise RunDirectoryError(
            f"{path} is from another {what} ({found}), and its painting would differ in the last"
            " bits: continue it there, or here with --anyway"
        )
    warnings.warn(
        f"{path} is from another {what} ({found}): the painting may differ in the last bits",
        stacklevel=2,
    )
