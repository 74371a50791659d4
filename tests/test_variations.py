"""``hires variations``: the rule, the sheet, and that what is picked is the same painting."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights, refusal
from torch import Tensor

import hires
from hires.cli import main as cli
from hires.cli.arguments.painting import Variations
from hires.cli.arguments.table import COMMANDS
from hires.cli.commands import variations as command
from hires.cli.parsing import parse
from hires.cli.typed import command_typed, options_typed
from hires.config import variations as module
from hires.config.job import PaintJob
from hires.config.settings import settings_of
from hires.config.variations import Variation, variations
from hires.engine.progress import Progress
from hires.errors import ConfigError
from hires.features.checkpoints import write_checkpoint
from hires.runs.variations import Sheet

SMALL = ["--min-size", "96", "--iterations", "2", "--features", "tiny.safetensors"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures and a style more, a network that is quick."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("content", "style", "other")):
        hires.save_image(random_image(120, 160, seed), f"{name}.png")
    write_checkpoint(Path("tiny.safetensors"), COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    return tmp_path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four variations are as good as a dozen where they are painted."""
    monkeypatch.setattr(module, "NUM_VARIATIONS", 4)


def job(*styles: str, **settings: Any) -> PaintJob:
    styles = styles or ("style.png",)
    config = hires.Config(**settings)
    return PaintJob(content="content.png", styles=styles, output="out.png", config=config)


def changed(found: tuple[Variation, ...]) -> Iterator[dict[str, Any]]:
    """What each differs by from the first."""
    first = found[0].job
    for one in found:
        yield {
            field.name: getattr(one.job.config, field.name)
            for field in fields(hires.Config)
            if getattr(one.job.config, field.name) != getattr(first.config, field.name)
        }


class TestRule:
    def test_a_dozen_that_differ(self) -> None:
        found = variations(job())
        assert len(found) == 12
        assert found[0].job.config == hires.Config()
        assert len({one.name for one in found}) == 12
        assert not any(a.job.config == b.job.config for a, b in pairwise(found))
        assert {name for one in changed(found) for name in one} == {
            *("content_weight", "style_scale", "style_loss", "color")
        }

    @pytest.mark.parametrize(
        "given", [{"content_weight": 0.1}, {"style_scale": 0.7}, {"color": "match"}]
    )
    def test_what_is_given_is_fixed_and_others_take_its_place(self, given: dict[str, Any]) -> None:
        found = variations(job(**given))
        assert len(found) >= 9
        for one in changed(found):
            assert not {*given} & {*one}

    def test_what_is_given_as_by_default_is_fixed_too(self) -> None:
        for one in changed(variations(job(), fixed=["color"])):
            assert "color" not in one

    def test_the_same_again(self) -> None:
        assert variations(job(size=512)) == variations(job(size=512))

    def test_size_changes_nothing_else(self) -> None:
        small, large = variations(job(size=512)), variations(job(size=4000))
        assert [*changed(small)] == [*changed(large)]

    def test_each_style_and_their_blend(self) -> None:
        found = variations(job("style.png", "other.png"))
        assert len(found) == 12
        assert [one.job.styles for one in found[:3]] == [
            *(("style.png",), ("other.png",), ("style.png", "other.png"))
        ]
        assert [one.name for one in found[:3]] == [
            "style, as it is",
            "other, as it is",
            "both, as it is",
        ]

    def test_many_styles_are_shown_once_each(self) -> None:
        names = tuple(f"{i}.png" for i in range(14))
        assert len(variations(job(*names))) == 15

    def test_weights_layers_and_masks_say_what_the_styles_do(self) -> None:
        layered = job("style.png", "other.png", style_layers=("relu1_1@1", "relu3_1@2"))
        assert {one.job.styles for one in variations(layered)} == {("style.png", "other.png")}
        weighed = job("style.png", "other.png", style_weights=(2.0, 1.0))
        assert {one.job.styles for one in variations(weighed)} == {("style.png", "other.png")}
        masked = PaintJob(
            content="content.png",
            styles=("style.png", "other.png"),
            output="out.png",
            guides=hires.Guides(mask=("a.png:1", "rest:2")),
        )
        assert {one.job.styles for one in variations(masked)} == {("style.png", "other.png")}

    @pytest.mark.parametrize("preset", ["tutorial", "d2l", "keras"])
    def test_losses_of_presets_stay_theirs(self, preset: str) -> None:
        found = variations(job(preset=preset))
        assert len(found) > 8
        assert not any("style_loss" in one for one in changed(found))

    def test_what_would_do_nothing_is_left_out(self) -> None:
        found = variations(job(style_weight=0.0, patch_weight=0.1))
        for one in changed(found):
            assert not {"style_scale", "style_loss"} & {*one}

    def test_textures_have_none(self) -> None:
        texture = PaintJob(content=None, styles=("style.png",), output="out.png")
        with pytest.raises(ConfigError, match="give a `content`"):
            variations(texture)


class TestCommands:
    def test_a_command_is_what_it_says(self) -> None:
        for one in variations(job("style.png", "other.png", seed=3, init="noise")):
            words = shlex.split(command_typed(one.job))
            assert parse(COMMANDS[words[1]], words[2:], prog="hires") == one.job

    def test_only_what_differs_is_typed(self) -> None:
        found = variations(job())
        assert command_typed(found[0].job) == "hires stylize content.png style.png -o content-1.png"
        assert len({command_typed(one.job) for one in found}) == 12
        preset = variations(job(preset="d2l"))[0].job
        typed = "hires stylize content.png style.png -o content-1.png --preset d2l"
        assert command_typed(preset) == typed

    def test_awkward_words_are_quoted(self) -> None:
        odd = PaintJob(content="a b.png", styles=("it's.png",), output="out.png")
        words = shlex.split(command_typed(odd))
        assert words[2:4] == ["a b.png", "it's.png"]
        exact = job(content_weight=0.123456789)
        assert "--content-weight 0.123456789" in command_typed(exact)


def test_settings_of_older_paintings_are_typed() -> None:
    """Style losses were one word before they were several."""
    settings = settings_of(job(style_scale=0.5))
    settings["config"]["style_loss"] = "gram"
    assert options_typed(settings) == "--style-loss gram --style-scale 0.5"


def small_pictures(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What the sheet of a command shows."""
    sheets: list[Sheet] = []
    monkeypatch.setattr(command, "_save_interrupted", lambda _: pytest.fail("interrupted"))
    original = Sheet.save

    def save(sheet: Sheet, about: Any = ()) -> Any:
        sheets.append(sheet)
        return original(sheet, about)

    monkeypatch.setattr(Sheet, "save", save)
    assert cli.main(["variations", *argv, "--quiet"]) == 0
    return [cell.picture for cell in sheets[0]._cells if cell.picture is not None]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("large", [["--size", "384"], ["--print", "10x7cm", "--dpi", "90"]])
def test_what_is_picked_is_the_same_painting_larger(
    large: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of the large painting stands, on its way, where the small one ended: to the bit."""
    argv = ["content.png", "style.png", *SMALL, *large]
    shown = small_pictures([*argv, "--side", "200"], monkeypatch)
    assert len(shown) == 4
    assert max(shown[0].shape) in range(180, 201)
    for number in (1, 4):
        pictures = pictures_on_the_way([*argv, "--pick", str(number)], monkeypatch)
        small = next(one for one in pictures if one.shape == shown[number - 1].shape)
        assert torch.equal(small, shown[number - 1])
        assert max(pictures[-1].shape) > 350
    assert not torch.equal(shown[0], shown[1])


@pytest.mark.usefixtures("few")
def test_another_size_begins_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sheet of a small painting, and a large one whose ladder has its sizes."""
    argv = ["content.png", "style.png", *SMALL]
    shown = small_pictures([*argv, "--size", "192"], monkeypatch)
    pictures = pictures_on_the_way([*argv, "--size", "384", "--pick", "4"], monkeypatch)
    assert [max(one.shape) for one in pictures] == [96, 192, 384]
    assert torch.equal(pictures[1], shown[3])


def pictures_on_the_way(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What stands at the end of each rung of a picked painting."""
    from hires.runs.recorder import Recorder

    found: list[Tensor] = []

    def observe(_: Recorder, progress: Progress) -> None:
        if progress.ends_rung:
            found.append(progress.picture())

    monkeypatch.setattr(Recorder, "observe", observe)
    out = f"picked-{argv[-1]}.png"
    assert cli.main(["variations", *argv, "-o", out, "--quiet"]) == 0
    assert hires.picture_size(out) == tuple(found[-1].shape[2:])
    return found


@pytest.mark.usefixtures("few")
def test_the_sheet_tells_how_it_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["content.png", "style.png", *SMALL, "--size", "96", "--style-scale", "0.8"]
    assert cli.main(["variations", *argv]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].startswith("variations.jpg: ")
    assert "4 variations of 96x72 px: about" not in told.err  # Two steps are too few to tell.
    assert [line.split()[0] for line in lines[1:]] == [*map(str, range(1, len(lines)))]
    assert cli.main(["inspect", "variations.jpg"]) == 0
    inspected = capsys.readouterr().out
    assert "contact sheet" in inspected
    assert "--style-scale 0.8" in inspected
    for line in lines[1:]:
        assert line.partition("  ")[2].strip().removeprefix("hires ") in inspected
    assert cli.main(["inspect", "variations.jpg", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["provenance"]["settings"]
    assert len(settings["variations"]) == len(lines) - 1
    assert not {"pick", "side", "fixed", "output"} & {*settings}
    message = refusal(["stylize", "--from", "variations.jpg", "-o", "out.png"], capsys)
    assert "is a contact sheet" in message


@pytest.mark.usefixtures("few")
def test_how_long_it_takes_is_told_soon(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["content.png", "style.png", *SMALL, "--size", "96", "--iterations", "16"]
    assert cli.main(["variations", *argv, "--no-metadata"]) == 0
    assert "4 variations of 96x72 px: about" in capsys.readouterr().err
    assert cli.main(["inspect", "variations.jpg"]) == 0
    assert "painted  unknown" in capsys.readouterr().out


def test_a_typed_default_is_fixed() -> None:
    argv = ["content.png", "style.png", *SMALL, "--color", "style"]
    parsed = parse(Variations, argv, prog="hires")
    assert "color" in parsed.fixed
    assert {one.job.config.color for one in variations(parsed, parsed.fixed)} == {"style"}


@pytest.mark.usefixtures("few")
def test_an_interrupted_sheet_shows_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["variations", "content.png", "style.png", *SMALL, "--size", "96"]

    def interrupt_at(number: int) -> None:
        def update(_: Any, step: Any) -> None:
            if step.number == number:
                raise KeyboardInterrupt

        monkeypatch.setattr(command._Times, "update", update)

    interrupt_at(1)
    assert cli.main(argv) == 130
    assert not Path("variations.jpg").exists()
    assert "nothing is saved" in capsys.readouterr().err
    interrupt_at(4)
    assert cli.main(argv) == 130
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == (
        "hires: interrupted: variations.jpg holds 3 of 4 variations"
    )
    assert told.out == ""
    assert Path("variations.jpg").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pick", "13", "-o", "out.png"], "--pick is 13: there are 12 variations"),
        (["--pick", "0", "-o", "out.png"], "--pick is 0"),
        (["--pick", "2"], "say where to save it with --output"),
        (["--run-dir", "x.run"], "--run-dir is for the painting that --pick names"),
        (["--preview"], "--preview is for the painting that --pick names"),
        (["--deliver", "lab"], "--deliver is for the painting that --pick names"),
        (["--rungs", "1", "--size", "300", "--side", "64"], "give more --rungs"),
        (["-o", "sheet.xyz"], "sheet.xyz"),
        (["-o", "style.png"], "it is the input style.png"),
        (["--content-weight", "-1"], "--content-weight"),
    ],
)
def test_refused(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["variations", "content.png", "style.png", "--iterations", "2", *options]
    assert message in refusal([*argv, "--features", "tiny.safetensors"], capsys)
    assert not Path("variations.jpg").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pictures", "style.png"], "--pictures is style.png, which is no folder: give another"),
        (["--pictures", "/proc/x"], "--pictures is /proc/x, and no folder can be made there"),
        (["--pictures", "no/x"], "create it first"),
        (["--pictures", "own", "--content-map", "own/1.jpg"], "it is the input own/1.jpg"),
        (["--pictures", "own", "-o", "own/2.jpg"], "--pictures has own/2.jpg, too: choose another"),
    ],
)
def test_pictures_that_cannot_be_saved_are_refused_before_the_first(
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "/proc/x" in options and not Path("/proc").is_dir():
        pytest.skip("this system has no /proc")
    Path("own").mkdir()
    hires.save_image(random_image(120, 160, 1), "own/1.jpg")
    monkeypatch.setattr(Sheet, "__iter__", lambda _: pytest.fail("it paints"))
    argv = ["variations", "content.png", "style.png", *SMALL, "--side", "96", *options]
    assert message in refusal(argv, capsys)
    assert [file.name for file in Path("own").iterdir()] == ["1.jpg"]


@pytest.mark.parametrize(
    "line",
    [
        "{} style.png",
        "content.png {}",
        "content.png style.png --content-map {}",
        "content.png style.png --labels {} {}",
    ],
)
@pytest.mark.parametrize(
    ("name", "problem"), [("no.png", "there is no such file"), ("folder", "it is a folder")]
)
def test_what_cannot_be_read_is_told_as_by_plan(
    line: str, name: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder").mkdir()
    typed = [*line.replace("{}", name).split(), *SMALL]
    told = refusal(["variations", *typed], capsys)
    assert told.startswith(f"hires: cannot read {name}: {problem}; ")
    assert told == refusal(["plan", *typed, "--no-probe"], capsys)


def test_pictures_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "missing STYLE" in refusal(["variations", "content.png"], capsys)
    assert "CONTENT" in refusal(["variations"], capsys)
