"""``hires stylize``: paint, show it, and save the picture whatever happens."""

from __future__ import annotations

import time

from hires.arguments import Plan, Stylize
from hires.display import Display, open_display
from hires.easel import Easel, partial_path
from hires.engine import StylizeError
from hires.exits import EXIT_INTERRUPTED, mendable, tell
from hires.images import ImageError


def run(job: Stylize) -> int:
    """Paint a picture and save it."""
    easel = set_up(job)
    started = time.monotonic()
    try:
        with open_display(quiet=job.quiet) as display:
            _paint(easel, display, job.output)
        easel.save(job.output)
    except KeyboardInterrupt:
        return _save_interrupted(easel, job.output)
    if not job.quiet:
        height, width = easel.size
        print(f"{job.output}: {width}x{height}, painted in {time.monotonic() - started:.1f} s")
    return 0


def set_up(job: Plan) -> Easel:
    """Read the pictures and tell what the user should know before the run."""
    easel = Easel(job)
    for warning in easel.warnings:
        tell("hires", f"warning: {warning}")
    return easel


def _paint(easel: Easel, display: Display, output: str) -> None:
    """Paint to the end. Whatever ends the painting early, the picture so far is saved beside it."""
    display.begin(easel.rungs)
    try:
        for progress in easel.steps():
            display.update(progress)
    except Exception as error:
        picture = error.picture if isinstance(error, StylizeError) else None
        if mendable(error) is None or (picture is None and easel.last is None):
            raise
        path = partial_path(output)
        try:
            easel.save(path, picture)
        except ImageError as failure:
            raise ValueError(f"{mendable(error)}; nothing is saved: {failure}") from error
        raise ValueError(f"{mendable(error)}; the last good picture is saved as {path}") from error


def _save_interrupted(easel: Easel, output: str) -> int:
    if easel.last is None:
        tell("hires", "interrupted before the first step: nothing is saved")
        return EXIT_INTERRUPTED
    tell("hires", f"interrupted at {easel.where()}: saving {output} (Ctrl-C again gives that up)")
    try:
        easel.save(output)
    except KeyboardInterrupt:
        tell("hires", "interrupted again: nothing is saved")
        return EXIT_INTERRUPTED
    height, width = easel.last.rung.size
    tell("hires", f"{output} holds the picture so far, {width}x{height}")
    return EXIT_INTERRUPTED
