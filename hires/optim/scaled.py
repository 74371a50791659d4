"""Any optimizer in other units than [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from hires.optim.canvas_optimizer import CanvasOptimizer, Evaluate


class ScaledOptimizer(CanvasOptimizer):
    """An optimizer that works in other units, such as 0 to 255, behind a canvas in [0, 1].

    Step sizes, epsilon and first steps of the presets' documents are meant in these units.

    Args:
        inner: the optimizer, on a canvas that is already scaled.
        scale: (1, 3, 1, 1), what a channel's 1 is in the other units.
    """

    kind = "scaled"

    def __init__(self, inner: CanvasOptimizer, scale: Tensor) -> None:
        self.inner, self.scale = inner, scale
        # Every picture is a new tensor.
        self.clamp = False

    @property
    def canvas(self) -> Tensor:
        """(1, 3, H, W), in units of [0, 1]; a copy."""
        return self.inner.canvas / self.scale

    @property
    def num_steps(self) -> int:
        """Steps done at this rung."""
        return self.inner.num_steps

    @property
    def least_step(self) -> float:
        """The inner optimizer's, in units of [0, 1]."""
        return self.inner.least_step / float(self.scale.max())

    @property
    def picture(self) -> Tensor:
        """The picture so far, in [0, 1]; a copy."""
        return (self.inner.picture / self.scale).clamp_(0, 1)

    def step(self, evaluate: Evaluate) -> None:
        """Let the inner optimizer evaluate and move."""

        def scaled(canvas: Tensor) -> tuple[Tensor, Tensor]:
            loss, gradient = evaluate(canvas / self.scale)
            return loss, gradient.div_(self.scale)

        self.inner.step(scaled)

    def is_part_of(self, num_values: int) -> None:
        """Say that the canvas is a part of one with so many values."""
        self.inner.is_part_of(num_values)

    def add(self, change: Tensor) -> None:
        """Add something in units of [0, 1]."""
        self.inner.add(change * self.scale)

    def set_learning_rate(self, learning_rate: float) -> None:
        """Change the step size, in the other units."""
        self.inner.set_learning_rate(learning_rate)

    def enlarged(
        self,
        resize: Callable[[Tensor], Tensor],
        learning_rate: float,
        num_values: int | None = None,
    ) -> ScaledOptimizer:
        """The optimizer of the next rung, in the same units."""
        inner = self.inner.enlarged(resize, learning_rate, num_values)
        return ScaledOptimizer(inner, self.scale.to(inner.canvas.device))

    def state(self) -> dict[str, Any]:
        """The inner optimizer's, with the scale; no copies."""
        return {"kind": self.kind, "scale": self.scale, "inner": self.inner.state()}
