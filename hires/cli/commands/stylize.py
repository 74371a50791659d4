"""``hires stylize``: paint, show it, and save the picture whatever happens."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from functools import partial

from hires.cli.display import open_display
from hires.cli.exits import EXIT_INTERRUPTED, EXIT_MENDABLE, mendable, tell
from hires.config.job import PaintJob
from hires.processes.group import Group
from hires.processes.joining import join
from hires.processes.together import SeveralTogether
from hires.runs.directory import RunDirectory
from hires.runs.paint import JobRun, open_run
from hires.runs.shared import follow, open_shared


def run(job: PaintJob) -> int:
    """Paint a picture and save it; under torchrun together with the other processes."""
    group = join()
    if group is not None:
        return paint_shared(job, group)
    with open_run(job) as painting:
        return paint(painting)


def paint_shared(
    job: PaintJob,
    group: Group,
    *,
    reopened: Callable[[], RunDirectory] | None = None,
    command: str = "stylize",
) -> int:
    """Paint a picture in several processes, of which rank 0 alone says a word.

    Args:
        job: what is asked for.
        group: the processes.
        reopened: opens the directory of a run that is gone on with.
        command: what was typed, for advice that fits it.
    """
    if group.rank:
        warnings.simplefilter("ignore")
    group.last_words = partial(tell, "hires")
    try:
        with SeveralTogether(group).stage():
            directory = None if group.rank or reopened is None else reopened()
        with open_shared(job, directory, group) as painting:
            if group.rank == 0:
                return paint(painting, command=command)
            follow(painting)
            return 0
    except (Exception, KeyboardInterrupt):
        if group.speaks:
            raise
        return EXIT_MENDABLE
    finally:
        group.leave()


def tell_warnings(told: Iterable[str]) -> None:
    """Tell what the user should know."""
    for warning in told:
        tell("hires", f"warning: {warning}")


def paint(run: JobRun, *, command: str = "stylize") -> int:
    """Paint to the end and save the picture.

    Args:
        run: from where its run directory says, or from the start.
        command: what was typed, for advice that fits it.
    """
    tell_warnings(run.planned.run.warnings)
    started = time.monotonic()
    try:
        _paint(run, command)
        if run.job.preview:
            return _show_preview(run)
        painted = run.save()
        tell_warnings(painted.warnings)
    except KeyboardInterrupt:
        return _save_interrupted(run)
    if not run.job.quiet:
        height, width = painted.size
        layout = run.planned.layout
        sheet = "" if layout is None else f", {layout.sheet}"
        ink = "" if painted.ink is None else f", {painted.ink}"
        seconds = time.monotonic() - started
        print(f"{painted.path}: {width}x{height}{sheet}{ink}, painted in {seconds:.1f} s")
    return 0


def _paint(run: JobRun, command: str) -> None:
    """Paint to the end. Whatever ends the painting early, the picture so far is saved beside it."""
    if run.going_on is not None and not run.job.quiet:
        tell("hires", run.going_on)
    with open_display(quiet=run.job.quiet) as display:
        display.begin(run.planned.rungs)
        try:
            for progress in run:
                display.update(progress)
        except Exception as error:
            problem = mendable(error, command)
            if problem is None or run.last is None:
                raise  # A bug, or nothing is painted yet.
            raise ValueError(f"{problem}; {run.rescue(error)}") from error


def _show_preview(run: JobRun) -> int:
    """Save the painting as it stands, and paint the close-up."""
    preview = run.preview()
    saved = f"{preview.path} is saved, the close-up is not{preview.advice}"
    try:
        with open_display(quiet=run.job.quiet) as display:
            display.begin(run.planned.rungs, first=preview.rung.index + 1)
            for progress in preview:
                display.update(progress)
    except KeyboardInterrupt:
        tell("hires", f"interrupted: {saved}")
        return EXIT_INTERRUPTED
    except Exception as error:
        problem = mendable(error, "stylize")
        if problem is None:
            raise
        raise ValueError(f"{problem}; {saved}") from error
    painted = preview.save()
    if not run.job.quiet:
        height, width = painted.size
        print(f"{painted.path}: {width}x{height}, the painting so far{preview.advice}")
        print(f"{painted.close_up}: {preview.about()}")
    return 0


def _save_interrupted(run: JobRun) -> int:
    if run.last is None:
        tell("hires", "interrupted before the first step: nothing is saved")
        return EXIT_INTERRUPTED
    output = run.job.output
    # Where several paint, all of them have to go on until it is saved.
    again = "" if run.planned.run.group is not None else " (Ctrl-C again gives that up)"
    tell("hires", f"interrupted at {run.where()}: saving {output}{again}")
    hint = ""
    try:
        # First what nobody can paint again, in case that there is little time.
        hint = run.stop()
        run.save_so_far(output)
    except KeyboardInterrupt:
        tell("hires", f"interrupted again: nothing is saved{hint}")
        return EXIT_INTERRUPTED
    height, width = run.last.rung.size
    tell("hires", f"{output} holds the picture so far, {width}x{height}{hint}")
    return EXIT_INTERRUPTED
