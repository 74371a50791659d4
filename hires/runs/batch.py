"""Many jobs, one after the other: what is done already, what became of each, a sheet of all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from hires.config.job import PaintJob
from hires.errors import ConfigError, ImageError
from hires.image.contact_sheet import Cell, contact_sheet
from hires.image.decode.read import read_picture
from hires.image.folders import search
from hires.runs.planning import fitted, recorded_settings
from hires.runs.rerun import provenance_of
from hires.utils.files import check_readable, replacing, sha256
from hires.version import __version__

State = Literal["painted", "done before", "failed", "not begun"]

_COLUMNS = (
    "number",
    "content",
    "styles",
    "output",
    "state",
    "width",
    "height",
    "seconds",
    "problem",
)
_SHEET_SIDE, _SHEET_COLUMNS, _ON_A_SHEET = 384, 4, 60


@dataclass(slots=True, kw_only=True)
class Entry:
    """A job among many, and what has become of it.

    Attributes:
        number: its place among all, from 1.
        job: what is painted; None where what was asked for is no job.
        state: what has become of it.
        size: ``(height, width)`` of its file, once there is one.
        seconds: that it took to paint.
        problem: why it failed, in a line.
    """

    number: int
    job: PaintJob | None = None
    state: State = "not begun"
    size: tuple[int, int] | None = None
    seconds: float | None = None
    problem: str = ""

    def fail(self, problem: str) -> None:
        """Note why there is no painting."""
        self.state, self.problem = "failed", problem


@dataclass(frozen=True, slots=True)
class Done:
    """Tells which jobs are painted already, by what their files tell of themselves.

    Attributes:
        hashes: SHA-256 of the files that jobs read, by path: each is read once.
    """

    hashes: MutableMapping[str, str] = field(default_factory=dict)

    def __call__(self, job: PaintJob) -> bool:
        """Whether the output holds just this job's painting, by this version.

        Raises:
            ValueError: for settings that this machine cannot paint, and files that cannot be read.
        """
        try:
            made = provenance_of(job.output)
        except (ImageError, OSError):
            return False
        if made.stopped or made.version != __version__:
            return False
        if dict(made.settings) != recorded_settings(job, fitted(job).config):
            return False
        inputs = [(role, path, self._hash(path)) for role, path in job.files()]
        return inputs == [(one.role, one.path, one.sha256) for one in made.inputs]

    def _hash(self, path: str) -> str:
        if path not in self.hashes:
            check_readable(Path(path))
            self.hashes[path] = sha256(path)
        return self.hashes[path]


def pictures_of(
    paths: Sequence[str], *, recursive: bool = False, without: Sequence[Path] = ()
) -> list[str]:
    """Pictures by their paths, and all those that lie in folders.

    Args:
        paths: files and folders.
        recursive: whether folders are searched with all that lie in them.
        without: folders not to look in.

    Raises:
        ConfigError: for a folder without any.
        OSError: if a folder cannot be read.
    """
    found: list[str] = []
    for path in paths:
        if not Path(path).is_dir():
            found.append(path)
            continue
        lying = search(Path(path), recursive=recursive, without=without).pictures
        if not lying:
            raise ConfigError(f"{path} has no pictures")
        found += map(str, lying)
    return found


def check_outputs(entries: Sequence[Entry]) -> None:
    """Refuse two jobs that would be saved as the same file.

    Raises:
        ConfigError: with both.
    """
    numbers: dict[Path, int] = {}
    for entry in entries:
        if entry.job is None:
            continue
        path = Path(entry.job.output).absolute()
        if path in numbers:
            raise ConfigError(
                f"jobs {numbers[path]} and {entry.number} are both saved as {entry.job.output}:"
                " give `pattern` with {number}, or a column `output`"
            )
        numbers[path] = entry.number


def write_summary(path: Path, entries: Sequence[Entry]) -> None:
    """Write what became of the jobs as CSV, whole or not at all.

    Raises:
        SaveError: if the system refuses.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows(_row(entry) for entry in entries)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _row(entry: Entry) -> Iterator[object]:
    job, (height, width) = entry.job, entry.size or ("", "")
    yield entry.number
    yield from ("", "", "") if job is None else (job.content, " ".join(job.styles), job.output)
    yield from (entry.state, width, height)
    yield "" if entry.seconds is None else f"{entry.seconds:.1f}"
    yield entry.problem


def sheets_of(entries: Sequence[Entry]) -> Iterator[Tensor]:
    """Small copies of all paintings that are there, under each what it is, 60 to a sheet.

    Returns:
        Sheets, (1, 3, H, W) in [0, 1]; none where nothing is painted.
    """
    shown = [entry for entry in entries if entry.job is not None and entry.state != "not begun"]
    for start in range(0, len(shown), _ON_A_SHEET):
        cells = [_cell(entry) for entry in shown[start : start + _ON_A_SHEET]]
        yield contact_sheet(cells, _SHEET_COLUMNS, side=_SHEET_SIDE)


def _cell(entry: Entry) -> Cell:
    assert entry.job is not None
    title, lines = f"{entry.number}", (Path(entry.job.output).name,)
    if entry.state == "failed":
        return Cell(title=title, lines=(*lines, entry.problem))
    # A PDF is no picture.
    with suppress(ImageError):
        picture = read_picture(entry.job.output, max_long_side=_SHEET_SIDE).pixels
        return Cell(picture=picture, title=title, lines=lines)
    return Cell(title=title, lines=lines)
