"""Painting jobs from Python: what the command does, without a word printed."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights

import hires
from hires.cli import main as cli
from hires.engine import ladder, planned
from hires.engine.run import Run
from hires.features.checkpoints import write_checkpoint
from hires.runs import planning
from hires.runs.record import RunDirectoryError, read_record

WORDS = (
    *("stylize", "content.png", "style.png", "--features", "tiny.safetensors"),
    *("--sizes", "48", "64", "--iterations", "3", "--precision", "fp32", "--quiet"),
)
CONFIG = hires.Config(
    features="tiny.safetensors", sizes=(48, 64), iterations=(3,), precision="fp32"
)
JOB = hires.Job(content="content.png", styles=("style.png",), output="out.png", config=CONFIG)


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hires.save_image(random_image(48, 64, seed=1), "content.png")
    hires.save_image(random_image(56, 48, seed=2), "style.png")
    write_checkpoint(Path("tiny.safetensors"), COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})


@pytest.fixture
def whole() -> bytes:
    """What the command paints."""
    assert cli.main([*WORDS, "-o", "whole.png", "--no-run-dir"]) == 0
    return Path("whole.png").read_bytes()


def quietly(job: hires.Job) -> hires.Painted:
    with warnings.catch_warnings(action="ignore"):
        return hires.paint(job)


def test_paints_the_bytes_of_the_command(whole: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    painted = quietly(JOB)
    assert (painted.path, painted.size) == (Path("out.png"), (48, 64))
    assert Path("out.png").read_bytes() == whole
    assert read_record(Path("out.run")).settings["config"]["sizes"] == [48, 64]
    assert capsys.readouterr() == ("", "")


def test_steps_as_they_come_and_the_file_after_them(whole: bytes) -> None:
    steps = [(step.rung.index, step.iteration) for step in hires.iter_paint(JOB)]
    assert steps == [(rung, number) for rung in (0, 1) for number in (1, 2, 3)]
    assert Path("out.png").read_bytes() == whole


@pytest.mark.parametrize("number", [1, 3, 4])
def test_the_same_job_goes_on_where_it_was_left(number: int, whole: bytes) -> None:
    steps = hires.iter_paint(JOB)
    for _ in range(number):
        next(steps)
    steps.close()
    assert not Path("out.png").exists()
    left = [(step.rung.index, step.iteration) for step in hires.iter_paint(JOB)]
    assert left[0] == ((number - 1) // 3, (number - 1) % 3 + 1)
    assert Path("out.png").read_bytes() == whole


def test_an_interrupt_leaves_the_picture_so_far(
    whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        cut_short(KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            quietly(JOB)
    assert hires.load_image("out.png").shape == (1, 3, 48, 64)
    assert Path("out.png").read_bytes() != whole
    quietly(JOB)
    assert Path("out.png").read_bytes() == whole


def cut_short(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs end with an error after four steps."""
    real = Run.__iter__

    def steps(run: Run) -> Iterator[hires.Progress]:
        yield from (step for step, _ in zip(real(run), range(4), strict=False))
        raise error

    monkeypatch.setattr(Run, "__iter__", steps)


def test_a_breakdown_leaves_the_last_good_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    good = torch.full((1, 3, 36, 48), 0.5)
    cut_short(hires.StylizeError("the loss is nan", good), monkeypatch)
    with pytest.raises(hires.StylizeError) as raised:
        quietly(JOB)
    assert raised.value.__notes__ == ["the last good picture is saved as out-partial.png"]
    assert hires.load_image("out-partial.png").shape == (1, 3, 36, 48)


def test_what_the_user_should_know_is_a_warning() -> None:
    with pytest.warns(UserWarning, match="`seed=7` does nothing"):
        hires.paint(replace(JOB, config=replace(CONFIG, seed=7)))
    step = next(hires.iter_paint(replace(JOB, save_every=99, output="other.png")))
    assert any("`save_every=99` saves nothing" in note for note in step.warnings)


def test_a_print_with_pictures_on_the_way() -> None:
    config = replace(CONFIG, sizes=(), rungs=1)
    paper = hires.Print(paper="A6", dpi=20)
    quietly(replace(JOB, config=config, print=paper, save_every=2, output="out.tif"))
    assert hires.picture_size("out.tif") == (83, 117)
    assert hires.picture_size("out-0002.tif") == (83, 117)
    assert "out.tif" in read_record(Path("out.run")).settings["output"]


def test_a_preview_and_its_close_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hires.engine.preview.PREVIEW_PIXELS", 96 * 72)
    job = replace(JOB, config=replace(CONFIG, sizes=(96, 256), iterations=(2,)), preview=True)
    steps = [(step.rung.index, step.fraction) for step in hires.iter_paint(job)]
    assert steps == [(0, 0.5), (0, 1), (1, 0.5), (1, 1)]
    assert hires.picture_size("out-preview.png") == (72, 96)
    assert Path("out-closeup.png").exists()
    assert not Path("out.png").exists()


def test_a_run_in_progress_is_refused() -> None:
    steps = hires.iter_paint(JOB)
    next(steps)
    with pytest.raises(RunDirectoryError, match="give another `run_dir`"):
        quietly(JOB)
    quietly(replace(JOB, run_dir="mine"))
    del steps


def test_everything_is_decided_once_and_files_are_hashed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Counter[str]()

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def function(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, function)

    counted(ladder, "plan")
    counted(planning, "fit")
    for name in ("open_setup", "check_ladder", "about_hidden"):
        counted(planned, name)
    counted(hashlib, "file_digest")
    quietly(JOB)
    names = ("plan", "fit", "open_setup", "check_ladder", "about_hidden")
    assert calls == {**dict.fromkeys(names, 1), "file_digest": 3}
    steps = hires.iter_paint(replace(JOB, output="half.png"))
    next(steps)
    steps.close()
    calls.clear()
    assert cli.main(["resume", "half.run", "--quiet"]) == 0
    assert calls["file_digest"] == 3
