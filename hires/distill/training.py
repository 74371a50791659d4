"""Distillation: teach a small VGG-shaped network the features of a large one.

Three phases, each an iterator that yields a `Report` after every step:

1. `train_blocks`: every block alone, from the teacher's features before it to those after it.
   Trained jointly from scratch, deep blocks see only noise and stay stuck.
2. `train_jointly`: end to end, on features and on Gram matrices.
3. `train_by_painting`: besides, on canvases that the student itself is painting, with the input
   gradient of the style loss as a target (Czarnecki et al. 2017, Sobolev training). An optimiser
   finds every input where student and teacher disagree; here the student meets them first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hires.distill.crops import Crops
from hires.distill.shampoo import Soap
from hires.distill.teaching import (
    CONTENT_TAP,
    STYLE_TAPS,
    TAPS,
    Student,
    Teacher,
    feature_error,
    gradient_error,
    gram_error,
    saturated,
)
from hires.features.architecture import Architecture

# What counts in the sum: the first layer is nearly linear, the content layer a by-product.
_KIND_WEIGHTS = {"features": 1.0, "gram": 1.5}
_TAP_WEIGHTS = dict.fromkeys(TAPS, 1.0) | {"relu1_1": 0.5, CONTENT_TAP: 0.3}

PHASES = ("blocks", "joint", "painting")
# Share of a phase in which the step size rises.
_WARM_UP = 0.05

COMPACT = Architecture(
    blocks=((16, 16), (32, 32), (64, 64, 96), (128, 128, 144, 144), (128,)),
    padding="replicate",
    input_padding="replicate",
    matrix=((1 / 0.229, 0.0, 0.0), (0.0, 1 / 0.224, 0.0), (0.0, 0.0, 1 / 0.225)),
    shift=(-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
)


Features = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How long and how hard to train.

    Attributes:
        steps: steps of the three phases.
        learning_rates: peak step size of each phase.
        batch: pictures a step in phases 1 and 2.
        size: side of the training crops in pixels.
        num_canvases: paintings under way in phase 3 ...
        num_painted: ... of which this many are trained on and painted on in a step.
        gradient_weight: weight of the input gradient's error in phase 3 ...
        gradient_every: ... where it is taken, at every so manieth step.
        averaging: longest decay of the running average of the weights that becomes the result.
        seed: seed of everything random.
    """

    steps: tuple[int, int, int] = (1000, 2000, 2000)
    learning_rates: tuple[float, float, float] = (3e-3, 1.5e-3, 1e-3)
    batch: int = 6
    size: int = 192
    num_canvases: int = 48
    num_painted: int = 2
    gradient_weight: float = 0.5
    gradient_every: int = 3
    averaging: float = 0.999
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """Where training stands after a step.

    Attributes:
        phase: ``blocks``, ``joint`` or ``painting``.
        step: steps done in this phase, from 1.
        num_steps: steps of this phase.
        errors: relative squared errors, ``features relu4_1`` and ``gram relu4_1`` and so on.
    """

    phase: str
    step: int
    num_steps: int
    errors: dict[str, float]


class Trainer:
    """A student on its way: what the three phases share.

    Args:
        student: network to train.
        teacher: what it learns from, prepared for the device.
        crops: training pictures.
        recipe: how long and how hard.
        device: where to train.
    """

    def __init__(
        self, student: Student, teacher: Teacher, crops: Crops, recipe: Recipe, device: torch.device
    ) -> None:
        self.student = student.to(device)
        self.teacher, self.crops, self.recipe, self.device = teacher, crops, recipe, device
        self.begin(0)

    def begin(self, phase: int) -> None:
        """Start a phase from the averaged weights of the one before, with a fresh optimizer."""
        if phase:
            self.student.load_weights(self.average)
        self.phase, self.done = phase, 0
        self.average: dict[str, Tensor] = self.student.weights()
        self.optimizer = Soap(self._groups(), learning_rate=self.recipe.learning_rates[phase])

    def _groups(self) -> list[dict[str, Any]]:
        first = self.student.weight["1_1"]
        others = [p for p in self.student.parameters() if p is not first]
        # The first kernels grow large, to see fine detail in pixels that differ little.
        factor = 3.0 if self.phase == 0 else 1.0
        return [{"params": [first], "factor": factor}, {"params": others, "factor": 1.0}]

    def state(self) -> dict[str, Any]:
        """Everything that `load_state` needs to go on from here, but for canvases under way."""
        return {
            "phase": self.phase,
            "done": self.done,
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "random": self.crops.random.getstate(),
            "generator": self.crops.generator.get_state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of a trainer with the same student, teacher and recipe."""
        self.begin(state["phase"])
        self.done = state["done"]
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = dict(state["average"])
        self.crops.random.setstate(state["random"])
        self.crops.generator.set_state(state["generator"])

    def batch(self, count: int) -> Tensor:
        """Training pictures on the device."""
        return self.crops.batch(count, self.recipe.size).to(self.device)

    def errors(
        self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], *, grams: bool
    ) -> dict[str, Tensor]:
        """Mean errors over a batch, by ``features relu4_1``, ``gram relu4_1`` and so on."""
        found = {}
        for tap in student:
            head = self.teacher.heads.get(tap)
            error = feature_error(student[tap], teacher[tap], head)
            found[f"features {tap}"] = saturated(error).mean()
            if grams and tap != CONTENT_TAP:
                error = gram_error(student[tap], teacher[tap], head)
                found[f"gram {tap}"] = saturated(error).mean()
        return found

    def steps(self) -> Iterator[int]:
        """Count the remaining steps of this phase."""
        return iter(range(self.done, self.recipe.steps[self.phase]))

    def step(self, loss: Tensor, errors: Mapping[str, Tensor]) -> Report:
        """One descent on a loss, with warm-up and a cosine to a fiftieth of the step size."""
        total = self.recipe.steps[self.phase]
        done = self.done / total
        rate = min(1.0, (done + 1 / total) / _WARM_UP) * (0.51 + 0.49 * math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rates[self.phase] * rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        self._average()
        self.done += 1
        values = {key: float(error.detach()) for key, error in errors.items()}
        return Report(PHASES[self.phase], self.done, total, values)

    def _average(self) -> None:
        # The window grows with the run: the first steps are soon forgotten.
        decay = min(self.recipe.averaging, 1 - 1 / (self.done / 3 + 2))
        for name, value in self.student.weights().items():
            self.average[name].lerp_(value, 1 - decay)


def distill(trainer: Trainer) -> Iterator[Report]:
    """Train to the end, from wherever the trainer stands; the result is ``trainer.average``."""
    for phase, train in enumerate((train_blocks, train_jointly, train_by_painting)):
        if phase < trainer.phase:
            continue
        if phase > trainer.phase:
            trainer.begin(phase)
        yield from train(trainer)


def weighted_sum(errors: Mapping[str, Tensor], *, gradient: float = 0.0) -> Tensor:
    """The loss: errors times the weight of their kind and layer."""
    weighted = []
    for key, error in errors.items():
        kind, _, tap = key.partition(" ")
        weight = gradient if kind == "gradient" else _KIND_WEIGHTS[kind] * _TAP_WEIGHTS[tap]
        weighted.append(weight * error)
    return torch.stack(weighted).sum()


def train_blocks(trainer: Trainer) -> Iterator[Report]:
    """Phase 1: every block alone, from the teacher's features before it."""
    if not trainer.done:
        standardise(trainer)
    for _ in trainer.steps():
        image = trainer.batch(trainer.recipe.batch)
        targets = trainer.teacher(image)
        features = _block_by_block(trainer, image, targets)
        errors = trainer.errors(features, targets, grams=False)
        yield trainer.step(weighted_sum(errors), errors)


def _block_by_block(
    trainer: Trainer, image: Tensor, targets: Mapping[str, Tensor], *, standardising: bool = False
) -> dict[str, Tensor]:
    """The student's features, every block fed with the teacher's."""
    student, found = trainer.student, dict[str, Tensor]()
    x = student.normalised(image)
    for key in student.keys:
        if standardising:
            student.standardise(key, x)
        x = student.layer(key, x)
        tap = f"relu{key}"
        if tap in TAPS:
            found[tap] = x
        if tap in STYLE_TAPS:
            x = targets[tap]
    return found


@torch.no_grad()
def standardise(trainer: Trainer) -> None:
    """Give every channel zero mean and unit variance before the ReLU, on real features.

    Data-dependent initialisation (Mishkin & Matas 2016): no unit is dead at the start, and no
    normalisation layer is left to fold away at the end.
    """
    image = trainer.batch(2 * trainer.recipe.batch)
    _block_by_block(trainer, image, trainer.teacher(image), standardising=True)


def train_jointly(trainer: Trainer) -> Iterator[Report]:
    """Phase 2: end to end, on features and Gram matrices."""
    for _ in trainer.steps():
        image = trainer.batch(trainer.recipe.batch)
        errors = trainer.errors(trainer.student(image), trainer.teacher(image), grams=True)
        yield trainer.step(weighted_sum(errors), errors)


@dataclass(slots=True)
class Canvas:
    """A painting under way, (1, 3, H, W) throughout.

    Attributes:
        image: the painting.
        content: what it shows.
        style: how it is painted.
        content_weight: strength of the content against the style.
        learning_rate: step size of its Adam.
        steps_left: steps until it is replaced by a new one.
        first: running mean of the gradient.
        second: running mean of its square.
        age: steps done.
    """

    image: Tensor
    content: Tensor
    style: Tensor
    content_weight: float
    learning_rate: float
    steps_left: int
    first: Tensor
    second: Tensor
    age: int = 0

    @property
    def finished(self) -> bool:
        """Whether it is time for another."""
        return self.steps_left <= 0 or not bool(torch.isfinite(self.image).all())

    def paint(self, gradient: Tensor) -> None:
        """One step of Adam, the picture kept in [0, 1]."""
        self.age += 1
        self.steps_left -= 1
        self.first.lerp_(gradient, 0.1)
        self.second.lerp_(gradient.square(), 0.01)
        mean, square = self.first / (1 - 0.9**self.age), self.second / (1 - 0.99**self.age)
        self.image = (self.image - self.learning_rate * mean / (square.sqrt() + 1e-12)).clamp(0, 1)


def new_canvas(trainer: Trainer) -> Canvas:
    """Begin a painting of random content, style and settings, from the content or from noise."""
    crops, draw, size = trainer.crops, trainer.crops.random, trainer.recipe.size
    content = crops.crop(size) if draw.random() < 0.9 else crops.batch(1, size).clamp(0, 1)
    image = content
    if draw.random() < 0.2:
        noise = torch.rand(content.shape, generator=crops.generator)
        image = (draw.choice((0.3, 1.0)) * noise + draw.choice((0.0, 0.3)) * content).clamp(0, 1)
    return Canvas(
        image=image.to(trainer.device),
        content=content.to(trainer.device),
        style=crops.crop(size).to(trainer.device),
        content_weight=draw.choice((0.02, 0.1, 0.3, 1.0)),
        learning_rate=draw.choice((0.01, 0.02, 0.05)),
        steps_left=draw.choice((30, 60, 120, 200)),
        first=torch.zeros_like(content, device=trainer.device),
        second=torch.zeros_like(content, device=trainer.device),
    )


def train_by_painting(trainer: Trainer) -> Iterator[Report]:
    """Phase 3: on pictures and on the student's own paintings, with their gradient as a target."""
    recipe, draw = trainer.recipe, trainer.crops.random
    canvases = [new_canvas(trainer) for _ in range(recipe.num_canvases)]
    for step in trainer.steps():
        chosen = draw.sample(range(recipe.num_canvases), recipe.num_painted)
        with_gradient = step % recipe.gradient_every == 0
        errors = _painting_step(trainer, [canvases[i] for i in chosen], with_gradient)
        yield trainer.step(weighted_sum(errors, gradient=recipe.gradient_weight), errors)
        for i in chosen:
            if canvases[i].finished:
                canvases[i] = new_canvas(trainer)


def _painting_step(
    trainer: Trainer, canvases: list[Canvas], with_gradient: bool
) -> dict[str, Tensor]:
    """Errors on two fresh pictures, on the canvases, their contents and styles; and paint once."""
    pictures = torch.cat([c.style for c in canvases] + [c.content for c in canvases])
    pictures = torch.cat([pictures, trainer.batch(2)])
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    painted = torch.cat([c.image for c in canvases])
    painted = painted.contiguous(memory_format=torch.channels_last).requires_grad_()
    own, own_painted = trainer.student(pictures), trainer.student(painted)
    with torch.no_grad():
        other = trainer.teacher(pictures)
    other_painted = trainer.teacher(painted)
    aim = _Aim(trainer, canvases)
    loss = aim.loss(own_painted, {tap: value.detach() for tap, value in own.items()})
    (gradient,) = torch.autograd.grad(loss, painted, create_graph=with_gradient, retain_graph=True)
    for i, canvas in enumerate(canvases):
        canvas.paint(gradient.detach()[i : i + 1])
    together = {tap: torch.cat([own[tap], own_painted[tap]]) for tap in own}
    targets = {tap: torch.cat([other[tap], other_painted[tap].detach()]) for tap in own}
    errors = trainer.errors(together, targets, grams=True)
    if with_gradient:
        (wanted,) = torch.autograd.grad(aim.loss(other_painted, other), painted)
        errors["gradient"] = gradient_error(gradient, wanted)
    return errors


class _Aim:
    """What a few canvases are painted towards: those losses, without tiles."""

    def __init__(self, trainer: Trainer, canvases: list[Canvas]) -> None:
        self.content_tap = trainer.crops.random.choice((CONTENT_TAP, "relu4_1"))
        weights = [canvas.content_weight for canvas in canvases]
        self.content_weights = torch.tensor(weights, device=trainer.device)

    def loss(self, painted: Features, fixed: Features) -> Tensor:
        """Sum over the canvases.

        Args:
            painted: features of the canvases.
            fixed: features of their styles, then of their contents, then of whatever else.
        """
        count = len(self.content_weights)
        content = fixed[self.content_tap][count : 2 * count].float()
        error = (painted[self.content_tap].float() - content).square().mean((1, 2, 3))
        total = (self.content_weights * error / content.square().mean((1, 2, 3))).sum()
        for tap in STYLE_TAPS:
            style = gram_error(painted[tap], fixed[tap][:count])
            total = total + style.sum() / len(STYLE_TAPS)
        return total
