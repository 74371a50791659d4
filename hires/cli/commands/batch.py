"""``hires batch``: many paintings, one after the other; one that fails does not stop the others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hires.cli.arguments.painting import Batch
from hires.cli.commands import stylize
from hires.cli.exits import EXIT_INTERRUPTED, EXIT_MENDABLE, as_typed, mendable, tell
from hires.cli.options import UsageError, options_of
from hires.cli.parsing import parse
from hires.config.batch import Row, output_name, part_of, read_table, shard_of
from hires.config.job import PaintJob
from hires.errors import ConfigError
from hires.image.decode.stored import picture_size
from hires.image.encode.save import save_image
from hires.runs.batch import Done, Entry, check_outputs, pictures_of, sheets_of, write_summary
from hires.runs.paint import open_run
from hires.utils.memory import return_freed_memory


def run(batch: Batch) -> int:
    """Paint all jobs of this process's part, and tell what became of them."""
    shard = shard_of(batch.shard, os.environ)
    every = [*_entries(batch)]
    check_outputs(every)
    entries = [entry for _, entry in part_of(every, shard)]
    folder = Path(batch.output)
    folder.mkdir(parents=True, exist_ok=True)
    name = "" if shard[1] == 1 else f"-{shard[0]}-of-{shard[1]}"
    summary = folder / f"summary{name}.csv"
    if not batch.quiet:
        part = "" if shard[1] == 1 else f", part {shard[0]} of {shard[1]} of {len(every)}"
        tell("hires", f"{len(entries)} jobs{part}; {summary} tells what becomes of them")
    done = Done()
    for place, entry in enumerate(entries, 1):
        is_stopped = _paint(entry, done, f"job {place}/{len(entries)}", quiet=batch.quiet)
        write_summary(summary, entries)
        if is_stopped:
            return EXIT_INTERRUPTED
    if not batch.no_sheet:
        _save_sheets(folder, name, entries)
    return _tell_end(entries, quiet=batch.quiet)


def _save_sheets(folder: Path, name: str, entries: Sequence[Entry]) -> None:
    for number, sheet in enumerate(sheets_of(entries), 1):
        page = "" if number == 1 else f"-{number}"
        save_image(sheet, folder / f"contact-sheet{name}{page}.jpg")


def _tell_end(entries: Sequence[Entry], *, quiet: bool) -> int:
    failed = [entry for entry in entries if entry.state == "failed"]
    counts = [
        f"{number} {state}"
        for state in ("painted", "done before", "failed")
        if (number := sum(entry.state == state for entry in entries))
    ]
    if not quiet:
        print(f"{len(entries)} jobs: {', '.join(counts)}")
    for entry in failed:
        tell("hires", f"job {entry.number} failed: {entry.problem}")
    return EXIT_MENDABLE if failed else 0


def _paint(entry: Entry, done: Done, name: str, *, quiet: bool) -> bool:
    """Paint a job unless it is painted; returns whether the user stopped it."""
    if entry.job is None:
        return False
    started = time.monotonic()
    try:
        if done(entry.job):
            entry.state = "done before"
        else:
            if not quiet:
                tell("hires", f"{name}: {entry.job.output}")
            with open_run(entry.job) as painting:
                if stylize.paint(painting, command="batch") == EXIT_INTERRUPTED:
                    return True
                entry.state, entry.seconds = "painted", time.monotonic() - started
                assert painting.painted is not None
                entry.size = painting.painted.size
        if entry.size is None and not entry.job.output.lower().endswith(".pdf"):
            entry.size = picture_size(entry.job.output)
    except KeyboardInterrupt:
        tell("hires", f"interrupted before the first step of {entry.job.output}")
        return True
    except Exception as error:
        problem = mendable(error, "batch")
        if problem is None:
            raise
        entry.fail(as_typed(problem))
        if not quiet:
            tell("hires", f"{name} failed: {problem}")
    return_freed_memory()
    return False


def _entries(batch: Batch) -> Iterator[Entry]:
    """All jobs; one whose options are not allowed has failed already."""
    base = PaintJob(
        content="content",
        styles=("style",),
        output="output.png",
        bit_depth=batch.bit_depth,
        no_run_dir=batch.no_run_dir,
        quiet=batch.quiet,
        config=batch.config,
        print=batch.print,
        delivery=batch.delivery,
    )
    for number, row in enumerate(_rows(batch), 1):
        try:
            yield Entry(number=number, job=_job(row, base, batch, number))
        except (ConfigError, UsageError) as error:
            entry = Entry(number=number)
            entry.fail(as_typed(str(error)))
            yield entry


def _rows(batch: Batch) -> Iterator[Row]:
    """Options of each job, as they would be typed."""
    folder = Path(batch.output)
    styles = pictures_of(batch.styles, recursive=batch.recursive, without=[folder])
    if not batch.is_table:
        if not Path(batch.jobs).exists():
            raise ConfigError(f"cannot read {batch.jobs}: there is no such folder; check the path")
        if not Path(batch.jobs).is_dir():
            raise ConfigError(f"{batch.jobs} is no folder, and no table (.csv, .jsonl)")
        if folder.resolve() == Path(batch.jobs).resolve():
            raise ConfigError(f"{batch.output} holds the photographs: choose another `output`")
        contents = pictures_of([batch.jobs], recursive=batch.recursive, without=[folder])
        for content in contents:
            yield from ({"content": (content,), "styles": (style,)} for style in styles)
        return
    known = {option.field.name for option in options_of(PaintJob)} - {"source", "preview"}
    for row in read_table(Path(batch.jobs)):
        for name in row:
            if name not in known:
                raise ConfigError(f"{batch.jobs} has a column '{name}', which is no option")
        if "styles" in row or not styles:
            yield row
        else:
            yield from ({**row, "styles": (style,)} for style in styles)


def _job(row: Row, base: PaintJob, batch: Batch, number: int) -> PaintJob:
    """The job of a row, with the options of all for what it leaves open."""
    words = {name: value for name, value in row.items() if not isinstance(value, bool)}
    contents, styles = words.pop("content", ()), words.pop("styles", ())
    if not contents or not styles:
        raise ConfigError(f"a job has no {'style' if contents else 'content'}: name one")
    named = words.pop("output", ()) or (output_name(batch.pattern, contents[0], styles, number),)
    flags = {option.field.name: option.flags[-1] for option in options_of(PaintJob)}
    typed = [*contents, *styles, "--output", str(Path(batch.output, *named))]
    for name, values in words.items():
        typed += [flags[name], *values]
    for name, value in row.items():
        if isinstance(value, bool):
            typed.append(flags[name] if value else f"--no-{flags[name][2:]}")
    return parse(PaintJob, typed, prog="hires batch", recorded=lambda _: base)
