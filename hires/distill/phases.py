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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hires.distill.teaching import CONTENT_TAP, STYLE_TAPS, TAPS, gradient_error, gram_error
from hires.distill.trainer import Report, Trainer
from hires.optim.adam import Adam
from hires.optim.canvas_optimizer import NonFiniteError

Features = Mapping[str, Tensor]

# Canvases that are trained on and painted on in a step, and how often with their gradient.
_NUM_PAINTED, _GRADIENT_EVERY = 2, 3


def distill(trainer: Trainer) -> Iterator[Report]:
    """Train to the end, from wherever the trainer stands; the result is ``trainer.average``."""
    for phase, train in enumerate((train_blocks, train_jointly, train_by_painting)):
        if phase < trainer.phase:
            continue
        if phase > trainer.phase:
            trainer.begin(phase)
        yield from train(trainer)


def train_blocks(trainer: Trainer) -> Iterator[Report]:
    """Phase 1: every block alone, from the teacher's features before it.

    It begins with a data-dependent initialisation (Mishkin & Matas 2016): no unit is dead at the
    start, and no normalisation layer is left to fold away at the end.
    """
    if not trainer.done:
        image = trainer.batch(2 * trainer.recipe.batch)
        with torch.no_grad():
            _block_by_block(trainer, image, trainer.teacher(image), standardising=True)
    for _ in trainer.steps():
        image = trainer.batch(trainer.recipe.batch)
        targets = trainer.teacher(image)
        features = _block_by_block(trainer, image, targets)
        yield trainer.step(trainer.errors(features, targets, grams=False))


def _block_by_block(
    trainer: Trainer, image: Tensor, targets: Features, *, standardising: bool = False
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


def train_jointly(trainer: Trainer) -> Iterator[Report]:
    """Phase 2: end to end, on features and Gram matrices."""
    for _ in trainer.steps():
        image = trainer.batch(trainer.recipe.batch)
        errors = trainer.errors(trainer.student(image), trainer.teacher(image), grams=True)
        yield trainer.step(errors)


@dataclass(slots=True)
class Canvas:
    """A painting under way.

    Attributes:
        optimizer: moves it.
        content: what it shows, (1, 3, H, W).
        style: how it is painted, (1, 3, H, W).
        content_weight: strength of the content against the style.
        steps_left: steps until it is replaced by a new one.
    """

    optimizer: Adam
    content: Tensor
    style: Tensor
    content_weight: float
    steps_left: int

    def paint(self, gradient: Tensor) -> None:
        """One step; the painting has ended where its gradient is not finite."""
        self.steps_left -= 1
        try:
            self.optimizer.step(lambda _: (gradient.new_zeros(()), gradient))
        except NonFiniteError:
            self.steps_left = 0


def new_canvas(trainer: Trainer) -> Canvas:
    """Begin a painting of random content, style and settings, from the content or from noise."""
    crops, draw, size = trainer.crops, trainer.crops.random, trainer.recipe.size
    content = crops.crop(size) if draw.random() < 0.9 else crops.batch(1, size).clamp(0, 1)
    image = content.clone()
    if draw.random() < 0.2:
        noise = torch.rand(content.shape, generator=crops.generator)
        image = (draw.choice((0.3, 1.0)) * noise + draw.choice((0.0, 0.3)) * content).clamp(0, 1)
    style = crops.crop(size).to(trainer.device)
    content_weight = draw.choice((0.02, 0.1, 0.3, 1.0))
    rate = draw.choice((0.01, 0.02, 0.05))
    optimizer = Adam(image.to(trainer.device), learning_rate=rate, averaging=0, epsilon=1e-12)
    steps = draw.choice((30, 60, 120, 200))
    return Canvas(optimizer, content.to(trainer.device), style, content_weight, steps)


def train_by_painting(trainer: Trainer) -> Iterator[Report]:
    """Phase 3: on pictures and on the student's own paintings, with their gradient as a target."""
    num_canvases, draw = trainer.recipe.num_canvases, trainer.crops.random
    canvases = [new_canvas(trainer) for _ in range(num_canvases)]
    for step in trainer.steps():
        chosen = draw.sample(range(num_canvases), _NUM_PAINTED)
        with_gradient = step % _GRADIENT_EVERY == 0
        yield trainer.step(_painting_errors(trainer, [canvases[i] for i in chosen], with_gradient))
        for i in chosen:
            if canvases[i].steps_left <= 0:
                canvases[i] = new_canvas(trainer)


def _painting_errors(
    trainer: Trainer, canvases: list[Canvas], with_gradient: bool
) -> dict[str, Tensor]:
    """Errors on two fresh pictures, on the canvases, their contents and styles; and paint once."""
    pictures = torch.cat([c.style for c in canvases] + [c.content for c in canvases])
    pictures = torch.cat([pictures, trainer.batch(2)])
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    painted = torch.cat([c.optimizer.canvas for c in canvases])
    painted = painted.contiguous(memory_format=torch.channels_last).requires_grad_()
    own, own_painted = trainer.student(pictures), trainer.student(painted)
    with torch.no_grad():
        other = trainer.teacher(pictures)
    other_painted = trainer.teacher(painted)
    content_tap = trainer.crops.random.choice((CONTENT_TAP, "relu4_1"))
    fixed = {tap: value.detach() for tap, value in own.items()}
    loss = _painting_loss(own_painted, fixed, canvases, content_tap)
    (gradient,) = torch.autograd.grad(loss, painted, create_graph=with_gradient, retain_graph=True)
    for i, canvas in enumerate(canvases):
        canvas.paint(gradient.detach()[i : i + 1].contiguous())
    together = {tap: torch.cat([own[tap], own_painted[tap]]) for tap in own}
    targets = {tap: torch.cat([other[tap], other_painted[tap].detach()]) for tap in own}
    errors = trainer.errors(together, targets, grams=True)
    if with_gradient:
        loss = _painting_loss(other_painted, other, canvases, content_tap)
        (wanted,) = torch.autograd.grad(loss, painted)
        errors["gradient"] = gradient_error(gradient, wanted)
    return errors


def _painting_loss(
    painted: Features, fixed: Features, canvases: Sequence[Canvas], content_tap: str
) -> Tensor:
    """What canvases are painted towards, summed over them, without tiles.

    Args:
        painted: features of the canvases.
        fixed: features of their styles, then of their contents, then of whatever else.
        canvases: with their weights of the content.
        content_tap: layer on which contents are compared.
    """
    count = len(canvases)
    content = fixed[content_tap][count : 2 * count].float()
    weights = content.new_tensor([canvas.content_weight for canvas in canvases])
    error = (painted[content_tap].float() - content).square().mean((1, 2, 3))
    total = (weights * error / content.square().mean((1, 2, 3))).sum()
    for tap in STYLE_TAPS:
        total = total + gram_error(painted[tap], fixed[tap][:count]).sum() / len(STYLE_TAPS)
    return total
