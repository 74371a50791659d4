"""L-BFGS without a line search on a canvas: PyTorch's, one evaluation per step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from hires.optim.canvas_optimizer import CanvasOptimizer, Evaluate, hold, require_finite


class LBFGS(CanvasOptimizer):
    """Limited-memory BFGS: PyTorch's, one evaluation per step, without a line search.

    Args:
        canvas: (1, 3, H, W) float32 in [0, 1]; it is moved in place.
        learning_rate: scale of every step.
        history_size: number of past steps kept; each costs two canvases.
        clamp: whether the canvas is held in [0, ceiling] after every step, or only the result.
        ceiling: largest value of a result, as a number or (1, 3, 1, 1).
        blind: whether curvature pairs have the step that was wanted, not the one that was left of
            it by the clamp: as in PyTorch's tutorial.
    """

    kind = "lbfgs"
    settings = ("learning_rate", "history_size", "clamp", "ceiling", "blind")

    def __init__(
        self,
        canvas: Tensor,
        *,
        learning_rate: float,
        history_size: int,
        clamp: bool = True,
        ceiling: float | Tensor = 1.0,
        blind: bool = False,
    ) -> None:
        super().__init__(canvas, clamp=clamp, ceiling=ceiling)
        self.history_size, self.blind = history_size, blind
        self._lbfgs = torch.optim.LBFGS(
            [canvas],
            lr=learning_rate,
            max_iter=1,
            history_size=history_size,
            tolerance_grad=0,
            tolerance_change=0,
        )

    def step(self, evaluate: Evaluate) -> None:
        """Evaluate and move the canvas once."""

        def closure() -> Tensor:
            loss, gradient = evaluate(self.canvas)
            require_finite(loss, gradient)
            self.canvas.grad = gradient
            return loss

        # PyTorch declares closures that return float, and takes those that return a tensor.
        step: Callable[[Callable[[], Tensor]], object] = self._lbfgs.step
        step(closure)
        self.canvas.grad = None
        if self.clamp:
            self._hold()
        self._num_steps += 1

    def _hold(self) -> None:
        """Hold the canvas; the step that the next curvature pair is made of ends where it does."""
        wanted = None if self.blind else self.canvas.clone()
        hold(self.canvas, self.ceiling)
        if wanted is not None:
            # PyTorch takes the last step for t d.
            last = self._lbfgs.state[self.canvas]
            last["d"].add_(wanted.neg_().add_(self.canvas).flatten(), alpha=1 / float(last["t"]))

    @property
    def learning_rate(self) -> float:
        """Scale of every step."""
        rate: float = self._lbfgs.param_groups[0]["lr"]
        return rate

    def set_learning_rate(self, learning_rate: float) -> None:
        """Change the step size."""
        self._lbfgs.param_groups[0]["lr"] = learning_rate

    def enlarged(
        self,
        resize: Callable[[Tensor], Tensor],
        learning_rate: float,
        num_values: int | None = None,  # noqa: ARG002
    ) -> LBFGS:
        """Carry the canvas to the next rung; curvature pairs of another size are useless there."""
        history_size = shrunk(self.history_size)
        return self.successor(resize, learning_rate=learning_rate, history_size=history_size)

    def _memory(self) -> dict[str, Any]:
        history = self._lbfgs.state.get(self.canvas, {})
        # PyTorch overwrites `al` before it reads it.
        return {"history": {name: value for name, value in history.items() if name != "al"}}

    def _recall(self, state: Mapping[str, Any]) -> None:
        self._lbfgs.state[self.canvas] = dict(state["history"])


def shrunk(history_size: int) -> int:
    """Steps to remember at the next rung, where each costs more."""
    return max(history_size // 2, min(history_size, 3))
