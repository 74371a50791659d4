"""What a child process does for one case: single steps, or a whole ladder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.bench.cases import VGG19_SHAPE, Case
from hires.bench.stopwatch import Gauge, Stopwatch
from hires.bench.work import content_bytes, largest_megapixels, predicted_bytes, work_of
from hires.features.checkpoints import write_checkpoint
from hires.config.run import Config, parse_bytes
from hires.engine.run import Progress, iter_stylize
from hires.features.network import VGG19, Architecture
from hires.engine.ladder import Rung
from hires.utils.memory import keep_freed_memory, return_freed_memory
from hires.engine.objective import Evaluation, Objective
from hires.optim.first_order import canvas_optimizer
from hires.kernels.precision import resolve_device, synchronize
from hires.engine.setup import Studio, open_studio
from hires.engine.targets import measure_content, measure_style
from hires.tiling.planning import TilePlan

# VGG-19 as style transfer uses it: nothing beyond relu5_1.
VGG19_TO_RELU5_1 = replace(VGG19, blocks=(*VGG19.blocks[:-1], (512,)))
# Of a style picture, ``(height, width)``: measured once, it must not dominate short runs.
STYLE_SIZE = (512, 512)
CONTENT_SEED, STYLE_SEED = 1, 2
# Of one octave of a picture, in units of the pixel range.
_CONTRAST = 0.25
# Which stage of a step each method of the objective is; the optimizer has the rest.
_STAGES = {
    "_total_variation": "variation",
    "_measure": "measure",
    "_judge": "judge",
    "_paint": "paint",
}
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


def facts_of(studio: Studio, size: tuple[int, int], plan: TilePlan, memory: str) -> dict[str, Any]:
    """What is known of a case before its first step: tiles, arithmetic, predicted memory."""
    names = studio.weights.names
    content = content_bytes(studio.network, list(studio.weights.content_layers))
    largest = {
        amount: largest_megapixels(
            studio.network,
            names,
            studio.precision.dtype,
            parse_bytes(amount),
            content=content,
        )
        for amount in dict.fromkeys([memory, *_MEMORIES])
    }
    return {
        "device": str(studio.device),
        "precision": studio.precision.name,
        "num_tiles": len(plan.tiles),
        "side": plan.side,
        "num_kept": min(plan.num_kept, len(plan.tiles)),
        "predicted_bytes": predicted_bytes(plan, size, content),
        "largest_megapixels": {
            amount: {"untiled": round(whole, 3), "tiled": round(tiled, 3)}
            for amount, (whole, tiled) in largest.items()
        },
        **asdict(work_of(studio.network, names, size, plan)),
    }


class StepExercise:
    """Optimisation steps at one size: objective and Adam, as a rung of the ladder runs them."""

    def __init__(self, case: Case) -> None:
        self.device = resolve_device(case.device)
        self.gauge = Gauge(self.device)
        canvas = picture(case.size, CONTENT_SEED)
        with named_features(case.features) as name:
            config = config_of(case, name)
            studio = open_studio(config)
        plan = studio.plan_tiles(config, case.size)
        if case.num_kept is not None:
            plan = replace(plan, num_kept=min(case.num_kept, len(plan.tiles)))
        # As a run does: what lasts lies outside of the heap.
        keep_freed_memory(False)
        return_freed_memory()
        self.objective = self._objective(studio, config, plan, canvas)
        self.rung = Rung(
            index=0,
            size=case.size,
            num_iterations=case.warmup + case.repeats,
            learning_rate=config.learning_rate_at(0),
            style_sizes=(STYLE_SIZE,),
            decay=case.learning_rate_decay,
            decay_every=case.decay_every,
        )
        self.optimizer = canvas_optimizer(
            "adam",
            canvas.to(self.device),
            learning_rate=self.rung.learning_rate,
            averaging=config.averaging,
        )
        self.facts = facts_of(studio, case.size, plan, case.memory)
        self._evaluation: Evaluation | None = None

    def _objective(
        self, studio: Studio, config: Config, plan: TilePlan, content: Tensor
    ) -> Objective:
        style = picture(STYLE_SIZE, STYLE_SEED)
        style_layers = list(studio.weights.style_layers)
        style_plan = studio.plan_tiles(config, STYLE_SIZE)
        return Objective(
            studio.network,
            studio.weights,
            style=measure_style(studio.network, style, style_layers, style_plan, studio.precision),
            content=measure_content(
                studio.network, content, list(studio.weights.content_layers), plan, studio.device
            ),
            plan=plan,
            precision=studio.precision,
        )

    def _evaluate(self, canvas: Tensor) -> tuple[Tensor, Tensor]:
        self._evaluation = self.objective(canvas)
        return self._evaluation.loss, self._evaluation.gradient

    def step(self) -> dict[str, Any]:
        """One step: its synchronised ``seconds``, and the ``loss`` before it."""
        rate = self.rung.learning_rate_at(self.optimizer.num_steps + 1)
        self.optimizer.set_learning_rate(rate)
        synchronize(self.device)
        started = time.perf_counter()
        self.optimizer.step(self._evaluate)
        synchronize(self.device)
        seconds = time.perf_counter() - started
        keep_freed_memory(True)
        self.gauge.sample()
        assert self._evaluation is not None
        return {"seconds": seconds, "loss": float(self._evaluation.loss)}

    def stages(self) -> dict[str, Any]:
        """Seconds of one step by stage; the clocks stop the device between stages."""
        stopwatch = Stopwatch(self.device)
        for method, stage in _STAGES.items():
            setattr(self.objective, method, stopwatch.timed(stage, getattr(self.objective, method)))
        with stopwatch.stage("total"):
            self.optimizer.step(self._evaluate)
        for method in _STAGES:
            delattr(self.objective, method)
        seconds = dict(stopwatch.seconds)
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
