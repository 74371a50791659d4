"""The command line: what it prints, saves and answers, above all when something is wrong."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights, refusal
from rich.console import Console

from hires.cli import display
from hires.cli import main as cli
from hires.cli.commands import plan as plan_command
from hires.config.run import Config
from hires.engine import estimate as forecast
from hires.engine import preview as closeup
from hires.engine import rates as probe
from hires.engine.ladder import Rung, plan
from hires.engine.preview import CloseUp
from hires.engine.progress import Progress
from hires.engine.run import Run
from hires.engine.setup import open_setup
from hires.errors import StylizeError
from hires.features.checkpoints import write_checkpoint
from hires.image.decode.attribution import read_authorship
from hires.image.decode.read import read_picture
from hires.image.encode.save import save_image
from hires.image.metadata.authorship import authorship
from hires.version import __version__

TINY = ("--size", "96", "--iterations", "2", "--precision", "fp32")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a content picture, two styles and a tiny feature network."""
    folder = tmp_path_factory.mktemp("studio")
    save_image(random_image(72, 96, seed=1), folder / "content.png")
    save_image(random_image(90, 80, seed=2), folder / "style.jpg")
    save_image(random_image(64, 64, seed=3), folder / "other.png")
    write_checkpoint(
        folder / "tiny.safetensors",
        COMPACT_SHAPE,
        random_weights(COMPACT_SHAPE),
        {"licence": "none"},
    )
    return folder


@pytest.fixture(autouse=True)
def work(studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the studio's files beside it under short names."""
    for file in studio.iterdir():
        os.link(file, tmp_path / file.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(*extra: str, command: str = "stylize") -> list[str]:
    words = [command, "content.png", "style.jpg", "--features", "tiny.safetensors", *TINY]
    return (
        [*words, "-o", "out.png", "--no-run-dir", *extra]
        if command == "stylize"
        else [*words, *extra]
    )


def made(folder: Path) -> set[str]:
    """What a run left in the folder."""
    given = {"content.png", "style.jpg", "other.png", "tiny.safetensors"}
    return {file.name for file in folder.iterdir()} - given


class TestStylize:
    def test_paints_and_says_where(self, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(typed()) == 0
        captured = capsys.readouterr()
        assert re.fullmatch(r"out\.png: 96x72, painted in [\d.]+ s\n", captured.out)
        assert "rung 1/1, 96x72: 2 steps" in captured.err
        assert read_picture("out.png").pixels.shape == (1, 3, 72, 96)
        assert made(work) == {"out.png"}

    def test_quiet_says_nothing(self, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = typed("--style-weights", "1", "2", "--quiet")
        assert cli.main([*words[:3], "other.png", *words[3:]]) == 0
        assert capsys.readouterr() == ("", "")
        assert made(work) == {"out.png"}

    def test_sixteen_bit_and_alpha_are_kept(self) -> None:
        alpha = torch.zeros(1, 1, 72, 96)
        alpha[..., :48] = 1
        save_image(random_image(72, 96), "clear.png", alpha=alpha)
        argv = ["stylize", "clear.png", *typed("--bit-depth", "16", "--quiet")[2:]]
        assert cli.main([word.replace("out.png", "out.tif") for word in argv]) == 0
        found = read_picture("out.tif")
        assert found.bit_depth == 16
        assert found.alpha is not None
        assert float(found.alpha[..., 4:44].min()) > 0.99
        assert float(found.alpha[..., 52:].max()) < 0.01

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--seed", "7"), "--seed 7 does nothing: nothing is random in this run"),
            (("--seed", "7", "--init", "blend:0.5"), ""),
            (("--seed", "7", "--deliver", "lab"), ""),
            (("--seed", "7", "--style-loss", "wasserstein", "sliced"), ""),
            (("--save-every", "3"), "--save-every 3 saves nothing: the run has 2 steps"),
            (("--optimizer-state", "fresh"), "--optimizer-state fresh does nothing where there"),
        ],
    )
    def test_options_that_do_nothing_are_told(
        self, options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        argv = [word.replace("out.png", "out.tif") for word in typed("--quiet", *options)]
        assert cli.main(argv) == 0
        assert capsys.readouterr().err.startswith(f"hires: warning: {words}" if words else "")

    def test_a_gravity_without_room_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        shape = ("--no-probe", "--print", "50x80mm", "--dpi", "20", "--gravity")
        words = ["plan", "content.png", "style.jpg", "--features", "tiny.safetensors", *shape]
        told = "--gravity east does nothing: there is no room that way"
        for gravity, is_told in (("east", True), ("north", False)):
            assert cli.main([*words, gravity]) == 0
            assert (told in capsys.readouterr().err) is is_told

    def test_warns_once_about_a_small_style(self, capsys: pytest.CaptureFixture[str]) -> None:
        save_image(random_image(40, 40), "stamp.png")
        argv = ["stylize", "content.png", "stamp.png", *typed("--quiet")[3:]]
        assert cli.main(argv) == 0
        captured = capsys.readouterr()
        assert captured.err.count("hires: warning: style 1 is 40x40") == 1
        assert captured.err.count("\n") == 1

    @pytest.mark.filterwarnings("default")
    def test_a_warning_of_the_library_is_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        alpha = torch.full((1, 1, 72, 96), 0.5)
        save_image(random_image(72, 96), "clear.png", alpha=alpha)
        argv = ["stylize", "clear.png", *typed("--quiet")[2:]]
        assert cli.main([word.replace("out.png", "out.jpg") for word in argv]) == 0
        assert capsys.readouterr().err == (
            "hires: warning: clear.png: 50% of it is transparent and does not count\n"
            "hires: warning: out.jpg: JPEG has no alpha; laid on white\n"
        )


BAD = {
    "unknown flag": (typed("--sise", "64"), "unknown argument '--sise': did you mean --size?"),
    "unknown choice": (
        typed("--pooling", "min"),
        "--pooling is 'min': choose one of max, average, l2",
    ),
    "unknown depth": (typed("--bit-depth", "12"), "--bit-depth is '12': choose one of 8, 16"),
    "no argument": (["stylize"], "missing CONTENT, -o PATH"),
    "no style": (["stylize", "content.png", "-o", "out.png"], "missing STYLE"),
    "no output": (["stylize", "content.png", "style.jpg"], "missing -o PATH"),
    "no value": (typed("-o"), "-o/--output needs a value"),
    "no command": ([], "missing command: choose one of stylize, texture, "),
    "unknown command": (
        ["paint"],
        "unknown argument 'paint': choose one of stylize, texture, ",
    ),
    "not a number": (
        typed("--size", "big"),
        "--size is 'big': give a whole number of pixels, content, or a share",
    ),
    "not numbers": (typed("--iterations", "9", "x"), "--iterations: 'x' is not a whole number"),
    "empty numbers": (typed("--iterations"), "--iterations: needs at least one number"),
    "negative weight": (typed("--content-weight", "-1"), "give a number of at least 0"),
    "NaN weight": (typed("--style-weight", "nan"), "--style-weight is nan: give a number"),
    "more steps than rungs": (
        typed("--iterations", "300", "200", "100"),
        "--iterations has 3 numbers for a ladder of 1 rung: give at most 1",
    ),
    "weights without styles": (
        typed("--style-weights", "1", "2"),
        "--style-weights has 2 numbers for 1 style picture",
    ),
    "unknown layer": (
        typed("--content-layers", "relu4_1:0.5", "relu9_1"),
        "unknown layer 'relu9_1' for features 'tiny.safetensors': choose from relu1_1",
    ),
    "bad layer weight": (typed("--content-layers", "relu4_1:x"), "write NAME or NAME:WEIGHT"),
    "unknown device": (typed("--device", "tpu"), "choose auto, cpu, cuda, cuda:N or mps"),
    "tiny memory": (typed("--memory", "1KiB"), "give at least"),
    "bad memory": (typed("--memory", "much"), "write for example 2GiB"),
    "unknown features": (typed("--features", "nope"), "choose compact, vgg19, vgg16"),
    "sizes that shrink": (
        ["stylize", "content.png", "style.jpg", "-o", "out.png", "--sizes", "64", "32"],
        "--sizes is 64 32: give sizes that grow",
    ),
    "sizes twice": (typed("--sizes", "64"), "--sizes names every size: leave --size out"),
    "missing content": (["stylize", "nope.png", *typed()[2:]], "cannot read nope.png"),
    "missing init": (typed("--init", "nope.png"), "cannot read nope.png"),
    "a folder": (["stylize", ".", *typed()[2:]], "it is a folder"),
    "output is input": (typed("-o", "content.png"), "it is the input content.png"),
    "output is a style": (typed("-o", "./style.jpg"), "it is the input style.jpg"),
    "output without folder": (typed("-o", "no/out.png"), "there is no folder"),
    "output of unknown kind": (typed("-o", "out.gif"), "use one of .jpg .jpeg .png"),
    "output without depth": (typed("--bit-depth", "16", "-o", "out.jpg"), "use one of .png"),
}


class TestBadInput:
    @pytest.mark.parametrize("name", BAD)
    def test_is_refused_in_one_line(
        self, name: str, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        argv, expected = BAD[name]
        before = Path("content.png").read_bytes()
        assert expected in refusal(argv, capsys)
        assert made(work) == set()
        assert Path("content.png").read_bytes() == before

    def test_damaged_pictures(self, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("empty.png").touch()
        Path("text.png").write_text("not a picture")
        Path("cut.png").write_bytes(Path("content.png").read_bytes()[:3000])
        for name in ("empty.png", "text.png", "cut.png"):
            assert f"cannot read {name}" in refusal(["stylize", name, *typed()[2:]], capsys)
        assert made(work) == {"empty.png", "text.png", "cut.png"}

    def test_a_banner(self, capsys: pytest.CaptureFixture[str]) -> None:
        save_image(random_image(8, 400), "banner.png")
        assert "crop it" in refusal(["stylize", "banner.png", *typed()[2:]], capsys)

    def test_an_error_that_only_a_bug_can_cause_is_not_hidden(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hires.runs.planning.read_picture", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cli.main(typed())


def cut_short(error: BaseException, monkeypatch: pytest.MonkeyPatch, num_steps: int = 3) -> None:
    """Let every run end with an error after some steps."""
    real = Run.__iter__

    def steps(run: Run) -> Iterator[Progress]:
        yield from itertools.islice(real(run), num_steps)
        raise error

    monkeypatch.setattr(Run, "__iter__", steps)


class TestBreakdown:
    def test_nan_saves_the_last_good_picture_beside(
        self, work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        message = "the loss is nan at rung 1 (96x72), iteration 2"
        cut_short(StylizeError(message, torch.full((1, 3, 36, 48), 0.5)), monkeypatch, 1)
        line = refusal(typed("--quiet"), capsys)
        assert f"{message}; the last good picture is saved as out-partial.png" in line
        assert made(work) == {"out-partial.png"}
        assert read_picture("out-partial.png").pixels.shape == (1, 3, 36, 48)

    def test_without_a_step_there_is_no_picture_to_save(
        self, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = [word for word in typed("--quiet") if word != "--no-run-dir"]
        line = refusal([*words, "--style-weight", "1e30"], capsys)
        assert line.endswith(
            "--style-weight 1e+30 is too much: only the weights' ratios count, give less\n"
        )
        assert made(work) == set()

    def test_the_partial_picture_never_replaces_an_input(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        os.link("content.png", "out-partial.png")
        before = Path("out-partial.png").read_bytes()
        cut_short(StylizeError("the loss is nan", torch.zeros(1, 3, 8, 8)), monkeypatch)
        argv = ["stylize", "out-partial.png", *typed("--quiet")[2:]]
        line = refusal(argv, capsys)
        assert "the loss is nan; nothing is saved" in line
        assert Path("out-partial.png").read_bytes() == before

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            ),
        ],
    )
    def test_out_of_memory(
        self,
        error: Exception,
        work: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        cut_short(error, monkeypatch, 0)
        line = refusal(typed("--quiet"), capsys)
        advice = "give a smaller --memory or a smaller --size (of a print: --dpi)"
        assert line == f"hires: out of memory: {advice}\n"
        assert made(work) == set()
        monkeypatch.undo()
        monkeypatch.chdir(work)
        cut_short(error, monkeypatch, 1)
        assert "the last good picture is saved as out-partial.png" in refusal(
            typed("--quiet"), capsys
        )
        assert made(work) == {"out-partial.png"}

    def test_full_disk_leaves_nothing_and_the_old_file(
        self, work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("out.png").write_bytes(b"old")

        def full(_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        assert "No space left on device" in refusal(typed("--quiet"), capsys)
        assert Path("out.png").read_bytes() == b"old"
        assert made(work) == {"out.png"}

    def test_ctrl_c_saves_the_picture_so_far(
        self, work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cut_short(KeyboardInterrupt(), monkeypatch, 1)
        assert cli.main(typed()) == 130
        captured = capsys.readouterr()
        assert "interrupted at rung 1/1 (96x72), step 1/2: saving out.png" in captured.err
        assert "out.png holds the picture so far, 96x72" in captured.err
        assert captured.out == ""
        assert made(work) == {"out.png"}

    def test_ctrl_c_before_the_first_step(
        self, work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cut_short(KeyboardInterrupt(), monkeypatch, 0)
        assert cli.main(typed()) == 130
        assert "nothing is saved" in capsys.readouterr().err
        assert made(work) == set()

    def test_second_ctrl_c_leaves_no_half_file(
        self, work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        assert cli.main(typed()) == 130
        assert "interrupted again: nothing is saved" in capsys.readouterr().err
        assert made(work) == set()


# One thread: runners are crowded. The path: tests run from a folder where hires may not be found.
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(cli.__file__).parents[2]),
}


def run_python(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )


class TestProcess:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_saves_and_answers_130(self, number: signal.Signals) -> None:
        argv = [sys.executable, "-m", "hires", *typed("--iterations", "100000")]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
            assert process.stderr is not None
            assert "100000 steps" in process.stderr.readline()
            process.send_signal(number)
            rest = process.stderr.read()
        assert process.returncode == 130
        assert "out.png holds the picture so far, 96x72" in rest
        assert "Traceback" not in rest
        assert read_picture("out.png").pixels.shape == (1, 3, 72, 96)

    def test_help_and_mistakes_do_not_load_torch(self) -> None:
        check = (
            "import sys; from hires.cli.main import main; code = main(sys.argv[1:]);"
            "assert 'torch' not in sys.modules, 'torch is loaded'; sys.exit(code)"
        )
        asked = ("--version", "--help", "--help-all", "--print-completion bash", "plan --help")
        for line, code in (("stylize a b", 2), *((line, 0) for line in asked)):
            done = run_python("-c", check, *line.split())
            assert done.returncode == code, done.stderr
        assert "usage: hires plan" in done.stdout

    def test_python_m_hires(self) -> None:
        started = time.perf_counter()
        done = run_python("-m", "hires", "--version")
        assert (done.returncode, done.stdout) == (0, f"hires {__version__}\n")
        assert time.perf_counter() - started < 5  # 0.1 s; with torch 2 s on a quiet machine


def test_every_setting_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stylize", "--help-all"]) == 0
    text = capsys.readouterr().out
    for field in fields(Config):
        assert f"--{field.name.replace('_', '-')} " in text


HEADINGS = ["rung", "size", "steps", "tiles", "tile", "size", "kept", "memory"]
LADDER = ("--size", "512", "--min-size", "128", "--tile", "128")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs for each measurement of the probe, and no more."""
    monkeypatch.setattr(probe, "_PATIENCE", 0.0)
    monkeypatch.setattr(probe, "_OPTIMIZER_SIDE", 64)


class TestPlan:
    argv = ("plan", "content.png", "style.jpg", "--features", "tiny.safetensors")

    def test_prints_the_ladder_and_stops(
        self, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main([*self.argv, *LADDER, "--no-probe"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == HEADINGS
        assert [line.split()[1] for line in lines[1:4]] == ["128x96", "256x192", "512x384"]
        assert lines[3].split()[3] == "20"
        assert re.fullmatch(r"\d+ steps on \w+ in \w+", lines[4])
        assert re.match(r"about [\d.]+ \w+ of memory at most", lines[5])
        assert made(work) == set()

    @pytest.mark.usefixtures("impatient")
    def test_tells_the_time_from_a_probe(
        self, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main([*self.argv, *LADDER, "-o", "out.tif"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == [*HEADINGS, "time"]
        assert re.search(r": about [\d.]+ (s|min)", lines[4])
        assert made(work) == set()

    @pytest.mark.usefixtures("impatient")
    def test_json_has_every_figure(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main([*self.argv, *LADDER, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [rung["width"] for rung in found["rungs"]] == [128, 256, 512]
        assert found["seconds"] == pytest.approx(sum(rung["seconds"] for rung in found["rungs"]))
        assert found["peak_bytes"] == max(rung["host_bytes"] for rung in found["rungs"])
        assert found["proposal"] is None

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("optimizer", ["lbfgs", "lbfgs-wolfe"])
    def test_probes_other_optimizers(
        self, optimizer: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main([*self.argv, *LADDER, "--json", "--optimizer", optimizer]) == 0
        assert json.loads(capsys.readouterr().out)["seconds"] > 0

    @pytest.mark.usefixtures("impatient")
    def test_a_long_wait_gets_a_smaller_proposal(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(plan_command, "_LONG", 1e-3)
        argv = [*self.argv, "--iterations", "1", "--print", "A4", "--dpi", "200", "--no-metadata"]
        assert cli.main(argv) == 0
        told = capsys.readouterr()
        assert re.search(r"a long wait: --dpi \d+ would take about", told.out)
        assert re.search(r"as if it were \d+ cm large", told.err)

    def test_refuses_what_stylize_refuses(self, capsys: pytest.CaptureFixture[str]) -> None:
        argv = typed(command="plan")
        assert "it is the input" in refusal([*argv, "-o", "content.png"], capsys)
        assert "give at least" in refusal([*argv, "--memory", "1KiB"], capsys)

    @pytest.mark.parametrize(
        ("fit", "told"),
        [
            ("crop", "the part of the content that lies on the paper is 51x72 and is painted at"),
            ("pad", "warning: the content is 96x72 and is painted at"),
        ],
    )
    def test_a_small_content_is_told_as_it_lies_on_the_paper(
        self, fit: str, told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        paper = ("--print", "A6", "--dpi", "60", "--portrait", "--fit", fit)
        assert cli.main([*self.argv, "--no-probe", *paper]) == 0
        assert told in capsys.readouterr().err

    def test_quiet_only_checks(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(typed("--quiet", command="plan")) == 0
        assert capsys.readouterr() == ("", "")


def test_forecast_counts_canvas_and_optimizer() -> None:
    def peak(**settings: Any) -> int:
        config = Config(
            features="tiny.safetensors", sizes=(640,), tile=64, margin=0, device="cpu", **settings
        )
        rungs = plan(config, (480, 640), [(64, 64)])
        found = forecast.forecast(config, open_setup(config), rungs, num_input_pixels=64 * 64)
        return found[0].peak_bytes

    num_pixels = 480 * 640
    assert peak() - peak(average=0.0) == 12 * num_pixels
    assert peak(optimizer="lbfgs") - peak() == 12 * (46 - 5) * num_pixels
    # A style that is enlarged is held at that size while it is measured.
    assert peak(style_scale=4.0) - peak() == 12 * (256 * 256 - 64 * 64)


class TestPreview:
    argv = ("--size", "256", "--min-size", "64", "--iterations", "2", "--preview")

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(closeup, "SHOWN", 128)
        monkeypatch.setattr(closeup, "PREVIEW_PIXELS", 128 * 96)

    def words(self, *extra: str) -> list[str]:
        given = ["content.png", "style.jpg", "--features", "tiny.safetensors"]
        return ["stylize", *given, "-o", "out.tif", *self.argv, *extra]

    def test_stops_early_shows_the_end_and_goes_on(
        self, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(self.words("--dpi", "200")) == 0
        assert made(work) == {"out-preview.png", "out-closeup.png", "out.run"}
        assert "hires resume out.run goes on" in capsys.readouterr().out
        assert read_picture("out-preview.png").pixels.shape == (1, 3, 111, 148)
        assert read_picture("out-closeup.png").pixels.shape == (1, 3, 128, 128)
        assert cli.main(["resume", "out.run"]) == 0
        assert read_picture("out.tif").pixels.shape == (1, 3, 192, 256)

    def test_time_left_is_that_until_it_stops(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pixels: list[int] = []
        fractions: list[float] = []

        class Watching(display.Display):
            def update(self, progress: Progress) -> None:
                pixels.append(progress.rung.num_pixels)
                fractions.append(progress.fraction)

        monkeypatch.setattr("hires.cli.commands.stylize.open_display", lambda **_: Watching())
        assert cli.main(self.words()) == 0
        # The last rung, 256x192, is not painted now.
        margin = 2 * Config().margin
        rungs = [(64, 85), (111, 148)]
        assert pixels[:4] == [(h + margin) * (w + margin) for h, w in rungs for _ in range(2)]
        work = [number + 2**16 for number in pixels[:4]]
        done = [sum(work[: i + 1]) / sum(work) for i in range(4)]
        # Then comes the close-up, whose share is its own.
        assert fractions == pytest.approx([*done, 0.5, 1])
        assert done[-1] == 1

    def test_both_pictures_tell_the_author(self) -> None:
        who = authorship(["Ann"], "© Ann")
        save_image(random_image(72, 96, seed=1), "signed.jpg", author=who)
        words = ["signed.jpg" if word == "content.png" else word for word in self.words()]
        assert cli.main(words) == 0
        made = (Path("out-preview.png"), Path("out-closeup.png"))
        assert [read_authorship(path) for path in made] == [who, who]
        assert cli.main([*words, "--no-metadata", "--no-run-dir"]) == 0
        assert not any(read_authorship(path) for path in made)

    def test_a_close_up_that_breaks_down_gets_one_line(
        self, work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise StylizeError("the loss is nan; try `precision=fp32`", torch.zeros(1, 3, 2, 2))

        monkeypatch.setattr(CloseUp, "__iter__", broken)
        assert cli.main([*self.words(), "--quiet"]) == 2
        assert capsys.readouterr().err.endswith(
            "hires: the loss is nan; try --precision fp32; out-preview.png is saved, the close-up"
            " is not; hires resume out.run goes on\n"
        )
        assert made(work) == {"out-preview.png", "out.run"}

    def test_a_previewed_run_ends_as_any_other(self) -> None:
        assert cli.main(self.words()) == 0
        assert cli.main([word for word in self.words() if word != "--preview"]) == 0
        stopped = Path("out.tif").read_bytes()
        words = [word for word in self.words("--no-run-dir") if word != "--preview"]
        assert cli.main(words) == 0
        assert Path("out.tif").read_bytes() == stopped

    def test_a_small_painting_needs_none(
        self, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["256" if word == "64" else word for word in self.words()]
        assert "leave --preview out" in refusal(words, capsys)
        assert made(work) == set()


def step(rungs: tuple[Rung, ...], rung: int, iteration: int) -> Any:
    """A step, as a display sees it."""
    counts = [one.num_iterations for one in rungs]
    ends = iteration == counts[rung]
    return SimpleNamespace(
        rung=rungs[rung],
        num_rungs=len(rungs),
        iteration=iteration,
        fraction=(sum(counts[:rung]) + iteration) / sum(counts),
        ends_rung=ends,
        is_last=ends and rung == len(rungs) - 1,
        terms={"style": 0.0123, "content": 0.456, "tv": 0.00789},
    )


def rungs_of(*steps: int) -> tuple[Rung, ...]:
    return tuple(Rung(i, (96 << i, 128 << i), steps[i], 0.1, ()) for i in range(len(steps)))


class TestDisplay:
    def test_plain_lines_come_at_the_ends_and_every_ten_seconds(self) -> None:
        now = itertools.count(0, 1)
        console = Console(file=io.StringIO(), width=60)
        rungs = rungs_of(40, 2)
        lines = display.Lines(console, clock=lambda: float(next(now)))
        lines.begin(rungs)
        for rung in (0, 1):
            for iteration in range(1, rungs[rung].num_iterations + 1):
                lines.update(step(rungs, rung, iteration))
        assert isinstance(console.file, io.StringIO)
        printed = console.file.getvalue().splitlines()
        assert printed[0] == "rung 1/2, 128x96: 40 steps"
        assert "% of all work" in printed[1]
        assert printed[-3].startswith("rung 1/2, 128x96: done in ")
        assert printed[-2] == "rung 2/2, 256x192: 2 steps"
        assert printed[-1].endswith("style 0.012, content 0.46, tv 0.0079")
        assert 5 < len(printed) < 20

    def test_live_display_fits_sixty_columns(self) -> None:
        console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
        rungs = rungs_of(3, 2)
        with display.open_display(quiet=False, console=console) as live:
            assert isinstance(live, display.Bar)
            live.begin(rungs)
            for rung in (0, 1):
                for iteration in range(1, rungs[rung].num_iterations + 1):
                    live.update(step(rungs, rung, iteration))
        assert isinstance(console.file, io.StringIO)
        printed = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", console.file.getvalue())
        assert "rung 1/2  128x96   0:0" in printed
        assert "rung 2/2  256x192  0:0" in printed
        assert max(map(len, re.split(r"[\r\n]", printed))) <= 60

    def test_time_left_counts_from_the_first_step(self) -> None:
        times = iter([0.0, 100.0, 110.0, 110.0, 112.0])
        watch = display.Times(clock=lambda: next(times))
        watch.note(0.0)  # 100 s of loading
        assert watch.left is None
        watch.note(0.25)  # a quarter in ten seconds
        assert watch.left == pytest.approx(30)
        assert watch.left == pytest.approx(28)

    def test_time_left_of_a_run_goes_by_the_usual_step(self) -> None:
        rungs, now = rungs_of(10, 10), [0.0]
        watch = display.Times(clock=lambda: now[0])

        def steps(rung: int, *seconds: float, first: int = 1) -> None:
            for iteration, taken in enumerate(seconds, start=first):
                now[0] += taken
                watch.note_step(step(rungs, rung, iteration))

        steps(0, 90.0)  # Loading, measuring and the first step.
        assert watch.left is None
        steps(0, 8.0, 2.0, 2.0, first=2)  # The machine was busy at the second step.
        assert watch.left == pytest.approx(16 * 2)
        now[0] += 1
        assert watch.left == pytest.approx(16 * 2 - 1)
        steps(0, *[2.0] * 6, first=5)
        steps(1, 50.0)  # Measuring again: what the rung below took holds.
        assert watch.left == pytest.approx(9 * 2)
        steps(1, 3.0, 3.0, 30.0, 3.0, first=2)  # A checkpoint after the fourth.
        assert watch.left == pytest.approx(5 * 3)

    def test_time_left_of_a_resumed_run_leaves_out_its_first_step(self) -> None:
        rungs, now = rungs_of(10), [5.0]
        watch = display.Times(clock=lambda: now[0])
        for iteration, taken in ((4, 1.0), (5, 60.0), (6, 2.0), (7, 2.0)):
            now[0] += taken
            watch.note_step(step(rungs, 0, iteration))
        assert watch.left == pytest.approx(3 * 2)

    def test_quick_steps_are_taken_together(self) -> None:
        rungs, now = rungs_of(100), [0.0]
        watch = display.Times(clock=lambda: now[0])
        for iteration in range(1, 41):  # A device that runs behind: every fourth step waits for it.
            now[0] += 0.397 if iteration % 4 == 0 else 0.001
            watch.note_step(step(rungs, 0, iteration))
        assert watch.left == pytest.approx(60 * 0.1, rel=0.25)

    def test_clock_time(self) -> None:
        assert [display.clock_time(s) for s in (7.4, 65, 3723)] == ["0:07", "1:05", "1:02:03"]


def test_doctor_json_is_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hires.engine import self_check as doctor

    monkeypatch.setattr(doctor, "examine", lambda: {"passed": True})
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"passed": True}
    monkeypatch.setattr(doctor, "examine", lambda: {"passed": False})
    assert cli.main(["doctor", "--json"]) == 1
    assert "not exact" in capsys.readouterr().err
