"""Adam and L-BFGS on one canvas: box constraint, running average, state carried up the ladder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps a canvas to its loss (0-d) and its gradient (shaped like the canvas)."""


class NonFiniteError(ArithmeticError):
    """Loss or gradient are no longer finite numbers; the canvas is still the last good one."""


class CanvasOptimizer(Protocol):
    """What the optimisation loop needs of an optimizer."""

    canvas: Tensor
    num_steps: int

    @property
    def picture(self) -> Tensor:
        """The picture so far, (1, 3, H, W) in [0, 1]: not a copy, the next step changes it."""

    def state(self) -> dict[str, Any]:
        """Everything that the next steps depend on: tensors (not copies) and numbers by name.

        `restored` makes the optimizer from it that goes on bit by bit as this one.
        """

    def step(self, evaluate: Evaluate) -> None:
        """Evaluate and move the canvas once. Raises `NonFiniteError` before touching the canvas."""

    def result(self) -> Tensor:
        """The picture so far, a new tensor (1, 3, H, W) in [0, 1]."""

    def enlarged(self, resize: Callable[[Tensor], Tensor], learning_rate: float) -> CanvasOptimizer:
        """The optimizer of the next rung, started from this one's picture and state."""


def _require_finite(loss: Tensor, gradient: Tensor) -> None:
    if not torch.isfinite(loss):
        raise NonFiniteError(f"the loss is {loss.item()}")
    # A sum is finite only if all of its terms are, and needs no second canvas.
    if not torch.isfinite(gradient.sum()):
        raise NonFiniteError("the gradient is not finite")


class Adam:
    """Adam (Kingma & Ba 2015) with a bias-corrected running average of the canvas as its result.

    Losses are means, so a pixel's gradient shrinks as the canvas grows; epsilon shrinks with it, or
    it would stop the optimisation of large canvases and leave grey areas.

    Args:
        canvas: (1, 3, H, W) float32 in [0, 1]; it is moved in place.
        learning_rate: step size in units of the pixel range.
        averaging: decay of the running average, 0 for none.
    """

    betas = (0.9, 0.99)

    def __init__(self, canvas: Tensor, *, learning_rate: float, averaging: float) -> None:
        self.canvas = canvas
        self.averaging = averaging
        self.num_steps = 0
        self.average = canvas.clone() if averaging else None
        # The fused kernel needs no temporary canvases, on a CPU as on a GPU.
        self._adam = torch.optim.Adam(
            [canvas], lr=learning_rate, betas=self.betas, eps=1e-8 / canvas.numel(), fused=True
        )

    def step(self, evaluate: Evaluate) -> None:
        """Evaluate and move the canvas once."""
        loss, gradient = evaluate(self.canvas)
        _require_finite(loss, gradient)
        self.canvas.grad = gradient
        self._adam.step()
        self.canvas.grad = None
        self.canvas.clamp_(0, 1)
        self.num_steps += 1
        if self.average is not None:
            # The weights of a bias-corrected average: an interrupt finds a picture at any moment.
            share = (1 - self.averaging) / (1 - self.averaging**self.num_steps)
            self.average.lerp_(self.canvas, share)

    @property
    def picture(self) -> Tensor:
        """The running average if there is one, else the canvas."""
        return self.canvas if self.average is None else self.average

    def result(self) -> Tensor:
        """A copy of the picture."""
        return self.picture.clone()

    def state(self) -> dict[str, Any]:
        """Canvas, average, moments, and the numbers that go with them; no copies."""
        return {
            "kind": "adam",
            "canvas": self.canvas,
            "average": self.average,
            "averaging": self.averaging,
            "num_steps": self.num_steps,
            "learning_rate": self._adam.param_groups[0]["lr"],
            "moments": dict(self._adam.state.get(self.canvas, {})),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Adam:
        """The optimizer that had this state; it takes the tensors over."""
        adam = cls(state["canvas"], learning_rate=state["learning_rate"], averaging=0)
        adam.averaging, adam.average = state["averaging"], state["average"]
        adam.num_steps = state["num_steps"]
        if state["moments"]:
            adam._adam.state[adam.canvas] = dict(state["moments"])
        return adam

    def enlarged(self, resize: Callable[[Tensor], Tensor], learning_rate: float) -> Adam:
        """Carry canvas and moments to the next rung.

        The gradient of a mean falls with the number of pixels, and so do Adam's moments.
        """
        state, old_pixels = self._adam.state.get(self.canvas, {}), self.canvas.numel()
        larger = Adam(
            resize(self.result()).clamp_(0, 1),
            learning_rate=learning_rate,
            averaging=self.averaging,
        )
        if state:
            ratio = old_pixels / larger.canvas.numel()
            larger._adam.state[larger.canvas] = {
                "step": state["step"].clone(),
                "exp_avg": resize(state["exp_avg"]).mul_(ratio),
                "exp_avg_sq": resize(state["exp_avg_sq"]).clamp_min_(0).mul_(ratio**2),
            }
        return larger


class LBFGS:
    """Limited-memory BFGS: PyTorch's, one evaluation per step, without a line search.

    Args:
        canvas: (1, 3, H, W) float32 in [0, 1]; it is moved in place.
        learning_rate: scale of every step.
        history_size: number of past steps kept; each costs two canvases.
    """

    def __init__(self, canvas: Tensor, *, learning_rate: float, history_size: int) -> None:
        self.canvas = canvas
        self.history_size = history_size
        self.num_steps = 0
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
            _require_finite(loss, gradient)
            self.canvas.grad = gradient
            return loss

        # PyTorch declares closures that return float, and takes those that return a tensor.
        step: Callable[[Callable[[], Tensor]], object] = self._lbfgs.step
        step(closure)
        self.canvas.grad = None
        self.canvas.clamp_(0, 1)
        self.num_steps += 1

    @property
    def picture(self) -> Tensor:
        """The canvas."""
        return self.canvas

    def result(self) -> Tensor:
        """A copy of the canvas."""
        return self.canvas.clone()

    def state(self) -> dict[str, Any]:
        """Canvas, curvature pairs, last direction and gradient, and their numbers; no copies."""
        history = self._lbfgs.state.get(self.canvas, {})
        return {
            "kind": "lbfgs",
            "canvas": self.canvas,
            "history_size": self.history_size,
            "num_steps": self.num_steps,
            "learning_rate": self._lbfgs.param_groups[0]["lr"],
            # PyTorch overwrites `al` before it reads it.
            "history": {name: value for name, value in history.items() if name != "al"},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LBFGS:
        """The optimizer that had this state; it takes the tensors over."""
        lbfgs = cls(
            state["canvas"],
            learning_rate=state["learning_rate"],
            history_size=state["history_size"],
        )
        lbfgs.num_steps = state["num_steps"]
        lbfgs._lbfgs.state[lbfgs.canvas] = dict(state["history"])
        return lbfgs

    def enlarged(self, resize: Callable[[Tensor], Tensor], learning_rate: float) -> LBFGS:
        """Carry the canvas to the next rung; curvature pairs of another size are useless there."""
        history = max(self.history_size // 2, 3)
        canvas = resize(self.canvas).clamp_(0, 1)
        return LBFGS(canvas, learning_rate=learning_rate, history_size=history)


def canvas_optimizer(
    kind: str, canvas: Tensor, *, learning_rate: float, averaging: float, history_size: int = 20
) -> CanvasOptimizer:
    """Build the optimizer named ``adam`` or ``lbfgs`` for the first rung."""
    if kind == "adam":
        return Adam(canvas, learning_rate=learning_rate, averaging=averaging)
    assert kind == "lbfgs", kind
    return LBFGS(canvas, learning_rate=learning_rate, history_size=history_size)


def restored(state: Mapping[str, Any]) -> CanvasOptimizer:
    """The optimizer that had this state (`CanvasOptimizer.state`); it takes the tensors over."""
    kinds: dict[str, type[Adam] | type[LBFGS]] = {"adam": Adam, "lbfgs": LBFGS}
    return kinds[state["kind"]].from_state(state)
