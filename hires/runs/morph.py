"""A strip of paintings from one style to another, painted one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from hires.config.job import NOT_OF_THE_PICTURE, PaintJob
from hires.config.morph import MorphJob
from hires.config.settings import settings_of
from hires.engine.ladder import Size
from hires.engine.progress import Progress
from hires.image.encode.save import check_output, save_image
from hires.image.metadata.provenance import Provenance, to_xmp
from hires.image.resample import resize
from hires.runs.planning import PlannedJob, files_of, plan_job


@dataclass(frozen=True, slots=True, kw_only=True)
class StripProgress:
    """Where a strip stands after a step.

    Attributes:
        number: of the picture that is painted, from 1.
        fraction: share of all work that is done, 0 to 1.
        progress: of that picture.
    """

    number: int
    fraction: float
    progress: Progress


class Strip:
    """A strip on its way to its file; iterate it to paint, then save it.

    Args:
        job: what is asked for.

    Attributes:
        planned: the picture that is painted next, or at the moment.

    Raises:
        ValueError: for an output, pictures or settings that cannot be painted.
    """

    def __init__(self, job: MorphJob) -> None:
        self.job = job
        self._check(job.output)
        self.planned = self._planned(1)
        for number in range(1, job.steps + 1) if job.frames else ():
            self._check(str(job.frame_path(number)), self.planned.size)
        self._check(job.output, self.size)
        self._pictures: list[Tensor] = []

    @property
    def size(self) -> Size:
        """``(height, width)`` of the strip in pixels."""
        height, width = self.planned.size
        return height, width * self.job.steps

    @property
    def num_done(self) -> int:
        """Pictures that are painted, and saved if they are to be."""
        return len(self._pictures)

    def __iter__(self) -> Iterator[StripProgress]:
        """Paint one picture after the other."""
        for number in range(1, self.job.steps + 1):
            if number > 1:
                self.planned = self._planned(number)
            for progress in self.planned.run.start():
                fraction = (number - 1 + progress.fraction) / self.job.steps
                yield StripProgress(number=number, fraction=fraction, progress=progress)
            picture = progress.picture()
            if self.job.frames:
                self.planned.save(picture, self.job.frame_path(number))
            self._pictures.append(picture.cpu())

    def save(self) -> Size:
        """Save the pictures side by side.

        Returns:
            ``(height, width)`` of the strip in pixels.

        Raises:
            ImageError: if it cannot be saved; whatever stood at the path is untouched then.
        """
        job, alpha = self.job, self.planned.alpha
        if alpha is not None:
            alpha = resize(alpha, self.planned.size, clamp=True).repeat(1, 1, 1, job.steps)
        save_image(
            torch.cat(self._pictures, 3),
            job.output,
            bit_depth=job.bit_depth,
            alpha=alpha,
            delivery=job.delivery,
            xmp=self._xmp(),
            author=self.planned.author,
            seed=job.config.seed,
        )
        return self.size

    def _planned(self, number: int) -> PlannedJob:
        return plan_job(self.job.frame(number))

    def _check(self, path: str, size: Size | None = None) -> None:
        job = self.job
        check_output(
            path,
            bit_depth=job.bit_depth,
            inputs=files_of(job),
            size=size,
            delivery=job.delivery,
        )

    def _xmp(self) -> bytes | None:
        """How the strip is made, as metadata."""
        if self.job.delivery.no_metadata:
            return None
        names = [field.name for field in fields(PaintJob) if field.name not in NOT_OF_THE_PICTURE]
        settings = {name: value for name, value in settings_of(self.job).items() if name in names}
        settings["morph"] = self.job.steps
        seed, inputs = self.job.config.seed, self.planned.inputs
        return to_xmp(Provenance(seed=seed, settings=settings, inputs=inputs))
