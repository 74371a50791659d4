"""Line search for the strong Wolfe conditions, one evaluation at a time (Moré & Thuente 1994).

A search is a value: `begin` starts one, `advance` takes what the function is at the current step
and returns the search with its next step, or finished. Nothing is hidden in a call stack, so that
the optimisation loop can yield, save and stop after every evaluation. Constants and safeguards are
those of L-BFGS-B 3.0 (Zhu, Byrd, Lu & Nocedal), which SciPy's ``fmin_l_bfgs_b`` runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

SUFFICIENT_DECREASE = 1e-3  # of the slope at the start
CURVATURE = 0.9  # share of that slope at which the step is long enough
_NARROW = 0.1  # A bracket narrower than this share of its end is as good as a point.
_LARGEST_STEP = 1e10
_SHRINK = 0.66
_REACH = (1.1, 4.0)  # Without a bracket the next step lies so many times further out.


@dataclass(frozen=True, slots=True)
class Point:
    """A function along the line: step, value and slope."""

    step: float
    value: float
    slope: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Where a search stands.

    Attributes:
        start: the function at step 0.
        best: end of the interval with the least value so far.
        other: the other end.
        step: the step to evaluate next, or the accepted one.
        bracketed: whether a minimum is known to lie between the ends.
        first_stage: whether a point with enough decrease and a rising slope is still wanted.
        widths: the last two widths of the interval.
        finished: whether ``step`` is accepted.
    """

    start: Point
    best: Point
    other: Point
    step: float
    limits: tuple[float, float]
    bracketed: bool = False
    first_stage: bool = True
    widths: tuple[float, float] = (_LARGEST_STEP, 2 * _LARGEST_STEP)
    finished: bool = False


def begin(value: float, slope: float, step: float) -> Search:
    """Start a search downhill (``slope < 0``) whose first trial is ``step``."""
    assert slope < 0, slope
    start = Point(0.0, value, slope)
    return Search(
        start=start, best=start, other=start, step=step, limits=(0.0, (1 + _REACH[1]) * step)
    )


def search_of(values: Mapping[str, Any]) -> Search:
    """The search that ``dataclasses.asdict`` laid out, also after JSON has made lists of tuples."""
    points = {name: Point(**values[name]) for name in ("start", "best", "other")}
    pairs = {name: tuple(values[name]) for name in ("limits", "widths")}
    return Search(**{**values, **points, **pairs})


def advance(search: Search, value: float, slope: float) -> Search:
    """Take the function at ``search.step``; the result is finished or has the next step."""
    start, trial = search.start, Point(search.step, value, slope)
    decrease = SUFFICIENT_DECREASE * start.slope
    enough = value <= start.value + trial.step * decrease
    first_stage = search.first_stage and not (enough and slope >= 0)
    if _is_stuck(search, enough, slope <= decrease) or (
        enough and abs(slope) <= -CURVATURE * start.slope
    ):
        return replace(search, finished=True)
    # Until enough decrease is found together with a rising slope, the line is tilted by the
    # decrease that is asked for, so that the interval closes in on steps that have it.
    tilt = decrease if first_stage and value <= search.best.value and not enough else 0.0
    ends = _tilted(search.best, tilt), _tilted(search.other, tilt)
    best, other, step, bracketed = _narrow(
        *ends, _tilted(trial, tilt), search.bracketed, search.limits
    )
    best, other = _tilted(best, -tilt), _tilted(other, -tilt)
    found = replace(search, best=best, other=other, step=step, bracketed=bracketed)
    return _safeguarded(replace(found, first_stage=first_stage))


def _is_stuck(search: Search, enough: bool, steep: bool) -> bool:
    """Whether rounding, or the end of the line, leaves nothing better to try."""
    low, high = search.limits
    if search.bracketed and (not low < search.step < high or high - low <= _NARROW * high):
        return True
    return search.step == _LARGEST_STEP and enough and steep


def _tilted(point: Point, tilt: float) -> Point:
    return Point(point.step, point.value - point.step * tilt, point.slope - tilt)


def _safeguarded(search: Search) -> Search:
    """Halve an interval that shrinks too slowly, and keep the next step within its limits."""
    best, other, step = search.best.step, search.other.step, search.step
    widths = search.widths
    if search.bracketed:
        if abs(other - best) >= _SHRINK * widths[1]:
            step = best + (other - best) / 2
        widths = (abs(other - best), widths[0])
        limits = (min(best, other), max(best, other))
    else:
        limits = (step + _REACH[0] * (step - best), step + _REACH[1] * (step - best))
    step = min(max(step, 0.0), _LARGEST_STEP)
    low, high = limits
    if search.bracketed and (not low < step < high or high - low <= _NARROW * high):
        step = best
    return replace(search, step=step, limits=limits, widths=widths)


def _narrow(
    best: Point, other: Point, trial: Point, bracketed: bool, limits: tuple[float, float]
) -> tuple[Point, Point, float, bool]:
    """The interval with the trial in it, the next step, and whether it brackets a minimum."""
    if trial.value > best.value:
        # Higher than the best: the minimum lies between. The parabola is only trusted half way.
        cubic, parabola = _cubic(best, trial), _parabola_by_value(best, trial)
        near = abs(cubic - best.step) < abs(parabola - best.step)
        return best, trial, cubic if near else cubic + (parabola - cubic) / 2, True
    if trial.slope * math.copysign(1.0, best.slope) < 0:
        # Lower, and the slope has turned: the minimum lies between.
        cubic, secant = _cubic(trial, best), _secant(best, trial)
        far = abs(cubic - trial.step) > abs(secant - trial.step)
        return trial, best, cubic if far else secant, True
    step = _outward(best, other, trial, bracketed, limits)
    return trial, other, step, bracketed


def _outward(
    best: Point, other: Point, trial: Point, bracketed: bool, limits: tuple[float, float]
) -> float:
    """Lower, and the slope keeps its sign: the minimum lies beyond the trial."""
    end = limits[1] if trial.step > best.step else limits[0]
    if abs(trial.slope) >= abs(best.slope):
        return _cubic(trial, other) if bracketed else end
    cubic, secant = _cubic_beyond(trial, best, end), _secant(best, trial)
    is_nearer = abs(cubic - trial.step) < abs(secant - trial.step)
    if not bracketed:
        step = secant if is_nearer else cubic
        return min(max(step, limits[0]), limits[1])
    step = cubic if is_nearer else secant
    bound = trial.step + _SHRINK * (other.step - trial.step)
    return min(bound, step) if trial.step > best.step else max(bound, step)


def _cubic_terms(a: Point, b: Point) -> tuple[float, float, float]:
    """``θ`` and the scale and discriminant of the cubic through two points and slopes."""
    theta = 3 * (a.value - b.value) / (b.step - a.step) + a.slope + b.slope
    scale = max(abs(theta), abs(a.slope), abs(b.slope)) or 1.0
    return theta, scale, (theta / scale) ** 2 - (a.slope / scale) * (b.slope / scale)


def _cubic(a: Point, b: Point) -> float:
    """Minimum of the cubic that has the values and slopes of both points."""
    theta, scale, discriminant = _cubic_terms(a, b)
    gamma = math.copysign(scale * math.sqrt(max(discriminant, 0.0)), b.step - a.step)
    share = (gamma - a.slope + theta) / (2 * gamma - a.slope + b.slope)
    return a.step + share * (b.step - a.step)


def _cubic_beyond(a: Point, b: Point, end: float) -> float:
    """Minimum of the cubic on the far side of ``a`` seen from ``b``; ``end`` if it has none."""
    theta, scale, discriminant = _cubic_terms(b, a)
    gamma = math.copysign(scale * math.sqrt(max(discriminant, 0.0)), b.step - a.step)
    share = (gamma - a.slope + theta) / (gamma + (b.slope - a.slope) + gamma)
    return a.step + share * (b.step - a.step) if share < 0 and gamma != 0 else end


def _parabola_by_value(a: Point, b: Point) -> float:
    """Minimum of the parabola with the value and slope of ``a`` and the value of ``b``."""
    chord = (a.value - b.value) / (b.step - a.step)
    return a.step + a.slope / (chord + a.slope) / 2 * (b.step - a.step)


def _secant(a: Point, b: Point) -> float:
    """Minimum of the parabola with the slopes of both points."""
    return b.step + b.slope / (b.slope - a.slope) * (a.step - b.step)
