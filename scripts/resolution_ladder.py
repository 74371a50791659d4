#!/usr/bin/env python3
"""Paint one photograph at several sizes, each started from the one before, and compare them.

    scripts/resolution_ladder.py CONTENT STYLE [STYLE ...] --sizes 256 512 1024 --repeats 3 -o study

Every style is painted by itself, once for each of --repeats seeds; with --style-weights, all styles
are mixed into one. Saves into a folder: every picture (of several styles or repeats, in a folder
for each), ``ladder.csv`` (time, memory, losses and the measures of `hires compare`, a line for each
picture), ``contact_sheet.jpg`` (every size whole and a part of it pixel by pixel), and
``report.html``: pictures, plots with mean and spread, and tables in one file that needs nothing
else. Before the first rung a few steps are painted that are neither measured nor saved: what is
loaded and compiled once does not count as the first rung's time. Plots need matplotlib (the extra
``bench``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from hires.utils.memory import manage_heap
from hires.utils.openmp import bound_waiting

if __name__ == "__main__":  # Before torch is loaded, as the command does.
    manage_heap()
    bound_waiting()

from ladder_report import Sample, write_report
from ladder_series import Judges, Row, Series, climb, save_table, warm_up
from torch import Tensor

from hires.bench.report import environment
from hires.cli.display import clock_time, open_display
from hires.cli.exits import EXIT_INTERRUPTED, guarded, tell
from hires.cli.options import Typed
from hires.cli.parsing import parse
from hires.config.checks import bounded, given, leave_out
from hires.config.job import Job
from hires.config.run import changed
from hires.config.values import format_bytes
from hires.errors import ConfigError, ImageError
from hires.features.network import Network
from hires.image.contact_sheet import Cell, contact_sheet
from hires.image.decode.read import load_image
from hires.image.encode.save import check_output, save_image
from hires.image.resample import resize
from hires.judging.comparison import crop_places, networks_of
from hires.runs.planning import files_of, plan_job
from hires.utils.names import unique_names

PROG = "resolution_ladder"
PANEL = 360  # width of a panel on the contact sheet and in the report, in pixels
TABLE, SHEET, REPORT = "ladder.csv", "contact_sheet.jpg", "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study(Job):
    """Paint a ladder of --sizes, each from the one before, and save all of them side by side."""

    output: Annotated[str, Typed(short="-o", metavar="DIR")] = "ladder"
    """Folder for the pictures, ladder.csv, contact_sheet.jpg and report.html; made if missing."""

    repeats: int = bounded(1, 1)
    """How often each style is painted: with --seed, and with those that follow it."""

    no_judge: bool = False
    """Leave out the measures of hires compare, which take time for large pictures."""

    def __post_init__(self) -> None:
        """Refuse a study without sizes, and options that would do nothing."""
        idle = given(self, ("finish",))
        for part in (self.print, self.delivery):
            idle += given(part, [field.name for field in fields(part)])
        leave_out(idle, "is for a single painting")
        super(Study, self).__post_init__()
        if not self.config.sizes:
            raise ConfigError("missing --sizes: name the long sides, for example 256 512 1024")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; exit codes as those of ``hires``."""
    return guarded(PROG, lambda: run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Paint every rung of every style and seed, saving as it goes; then report."""
    try:
        study = parse(Study, argv, prog=PROG)
    except SystemExit:  # --help
        return 0
    if find_spec("matplotlib") is None:
        raise ConfigError("the report's plots need matplotlib: pip install matplotlib")
    folder = Path(study.output)
    if folder.exists() and not folder.is_dir():
        raise ImageError(f"cannot save into {folder}: it is a file; name a folder")
    series = series_of(study)
    networks = {} if study.no_judge else networks_of(["compact"])
    rows: list[Row] = []
    samples: list[Sample] = []
    with made([folder, *(one.folder for one in series)]):
        for one in series:
            check_outputs(study, one)
        try:
            warm_up(series[0])
            for one in series:
                paint(study, one, networks, rows, samples)
        except KeyboardInterrupt:
            total = len(series) * len(study.config.sizes)
            tell(PROG, f"interrupted: {len(rows)} of {total} sizes are saved in {folder}")
            return EXIT_INTERRUPTED
    save_image(sheet(samples, len(study.config.sizes)), folder / SHEET)
    device = series[0].planned.run.setup.device
    write_report(folder / REPORT, study, rows, samples, environment(device))
    if not study.quiet:
        print(f"{folder}: {len(rows)} pictures, {TABLE}, {SHEET}, {REPORT}")
    return 0


@contextmanager
def made(folders: Sequence[Path]) -> Iterator[None]:
    """Make folders that are missing; in the end, those that were made and are empty are gone."""
    new: list[Path] = []
    try:
        for folder in folders:
            missing = [path for path in (folder, *folder.parents) if not path.exists()]
            for path in reversed(missing):
                path.mkdir()
                new.append(path)
        yield
    finally:
        for path in reversed(new):
            with suppress(OSError):  # It holds pictures.
                path.rmdir()


def series_of(study: Study) -> list[Series]:
    """What is painted, all of it planned and checked before the first step."""
    is_mixed = bool(study.config.style_weights)
    groups = [study.styles] if is_mixed else [(style,) for style in study.styles]
    names = unique_names([" + ".join(Path(style).stem for style in group) for group in groups])
    seeds = [study.config.seed + number for number in range(study.repeats)]
    found: list[Series] = []
    told: set[str] = set()
    for name, group in zip(names, groups, strict=True):
        for seed in seeds:
            one = planned_series(study, group, name, seed, len(groups) * len(seeds) > 1)
            found.append(one)
            # Of a seed that does nothing: the report says whether repeats differ.
            notes = [note for note in one.planned.run.warnings if not note.startswith("`seed=")]
            told.update(f"{name}: {note}" if len(groups) > 1 else note for note in notes)
    for warning in sorted(told):
        tell(PROG, f"warning: {warning}")
    return found


def planned_series(
    study: Study, styles: tuple[str, ...], name: str, seed: int, is_of_several: bool
) -> Series:
    """A ladder in one style with one seed."""
    job = Job(
        content=study.content,
        styles=styles,
        bit_depth=study.bit_depth,
        config=changed(study.config, seed=seed),
        guides=study.guides,
    )
    folder = Path(study.output)
    if is_of_several:
        folder /= f"{name}-{seed}"
    return Series(style=name, seed=seed, planned=plan_job(job), folder=folder)


def check_outputs(study: Study, series: Series) -> None:
    """Refuse what cannot be saved; nothing that is read is replaced by what is saved."""
    inputs = files_of(series.planned.job)
    for size in study.config.sizes:
        check_output(series.path(size), bit_depth=study.bit_depth, inputs=inputs)
    check_output(Path(study.output) / SHEET, inputs=inputs)


def paint(
    study: Study,
    series: Series,
    networks: dict[str, Network],
    rows: list[Row],
    samples: list[Sample],
) -> None:
    """Paint one ladder; at every rung's end save its picture, its row and what is shown of it."""
    job = series.planned.job
    assert job.content is not None
    content = load_image(job.content)
    judges = Judges(content=content, style=load_image(job.styles[0]), networks=networks)
    focus = busiest(content)
    with open_display(quiet=study.quiet) as display:
        for row, picture in climb(series, display, judges if networks else None):
            rows.append(row)
            series.planned.save(picture, series.path(row.long_side))
            save_table(rows, Path(study.output) / TABLE)
            if series.seed == study.config.seed:
                samples.append(sample(row, picture, focus))


def busiest(content: Tensor) -> tuple[float, float]:
    """Where the photograph is busiest, as shares of its height and width."""
    height, width = content.shape[2:]
    side = max(min(height, width) // 4, 1)
    top, left = crop_places(content, side)[0]
    return (top + side / 2) / height, (left + side / 2) / width


def sample(row: Row, picture: Tensor, focus: tuple[float, float]) -> Sample:
    """A rung whole, as wide as a panel, and pixel by pixel around the same place of the scene."""
    height, width = row.size
    whole = resize(picture, (max(round(PANEL * height / width), 1), PANEL), clamp=True)
    side = min(PANEL, height, width)
    top, left = (
        min(max(round(share * length - side / 2), 0), length - side)
        for share, length in zip(focus, row.size, strict=True)
    )
    return Sample(row=row, whole=whole, detail=picture[..., top : top + side, left : left + side])


def sheet(samples: Sequence[Sample], columns: int) -> Tensor:
    """Every style's rungs in a row, whole, and in the next row pixel by pixel."""
    cells: list[Cell] = []
    for start in range(0, len(samples), columns):
        row = samples[start : start + columns]
        cells += [Cell(picture=one.whole, title=title(one.row), lines=said(one.row)) for one in row]
        cells += [Cell(picture=one.detail, lines=("pixel by pixel",)) for one in row]
    return contact_sheet(cells, columns, side=PANEL)


def title(row: Row) -> str:
    """``impasto, 512x384``."""
    return f"{row.style}, {row.size[1]}x{row.size[0]}"


def said(row: Row) -> tuple[str, ...]:
    """What is told below a picture."""
    took = f"{row.iterations} steps, {clock_time(row.seconds)}"
    losses = ", ".join(f"{name} {value:#.2g}" for name, value in row.terms.items())
    return f"{took}, {format_bytes(row.peak_memory_bytes)}", losses


if __name__ == "__main__":
    sys.exit(main())
