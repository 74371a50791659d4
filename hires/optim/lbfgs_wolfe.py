"""L-BFGS with a line search, in rounds.

`WolfeLBFGS` takes the steps of SciPy's ``fmin_l_bfgs_b`` without bounds (L-BFGS-B 3.0): the same
direction (Nocedal's two loops), line search, acceptance of pairs and stopping rules. Unlike it, it
works on the canvas's own device and number format, and in single evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from hires.optim.canvas_optimizer import CanvasState, Evaluate, hold, require_finite
from hires.optim.lbfgs import shrunk
from hires.optim.line_search import Search, advance, begin, search_of

# Of SciPy's defaults: a largest slope, and a relative fall of the loss, that end a round.
_FLAT = 1e-5
_STALLED = 1e7 * torch.finfo(torch.float64).eps
_MOST_TRIALS = 20


class WolfeLBFGS(CanvasState):
    """Limited-memory BFGS with a line search for the strong Wolfe conditions.

    One evaluation per step. The canvas is the point to be evaluated next, which the search may
    still reject; the result is the last point that it accepted.

    Args:
        canvas: (1, 3, H, W) float; it is replaced at every step.
        history_size: number of past steps kept; each costs two canvases.
        restart: evaluations in a round, after which all memory is dropped; None for no rounds.
        ceiling: what a result is held below, as a number or (1, 3, 1, 1).
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
        self._accepted = canvas
        self._forget()

    def _forget(self) -> None:
        """Begin a round at the last accepted point."""
        self.canvas = self._accepted
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._search: Search | None = None
        self._gradient: Tensor | None = None
        self._direction: Tensor | None = None
        self._num_trials = 0
        self._is_first = True

    def step(self, evaluate: Evaluate) -> None:
        """Evaluate the trial; move to the next trial of its line, or of a new line."""
        loss, gradient = evaluate(self.canvas)
        require_finite(loss, gradient)
        self.num_steps += 1
        value = float(loss)
        if self._search is None:
            self._begin_round(value, gradient)
        else:
            self._try_on(self._search, value, gradient)
        if self.restart and self.num_steps % self.restart == 0:
            self._forget()

    def _begin_round(self, value: float, gradient: Tensor) -> None:
        if float(gradient.abs().max()) > _FLAT:
            self._gradient = gradient.clone()
            self._begin_line(value)

    def _try_on(self, search: Search, value: float, gradient: Tensor) -> None:
        assert self._direction is not None
        search = advance(search, value, dot(gradient, self._direction))
        self._num_trials += 1
        if search.finished:
            self._accept(search, value, gradient)
        elif self._num_trials >= _MOST_TRIALS:
            self._fall_back(search)
        else:
            self._search = search
            self._move(search.step)

    def _accept(self, search: Search, value: float, gradient: Tensor) -> None:
        """Take the trial as the new point, learn from the step, and turn into a new line."""
        assert self._gradient is not None
        assert self._direction is not None
        self._accepted = self.canvas
        fall = search.start.value - value
        scale = max(abs(search.start.value), abs(value), 1.0)
        if float(gradient.abs().max()) <= _FLAT or fall <= _STALLED * scale:
            self._forget()
            return
        self._learn(search, gradient)
        self._gradient = gradient.clone()
        self._is_first = False
        self._begin_line(value)

    def _learn(self, search: Search, gradient: Tensor) -> None:
        """Remember the step and the change of the gradient if the curvature is safely positive."""
        assert self._gradient is not None
        assert self._direction is not None
        step = self._direction.mul_(search.step)
        change = torch.sub(gradient, self._gradient)
        least = -torch.finfo(torch.float64).eps * search.start.slope * search.step
        if dot(change, step) > least:
            self._pairs = [*self._pairs, (step, change)][-self.history_size :]

    def _begin_line(self, value: float) -> None:
        assert self._gradient is not None
        self._direction = self._descent(self._gradient)
        slope = dot(self._gradient, self._direction)
        if slope >= 0:  # Rounding has spoilt the memory: go straight downhill.
            self._pairs = []
            self._direction = self._gradient.neg()
            slope = dot(self._gradient, self._direction)
        length = 1.0
        if self._is_first:
            length = 1 / dot(self._direction, self._direction) ** 0.5
        self._search = begin(value, slope, length)
        self._num_trials = 0
        self._move(length)

    def _fall_back(self, search: Search) -> None:
        """No step of this line will do: drop the memory, or the round if there is none."""
        if not self._pairs:
            self._forget()
            return
        self._pairs = []
        self._begin_line(search.start.value)

    def _move(self, step: float) -> None:
        assert self._direction is not None
        self.canvas = torch.add(self._accepted, self._direction, alpha=step)

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
        return hold(self._accepted.clone(), self.ceiling)

    def set_learning_rate(self, learning_rate: float) -> None:
        """The line search finds the length of a step: there is none to set."""

    def enlarged(self, resize: Callable[[Tensor], Tensor], learning_rate: float) -> WolfeLBFGS:  # noqa: ARG002
        """Carry the result to the next rung; curvature pairs of another size are useless there."""
        return self.successor(resize, history_size=shrunk(self.history_size))

    def _memory(self) -> dict[str, Any]:
        """Accepted point, curvature pairs, where the line search stands."""
        return {
            "accepted": None if self._accepted is self.canvas else self._accepted,
            "pairs": [list(pair) for pair in self._pairs],
            "gradient": self._gradient,
            "direction": self._direction,
            "search": None if self._search is None else asdict(self._search),
            "num_trials": self._num_trials,
            "is_first": self._is_first,
        }

    def _recall(self, state: Mapping[str, Any]) -> None:
        if state["accepted"] is not None:
            self._accepted = state["accepted"]
        self._pairs = [(step, change) for step, change in state["pairs"]]
        self._gradient, self._direction = state["gradient"], state["direction"]
        self._search = None if state["search"] is None else search_of(state["search"])
        self._num_trials, self._is_first = state["num_trials"], state["is_first"]


def dot(first: Tensor, second: Tensor) -> float:
    """Scalar product of two canvases."""
    return float(torch.dot(first.flatten(), second.flatten()))
