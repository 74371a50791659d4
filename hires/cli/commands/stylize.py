"""``hires stylize``: paint, show it, and save the picture whatever happens."""

from __future__ import annotations

import time
from collections.abc import Iterable

from hires.cli.display import open_display
from hires.cli.exits import EXIT_INTERRUPTED, mendable, tell
from hires.config.job import PaintJob
from hires.runs.paint import JobRun, open_run


def run(job: PaintJob) -> int:
    """Paint a picture and save it."""
    with open_run(job) as painting:
        return paint(painting)


def tell_warnings(warnings: Iterable[str]) -> None:
    """Tell what the user should know."""
    for warning in warnings:
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
    tell("hires", f"interrupted at {run.where()}: saving {output} (Ctrl-C again gives that up)")
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
