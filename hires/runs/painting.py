"""A run from its files to its file: pictures in, steps, and a picture saved whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from hires.config.job import NOT_OF_THE_PICTURE, Job, PaintJob
from hires.config.settings import settings_of
from hires.config.values import counted, parse_blend
from hires.engine import ladder
from hires.engine.progress import Progress
from hires.engine.resolve import fit
from hires.engine.snapshot import Snapshot
from hires.engine.stylize import iter_stylize
from hires.feedforward.finish import Finish
from hires.image.colour.inks import TotalInk
from hires.image.decode.attribution import read_authorship
from hires.image.decode.read import picture_size, read_picture
from hires.image.encode.save import check_output, save_image
from hires.image.metadata.authorship import NOBODY
from hires.image.metadata.provenance import Provenance, hashed, to_xmp
from hires.image.originals import about_hidden, original, originals
from hires.image.resample import resize
from hires.utils.memory import return_freed_memory


class Easel:
    """The pictures of a run and its last step.

    Args:
        job: what was typed.

    Attributes:
        config: the job's settings as they are on this machine.
        layout: where the painting lies on its paper, None without one.
        rungs: the ladder.
        finish: what enlarges the painting, if anything.
        size: ``(height, width)`` of the finished painting, without the margins of a paper.
        warnings: what the user should know before the run.
        content: what is painted of the content picture.
        styles: the styles.
        content_size: ``(height, width)`` of what is painted of the content picture.
        style_sizes: ``(height, width)`` of each style.
        num_input_pixels: pixels of all pictures read.
        author: who made the content picture and whose it is, as far as files shall tell it.
        last: the last step done, None before the first.

    Raises:
        ValueError: for an output, pictures or settings that cannot be painted.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.last: Progress | None = None
        self._check_output(job.output)
        on_paper = job.print.paper is not None
        # A paper says how large the painting is, with a GPU or without.
        fitted = fit(replace(job.config, cpu_size=None) if on_paper else job.config)
        self.config = fitted.config
        whole = picture_size(job.content) if on_paper else None
        self.layout = None if whole is None else job.print.layout(whole)
        window = None if self.layout is None else self.layout.window
        picture = read_picture(job.content, window=window)
        self._alpha = picture.alpha
        self.content, self.styles = original(picture), originals(job.styles)
        size, *style_sizes = (one.size for one in (self.content, *self.styles))
        self.config.style_shares(len(style_sizes))
        self._exact_size = None if self.layout is None else self.layout.painted
        self.finish = None
        if job.finish is not None:
            self.finish = Finish(job.finish, self.config, size, exact=self._exact_size)
            self._exact_size = self.finish.painted
        self.rungs = ladder.plan(self.config, size, style_sizes, size=self._exact_size)
        self.size = self.rungs[-1].size if self.finish is None else self.finish.size
        dpi = None if self.layout is None else self.layout.dpi
        if dpi is not None and self.finish is not None:
            dpi /= self.finish.factor
        self.warnings = (
            *fitted.warnings,
            *ladder.warnings(
                self.config,
                self.rungs,
                size,
                style_sizes,
                dpi=dpi,
                is_part=whole not in (None, size),
            ),
            *self._idle(),
            *about_hidden([self.content, *self.styles]),
        )
        self.content_size, self.style_sizes = size, style_sizes
        self.num_input_pixels = sum(height * width for height, width in [size, *style_sizes])
        self._check_output(job.output, self.file_size)
        for step in self._saved_steps():
            self._check_output(self.step_path(step))
        self._xmp = self._provenance()
        self.author = NOBODY if job.delivery.no_metadata else read_authorship(job.content)

    def _idle(self) -> list[str]:
        """Options that were given and do nothing in this run."""
        job, found = self.job, []
        draws = job.config.init == "noise" or parse_blend(job.config.init)
        if job.config.seed and not draws and job.delivery.deliver != "lab":
            found.append(f"--seed {job.config.seed} does nothing: nothing is random in this run")
        if self.save_every > self.num_steps:
            found.append(
                f"--save-every {self.save_every} saves nothing: the run has"
                f" {counted(self.num_steps, 'step')}"
            )
        if self.layout is not None and job.print.gravity != "center":
            centred = replace(job.print, gravity="center").layout(picture_size(job.content))
            if centred == self.layout:
                found.append(
                    f"--gravity {job.print.gravity} does nothing: there is no room that way"
                )
        return found

    @property
    def save_every(self) -> int:
        """Steps from one saved picture to the next; 0 for none on the way."""
        return (self.job.save_every or 0) if isinstance(self.job, PaintJob) else 0

    @property
    def num_steps(self) -> int:
        """Steps of the whole ladder."""
        return sum(rung.num_iterations for rung in self.rungs)

    def _saved_steps(self) -> range:
        every = self.save_every
        return range(every, self.num_steps + 1, every) if every else range(0)

    def step_path(self, step: int) -> Path:
        """``out-0020.png`` for ``out.png`` after 20 steps of the whole ladder."""
        assert self.job.output is not None
        path, digits = Path(self.job.output), max(len(str(self.num_steps)), 4)
        return path.with_name(f"{path.stem}-{step:0{digits}}{path.suffix}")

    def save_step(self) -> None:
        """Save the picture so far beside the output if it is time for it.

        Raises:
            ImageError: if it cannot be saved.
        """
        assert self.last is not None, "nothing is painted yet"
        if not self.last.iteration:
            return  # Resumed before the first step of a rung: the rung below has saved its picture.
        before = self.rungs[: self.last.rung.index]
        step = sum(rung.num_iterations for rung in before) + self.last.iteration
        if self.save_every and step % self.save_every == 0:
            self.save(self.step_path(step))

    def _check_output(self, path: str | Path | None, size: tuple[int, int] | None = None) -> None:
        job = self.job
        if path is not None:
            check_output(
                path,
                bit_depth=job.bit_depth,
                inputs=self.inputs,
                size=size,
                dpi=job.print.dpi_of_file,
                delivery=job.delivery,
            )

    def _provenance(self) -> bytes | None:
        """How the picture is made, as metadata; files are hashed now, before they can change."""
        job = self.job
        if not isinstance(job, PaintJob) or job.delivery.no_metadata:
            return None
        settings = {
            name: value
            for name, value in settings_of(replace(job, config=self.config)).items()
            if name not in NOT_OF_THE_PICTURE
        }
        inputs = tuple(hashed(role, path) for role, path in job.files())
        return to_xmp(Provenance(seed=job.config.seed, settings=settings, inputs=inputs))

    @property
    def inputs(self) -> list[str]:
        """Files that nothing may be saved over."""
        return [path for _, path in self.job.files()]

    @property
    def names(self) -> tuple[str, ...]:
        """Files of the content and of each style."""
        return (self.job.content, *self.job.styles)

    @property
    def file_size(self) -> tuple[int, int]:
        """``(height, width)`` of the finished file in pixels."""
        return self.size if self.layout is None else self.layout.size

    def steps(self, resume: Snapshot | None = None) -> Iterator[Progress]:
        """Paint, remembering the last step; from a snapshot, if one is given."""
        run = iter_stylize(
            self.content,
            self.styles,
            self.config,
            size=self._exact_size,
            resume=resume,
        )
        del resume  # The run has taken its tensors over, and lets go of them.
        for progress in run:
            self.last = progress
            yield progress

    def save(self, path: str | Path, picture: Tensor | None = None) -> TotalInk | None:
        """Save a picture, by default the one so far, with the content's alpha channel.

        Returns:
            The total ink of a picture in CMYK.

        Raises:
            ImageError: if it cannot be saved; whatever stood at the path is untouched then.
        """
        job = self.job
        dpi = job.print.dpi_of_file
        check_output(
            path, bit_depth=job.bit_depth, inputs=self.inputs, dpi=dpi, delivery=job.delivery
        )
        return_freed_memory()  # The feature maps' memory is the encoder's now.
        if picture is None:
            assert self.last is not None, "nothing is painted yet"
            picture = self.last.picture()
            # A painting that was interrupted is saved at the size that it has.
            if self.finish is not None and self.last.is_last:
                picture = self.finish(picture)
        alpha = self._alpha
        if alpha is not None:
            alpha = resize(alpha, (picture.shape[2], picture.shape[3]), clamp=True)
        return save_image(
            picture,
            path,
            bit_depth=job.bit_depth,
            alpha=alpha,
            dpi=dpi if self.layout is None else None,
            layout=self.layout,
            delivery=job.delivery,
            xmp=self._xmp,
            author=self.author,
            seed=job.config.seed,
        )

    def where(self) -> str:
        """``rung 2/4 (512x341), step 17/165``."""
        assert self.last is not None, "nothing is painted yet"
        rung, (height, width) = self.last.rung, self.last.rung.size
        return (
            f"rung {rung.index + 1}/{self.last.num_rungs} ({width}x{height}),"
            f" step {self.last.iteration}/{rung.num_iterations}"
        )


def partial_path(path: str | Path) -> Path:
    """``out-partial.png`` for ``out.png``: where an unfinished picture goes."""
    path = Path(path)
    return path.with_name(f"{path.stem}-partial{path.suffix}")
