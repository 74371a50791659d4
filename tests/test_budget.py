"""`memory=auto`: what it comes to on every device, and where a canvas then lies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from torch import Tensor

from hires.config.run import Config
from hires.engine import budget, ladder
from hires.engine.budget import Budget, budget_of, state_bytes
from hires.engine.run import Run
from hires.engine.setup import Setup, terms_of
from hires.features.network import Network
from hires.image.originals import Original
from hires.kernels.precision import Precision
from hires.tiling import pixels
from hires.tiling.pixels import CanvasGradient, fetched

MIB, GIB = 2**20, 2**30
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("free", "wanted"), [(None, 2 * GIB), (64 * GIB, 2 * GIB), (4 * GIB, 2 * GIB), (GIB, GIB // 2)]
)
def test_on_a_cpu_it_is_two_gib_or_half_of_less(
    monkeypatch: pytest.MonkeyPatch, free: int | None, wanted: int
) -> None:
    monkeypatch.setattr(budget, "available_bytes", lambda: free)
    assert budget_of(Config(), CPU) == Budget(Config(), wanted)
    assert budget_of(Config(), torch.device("mps")).fixed == 2 * GIB
    assert budget_of(Config(memory="3GiB"), CPU).fixed == 3 * GIB


def test_on_a_gpu_it_is_what_the_driver_and_our_own_cache_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10 * GIB, 12 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 * GIB)
    assert budget_of(Config(), CUDA) == Budget(Config(), None, 11 * GIB)
    assert budget_of(Config(memory="1GiB"), CUDA).card == 11 * GIB


def shares(card: float, num_pixels: float, memory: str = "auto") -> tuple[int, bool]:
    config = Config(memory=memory)
    there = Budget(config, config.memory_bytes, int(card * GIB))
    return there.at(int(num_pixels), 3, weights=10 * MIB, references=16.0)


def test_a_larger_canvas_leaves_feature_maps_less_until_it_leaves_the_card() -> None:
    found = [shares(8, million * 1e6) for million in (1, 10, 50, 80, 140)]
    assert [is_hosted for _, is_hosted in found] == [False, False, False, False, True]
    resident = [memory for memory, is_hosted in found if not is_hosted]
    assert resident == sorted(resident, reverse=True)
    state = state_bytes(Config(), 3)
    assert resident[0] - resident[1] == pytest.approx((state + 16) * 9e6, abs=2)
    # Without the canvas there is more again.
    assert found[-1][0] > resident[-1]
    assert all(memory < 8 * GIB for memory, _ in found)


def test_a_budget_that_was_given_stays_and_the_canvas_makes_room() -> None:
    assert shares(24, 140e6, "2GiB") == (2 * GIB, False)
    assert shares(8, 140e6, "2GiB") == (2 * GIB, True)


def test_without_a_card_a_canvas_stays_where_it_is() -> None:
    there = Budget(Config(), GIB).at(10**9, 0, weights=0, references=0.0)
    assert there == (GIB, False)


def opened(fixed: int, **options: Any) -> tuple[Config, Setup]:
    config = Config(size=200, sizes=(), min_size=100, iterations=(2,), device="cpu", **options)
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    config = replace(config, style_layers=("relu1_1", "relu2_1"), content_layers=("relu2_2",))
    setup = Setup(
        network=network.prepare(CPU, torch.float32, torch.channels_last),
        precision=Precision(torch.float32),
        terms=terms_of(config),
        memory=0,
        budget=Budget(config, fixed),
    )
    return config, setup


def run_of(config: Config, setup: Setup, resume: Any = None) -> Run:
    content, style = (Original(random_image(150, 200, seed=seed).float()) for seed in (1, 2))
    rungs = ladder.plan(config, content.size, [style.size])
    return Run(setup, config, rungs, content, [style], resume=resume)


def sides(run: Run) -> list[int]:
    """Largest sides of the tiles of every step that is left."""
    return [run._standing.now.plan.side for _ in run]


def test_a_run_goes_on_with_the_budget_that_it_began_with() -> None:
    whole = run_of(*opened(4 * MIB))
    wanted = sides(whole)
    begun, more = run_of(*opened(4 * MIB)), opened(64 * MIB)
    snapshot = next(step.snapshot().copy() for step in begun)
    assert snapshot.memory == (4 * MIB, None)
    resumed = run_of(*more, resume=snapshot)
    assert sides(resumed)[-2:] == wanted[-2:] != sides(run_of(*more))[-2:]
    assert torch.equal(resumed.optimizer.picture, whole.optimizer.picture)
    # One that does not know its budget takes that of the machine.
    assert run_of(*more, resume=replace(snapshot, memory=None)).setup.budget == more[1].budget


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_canvas_that_is_elsewhere_is_painted_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, optimizer: Any
) -> None:
    """The way of a canvas in the host's memory, with a CPU on both of its ends."""

    def painted() -> Tensor:
        run = run_of(*opened(4 * MIB, optimizer=optimizer))
        sides(run)
        return run.optimizer.picture.clone()

    wanted, ways = painted(), []

    class Event:
        def record(self) -> None:
            ways.append("left")

        def synchronize(self) -> None:
            ways.append("arrived")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(pixels, "_are_apart", lambda *_: True)
    assert torch.equal(painted(), wanted)
    assert ways.count("left") == ways.count("arrived") > 8
    # The next one has left before the first is waited for.
    assert ways[:3] == ["left", "left", "arrived"]


def test_parts_that_overlap_add_up_wherever_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "_are_apart", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "Event", Mock)
    canvas = random_image(8, 6).float()
    gradient = CanvasGradient(canvas)
    gradient.clear()
    rows, columns = (slice(0, 5), slice(3, 8)), slice(0, 6)
    for index in rows:
        gradient.add((index, columns), fetched(canvas, (index, columns), CPU), scale=2.0)
    wanted = 2 * canvas
    wanted[..., 3:5, :] *= 2
    assert torch.equal(gradient.settle(), wanted)
    gradient.add((rows[0], columns), canvas[..., :5, :])
    gradient.clear()  # A pass that broke off leaves nothing.
    assert not gradient.settle().any()
