"""Where a run stands: written, read back, damaged; and runs that go on from it, bit by bit."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from safetensors import safe_open
from torch import Tensor

from hires.config.presets import PRESETS
from hires.config.run import Config
from hires.engine.objective import Objective
from hires.engine.progress import Progress
from hires.engine.snapshot import Snapshot, SnapshotError, mapped, read_snapshot, write_snapshot
from hires.engine.stylize import iter_stylize, stylize
from hires.errors import SaveError
from hires.features.checkpoints import write_checkpoint
from hires.optim.create import optimizer_of, restored
from hires.optim.lbfgs_wolfe import WolfeLBFGS
from hires.utils.signals import held_back

CONTENT = random_image(60, 80, seed=1).float()
STYLE = random_image(72, 64, seed=2).float()

STATE: dict[str, Any] = {
    "kind": "adam",
    "canvas": random_image(7, 5).float(),
    "average": None,
    "nested": [torch.tensor(3.5), {"half": torch.ones(3).bfloat16(), "empty": torch.ones(0)}, 4],
    "rate": 0.1 + 0.2,
}
SNAPSHOT = Snapshot(
    rung=1,
    iteration=17,
    seconds=3.25,
    loss=1 / 3,
    terms={"style": 1e-300, "content": 0.1},
    tiles=(96, 2),
    measured=(64, 96),
    state=STATE,
)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        alike = first.dtype == second.dtype and first.shape == second.shape
        return alike and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return all(same(*pair) for pair in zip(first, second, strict=True))
    return bool(first == second)


def test_a_snapshot_survives_its_file(tmp_path: Path) -> None:
    write_snapshot(SNAPSHOT, tmp_path / "a.safetensors", owner="me")
    found = read_snapshot(tmp_path / "a.safetensors", owner="me")
    assert same(found.state, STATE)
    assert replace(found, state={}) == replace(SNAPSHOT, state={})
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_file_is_safetensors(tmp_path: Path) -> None:
    write_snapshot(SNAPSHOT, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert torch.equal(file.get_tensor("0"), STATE["canvas"])
        assert json.loads(file.metadata()["snapshot"])["iteration"] == 17


def test_a_copy_is_left_alone() -> None:
    state = {"canvas": torch.zeros(3), "pairs": [torch.zeros(2)]}
    copy = replace(SNAPSHOT, state=state).copy()
    mapped(state, lambda tensor: tensor.add_(1))
    state["pairs"].append(torch.zeros(1))  # type: ignore[attr-defined]
    assert same(copy.state, {"canvas": torch.zeros(3), "pairs": [torch.zeros(2)]})
    assert copy.num_bytes == 5 * 4


def test_every_damage_is_noticed(tmp_path: Path) -> None:
    path, damaged = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_snapshot(SNAPSHOT, path)
    whole = path.read_bytes()
    for place in [*range(0, len(whole), 61), *range(len(whole) - 40, len(whole))]:
        content = bytearray(whole)
        content[place] ^= 1
        damaged.write_bytes(content)
        with pytest.raises(SnapshotError):
            read_snapshot(damaged)
    for length in (0, 4, 100, len(whole) - 1):
        damaged.write_bytes(whole[:length])
        with pytest.raises(SnapshotError, match=r"b\.safetensors: "):
            read_snapshot(damaged)


def test_another_run_and_a_missing_file(tmp_path: Path) -> None:
    write_snapshot(SNAPSHOT, tmp_path / "a.safetensors", owner="me")
    with pytest.raises(SnapshotError, match="belongs to another run"):
        read_snapshot(tmp_path / "a.safetensors", owner="you")
    with pytest.raises(SnapshotError, match=r"nowhere: No such file"):
        read_snapshot(tmp_path / "nowhere")


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    write_snapshot(SNAPSHOT, path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SaveError, match="No space left"):
        write_snapshot(replace(SNAPSHOT, iteration=18), path)
    assert read_snapshot(path).iteration == 17
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def towards(target: Tensor, canvas: Tensor) -> tuple[Tensor, Tensor]:
    difference = canvas - target
    # A bent valley, so that L-BFGS has curvature to learn.
    bend = 1 + 3 * target.square()
    return (bend * difference.square()).mean(), 2 * bend * difference / difference.numel()


def steep(target: Tensor, canvas: Tensor) -> tuple[Tensor, Tensor]:
    """A valley with terraces: a line search needs several trials on it."""
    difference = canvas - target
    loss = (difference.square() + 0.02 * (1 - torch.cos(25 * difference))).sum()
    return loss, 2 * difference + 0.5 * torch.sin(25 * difference)


@pytest.mark.parametrize(
    "config",
    [Config(average=0.0), Config(average=0.9), Config(optimizer="lbfgs", history=4)],
    ids=["adam", "averaged adam", "lbfgs"],
)
@pytest.mark.parametrize("num_before", [0, 1, 7])
def test_an_optimizer_survives_its_state(config: Config, num_before: int, tmp_path: Path) -> None:
    target = random_image(9, 6, seed=5).float()
    first = optimizer_of(config, random_image(9, 6).float(), 0.3)
    for _ in range(num_before):
        first.step(lambda canvas: towards(target, canvas))
    path = tmp_path / "a.safetensors"
    write_snapshot(replace(SNAPSHOT, state=first.state()), path)
    second = restored(read_snapshot(path).state)
    assert second.num_steps == num_before
    for _ in range(6):
        first.step(lambda canvas: towards(target, canvas))
        second.step(lambda canvas: towards(target, canvas))
        assert torch.equal(first.canvas, second.canvas)
        assert torch.equal(first.result(), second.result())
    larger = [
        optimizer.enlarged(lambda part: part.repeat(1, 1, 2, 2), 0.2)
        for optimizer in (first, second)
    ]
    assert same(larger[0].state(), larger[1].state())


PRESET_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "tutorial": {"history": 3},
    "d2l": {},
    "d2l, averaged": {"average": 0.9, "optimizer_state": "carry"},
    "keras": {"restart": 5, "history": 2},
    "unbounded lbfgs": {"optimizer": "lbfgs", "clamp": "result", "learning_rate": 3.0},
    "keras, one round": {"restart": None},
}


@pytest.mark.parametrize("name", PRESET_OPTIMIZERS)
@pytest.mark.parametrize("num_before", [*range(12)])
def test_an_optimizer_of_a_preset_survives_its_state(
    name: str, num_before: int, tmp_path: Path
) -> None:
    preset, target = name.split(",")[0], random_image(9, 6, seed=5).float()
    preset = "hires" if preset not in PRESETS else preset
    settings = Config(preset=preset, **PRESET_OPTIMIZERS[name])  # type: ignore[arg-type]
    first = optimizer_of(settings, random_image(9, 6).float(), settings.learning_rate_for(100))
    for _ in range(num_before):
        first.step(lambda canvas: steep(target, canvas))
    path = tmp_path / "a.safetensors"
    write_snapshot(replace(SNAPSHOT, state=first.state()), path)
    seconds = restored(read_snapshot(path).state), restored(mapped(first.state(), Tensor.clone))
    assert [second.num_steps for second in seconds] == [num_before] * 2
    for _ in range(8):
        first.step(lambda canvas: steep(target, canvas))
        for second in seconds:
            second.step(lambda canvas: steep(target, canvas))
            assert torch.equal(first.canvas, second.canvas)
            assert torch.equal(first.result(), second.result())
    states = [
        optimizer.enlarged(lambda part: part.repeat(1, 1, 2, 2), 0.2).state()
        for optimizer in (first, *seconds)
    ]
    assert same(states[0], states[1])
    assert same(states[0], states[2])


def test_some_of_those_states_are_amid_a_line_search() -> None:
    target = random_image(9, 6, seed=5).float()
    optimizer = WolfeLBFGS(random_image(9, 6).float(), history_size=3)
    states = []
    for _ in range(11):
        optimizer.step(lambda canvas: steep(target, canvas))
        states.append(optimizer.state())
    assert any(state["pairs"] and state["num_trials"] for state in states)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("features") / "tiny.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    return str(path)


def config(features: str, **settings: Any) -> Config:
    defaults: dict[str, Any] = {
        "features": features,
        "sizes": (48, 64, 80),
        "iterations": (3, 1, 3),
        "precision": "fp32",
        "device": "cpu",
    }
    return Config(**{**defaults, **settings})


RUNS: dict[str, dict[str, Any]] = {
    "adam": {"init": "noise"},
    "adam without average, bf16": {"average": 0.0, "precision": "bf16"},
    "lbfgs": {"optimizer": "lbfgs"},
    "tiled": {"tile": 32, "memory": "3MiB"},
    "tiled lbfgs": {"tile": 32, "optimizer": "lbfgs", "init": "noise"},
    "tutorial": {"preset": "tutorial", "sizes": (48, 64), "iterations": (3, 4)},
    "d2l": {"preset": "d2l", "sizes": (48, 64), "iterations": (5, 4), "decay_every": (2, 1)},
    "keras": {"preset": "keras", "sizes": (48, 64), "iterations": (9, 5), "restart": 4},
    "neighbours": {"style_loss": ("wasserstein", "neighbours:0.5"), "iterations": (3, 1, 12)},
    "tiled neighbours, bf16": {
        "style_loss": "neighbours",
        "tile": 32,
        "precision": "bf16",
        "iterations": (12, 1, 3),
    },
    "neighbours, lbfgs": {"style_loss": "neighbours", "optimizer": "lbfgs"},
    "tiled wolfe": {"tile": 32, "optimizer": "lbfgs-wolfe", "init": "noise"},
}


def values(steps: Iterator[Progress]) -> list[tuple[int, int, float, dict[str, float]]]:
    return [(step.rung.index, step.iteration, step.loss, step.terms) for step in steps]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_bit_by_bit_from_everywhere(name: str, features: str, tmp_path: Path) -> None:
    settings = config(features, **RUNS[name])
    whole, picture = [], torch.zeros(0)
    for number, step in enumerate(iter_stylize(CONTENT, STYLE, settings)):
        whole += values(iter([step]))
        write_snapshot(step.snapshot(), tmp_path / f"{number}")
        picture = step.picture()
    for number in range(len(whole)):
        resume = read_snapshot(tmp_path / f"{number}")
        rest, last = [], None
        for last in iter_stylize(CONTENT, STYLE, settings, resume=resume):
            rest += values(iter([last]))
        assert rest == whole[number:]
        assert last is not None
        assert last.is_last
        assert last.fraction == 1
        assert torch.equal(last.picture(), picture)


def test_a_resumed_run_goes_on_counting_its_seconds(features: str) -> None:
    step = next(iter_stylize(CONTENT, STYLE, config(features)))
    resume = replace(step.snapshot().copy(), seconds=1000.0)
    first = next(iter_stylize(CONTENT, STYLE, config(features), resume=resume))
    assert 1000 < first.seconds < 1100


def test_tiles_made_smaller_on_the_way_are_remembered(
    features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(features, sizes=(240,), iterations=(4,))
    real, calls = Objective._measure, itertools.count()

    def short_of_memory(self: Objective, canvas: Tensor, verdicts: Any) -> Any:
        if next(calls) == 1:
            raise torch.OutOfMemoryError
        return real(self, canvas, verdicts)

    monkeypatch.setattr(Objective, "_measure", short_of_memory)
    steps = iter_stylize(CONTENT, STYLE, settings)
    snapshots = [step.snapshot().copy() for step in itertools.islice(steps, 3)]
    first, *later = [snapshot.tiles[0] for snapshot in snapshots]
    assert first == 272  # With the margin.
    assert 64 <= later[0] == later[1] < first
    wanted = next(steps).picture()
    *_, last = iter_stylize(CONTENT, STYLE, settings, resume=snapshots[1])
    assert torch.equal(last.picture(), wanted)


def test_a_snapshot_of_another_ladder_is_refused(features: str) -> None:
    snapshot = list(iter_stylize(CONTENT, STYLE, config(features)))[-1].snapshot()
    for sizes, steps in (((48, 64), (1,)), ((48, 64, 72), (9,)), ((48, 64, 80), (1,))):
        other = config(features, sizes=sizes, iterations=steps)
        with pytest.raises(SnapshotError, match="ladder"):
            next(iter_stylize(CONTENT, STYLE, other, resume=snapshot))


def test_a_thumbnail_is_small_and_never_larger(features: str) -> None:
    *_, last = iter_stylize(CONTENT, STYLE, config(features))
    assert last.thumbnail(40).shape == (1, 3, 30, 40)
    assert torch.equal(last.thumbnail(1600), last.picture())


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "lbfgs-wolfe"])
def test_an_interrupt_at_any_evaluation_leaves_a_state_to_go_on_from(
    optimizer: str, features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(features, optimizer=optimizer)
    wanted = stylize(CONTENT, STYLE, settings)
    real = Objective.__call__

    for number in range(1, 7):
        calls = itertools.count()

        def interrupted(
            self: Objective, canvas: Tensor, calls: Any = calls, at: int = number
        ) -> Any:
            # Before one evaluation (a Ctrl-C in the network), after the next.
            if next(calls) == at:
                raise KeyboardInterrupt
            return real(self, canvas)

        monkeypatch.setattr(Objective, "__call__", interrupted)
        last: Progress | None = None
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            for step in iter_stylize(CONTENT, STYLE, settings):
                last = step
        monkeypatch.setattr(Objective, "__call__", real)
        assert last is not None
        resume = last.snapshot().copy()
        *_, last = iter_stylize(CONTENT, STYLE, settings, resume=resume)
        assert torch.equal(last.picture(), wanted)


class TestInterrupts:
    def test_wait_until_the_end(self) -> None:
        reached = []
        with pytest.raises(KeyboardInterrupt), held_back():  # noqa: PT012
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("the end")
        assert reached == ["the end"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_pass_while_the_shield_is_lifted(self) -> None:
        reached = []
        with pytest.raises(KeyboardInterrupt), held_back() as shield:  # noqa: PT012
            with shield.lifted():
                os.kill(os.getpid(), signal.SIGINT)
                reached.append("too far")
            reached.append("too far")
        assert reached == []
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_that_waited_pass_when_it_is_lifted(self) -> None:
        with pytest.raises(KeyboardInterrupt), held_back() as shield:  # noqa: PT012
            os.kill(os.getpid(), signal.SIGINT)
            with shield.lifted():
                pytest.fail("not interrupted")

    def test_nothing_happens_without_a_signal(self) -> None:
        with held_back() as shield, shield.lifted():
            pass
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
