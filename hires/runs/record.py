"""What a run directory tells of its run.

`settings.json` holds what is painted, of which files, where and by what; `state.json` how far it
has come. No torch: what cannot be resumed is refused at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hires.errors import ConfigError
from hires.utils.files import write_json

LAYOUT = 1
TRACE, PAGE, PREVIEW = "trace.jsonl", "index.html", "preview.jpg"
LOCK, LADDER, STOP, CLOSE_UP = ".lock", "ladder.json", "stop", "closeup.json"
CHECKPOINT = r"checkpoint-(\d+)-(\d+)\.safetensors"
SETTINGS, _STATE = "settings.json", "state.json"
# Files that runs leave, besides the record and the lock.
OURS = re.compile(
    rf"{_STATE}|{TRACE}|{LADDER}|{STOP}|{CLOSE_UP}|{PAGE}|{PREVIEW}|rung-\d+\.jpg|{CHECKPOINT}"
)
# Of a run, but not of its painting: these may differ between two calls for the same picture.
ASIDE = ("quiet", "save_every", "run_dir", "no_run_dir", "checkpoint_every", "preview")


class RunDirectoryError(ConfigError):
    """A run directory that cannot be used; the message says what to do."""


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
        return self._essence() == other._essence()

    def _essence(self) -> object:
        settings = {name: value for name, value in self.settings.items() if name not in ASIDE}
        parts = self.hires, settings, self.inputs, self.machine, self.threads
        return json.loads(json.dumps(parts))

    def folder_of(self, path: Path) -> Path:
        """Where the paths in the settings start; it may have moved with the run directory ``path``.

        Raises:
            RunDirectoryError: if it is gone.
        """
        moved = Path(os.path.normpath(path.absolute() / self.folder[1]))
        folders = [folder for folder in (moved, Path(self.folder[0])) if folder.is_dir()]
        for folder in folders:
            if all((folder / name).is_file() for name in self.inputs):
                return folder
        if not folders:
            raise RunDirectoryError(f"{path}: the run began in {self.folder[0]}, which is gone")
        return folders[0]

    def write(self, path: Path) -> None:
        """Write it into a run directory; from then on, everything else there is of no run."""
        write_json(path / SETTINGS, asdict(self))


def read_record(path: Path) -> Record:
    """What is painted in a directory.

    Raises:
        RunDirectoryError: if it is no run directory, half deleted, or of another layout.
    """
    if not path.is_dir():
        raise RunDirectoryError(f"{path}: there is no such run directory")
    names = [file.name for file in path.iterdir()]
    if SETTINGS not in names:
        ours = any(map(OURS.fullmatch, names))
        problem = "is half deleted: it has no settings.json" if ours else "is no run directory"
        raise RunDirectoryError(f"{path} {problem}")
    try:
        found = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
        layout = found["layout"]
        if layout == LAYOUT:
            record = Record(**found)
            _check_shape(record)
            return record
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunDirectoryError(f"{path} is damaged: its settings.json cannot be read") from None
    raise RunDirectoryError(
        f"{path} was made by another version of hires (layout {layout}, this one reads {LAYOUT}):"
        f" continue with hires {found.get('hires', 'of that time')}, or start anew"
    )


def _check_shape(record: Record) -> None:
    """Refuse what nobody can have written here.

    Raises:
        TypeError: for parts of another type.
    """
    parts = record.settings, record.inputs, record.machine
    texts = (record.hires, record.run, record.begun, *record.folder, *record.inputs)
    groups = (record.settings.get(name, {}) for name in ("config", "print", "guides", "delivery"))
    is_right = (
        all(isinstance(part, dict) for part in (*parts, *groups))
        and all(isinstance(text, str) for text in texts)
        and len(record.folder) == 2
        and isinstance(record.settings.get("output"), str | None)
    )
    if not is_right:
        raise TypeError


def read_unfinished(path: Path) -> Record:
    """What is painted in a directory and not yet saved.

    Raises:
        RunDirectoryError: if the painting is saved, and for what `read_record` refuses.
    """
    record = read_record(path)
    if is_finished(path, record):
        output = record.settings.get("output")
        raise RunDirectoryError(f"{path} is finished: its painting was saved as {output}")
    return record


def write_state(path: Path, run: str, *, checkpoints: bool = False, finished: bool = False) -> None:
    """Note how far a run has come: whether it has checkpoints, whether its painting is saved."""
    state = {"run": run, "checkpoints": checkpoints, "finished": finished}
    write_json(path / _STATE, state)


def is_finished(path: Path, record: Record) -> bool:
    """Whether the painting of a directory is saved."""
    state = _state(path)
    return bool(state.get("run") == record.run and state.get("finished"))


def has_checkpoints(path: Path) -> bool:
    """Whether a checkpoint was ever written there."""
    return bool(_state(path).get("checkpoints"))


def _state(path: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads((path / _STATE).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
