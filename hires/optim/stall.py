"""Whether a step moves the canvas, and what to say of weights with which it does not."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# Of a canvas, so many values tell whether it moves.
_SAMPLE = 2**16
# A thousand times the largest weight of any preset.
_HUGE = 1e9


class StalledError(ArithmeticError):
    """A step left the canvas where it was, though its gradient lets it go."""


def sampled(canvas: Tensor) -> Tensor:
    """A copy of values (N,) spread evenly over a canvas, the same ones at every call."""
    return canvas.flatten()[:: max(canvas.numel() // _SAMPLE, 1)].clone()


def require_motion(before: Tensor, after: Tensor, gradient: Tensor, *, least: float) -> None:
    """Raise `StalledError` if no value has moved that was free to.

    Args:
        before: `sampled` of the canvas (in [0, 1]) before the step.
        after: the same after it.
        gradient: that of the loss before the step, shaped like the canvas.
        least: what moves by no more has not moved.
    """
    slope = sampled(gradient)
    held = ((before <= 0) & (slope > 0)) | ((before >= 1) & (slope < 0))
    if bool(held.all()) or float((after - before).abs().max()) > least:
        return
    raise StalledError(f"the canvas does not move, its gradient is {float(slope.abs().max()):.1g}")


def blamed(weights: Mapping[str, float], error: Exception | None = None) -> str:
    """What to do about an error of the optimisation, naming the weights if they are its cause.

    Args:
        weights: of each term of the loss, by its name.
        error: what happened, if more is known than that numbers are not finite.
    """
    name, weight = max(weights.items(), key=lambda item: item[1])
    if weight >= _HUGE:
        return f"`{name}_weight={weight:g}` is too much: only the weights' ratios count, give less"
    if isinstance(error, StalledError):
        told = ", ".join(f"`{name}_weight={weight:g}`" for name, weight in weights.items())
        return f"{told} pull too little: give larger ones, a smaller `epsilon` or another `init`"
    return "try `precision=fp32` or a smaller `learning_rate`"
