"""What a child process does for one case: single steps, or a whole ladder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.bench.cases import VGG19_SHAPE, Case
from hires.bench.stopwatch import Gauge, Stopwatch
from hires.bench.work import largest_megapixels, predicted_bytes, work_of
from hires.config.run import Config
from hires.config.values import parse_bytes
from hires.engine.canvas import WholeCanvas
from hires.engine.ladder import Rung
from hires.engine.progress import Progress
from hires.engine.run import Run
from hires.engine.setup import Setup, open_setup
from hires.engine.stylize import iter_stylize
from hires.features.architecture import VGG19, Architecture
from hires.features.checkpoints import write_checkpoint
from hires.image.originals import Original
from hires.kernels.precision import resolve_device, synchronize
from hires.tiling.planning import TilePlan

# VGG-19 as style transfer uses it: nothing beyond relu5_1.
VGG19_TO_RELU5_1 = replace(VGG19, blocks=(*VGG19.blocks[:-1], (512,)))
# Of a style picture, ``(height, width)``: measured once, it must not dominate short runs.
STYLE_SIZE = (512, 512)
CONTENT_SEED, STYLE_SEED = 1, 2
# Of one octave of a picture, in units of the pixel range.
_CONTRAST = 0.25
# Whole memories for which the largest canvas is stated.
_MEMORIES = ("4GiB", "8GiB", "16GiB", "24GiB", "80GiB")


def random_weights(architecture: Architecture, *, seed: int = 0) -> dict[str, Tensor]:
    """He-initialised weights and zero biases, float32, named as in a checkpoint."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, before, after in architecture.convolutions():
        spread = (2 / (9 * before)) ** 0.5
        weight = torch.randn(after, before, 3, 3, generator=generator)
        weights[f"conv{key}.weight"] = weight.mul_(spread)
        weights[f"conv{key}.bias"] = torch.zeros(after)
    return weights


def picture(size: tuple[int, int], seed: int) -> Tensor:
    """A picture (1, 3, H, W) float32 in [0, 1], the same every time.

    Every octave from four cells to single pixels has the same contrast, as in photographs.
    """
    generator = torch.Generator().manual_seed(seed)
    image = torch.full((1, 3, *size), 0.5)
    cells = 4
    while cells < 2 * max(size):
        grid = [max(min(cells * side // max(size), side), 1) for side in size]
        noise = torch.rand(1, 3, *grid, generator=generator).sub_(0.5)
        image.add_(F.interpolate(noise, size, mode="bilinear"), alpha=_CONTRAST)
        cells *= 2
    return image.clamp_(0, 1)


@contextmanager
def named_features(name: str) -> Iterator[str]:
    """What `load_features` knows a case's network by; random weights pass through a file."""
    if name != VGG19_SHAPE:
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{VGG19_SHAPE}.safetensors"
        weights = random_weights(VGG19_TO_RELU5_1)
        write_checkpoint(path, VGG19_TO_RELU5_1, weights, {"licence": "none: random numbers"})
        yield str(path)


def config_of(case: Case, features: str) -> Config:
    """The settings of a run that does what the case describes."""
    return Config(
        size=max(case.size),
        min_size=min(case.min_size, max(case.size)),
        iterations=case.iterations,
        features=features,
        style_loss=case.style_loss,  # type: ignore[arg-type]
        precision=case.precision,  # type: ignore[arg-type]
        device=case.device,
        memory=case.memory,
        tile=case.tile,
    )


def facts_of(setup: Setup, size: tuple[int, int], plan: TilePlan, memory: str) -> dict[str, Any]:
    """What is known of a case before its first step: tiles, arithmetic, predicted memory."""
    content = setup.reference_bytes
    largest = {
        amount: largest_megapixels(setup.costs, parse_bytes(amount), content=content)
        for amount in dict.fromkeys([memory, *_MEMORIES])
    }
    return {
        "device": str(setup.device),
        "precision": setup.precision.name,
        "num_tiles": len(plan.tiles),
        "side": plan.side,
        "num_kept": min(plan.num_kept, len(plan.tiles)),
        "predicted_bytes": predicted_bytes(plan, size, content),
        "largest_megapixels": {
            amount: {"untiled": round(whole, 3), "tiled": round(tiled, 3)}
            for amount, (whole, tiled) in largest.items()
        },
        **asdict(work_of(setup.network, setup.names, size, plan)),
    }


class StepExercise:
    """Optimisation steps at one size: a run that stands at one rung."""

    def __init__(self, case: Case) -> None:
        self.device = resolve_device(case.device)
        self.gauge = Gauge(self.device)
        content = picture(case.size, CONTENT_SEED)
        with named_features(case.features) as name:
            config = config_of(case, name)
            setup = open_setup(config)
        plan = setup.plan_tiles(case.size)
        if case.num_kept is not None:
            plan = replace(plan, num_kept=min(case.num_kept, len(plan.tiles)))
        rung = Rung(
            index=0,
            size=case.size,
            num_iterations=case.warmup + case.repeats,
            learning_rate=config.learning_rate_at(0),
            style_sizes=(STYLE_SIZE,),
            decay=case.learning_rate_decay,
            decay_every=case.decay_every,
        )
        style = picture(STYLE_SIZE, STYLE_SEED)
        self._stopwatch: Stopwatch | None = None
        self._run = Run(
            setup,
            config,
            [rung],
            Original(content),
            [Original(style)],
            canvas_of=lambda rung: WholeCanvas(setup, rung.size, plan),
            timed=self._timed,
        )
        self._run.begin(rung)
        self.facts = facts_of(setup, case.size, plan, case.memory)

    def _timed(self, stage: str) -> AbstractContextManager[object]:
        return nullcontext() if self._stopwatch is None else self._stopwatch.stage(stage)

    def step(self) -> dict[str, Any]:
        """One step: its synchronised ``seconds``, and the ``loss`` before it."""
        synchronize(self.device)
        started = time.perf_counter()
        self._run.step()
        synchronize(self.device)
        seconds = time.perf_counter() - started
        self.gauge.sample()
        return {"seconds": seconds, "loss": self._run.progress.loss}

    def stages(self) -> dict[str, Any]:
        """Seconds of one step by stage; the clocks stop the device between stages."""
        self._stopwatch = Stopwatch(self.device)
        with self._stopwatch.stage("total"):
            self._run.step()
        seconds = dict(self._stopwatch.seconds)
        self._stopwatch = None
        return {**seconds, "optimise": 2 * seconds["total"] - sum(seconds.values())}

    def memory(self) -> dict[str, Any]:
        """Peak memory so far."""
        return self.gauge.peaks()


class LadderExercise:
    """A whole picture through the public API, one step at a time."""

    def __init__(self, case: Case) -> None:
        self.gauge = Gauge(resolve_device(case.device))
        self._progress = self._paint(case)
        self.facts: dict[str, Any] = {}

    def _paint(self, case: Case) -> Iterator[Progress]:
        content, style = picture(case.size, CONTENT_SEED), picture(STYLE_SIZE, STYLE_SEED)
        with named_features(case.features) as name:
            yield from iter_stylize(content, style, config_of(case, name))

    def step(self) -> dict[str, Any]:
        """The next step: its ``seconds`` (with what its rung prepared), loss, size, ``is_last``."""
        started = time.perf_counter()
        progress = next(self._progress)
        loss = progress.loss  # Waits for the device.
        seconds = time.perf_counter() - started
        self.gauge.sample()
        return {
            "seconds": seconds,
            "loss": loss,
            "size": progress.rung.size,
            "is_last": progress.is_last,
        }

    def stages(self) -> dict[str, Any]:
        """Not known from outside."""
        return {}

    def memory(self) -> dict[str, Any]:
        """Peak memory so far."""
        return self.gauge.peaks()
