"""What is run dry: steps of a painting, a network applied, steps of a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from cuda_dry_run.autograd import autograd_on_fakes
from cuda_dry_run.counter import Counter
from hires.config.feedforward import ApplyConfig, TrainConfig
from hires.config.run import Config
from hires.engine import ladder
from hires.engine.budget import Budget
from hires.engine.estimate import Forecast, forecast
from hires.engine.objective import Objective
from hires.engine.run import Run
from hires.engine.setup import Setup, terms_of
from hires.features.architecture import Architecture
from hires.features.network import Network
from hires.feedforward import apply, perceptual_loss, training
from hires.feedforward.design import Design
from hires.feedforward.model import Model
from hires.feedforward.transformer import Transformer
from hires.image.originals import Original
from hires.kernels.precision import Precision
from hires.tiling.planning import TilePlan

CUDA = torch.device("cuda")
_SMALL = (512, 512)
_CONTENT, _STYLE = (3000, 4242), (2000, 1500)


@contextmanager
def dry_run(limit: int | None = None, *, expandable: bool = False) -> Iterator[Counter]:
    """Inside, tensors are fake, and what they cost a card of ``limit`` bytes is counted."""
    counter = Counter(limit, expandable=expandable)
    with FakeTensorMode(allow_non_fake_inputs=True), autograd_on_fakes(), counter:
        yield counter


def network_of(architecture: Architecture) -> Network:
    """A network of zeros."""
    weights = {}
    for key, before, after in architecture.convolutions():
        weights[f"conv{key}.weight"] = torch.zeros(after, before, 3, 3)
        weights[f"conv{key}.bias"] = torch.zeros(after)
    return Network(architecture, weights)


@dataclass(frozen=True, slots=True)
class Painting:
    """One rung of a painting, begun.

    Attributes:
        run: to be stepped.
        setup: of the run.
        num_bytes: of the card, as `hires plan` forecasts them.
    """

    run: Run
    setup: Setup
    num_bytes: int

    @property
    def plan(self) -> TilePlan:
        """The tiles."""
        objective = self.run._objective
        assert objective is not None
        return objective.plan


def painting(
    architecture: Architecture,
    size: tuple[int, int],
    *,
    dtype: torch.dtype = torch.bfloat16,
    **options: Any,
) -> Painting:
    """Begin the last rung of a painting of ``(height, width)``, inside of `dry_run`.

    Args:
        architecture: of the feature network.
        size: of the canvas.
        dtype: of the features.
        options: of the configuration.
    """
    config = Config(**{"size": max(size), "margin": 0, "device": "cuda", **options})
    setup = Setup(
        network=network_of(architecture).prepare(CUDA, dtype, torch.channels_last),
        precision=Precision(dtype),
        terms=terms_of(config),
        memory=config.memory_bytes or 2**31,
        tile=config.tile,
    )
    content = Original(torch.zeros(1, 3, *size))
    styles = [Original(torch.zeros(1, 3, *_SMALL))]
    rungs = ladder.plan(config, content.size, [_SMALL], size=size)
    # A style of the same size in every scene.
    rung = replace(rungs[-1], style_sizes=(_SMALL,), index=0)
    run = Run(setup, config, (rung,), content, styles)
    run.begin(rung)
    (expected,) = forecast(config, setup, [rung], num_input_pixels=0)
    assert expected.device_bytes is not None
    return Painting(run, setup, expected.device_bytes)


@dataclass(frozen=True, slots=True)
class Climbed:
    """One rung of a ladder, after its steps.

    Attributes:
        expected: what `hires plan` tells of it.
        objective: of the rung.
        allocated, reserved: bytes of PyTorch's allocator at most.
        kernels: of the last step.
        bus_bytes: what the last step sent to the card and back.
    """

    expected: Forecast
    objective: Objective
    allocated: int
    reserved: int
    kernels: int
    bus_bytes: int


def ladder_on_card(
    architecture: Architecture,
    size: tuple[int, int],
    counter: Counter,
    *,
    num_rungs: int,
    **options: Any,
) -> Iterator[Climbed]:
    """Paint the last rungs of a ladder on a card of as many bytes as the counter's.

    Args:
        architecture: of the feature network.
        size: ``(height, width)`` of the painting.
        counter: of the `dry_run` that this is called in.
        num_rungs: how many of the rungs, the largest ones.
        options: of the configuration.
    """
    given = {"size": max(size), "device": "cuda", "iterations": (2,), **options}
    config = Config(**given)
    budget = Budget(config, config.memory_bytes, counter.allocator.limit)
    setup = Setup(
        network=network_of(architecture).prepare(CUDA, torch.bfloat16, torch.channels_last),
        precision=Precision(torch.bfloat16),
        terms=terms_of(config),
        memory=0,
        budget=budget,
    )
    content, style = (Original(torch.zeros(1, 3, *side)) for side in (_CONTENT, _STYLE))
    rungs = ladder.plan(config, content.size, [_STYLE], size=size)[-num_rungs:]
    forecasts = forecast(config, setup, rungs, num_input_pixels=0)
    run = Run(setup, config, rungs, content, [style])
    with mock.patch.object(torch.cuda, "empty_cache", counter.allocator.empty_cache):
        for rung, expected in zip(rungs, forecasts, strict=True):
            counter.allocator.restart_peak()
            run.begin(rung)
            # What the optimizer keeps is there from the second step on. The first looks at nothing.
            run.optimizer.step(lambda canvas: (torch.zeros(()), torch.zeros_like(canvas)))
            counter.restart(peaks=False)
            run.step()
            assert run._objective is not None
            yield Climbed(
                expected,
                run._objective,
                counter.allocator.peak_allocated,
                counter.allocator.peak_reserved,
                counter.num_kernels,
                counter.bus_bytes,
            )


def applied(size: tuple[int, int], design: Design | None = None, **options: Any) -> Tensor:
    """A network of zeros applied to a picture of ``(height, width)``."""
    design = design or Design()
    names = design.tensors(normalised=design.normalised)
    tensors = {name: torch.zeros(shape) for name, shape in names.items()}
    with mock.patch.object(apply, "resolve_device", return_value=CUDA):
        inference = apply.Inference(
            Model(design, tensors, {}, "dry"),
            ApplyConfig(**options),
            precision=Precision(torch.bfloat16),
        )
    return inference.apply(torch.zeros(1, 3, *size))


class _Photographs:
    """Photographs that are black."""

    paths: tuple[Path, ...] = ()

    def batch(self, number: int, side: int) -> Tensor:
        """(B, 3, side, side)."""
        return torch.zeros(number, 3, side, side)


def trainer(architecture: Architecture, **options: Any) -> training.Trainer:
    """A training about to begin, whose losses look at a network of zeros."""
    config = TrainConfig(**{"precision": "bf16", "batch_size": 2, **options})
    style = torch.zeros(1, 3, *_SMALL) if config.task == "style" else None
    photographs: Any = _Photographs()
    with (
        mock.patch.object(perceptual_loss, "load_features", return_value=network_of(architecture)),
        mock.patch.object(Transformer, "to", _moved),
    ):
        loss = perceptual_loss.PerceptualLoss(config, style, CUDA)
        return training.Trainer(config, photographs, loss, CUDA)


def _moved(model: Transformer, device: torch.device) -> Transformer:
    """``Module.to``, which exchanges tensors in a way that fakes do not bear."""
    for name, tensor in [*model.tensors.items()]:
        model.tensors[name] = torch.nn.Parameter(tensor.detach().to(device))
    for name, buffer in [*model.named_buffers()]:
        model.register_buffer(name, buffer.to(device))
    return model
