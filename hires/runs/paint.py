"""A job from its files to its file: planned, painted, kept in its run directory, saved."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from hires.config.job import PaintJob
from hires.config.paper import MM_PER_INCH
from hires.engine.ladder import Rung, Size
from hires.engine.preview import CloseUp, preview_rung
from hires.engine.progress import Progress
from hires.engine.run import Run
from hires.engine.snapshot import Snapshot
from hires.errors import ConfigError, ImageError, ProcessLostError, StylizeError
from hires.image.colour.inks import TotalInk
from hires.image.encode.save import save_image
from hires.image.rows import Shown
from hires.runs.claim import claim
from hires.runs.directory import RunDirectory
from hires.runs.page import told_place
from hires.runs.planning import PlannedJob, beside, plan_job, preview_paths
from hires.runs.recorder import Recorder
from hires.runs.watch import asked_to_stop, withdraw_stop, write_close_up
from hires.utils.memory import return_freed_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """What a run has saved.

    Attributes:
        path: the painting; of a preview, the painting so far.
        size: its ``(height, width)`` in pixels.
        ink: the total ink of a file in CMYK, else None.
        close_up: the close-up of a preview, else None.
        warnings: what the user should know of it.
    """

    path: Path
    size: Size
    ink: TotalInk | None = None
    close_up: Path | None = None
    warnings: tuple[str, ...] = ()


def paint(job: PaintJob) -> Painted:
    """Paint a job as ``hires stylize`` does, and save it.

    The same job again goes on with a run that was cut short, and ends with the same bytes. Nothing
    is printed; what the user should know is a warning (`warnings.warn`). A run that breaks down or
    is interrupted leaves what `iter_paint` tells.

    Args:
        job: pictures, settings, paper, output; see `hires.Job`.

    Raises:
        ValueError: for an output, pictures or settings that cannot be painted.
        StylizeError: if the optimisation breaks down.
    """
    with open_run(job) as run:
        for note in run.planned.run.warnings:
            warnings.warn(note, stacklevel=2)
        deque(_painted(run), maxlen=0)
        assert run.painted is not None
        for note in run.painted.warnings:
            warnings.warn(note, stacklevel=2)
        return run.painted


def iter_paint(job: PaintJob) -> Generator[Progress, None, None]:
    """Paint a job, and yield after every step; the file is there when the steps are at their end.

    With ``preview``, the steps of the close-up follow those up to about a megapixel. If the run
    breaks down, the last good picture is saved as ``out-partial.png`` (a note of the error tells
    where); if it is interrupted, as the output. In both cases, and if you stop iterating, the run
    directory holds a checkpoint: the same job goes on from there. See `paint` for arguments and
    errors.
    """
    with open_run(job) as run:
        yield from _painted(run)


def _painted(run: JobRun) -> Iterator[Progress]:
    try:
        try:
            yield from run
        except Exception as error:
            if run.last is not None:
                error.add_note(run.rescue(error))
            raise
        if not run.job.preview:
            run.save()
    except KeyboardInterrupt:
        if run.last is not None:
            run.stop()
            run.save_so_far(run.job.output)
        raise
    except GeneratorExit:
        run.stop()
        raise
    if run.job.preview:
        preview = run.preview()
        yield from preview
        preview.save()


@contextmanager
def open_run(job: PaintJob, directory: RunDirectory | None = None) -> Iterator[JobRun]:
    """Plan a job and claim its run directory, which is released at the end.

    Args:
        job: what is asked for.
        directory: that of the run, if it is to be gone on with.

    Raises:
        ValueError: for an output, pictures or settings that cannot be painted.
    """
    planned = plan_job(job, hashes=None if directory is None else directory.record.inputs)
    if directory is None and not job.no_run_dir:
        directory = claim(job, planned.inputs)
    try:
        yield JobRun(job, planned, directory)
    finally:
        if directory is not None:
            directory.release()


class JobRun:
    """A planned job on its way to its file; iterating it paints.

    Args:
        job: what is asked for.
        planned: what was decided of it.
        directory: where the run is kept, None for nowhere.
        resume: where it stands there, if that is read already.

    Attributes:
        last: the last step done, None before the first.
        going_on: where an unfinished run is gone on with, None for a new one.
        painted: what is saved in the end.
        run_dir: where the run is kept, None for nowhere.

    Raises:
        RunDirectoryError: if the run has no sound checkpoint left.
    """

    def __init__(
        self,
        job: PaintJob,
        planned: PlannedJob,
        directory: RunDirectory | None,
        resume: Snapshot | None = None,
    ) -> None:
        self.job, self.planned = job, planned
        self.last: Progress | None = None
        self.going_on: str | None = None
        self.painted: Painted | None = None
        self._recorder: Recorder | None = None
        self._resume = resume
        self.run_dir = None if directory is None else directory.path
        if directory is None:
            return
        withdraw_stop(directory.path)
        every = job.checkpoint_every
        self._recorder = Recorder(directory, planned.rungs, checkpoint_every=every)
        if directory.is_begun:
            self._resume = resume or directory.snapshot()
            where = _after(self._resume, planned.rungs)
            self.going_on = f"{directory.path}: going on with its run {where}"

    def __iter__(self) -> Iterator[Progress]:
        """Paint up to the end, or where a preview is taken."""
        run = self.start()
        stop = preview_rung(self.planned.rungs) if self.job.preview else None
        for progress in run:
            self.last = progress
            if self._recorder is not None:
                self._recorder.observe(progress)
            self._save_on_the_way()
            yield progress if stop is None else self._until(stop, progress)
            self._stop_if_asked()
            if stop and (progress.rung.index, progress.ends_rung) >= (stop.index, True):
                return

    def start(self) -> Run:
        """The run, from where it stands."""
        resume, self._resume = self._resume, None
        return self.planned.run.start(resume)  # Its tensors are the run's, and go with it.

    def _stop_if_asked(self) -> None:
        """Stop as Ctrl-C does, but at a moment that was chosen (`hires.runs.watch`)."""
        if self.run_dir is None or (when := asked_to_stop(self.run_dir)) is None:
            return
        if self._last.is_last or (when == "size" and not self._last.ends_rung):
            return
        withdraw_stop(self.run_dir)
        raise KeyboardInterrupt

    def _until(self, stop: Rung, progress: Progress) -> Progress:
        """A step with its share of what is painted before a preview is taken."""
        work = [rung.work for rung in self.planned.rungs]
        share = sum(work[: stop.index + 1]) / sum(work)
        return replace(progress, fraction=min(progress.fraction / share, 1.0))

    def _save_on_the_way(self) -> None:
        """Save the picture so far beside the output if it is time for it."""
        every, last = self.planned.save_every, self._last
        if not every or not last.iteration:
            return  # Resumed before the first step of a rung: the rung below has saved its picture.
        before = self.planned.rungs[: last.rung.index]
        step = sum(rung.num_iterations for rung in before) + last.iteration
        if step % every == 0:
            self.save_so_far(self.planned.step_path(step))

    @property
    def _last(self) -> Progress:
        assert self.last is not None, "nothing is painted yet"
        return self.last

    def save_so_far(self, path: str | Path, picture: Shown | None = None) -> TotalInk | None:
        """Save what is painted, or another picture of this job.

        Raises:
            ImageError: if it cannot be saved; whatever stood at the path is untouched then.
        """
        return_freed_memory()  # The feature maps' memory is the encoder's now.
        if picture is None:
            picture = self._last.shown()
            # A painting that was interrupted is saved at the size that it has.
            finish = self.planned.finish if self._last.is_last else None
            if finish is not None:
                picture = finish(picture if isinstance(picture, Tensor) else picture.whole())
                picture = self.planned.run.guides.restored(picture, self.planned.run.content)
        return self.planned.save(picture, path, stopped="" if self._last.is_last else self.where())

    def save(self) -> Painted:
        """Save the finished painting; if that fails, nothing that was painted is lost.

        Raises:
            ImageError: if it cannot be saved; the message ends with how to go on.
        """
        try:
            ink = self.save_so_far(self.job.output)
        except ImageError as error:
            hint = self.stop()
            if not hint:
                raise
            raise ImageError(f"{error}{hint}") from error
        if self._recorder is not None:
            self._recorder.finish(self._last)
        tones = self._last.about_tones()
        told = () if tones is None else (tones,)
        path, size = Path(self.job.output), self.planned.file_size
        self.painted = Painted(path=path, size=size, ink=ink, warnings=told)
        return self.painted

    def stop(self) -> str:
        """Keep where the run stands; returns how to go on from there, to end a message with."""
        if self._recorder is None or self.last is None:
            return ""
        advice = self._recorder.stop(self.last)
        return f"; {advice}" if advice else ""

    def rescue(self, error: Exception) -> str:
        """Save the last good picture of a run that broke down beside its output; returns where."""
        if isinstance(error, ProcessLostError):
            return self.lost()
        picture = error.shown if isinstance(error, StylizeError) else None
        hint = "" if picture is not None else self.stop()
        path = beside(self.job.output, "partial")
        try:
            self.save_so_far(path, picture)
        except ImageError as failure:
            return f"nothing is saved: {failure}{hint}"
        return f"the last good picture is saved as {path}{hint}"

    def lost(self) -> str:
        """What is left when another process is gone, and a part of the canvas with it."""
        if self.run_dir is None:
            return "nothing is saved"
        return f"hires resume {self.run_dir} goes on from its last checkpoint"

    def where(self) -> str:
        """``rung 2/4 (512x341), step 17/165``."""
        return told_place(self._last.rung, self._last.num_rungs, self._last.iteration)

    def preview(self) -> Preview:
        """Save the painting as it stands, where its preview is taken.

        Raises:
            ConfigError: if the run is beyond that.
        """
        if self._last.rung.index == len(self.planned.rungs) - 1:
            raise ConfigError("the run is beyond its preview already: leave `preview` out")
        return Preview(self, self._last)


class Preview:
    """The painting so far, saved, and a close-up of its end; iterate it to paint that.

    Attributes:
        path: the painting so far.
        advice: how the run can be gone on with, to end a line with.
        rung: the rung that the painting stands at.
    """

    def __init__(self, run: JobRun, last: Progress) -> None:
        self._run, self.rung = run, last.rung
        self.path, self._path = preview_paths(run.job.output)
        self.advice = run.stop()
        save_image(last.picture(), self.path, author=run.planned.author)
        self._close_up = CloseUp(last, run.planned.run)

    def __iter__(self) -> Iterator[Progress]:
        return iter(self._close_up)

    def save(self) -> Painted:
        """Save the close-up."""
        planned, shown = self._run.planned, self._close_up.picture()
        dpi = planned.job.print.dpi_of_file
        save_image(shown, self._path, dpi=dpi, author=planned.author)
        if self._run.run_dir is not None:
            write_close_up(
                self._run.run_dir, self._close_up.spot, shown.shape[2:], planned.rungs[-1].size
            )
        self._run.painted = Painted(path=self.path, size=self.rung.size, close_up=self._path)
        return self._run.painted

    def about(self) -> str:
        """What the close-up shows."""
        height, width = self._close_up.picture().shape[2:]
        last, dpi = self._run.planned.rungs[-1].size, self._run.job.print.dpi_of_file
        text = f"{width}x{height}, pixel for pixel how the strokes of {last[1]}x{last[0]} will look"
        sides = (f"{side / dpi * MM_PER_INCH:.0f}" for side in (width, height) if dpi)
        return text if dpi is None else f"{text}; {' x '.join(sides)} mm when printed"


def _after(snapshot: Snapshot | None, rungs: tuple[Rung, ...]) -> str:
    if snapshot is None or snapshot.rung >= len(rungs):
        return "from the start"
    return f"after {told_place(rungs[snapshot.rung], len(rungs), snapshot.iteration)}"
