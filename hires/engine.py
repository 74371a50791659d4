"""The only optimisation loop: two or more pictures in, a `Progress` after every step out."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from hires import ladder
from hires.config import Config, parse_blend
from hires.fitting import fit
from hires.images import ImageError, fill, load_image, resize
from hires.interrupts import held_back
from hires.ladder import Rung
from hires.memory import keep_freed_memory, return_freed_memory
from hires.motion import StalledError, blamed, require_motion, sampled
from hires.objective import Evaluation, Objective, Weights
from hires.openmp import Waiting
from hires.optim import CanvasOptimizer, NonFiniteError
from hires.optimizers import optimizer_of, restored
from hires.originals import Original, PictureLike, about_hidden, original, originals
from hires.snapshots import Snapshot, SnapshotError, mapped
from hires.studio import Measuring, Studio, check_ladder, open_studio, style_target
from hires.targets import measure_content
from hires.tones import TONES_SIDE, compared
from hires.walk import TilePlan, replan


class StylizeError(RuntimeError):
    """The optimisation broke down.

    Attributes:
        picture: the last good picture (1, 3, H, W) in [0, 1], at the size of the rung that failed.
    """

    def __init__(self, message: str, picture: Tensor) -> None:
        super().__init__(message)
        self.picture = picture


@dataclass(slots=True)
class _Standing:
    """What a run has at the moment; one for all of its `Progress`."""

    rung: Rung
    optimizer: CanvasOptimizer
    plan: TilePlan
    measured: tuple[int, ...]
    loss: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after a step. Nothing is copied from the device until somebody asks.

    Attributes:
        rung: the rung being painted.
        num_rungs: number of rungs in the ladder.
        iteration: steps done at this rung, from 1; 0 where a run resumes before the first.
        fraction: share of the whole run's work that is done, 0 to 1.
        seconds: time since the run began.
        warnings: what the user should know; the same at every step.
    """

    rung: Rung
    num_rungs: int
    iteration: int
    fraction: float
    seconds: float
    warnings: tuple[str, ...]
    _judge: Callable[[Tensor], str | None] = field(repr=False)
    _loss: Tensor = field(repr=False)
    _terms: dict[str, Tensor] = field(repr=False)
    _standing: list[_Standing] = field(repr=False)

    @property
    def loss(self) -> float:
        """The weighted sum of the terms before this step."""
        return float(self._loss)

    @property
    def terms(self) -> dict[str, float]:
        """``style``, ``content`` and ``tv`` before this step, before their weights."""
        return {name: float(value) for name, value in self._terms.items()}

    @property
    def is_last(self) -> bool:
        """Whether the painting is finished."""
        return self.ends_rung and self.rung.index == self.num_rungs - 1

    @property
    def ends_rung(self) -> bool:
        """Whether this was the last step of its rung."""
        return self.iteration == self.rung.num_iterations

    def picture(self) -> Tensor:
        """A copy of the picture so far, (1, 3, H, W) float32 in [0, 1].

        That of the run, not of this step: an old `Progress` does not keep an old canvas in memory.
        """
        return self._standing[0].optimizer.result()

    def thumbnail(self, long_side: int) -> Tensor:
        """The picture so far, made smaller if its long side is longer than that; a copy."""
        picture = self._standing[0].optimizer.picture
        size = _size(picture)
        return resize(picture, ladder.scale_to(size, min(long_side, max(size))), clamp=True)

    def about_tones(self) -> str | None:
        """What to say of the painting if its tones are far from those of its styles, else None.

        Meant for the last step: on the way they often are.
        """
        return self._judge(self.thumbnail(TONES_SIDE))

    def snapshot(self) -> Snapshot:
        """Everything that `iter_stylize` needs to go on from here, bit by bit as this run does.

        Like `picture`, that of the run as it stands now; but no copy: write it, or copy it, before
        the next step.
        """
        now = self._standing[0]
        return Snapshot(
            rung=now.rung.index,
            iteration=now.optimizer.num_steps,
            seconds=self.seconds,
            loss=float(now.loss),
            terms={name: float(value) for name, value in now.terms.items()},
            tiles=(now.plan.side, now.plan.num_kept),
            measured=now.measured,
            state=now.optimizer.state(),
        )


def stylize(
    content: PictureLike,
    styles: PictureLike | Sequence[PictureLike],
    config: Config,
    *,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Paint a content picture in the style of one or more others.

    What the user should know is a warning (`warnings.warn`): before the run what will disappoint,
    after it that the tones of the painting are far from the style's.

    Args:
        content: a path, what `hires.read_picture` returned, or (1, 3, H, W) float, sRGB in [0, 1].
            What is transparent in a file counts neither for content nor for style.
        styles: the same, one or several.
        config: how to paint.
        size: exact ``(height, width)`` of the painting in pixels, such as `Layout.painted`, in
            place of ``config.size``; the content must have its shape.

    Returns:
        The painting, (1, 3, H, W) float32 in [0, 1], its long side ``config.size`` unless there is
        an exact size.

    Raises:
        ValueError: for settings or pictures that cannot be painted.
        StylizeError: if the optimisation breaks down.
    """
    run = iter_stylize(content, styles, config, size=size)
    progress = next(run)
    for note in progress.warnings:
        warnings.warn(note, stacklevel=2)
    deque(run, maxlen=0)  # To the end: `progress` shows the run wherever it stands.
    told = progress.about_tones()
    if told is not None:
        warnings.warn(told, stacklevel=2)
    return progress.picture()


def iter_stylize(
    content: PictureLike,
    styles: PictureLike | Sequence[PictureLike],
    config: Config,
    *,
    size: tuple[int, int] | None = None,
    resume: Snapshot | None = None,
) -> Iterator[Progress]:
    """Paint, and yield after every step. See `stylize` for arguments and errors.

    Args:
        content: see `stylize`.
        styles: see `stylize`.
        config: how to paint.
        size: see `stylize`.
        resume: where an earlier run with the same pictures and settings stood. The run takes its
            tensors over and goes on from there; first it yields the step that the other had done.

    Raises:
        SnapshotError: if the snapshot is that of a run with another ladder.
    """
    started = time.perf_counter() - (resume.seconds if resume else 0)
    fitted = fit(config)
    config = fitted.config
    photograph = original(content)
    paintings = originals(styles)
    shares = config.style_shares(len(paintings))
    studio = open_studio(config)
    style_sizes = [painting.size for painting in paintings]
    rungs = ladder.plan(config, photograph.size, style_sizes, size=size)
    notes = (
        *fitted.warnings,
        *ladder.warnings(config, rungs, photograph.size, style_sizes),
        *about_hidden([photograph, *paintings]),
    )
    names = [one.name for one in (photograph, *paintings)]
    check_ladder(studio, config, rungs, photograph.size, style_sizes, names=names)
    work = [rung.work for rung in rungs]
    standing: list[_Standing] = []
    waiting = Waiting(torch.get_num_threads() if studio.device.type == "cpu" else 1, _parallel_work)

    def progress() -> Progress:
        (now,) = standing
        done = sum(work[: now.rung.index]) + now.rung.step_work * now.optimizer.num_steps
        return Progress(
            rung=now.rung,
            num_rungs=len(rungs),
            iteration=now.optimizer.num_steps,
            fraction=done / sum(work),
            seconds=time.perf_counter() - started,
            warnings=notes,
            _judge=partial(compared, content=photograph, styles=paintings, config=config),
            _loss=now.loss,
            _terms=now.terms,
            _standing=standing,
        )

    if resume is not None:
        standing[:] = [_stand(studio, config, rungs, resume)]
        resume = None  # Its tensors are the optimizer's now, and go with it.
        yield progress()
    objective: Objective | None = None
    for rung in rungs[standing[0].rung.index if standing else 0 :]:
        if _is_done(standing, rung):
            continue
        objective = None  # The last rung's buffers make room for this one's.
        # What lasts is allocated until the first step is done: outside of the heap, which then has
        # no holes and may keep what later steps free.
        keep_freed_memory(False)
        return_freed_memory()
        resumed = bool(standing) and standing[0].rung == rung
        measuring = Measuring(studio, config, standing[0].measured if resumed else ())
        objective = _objective(measuring, studio, config, rung, photograph, paintings, shares)
        _begin(standing, studio, config, rung, photograph.pixels, objective)
        standing[0].measured = tuple(measuring.sides)
        for done in range(standing[0].optimizer.num_steps, rung.num_iterations):
            standing[0].optimizer.set_learning_rate(rung.learning_rate_at(done + 1))
            with waiting:
                _step(standing[0], objective)
            keep_freed_memory(True)
            yield progress()


def _parallel_work() -> None:
    """Something that every thread gets a part of."""
    torch.zeros(2**16 * torch.get_num_threads()).add_(1)


def _stand(studio: Studio, config: Config, rungs: Sequence[Rung], snapshot: Snapshot) -> _Standing:
    """Where a snapshot was taken."""
    if snapshot.rung >= len(rungs):
        raise SnapshotError("the snapshot is that of a longer ladder")
    rung = rungs[snapshot.rung]
    optimizer = restored(mapped(snapshot.state, lambda tensor: tensor.to(studio.device)))
    if _size(optimizer.canvas) != rung.size or snapshot.iteration > rung.num_iterations:
        raise SnapshotError("the snapshot is that of another ladder")
    side, num_kept = snapshot.tiles
    plan = replan(
        studio.network,
        studio.weights.names,
        rung.size,
        studio.plan_tiles(config, rung.size),
        side=side,
        num_kept=num_kept,
    )
    number = partial(torch.tensor, dtype=torch.float64)
    terms = {name: number(value) for name, value in snapshot.terms.items()}
    return _Standing(rung, optimizer, plan, tuple(snapshot.measured), number(snapshot.loss), terms)


def _is_done(standing: Sequence[_Standing], rung: Rung) -> bool:
    """Whether a resumed run has nothing left to do at a rung."""
    return bool(standing) and (standing[0].rung, standing[0].optimizer.num_steps) == (
        rung,
        rung.num_iterations,
    )


def _begin(
    standing: list[_Standing],
    studio: Studio,
    config: Config,
    rung: Rung,
    content: Tensor,
    objective: Objective,
) -> None:
    """Bring the canvas to a rung, unless a resumed run stands there already."""
    if standing and standing[0].rung == rung:
        objective.plan = standing[0].plan
        return
    before = standing[0] if standing else None
    optimizer = _optimizer(config, rung, before.optimizer if before else None, content, studio)
    loss, terms = (before.loss, before.terms) if before else (torch.zeros(()), {})
    # In one piece: whoever interrupts the run finds the old rung or the new one.
    standing[:] = [_Standing(rung, optimizer, objective.plan, (), loss, terms)]


def _step(now: _Standing, objective: Objective) -> None:
    """Move the canvas once. An interrupt finds it as it was before, or as it is after."""
    evaluations: list[Evaluation] = []

    def evaluate(canvas: Tensor) -> tuple[Tensor, Tensor]:
        with shield.lifted():
            evaluations.append(objective(canvas))
        return evaluations[-1].loss, evaluations[-1].gradient

    # Of the first step of a rung: what does not move then never will.
    before = None if now.optimizer.num_steps else sampled(now.optimizer.canvas)
    iteration = now.optimizer.num_steps + 1
    with held_back() as shield:
        try:
            now.optimizer.step(evaluate)
            if before is not None:
                after, least = sampled(now.optimizer.canvas), now.optimizer.least_step
                require_motion(before, after, evaluations[-1].gradient, least=least)
        except (NonFiniteError, StalledError) as error:
            weights, picture = objective.weights, now.optimizer.result()
            raise breakdown(error, now.rung, iteration, weights, picture) from None
        now.plan = objective.plan
        now.loss, now.terms = evaluations[-1].loss, evaluations[-1].terms


def breakdown(
    error: ArithmeticError, rung: Rung, iteration: int, weights: Weights, picture: Tensor
) -> StylizeError:
    """What to raise where a step, counted from 1, fails: where that was and what to do about it."""
    height, width = rung.size
    where = f"rung {rung.index + 1} ({width}x{height}), iteration {iteration}"
    return StylizeError(f"{error} at {where}: {blamed(weights.of_terms, error)}", picture)


def _objective(
    measuring: Measuring,
    studio: Studio,
    config: Config,
    rung: Rung,
    content: Original,
    styles: Sequence[Original],
    shares: Sequence[float],
) -> Objective:
    """Measure the rung's targets and set up its loss."""
    target = style_target(measuring, studio, rung, styles, shares)
    plan = studio.plan_tiles(config, rung.size)
    photograph = content.resized(rung.size)
    layers = list(studio.weights.content_layers)
    features = measuring(
        rung.size,
        lambda tiles: measure_content(
            studio.network, photograph.pixels, layers, tiles, studio.device
        ),
    )
    return Objective(
        studio.network,
        studio.weights,
        style=target,
        content=features,
        plan=plan,
        precision=studio.precision,
        mask=photograph.mask,
    )


def _optimizer(
    config: Config,
    rung: Rung,
    previous: CanvasOptimizer | None,
    content: Tensor,
    studio: Studio,
) -> CanvasOptimizer:
    if previous is not None:
        return previous.enlarged(partial(_resize_to, rung.size), rung.learning_rate)
    start = first_canvas(config, rung.size, content).to(studio.device)
    return optimizer_of(config, start, rung.learning_rate)


def _resize_to(size: tuple[int, int], image: Tensor) -> Tensor:
    return resize(image, size)


def first_canvas(config: Config, size: tuple[int, int], content: Tensor) -> Tensor:
    """What the first rung starts from, (1, 3, H, W) float32 in [0, 1].

    A picture of another shape is cut to that of the canvas, not stretched.
    """
    noise_share = 1.0 if config.init == "noise" else parse_blend(config.init)
    if noise_share is not None:
        generator = torch.Generator().manual_seed(config.seed)
        noise = torch.rand(1, 3, *size, generator=generator)
        if noise_share == 1:
            return noise
        return resize(content, size).clamp(0, 1).lerp_(noise, noise_share)
    if config.init == "content":
        return resize(content, size).clamp(0, 1)
    try:
        start = load_image(config.init)
    except ImageError as error:
        raise ImageError(f"`init`: {error}") from error
    return fill(start, size).clamp(0, 1)


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[3]
