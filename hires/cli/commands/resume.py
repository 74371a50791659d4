"""``hires resume``: go on with a run that was cut short."""

from __future__ import annotations

from contextlib import chdir
from dataclasses import replace
from pathlib import Path

from hires.cli.arguments import Resume
from hires.cli.commands.stylize import paint, set_up
from hires.config.settings import job_of
from hires.runs.directory import folder_of, reopen
from hires.runs.fingerprint import use_threads


def run(command: Resume) -> int:
    """Check that the result will be the same, and paint what is left."""
    directory = reopen(Path(command.directory), anyway=command.anyway)
    try:
        directory.path = directory.path.absolute()
        # Sums are cut among the threads: another number would round them differently.
        use_threads(directory.record.threads)
        # A run that was stopped for its preview is painted to its end now.
        recorded = job_of(directory.record.settings)
        job = replace(recorded, preview=False, quiet=command.quiet)
        with chdir(folder_of(directory.path, directory.record)):
            return paint(set_up(job), job, directory, command="resume")
    finally:
        directory.release()
