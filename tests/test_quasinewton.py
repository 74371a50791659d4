"""L-BFGS with a line search against SciPy's; PyTorch's by the tutorial's calls; other units."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from hires.optim.adam import Adam
from hires.optim.canvas_optimizer import NonFiniteError
from hires.optim.lbfgs import LBFGS
from hires.optim.lbfgs_wolfe import WolfeLBFGS
from hires.optim.line_search import CURVATURE, SUFFICIENT_DECREASE, advance, begin
from hires.optim.scaled import ScaledOptimizer

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]

# Every value that SciPy 1.17's fmin_l_bfgs_b evaluates, trials of its line search included, of the
# chained Rosenbrock function of 12 variables from cos(0), cos(1), ..., cos(11).
SCIPY = (
    1039.0375523852153,
    202.26836447047225,
    96.02512243063407,
    46.8806353792007,
    29.578117673442467,
    15.46023545936071,
    13.669363124782803,
    10.564933258441227,
    9.48778431696684,
    9.08295061484921,
    8.939011762554507,
    8.89819883635665,
    8.829068244685569,
    8.696729793252754,
    8.541143101258378,
    8.38728413589133,
    7.850186069161641,
    7.56458770117575,
    7.132295932614964,
    6.807122870312583,
    6.473670963825867,
    6.506051733364149,
    6.246300178705678,
    6.192073434395301,
    6.116803663538343,
    5.867160582054937,
    5.626779270164896,
    5.332919963393543,
    5.114944157313699,
    4.969819061362758,
    4.645662829371391,
    4.5036538440889125,
    4.112198174221982,
    3.8494827786067636,
    3.61774550485084,
    3.2443154034287476,
    3.156420228816277,
    3.053474949789409,
    2.77045097457009,
    2.5737220946155923,
    2.357131522749804,
    2.2419710787677927,
    2.002425042571591,
    2.0279336800205123,
    1.8133796659281456,
)


def valley(canvas: Tensor) -> tuple[Tensor, Tensor]:
    """Rosenbrock's function along the canvas, and its gradient."""
    x = canvas.flatten()
    bend = x[1:] - x[:-1] ** 2
    loss = (100 * bend**2 + (1 - x[:-1]) ** 2).sum()
    gradient = torch.zeros_like(x)
    gradient[:-1] += -400 * x[:-1] * bend - 2 * (1 - x[:-1])
    gradient[1:] += 200 * bend
    return loss, gradient.view_as(canvas)


def start() -> Tensor:
    return torch.cos(torch.arange(12, dtype=torch.float64)).view(1, 3, 2, 2)


def record(evaluate: Evaluate, seen: list[float]) -> Evaluate:
    def recording(canvas: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = evaluate(canvas)
        seen.append(float(loss))
        return loss, gradient

    return recording


def test_every_evaluation_is_scipys() -> None:
    optimizer, seen = WolfeLBFGS(start(), history_size=10, ceiling=9.0), list[float]()
    for _ in SCIPY:
        optimizer.step(record(valley, seen))
    assert seen[:30] == pytest.approx(SCIPY[:30], rel=1e-11)
    # Rounding grows along a curved valley.
    assert seen == pytest.approx(SCIPY, rel=1e-8)


def test_rounds_are_runs_of_their_own() -> None:
    optimizer, seen = WolfeLBFGS(start(), history_size=10, restart=20, ceiling=9.0), list[float]()
    for _ in range(40):
        optimizer.step(record(valley, seen))
    assert seen[:20] == pytest.approx(SCIPY[:20], rel=1e-11)
    fresh, again = WolfeLBFGS(start(), history_size=10, ceiling=9.0), list[float]()
    for _ in range(20):
        fresh.step(valley)
    fresh = WolfeLBFGS(fresh.accepted, history_size=10, ceiling=9.0)
    for _ in range(20):
        fresh.step(record(valley, again))
    assert seen[20:] == again


@pytest.mark.parametrize("history_size", [1, 3, 10])
def test_it_arrives(history_size: int) -> None:
    optimizer = WolfeLBFGS(start(), history_size=history_size, ceiling=9.0)
    for _ in range(400):
        optimizer.step(valley)
        assert len(optimizer.state()["pairs"]) <= history_size
    assert float(valley(optimizer.accepted)[0]) < 1e-6


def test_the_result_is_accepted_and_held() -> None:
    optimizer, best = WolfeLBFGS(start(), history_size=10), math.inf
    for _ in range(30):
        optimizer.step(valley)
        loss = float(valley(optimizer.accepted)[0])
        assert loss <= best  # Trials may rise, accepted points never do.
        best = loss
        assert 0 <= float(optimizer.result().min()) <= float(optimizer.result().max()) <= 1
    assert optimizer.num_steps == 30


def test_a_flat_start_stays_where_it_is() -> None:
    optimizer = WolfeLBFGS(torch.ones(1, 3, 2, 2, dtype=torch.float64), history_size=5)
    for _ in range(3):
        optimizer.step(valley)
    assert torch.equal(optimizer.canvas, torch.ones(1, 3, 2, 2, dtype=torch.float64))


def test_a_gradient_that_lies_ends_in_a_new_start() -> None:
    """Where no step falls, the search gives up, and the canvas stays at what was accepted."""

    def lying(canvas: Tensor) -> tuple[Tensor, Tensor]:
        return (canvas - start()).square().sum().sqrt(), torch.ones_like(canvas)

    optimizer = WolfeLBFGS(start(), history_size=5)
    for _ in range(50):
        optimizer.step(lying)
    assert torch.equal(optimizer.accepted, start())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_breakdown_leaves_the_result_untouched(value: float) -> None:
    optimizer = WolfeLBFGS(start(), history_size=5)
    for _ in range(3):
        optimizer.step(valley)
    before, result = optimizer.canvas.clone(), optimizer.result()
    with pytest.raises(NonFiniteError):
        optimizer.step(lambda canvas: (torch.tensor(value), torch.zeros_like(canvas)))
    assert torch.equal(optimizer.canvas, before)
    assert torch.equal(optimizer.result(), result)


def test_the_next_rung_starts_from_the_result() -> None:
    optimizer = WolfeLBFGS(start(), history_size=10, restart=7)
    optimizer.step(valley)
    larger = optimizer.enlarged(partial(torch.nn.functional.interpolate, scale_factor=2), 1.0)
    assert larger.canvas.shape == (1, 3, 4, 4)
    assert (larger.history_size, larger.restart) == (5, 7)
    assert torch.equal(larger.canvas[..., ::2, ::2], optimizer.result())


LINES: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "parabola": (lambda t: (t - 3) ** 2, lambda t: 2 * (t - 3)),
    "quartic": (lambda t: (t - 0.7) ** 4 - t, lambda t: 4 * (t - 0.7) ** 3 - 1),
    "cosine": (lambda t: math.cos(t + 0.1), lambda t: -math.sin(t + 0.1)),
    "far away": (
        lambda t: math.hypot(t - 500, 90),
        lambda t: (t - 500) / math.hypot(t - 500, 90),
    ),
    "wall": (lambda t: math.expm1(t) - 2 * t, lambda t: math.exp(t) - 2),
}


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("name", LINES)
def test_a_finished_search_meets_both_conditions(name: str, first: float) -> None:
    value, slope = LINES[name]
    search = begin(value(0), slope(0), first)
    for _ in range(20):
        if search.finished:
            break
        search = advance(search, value(search.step), slope(search.step))
    assert search.finished
    assert value(search.step) <= value(0) + SUFFICIENT_DECREASE * search.step * slope(0)
    assert abs(slope(search.step)) <= CURVATURE * abs(slope(0))


def bowl(canvas: Tensor) -> tuple[Tensor, Tensor]:
    """Ill-conditioned, its bottom partly outside of the box."""
    target = torch.linspace(-0.02, 0.9, canvas.numel(), dtype=canvas.dtype).view_as(canvas)
    scales = torch.logspace(0, 2, canvas.numel(), dtype=canvas.dtype).view_as(canvas)
    difference = canvas - target
    return (scales * difference.square()).sum() / 2, scales * difference


def test_single_steps_are_the_tutorials_calls() -> None:
    """Bit for bit: torch.optim.LBFGS with its defaults, clamped at the top of the closure."""
    theirs = torch.full((1, 3, 4, 4), 0.5).requires_grad_()
    optimizer, calls = torch.optim.LBFGS([theirs]), list[float]()

    def closure() -> Tensor:
        with torch.no_grad():
            theirs.clamp_(0, 1)
            loss, theirs.grad = bowl(theirs)
        calls.append(float(loss))
        return loss

    for _ in range(2):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    theirs.data.clamp_(0, 1)
    assert len(calls) == 40
    mine, seen = torch.full((1, 3, 4, 4), 0.5), list[float]()
    stepped = LBFGS(mine, learning_rate=1.0, history_size=100, blind=True)
    for _ in range(40):
        stepped.step(record(bowl, seen))
    assert seen == calls
    assert torch.equal(stepped.canvas, theirs.detach())


def test_other_units_are_those_of_the_document() -> None:
    """Adam on a standardised picture: the document's variable, and the same picture in [0, 1]."""
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    picture = torch.rand(1, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    variable = ((picture - mean) / std).requires_grad_()
    theirs = torch.optim.Adam([variable], lr=0.01)
    inner = Adam(
        picture / std,
        learning_rate=0.01,
        averaging=0,
        beta2=0.999,
        epsilon=1e-8,
        clamp=False,
        ceiling=1 / std,
    )
    mine = ScaledOptimizer(inner, 1 / std)
    for _ in range(30):
        theirs.zero_grad()
        _, gradient = bowl((variable * std + mean).detach())
        variable.grad = gradient * std
        theirs.step()
        mine.step(bowl)
    wanted = (variable * std + mean).detach()
    torch.testing.assert_close(mine.canvas, wanted, rtol=0, atol=2e-6)
    torch.testing.assert_close(mine.result(), wanted.clamp(0, 1), rtol=0, atol=2e-6)


def test_a_box_in_other_units() -> None:
    scale = torch.tensor([2.0, 3.0, 4.0]).view(1, 3, 1, 1)
    canvas = torch.full((1, 3, 2, 2), 0.5)
    mine = ScaledOptimizer(
        Adam(canvas * scale, learning_rate=1.0, averaging=0, ceiling=scale), scale
    )
    for _ in range(6):
        mine.step(
            lambda x: (
                x.sum(),
                torch.tensor([-1.0, 1.0, -1.0]).view(1, 3, 1, 1).expand_as(x).clone(),
            )
        )
    wanted = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert torch.equal(mine.canvas, wanted)
    larger = mine.enlarged(partial(torch.nn.functional.interpolate, scale_factor=2), 0.5)
    assert torch.equal(larger.result(), torch.nn.functional.interpolate(wanted, scale_factor=2))


def test_step_sizes_can_be_changed() -> None:
    adam = Adam(torch.full((1, 3, 2, 2), 0.5), learning_rate=0.1, averaging=0)
    mine = ScaledOptimizer(adam, torch.ones(1, 3, 1, 1))
    mine.set_learning_rate(0.01)
    mine.step(lambda x: (x.sum(), torch.ones_like(x)))
    torch.testing.assert_close(mine.canvas, torch.full((1, 3, 2, 2), 0.49))
    lbfgs = LBFGS(torch.full((1, 3, 2, 2), 0.5), learning_rate=1.0, history_size=3)
    lbfgs.set_learning_rate(0.25)
    assert lbfgs.learning_rate == 0.25
