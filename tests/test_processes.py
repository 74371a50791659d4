"""One painting, several processes: exact, the same bytes twice, stopped together, gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from started import SAMPLES, TYPED, losses, together
from test_add_a_loss import Contrast

from hires.cli import main as cli
from hires.config.run import Config
from hires.engine.ladder import Rung
from hires.engine.shared import check_shared
from hires.errors import ConfigError
from hires.image.decode.read import load_image
from hires.losses.neighbours import Neighbours
from hires.processes.bands import Band, even_bands, overlap, seen_by
from hires.tiling.geometry import Span


@pytest.mark.parametrize("number", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_bands_equal_the_whole(number: int, tmp_path: Path) -> None:
    """Every term, odd sizes, bands of several heights, one shorter than what is seen beyond it."""
    ended = together(number, tmp_path, "check", str(tmp_path))
    assert [one.returncode for one in ended] == [0] * number, ended[0].stderr
    for rank in range(number):
        found = json.loads((tmp_path / f"found-{rank}.json").read_text())
        assert len(found["exactness"]) == 3 * 15
        for *scene, loss, gradient in found["exactness"]:
            assert (loss < 1e-12, gradient < 1e-12) == (True, True), (rank, scene, loss, gradient)
        rows, sums, planned_rows, planned_sums = found["sent"]
        # The middle one of three has two neighbours, which the plan tells of.
        assert rows == planned_rows if (number, rank) == (3, 1) else rows <= planned_rows
        assert sums == pytest.approx(planned_sums, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "short"), [(2, "none"), (2, "1"), (3, "none")])
def test_a_whole_run_in_float64_is_that_of_one(number: int, short: str, tmp_path: Path) -> None:
    """Every term, two rungs of odd sizes, bands that are shorter than what is seen beyond them."""
    ended = together(number, tmp_path, "paint", str(tmp_path), short)
    assert [one.returncode for one in ended] == [0] * number, ended[0].stderr
    for rank in range(number):
        found = json.loads((tmp_path / f"painted-{rank}.json").read_text())
        steps, loss, error, worst, sides = found
        # All of them take the smaller tiles that one of them needs in the fifth step.
        assert sides[3] > sides[4] if short == "1" else sides[3] == sides[4]
        assert (steps, loss < 1e-8, error < 1e-8, worst < 1e-7) == (6, True, True, True), found


@pytest.mark.slow
def test_a_run_of_two_is_that_of_one_and_the_same_when_gone_on_with(tmp_path: Path) -> None:
    typed = (*TYPED, "-o", "out.png")
    runs = {}
    for name, number, arguments in [
        ("one", 1, ("9", "0", "SIGTERM", *typed)),
        ("two", 2, ("9", "0", "SIGTERM", *typed)),
        # Stopped in the second rung, by a signal to the process that saves nothing.
        ("cut", 2, ("1", "5", "SIGTERM", *typed)),
    ]:
        runs[name] = tmp_path / name
        runs[name].mkdir()
        ended = together(number, runs[name], "hires", *arguments)
        assert ended[0].returncode == (130 if name == "cut" else 0), ended[0].stderr
        assert [one.stdout + one.stderr for one in ended[1:]] == [""] * (number - 1)
    assert "interrupted at rung 2/2 (128x96), step 1/2" in ended[0].stderr
    whole, shared = losses(runs["one"] / "out.run"), losses(runs["two"] / "out.run")
    assert shared == pytest.approx(whole, rel=1e-3)
    steps = (runs["two"] / "out.run" / "trace.jsonl").read_text(encoding="utf-8").splitlines()
    spent = [json.loads(step)["processes"] for step in steps]
    assert [len(each) for each in spent] == [2] * 5
    assert all(seconds > 0 and memory > 10**8 for each in spent for seconds, memory in each)
    assert spent[0][1][0] < spent[-1][1][0]
    other = tmp_path / "other"
    shutil.copytree(runs["cut"], other)
    assert (
        together(2, runs["cut"], "hires", "9", "0", "SIGTERM", "resume", "out.run")[0].returncode
        == 0
    )
    assert (runs["cut"] / "out.png").read_bytes() == (runs["two"] / "out.png").read_bytes()
    assert losses(runs["cut"] / "out.run") == shared
    refused, *_ = together(1, other, "hires", "9", "0", "SIGTERM", "resume", "out.run")
    assert refused.returncode == 2
    assert "processes 2, here none" in refused.stderr
    alone, *_ = together(1, other, "hires", "9", "0", "SIGTERM", "resume", "out.run", "--anyway")
    assert alone.returncode == 0, alone.stderr
    assert losses(other / "out.run") == pytest.approx(whole, rel=1e-3)
    difference = load_image(other / "out.png") - load_image(runs["two"] / "out.png")
    assert float(difference.abs().mean()) < 0.02


def test_what_several_processes_do_not_do_is_refused_in_one_line(tmp_path: Path) -> None:
    typed = (*TYPED, "-o", "out.png", "--optimizer", "lbfgs")
    first, second = together(2, tmp_path, "hires", "9", "0", "SIGTERM", *typed)
    assert (first.returncode, second.returncode) == (2, 2)
    (line,) = first.stderr.splitlines()
    assert "--optimizer lbfgs needs the whole canvas in one process" in line
    assert second.stderr == ""
    assert [*tmp_path.iterdir()] == []


def test_a_term_that_keeps_something_of_the_whole_canvas_is_named() -> None:
    class Remembering(Contrast):
        @property
        def state(self) -> dict[str, torch.Tensor]:
            return {"best": torch.zeros(3)}

    rung = Rung(index=0, size=(96, 96), num_iterations=1, learning_rate=0.1, style_sizes=())
    terms = [Contrast(), Neighbours(layers={"relu3_1": 1.0})]
    check_shared(Config(), terms, [rung], 3)
    with pytest.raises(
        ConfigError, match="'contrast' keeps a state of the whole canvas: start one"
    ):
        check_shared(Config(), [*terms, Remembering()], [rung], 3)


def test_bands_are_cut_at_whole_windows() -> None:
    assert even_bands(131, 3) == (Span(0, 32), Span(32, 80), Span(80, 131))
    with pytest.raises(ConfigError, match="40 rows has 2 bands of 16, and 3 processes"):
        even_bands(40, 3)


def test_a_band_counts_its_own_rows_of_every_layer() -> None:
    own = Span(80, 131)
    band = Band(own, seen_by(own, 131, 48))
    assert band.seen == Span(32, 131)
    assert [band.rows(stride) for stride in (1, 2, 16)] == [Span(48, 99), Span(24, 49), Span(3, 6)]
    assert overlap(own, Span(0, 80)) is None


def test_a_plan_tells_what_a_process_sends(capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [str(SAMPLES / "harbour.jpg"), str(SAMPLES / "impasto.jpg")]
    typed = ["plan", *pictures, "--device", "cpu", "--size", "1024", "--no-probe", "--json"]
    assert cli.main([*typed, "--processes", "3"]) == 0
    found = json.loads(capsys.readouterr().out)["processes"]
    # 768 rows of 1056 pixels, margins included: the middle band has two strips of 80 rows, of which
    # pixels go one way and gradients the other.
    assert (found["rows"], found["seen_rows"]) == (272, 432)
    assert found["row_bytes"] == 2 * 2 * 80 * 1056 * 12
    # Deeper layers need less of the strips: what is computed is as much as 42.4 rows of each.
    assert found["efficiency"] == pytest.approx(800 / (3 * (272 + 2 * 42.4)), rel=1e-3)
    cluster = ["--processes", "3", "--device-memory", "8GiB", "--link", "1GB/s"]
    assert cli.main([*typed, *cluster, "--flops", "1TFLOP/s"]) == 0
    told = json.loads(capsys.readouterr().out)["processes"]
    step = told["flops"] / 1e12 + 2e-3 + (told["row_bytes"] + told["sum_bytes"]) / 1e9
    assert told["seconds"] / step == pytest.approx(round(told["seconds"] / step))
    assert 1 < told["speedup"] < 3
    width, height = told["largest_size"]
    assert (width > 1024, width / height) == (True, pytest.approx(4 / 3, rel=1e-3))
    assert cli.main([*typed, "--link", "fast"]) == 2
    assert "'fast' is not a rate: write for example 400GB/s" in capsys.readouterr().err
    assert cli.main([*typed, "--processes", "0"]) == 2
    assert "--processes must be at least 1" in capsys.readouterr().err
