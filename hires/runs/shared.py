"""A job that several processes paint together: rank 0 keeps it, shows it and saves it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hires.config.job import PaintJob
from hires.engine.bands import Order
from hires.engine.run import EndedError
from hires.engine.snapshot import read_snapshot
from hires.errors import ProcessLostError
from hires.processes.bands import even_bands
from hires.processes.group import Group
from hires.processes.together import SeveralTogether
from hires.runs.claim import claim
from hires.runs.directory import RunDirectory
from hires.runs.paint import JobRun
from hires.runs.planning import plan_job
from hires.tiling.geometry import Span


@contextmanager
def open_shared(job: PaintJob, directory: RunDirectory | None, group: Group) -> Iterator[JobRun]:
    """Plan a job that several processes paint, each as the others do; see `open_run`.

    Args:
        job: what is asked for.
        directory: that of the run, if it is to be gone on with; of rank 0 alone.
        group: the processes.
    """
    together, is_first = SeveralTogether(group), group.rank == 0
    try:
        with together.stage():
            planned = plan_job(job, hashes=None if directory is None else directory.record.inputs)
        planned = replace(planned, run=planned.run.shared(group))
        with together.stage():
            if is_first and directory is None and not job.no_run_dir:
                directory = claim(job, planned.inputs, group.size)
            resume, told = None, ["", ""]
            if is_first and directory is not None and directory.is_begun:
                resume = directory.snapshot(_rows_of(group))
                told = [str(directory.newest or ""), directory.record.run]
            if is_first:
                group.tell("\n".join(told))
        with together.stage():
            if not is_first and (found := group.told(0).split("\n"))[0]:
                resume = read_snapshot(Path(found[0]), owner=found[1], rows_of=_rows_of(group))
        try:
            with group.listening():
                yield JobRun(job, planned, directory, resume)
        finally:
            if is_first:
                group.end(Order.END)
    finally:
        if directory is not None:
            directory.release()


def _rows_of(group: Group) -> Callable[[int], Span]:
    return lambda height: even_bands(height, group.size)[group.rank]


def follow(run: JobRun) -> None:
    """Do a process's part of a painting, in all but rank 0: nothing is shown, kept or saved.

    Raises:
        ProcessLostError: if another process is gone.
    """
    painting = run.start()
    try:
        deque(painting, maxlen=0)
    except EndedError:
        return
    except ProcessLostError:
        raise
    except (Exception, KeyboardInterrupt):
        # Rank 0 tells of it, and asks for what it saves.
        pass
    while painting.obey():
        pass
