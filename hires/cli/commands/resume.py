"""``hires resume``: go on with a run that was cut short."""

from __future__ import annotations

from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hires.cli.arguments.painting import Resume
from hires.config.settings import job_of
from hires.runs.record import read_unfinished

if TYPE_CHECKING:
    from hires.runs.directory import RunDirectory


def run(command: Resume) -> int:
    """Check that the result will be the same, and paint what is left."""
    path = Path(command.directory)
    record = read_unfinished(path)
    # Only now: a mistake must not wait for torch.
    from hires.cli.commands.stylize import paint, paint_shared
    from hires.processes.joining import join
    from hires.runs.claim import reopen
    from hires.runs.fingerprint import use_threads
    from hires.runs.paint import open_run

    group = join()
    if group is not None:
        use_threads(record.threads)
        recorded = job_of(record.settings)
        job, size = replace(recorded, preview=False, quiet=command.quiet), group.size

        def reopened() -> RunDirectory:
            return reopen(path, anyway=command.anyway, processes=size)

        folder, path = record.folder_of(path), path.absolute()
        with chdir(folder):
            return paint_shared(job, group, reopened=reopened, command="resume")
    directory = reopen(path, anyway=command.anyway)
    try:
        directory.path = path.absolute()
        # Sums are cut among the threads: another number would round them differently.
        use_threads(directory.record.threads)
        # A run that was stopped for its preview is painted to its end now.
        recorded = job_of(directory.record.settings)
        job = replace(recorded, preview=False, quiet=command.quiet)
        with chdir(directory.record.folder_of(path)), open_run(job, directory) as painting:
            return paint(painting, command="resume")
    finally:
        directory.release()
