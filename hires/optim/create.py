"""The optimizer that a configuration asks for, or that had a state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hires.config.pixels import PIXEL_SCALES
from hires.config.run import Config
from hires.optim.adam import Adam
from hires.optim.canvas_optimizer import CanvasOptimizer
from hires.optim.lbfgs import LBFGS
from hires.optim.lbfgs_wolfe import WolfeLBFGS
from hires.optim.scaled import ScaledOptimizer


def optimizer_of(config: Config, canvas: Tensor, learning_rate: float) -> CanvasOptimizer:
    """Build the optimizer of the first rung.

    Args:
        config: which optimizer, and its settings.
        canvas: (1, 3, H, W) float32 in [0, 1]; in units of [0, 1] it is moved in place.
        learning_rate: step size, in the units that the configuration optimises in.
    """
    if config.pixels == "unit":
        return _build(config, canvas, learning_rate, 1.0)
    scale = torch.tensor(PIXEL_SCALES[config.pixels], dtype=canvas.dtype, device=canvas.device)
    scale = scale.view(1, 3, 1, 1)
    return ScaledOptimizer(_build(config, canvas * scale, learning_rate, scale), scale)


def _build(
    config: Config, canvas: Tensor, learning_rate: float, ceiling: float | Tensor
) -> CanvasOptimizer:
    history = config.history_at(0)
    if config.optimizer == "lbfgs-wolfe":
        return WolfeLBFGS(canvas, history_size=history, restart=config.restart, ceiling=ceiling)
    if config.optimizer == "lbfgs":
        return LBFGS(
            canvas,
            learning_rate=learning_rate,
            history_size=history,
            clamp=config.clamps_steps,
            ceiling=ceiling,
            blind=config.clamp == "blind",
        )
    return Adam(
        canvas,
        learning_rate=learning_rate,
        averaging=config.averaging,
        beta2=0.95 if config.beta2 is None else config.beta2,
        epsilon=config.epsilon,
        carry=config.optimizer_state == "carry",
        clamp=config.clamps_steps,
        ceiling=ceiling,
    )


def restored(state: Mapping[str, Any]) -> CanvasOptimizer:
    """The optimizer that had this state (`CanvasOptimizer.state`); it takes the tensors over."""
    if state["kind"] == "scaled":
        return ScaledOptimizer(restored(state["inner"]), state["scale"])
    kinds = {one.kind: one for one in (Adam, LBFGS, WolfeLBFGS)}
    return kinds[state["kind"]].from_state(state)
