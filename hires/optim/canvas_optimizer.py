"""What every optimizer of a canvas has: a picture, a state, a successor at the next rung."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps a canvas to its loss (0-d) and its gradient (shaped like the canvas)."""


class NonFiniteError(ArithmeticError):
    """Loss or gradient are no longer finite numbers; the canvas is still the last good one."""


class CanvasOptimizer(ABC):
    """What the optimisation loop needs of an optimizer.

    Args:
        canvas: (1, 3, H, W).
        clamp: whether the canvas is held in [0, ceiling] after every step, or only the result.
        ceiling: largest value of a result, as a number or (1, 3, 1, 1).
    """

    kind: ClassVar[str]
    # What the class is called with besides the canvas, and the attributes that hold it.
    settings: ClassVar[tuple[str, ...]]

    def __init__(self, canvas: Tensor, *, clamp: bool, ceiling: float | Tensor) -> None:
        self._canvas, self.clamp, self.ceiling = canvas, clamp, ceiling
        self._num_steps = 0
        self._num_values: int | None = None

    @property
    def canvas(self) -> Tensor:
        """The picture that is evaluated next, (1, 3, H, W)."""
        return self._canvas

    @property
    def num_values(self) -> int:
        """Values of the whole canvas, of which this may be a band."""
        return self.canvas.numel() if self._num_values is None else self._num_values

    def is_part_of(self, num_values: int) -> None:
        """Say that the canvas is a part of one with so many values."""
        self._num_values = num_values

    @property
    def num_steps(self) -> int:
        """Steps done at this rung."""
        return self._num_steps

    @property
    def least_step(self) -> float:
        """A step that moves no value of the canvas by more has not moved it."""
        return 0.0

    @property
    def picture(self) -> Tensor:
        """The picture so far, (1, 3, H, W) in [0, ceiling]; the next step may change it."""
        return self._canvas if self.clamp else hold(self._canvas.clone(), self.ceiling)

    def result(self) -> Tensor:
        """The picture so far, a new tensor."""
        return self.picture.clone() if self.clamp else self.picture

    def add(self, change: Tensor) -> None:
        """Add something (1, 3, H, W) to the canvas before its first step."""
        with torch.no_grad():
            hold(self._canvas.add_(change), self.ceiling)

    @abstractmethod
    def step(self, evaluate: Evaluate) -> None:
        """Evaluate and move the canvas once. Raises `NonFiniteError` before touching the canvas."""

    @abstractmethod
    def set_learning_rate(self, learning_rate: float) -> None:
        """Change the step size for the steps to come."""

    @abstractmethod
    def enlarged(
        self,
        resize: Callable[[Tensor], Tensor],
        learning_rate: float,
        num_values: int | None = None,
    ) -> CanvasOptimizer:
        """The optimizer of the next rung, started from this one's picture and state.

        Args:
            resize: makes of a picture here one of the next rung.
            learning_rate: step size there.
            num_values: of the whole canvas there, if this is a part of one.
        """

    def successor(self, resize: Callable[[Tensor], Tensor], **changed: Any) -> Self:
        """The same with a few other settings, begun at the resized picture."""
        canvas = hold(resize(self.picture), self.ceiling)
        return type(self)(canvas, **{**self._settings(), **changed})

    def state(self) -> dict[str, Any]:
        """Everything that the next steps depend on: tensors (not copies) and numbers by name.

        `create.restored` makes the optimizer from it that goes on bit by bit as this one.
        """
        start = {"kind": self.kind, "canvas": self._canvas, "num_steps": self._num_steps}
        return {**start, **self._settings(), **self._memory()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The optimizer that had this state; it takes the tensors over."""
        optimizer = cls(state["canvas"], **{name: state[name] for name in cls.settings})
        optimizer._num_steps = state["num_steps"]
        optimizer._recall(state)
        return optimizer

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.settings}

    def _memory(self) -> dict[str, Any]:
        """What a state holds besides canvas and settings."""
        return {}

    def _recall(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Take over what `_memory` gave."""


def hold(canvas: Tensor, ceiling: float | Tensor) -> Tensor:
    """Hold a canvas in [0, ceiling], in place; the ceiling is a number or (1, 3, 1, 1)."""
    if isinstance(ceiling, Tensor):
        ceiling = ceiling.to(canvas.device)
        return torch.minimum(canvas.clamp_(min=0), ceiling, out=canvas)
    return canvas.clamp_(0, ceiling)


def require_finite(loss: Tensor, gradient: Tensor) -> None:
    """Raise `NonFiniteError` unless both are finite, and the squares that optimizers take."""
    is_finite = torch.isfinite(loss)
    # A sum is finite only if all of its terms are, and needs no second canvas. Both are looked at
    # together: a GPU is waited for.
    if is_finite & torch.isfinite(torch.linalg.vector_norm(gradient)):
        return
    if not is_finite:
        raise NonFiniteError(f"the loss is {loss.item()}")
    large = torch.isfinite(gradient.abs().max())
    raise NonFiniteError(f"the gradient is {'too large' if large else 'not finite'}")
