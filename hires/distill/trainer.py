"""A student in training: what the three phases of a distillation share."""

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
    TAPS,
    Student,
    Teacher,
    feature_error,
    gram_error,
    saturated,
)
from hires.features.architecture import Architecture

# The last weighs the error of the input gradient.
_KIND_WEIGHTS = {"features": 1.0, "gram": 1.5, "gradient": 0.5}
_TAP_WEIGHTS = dict.fromkeys(TAPS, 1.0) | {"relu1_1": 0.5, CONTENT_TAP: 0.3}

PHASES = ("blocks", "joint", "painting")
# Peak step size of each phase, and the share of a phase in which the step size rises.
_LEARNING_RATES = (3e-3, 1.5e-3, 1e-3)
_WARM_UP = 0.05
# Longest decay of the running average of the weights that becomes the result.
_AVERAGING = 0.999

COMPACT = Architecture(
    blocks=((16, 16), (32, 32), (64, 64, 96), (128, 128, 144, 144), (128,)),
    padding="replicate",
    input_padding="replicate",
    matrix=((1 / 0.229, 0.0, 0.0), (0.0, 1 / 0.224, 0.0), (0.0, 0.0, 1 / 0.225)),
    shift=(-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How long and on what to train.

    Attributes:
        steps: steps of the three phases.
        batch: pictures a step in phases 1 and 2.
        size: side of the training crops in pixels.
        num_canvases: paintings under way in phase 3.
        seed: seed of everything random.
    """

    steps: tuple[int, int, int] = (1000, 2000, 2000)
    batch: int = 6
    size: int = 192
    num_canvases: int = 48
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """Where training stands after a step.

    Attributes:
        phase: one of `PHASES`.
        step: steps done in this phase, from 1.
        num_steps: steps of this phase.
        errors: relative squared errors, ``features relu4_1`` and ``gram relu4_1`` and so on.
    """

    phase: str
    step: int
    num_steps: int
    errors: dict[str, float]


class Trainer:
    """A student in training; the teacher is prepared for the device."""

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
        first = self.student.weight["1_1"]
        others = [p for p in self.student.parameters() if p is not first]
        # The first kernels grow large, to see fine detail in pixels that differ little.
        groups = [
            {"params": [first], "factor": 1.0 if phase else 3.0},
            {"params": others, "factor": 1.0},
        ]
        self.optimizer = Soap(groups, learning_rate=_LEARNING_RATES[phase])

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

    def step(self, errors: Mapping[str, Tensor]) -> Report:
        """One descent on errors, with warm-up and a cosine to a fiftieth of the step size."""
        total = self.recipe.steps[self.phase]
        done = self.done / total
        rate = min(1.0, (done + 1 / total) / _WARM_UP) * (0.51 + 0.49 * math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = _LEARNING_RATES[self.phase] * rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(_weighted_sum(errors))
        norm = nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        # The window grows with the run: the first steps are soon forgotten.
        decay = min(_AVERAGING, 1 - 1 / (self.done / 3 + 2))
        for name, value in self.student.weights().items():
            self.average[name].lerp_(value, 1 - decay)
        self.done += 1
        values = {key: float(error.detach()) for key, error in errors.items()}
        return Report(PHASES[self.phase], self.done, total, values)


def _weighted_sum(errors: Mapping[str, Tensor]) -> Tensor:
    """The loss: errors times the weight of their kind and layer."""
    weighted = []
    for key, error in errors.items():
        kind, _, tap = key.partition(" ")
        weighted.append(_KIND_WEIGHTS[kind] * _TAP_WEIGHTS.get(tap, 1.0) * error)
    return torch.stack(weighted).sum()
