"""Watches a run and keeps its run directory: checkpoints, trace, previews, page.

Nothing here may end a run: what cannot be written is warned about, and tried again later.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from hires.engine.ladder import Rung, scale_to
from hires.engine.progress import Progress
from hires.image.encode.save import save_image
from hires.image.resample import resize
from hires.runs.directory import RunDirectory
from hires.runs.page import RunPage, duration, render
from hires.runs.record import ASIDE, PAGE, PREVIEW, TRACE, Record
from hires.runs.trace import Step, Trace
from hires.runs.watch import RungPlan, write_ladder
from hires.utils.files import replacing

Clock = Callable[[], float]

# Shares of the run's time; with the trace's they stay below 3%.
_CHECKPOINT_SHARE, _PAGE_SHARE = 0.02, 0.005
_LEAST_SECONDS = 10.0  # between two checkpoints, or two previews
_TRACE_SECONDS = 1.0
_SLOW_DISK = 100e6  # bytes per second: what is expected before the first checkpoint
_PREVIEW_SIDE, _RUNG_SIDE = 1600, 800


class Pace:
    """Says when a costly act is due, so that it takes no more than a share of the time.

    Args:
        share: largest share of the time.
        every: seconds between two acts instead, None for as the share allows.
        clock: tells the time in seconds.
    """

    def __init__(
        self, share: float, every: float | None = None, clock: Clock = time.monotonic
    ) -> None:
        self._share = share
        self._every = every
        self._clock = clock
        self._last = clock()

    def is_due(self, cost: float = 0.0) -> bool:
        """Whether an act that will take about so many seconds may begin."""
        wait = max(_LEAST_SECONDS, cost / self._share) if self._every is None else self._every
        return self._clock() - self._last >= wait

    def done(self) -> None:
        """The act has ended, well or not: the next one waits again."""
        self._last = self._clock()


class Recorder:
    """Keeps the directory of one run.

    Args:
        directory: where; begun at the first step, so that a run that is refused leaves nothing.
        rungs: the ladder.
        checkpoint_every: seconds between two checkpoints; None for as often as 2% of the time
            allows.
        clock: tells the time in seconds.
    """

    def __init__(
        self,
        directory: RunDirectory,
        rungs: Sequence[Rung],
        *,
        checkpoint_every: float | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.directory = directory
        self._rungs = rungs
        self._clock = clock
        self._trace: Trace | None = None
        self._pending: list[Progress] = []
        self._flushed = clock()
        self._checkpoints = Pace(_CHECKPOINT_SHARE, checkpoint_every, clock)
        self._pages = Pace(_PAGE_SHARE, clock=clock)
        self._page_cost = 0.0
        self._seconds_per_byte = 1 / _SLOW_DISK
        self._is_out_of_use = False
        self._troubles: set[str] = set()

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    def observe(self, progress: Progress) -> None:
        """Take note of a step. Called after every one, and where a resumed run stands."""
        if self._trace is None and not self._is_out_of_use:
            self._begin(progress)
        if self._trace is None:
            return
        self._pending.append(progress)
        if self._clock() - self._flushed >= _TRACE_SECONDS:
            self._flush()
        if self._is_checkpoint_due(progress):
            self.keep(progress)
        if progress.ends_rung or self._pages.is_due(self._page_cost):
            self._show(progress, "Painting", is_running=True)

    def keep(self, progress: Progress) -> bool:
        """Write a checkpoint of the run as it stands; returns whether there is one now."""
        if self._trace is None:
            return False
        started = self._clock()
        self._flush(sync=True)
        snapshot = progress.snapshot()
        try:
            is_new = self.directory.keep(snapshot)
        except OSError as error:
            self._warn("checkpoint", f"no checkpoint: {_reason(error)}. The run goes on")
            return False
        finally:
            self._checkpoints.done()
        self._troubles.discard("checkpoint")
        if is_new:
            self._seconds_per_byte = (self._clock() - started) / max(snapshot.num_bytes, 1)
        return True

    def stop(self, progress: Progress) -> str | None:
        """The run ends before its time. Returns how it can be gone on with, None if it cannot."""
        if self._trace is None:
            return None
        advice = f"hires resume {self.path} goes on"
        if not self.keep(progress):
            has_older = bool(self.directory.checkpoints())
            advice += " from its last checkpoint" if has_older else " from the start"
        self._show(progress, f"Stopped; {advice}", is_running=False)
        return advice

    def finish(self, progress: Progress) -> None:
        """The painting is saved: bring everything up to date and remove the checkpoints."""
        if self._trace is None:
            return
        self._flush()
        self._show(progress, "Finished", is_running=False)
        try:
            self.directory.finish()
        except OSError as error:
            self._warn("finish", f"{self.path} is not tidied up: {_reason(error)}")

    def _begin(self, progress: Progress) -> None:
        try:
            self.directory.begin()
        except OSError as error:
            self._is_out_of_use = True
            self._warn("begin", f"no run directory {self.path}: {_reason(error)}. The run goes on")
            return
        with suppress(OSError):  # It is for those who look on.
            write_ladder(self.path, [_plan_of(rung) for rung in self._rungs])
        position = progress.rung.index + 1, progress.iteration
        self._trace = Trace(self.path / TRACE, position)

    def _is_checkpoint_due(self, progress: Progress) -> bool:
        if not self._checkpoints.is_due():
            return False
        cost = self._seconds_per_byte * progress.snapshot().num_bytes
        return self._checkpoints.is_due(cost)

    def _flush(self, *, sync: bool = False) -> None:
        """Write the steps of the last moments to the trace, reading their losses only now."""
        assert self._trace is not None
        pending, self._pending = self._pending, []
        for progress in pending:
            if progress.iteration:
                self._trace.append(_step(progress))
        try:
            self._trace.flush(sync=sync)
            self._troubles.discard("trace")
        except OSError as error:
            self._warn("trace", f"no trace: {_reason(error)}. The run goes on")
        self._flushed = self._clock()

    def _show(self, progress: Progress, status: str, *, is_running: bool) -> None:
        """Save previews and the page."""
        started = self._clock()
        self._flush()
        try:
            picture = progress.thumbnail(_PREVIEW_SIDE)
            save_image(picture, self.path / PREVIEW)
            if progress.ends_rung:
                height, width = picture.shape[2:]
                side = min(_RUNG_SIDE, max(height, width))
                small = resize(picture, scale_to((height, width), side), clamp=True)
                save_image(small, self.path / f"rung-{progress.rung.index + 1}.jpg")
            text = render(self._page(progress, status, is_running))
            with replacing(self.path / PAGE) as temporary:
                temporary.write_text(text, encoding="utf-8")
            self._troubles.discard("page")
        except OSError as error:
            self._warn("page", f"no preview: {_reason(error)}. The run goes on")
        self._page_cost = self._clock() - started
        self._pages.done()

    def _page(self, progress: Progress, status: str, is_running: bool) -> RunPage:
        assert self._trace is not None
        record = self.directory.record
        where = (
            f"rung {progress.rung.index + 1} of {progress.num_rungs},"
            f" step {progress.iteration} of {progress.rung.num_iterations}"
        )
        now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        share = f"{progress.fraction:.0%} after {duration(progress.seconds)}"
        return RunPage(
            title=Path(str(record.settings.get("output"))).name,
            status=" · ".join([status, where, share, now]),
            is_running=is_running,
            rungs=self._rungs,
            steps=self._trace.steps,
            preview=_bytes(self.path / PREVIEW),
            previews={
                rung.index + 1: jpeg
                for rung in self._rungs
                if (jpeg := _bytes(self.path / f"rung-{rung.index + 1}.jpg"))
            },
            facts=facts(record),
        )

    def _warn(self, topic: str, message: str) -> None:
        """Once, until it has gone well again: a full disk stays full for a while."""
        if topic not in self._troubles:
            self._troubles.add(topic)
            warnings.warn(message, stacklevel=3)


def facts(record: Record) -> Mapping[str, Any]:
    """What a page tells about a run, by names for people."""
    settings = {name: value for name, value in record.settings.items() if name not in ASIDE}
    config = settings.pop("config", {})
    found = {
        "hires": record.hires,
        "begun": record.begun,
        **settings,
        **config,
        **record.machine,
        "threads": record.threads,
    }
    return {name.replace("_", " "): value for name, value in found.items()}


def _plan_of(rung: Rung) -> RungPlan:
    height, width = rung.size
    return RungPlan(width, height, rung.num_iterations, rung.step_work)


def _step(progress: Progress) -> Step:
    height, width = progress.rung.size
    return Step(
        rung=progress.rung.index + 1,
        iteration=progress.iteration,
        size=f"{width}x{height}",
        seconds=round(progress.seconds, 3),
        loss=progress.loss,
        terms=progress.terms,
        processes=[(round(seconds, 3), memory) for seconds, memory in progress.processes],
    )


def _bytes(path: Path) -> bytes | None:
    with suppress(OSError):
        return path.read_bytes()
    return None


def _reason(error: OSError) -> str:
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error).removesuffix(" (nothing was replaced)")
