"""How feed-forward networks are trained (Johnson et al. 2016): perceptual losses, Adam, crops.

The losses are those of painting, relative and so of the same size for every layer: distance of
moments to the style's, squared error of features to the photograph's, total variation. A
super-resolution network is asked for the features of the photograph that its input was made from,
and for that input, when its result is made small again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hires.config.feedforward import TrainConfig
from hires.config.values import counted
from hires.engine.ladder import scale_to
from hires.engine.measuring import Measuring, statistics_of
from hires.engine.setup import Setup
from hires.errors import ConfigError
from hires.features.checkpoints import load_features
from hires.feedforward.design import Design
from hires.feedforward.grain import with_grain
from hires.feedforward.photographs import Photographs
from hires.feedforward.transformer import Transformer
from hires.image.originals import Original, PictureLike, about_hidden, original
from hires.image.resample import resize
from hires.kernels.precision import Precision, resolve_device, resolve_precision
from hires.losses.moments import Moments, measure
from hires.losses.style import CENTRED_LOSSES, STYLE_LOSSES, Style, moments_of
from hires.losses.terms import Measured
from hires.losses.variation import total_variation
from hires.optim.stall import blamed

# Share of the training in which the step size rises, and what it falls to at the end.
_WARM_UP = 0.02
_LAST_RATE = 0.02
# Budget for the style picture's feature maps while it is measured, once.
_STYLE_MEMORY = 2**30


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
        terms: ``style``, ``content`` and ``tv`` before their weights; no style but
            ``consistency`` for super-resolution.
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


class Judge:
    """What a network's pictures are compared to: the frozen features and what is asked of them.

    Args:
        config: layers and weights.
        style: as `hires.stylize` takes it; None for super-resolution.
        device: where to compute.

    Attributes:
        warnings: what the user should know before the training.

    Raises:
        ValueError: for an unknown network or layer, or a crop or style too small for it.
    """

    def __init__(
        self, config: TrainConfig, style: PictureLike | None, device: torch.device
    ) -> None:
        self.config = config
        self.precision = training_precision(config, device)
        self.network = load_features(config.features)
        self.network.prepare(device, self.precision.dtype, self.precision.memory_format)
        self.style_layers = config.chosen_style_layers
        self.content_layers = config.chosen_content_layers
        self.names = tuple(dict.fromkeys([*self.style_layers, *self.content_layers]))
        self.network.check_layers(self.names)
        least = self.network.least_side(self.names)
        if config.crop < least:
            raise ConfigError(f"`crop` is {config.crop}: these layers need at least {least}")
        styles = [] if style is None else [original(style)]
        self.warnings = tuple(about_hidden(styles))
        self.targets = self._targets(styles[0]) if styles else {}

    def _targets(self, style: Original) -> dict[str, Moments]:
        """Moments of the style picture at the size at which it is looked at."""
        size = scale_to(style.size, min(self.config.style_size, max(style.size)))
        least = self.network.least_side(list(self.style_layers))
        if min(size) < least:
            raise ConfigError(
                f"the style is {size[1]}x{size[0]} at this `style_size`, but the network needs"
                f" {least} px on the short side: give a larger `style_size`, or crop it"
            )
        image = style.resized(size)
        pixels = image.pixels.clamp(0, 1)
        loss = STYLE_LOSSES[self.config.style_loss]
        term = Style(loss=loss, layers=self.style_layers, exact=True)
        setup = Setup(
            network=self.network, precision=self.precision, terms=(term,), memory=_STYLE_MEMORY
        )
        positions = setup.positions(size, image.mask)
        statistics = Measuring(setup)(
            size,
            setup.plan_tiles(size),
            partial(setup.smaller_plan, size),
            lambda plan: statistics_of(self.network, pixels, term, positions, plan),
        )
        found = Measured(statistics, positions)
        return {name: moments_of(found, name) for name in self.style_layers}

    def __call__(self, pictures: Tensor, photographs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and terms of (B, 3, H, W) pictures made of, or like, as many photographs."""
        layers = list(self.content_layers)
        with torch.no_grad():
            wanted = self.network(photographs, layers)
        found = self.network(pictures, self.names)
        terms = {
            "content": _content_error(found, wanted, self.content_layers),
            "tv": _variation(pictures),
        }
        loss = self.config.content_weight * terms["content"] + self.config.tv_weight * terms["tv"]
        if self.targets:
            terms = {"style": self._style_error(found), **terms}
            loss = loss + self.config.style_weight * terms["style"].float()
        else:
            terms["consistency"] = _inconsistency(pictures, photographs, self.config.factor)
            loss = loss + self.config.consistency_weight * terms["consistency"]
        return loss, {name: term.detach() for name, term in terms.items()}

    def _style_error(self, found: Mapping[str, Tensor]) -> Tensor:
        """Mean over the pictures of the weighted mean over layers."""
        function = STYLE_LOSSES[self.config.style_loss]
        exact, total = function in CENTRED_LOSSES, sum(self.style_layers.values())
        parts = []
        for name, weight in self.style_layers.items():
            for picture in torch.split(found[name], 1):
                moments = measure(picture, self.precision.sum_dtype, exact=exact)
                parts.append(weight / total * function(moments, self.targets[name]))
        return torch.stack(parts).sum() / len(next(iter(found.values())))


def training_precision(config: TrainConfig, device: torch.device) -> Precision:
    """The arithmetic of a training: gradients of half-precision weights do not fit fp16."""
    precision = resolve_precision(config.precision, device)
    if precision.dtype != torch.float16:
        return precision
    if config.precision == "fp16":
        raise ConfigError("`precision=fp16` cannot train: choose auto, bf16 or fp32")
    return resolve_precision("fp32", device)


def _content_error(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], weights: Mapping[str, float]
) -> Tensor:
    """Squared error of features over their power, both of the whole batch: a blank crop is safe."""
    parts = []
    for name, weight in weights.items():
        target = wanted[name].float()
        error = (found[name].float() - target).square().sum()
        parts.append(weight / sum(weights.values()) * error / (target.square().sum() + 1e-12))
    return torch.stack(parts).sum()


def _inconsistency(pictures: Tensor, photographs: Tensor, factor: int) -> Tensor:
    """Mean difference of both, made small: features alone do not hold the colours.

    The document matches the histogram of every result to its input instead.
    """
    size = [side // factor for side in photographs.shape[2:]]
    difference = pictures.float() - photographs.float()
    return interpolate(difference, size=size, mode="bicubic", antialias=True).abs().mean()


def _variation(pictures: Tensor) -> Tensor:
    value, _ = total_variation(pictures, (1, 1, 1, 1))
    return value.float() / (pictures.numel() / pictures.shape[1])


class ForwardTrainer:
    """A network on its way.

    Args:
        config: how to train.
        photographs: training pictures.
        judge: what is asked of the network's pictures.
        device: where to train.

    Attributes:
        model: the network.
        done: steps done.
    """

    def __init__(
        self, config: TrainConfig, photographs: Photographs, judge: Judge, device: torch.device
    ) -> None:
        self.config, self.photographs, self.judge, self.device = config, photographs, judge, device
        self.model = Transformer(design_of(config), seed=config.seed).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        self.done = 0

    def state(self) -> dict[str, Any]:
        """Everything that `load_state` needs to go on from here."""
        return {
            "settings": self.config.settings(),
            "pictures": [path.name for path in self.photographs.paths],
            "done": self.done,
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
        self.done = state["done"]
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
        pictures = self.model(self._input(photographs), self.judge.precision.dtype)
        loss, terms = self.judge(pictures, photographs)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        # Rare, huge gradients of blank crops must not throw Adam off its way.
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        if not bool(torch.isfinite(norm)):
            terms_of = ("style", "content", "consistency", "tv")
            weights = {name: getattr(self.config, f"{name}_weight") for name in terms_of}
            raise TrainingError(
                f"the loss is not finite at step {self.done + 1}: {blamed(weights)}"
            )
        self.optimizer.step()
        self.done += 1
        values = {name: float(value) for name, value in terms.items()}
        return StepReport(self.done, self.config.steps, rate, float(loss.detach()), values)

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
) -> ForwardTrainer:
    """Settle device, features and targets, and begin.

    Raises:
        ValueError: for settings that this machine, or the feature network, does not have.
    """
    device = resolve_device(config.device)
    return ForwardTrainer(config, photographs, Judge(config, style, device), device)
