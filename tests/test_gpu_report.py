"""The report on a card: a rehearsal on the CPU, what fails on the way, and when the time is up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
from conftest import COMPACT_SHAPE, loaded, random_weights

from hires.bench import report as reports
from hires.bench import roofline, runs
from hires.bench.__main__ import build
from hires.bench.worker import HIRES, TOO_LONG, WorkerError
from hires.features.checkpoints import write_checkpoint

SCRIPTS = Path(__file__).parents[1] / "scripts"
GROUPS = {"checks", "tests", "roofline", "steps", "kernels", "tiles", "A0"}
REHEARSAL = ("--device", "cpu", "--small")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    with loaded(SCRIPTS / "gpu_report.py") as module:
        yield module


class Here:
    """A worker without a process of its own."""

    def __init__(
        self,
        case: Mapping[str, Any],
        command: Sequence[str] = HIRES,
        *,
        deadline: float | None = None,
    ) -> None:
        self.deadline = deadline
        if command != HIRES:
            raise WorkerError("error", "not here")
        self._exercise = build(dict(case))
        self.facts = self._exercise.facts

    def ask(self, method: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(json.dumps(getattr(self._exercise, method)()))
        return found

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def all_here(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "Worker", Here)
    monkeypatch.setattr(script, "Worker", Here)
    monkeypatch.setattr(script, "CHECKS", ("sums",))
    monkeypatch.setattr(script, "tests_of_gpus", lambda _: {"failed": 1, "passed": False})
    monkeypatch.setitem(roofline._SIDE, "cpu", 64)
    monkeypatch.setitem(roofline._COPY_BYTES, "cpu", 2**16)


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    path = tmp_path / "tiny.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    return ["--compact", str(path), "--vgg19", str(path)]


def read(folder: Path) -> dict[str, Any]:
    return reports.load(folder / "bench.json")


@pytest.mark.usefixtures("all_here")
def test_a_rehearsal_without_a_card(
    script: ModuleType, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "gpu"
    assert script.main([*REHEARSAL, *tiny, "-o", str(folder)]) == 1
    report = read(folder)
    assert {item["group"] for item in report["items"]} == GROUPS
    verdicts = {f"{item['group']} {item['name']}": item["status"] for item in report["items"]}
    others = {name: status for name, status in verdicts.items() if status != "ok"}
    assert others == {
        "tests pytest -m gpu": "FAILED",
        "steps stock-vgg19 96x96 fp32": "error",
        "steps tiny 96x96 auto 64GiB": "skipped",
    }
    assert all(result["profile"]["num_kernels"] > 0 for result in report["results"])
    assert all(result["rates"]["matrix_share"] > 0 for result in report["results"])
    stages = report["results"][0]["profile"]["stages"]
    assert (
        stages["judge"]["busy_seconds"] <= stages["judge"]["seconds"] < stages["total"]["seconds"]
    )
    (tiles,) = [item for item in report["items"] if item["name"].endswith("tiny.safetensors")][:1]
    assert tiles["found"]["num_tiles"][0] < tiles["found"]["num_tiles"][1]
    text = (folder / "bench.md").read_text()
    titles = ("Items", "Where a step goes", "Memory against the forecast", "Pieces", "A tile")
    assert all(f"## {title}" in text for title in titles)
    assert "| masks, 8 channels at 64 px | eager, pack |" in text
    assert "steps, tiny 96x96 auto: ok" in capsys.readouterr().out
    (folder / "bench.md").unlink()
    assert script.main(["--redraw", "-o", str(folder)]) == 0
    assert (folder / "bench.md").read_text() == text


def test_when_the_time_is_up_nothing_more_is_measured(script: ModuleType, tmp_path: Path) -> None:
    assert script.main([*REHEARSAL, "--minutes", "0", "-o", str(tmp_path)]) == 0
    items = read(tmp_path)["items"]
    assert {item["group"] for item in items} == GROUPS
    assert {item["status"] for item in items} == {script.OUT_OF_TIME}


@pytest.fixture
def session(script: ModuleType, tmp_path: Path) -> Iterator[Any]:
    path, deadline = tmp_path / "bench.json", time.monotonic() + 60
    opened = script.Session("cpu", True, ("compact",), path, deadline)
    yield opened
    opened.close()


def test_what_fails_is_told_in_a_line_and_saved_and_the_rest_goes_on(
    script: ModuleType, session: Any, tmp_path: Path
) -> None:
    def failing(_: float) -> dict[str, Any]:
        raise RuntimeError("CUDA error: an illegal memory access\nand much more")

    session.run(script.Item("kernels", "bad", failing))
    (item,) = read(tmp_path)["items"]
    assert (item["status"], item["message"]) == (
        "error",
        "RuntimeError: CUDA error: an illegal memory access",
    )
    session.run(script.Item("kernels", "good", lambda _: {"found": 1}))
    assert [item["status"] for item in read(tmp_path)["items"]] == ["error", "ok"]


def test_a_child_that_hangs_is_ended(script: ModuleType, session: Any) -> None:
    def hanging(_: float) -> Any:
        return session.ask("kernels", "roots", time.monotonic() + 0.01)

    session.run(script.Item("kernels", "roots", hanging))
    assert session.report["items"][0]["status"] == TOO_LONG
    assert not session._workers


def test_a_child_in_which_something_failed_is_not_asked_again(
    script: ModuleType, session: Any
) -> None:
    for name in ("roots", "convolutions"):  # A CPU has no cuDNN.
        session.run(
            script.Item("kernels", name, lambda end, name=name: session.ask("kernels", name, end))
        )
        assert bool(session._workers) == (name == "roots")
    assert [item["status"] for item in session.report["items"]] == ["ok", "ok"]
    rows = session.report["items"][1]["found"]["rows"]
    assert "cudnn_convolution_relu" in next(row["error"] for row in rows if "error" in row)


@pytest.mark.slow
def test_a_rehearsal_with_everything(script: ModuleType, tmp_path: Path) -> None:
    script.main([*REHEARSAL, "--minutes", "60", "-o", str(tmp_path)])
    statuses = {item["status"] for item in read(tmp_path)["items"]}
    assert statuses <= {"ok", "skipped"}
