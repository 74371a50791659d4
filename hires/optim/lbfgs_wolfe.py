"""L-BFGS with a line search, in rounds.

`WolfeLBFGS` takes the steps of SciPy's ``fmin_l_bfgs_b`` without bounds (L-BFGS-B 3.0): the same
direction (Nocedal's two loops), line search, acceptance of pairs and stopping rules. Unlike it, it
works on the canvas's own device and number format, and in single evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from hires.optim.canvas_optimizer import CanvasOptimizer, Evaluate, hold, require_finite
from hires.optim.lbfgs import shrunk
from hires.optim.line_search import Search, advance, begin, search_of

# Of SciPy's defaults: a largest slope, and a relative fall of the loss, that end a round.
_FLAT = 1e-5
_EPSILON = torch.finfo(torch.float64).eps
_STALLED = 1e7 * _EPSILON
_MOST_TRIALS = 20


@dataclass(slots=True)
class _Line:
    """The line that is searched.

    Attributes:
        gradient: of the loss at its start.
        direction: from there.
        search: how far it has come.
        num_trials: evaluations on it.
    """

    gradient: Tensor
    direction: Tensor
    search: Search
    num_trials: int = 0


class WolfeLBFGS(CanvasOptimizer):
    """Limited-memory BFGS with a line search for the strong Wolfe conditions.

    One evaluation per step. The canvas is the point to be evaluated next, which the search may
    still reject; the result is the last point that it accepted.

    Args:
        canvas: (1, 3, H, W) float; it is replaced at every step.
        history_size: number of past steps kept; each costs two canvases.
        restart: evaluations in a round, after which all memory is dropped; None for no rounds.
        ceiling: what a result is held below, as a number or (1, 3, 1, 1).

    Attributes:
        accepted: the last point that the search accepted, (1, 3, H, W).
    """

    kind = "lbfgs-wolfe"
    settings = ("history_size", "restart", "ceiling")

    def __init__(
        self,
        canvas: Tensor,
        *,
        history_size: int,
        restart: int | None = None,
        ceiling: float | Tensor = 1.0,
    ) -> None:
        super().__init__(canvas, clamp=False, ceiling=ceiling)
        self.history_size, self.restart = history_size, restart
        self.accepted = canvas
        self._forget()

    def _forget(self) -> None:
        """Begin a round at the last accepted point."""
        self._canvas = self.accepted
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._line: _Line | None = None
        self._is_first = True

    def step(self, evaluate: Evaluate) -> None:
        """Evaluate the trial; move to the next trial of its line, or of a new line."""
        loss, gradient = evaluate(self._canvas)
        require_finite(loss, gradient)
        self._num_steps += 1
        if self._line is not None:
            self._try_on(self._line, float(loss), gradient)
        elif float(gradient.abs().max()) > _FLAT:
            self._begin_line(float(loss), gradient.clone())
        if self.restart and self._num_steps % self.restart == 0:
            self._forget()

    def _try_on(self, line: _Line, value: float, gradient: Tensor) -> None:
        line.search = advance(line.search, value, dot(gradient, line.direction))
        line.num_trials += 1
        if line.search.finished:
            self._accept(line, value, gradient)
        elif line.num_trials < _MOST_TRIALS:
            self._move(line)
        elif self._pairs:
            # No step of this line will do: drop the memory, or the round if there is none.
            self._pairs = []
            self._begin_line(line.search.start.value, line.gradient)
        else:
            self._forget()

    def _accept(self, line: _Line, value: float, gradient: Tensor) -> None:
        """Take the trial as the new point, learn from the step, and turn into a new line."""
        self.accepted = self._canvas
        start = line.search.start
        scale = max(abs(start.value), abs(value), 1.0)
        if float(gradient.abs().max()) <= _FLAT or start.value - value <= _STALLED * scale:
            self._forget()
            return
        # Remember the step and the change of the gradient if the curvature is safely positive.
        step = line.direction.mul_(line.search.step)
        change = torch.sub(gradient, line.gradient)
        if dot(change, step) > -_EPSILON * start.slope * line.search.step:
            self._pairs = [*self._pairs, (step, change)][-self.history_size :]
        self._is_first = False
        self._begin_line(value, gradient.clone())

    def _begin_line(self, value: float, gradient: Tensor) -> None:
        direction = self._descent(gradient)
        slope = dot(gradient, direction)
        if slope >= 0:  # Rounding has spoilt the memory: go straight downhill.
            self._pairs = []
            direction = gradient.neg()
            slope = dot(gradient, direction)
        length = 1 / dot(direction, direction) ** 0.5 if self._is_first else 1.0
        self._line = _Line(gradient, direction, begin(value, slope, length))
        self._move(self._line)

    def _move(self, line: _Line) -> None:
        self._canvas = torch.add(self.accepted, line.direction, alpha=line.search.step)

    def _descent(self, gradient: Tensor) -> Tensor:
        """Minus the inverse Hessian times the gradient (Nocedal & Wright 2006, algorithm 7.4)."""
        direction = gradient.neg()
        scales = []
        for step, change in reversed(self._pairs):
            scales.append(dot(step, direction) / dot(step, change))
            direction.sub_(change, alpha=scales[-1])
        if self._pairs:
            step, change = self._pairs[-1]
            direction.mul_(dot(step, change) / dot(change, change))
        for (step, change), scale in zip(self._pairs, reversed(scales), strict=True):
            direction.add_(step, alpha=scale - dot(change, direction) / dot(step, change))
        return direction

    @property
    def picture(self) -> Tensor:
        """The last accepted point, held in [0, ceiling]; a copy."""
        return hold(self.accepted.clone(), self.ceiling)

    def set_learning_rate(self, learning_rate: float) -> None:
        """The line search finds the length of a step: there is none to set."""

    def enlarged(
        self,
        resize: Callable[[Tensor], Tensor],
        learning_rate: float,  # noqa: ARG002
        num_values: int | None = None,  # noqa: ARG002
    ) -> WolfeLBFGS:
        """Carry the result to the next rung; curvature pairs of another size are useless there."""
        return self.successor(resize, history_size=shrunk(self.history_size))

    def _memory(self) -> dict[str, Any]:
        line = self._line
        return {
            "accepted": None if self.accepted is self._canvas else self.accepted,
            "pairs": [list(pair) for pair in self._pairs],
            "gradient": None if line is None else line.gradient,
            "direction": None if line is None else line.direction,
            "search": None if line is None else asdict(line.search),
            "num_trials": 0 if line is None else line.num_trials,
            "is_first": self._is_first,
        }

    def _recall(self, state: Mapping[str, Any]) -> None:
        if state["accepted"] is not None:
            self.accepted = state["accepted"]
        self._pairs = [(step, change) for step, change in state["pairs"]]
        self._is_first = state["is_first"]
        if state["search"] is not None:
            search = search_of(state["search"])
            self._line = _Line(state["gradient"], state["direction"], search, state["num_trials"])


def dot(first: Tensor, second: Tensor) -> float:
    """Scalar product of two canvases."""
    return float(torch.dot(first.flatten(), second.flatten()))
