"""A job planned once: its pictures, settings, paper, ladder and output, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from hires.config.job import NOT_OF_THE_PICTURE, Job, PaintJob
from hires.config.paper import Layout
from hires.config.run import Config
from hires.config.settings import settings_of
from hires.config.values import counted, parse_blend
from hires.engine import ladder
from hires.engine.ladder import Rung, Size
from hires.engine.planned import PlannedRun, plan_run
from hires.engine.preview import preview_rung
from hires.engine.resolve import Fitted, fit
from hires.engine.style_terms import are_random
from hires.errors import ConfigError
from hires.feedforward.finish import Finish
from hires.image.colour.inks import TotalInk
from hires.image.decode.attribution import read_authorship
from hires.image.decode.read import Picture, read_picture
from hires.image.decode.stored import picture_size
from hires.image.encode.save import check_output, save_image
from hires.image.guides import Guided, guided
from hires.image.metadata.authorship import NOBODY, Authorship
from hires.image.metadata.provenance import Input, Provenance, hashed, to_xmp
from hires.image.originals import Original, original, originals
from hires.image.resample import resize
from hires.image.rows import Rows
from hires.runs import rerun


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PlannedJob:
    """A job of which everything is decided, and nothing painted yet.

    Attributes:
        job: what is asked for.
        run: pictures, settings as they are on this machine, network, ladder and warnings.
        layout: where the painting lies on its paper, None without one.
        finish: what enlarges the painting, if anything.
        alpha: (1, 1, H, W) of the content, None if all of it can be seen.
        inputs: the files that are read, hashed before they can change; none where nobody asks.
        author: who made the content picture and whose it is, as far as files shall tell it.
    """

    job: Job
    run: PlannedRun
    layout: Layout | None
    finish: Finish | None
    alpha: Tensor | None
    inputs: tuple[Input, ...]
    author: Authorship

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The ladder."""
        return self.run.rungs

    @property
    def num_steps(self) -> int:
        """Steps of the whole ladder."""
        return sum(rung.num_iterations for rung in self.rungs)

    @property
    def size(self) -> Size:
        """``(height, width)`` of the finished painting, without the margins of a paper."""
        return self.rungs[-1].size if self.finish is None else self.finish.size

    @property
    def file_size(self) -> Size:
        """``(height, width)`` of the finished file in pixels."""
        return self.size if self.layout is None else self.layout.size

    @property
    def save_every(self) -> int:
        """Steps from one saved picture to the next; 0 for none on the way."""
        return (self.job.save_every or 0) if isinstance(self.job, PaintJob) else 0

    def step_path(self, step: int) -> Path:
        """``out-0020.png`` for ``out.png`` after 20 steps of the whole ladder."""
        return beside(self.job.output, f"{step:0{max(len(str(self.num_steps)), 4)}}")

    def save(
        self, picture: Tensor | Rows, path: str | Path, *, stopped: str = ""
    ) -> TotalInk | None:
        """Save a picture of this job, of any size, as the job wants it.

        Args:
            picture: (1, 3, H, W) in [0, 1], or its rows.
            path: where.
            stopped: where the run stands, if it is not at its end.

        Returns:
            The total ink of a picture in CMYK.

        Raises:
            ImageError: if it cannot be saved; whatever stood at the path is untouched then.
        """
        job, alpha = self.job, self.alpha
        _check_output(job, path)
        if alpha is not None:
            alpha = resize(alpha, (picture.shape[2], picture.shape[3]), clamp=True)
        return save_image(
            picture,
            path,
            bit_depth=job.bit_depth,
            alpha=alpha,
            dpi=job.print.dpi_of_file if self.layout is None else None,
            layout=self.layout,
            delivery=job.delivery,
            xmp=self._xmp(stopped),
            author=self.author,
            seed=job.config.seed,
        )

    def _xmp(self, stopped: str) -> bytes | None:
        """How the picture is made, as metadata."""
        job = self.job
        if not isinstance(job, PaintJob) or job.delivery.no_metadata:
            return None
        told = recorded_settings(job, self.run.config)
        made = Provenance(seed=job.config.seed, settings=told, inputs=self.inputs, stopped=stopped)
        return to_xmp(made)


def plan_job(job: Job, *, hashes: Mapping[str, str] | None = None) -> PlannedJob:
    """Read the pictures, and decide on everything before the first step.

    Args:
        job: what is asked for.
        hashes: SHA-256 of files by their paths, as far as they are known.

    Raises:
        ValueError: for an output, pictures or settings that cannot be painted.
    """
    _check_output(job, job.output)
    before = rerun.repeated(job)
    on_machine = fitted(job)
    whole = _shape(job) if job.print.paper is not None else None
    layout = None if whole is None else job.print.layout(whole)
    picture = _photograph(job, layout)
    content, styles = None if picture is None else original(picture), originals(job.styles)
    shape = ladder.texture_size(on_machine.config, job.aspect) if content is None else content.size
    guides = _guides(job, whole or shape, styles, layout)
    exact, dpi = None if layout is None else layout.painted, job.print.dpi_of_file
    finish = None
    if job.finish is not None:
        finish = Finish(job.finish, on_machine.config, shape, exact=exact)
        exact, dpi = finish.painted, None if dpi is None else dpi / finish.factor
    run = plan_run(
        on_machine,
        content,
        styles,
        guides=guides,
        size=exact,
        dpi=dpi,
        enlarged=1 if finish is None else finish.factor,
        is_part=content is not None and whole not in (None, shape),
        aspect=job.aspect,
        tileable=job.tileable,
    )
    planned = PlannedJob(
        job=job,
        run=run,
        layout=layout,
        finish=finish,
        alpha=None if picture is None else picture.alpha,
        inputs=_inputs(job, hashes or {}),
        author=_author(job),
    )
    _check_files(planned)
    again = [] if before is None else rerun.differences(job, before, planned.inputs)
    told = (*again, *run.warnings, *_idle(planned))
    return replace(planned, run=replace(run, warnings=told))


def fitted(job: Job) -> Fitted:
    """How a job is painted on this machine.

    Raises:
        ValueError: see `fit`.
    """
    # A paper says how large the painting is, with a GPU or without.
    on_paper = job.print.paper is not None
    return fit(replace(job.config, cpu_size=None) if on_paper else job.config)


def recorded_settings(job: PaintJob, config: Config) -> dict[str, Any]:
    """What a file tells of the job that painted it, with the configuration of the machine."""
    settings = settings_of(replace(job, config=config))
    return {name: settings[name] for name in settings if name not in NOT_OF_THE_PICTURE}


def _photograph(job: Job, layout: Layout | None) -> Picture | None:
    """What is painted of the content; None for a texture."""
    if job.content is None:
        return None
    return read_picture(job.content, window=None if layout is None else layout.window)


def _guides(job: Job, whole: Size, styles: Sequence[Original], layout: Layout | None) -> Guided:
    """Masks and maps, cut as the content of ``(height, width)`` is."""
    window, weights = None if layout is None else layout.window, job.config.style_weights
    return guided(whole, styles, job.guides, window=window, style_weights=weights)


def _shape(job: Job) -> Size:
    """``(height, width)`` of what a paper is chosen for; for a square it lies as it is named."""
    return (1, 1) if job.content is None else picture_size(job.content)


def _author(job: Job) -> Authorship:
    if job.content is None or job.delivery.no_metadata:
        return NOBODY
    return read_authorship(job.content)


def _inputs(job: Job, hashes: Mapping[str, str]) -> tuple[Input, ...]:
    if not isinstance(job, PaintJob) or (job.delivery.no_metadata and job.no_run_dir):
        return ()
    return tuple(
        Input(role, path, hashes[path]) if path in hashes else hashed(role, path)
        for role, path in job.files()
    )


def _check_files(planned: PlannedJob) -> None:
    """Refuse what could not be saved in the end, or on the way."""
    job = planned.job
    _check_output(job, job.output, planned.file_size)
    if planned.save_every:
        for step in range(planned.save_every, planned.num_steps + 1, planned.save_every):
            _check_output(job, planned.step_path(step))
    if not isinstance(job, PaintJob) or not job.preview:
        return
    if planned.finish is not None:
        raise ConfigError("`preview` shows strokes as they are painted: leave `finish` out for it")
    if preview_rung(planned.rungs) is None:
        height, width = planned.rungs[-1].size
        raise ConfigError(
            f"the painting is {width}x{height}, no larger than its preview: leave `preview` out"
        )
    for path in preview_paths(job.output):
        check_output(path, inputs=files_of(job))


def _check_output(job: Job, path: str | Path | None, size: Size | None = None) -> None:
    if path is not None:
        check_output(
            path,
            bit_depth=job.bit_depth,
            inputs=files_of(job),
            size=size,
            dpi=job.print.dpi_of_file,
            delivery=job.delivery,
        )


def files_of(job: Job) -> list[str]:
    """Files that nothing may be saved over."""
    return [path for _, path in job.files()]


def _idle(planned: PlannedJob) -> list[str]:
    """Options that were given and do nothing in this run."""
    job, found = planned.job, []
    draws = job.config.init == "noise" or parse_blend(job.config.init) or are_random(job.config)
    if job.config.seed and not draws and job.delivery.deliver != "lab":
        found.append(f"`seed={job.config.seed}` does nothing: nothing is random in this run")
    if planned.save_every > planned.num_steps:
        found.append(
            f"`save_every={planned.save_every}` saves nothing: the run has"
            f" {counted(planned.num_steps, 'step')}"
        )
    if planned.layout is not None and job.print.gravity != "center":
        centred = replace(job.print, gravity="center").layout(_shape(job))
        if centred == planned.layout:
            found.append(f"`gravity={job.print.gravity}` does nothing: there is no room that way")
    return found


def beside(output: str | Path | None, what: str, ending: str | None = None) -> Path:
    """``out-what.png`` for ``out.png``; with another ending, if one is given."""
    assert output is not None
    path = Path(output)
    return path.with_name(f"{path.stem}-{what}{path.suffix if ending is None else ending}")


def preview_paths(output: str) -> tuple[Path, Path]:
    """``out-preview.png`` and ``out-closeup.png`` for ``out.tif``."""
    return beside(output, "preview", ".png"), beside(output, "closeup", ".png")
