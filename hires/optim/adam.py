"""Adam on a canvas: box constraint, running average, moments carried up the ladder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import adam as torch_adam

from hires.optim.canvas_optimizer import CanvasOptimizer, Evaluate, hold, require_finite


class Adam(CanvasOptimizer):
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

    kind = "adam"
    settings = ("learning_rate", "averaging", "beta2", "epsilon", "carry", "clamp", "ceiling")

    def __init__(
        self,
        canvas: Tensor,
        *,
        learning_rate: float,
        averaging: float,
        beta2: float = 0.95,
        epsilon: float | None = None,
        carry: bool = True,
        clamp: bool = True,
        ceiling: float | Tensor = 1.0,
    ) -> None:
        super().__init__(canvas, clamp=clamp, ceiling=ceiling)
        self.learning_rate, self.averaging = learning_rate, averaging
        self.beta2, self.epsilon, self.carry = beta2, epsilon, carry
        self.average: Tensor | None = None
        self.moments: dict[str, Tensor] = {}

    def step(self, evaluate: Evaluate) -> None:
        """Evaluate and move the canvas once."""
        loss, gradient = evaluate(self.canvas)
        require_finite(loss, gradient)
        self._move(gradient)
        if self.clamp:
            hold(self.canvas, self.ceiling)
        self._num_steps += 1
        if self.averaging:
            if self.average is None:
                self.average = self.canvas.clone()
            # The weights of a bias-corrected average: an interrupt finds a picture at any moment.
            share = (1 - self.averaging) / (1 - self.averaging**self.num_steps)
            self.average.lerp_(self.canvas, share)

    def _move(self, gradient: Tensor) -> None:
        """PyTorch's fused kernel, which needs no temporary canvases, on a CPU as on a GPU.

        Called without PyTorch's class: that imports a compiler which nobody here uses, one second
        and 150 MB.
        """
        canvas = self.canvas
        if not self.moments:
            self.moments = {
                "step": torch.zeros((), dtype=torch.float32, device=canvas.device),
                "exp_avg": torch.zeros_like(canvas),
                "exp_avg_sq": torch.zeros_like(canvas),
            }
        torch_adam.adam(
            [canvas],
            [gradient],
            [self.moments["exp_avg"]],
            [self.moments["exp_avg_sq"]],
            [],
            [self.moments["step"]],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=self.beta2,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8 / self.num_values if self.epsilon is None else self.epsilon,
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

    def set_learning_rate(self, learning_rate: float) -> None:
        """Change the step size."""
        self.learning_rate = learning_rate

    def enlarged(
        self,
        resize: Callable[[Tensor], Tensor],
        learning_rate: float,
        num_values: int | None = None,
    ) -> Adam:
        """Carry canvas and moments to the next rung.

        The gradient of a mean falls with the number of pixels, and so do Adam's moments.
        """
        larger = self.successor(resize, learning_rate=learning_rate)
        larger._num_values = num_values
        if self.moments and self.carry:
            ratio = self.num_values / larger.num_values
            mean = resize(self.moments["exp_avg"]).mul_(ratio)
            square = resize(self.moments["exp_avg_sq"]).mul_(ratio**2)
            # No mean square is below the square of the mean. Resampling knows nothing of that, and
            # where it undershoots a step would be thousands of times too long: a speck.
            torch.maximum(square, mean.square(), out=square)
            step = self.moments["step"].to(mean.device, copy=True)
            larger.moments = {"step": step, "exp_avg": mean, "exp_avg_sq": square}
        return larger

    def _memory(self) -> dict[str, Any]:
        return {"average": self.average, "moments": dict(self.moments)}

    def _recall(self, state: Mapping[str, Any]) -> None:
        self.average, self.moments = state["average"], dict(state["moments"])
