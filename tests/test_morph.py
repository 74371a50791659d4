"""``hires morph``: a strip of paintings from one style to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights

import hires
from hires.cli import main as cli
from hires.config.morph import MorphJob
from hires.errors import ConfigError
from hires.features.checkpoints import write_checkpoint
from hires.runs.morph import Strip

OPTIONS = ["--features", "tiny.safetensors", "--size", "96", "--iterations", "6", "--rungs", "1"]
CONFIG: dict[str, Any] = {"features": "tiny.safetensors", "iterations": (6,), "rungs": 1}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(Path("tiny.safetensors"), COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    for seed, name in enumerate(("content", "one", "two"), 1):
        hires.save_image(random_image(72, 96, seed).float() ** seed, f"{name}.png")
    return tmp_path


def run(*words: str) -> int:
    return cli.main(["morph", "one.png", "two.png", "-o", "strip.png", *OPTIONS, *words])


def painted(content: str | None, styles: list[str], **options: Any) -> torch.Tensor:
    config = hires.Config(**CONFIG, size=96, **options)
    *_, last = hires.iter_stylize(content, styles, config)
    return (last.picture() * 255).round() / 255


def parts(strip: torch.Tensor, count: int) -> list[torch.Tensor]:
    return list(torch.chunk(strip, count, 3))


@pytest.mark.parametrize("content", [None, "content.png"])
def test_pictures_go_from_one_style_to_the_other(content: str | None) -> None:
    extra = [] if content is None else ["--content", content, "--content-weight", "0.1"]
    options = {} if content is None else {"content_weight": 0.1}
    assert run("--steps", "3", "--quiet", *extra) == 0
    strip = hires.load_image("strip.png")
    assert strip.shape[2:] == ((96 if content is None else 72), 3 * 96)
    first, middle, last = parts(strip, 3)
    for found, styles, given in (
        (first, ["one.png"], {}),
        (middle, ["one.png", "two.png"], {"style_weights": (1, 1)}),
        (last, ["two.png"], {}),
    ):
        wanted = painted(content, styles, **options, **given)
        assert float((found - wanted).abs().max()) < 1.5 / 255
    assert float((first - last).abs().max()) > 10 / 255
    assert not list(Path().glob("strip-*"))
    assert not list(Path().glob("*.run"))


def test_frames_are_saved_and_can_be_painted_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--steps", "3", "--frames", "--content", "content.png") == 0
    told = capsys.readouterr()
    assert "strip.png: 288x72, 3 pictures, painted in" in told.out
    assert "step 1/3, styles 1.00 : 0.00" in told.err
    names = [f"strip-{number}.png" for number in (1, 2, 3)]
    frames = [hires.load_image(name) for name in names]
    assert torch.equal(torch.cat(frames, 3), hires.load_image("strip.png"))
    assert cli.main(["stylize", "--from", "strip-2.png", "-o", "again.png", "--quiet"]) == 0
    assert torch.equal(hires.load_image("again.png"), frames[1])


def test_the_strip_tells_how_it_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--steps", "2", "--quiet", "--seed", "4") == 0
    assert cli.main(["inspect", "strip.png"]) == 0
    told = capsys.readouterr().out
    assert "seed 4; 2 pictures, from style to style" in told
    assert "one.png (SHA-256" in told
    assert "--size 96" in told
    assert cli.main(["texture", "--from", "strip.png", "-o", "again.png"]) == 2
    assert "strip.png is a strip of paintings: repeat it with" in capsys.readouterr().err


def test_what_is_transparent_stays_so() -> None:
    alpha = torch.ones(1, 1, 72, 96)
    alpha[..., :40] = 0
    hires.save_image(random_image(72, 96, 1).float(), "clear.png", alpha=alpha)
    assert run("--steps", "2", "--content", "clear.png", "--quiet") == 0
    found = hires.read_picture("strip.png").alpha
    assert found is not None
    for part in parts(found, 2):
        assert not part[..., :36].any()
        assert bool((part[..., 44:] == 1).all())


@pytest.mark.parametrize("is_framed", [False, True])
def test_an_interrupted_strip_is_not_saved(
    is_framed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = Strip.__iter__

    def interrupted(strip: Strip) -> Any:
        for step in steps(strip):
            if step.number == 2:
                raise KeyboardInterrupt
            yield step

    monkeypatch.setattr(Strip, "__iter__", interrupted)
    assert run("--steps", "3", *(["--frames"] if is_framed else [])) == 130
    told = capsys.readouterr().err.splitlines()[-1]
    left = "strip-1.png is saved, the strip is not" if is_framed else "nothing is saved"
    assert told == f"hires: interrupted in step 2 of 3: {left}"
    found = sorted(path.name for path in Path().glob("strip*"))
    assert found == (["strip-1.png"] if is_framed else [])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["three.png"], "give two style pictures"),
        (["--steps", "1"], "--steps is 1: give a whole number from 2 to 99"),
        (["--content-weight", "2"], "a texture has no content: leave --content-weight out"),
        (["--content", "content.png", "--aspect", "2:1"], "--aspect is for textures"),
        (["--style-layers", "relu1_1@1", "relu2_1"], "'relu1_1@1': along the strip styles share"),
        (["--style-weights", "1", "2"], "unknown argument '--style-weights'"),
        (["--preview"], "unknown argument '--preview'"),
        (["--steps", "99", "--size", "900", "-o", "strip.jpg"], "cannot save strip.jpg"),
        (["--content", "missing.png"], "missing.png"),
        (["-o", "strip.gif"], "strip.gif"),
    ],
)
def test_mistakes(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert not list(Path().glob("strip*"))


def test_jobs_from_python_are_held_to_the_same() -> None:
    def job(**options: Any) -> MorphJob:
        return MorphJob(**{"styles": ("one.png", "two.png"), "output": "strip.png"} | options)

    assert [job().frame(i).config.style_weights for i in (1, 4, 7)] == [(1, 0), (0.5, 0.5), (0, 1)]
    assert job(steps=12).frame_path(3).name == "strip-03.png"
    assert job(config=hires.Config(preset="tutorial"), content="a.png").config.cpu_size is None
    for options, message in (
        ({"preview": True}, "`preview` is for a single painting"),
        ({"print": hires.Print(paper="A4")}, "`paper` is for a single painting"),
        ({"guides": hires.Guides(mask=("a.png",))}, "`mask` is for a single painting"),
        ({"config": hires.Config(style_weights=(1, 2))}, "`style_weights` are what changes"),
        ({"config": hires.Config(sizes=(96, 128))}, "`sizes` is not for strips"),
    ):
        with pytest.raises(ConfigError, match=message):
            job(**options)
