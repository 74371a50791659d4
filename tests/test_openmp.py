"""Threads that wait for each other let other programs have the processor."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import COMPACT_SHAPE, random_image, random_weights

from hires.config.run import Config
from hires.engine import run as engine
from hires.engine.stylize import iter_stylize
from hires.features.checkpoints import write_checkpoint
from hires.utils import openmp
from hires.utils.openmp import SPIN_COUNT, Waiting, bound_waiting

ROOT = Path(__file__).parents[1]
CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
NEEDS_GNU = pytest.mark.skipif(sys.platform != "linux", reason="PyTorch has GNU's OpenMP on Linux")


@pytest.fixture
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has said how threads shall wait."""
    for name in CHOICES:
        monkeypatch.setenv(name, "")  # So that whatever is set below is taken back.
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "platform", "linux")


def spin_counts(*argv: str, request: str = "", **environment: str) -> list[str]:
    """The turns that OpenMP says it will make, in a program that loads it."""
    inherited = {name: value for name, value in os.environ.items() if name not in CHOICES}
    done = subprocess.run(
        [sys.executable, *argv],
        input=request,
        capture_output=True,
        text=True,
        check=False,
        env={**inherited, "PYTHONPATH": str(ROOT), "OMP_DISPLAY_ENV": "VERBOSE", **environment},
    )
    told = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT = " in line]
    assert told, done.stderr
    return [line.split("'")[1] for line in told]


@NEEDS_GNU
class TestPrograms:
    def test_the_command(self, tmp_path: Path) -> None:
        missing = str(tmp_path / "missing.png")
        found = spin_counts("-m", "hires", "stylize", missing, missing, "-o", "out.png")
        assert found == [str(SPIN_COUNT)]

    def test_a_worker_of_the_benchmark(self) -> None:
        found = spin_counts("-m", "hires.bench", request='{"case": {}}\n')
        assert found == [str(SPIN_COUNT)]

    def test_the_users_choice_is_kept(self, tmp_path: Path) -> None:
        missing = str(tmp_path / "missing.png")
        argv = ("-m", "hires", "stylize", missing, missing, "-o", "out.png")
        assert spin_counts(*argv, OMP_WAIT_POLICY="PASSIVE") == ["0"]

    def test_a_program_that_imports_the_library_is_left_alone(self) -> None:
        (found,) = spin_counts("-c", "import hires; hires.stylize")
        assert found != str(SPIN_COUNT)


@pytest.mark.usefixtures("no_choice")
class TestBoundWaiting:
    def test_sets_a_bound(self) -> None:
        bound_waiting()
        assert os.environ["GOMP_SPINCOUNT"] == str(SPIN_COUNT)

    @pytest.mark.parametrize("name", CHOICES)
    def test_not_over_a_choice(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, "2")
        bound_waiting()
        assert {one: os.environ.get(one) for one in CHOICES} == {
            one: "2" if one == name else None for one in CHOICES
        }


def teams() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "hires spare team"]


@pytest.mark.usefixtures("no_choice")
class TestWaiting:
    @pytest.fixture(autouse=True)
    def queue(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
        """Seconds in the queue, as told at each look; no team outlives a test."""
        told: list[float] = []
        monkeypatch.setattr(openmp, "_seconds_queued", lambda: told.pop(0))
        yield told
        for team in teams():
            team.join(10)
        assert not teams()

    def test_goes_with_the_crowd(self, queue: list[float]) -> None:
        waiting = Waiting(2, lambda: None)
        assert waiting.is_patient, "nobody knows before the first step"
        # In steps of next to no time, any time in the queue is a crowd.
        queue += [5.0, 5.0, 5.0, 9.0, 9.0, 13.0, 13.0, 13.0]
        for crowded in (False, True, True, False):
            with waiting:
                pass
            assert waiting.is_patient == crowded
        assert not queue

    def test_what_is_held_ends_with_it(self) -> None:
        gathered: list[str] = []
        waiting = Waiting(2, lambda: gathered.append(threading.current_thread().name))
        assert gathered == ["hires spare team"] == [team.name for team in teams()]
        del waiting

    @pytest.mark.parametrize("case", ["one thread", "own choice", "another system"])
    def test_nothing_is_done_where_it_does_not_help(
        self, case: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if case == "own choice":
            monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
        if case == "another system":
            monkeypatch.setattr(sys, "platform", "darwin")
        waiting = Waiting(1 if case == "one thread" else 2, lambda: pytest.fail("gathered"))
        with waiting:
            pass  # Looks at no clock either: the queue of this test is empty.
        assert not waiting.is_patient
        assert not teams()

    def test_an_error_of_the_step_gets_through(self, queue: list[float]) -> None:
        queue += [0.0, 0.0]
        with pytest.raises(KeyError), Waiting(2, lambda: None):
            raise KeyError


def test_every_step_of_a_run_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Watching(Waiting):
        def __enter__(self) -> None:
            seen.append("step")

    monkeypatch.setattr(engine, "Waiting", Watching)
    path = tmp_path / "tiny.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {"licence": "none"})
    config = Config(features=str(path), device="cpu", sizes=(48, 64), iterations=(2, 3))
    pictures = random_image(48, 64).float(), random_image(48, 48).float()
    assert sum(1 for _ in iter_stylize(*pictures, config)) == 5
    assert seen == ["step"] * 5


# Works by turns with a team and alone, and tells how long the other thread ran on meanwhile: as
# GNU's OpenMP has it by default, and with a spare team.
SPINNING = """
import time, torch
from hires.engine.run import _parallel_work
from hires.utils.openmp import Waiting

def taken():
    seconds = 0.0
    for _ in range(8):
        _parallel_work()
        before = time.process_time() - time.thread_time()
        until = time.perf_counter() + 0.04
        while time.perf_counter() < until:
            pass
        seconds += time.process_time() - time.thread_time() - before
    return seconds

_parallel_work()
print(taken())
waiting = Waiting(2, _parallel_work)
print(taken())
"""
NUM_PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


@NEEDS_GNU
@pytest.mark.skipif(NUM_PROCESSORS < 2, reason="a team takes two processors")
def test_a_spare_team_makes_openmp_patient() -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in CHOICES}
    environment = {**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(NUM_PROCESSORS)}
    argv = [sys.executable, "-c", SPINNING]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    default, patient = map(float, done.stdout.split())
    # Milliseconds of circles after each work, or none.
    assert patient < 0.2 * default
