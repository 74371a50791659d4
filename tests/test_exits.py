"""How programs end: where nobody reads what they print, and where it cannot be written."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COMPACT_SHAPE, random_image, random_weights
from rich.console import Console
from test_cli import ENVIRONMENT

from hires.cli import exits
from hires.cli import main as cli
from hires.cli.display import Bar, Lines
from hires.config.run import Config
from hires.engine.ladder import plan
from hires.errors import ConfigError
from hires.features.checkpoints import write_checkpoint
from hires.image.decode.read import read_picture
from hires.image.encode.save import save_image

PAINTING = (
    *("content.png", "style.png", "--features", "tiny.safetensors", "--size", "96"),
    *("--iterations", "2", "--precision", "fp32"),
)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures and a tiny feature network, to work in."""
    save_image(random_image(144, 192, seed=1), tmp_path / "content.png")
    save_image(random_image(90, 80, seed=2), tmp_path / "style.png")
    weights = random_weights(COMPACT_SHAPE)
    write_checkpoint(tmp_path / "tiny.safetensors", COMPACT_SHAPE, weights, {"licence": "none"})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unread(*argv: str, stderr_too: bool = False) -> tuple[int, str]:
    """Exit code and stderr of a program whose stdout (or both) has no reader."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, *argv],
            stdout=subprocess.DEVNULL if stderr_too else writer,
            stderr=writer if stderr_too else subprocess.PIPE,
            text=True,
            check=False,
            env=ENVIRONMENT,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize(
    "typed",
    [
        "--help",
        "--version",
        "stylize --help",
        "papers",
        "papers --json",
        "presets",
        "presets d2l",
        "inspect content.png",
        "export impasto model.onnx",
    ],
)
def test_output_without_a_reader_ends_without_a_word(typed: str) -> None:
    if typed.startswith("export"):
        pytest.importorskip("onnx")
    assert unread("-m", "hires", *typed.split()) == (141, "")


@pytest.mark.parametrize("typed", ["plan --no-probe", "plan --json --no-probe"])
def test_a_plan_without_a_reader_ends_without_a_word(typed: str) -> None:
    assert unread("-m", "hires", *typed.split(), *PAINTING) == (141, "")


def test_a_painting_whose_last_line_nobody_reads_is_saved() -> None:
    code, told = unread("-m", "hires", "stylize", *PAINTING, "-o", "out.png")
    assert code == 141
    assert "rung 1/1" in told
    assert "rror" not in told
    assert read_picture("out.png").pixels.shape == (1, 3, 72, 96)


@pytest.mark.parametrize(
    "typed",
    [("stylize", *PAINTING, "-o", "out.png"), ("apply", "impasto", "content.png", "-o", "out.png")],
    ids=lambda typed: typed[0],
)
def test_work_whose_progress_nobody_reads_goes_on(typed: tuple[str, ...]) -> None:
    assert unread("-m", "hires", *typed, stderr_too=True) == (0, "")
    assert read_picture("out.png").pixels.shape[1] == 3


@pytest.mark.slow
def test_a_doctor_without_a_reader_ends_without_a_word() -> None:
    assert unread("-m", "hires", "doctor") == (141, "")


def test_another_broken_pipe_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def act() -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe", "worker")

    assert exits.guarded("prog", act) == 2
    assert capsys.readouterr().err == "prog: worker: Broken pipe\n"


def test_a_full_disk_behind_stdout_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hires", "papers"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=ENVIRONMENT,
        )
    assert (done.returncode, done.stderr) == (2, "hires: [Errno 28] No space left on device\n")


@pytest.mark.parametrize(
    ("message", "typed"),
    [
        ("`size` is 8", "--size is 8"),
        (
            "give `style_scale=0.5` or a smaller `min_size`",
            "give --style-scale 0.5 or a smaller --min-size",
        ),
        ("`paper=A2` and `memory=1 B`", "--print A2 and --memory 1 B"),
        ("`black_point_compensation=False` is", "--no-black-point-compensation is"),
        ("a file `Of Mine.jpg`", "a file `Of Mine.jpg`"),
    ],
)
def test_fields_are_told_as_flags(
    message: str, typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exits.tell("prog", message)
    assert capsys.readouterr().err == f"prog: {typed}\n"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("no\x1b[31mx.png", r"no\x1b[31mx.png"),
        ("\x9b2J\x07.png", r"\x9b2J\x07.png"),
        ("gpj.\u202epng", r"gpj.\u202epng"),
        ("häuser \U0001f3a8.png", "häuser \U0001f3a8.png"),
    ],
)
def test_a_name_commands_no_terminal(
    name: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["stylize", name, "style.png", "-o", "out.png"]) == 2
    assert f"cannot read {shown}: there is no such file" in capsys.readouterr().err
    for show in (Lines, Bar):
        drawn = io.StringIO()
        with show(Console(file=drawn, force_terminal=show is Bar, width=80)) as display:
            display.tell(0.5, name)
        assert name in drawn.getvalue() if name == shown else name not in drawn.getvalue()
        assert shown in drawn.getvalue()


def test_the_library_speaks_of_fields_and_the_command_of_flags(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConfigError) as error:
        plan(Config(size=64, min_size=64, iterations=(1, 2)), (64, 64), [])
    what = "has 2 numbers for a ladder of 1 rung: give at most 1, from small to large"
    assert str(error.value).startswith(f"`iterations` {what}")
    words = ("content.png", "style.png", "--features", "tiny.safetensors", "--size", "64")
    argv = ["plan", *words, "--min-size", "64", "--iterations", "1", "2", "--no-probe"]
    assert cli.main(argv) == 2
    assert capsys.readouterr().err.startswith(f"hires: --iterations {what}")
