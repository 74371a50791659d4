"""Adam against PyTorch's, the running average, state carried up the ladder, L-BFGS, breakdowns."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hires.config.run import Config
from hires.optim.adam import Adam
from hires.optim.canvas_optimizer import CanvasOptimizer, NonFiniteError
from hires.optim.create import optimizer_of
from hires.optim.lbfgs import LBFGS

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]

CONFIGS = {"adam": Config(average=0.9), "lbfgs": Config(optimizer="lbfgs")}


def canvas_of(height: int = 6, width: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.3 + 0.4 * torch.rand(1, 3, height, width, generator=generator)


def towards(target: Tensor) -> Evaluate:
    """A mean squared distance: like the engine's losses, its gradient falls with the pixels."""

    def evaluate(canvas: Tensor) -> tuple[Tensor, Tensor]:
        difference = canvas - target
        return difference.square().mean(), 2 * difference / difference.numel()

    return evaluate


def adam(canvas: Tensor, *, learning_rate: float = 0.02, averaging: float = 0.0) -> Adam:
    return Adam(canvas, learning_rate=learning_rate, averaging=averaging)


def resize(size: tuple[int, int], image: Tensor) -> Tensor:
    return F.interpolate(image, size, mode="nearest")


def test_adam_is_pytorchs() -> None:
    target, evaluate = canvas_of(seed=1), towards(canvas_of(seed=1))
    mine = adam(canvas_of())
    theirs = canvas_of().requires_grad_()
    reference = torch.optim.Adam(
        [theirs], lr=0.02, betas=(0.9, 0.95), eps=1e-8 / theirs.numel(), foreach=False
    )
    for _ in range(20):
        mine.step(evaluate)
        reference.zero_grad()
        loss = (theirs - target).square().mean()
        (theirs.grad,) = torch.autograd.grad(loss, theirs)
        reference.step()
    torch.testing.assert_close(mine.canvas, theirs.detach(), rtol=1e-5, atol=1e-6)
    assert mine.canvas.grad is None


@pytest.mark.parametrize("beta2", [0.99, 0.999])
def test_adam_is_pytorchs_fused_one_to_the_bit(beta2: float) -> None:
    evaluate = towards(canvas_of(seed=1))
    mine = Adam(
        canvas_of(), learning_rate=0.02, averaging=0.0, beta2=beta2, epsilon=1e-7, clamp=False
    )
    theirs = canvas_of()
    reference = torch.optim.Adam([theirs], lr=0.02, betas=(0.9, beta2), eps=1e-7, fused=True)
    for step in range(12):
        if step == 6:
            mine.set_learning_rate(0.005)
            reference.param_groups[0]["lr"] = 0.005
        mine.step(evaluate)
        theirs.grad = evaluate(theirs)[1]
        reference.step()
        assert torch.equal(mine.canvas, theirs)
    state = reference.state[theirs]
    assert mine.moments.keys() == state.keys()
    assert all(torch.equal(mine.moments[name], state[name]) for name in state)


def test_no_compiler_is_imported_for_a_step() -> None:
    script = (
        "import sys, torch, hires.engine.run\n"
        "from hires.optim.adam import Adam\n"
        "adam = Adam(torch.ones(1, 3, 4, 4), learning_rate=0.1, averaging=0.9)\n"
        "adam.step(lambda canvas: (canvas.sum(), torch.ones_like(canvas)))\n"
        "print('torch._dynamo' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert told.strip() == "False"


def test_tiny_gradients_of_a_huge_canvas_do_not_slow_it_down() -> None:
    # As on a canvas of 100 megapixels. PyTorch's own epsilon, 1e-8, would halve this step.
    optimizer = adam(canvas_of(256, 256), learning_rate=0.1)
    before = optimizer.canvas.clone()
    gradient = torch.full_like(before, 1e-9)
    optimizer.step(lambda _: (torch.tensor(1.0), gradient))
    torch.testing.assert_close(before - optimizer.canvas, 0.1 + 0 * before, rtol=1e-3, atol=0)


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
def test_the_canvas_stays_in_its_box(kind: str) -> None:
    optimizer = optimizer_of(CONFIGS[kind], canvas_of(), 0.5)
    evaluate = towards(torch.cat([3 + canvas_of(1), canvas_of(5) - 3], 2))
    for _ in range(8):
        optimizer.step(evaluate)
        for picture in (optimizer.canvas, optimizer.result()):
            assert float(picture.min()) >= 0
            assert float(picture.max()) <= 1
    wanted = torch.cat([torch.ones(1, 3, 1, 5), torch.zeros(1, 3, 5, 5)], 2)
    torch.testing.assert_close(optimizer.canvas, wanted)


def test_the_running_average_is_corrected_for_its_start() -> None:
    optimizer = adam(canvas_of(), averaging=0.9)
    assert torch.equal(optimizer.result(), canvas_of())
    canvases, evaluate = [], towards(canvas_of(seed=1))
    for _ in range(5):
        optimizer.step(evaluate)
        canvases.append(optimizer.canvas.clone())
    weights = torch.tensor([0.9**k for k in (4, 3, 2, 1, 0)])
    wanted = (torch.cat(canvases) * weights.view(-1, 1, 1, 1)).sum(0, keepdim=True) / weights.sum()
    torch.testing.assert_close(optimizer.result(), wanted)


def test_after_one_step_the_average_is_the_canvas() -> None:
    optimizer = adam(canvas_of(), averaging=0.99)
    optimizer.step(towards(canvas_of(seed=1)))
    torch.testing.assert_close(optimizer.result(), optimizer.canvas)


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
def test_a_result_is_a_copy(kind: str) -> None:
    optimizer = optimizer_of(CONFIGS[kind], canvas_of(), 0.1)
    optimizer.result().zero_()
    assert torch.equal(optimizer.canvas, canvas_of())


def test_adams_moments_climb_at_the_scale_of_the_larger_canvas() -> None:
    optimizer = adam(canvas_of())
    for _ in range(30):
        optimizer.step(towards(canvas_of(seed=1)))
    before = optimizer.moments
    larger = optimizer.enlarged(partial(resize, (12, 10)), 0.01)
    state = larger.moments
    # Twice as long and wide: gradients of a mean are a quarter, their squares a sixteenth.
    torch.testing.assert_close(state["exp_avg"], resize((12, 10), before["exp_avg"]) / 4)
    torch.testing.assert_close(state["exp_avg_sq"], resize((12, 10), before["exp_avg_sq"]) / 16)
    assert float(state["step"]) == 30
    assert larger.learning_rate == 0.01
    assert torch.equal(larger.canvas, resize((12, 10), optimizer.canvas))
    assert larger.num_steps == 0


def test_an_enlarged_adam_steps_as_the_smaller_one_would() -> None:
    small = adam(canvas_of())
    for _ in range(10):
        small.step(towards(canvas_of(seed=1)))
    large = small.enlarged(partial(resize, (12, 10)), 0.02)
    small.step(towards(canvas_of(seed=1)))
    large.step(towards(resize((12, 10), canvas_of(seed=1))))
    torch.testing.assert_close(large.canvas, resize((12, 10), small.canvas), rtol=1e-4, atol=1e-5)


def test_the_next_rung_starts_from_the_average() -> None:
    optimizer = adam(canvas_of(), averaging=0.9)
    for _ in range(5):
        optimizer.step(towards(canvas_of(seed=1)))
    larger = optimizer.enlarged(partial(resize, (12, 10)), 0.02)
    torch.testing.assert_close(larger.canvas, resize((12, 10), optimizer.result()))
    assert not torch.allclose(larger.canvas, resize((12, 10), optimizer.canvas))


def test_an_overshooting_resize_leaves_a_valid_state() -> None:
    optimizer = adam(canvas_of())
    optimizer.step(towards(canvas_of(seed=1)))
    larger = optimizer.enlarged(lambda image: resize((12, 10), image) - 0.5, 0.02)
    state = larger.moments
    assert float(state["exp_avg_sq"].min()) >= 0
    assert float(larger.canvas.min()) >= 0


def test_an_adam_that_never_stepped_can_be_enlarged() -> None:
    larger = adam(canvas_of(), averaging=0.9).enlarged(partial(resize, (12, 10)), 0.02)
    larger.step(towards(canvas_of(12, 10, seed=1)))
    assert larger.num_steps == 1


def test_lbfgs_needs_few_steps() -> None:
    target = canvas_of(seed=1)
    # An ill-conditioned bowl: steepest descent would crawl along its long axis.
    scales = torch.logspace(0, 2, target.numel()).view_as(target)

    def evaluate(canvas: Tensor) -> tuple[Tensor, Tensor]:
        difference = canvas - target
        return (scales * difference.square()).sum() / 2, scales * difference

    optimizer = LBFGS(canvas_of(), learning_rate=1.0, history_size=20)
    start = float(evaluate(optimizer.canvas)[0])
    for _ in range(60):
        optimizer.step(evaluate)
    assert float(evaluate(optimizer.canvas)[0]) < 1e-4 * start


def out_of_bounds(canvas: Tensor) -> tuple[Tensor, Tensor]:
    """A bowl, tilted, whose lowest point lies outside of [0, 1] for half of the pixels."""
    target = 3 * canvas_of(seed=1) - 1
    scales = torch.logspace(0, 2, target.numel()).view_as(target)
    difference = canvas - target
    mixed = scales * difference + 5 * difference.mean()
    return (difference * mixed).sum() / 2, mixed


@pytest.mark.parametrize("blind", [False, True])
def test_the_pairs_of_lbfgs_know_the_clamp(blind: bool) -> None:
    optimizer = LBFGS(canvas_of(), learning_rate=1.0, history_size=20, blind=blind)
    before, pairs = [], []
    for _ in range(6):
        before.append(optimizer.canvas.clone())
        optimizer.step(out_of_bounds)
        steps = optimizer.state()["history"].get("old_stps") or []
        pairs.append(steps[-1] if steps else None)
    moved = [(after - first).flatten() for first, after in itertools.pairwise(before)]
    # The pair made in step k is that of the move from k - 1 to k.
    agree = [
        torch.allclose(pair, move, atol=1e-6)
        for pair, move in zip(pairs[1:], moved, strict=True)
        if pair is not None
    ]
    assert len(agree) == 5
    assert all(agree) is not blind


def test_lbfgs_is_faster_where_it_knows_the_clamp() -> None:
    losses = []
    for blind in (False, True):
        optimizer = LBFGS(canvas_of(), learning_rate=1.0, history_size=20, blind=blind)
        for _ in range(25):
            optimizer.step(out_of_bounds)
        losses.append(float(out_of_bounds(optimizer.canvas)[0]))
    assert losses[0] < losses[1]


def test_lbfgs_evaluates_once_a_step() -> None:
    calls = []
    evaluate = towards(canvas_of(seed=1))
    optimizer = LBFGS(canvas_of(), learning_rate=1.0, history_size=5)
    for _ in range(4):
        optimizer.step(lambda canvas: (calls.append(1), evaluate(canvas))[1])  # type: ignore[func-returns-value]
    assert len(calls) == 4


def test_the_history_of_lbfgs_shrinks_as_the_canvas_grows() -> None:
    optimizer = LBFGS(canvas_of(), learning_rate=1.0, history_size=20)
    sizes = []
    for side in (8, 12, 16, 20):
        optimizer = optimizer.enlarged(partial(resize, (side, side)), 0.5)
        sizes.append(optimizer.history_size)
    assert sizes == [10, 5, 3, 3]
    assert optimizer.canvas.shape == (1, 3, 20, 20)


BREAKDOWNS = {
    "loss nan": (math.nan, 0.0, "the loss is nan"),
    "loss inf": (math.inf, 0.0, "the loss is inf"),
    "gradient nan": (1.0, math.nan, "the gradient is not finite"),
    "gradient inf": (1.0, math.inf, "the gradient is not finite"),
}


@pytest.mark.parametrize("breakdown", BREAKDOWNS)
@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
def test_a_breakdown_leaves_the_canvas_untouched(kind: str, breakdown: str) -> None:
    loss, slope, message = BREAKDOWNS[breakdown]
    optimizer: CanvasOptimizer = optimizer_of(CONFIGS[kind], canvas_of(), 0.1)
    optimizer.step(towards(canvas_of(seed=1)))
    before, result = optimizer.canvas.clone(), optimizer.result()
    gradient = torch.zeros_like(before)
    gradient[0, 1, 2, 3] = slope
    with pytest.raises(NonFiniteError, match=message):
        optimizer.step(lambda _: (torch.tensor(loss), gradient))
    assert torch.equal(optimizer.canvas, before)
    assert torch.equal(optimizer.result(), result)
