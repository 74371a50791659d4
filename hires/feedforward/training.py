"""How feed-forward networks are trained (Johnson et al. 2016): steps, their schedule, a state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hires.config.feedforward import TrainConfig
from hires.config.values import counted
from hires.feedforward.design import Design
from hires.feedforward.grain import with_grain
from hires.feedforward.model import load_model
from hires.feedforward.perceptual_loss import PerceptualLoss
from hires.feedforward.photographs import Photographs
from hires.feedforward.transformer import Transformer
from hires.image.originals import PictureLike
from hires.image.resample import resize
from hires.kernels.precision import float32_products, resolve_device
from hires.optim.stall import blamed

# Share of the training in which the step size rises, and what it falls to at the end.
_WARM_UP = 0.02
_LAST_RATE = 0.02


class TrainingError(ValueError):
    """The training broke down, or cannot go on from a saved state."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """Where training stands after a step.

    Attributes:
        step: steps done, from 1.
        num_steps: steps in all.
        learning_rate: step size of this step.
        loss: the weighted sum of the terms before this step.
        terms: ``style``, ``patch`` (if it has a weight), ``content`` and ``tv`` before their
            weights; neither of the first two but ``consistency`` for super-resolution.
    """

    step: int
    num_steps: int
    learning_rate: float
    loss: float
    terms: dict[str, float]


def design_of(config: TrainConfig) -> Design:
    """The architecture that a training makes."""
    if config.task == "style":
        return Design()
    return Design(task="super-resolution", factor=config.factor, widths=(64,), num_blocks=4)


class Trainer:
    """A network in training: ``model``, after ``done`` steps.

    Attributes:
        start_hash: SHA-256 of the model that it began from, as that states it; empty if from none.

    Raises:
        ValueError: if it cannot begin from `TrainConfig.start`.
    """

    def __init__(
        self,
        config: TrainConfig,
        photographs: Photographs,
        perceptual_loss: PerceptualLoss,
        device: torch.device,
    ) -> None:
        self.config, self.photographs, self.device = config, photographs, device
        self.perceptual_loss = perceptual_loss
        self.model = Transformer(design_of(config), seed=config.seed).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        self.done = 0
        self.start_hash = "" if config.start is None else self._start_from(config.start)

    def _start_from(self, name: str) -> str:
        start = load_model(name, task=self.config.task)
        if start.design != self.model.design:
            raise TrainingError(
                f"model '{name}' has another architecture than the one to train: give `start` a"
                " model of this version's training, or leave it out"
            )
        self.model.go_on_from(start.weights)
        return start.metadata["sha256"]

    def state(self) -> dict[str, Any]:
        """Everything that `load_state` needs to go on from here."""
        return {
            "settings": self.config.settings(),
            "pictures": [path.name for path in self.photographs.paths],
            "done": self.done,
            "start": self.start_hash,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "photographs": self.photographs.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`.

        Raises:
            TrainingError: if it belongs to a training with other settings or photographs.
        """
        mine = self.config.settings()
        for name, value in state["settings"].items():
            # More steps may be asked for than were planned at first.
            if name != "steps" and mine.get(name) != value:
                raise TrainingError(
                    f"the training to resume had `{name}={value}`, not {mine.get(name)}:"
                    " give the same settings, or leave `resume` out"
                )
        if state["pictures"] != [path.name for path in self.photographs.paths]:
            raise TrainingError(
                "the training to resume had other photographs: give the same folders,"
                " or leave `resume` out"
            )
        if state["done"] >= self.config.steps:
            raise TrainingError(
                f"the training to resume has done {counted(state['done'], 'step')}:"
                " give more `steps`"
            )
        self.done, self.start_hash = state["done"], state.get("start", "")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.photographs.load_state(state["photographs"])

    def steps(self) -> Iterator[StepReport]:
        """Train to the end, from wherever the trainer stands.

        Raises:
            TrainingError: if the loss is not finite; the weights are then those before the step.
        """
        while self.done < self.config.steps:
            yield self._step()

    def _step(self) -> StepReport:
        rate = self.config.learning_rate * schedule(self.done, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        photographs = self.photographs.batch(self.config.batch_size, self.config.crop)
        photographs = photographs.to(self.device)
        precision = self.perceptual_loss.precision
        self.optimizer.zero_grad(set_to_none=True)
        with float32_products(precision, self.device):
            pictures = self.model(self._input(photographs), precision.dtype)
            loss, terms = self.perceptual_loss(pictures, photographs)
            torch.autograd.backward(loss)
        # Rare, huge gradients of blank crops must not throw Adam off its way.
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        if not bool(torch.isfinite(norm)):
            weights = {name: getattr(self.config, f"{name}_weight") for name in terms}
            raise TrainingError(
                f"the loss is not finite at step {self.done + 1}: {blamed(weights)}"
            )
        self.optimizer.step()
        self.done += 1
        # Fetched together: a GPU is waited for.
        each = (number.to(precision.sum_dtype) for number in (loss.detach(), *terms.values()))
        total, *values = torch.stack([*each]).cpu().tolist()
        named = dict(zip(terms, values, strict=True))
        return StepReport(self.done, self.config.steps, rate, total, named)

    def _input(self, photographs: Tensor) -> Tensor:
        if self.config.task == "style":
            # Steps may be repeated after a resumption, and then with the same noise.
            seed = self.config.seed + self.done
            return with_grain(photographs, self.config.grain, seed=seed)
        return reduced(photographs, self.config.factor)

    @torch.no_grad()
    def preview(self, photographs: Tensor) -> Tensor:
        """What the network makes of (B, 3, H, W) photographs so far, in [0, 1]."""
        self.model.eval()
        made: Tensor = self.model(self._input(photographs.to(self.device)))
        return made.clamp(0, 1).float().cpu()


def schedule(done: int, num_steps: int) -> float:
    """Share of the step size after ``done`` steps: a short rise, then half a cosine."""
    progress = done / num_steps
    rise = min(1.0, (done + 1) / max(_WARM_UP * num_steps, 1))
    fall = _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress))
    return rise * fall


def reduced(image: Tensor, factor: int) -> Tensor:
    """Make a super-resolution input: bicubic and antialiased, as 8 bits would hold it."""
    small = resize(image, (image.shape[2] // factor, image.shape[3] // factor), clamp=True)
    return (small * 255).round() / 255


def open_trainer(
    config: TrainConfig, photographs: Photographs, style: PictureLike | None
) -> Trainer:
    """Settle device, features and targets, and begin.

    Raises:
        ValueError: for settings that this machine, or the feature network, does not have.
    """
    device = resolve_device(config.device)
    return Trainer(config, photographs, PerceptualLoss(config, style, device), device)
