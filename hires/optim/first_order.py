"""Adam and L-BFGS on one canvas: box constraint, running average, state carried up the ladder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps a canvas to its loss (0-d) and its gradient (shaped like the canvas)."""


class NonFiniteError(ArithmeticError):
    """Loss or gradient are no longer finite numbers; the canvas is still the last good one."""


class CanvasOptimizer(Protocol):
    """What the optimisation loop needs of an optimizer."""

    @property
    def canvas(self) -> Tensor:
        """The picture that is evaluated next, (1, 3, H, W)."""

    @property
    def num_steps(self) -> int:
        """Steps done at this rung."""

    @property
    def least_step(self) -> float:
        """A step that moves no value of the canvas by more has not moved it."""

    @property
    def picture(self) -> Tensor:
        """The picture so far, (1, 3, H, W) in [0, 1]; the next step may change it."""

    def state(self) -> dict[str, Any]:
        """Everything that the next steps depend on: tensors (not copies) and numbers by name.

        `optimizers.restored` makes the optimizer from it that goes on bit by bit as this one.
        """

    def step(self, evaluate: Evaluate) -> None:
        """Evaluate and move the canvas once. Raises `NonFiniteError` before touching the canvas."""

    def result(self) -> Tensor:
        """The picture so far, a new tensor (1, 3, H, W) in [0, 1]."""

    def set_learning_rate(self, learning_rate: float) -> None:
        """Change the step size for the steps to come."""

    def enlarged(self, resize: Callable[[Tensor], Tensor], learning_rate: float) -> CanvasOptimizer:
        """The optimizer of the next rung, started from this one's picture and state."""


def hold(canvas: Tensor, ceiling: float | Tensor) -> Tensor:
    """Hold a canvas in [0, ceiling], in place; the ceiling is a number or (1, 3, 1, 1)."""
    if isinstance(ceiling, Tensor):
        return torch.minimum(canvas.clamp_(min=0), ceiling, out=canvas)
    return canvas.clamp_(0, ceiling)


def require_finite(loss: Tensor, gradient: Tensor) -> None:
    """Raise `NonFiniteError` unless both are finite, and the squares that optimizers take."""
    if not torch.isfinite(loss):
        raise NonFiniteError(f"the loss is {loss.item()}")
    # A sum is finite only if all of its terms are, and needs no second canvas.
    if not torch.isfinite(torch.linalg.vector_norm(gradient)):
        large = torch.isfinite(gradient.abs().max())
        raise NonFiniteError(f"the gradient is {'too large' if large else 'not finite'}")


class Adam:
    """Adam (Kingma & Ba 2015) with a bias-corrected running average of the canvas as its result.

    Losses are means, so a pixel's gradient shrinks as the canvas grows; epsilon shrinks with it, or
    it would stop the optimisation of large canvases and leave grey areas.

    Args:
        canvas: (1, 3, H, W) float32 in [0, 1]; it is moved in place.
        learning_rate: step size in units of the pixel range.
        averaging: decay of the running average, 0 for none.
        beta2: decay of the second moment.
        epsilon: added to the root of the second moment; None for 1e-8 over the number of values.
        carry: whether the moments are carried from rung to rung.
        clamp: whether the canvas is held in [0, ceiling] after every step, or only the result.
        ceiling: largest value of a result, as a number or (1, 3, 1, 1).
    """

    def __init__(
        self,
        canvas: Tensor,
        *,
        learning_rate: float,
        averaging: float,
        beta2: float = 0.99,
        epsilon: float | None = None,
        carry: bool = True,
        clamp: bool = True,
        ceiling: float | Tensor = 1.0,
    ) -> None:
        self.canvas = canvas
        self.averaging = averaging
        self.beta2, self.epsilon, self.carry = beta2, epsilon, carry
        self.clamp, self.ceiling = clamp, ceiling
        self.num_steps = 0
        self.average = canvas.clone() if averaging else None
        self.learning_rate = learning_rate
        self._epsilon = 1e-8 / canvas.numel() if epsilon is None else epsilon
        self._moments: dict[str, Tensor] = {}

    def step(self, evaluate: Evaluate) -> None:
        """Evaluate and move the canvas once."""
        loss, gradient = evaluate(self.canvas)
        require_finite(loss, gradient)
        self._move(gradient)
        if self.clamp:
            hold(self.canvas, self.ceiling)
        self.num_steps += 1
        if self.average is not None:
            # The weights of a bias-corrected average: an interrupt finds a picture at any moment.
            share = (1 - self.averaging) / (1 - self.averaging**self.num_steps)
            self.average.lerp_(self.canvas, share)

    def _move(self, gradient: Tensor) -> None:
        """PyTorch's fused kernel, which needs no temporary canvases, on a CPU as on a GPU.

        Called without PyTorch's class: that imports a compiler which nobody here uses, one second
        and 150 MB.
        """
        canvas = self.canvas
        if not self._moments:
            self._moments = {
                "step": torch.zeros((), dtype=torch.float32, device=canvas.device),
                "exp_avg": torch.zeros_like(canvas),
                "exp_avg_sq": torch.zeros_like(canvas),
            }
        adam(
            [canvas],
            [gradient],
            [self._moments["exp_avg"]],
            [self._moments["exp_avg_sq"]],
            [],
            [self._moments["step"]],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=self.beta2,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=self._epsilon,
            maximize=False,
        )

    @property
    def least_step(self) -> float:
        """A twentieth of the step size, which the largest step is, unless epsilon drowns it."""
        return self.learning_rate / 20

    @property
    def picture(self) -> Tensor:
        """The running average if there is one, else the canvas; held in [0, ceiling]."""
        picture = self.canvas if self.average is None else self.average
        return picture if self.clamp else hold(picture.clone(), self.ceiling)

    def result(self) -> Tensor:
        """A copy of the picture."""
        return self.picture.clone() if self.clamp else self.picture

    def set_learning_rate(self, learning_rate: float) -> None:
        """Change the step size."""
        self.learning_rate = learning_rate

    def state(self) -> dict[str, Any]:
        """Canvas, average, moments, and the numbers that go with them; no copies."""
        return {
            "kind": "adam",
            "canvas": self.canvas,
            "average": self.average,
            "averaging": self.averaging,
            "num_steps": self.num_steps,
            "learning_rate": self.learning_rate,
            "beta2": self.beta2,
            "epsilon": self.epsilon,
            "carry": self.carry,
            "clamp": self.clamp,
            "ceiling": self.ceiling,
            "moments": dict(self._moments),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Adam:
        """The optimizer that had this state; it takes the tensors over."""
        same = ("learning_rate", "beta2", "epsilon", "carry", "clamp", "ceiling")
        restored = cls(state["canvas"], averaging=0, **{name: state[name] for name in same})
        restored.averaging, restored.average = state["averaging"], state["average"]
        restored.num_steps = state["num_steps"]
        restored._moments = dict(state["moments"])
        return restored

    def enlarged(self, resize: Callable[[Tensor], Tensor], learning_rate: float) -> Adam:
        """Carry canvas and moments to the next rung.

        The gradient of a mean falls with the number of pixels, and so do Adam's moments.
        """
        state, old_pixels = self._moments, self.canvas.numel()
        larger = Adam(
            hold(resize(self.result()), self.ceiling),
            learning_rate=learning_rate,
            averaging=self.averaging,
            beta2=self.beta2,
            epsilon=self.epsilon,
            carry=self.carry,
            clamp=self.clamp,
            ceiling=self.ceiling,
        )
        if state and self.carry:
            ratio = old_pixels / larger.canvas.numel()
            larger._moments = {
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
        clamp: whether the canvas is held in [0, ceiling] after every step, or only the result.
        ceiling: largest value of a result, as a number or (1, 3, 1, 1).
        blind: whether curvature pairs have the step that was wanted, not the one that was left of
            it by the clamp: as in PyTorch's tutorial.
    """

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
        self.canvas = canvas
        self.history_size = history_size
        self.clamp, self.ceiling, self.blind = clamp, ceiling, blind
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
            require_finite(loss, gradient)
            self.canvas.grad = gradient
            return loss

        # PyTorch declares closures that return float, and takes those that return a tensor.
        step: Callable[[Callable[[], Tensor]], object] = self._lbfgs.step
        step(closure)
        self.canvas.grad = None
        if self.clamp:
            self._hold()
        self.num_steps += 1

    def _hold(self) -> None:
        """Hold the canvas; the step that the next curvature pair is made of ends where it does."""
        wanted = None if self.blind else self.canvas.clone()
        hold(self.canvas, self.ceiling)
        if wanted is not None:
            # PyTorch takes the last step for t d.
            last = self._lbfgs.state[self.canvas]
            last["d"].add_(wanted.neg_().add_(self.canvas).flatten(), alpha=1 / float(last["t"]))

    @property
    def least_step(self) -> float:
        """Any step is one: their length has no unit."""
        return 0.0

    @property
    def picture(self) -> Tensor:
        """The canvas, held in [0, ceiling]."""
        return self.canvas if self.clamp else hold(self.canvas.clone(), self.ceiling)

    def result(self) -> Tensor:
        """A copy of the picture."""
        return self.picture.clone() if self.clamp else self.picture

    def set_learning_rate(self, learning_rate: float) -> None:
        """Change the step size."""
        self._lbfgs.param_groups[0]["lr"] = learning_rate

    def state(self) -> dict[str, Any]:
        """Canvas, curvature pairs, last direction and gradient, and their numbers; no copies."""
        history = self._lbfgs.state.get(self.canvas, {})
        return {
            "kind": "lbfgs",
            "canvas": self.canvas,
            "history_size": self.history_size,
            "num_steps": self.num_steps,
            "learning_rate": self._lbfgs.param_groups[0]["lr"],
            "clamp": self.clamp,
            "ceiling": self.ceiling,
            "blind": self.blind,
            # PyTorch overwrites `al` before it reads it.
            "history": {name: value for name, value in history.items() if name != "al"},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LBFGS:
        """The optimizer that had this state; it takes the tensors over."""
        same = ("learning_rate", "history_size", "clamp", "ceiling", "blind")
        lbfgs = cls(state["canvas"], **{name: state[name] for name in same})
        lbfgs.num_steps = state["num_steps"]
        lbfgs._lbfgs.state[lbfgs.canvas] = dict(state["history"])
        return lbfgs

    def enlarged(self, resize: Callable[[Tensor], Tensor], learning_rate: float) -> LBFGS:
        """Carry the canvas to the next rung; curvature pairs of another size are useless there."""
        return LBFGS(
            hold(resize(self.result()), self.ceiling),
            learning_rate=learning_rate,
            history_size=shrunk(self.history_size),
            clamp=self.clamp,
            ceiling=self.ceiling,
            blind=self.blind,
        )


def shrunk(history_size: int) -> int:
    """Steps to remember at the next rung, where each costs more."""
    return max(history_size // 2, min(history_size, 3))


def canvas_optimizer(
    kind: str, canvas: Tensor, *, learning_rate: float, averaging: float, history_size: int = 20
) -> CanvasOptimizer:
    """Build the optimizer named ``adam`` or ``lbfgs`` for the first rung, with its defaults."""
    if kind == "adam":
        return Adam(canvas, learning_rate=learning_rate, averaging=averaging)
    assert kind == "lbfgs", kind
    return LBFGS(canvas, learning_rate=learning_rate, history_size=history_size)
