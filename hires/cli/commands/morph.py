"""``hires morph``: a strip of paintings from one style to another."""

from __future__ import annotations

import time

from hires.cli.commands.stylize import tell_warnings
from hires.cli.display import open_display
from hires.cli.exits import EXIT_INTERRUPTED, mendable, tell
from hires.config.morph import MorphJob
from hires.config.values import counted
from hires.runs.morph import Strip


def run(job: MorphJob) -> int:
    """Paint the strip and save it."""
    strip = Strip(job)
    started = time.monotonic()
    try:
        _paint(strip)
        height, width = strip.save()
    except KeyboardInterrupt:
        number = min(strip.num_done + 1, job.steps)
        tell("hires", f"interrupted in step {number} of {job.steps}: {_left(strip)}")
        return EXIT_INTERRUPTED
    if not job.quiet:
        seconds = time.monotonic() - started
        told = f"{counted(job.steps, 'picture')}, painted in {seconds:.1f} s"
        print(f"{job.output}: {width}x{height}, {told}")
    return 0


def _paint(strip: Strip) -> None:
    """Paint all pictures, and show how far they are."""
    job, told = strip.job, set[str]()
    with open_display(quiet=job.quiet) as display:
        try:
            for step in strip:
                # Mostly the same of every picture.
                warnings = strip.planned.run.warnings
                tell_warnings(one for one in warnings if one not in told)
                told.update(warnings)
                share = (step.number - 1) / (job.steps - 1)
                shares = f"{1 - share:.2f} : {share:.2f}"
                display.tell(step.fraction, f"step {step.number}/{job.steps}, styles {shares}")
        except Exception as error:
            problem = mendable(error, "morph")
            if problem is None or not strip.num_done:
                raise
            raise ValueError(f"{problem}; {_left(strip)}") from error


def _left(strip: Strip) -> str:
    """What is there of a strip that is not finished."""
    job, done = strip.job, strip.num_done
    if not (job.frames and done):
        return "nothing is saved"
    last = "" if done == 1 else f" to {job.frame_path(done)}"
    return f"{job.frame_path(1)}{last} {'is' if done == 1 else 'are'} saved, the strip is not"
