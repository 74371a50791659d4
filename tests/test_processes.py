"""One painting, several processes: exact, the same bytes twice, stopped together, gone on with."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
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

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "samples"
TYPED = (
    *("stylize", str(SAMPLES / "harbour.jpg"), str(SAMPLES / "impasto.jpg"), "--device", "cpu"),
    *("--sizes", "96", "128", "--iterations", "3", "2", "--precision", "fp32"),
    *("--style-loss", "wasserstein", "neighbours:0.3"),  # Which keeps what it has found.
)


def together(number: int, folder: Path, *arguments: str) -> list[subprocess.CompletedProcess[str]]:
    """Start so many processes of `process_cases` as torchrun does, and wait for all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, str(HERE / "process_cases.py"), *arguments],
            env={
                **os.environ,
                **{name: str(value) for name, value in told.items()},
                "RANK": str(rank),
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
            },
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]
    ended = [(process, *process.communicate(timeout=300)) for process in started]
    return [
        subprocess.CompletedProcess(process.args, process.returncode, out, err)
        for process, out, err in ended
    ]


def losses(run: Path) -> list[float]:
    """Of every step."""
    lines = (run / "trace.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.parametrize("number", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_bands_equal_the_whole(number: int, tmp_path: Path) -> None:
    """Every term, odd sizes, bands of several heights, one shorter than what is seen beyond it."""
    ended = together(number, tmp_path, "check", str(tmp_path))
    assert [one.returncode for one in ended] == [0] * number, ended[0].stderr
    for rank in range(number):
        scenes = json.loads((tmp_path / f"exactness-{rank}.json").read_text())
        assert len(scenes) == 3 * 15
        for *scene, loss, gradient in scenes:
            assert (loss < 1e-12, gradient < 1e-12) == (True, True), (rank, scene, loss, gradient)


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


def test_who_dies_is_named_and_the_run_goes_on(tmp_path: Path) -> None:
    typed = (*TYPED, "-o", "out.png", "--checkpoint-every", "0.001")
    first, second, third = together(3, tmp_path, "hires", "1", "4", "SIGKILL", *typed)
    assert second.returncode == -9
    assert [first.returncode, third.returncode] == [2, 2]
    (line,) = [line for line in first.stderr.splitlines() if line.startswith("hires:")]
    assert line.startswith("hires: process 1 (")
    assert line.endswith("of 3 died; hires resume out.run goes on from its last checkpoint")
    assert "hires:" not in third.stderr  # torch may say of the store that it is gone.
    assert [file.name for file in (tmp_path / "out.run").glob("checkpoint-*")] != []
    assert not (tmp_path / "out.png").exists()
    on = together(2, tmp_path, "hires", "9", "0", "SIGTERM", "resume", "out.run", "--anyway")
    assert on[0].returncode == 0, on[0].stderr
    assert "going on with its run after rung 1/2" in on[0].stderr
    assert len(losses(tmp_path / "out.run")) == 5


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
    assert found["efficiency"] == pytest.approx(800 / (3 * 432))
    assert cli.main([*typed, "--processes", "0"]) == 2
    assert "--processes must be at least 1" in capsys.readouterr().err
