"""The script that judges paintings at 1:1: octaves, borders, verdicts, a run from end to end."""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import VGG_SHAPE, random_image, random_weights
from torch import Tensor

from hires.features.checkpoints import write_checkpoint
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("judge_fine")


@pytest.fixture
def measures(script: ModuleType) -> ModuleType:
    return importlib.import_module(script.measure.__module__)


def noise(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, height, width, generator=generator)


def darkened(picture: Tensor, depth: int) -> Tensor:
    """A copy whose outermost pixels are darker by 0.06."""
    height, width = picture.shape[2:]
    found = picture - 0.06
    inside = slice(depth, height - depth), slice(depth, width - depth)
    found[..., *inside] = picture[..., *inside]
    return found


@pytest.mark.parametrize(
    ("depth", "stands"), [(0, (True, True)), (4, (False, True)), (24, (False, False))]
)
def test_a_darkened_frame_is_told(
    depth: int, stands: tuple[bool, bool], measures: ModuleType
) -> None:
    clean = 0.5 + 0.1 * noise(200, 240)
    thin, wide = measures.measure_borders(darkened(clean, depth), clean)
    assert (thin.pixels, wide.pixels) == (4, 24)
    assert (thin.stands, wide.stands) == stands
    assert thin.difference == pytest.approx([-6.0 if depth else 0.0] * 3, abs=0.3)
    # Pixels of the darkened frame over those of the wide one.
    dark = 200 * 240 - (200 - 2 * depth) * (240 - 2 * depth)
    assert wide.difference == pytest.approx([-6 * dark / (200 * 240 - 152 * 192)] * 3, abs=0.2)
    assert wide.of_content == pytest.approx([0] * 3, abs=0.2)
    assert max(thin.deviation) < 0.3


def test_what_the_inside_does_too_is_no_tint(measures: ModuleType) -> None:
    waves = 0.5 + 0.4 * torch.cos((torch.arange(192.0) - 95.5) * math.tau / 128)
    picture = waves[:, None].expand(1, 3, 192, 192)
    thin, wide = measures.measure_borders(picture, picture)
    assert min(thin.difference) > 5 * measures.LEAST_TINT
    assert thin.stands
    # That of two strips of rows at independent places and two of columns, which do not differ.
    lines = 100 * waves[24:-24]
    near = lines.unfold(0, 4, 1).mean(1)[: 144 - 48 + 1]
    far = lines.unfold(0, 24, 1).mean(1)[24:]
    places = torch.randint(len(far), (50_000, 2), generator=torch.Generator().manual_seed(0))
    drawn = (near - far)[places].sum(1) / 4
    assert thin.deviation == pytest.approx([float(drawn.std())] * 3, rel=0.02)
    assert wide.pixels == 24


def quality_of(measures: ModuleType, octaves: list[tuple[float, float]], **errors: float) -> Any:
    border = measures.Border(4, (0.0,) * 3, (0.0,) * 3, (0.0,) * 3, stands=True)
    return measures.Quality(
        style_error=errors.get("style", 0.1),
        style_errors={},
        content_error=errors.get("content", 0.5),
        octaves=tuple(measures.Octave(*pair) for pair in octaves),
        borders=(border, replace(border, stands=False)),
    )


def test_verdict(measures: ModuleType) -> None:
    before = quality_of(measures, [(8.0, 0.1), (1.0, 27.0), (1.0, 1.0)], style=0.2, content=0.4)
    # 8 ** (1/3) is 2; 1 / 0.1 ** (1/3) is 2.15; 27 ** (1/3) is 3. The third octave does not count.
    after = quality_of(measures, [(1.99, 0.45), (1.5, 3.01), (9.0, 9.0)], style=0.1, content=0.5)
    verdict = measures.compare(after, before)
    assert verdict.luma == (True, False)
    assert verdict.chroma_to_luma == (False, False)
    assert verdict.borders == (True, False)
    assert verdict.style_ratio == 0.5
    assert verdict.content_ratio == 1.25
    assert not verdict.octaves_stand
    nearer = quality_of(measures, [(0.501, 0.47), (0.7, 2.99), (9.0, 9.0)])
    assert measures.compare(nearer, before).octaves_stand
    alone = measures.compare(nearer, None)
    assert (alone.luma, alone.chroma_to_luma) == ((False, True), (False, False))
    assert alone.style_ratio is alone.content_ratio is None


def test_summary(script: ModuleType, measures: ModuleType) -> None:
    found = []
    for pair, style in (("a", 0.11), ("b", 0.09), ("c", 0.13)):
        before, after = (quality_of(measures, [(1, 1)] * 3, style=e) for e in (0.1, style))
        runs = {"before": script.Run(before, 2.0), "after": script.Run(after, 1.5)}
        found.append(script.Judged(pair, runs, measures.compare(after, before)))
    told = script.summary(found)
    assert told["style_ratio"] == {
        "mean": pytest.approx(1.1),
        "worst": pytest.approx(1.3),
        "worst_pair": "c",
    }
    assert (told["num_pairs"], told["num_octaves_stand"], told["num_borders_stand"]) == (3, 3, 0)
    assert script.seconds_by_run(found) == {"before": 6, "after": 4.5}
    assert "Style error after/before: mean 1.100, worst 1.300 (c)." in script.markdown(found)


def test_crops_are_of_the_busiest_and_the_flattest_place(script: ModuleType) -> None:
    crops = importlib.import_module(script.crop_sheet.__module__)
    content = 0.5 + 0.1 * noise(96, 128)
    content[..., 60:90, 90:120] = noise(30, 30)  # Busy at the bottom right,
    content[..., 40:80, 10:50] = 0.5  # flat on the left.
    painting = noise(96, 128)
    places = [*crops.crop_places(content, 32), (0, 0)]
    (busy, flat, corner) = places
    assert (60 - 8 < busy[0] < 60 + 8, 90 - 8 < busy[1] < 90 + 8) == (True, True)
    assert 40 <= flat[0] <= 80 - 32
    assert 10 <= flat[1] <= 50 - 32
    assert corner == (0, 0)
    sheet = script.crop_sheet({"after": painting}, content, noise(64, 64))
    side = 32  # half of the style's
    for row, (y, x) in enumerate(places):
        top, left = 24 + row * (3 * side + 8), 8
        found = sheet.crop((left, top, left + 3 * side, top + 3 * side))
        pixels = torch.frombuffer(bytearray(found.tobytes()), dtype=torch.uint8)
        wanted = (painting[0, :, y : y + side, x : x + side] * 255).round().byte()
        enlarged = wanted.repeat_interleave(3, 1).repeat_interleave(3, 2)
        assert torch.equal(pixels.view(3 * side, 3 * side, 3).permute(2, 0, 1), enlarged)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two pairs and a network in an empty folder; what judges them at 96 px."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("one", 1), ("two", 2)):
        save_image(random_image(72, 96, seed=seed), f"{name}.png")
    save_image(random_image(90, 80, seed=3), "style.png")
    write_checkpoint(Path("tiny.safetensors"), VGG_SHAPE, random_weights(VGG_SHAPE), {})
    # The judge is another network, with heads.
    generator = torch.Generator().manual_seed(4)
    state = {"conv0.weight": 2 * torch.eye(3)[:, :, None, None], "conv0.bias": torch.zeros(3)}
    widths = {"11": (3, 4), "21": (4, 5), "31": (5, 6), "41": (6, 6), "51": (6, 6)}
    for key, (before, after) in widths.items():
        spread = 3 * before**0.5
        state[f"conv{key}.weight"] = torch.randn(after, before, 3, 3, generator=generator) / spread
        state[f"conv{key}.bias"] = torch.zeros(after)
        state[f"conv{key}_aux.weight"] = torch.randn(7, after, 1, 1, generator=generator)
        state[f"conv{key}_aux.bias"] = torch.zeros(7)
    torch.save(state, "judge.pth")
    pairs = ["--pairs", "one.png:style.png", "two.png:style.png"]
    return ["--judge", "judge.pth", *pairs, "--size", "96", "-o", "out"]


TINY = "--features tiny.safetensors --precision fp32 --iterations"


def test_from_end_to_end(
    script: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ["--before", f"{TINY} 1", "--after", f"{TINY} 3"]
    assert script.main([*words, *runs]) == 0
    told = capsys.readouterr()
    assert told.out == Path("out/judge.md").read_text()
    # What is painted first alternates.
    painted = [line.split()[1] for line in told.err.splitlines() if "painted in" in line]
    names = ["one+style-before", "one+style-after", "two+style-after", "two+style-before"]
    assert painted == [f"out/{name}.png:" for name in names]
    found = json.loads(Path("out/judge.json").read_text())
    assert [pair["pair"] for pair in found["pairs"]] == ["one+style", "two+style"]
    for pair in found["pairs"]:
        before, after = pair["quality"]["before"], pair["quality"]["after"]
        ratio = after["style_error"] / before["style_error"]
        assert pair["verdict"]["style_ratio"] == pytest.approx(ratio)
        assert len(before["style_errors"]) == 5
        assert before["style_error"] == pytest.approx(sum(before["style_errors"].values()) / 5)
        assert [border["pixels"] for border in after["borders"]] == [4, 9]
        for run, steps in (("before", 1), ("after", 3)):
            took = pair["on_this_machine"][run]
            (rung,) = took["rungs"]
            assert (rung["width"], rung["height"], rung["iterations"]) == (96, 72, steps)
            assert 0 < rung["seconds"] <= took["seconds"]
            path = Path(f"out/{pair['pair']}-{run}.png")
            assert load_image(path).shape == (1, 3, 72, 96)
            # The depth in the header: what 8 bits round away is not measured.
            assert path.read_bytes()[24] == 16
    for name in ("one", "two"):
        # Three crops of half the short side of the painting, three times as large.
        side = 3 * 36 + 8
        assert load_image(f"out/crops-{name}+style.png").shape == (
            1,
            3,
            3 * side + 24,
            3 * side + 8,
        )

    # Judged as files, the paintings are what they were.
    files = [f"out/{name}+style-after.png" for name in ("one", "two")]
    assert script.main([*words[:-1], "again", "--paintings", *files]) == 0
    again = json.loads(Path("again/judge.json").read_text())
    for pair, same in zip(found["pairs"], again["pairs"], strict=True):
        assert same["quality"] == {"after": pair["quality"]["after"]}
        assert same["on_this_machine"] == {}
        assert same["verdict"]["style_ratio"] is None
    assert "not painted here" in Path("again/judge.md").read_text()


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (["--pairs", "one.png"], "'one.png' is no pair"),
        (["--pairs", "one.png:style.png", "one.png:style.png"], "two pairs are called one+style"),
        (["--pairs", "none.png:style.png"], "none.png"),
        (["--before", "--size 64"], "--before: all runs have the long side --size"),
        (["--before=--tv-wight=1"], "--before: unknown argument"),
        (["--after", "--iterations 0"], "--after: "),
        (["--paintings", "one.png"], "give as many --paintings as --pairs, 2"),
        (["--paintings", "one.png", "style.png"], "style.png has not the shape of two.png"),
        (["--paintings", "one.png", "two.png", "--after="], "leave --after out"),
        (["--judge", "none.pth"], "none.pth"),
    ],
)
def test_bad_input_is_one_line(
    extra: list[str],
    expected: str,
    script: ModuleType,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert script.main([*words, *extra]) == 2
    told = capsys.readouterr().err
    assert told.startswith("judge_fine: ")
    assert expected in told
    assert told.count("\n") == 1
    assert not Path("out").exists()


def test_interrupted_keeps_what_is_judged(
    script: ModuleType,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = script.paint

    def cut(job: Any, path: Path) -> Any:
        if path.name.startswith("two"):
            raise KeyboardInterrupt
        return real(job, path)

    monkeypatch.setattr(script, "paint", cut)
    assert script.main([*words, "--after", f"{TINY} 1"]) == 130
    assert "interrupted: 1 of 2 pairs are judged in out" in capsys.readouterr().err
    assert len(json.loads(Path("out/judge.json").read_text())["pairs"]) == 1
