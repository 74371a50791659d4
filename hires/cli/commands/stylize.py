"""``hires stylize``: paint, show it, and save the picture whatever happens."""

from __future__ import annotations

import time
from collections.abc import Iterator

from hires.cli.commands import preview
from hires.cli.display import Display, open_display
from hires.cli.exits import EXIT_INTERRUPTED, mendable, tell
from hires.config.job import Job, PaintJob
from hires.engine.progress import Progress
from hires.engine.snapshot import Snapshot
from hires.errors import ImageError, StylizeError
from hires.image.colour.inks import TotalInk
from hires.runs import rerun as repeat
from hires.runs.directory import RunDirectory, claim
from hires.runs.painting import Easel, partial_path
from hires.runs.recorder import Recorder


def run(job: PaintJob) -> int:
    """Paint a picture and save it."""
    easel = set_up(job)
    directory = None if job.no_run_dir else claim(job, easel.inputs)
    return paint(easel, job, directory)


def set_up(job: Job) -> Easel:
    """Read the pictures and tell what the user should know before the run."""
    again = repeat.warnings(job) if isinstance(job, PaintJob) and job.source is not None else ()
    easel = Easel(job)
    if isinstance(job, PaintJob) and job.preview:
        preview.check(easel, job.output)
    for warning in (*again, *easel.warnings):
        tell("hires", f"warning: {warning}")
    return easel


def paint(
    easel: Easel, job: PaintJob, directory: RunDirectory | None, *, command: str = "stylize"
) -> int:
    """Paint from where a run directory says, or from the start, and save the picture.

    Args:
        easel: the pictures.
        job: what was asked for.
        directory: where the run is kept, None for nowhere.
        command: what was typed, for advice that fits it.
    """
    started = time.monotonic()
    recorder = None
    if directory is not None:
        recorder = Recorder(directory, easel.rungs, checkpoint_every=job.checkpoint_every)
    try:
        with open_display(quiet=job.quiet) as display:
            _paint(easel, display, recorder, job, command)
        if job.preview:
            advice = _stopped(easel, recorder)
            return preview.show(easel, job.output, advice, quiet=job.quiet)
        ink = _save(easel, recorder, job.output)
        told = None if easel.last is None else easel.last.about_tones()
        if told is not None:
            tell("hires", f"warning: {told}")
    except KeyboardInterrupt:
        return _save_interrupted(easel, recorder, job.output)
    finally:
        if directory is not None:
            directory.release()
    if not job.quiet:
        height, width = easel.file_size
        sheet = "" if easel.layout is None else f", {easel.layout.sheet}"
        told = "" if ink is None else f", {ink}"
        seconds = time.monotonic() - started
        print(f"{job.output}: {width}x{height}{sheet}{told}, painted in {seconds:.1f} s")
    return 0


def _paint(
    easel: Easel, display: Display, recorder: Recorder | None, job: PaintJob, command: str
) -> None:
    """Paint to the end. Whatever ends the painting early, the picture so far is saved beside it."""
    display.begin(easel.rungs)
    try:
        for progress in _steps(easel, recorder, quiet=job.quiet):
            if recorder is not None:
                recorder.observe(progress)
            display.update(preview.until_stop(easel, progress) if job.preview else progress)
            easel.save_step()
            if job.preview and preview.is_reached(easel, progress):
                break
    except Exception as error:
        problem = mendable(error, command)
        if problem is None or easel.last is None:
            raise  # A bug, or nothing is painted yet.
        picture = error.picture if isinstance(error, StylizeError) else None
        hint = "" if picture is not None else _stopped(easel, recorder)
        path = partial_path(job.output)
        try:
            easel.save(path, picture)
        except ImageError as failure:
            raise ValueError(f"{problem}; nothing is saved: {failure}{hint}") from error
        raise ValueError(f"{problem}; the last good picture is saved as {path}{hint}") from error


def _steps(easel: Easel, recorder: Recorder | None, *, quiet: bool) -> Iterator[Progress]:
    """All steps, or those that an unfinished run has left to do."""
    snapshot = None
    if recorder is not None and recorder.directory.is_begun:
        snapshot = recorder.directory.snapshot()
        if not quiet:
            tell("hires", f"{recorder.path}: going on with its run {_where(easel, snapshot)}")
    return easel.steps(snapshot)


def _where(easel: Easel, snapshot: Snapshot | None) -> str:
    if snapshot is None or snapshot.rung >= len(easel.rungs):
        return "from the start"
    rung = easel.rungs[snapshot.rung]
    return (
        f"after rung {rung.index + 1}/{len(easel.rungs)} ({rung.size[1]}x{rung.size[0]}),"
        f" step {snapshot.iteration}/{rung.num_iterations}"
    )


def _save(easel: Easel, recorder: Recorder | None, output: str) -> TotalInk | None:
    """Save the finished painting; if that fails, nothing that was painted is lost."""
    assert easel.last is not None
    try:
        ink = easel.save(output)
    except ImageError as error:
        hint = _stopped(easel, recorder)
        if not hint:
            raise
        raise ImageError(f"{error}{hint}") from error
    if recorder is not None:
        recorder.finish(easel.last)
    return ink


def _stopped(easel: Easel, recorder: Recorder | None) -> str:
    """Keep where the run stands; returns how to go on from there, to end a message with."""
    if recorder is None or easel.last is None:
        return ""
    advice = recorder.stop(easel.last)
    return f"; {advice}" if advice else ""


def _save_interrupted(easel: Easel, recorder: Recorder | None, output: str) -> int:
    if easel.last is None:
        tell("hires", "interrupted before the first step: nothing is saved")
        return EXIT_INTERRUPTED
    tell("hires", f"interrupted at {easel.where()}: saving {output} (Ctrl-C again gives that up)")
    hint = ""
    try:
        # First what nobody can paint again, in case that there is little time.
        hint = _stopped(easel, recorder)
        easel.save(output)
    except KeyboardInterrupt:
        tell("hires", f"interrupted again: nothing is saved{hint}")
        return EXIT_INTERRUPTED
    height, width = easel.last.rung.size
    tell("hires", f"{output} holds the picture so far, {width}x{height}{hint}")
    return EXIT_INTERRUPTED
