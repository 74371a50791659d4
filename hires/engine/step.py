"""One step: the canvas is evaluated, and moved."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from hires.engine.objective import Objective
from hires.engine.replay import Evaluation
from hires.engine.standing import Position, Standing
from hires.engine.style_terms import option_weights
from hires.errors import StylizeError
from hires.kernels.wrapping import folded, wrapped
from hires.optim.canvas_optimizer import NonFiniteError
from hires.optim.stall import StalledError, blamed, require_motion, sampled
from hires.utils.signals import held_back


def move(standing: Standing, objective: Objective) -> None:
    """Move the canvas once. An interrupt finds it as it was before, or as it is after.

    Raises:
        StylizeError: if the optimisation breaks down.
    """
    now = standing.now
    evaluations: list[Evaluation] = []

    def evaluate(canvas: Tensor) -> tuple[Tensor, Tensor]:
        with shield.lifted():
            found = objective(_seen(now, canvas))
        evaluations.append(replace(found, gradient=_own(now, found.gradient)))
        return found.loss.to(canvas.device), evaluations[-1].gradient

    # Of the first step of a rung: what does not move then never will.
    before = None if now.optimizer.num_steps else sampled(now.optimizer.canvas)
    iteration = now.optimizer.num_steps + 1
    objective.at_step(now.optimizer.num_steps)
    with held_back() as shield:
        try:
            # What one process cannot do, all leave undone.
            with objective.together.stage():
                now.optimizer.step(evaluate)
            if before is not None:
                _require_motion(now, objective, before, evaluations[-1].gradient)
        except (NonFiniteError, StalledError) as error:
            if now.bands is not None and now.bands.group.rank:
                raise  # Rank 0 tells.
            height, width = now.rung.size
            weights = option_weights(standing.config, objective.terms)
            where = f"rung {now.rung.index + 1} ({width}x{height}), iteration {iteration}"
            message = f"{error} at {where}: {blamed(weights, error)}"
            raise StylizeError(message, standing.shown) from None
        now.plan = objective.plan
        now.loss, now.terms = evaluations[-1].loss, evaluations[-1].terms


def _require_motion(now: Position, objective: Objective, before: Tensor, slope: Tensor) -> None:
    """See `require_motion`; where several processes paint, all of them must stand still."""
    after, least = sampled(now.optimizer.canvas), now.optimizer.least_step
    try:
        require_motion(before, after, slope, least=least)
    except StalledError:
        if objective.together.least(1.0):
            raise
    else:
        objective.together.least(0.0)


def _seen(now: Position, canvas: Tensor) -> Tensor:
    """What the network sees of a canvas, or of this process's part of it."""
    return wrapped(canvas, now.rung.wrap) if now.bands is None else now.bands.seen(canvas)


def _own(now: Position, slope: Tensor) -> Tensor:
    """The gradient of a canvas from that of what is seen of it."""
    return folded(slope, now.rung.wrap) if now.bands is None else now.bands.folded(slope)
