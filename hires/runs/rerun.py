"""A run found again in the file that it painted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hires.config.job import Job, PaintJob
from hires.config.settings import job_of
from hires.errors import ImageError
from hires.image.decode.headers import read_header
from hires.image.metadata.provenance import Input, Provenance, ProvenanceError, from_xmp
from hires.version import __version__


def provenance_of(path: str) -> Provenance:
    """How a file was painted.

    Raises:
        ImageError: for a file that is missing, no picture, or does not tell.
    """
    xmp = read_header(Path(path)).xmp
    try:
        return from_xmp(xmp)
    except ProvenanceError as error:
        raise ImageError(f"{path} does not tell how it was painted: {error}") from None


def recorded_job(path: str) -> PaintJob:
    """The run that painted a file, as it was typed but for where it was saved.

    Raises:
        ImageError: see `provenance_of`; also for a picture of ``hires apply``.
        ConfigError: for settings that this version does not have.
    """
    settings = provenance_of(path).settings
    if "model" in settings:
        raise ImageError(
            f"{path} was made with a trained model, not painted: repeat it with hires apply"
            f" {settings['model']}"
        )
    if "variations" in settings:
        raise ImageError(
            f"{path} is a contact sheet: hires inspect tells the commands that paint its pictures"
        )
    if "morph" in settings:
        raise ImageError(f"{path} is a strip of paintings: repeat it with hires morph")
    return job_of({**settings, "output": ""})


def repeated(job: Job) -> Provenance | None:
    """How the painting was made whose run a job repeats; None if it repeats none.

    Raises:
        ImageError: see `provenance_of`.
        ProvenanceError: if a file that both runs read is missing.
    """
    if not isinstance(job, PaintJob) or job.source is None:
        return None
    before = provenance_of(job.source)
    for one in _shared(job, before):
        if not Path(one.path).is_file():
            raise ProvenanceError(
                f"the {one.role} {one.path} is not there: run this where the first run was, or name"
                " the pictures again"
            )
    return before


def differences(job: Job, before: Provenance, inputs: Sequence[Input]) -> list[str]:
    """What differs from the run that is repeated, so that the painting may differ, too.

    Args:
        job: what is asked for.
        before: how the painting was made that it repeats.
        inputs: the files that are read now.
    """
    assert isinstance(job, PaintJob)
    found = []
    if before.version != __version__:
        found.append(
            f"{job.source} was painted by hires {before.version}, this is {__version__}:"
            " the painting may differ"
        )
    return found + [
        f"the {one.role} {one.path} has changed since {job.source} was painted"
        for one in _shared(job, before)
        if one not in inputs
    ]


def _shared(job: Job, before: Provenance) -> list[Input]:
    """The files that both runs read, as they were."""
    files = job.files()
    return [one for one in before.inputs if (one.role, one.path) in files]
