"""What a child process does for one case: single steps, or a whole ladder."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.bench.cases import VGG19_SHAPE, Case
from hires.bench.exercise import Exercise, StageTimer
from hires.bench.work import largest_megapixels, work_of
from hires.config.run import Config
from hires.config.values import parse_bytes
from hires.engine.canvas import WholeCanvas
from hires.engine.estimate import forecast
from hires.engine.ladder import Rung
from hires.engine.run import Run
from hires.engine.setup import Setup, open_setup
from hires.engine.stylize import iter_stylize
from hires.features.architecture import VGG19, Architecture
from hires.features.network import Network
from hires.image.originals import Original
from hires.kernels.precision import synchronize
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
        weight = torch.randn(after, before, 3, 3, generator=generator)
        weights[f"conv{key}.weight"] = weight.mul_((2 / (9 * before)) ** 0.5)
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


def config_of(case: Case) -> Config:
    """The settings of a run that does what the case describes."""
    return Config(
        features="compact" if case.features == VGG19_SHAPE else case.features,
        size=max(case.size),
        min_size=min(case.min_size, max(case.size)),
        iterations=case.iterations,
        # As the stock reference has it.
        learning_rate=0.02,
        patch_weight=0.0,
        margin=0,
        style_loss=case.style_loss.split(),
        precision=case.precision,  # type: ignore[arg-type]
        device=case.device,
        memory=case.memory,
        tile=case.tile,
    )


def network_of(case: Case) -> Network | None:
    """VGG-19's shape with random weights; None for what the settings name."""
    if case.features != VGG19_SHAPE:
        return None
    return Network(VGG19_TO_RELU5_1, random_weights(VGG19_TO_RELU5_1), name=VGG19_SHAPE)


def facts_of(config: Config, setup: Setup, rung: Rung, plan: TilePlan) -> dict[str, Any]:
    """What is known of a case before its first step: tiles, arithmetic, forecast memory."""
    size, content = rung.canvas_size, setup.reference_bytes
    pixels = math.prod(size) + math.prod(STYLE_SIZE)
    (expected,) = forecast(config, setup, [rung], num_input_pixels=pixels)
    largest = {
        amount: largest_megapixels(setup.costs, parse_bytes(amount), content=content)
        for amount in dict.fromkeys([config.memory, *_MEMORIES])
    }
    return {
        "device": str(setup.device),
        "precision": setup.precision.name,
        "num_tiles": len(plan.tiles),
        "side": plan.side,
        "num_kept": min(plan.num_kept, len(plan.tiles)),
        # Of the process or, on a GPU, of the device, all in all.
        "forecast_bytes": expected.peak_bytes,
        "largest_megapixels": {
            amount: {"untiled": round(whole, 3), "tiled": round(tiled, 3)}
            for amount, (whole, tiled) in largest.items()
        },
        **asdict(work_of(setup.network, setup.names, size, plan)),
    }


class StepExercise(Exercise):
    """Optimisation steps at one size: a run that stands at one rung."""

    def __init__(self, case: Case) -> None:
        super().__init__(case.device)
        config, content = config_of(case), Original(picture(case.size, CONTENT_SEED))
        style = Original(picture(STYLE_SIZE, STYLE_SEED))
        setup = open_setup(config, network=network_of(case))
        plan = setup.plan_tiles(case.size)
        if case.num_kept is not None:
            plan = replace(plan, num_kept=min(case.num_kept, len(plan.tiles)))
        rung = Rung(
            index=0,
            size=case.size,
            num_iterations=case.warmup + case.repeats,
            learning_rate=config.learning_rate_for(1),
            style_sizes=(STYLE_SIZE,),
            decay=case.learning_rate_decay,
            decay_every=case.decay_every,
        )
        canvas = WholeCanvas(setup, case.size, plan)
        self._timer: StageTimer | None = None
        self.run = Run(
            setup, config, [rung], content, [style], canvas_of=lambda _: canvas, timed=self._timed
        )
        self.run.begin(rung)
        self.facts = facts_of(config, setup, rung, plan)

    def _timed(self, stage: str) -> AbstractContextManager[object]:
        return nullcontext() if self._timer is None else self._timer.stage(stage)

    def step(self) -> dict[str, Any]:
        """One step: ``seconds`` by the clock, ``processor_seconds``, the ``loss`` before it."""
        synchronize(self.device)
        started, worked = time.perf_counter(), time.process_time()
        self.run.step()
        synchronize(self.device)
        seconds, worked = time.perf_counter() - started, time.process_time() - worked
        self.gauge.sample()
        return {
            "seconds": seconds,
            "processor_seconds": worked,
            "loss": self.run.progress.loss,
        }

    def stages(self) -> dict[str, Any]:
        """Seconds of one step by stage; the clocks stop the device between stages."""
        self._timer = timer = StageTimer(self.device)
        with timer.stage("total"):
            self.run.step()
        self._timer = None
        optimise = 2 * timer.seconds["total"] - sum(timer.seconds.values())
        return {**timer.seconds, "optimise": optimise}


class LadderExercise(Exercise):
    """A whole picture through the public API, one step at a time."""

    def __init__(self, case: Case) -> None:
        super().__init__(case.device)
        content, style = picture(case.size, CONTENT_SEED), picture(STYLE_SIZE, STYLE_SEED)
        self._steps = iter_stylize(content, style, config_of(case), network=network_of(case))

    def step(self) -> dict[str, Any]:
        """The next step: its ``seconds`` (with what its rung prepared), loss, size, ``is_last``."""
        started = time.perf_counter()
        progress = next(self._steps)
        loss = progress.loss  # Waits for the device.
        seconds = time.perf_counter() - started
        self.gauge.sample()
        size, is_last = progress.rung.size, progress.is_last
        return {"seconds": seconds, "loss": loss, "size": size, "is_last": is_last}
