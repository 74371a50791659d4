"""Which directory a run gets: a free one, or that of the same run, left unfinished."""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from hires.config.job import PaintJob
from hires.config.run import Config
from hires.config.settings import job_of, settings_of
from hires.image.metadata.provenance import Input
from hires.runs.directory import InProgressError, RunDirectory, is_free
from hires.runs.fingerprint import difference, fingerprint, num_threads
from hires.runs.record import (
    LAYOUT,
    Record,
    RunDirectoryError,
    is_finished,
    read_record,
    read_unfinished,
)
from hires.utils.files import is_writable, sha256
from hires.version import __version__

_MOST_RUNS = 1000  # unfinished ones, beside one output


def claim(job: PaintJob, inputs: Sequence[Input], processes: int = 1) -> RunDirectory:
    """The directory for a run: a free one, or that of the same run, left unfinished.

    An unfinished run is never overwritten. If it paints something else, and the directory was not
    asked for by name, the next free name is taken: ``out-2.run`` for ``out.png``.

    Args:
        job: what is asked for.
        inputs: every file that it reads.
        processes: how many paint it.

    Raises:
        RunDirectoryError: if the directory that was asked for cannot be used.
    """
    if job.run_dir is not None:
        return _claim(Path(job.run_dir), job, inputs, processes)
    output = Path(job.output)
    first = output.with_name(f"{output.stem}.run")
    refused: list[str] = []
    for number in range(1, _MOST_RUNS + 1):
        path = first if number == 1 else first.with_name(f"{first.stem}-{number}.run")
        try:
            found = _claim(path, job, inputs, processes)
        except InProgressError:
            raise
        except RunDirectoryError as error:
            refused.append(str(error))
            continue
        if refused:
            warnings.warn(f"{refused[0]}; this run is kept in {path}", stacklevel=2)
        return found
    raise RunDirectoryError(f"{first}: too many unfinished runs beside it; remove some")


def _record_of(job: PaintJob, inputs: Sequence[Input], path: Path, processes: int) -> Record:
    """Write down a run that is about to begin."""
    return Record(
        layout=LAYOUT,
        hires=__version__,
        run=secrets.token_hex(8),
        begun=datetime.now().astimezone().isoformat(timespec="seconds"),
        folder=_folders(path),
        settings=settings_of(job),
        inputs={one.path: one.sha256 for one in inputs},
        machine=_machine(job.config, processes),
        threads=num_threads(),
    )


def _machine(config: Config, processes: int) -> dict[str, str]:
    """What the last bits depend on, the number of processes included."""
    several = {"processes": str(processes)} if processes > 1 else {}
    return {**fingerprint(config), **several}


def _claim(path: Path, job: PaintJob, inputs: Sequence[Input], processes: int) -> RunDirectory:
    record = _record_of(job, inputs, path, processes)
    if not path.exists():
        _require_place(path)
        return RunDirectory(path, record, is_begun=False)
    if path.is_dir() and is_free(path):
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


def _folders(path: Path) -> tuple[str, str]:
    """The working folder, from the root and from a run directory."""
    here = os.getcwd()
    try:
        return here, os.path.relpath(here, os.path.abspath(path))
    except ValueError:  # another drive of Windows
        return here, here


def _require_place(path: Path) -> None:
    parent = path.absolute().parent
    if not parent.is_dir():
        raise RunDirectoryError(f"{path}: there is no folder {parent}; create it first")
    if not is_writable(path):
        raise RunDirectoryError(f"{path}: no permission to write there; choose another `run_dir`")


def reopen(path: Path, *, anyway: bool = False, processes: int = 1) -> RunDirectory:
    """The directory of an unfinished run, to continue it with the same result.

    Args:
        path: the directory.
        anyway: continue on another machine, with another version or another number of processes,
            with a warning.
        processes: how many paint.

    Raises:
        RunDirectoryError: if the run cannot be continued, or not with the same result.
    """
    directory = RunDirectory(path, read_unfinished(path), is_begun=True)
    try:
        _require_inputs(path, directory.record)
        _require_machine(path, directory.record, anyway, processes)
    except BaseException:
        directory.release()
        raise
    return directory


def _require_inputs(path: Path, record: Record) -> None:
    folder = record.folder_of(path)
    for name, expected in record.inputs.items():
        file = folder / name
        if not file.is_file():
            raise RunDirectoryError(f"{path}: {file} is missing; put it back to continue")
        if sha256(file) != expected:
            raise RunDirectoryError(
                f"{path}: {file} has changed since the run began; put the old one back to"
                " continue, or start anew with hires stylize"
            )


def _require_machine(path: Path, record: Record, anyway: bool, processes: int) -> None:
    now = {"hires": __version__, **_machine(job_of(record.settings).config, processes)}
    found = difference({"hires": record.hires, **record.machine}, now)
    if found is None:
        return
    what = "version" if record.hires != __version__ else "machine"
    if not anyway:
        raise RunDirectoryError(
            f"{path} is from another {what} ({found}), and its painting would differ in the last"
            " bits: continue it there, or here with `anyway`"
        )
    warnings.warn(
        f"{path} is from another {what} ({found}): the painting may differ in the last bits",
        stacklevel=2,
    )
