"""Evaluations of a small canvas as a CUDA graph: recorded once, replayed at every later step.

A canvas of one tile takes about two thousand launches a step, for which a host needs longer than a
fast card for the kernels. A graph is launched at once. Recorded is the evaluation, from the canvas
to the loss and its gradient, of which nothing needs the host: its input and its outputs lie in the
same memory at every step. The optimizer's move, a dozen launches with numbers that change from step
to step (rates, corrections of bias), is not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from hires.utils.memory import is_out_of_memory

Result = TypeVar("Result")

# Calls before a graph is recorded: libraries load their kernels, and what is cached is made.
WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Loss and gradient of one canvas.

    Attributes:
        loss: 0-d, the weighted sum of the terms.
        terms: 0-d each, by name, before their weights.
        gradient: (1, 3, H, W) float, of the loss; reused by the next evaluation.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    gradient: Tensor


Evaluate = Callable[[Tensor], Evaluation]


@dataclass(slots=True)
class Graphs:
    """Whether the rungs of a run record graphs; after a failure none does."""

    is_on: bool


def captured(compute: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
    """Record what a function launches on a GPU, which does not run then.

    Returns:
        What the function returned, whose values are those of the last replay; and what replays it.
    """
    graph = torch.cuda.CUDAGraph()
    # A capture that fails would leave its own stream the current one. Other threads of the process
    # may do meanwhile what a capture must not.
    with (
        torch.cuda.stream(torch.cuda.current_stream()),
        torch.cuda.graph(graph, capture_error_mode="thread_local"),
    ):
        result = compute()
    return result, graph.replay


class Replay:
    """A canvas's evaluations: none at first, then those of a graph, as long as all goes well.

    Args:
        graphs: of the run; switched off if a graph cannot be recorded.
    """

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self._num_calls = 0
        self._is_over = False
        self._recorded: tuple[Tensor, Evaluation, Callable[[], None]] | None = None

    def __call__(self, canvas: Tensor, evaluate: Evaluate) -> Evaluation | None:
        """The evaluation of a canvas, of the same shape at every call.

        Args:
            canvas: what is evaluated.
            evaluate: evaluates a canvas without a look at any value. What it reads and what it
                writes beside the evaluation must lie in the same memory at every call.

        Returns:
            None where the caller must evaluate it: while libraries warm up, where graphs are off,
            and from the first loss on that is not finite, whose roots have to be looked at.
        """
        if self._is_over or not self._graphs.is_on:
            return None
        self._num_calls += 1
        if self._num_calls <= WARM_UP:
            return None
        if self._recorded is None:
            self._recorded = self._record(canvas, evaluate)
        if self._recorded is None:
            return None
        given, found, replay = self._recorded
        given.copy_(canvas)
        replay()
        if not torch.isfinite(found.loss):
            self.end()
            return None
        # Whoever reads the loss of an earlier step must not find that of a later one.
        terms = {name: value.clone() for name, value in found.terms.items()}
        return Evaluation(found.loss.clone(), terms, found.gradient)

    def end(self) -> None:
        """Give the graph's memory back, and record no other."""
        self._recorded, self._is_over = None, True

    def _record(
        self, canvas: Tensor, evaluate: Evaluate
    ) -> tuple[Tensor, Evaluation, Callable[[], None]] | None:
        try:
            given = canvas.clone()
            found, replay = captured(lambda: evaluate(given))
        except Exception as error:  # Whatever it is, a step goes on without a graph.
            self._graphs.is_on = False
            # Ending a capture that broke off may fail in its turn.
            if not any(is_out_of_memory(one) for one in (error, error.__context__) if one):
                warnings.warn(f"steps are not recorded as CUDA graphs: {error}", stacklevel=2)
            return None
        return given, found, replay
