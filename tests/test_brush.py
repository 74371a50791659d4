"""Brush sizes: strokes measured on pictures, styles scaled for a width, what is told, refused."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import random_image
from torch import Tensor

import hires
from hires.cli import main as cli
from hires.config.brush import brush_pixels, told_width
from hires.config.run import Config
from hires.engine import ladder
from hires.engine.brush import Brush, about_brush, brush_of
from hires.errors import ConfigError
from hires.image.decode.read import load_image
from hires.image.originals import Original
from hires.image.resample import resize
from hires.image.strokes import stroke_width

SAMPLES = Path(__file__).parent.parent / "samples"


def bars(width: int, size: tuple[int, int] = (600, 800), *, angle: float = 0.4) -> Tensor:
    """Stripes of so many pixels, by turns of dark and light greys, with a little grain."""
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in size)
    along = rows[:, None] * math.sin(angle) + columns * math.cos(angle) + 1000
    greys = torch.rand(400, generator=torch.Generator().manual_seed(0))
    greys = 0.35 * greys + 0.65 * (torch.arange(400) % 2)
    picture = greys[(along / width).long()].expand(1, 3, *size)
    return (picture + 0.02 * (random_image(*size, seed=3).float() - 0.5)).clamp(0, 1)


def half(picture: Tensor) -> Tensor:
    return resize(picture, (picture.shape[2] // 2, picture.shape[3] // 2), clamp=True)


class TestMeasuring:
    @pytest.mark.parametrize("width", [8, 12, 24, 48, 96])
    def test_bars_have_their_width(self, width: int) -> None:
        assert stroke_width(bars(width)) == pytest.approx(width, rel=0.1)
        assert stroke_width(bars(width, (1200, 1600))) == pytest.approx(width, rel=0.1)

    def test_a_picture_of_half_the_size_has_strokes_of_half_the_width(self) -> None:
        for name in ("impasto", "woodcut"):
            picture = load_image(SAMPLES / f"{name}.jpg")
            own, smaller = stroke_width(picture), stroke_width(half(picture))
            assert own is not None
            assert smaller is not None
            assert own / smaller == pytest.approx(2, rel=0.1)

    def test_turned_it_is_the_same(self) -> None:
        picture = bars(24, (640, 640))
        own, turned = stroke_width(picture), stroke_width(picture.mT)
        assert own is not None
        assert turned == pytest.approx(own, rel=0.1)

    def test_a_blank_picture_has_none(self) -> None:
        assert stroke_width(torch.full((1, 3, 300, 400), 0.4)) is None
        assert stroke_width(random_image(12, 12, seed=1).float()) is None

    def test_what_cannot_be_seen_has_no_strokes(self) -> None:
        picture = torch.cat([bars(12, (600, 400)), bars(48, (600, 400))], 3)
        mask = torch.zeros(1, 1, 600, 800)
        mask[..., 420:] = 1
        seen, whole = stroke_width(picture, mask), stroke_width(picture)
        assert seen is not None
        assert whole is not None
        assert seen > 1.3 * whole


class TestWidths:
    @pytest.mark.parametrize(
        ("brush", "dpi", "enlarged", "wanted"),
        [
            (24, None, 1.0, 24),
            ("24px", 300, 1.0, 24),
            ("24", 300, 2.0, 12),
            ("8mm", 254, 1.0, 80),
            ("0.5in", 100, 1.0, 50),
        ],
    )
    def test_as_typed(
        self, brush: float | str, dpi: float | None, enlarged: float, wanted: float
    ) -> None:
        assert brush_pixels(brush, dpi, enlarged=enlarged) == pytest.approx(wanted)

    @pytest.mark.parametrize("brush", [0, -3, "broad", "0mm", "-2mm", "8 cows", ""])
    def test_what_is_no_width_is_refused(self, brush: float | str) -> None:
        with pytest.raises(ConfigError, match="brush_size"):
            Config(brush_size=brush)

    def test_a_length_needs_a_resolution(self) -> None:
        with pytest.raises(ConfigError, match="is a length on paper"):
            brush_pixels("8mm")

    def test_as_told(self) -> None:
        assert told_width(31.6, None) == "32 px"
        assert told_width(100, 254) == "10 mm"
        assert told_width(31.6, 254) == "3.2 mm"


class TestScales:
    def config(self, brush: float = 32) -> Config:
        return Config(size=512, brush_size=brush)

    def test_each_style_is_scaled_to_the_same_width(self) -> None:
        styles = [Original(bars(12)), Original(bars(24))]
        brush = brush_of(self.config(), styles, (384, 512))
        assert brush is not None
        for style, stroke, scale in zip(styles, brush.strokes, brush.scales, strict=True):
            assert stroke * scale * 512 / max(style.size) == pytest.approx(32)
        assert brush.scales[0] / brush.scales[1] == pytest.approx(2, rel=0.1)
        rungs = ladder.plan(
            self.config(), (384, 512), [style.size for style in styles], scales=brush.scales
        )
        for rung in rungs:
            for style, stroke, size in zip(styles, brush.strokes, rung.style_sizes, strict=True):
                width = stroke * max(size) / max(style.size)
                assert width / 32 == pytest.approx(max(rung.size) / 512, rel=0.02)

    @pytest.mark.parametrize(
        ("brush", "given", "sizes"),
        [
            (56, {}, (64, 128, 256, 512)),
            (7, {}, (512,)),
            # At its least size the short side has 64 pixels.
            (200, {}, (85, 155, 281, 512)),
            (56, {"min_size": 256}, (256, 512)),
            (56, {"size": 1024, "sizes": (300, 512)}, (300, 512)),
            (28, {"rungs": 2}, (128, 512)),
        ],
    )
    def test_strokes_form_at_a_rung_where_a_brush_is_narrow(
        self, brush: float, given: dict[str, Any], sizes: tuple[int, ...]
    ) -> None:
        shape = (512, 512) if brush < 200 else (384, 512)
        config = Config(**{"size": 512, "brush_size": brush} | given)
        rungs = ladder.plan(config, shape, [], brush=brush)
        assert [max(rung.size) for rung in rungs] == list(sizes)
        # Detail that is finer than the strokes stays in the photograph.
        shares = [float(brush * size / 512 <= 7) for size in sizes]
        assert [rung.content_detail for rung in rungs] == shares
        asked = replace(config, content_detail=0.5)
        rungs = ladder.plan(asked, shape, [], brush=brush)
        assert {rung.content_detail for rung in rungs} == {0.5}

    def test_the_first_rung_of_a_fine_brush_stays_small(self) -> None:
        rungs = ladder.plan(Config(size=9000, brush_size=12), (6000, 9000), [], brush=12)
        assert [max(rung.size) for rung in rungs][:2] == [1024, 1763]
        assert [rung.content_detail for rung in rungs] == [1, 1, 1, 1, 0]

    def test_nothing_is_measured_unless_it_is_asked_for(self) -> None:
        blank = Original(torch.full((1, 3, 90, 90), 0.5))
        assert brush_of(Config(), [blank], (90, 90)) is None
        with pytest.raises(ConfigError, match="style 1 has no strokes"):
            brush_of(self.config(), [blank], (384, 512))

    def test_a_brush_wider_than_the_painting_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="wider than the painting of 512 px x 384 px"):
            brush_of(self.config(400), [Original(bars(24))], (384, 512))

    def test_a_scan_that_is_too_small_says_what_it_could_give(self) -> None:
        def about(width: float) -> list[str]:
            brush = Brush(width=width, dpi=254, strokes=(10.0,), scales=(1.0,))
            rungs = ladder.plan(Config(size=1024), (768, 1024), [(300, 400)], scales=(1.0,))
            return about_brush(brush, [(300, 400)], rungs)

        assert about(15) == []
        assert "own pixels give a brush of 1.0 mm" in about(30)[0]
        assert "at most 4.0 mm" in about(60)[0]
        with pytest.raises(ConfigError, match="it cannot give a brush of 20 mm"):
            about(200)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*larger scan")
def test_painted_strokes_are_as_wide_as_their_brush() -> None:
    """A width is that of the brush in the ratio, to 20%, if the style's strokes are alike."""
    pictures = str(SAMPLES / "harbour.jpg"), str(SAMPLES / "woodcut.jpg")
    widths = []
    for brush in (8, 16, 32):
        painted = hires.stylize(*pictures, Config(size=448, brush_size=brush))
        width = stroke_width(painted)
        assert width is not None
        widths.append(width)
    for one, two in itertools.pairwise(widths):
        assert two / one == pytest.approx(2, rel=0.2)


class TestCommand:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("harbour", "impasto"):
            shutil.copy(SAMPLES / f"{name}.jpg", tmp_path)

    pair = ("harbour.jpg", "impasto.jpg")

    def test_plan_tells_the_width(self, capsys: pytest.CaptureFixture[str]) -> None:
        plan = ["plan", *self.pair, "--no-probe"]
        paper = ["--print", "A5", "--dpi", "100"]
        assert cli.main([*plan, *paper, "--brush-size", "4mm"]) == 0
        assert "broadest strokes about 4.0 mm" in capsys.readouterr().out
        assert cli.main([*plan, "--size", "512", "--brush-size", "12"]) == 0
        assert "broadest strokes about 12 px" in capsys.readouterr().out
        assert cli.main([*plan, "--size", "512", "--json"]) == 0
        json.loads(capsys.readouterr().out)

    def test_a_painting_is_repeated_and_resumed_with_it(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        typed = [*self.pair, "--size", "96", "--min-size", "64", "--iterations", "2"]
        assert cli.main(["stylize", *typed, "--brush-size", "9px", "-o", "a.png", "--quiet"]) == 0
        assert cli.main(["inspect", "a.png"]) == 0
        assert "--brush-size 9px" in capsys.readouterr().out
        assert cli.main(["stylize", "--from", "a.png", "-o", "b.png", "--quiet"]) == 0
        assert cli.main(["stylize", *typed, "-o", "c.png", "--quiet"]) == 0
        a, b, c = (hires.load_image(f"{name}.png") for name in "abc")
        assert torch.equal(a, b)
        assert not torch.equal(a, c)

    @pytest.mark.parametrize(
        ("typed", "problem"),
        [
            (["--brush-size", "8mm"], "is a length on paper: give --print or --dpi"),
            (["--brush-size", "0"], "give a width above 0"),
            (["--brush-size", "wide"], "give a width above 0"),
            (["--brush-size", "9", "--style-scale", "2"], "say the same"),
            (["--brush-size", "9", "--style-fit", "stretch"], "keep their shape"),
            (["--brush-size", "90", "--style-weight", "0"], "--brush-size"),
            (["--brush-size", "200px"], "wider than the painting"),
        ],
    )
    def test_bad_input_is_one_line(
        self, typed: list[str], problem: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pair = ["stylize", *self.pair, "-o", "out.png", "--size", "128", "--iterations", "1"]
        assert cli.main([*pair, *typed]) == 2
        told = capsys.readouterr().err
        assert problem in told
        assert told.count("\n") == 1
        assert not Path("out.png").exists()
