"""Presets as they are typed: what starts from them, what overrides, what is listed and saved."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pikepdf
import pytest
from conftest import COMPACT_SHAPE, random_image, random_weights

from hires.cli import main as cli
from hires.cli.commands.presets import difference
from hires.cli.options import UsageError
from hires.cli.parsing import parse
from hires.config.job import PaintJob
from hires.config.presets import PRESETS
from hires.config.run import Config
from hires.config.settings import settings_of
from hires.errors import ConfigError
from hires.features.checkpoints import write_checkpoint
from hires.image.decode.read import read_picture
from hires.image.encode.save import save_image


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with two pictures and a tiny feature network that lacks layers."""
    save_image(random_image(48, 64, seed=1), tmp_path / "content.png")
    save_image(random_image(50, 40, seed=2), tmp_path / "style.png")
    weights = random_weights(COMPACT_SHAPE)
    write_checkpoint(tmp_path / "tiny.safetensors", COMPACT_SHAPE, weights, {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(*extra: str) -> list[str]:
    return ["stylize", "content.png", "style.png", "-o", "out.png", *extra]


def parsed(*extra: str) -> Config:
    return parse(PaintJob, typed(*extra)[1:], prog="hires stylize").config


@pytest.mark.parametrize("name", PRESETS)
def test_a_typed_preset_is_the_one_of_the_library(name: str) -> None:
    assert parsed("--preset", name) == Config(preset=name)  # type: ignore[arg-type]
    assert parsed(f"--preset={name}", "--content-weight", "0.025") == Config(
        preset=name,  # type: ignore[arg-type]
        content_weight=0.025,
    )


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_listed_of_a_preset_is_all_of_it(name: str) -> None:
    assert replace(parsed(*difference(name)), preset=name) == Config(preset=name)  # type: ignore[arg-type]


OVERRIDES: list[tuple[tuple[str, ...], Config]] = [
    (("--preset", "d2l", "--sizes", "64", "96"), Config(preset="d2l", sizes=(64, 96))),
    (("--size", "768", "--preset", "tutorial"), Config(preset="tutorial", size=768)),
    (("--preset", "d2l", "--optimizer", "lbfgs"), Config(preset="d2l", optimizer="lbfgs")),
    (("--preset", "keras", "--optimizer=adam"), Config(preset="keras", optimizer="adam")),
    (
        ("--preset", "keras", "--optimizer", "lbfgs-wolfe", "--history", "5"),
        Config(preset="keras", history=5),
    ),
    (("--preset", "d2l", "--decay-every", "50"), Config(preset="d2l", decay_every=(50,))),
    (("--preset", "tutorial", "--min-size", "64"), Config(preset="tutorial", min_size=64)),
    (
        (
            "--preset",
            "d2l",
            "--style-layers",
            "conv1_1:2",
            "conv3_1",
            "--content-layers",
            "conv2_2",
        ),
        Config(preset="d2l", style_layers=("conv1_1:2", "conv3_1"), content_layers=("conv2_2",)),
    ),
]


@pytest.mark.parametrize(("words", "wanted"), OVERRIDES, ids=[" ".join(c[0]) for c in OVERRIDES])
def test_what_is_typed_beside_a_preset_overrides(words: tuple[str, ...], wanted: Config) -> None:
    assert parsed(*words) == wanted


def test_one_line_leaves_nothing_behind_for_the_next() -> None:
    parsed("--preset", "keras")
    assert parsed() == Config()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--preset", "nope"),
            "--preset is 'nope': choose one of hires, calm, lively, tutorial, d2l, keras",
        ),
        (("--preset",), "--preset needs a value"),
        (("--preset", "d2l", "--optimizer", "sgd"), "--optimizer is 'sgd': choose one of adam"),
        (("--preset", "keras", "--learning-rate", "1"), "`learning_rate` applies to `optimizer="),
        (("--preset", "keras", "--optimizer", "adam", "--restart", "9"), "`restart` applies to"),
        (("--save-every", "0"), "`save_every` is 0"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises((ConfigError, UsageError), match=message):
        parsed(*words)


def test_help_shows_the_presets_own_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stylize", "--preset", "keras", "--help-all"]) == 0
    assert "lbfgs-wolfe)" in "".join(capsys.readouterr().out.split())


def test_listing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["presets"]) == 0
    told = capsys.readouterr().out
    assert all(f"{name}: " in told for name in PRESETS)
    assert "--tv-loss" in told
    assert "--seed" not in told  # It is the same in all of them.
    assert "hires: the default: a ladder of sizes, relative losses, Adam" in told
    assert "hires stylize --preset NAME starts from one" in told
    assert cli.main(["presets", "keras"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "SciPy" in told
    assert "Δ: canvas less target" in told
    assert "--restart" in told
    assert cli.main(["presets", "hires"]) == 0
    assert "wasserstein" in capsys.readouterr().out


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("name", ["", "keras"])
def test_lines_fit_the_terminal(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert cli.main(["presets", *name.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert not any(line.endswith("--beta2") for line in lines)  # An option stays with its value.


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["presets", "tutorial", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    job = PaintJob(content="a", styles=("b",), output="c", config=Config(preset="tutorial"))
    assert found["settings"] == settings_of(job)["config"]
    assert found["notes"]
    assert cli.main(["presets", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(PRESETS)


def test_an_unknown_preset_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["presets", "vgg"]) == 2
    assert capsys.readouterr().err == (
        "hires: preset 'vgg': choose one of hires, calm, lively, tutorial, d2l, keras, nnst,"
        " strotss\n"
    )


def test_a_preset_paints_and_tells_what_stands_in(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ("--features", "tiny.safetensors", "--device", "cpu")
    words = typed("--preset", "keras", "--size", "48", "--iterations", "40", *tiny)
    assert cli.main([*words, "--save-every", "20", "--quiet"]) == 0
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "preset keras and lack layers of it (relu5_1 in place of relu5_2): the" in told
    assert read_picture("out.png").pixels.shape == (1, 3, 48, 64)
    saved = sorted(path.name for path in work.glob("out*.png"))
    assert saved == ["out-0020.png", "out-0040.png", "out.png"]
    assert (work / "out-0040.png").read_bytes() == (work / "out.png").read_bytes()
    assert (work / "out-0020.png").read_bytes() != (work / "out.png").read_bytes()
    plan = ["plan", *words[1:3], *words[5:]]
    assert cli.main(plan) == 0
    assert "40 steps on cpu in fp32" in capsys.readouterr().out


def test_steps_are_counted_through_the_ladder(work: Path) -> None:
    tiny = ("--features", "tiny.safetensors", "--sizes", "48", "64", "--iterations", "3", "2")
    assert cli.main(typed(*tiny, "--save-every", "2", "--quiet")) == 0
    sizes = {path.name: tuple(read_picture(path).pixels.shape[2:]) for path in work.glob("out-*")}
    assert sizes == {"out-0002.png": (36, 48), "out-0004.png": (48, 64)}


def test_a_picture_on_the_way_never_replaces_an_input(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.link(work / "style.png", work / "out-0002.png")
    before = (work / "style.png").read_bytes()
    tiny = ("--features", "tiny.safetensors", "--sizes", "48", "--iterations", "3")
    assert cli.main(typed(*tiny, "--save-every", "1", "--quiet")) == 2
    assert "cannot save out-0002.png: it is the input style.png" in capsys.readouterr().err
    assert (work / "style.png").read_bytes() == before
    assert not (work / "out-0001.png").exists()


def test_pictures_on_the_way_are_delivered_as_the_painting_is(work: Path) -> None:
    words = ("--features", "tiny.safetensors", "--print", "A6", "--dpi", "24", "--no-run-dir")
    argv = [word.replace("out.png", "out.pdf") for word in typed(*words, "--quiet")]
    assert cli.main([*argv, "--iterations", "2", "--save-every", "1"]) == 0
    saved = sorted(path.name for path in work.glob("out*"))
    assert saved == ["out-0001.pdf", "out-0002.pdf", "out.pdf"]
    for name in saved:
        with pikepdf.open(work / name) as document:
            assert len(document.pages) == 1
