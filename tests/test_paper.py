"""Papers, their pixels, and what of a photograph lies on them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.config.paper import PAPERS, Layout, Print, parse_length, parse_paper, to_pixels
from hires.config.run import Config
from hires.engine.ladder import plan
from hires.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "width", "height"),
    [
        ("A2", 420, 594),
        (" a0 ", 841, 1189),
        ("B1", 707, 1000),
        ("Letter", 215.9, 279.4),
        ("24x36in", 609.6, 914.4),
        ("24 X 36 IN", 609.6, 914.4),
        ("50x70cm", 500, 700),
        ("300×400mm", 300, 400),
        ("8.5x11in", 215.9, 279.4),
        ("70x50cm", 700, 500),
    ],
)
def test_papers_are_understood(text: str, width: float, height: float) -> None:
    paper = parse_paper(text)
    assert (paper.width, paper.height) == pytest.approx((width, height))


def test_iso_papers_halve_and_stand_upright() -> None:
    for letter, count in (("a", 7), ("b", 6)):
        for i in range(1, count):
            large, small = PAPERS[f"{letter}{i - 1}"], PAPERS[f"{letter}{i}"]
            assert small.height == large.width
            assert small.width == large.height // 2
            assert small.height / small.width == pytest.approx(math.sqrt(2), abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paper": "A9"}, "unknown paper 'A9': give a name that hires papers lists"),
        ({"paper": "poster"}, "unknown paper"),
        ({"paper": ""}, "unknown paper"),
        ({"paper": "24x36"}, "has no unit: write 24x36cm, 24x36in or 24x36mm"),
        ({"paper": "0x0cm"}, "out of reach"),
        ({"paper": "1x50m"}, "unknown paper"),
        ({"paper": "20x30000mm"}, "its sides may be 2 to 1000 cm"),
        ({"paper": "A4", "bleed": "3"}, "`bleed` '3' is not a length: write for example 3mm"),
        ({"paper": "A4", "bleed": "-3mm"}, "`bleed` is -3mm: it must not be negative"),
        ({"paper": "A4", "bleed": "9cm"}, "`bleed` is 9cm: give at most 50mm"),
        ({"dpi": 0.0}, "`dpi` is 0: give a number from 20 to 2400"),
        ({"dpi": math.nan}, "`dpi` is nan"),
        ({"dpi": 1e9}, "`dpi` is 1e+09"),
        ({"bleed": "3mm"}, "`bleed` applies to `paper` only"),
        ({"landscape": True, "dpi": 300.0}, "`landscape` applies to `paper` only"),
        ({"fit": "pad"}, "`fit` applies to `paper` only"),
        ({"gravity": "north"}, "`gravity` applies to `paper` only"),
        ({"paper": "A4", "fit": "stretch"}, "`fit` is 'stretch': choose one of crop, pad"),
        ({"paper": "A4", "gravity": "up"}, "`gravity` is 'up': choose one of center, north"),
        ({"paper": "A4", "landscape": True, "portrait": True}, "exclude each other"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Print(**options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_lengths() -> None:
    assert parse_length("3mm") == 3
    assert parse_length(" 0.5 CM ") == 5
    assert parse_length(".125in") == pytest.approx(3.175)


@pytest.mark.parametrize(
    ("options", "pixels"),
    [
        ({"paper": "A0"}, (9933, 14043)),
        ({"paper": "A4", "dpi": 150.0}, (1240, 1754)),
        ({"paper": "A4", "dpi": 150.0, "bleed": "3mm"}, (1276, 1789)),
        ({"paper": "24x36in", "dpi": 300.0, "bleed": "0.125in"}, (7275, 10875)),
        ({"paper": "50x70cm", "dpi": 100.0, "landscape": True}, (2756, 1969)),
    ],
)
def test_known_sizes_in_pixels(options: dict[str, Any], pixels: tuple[int, int]) -> None:
    layout = Print(**options).layout((1500, 1000))
    assert layout.size[::-1] == pixels
    assert layout.painted == layout.size
    assert layout.offset == (0, 0)


def test_paper_lies_as_the_content_does_unless_told() -> None:
    def lies(content: tuple[int, int], **options: Any) -> bool:
        layout = Print(**{"paper": "A4", "dpi": 100.0, **options}).layout(content)
        return layout.size[1] > layout.size[0]

    assert lies((100, 150))
    assert not lies((150, 100))
    assert not lies((100, 100))
    assert lies((100, 100), paper="70x50cm")
    assert lies((150, 100), landscape=True)
    assert not lies((100, 150), portrait=True)


def test_gravity_decides_what_crop_keeps() -> None:
    def window(gravity: Any, content: tuple[int, int]) -> tuple[int, int]:
        layout = Print(paper="20x20cm", dpi=100, gravity=gravity).layout(content)
        assert (layout.window.height, layout.window.width) == (100, 100)
        return layout.window.top, layout.window.left

    assert window("center", (100, 180)) == (0, 40)
    assert window("west", (100, 180)) == (0, 0)
    assert window("south-east", (100, 180)) == (0, 80)
    assert window("north", (181, 100)) == (0, 0)
    assert window("center", (181, 100)) == (40, 0)
    assert window("south-west", (181, 100)) == (81, 0)


def test_pad_keeps_everything_inside_the_trim() -> None:
    options = {"paper": "20x10cm", "dpi": 254.0, "bleed": "1cm", "fit": "pad"}
    centred = Print(**options).layout((100, 100))  # type: ignore[arg-type]
    assert centred.size == (1200, 2200)
    assert centred.painted == (1000, 1000)
    assert centred.offset == (100, 600)
    assert (centred.window.height, centred.window.width) == (100, 100)
    right = Print(**options, gravity="east").layout((100, 100))  # type: ignore[arg-type]
    assert right.offset == (100, 1100)


def everything(layout: Layout) -> None:
    """What must hold for any layout."""
    for whole, part, start in zip(layout.size, layout.painted, layout.offset, strict=True):
        assert 0 <= start <= start + part <= whole
        assert part >= 1


@given(
    height=st.integers(40, 5000),
    width=st.integers(40, 5000),
    paper=st.sampled_from([*PAPERS, "70x20cm", "31.7x31.6cm"]),
    dpi=st.floats(20, 400),
    bleed=st.sampled_from(["0mm", "3mm", "2cm"]),
    fit=st.sampled_from(["crop", "pad"]),
    gravity=st.sampled_from(["center", "north-west", "south-east"]),
    scale=st.floats(0.05, 1),
)
def test_any_layout_holds_together(height: int, width: int, scale: float, **options: Any) -> None:
    layout = Print(**options).layout((height, width))
    everything(layout)
    window = layout.window
    assert 0 <= window.top <= window.top + window.height <= height
    assert 0 <= window.left <= window.left + window.width <= width
    assert window.height == height or window.width == width
    aspect = layout.painted[0] / layout.painted[1] * window.width / window.height
    assert abs(math.log(aspect)) < 1 / min(window.height, window.width, *layout.painted)
    smaller = max(round(layout.painted[0] * scale), 1), max(round(layout.painted[1] * scale), 1)
    earlier = layout.at(smaller)
    everything(earlier)
    assert earlier.painted == smaller
    assert earlier.page == layout.page
    inches = layout.page[0] / 25.4, layout.page[1] / 25.4
    longest = 0 if inches[0] > inches[1] else 1
    off = abs(earlier.size[longest] / inches[longest] - earlier.dpi) / earlier.dpi
    assert off < 3 / max(smaller)


def test_whole_layout_is_the_paper_in_pixels() -> None:
    layout = Print(paper="A3", dpi=200, bleed="3mm").layout((3000, 2000))
    assert layout.size == (to_pixels(426, 200), to_pixels(303, 200))
    assert layout.page == (426, 303)
    assert layout.sheet == "A3 with 3 mm bleed at 200 dpi"
    assert layout.at(layout.painted) is layout


def test_there_is_no_layout_without_paper() -> None:
    assert Print().dpi_of_file is None
    assert Print(dpi=200).dpi_of_file == 200
    assert Print(paper="A4").dpi_of_file == 300
    with pytest.raises(ConfigError, match="give `paper`"):
        Print(dpi=200).layout((10, 10))


# The ladder up to an exact size


@pytest.mark.parametrize("paper", ["A6", "B5", "11x17in", "70x20cm"])
def test_the_last_rung_is_the_paper_to_the_pixel(paper: str) -> None:
    layout = Print(paper=paper, dpi=131, bleed="3mm").layout((900, 1300))
    content = layout.window.height, layout.window.width
    rungs = plan(Config(min_size=128), content, [(100, 100)], size=layout.painted)
    assert rungs[-1].size == layout.painted
    for rung in rungs[:-1]:
        shape = rung.size[0] / rung.size[1] * layout.painted[1] / layout.painted[0]
        assert abs(math.log(shape)) < 1 / min(rung.size)
        assert max(rung.size) < max(layout.painted)


@pytest.mark.parametrize(
    ("config", "content", "size", "message"),
    [
        (Config(sizes=(64, 128)), (200, 300), (200, 300), "leave `sizes` out"),
        (Config(), (200, 300), (300, 200), "crop the content to the same shape"),
        (Config(), (200, 300), (200, 320), "crop the content to the same shape"),
        (Config(), (200, 300), (20, 30), "too small"),
    ],
)
def test_an_exact_size_that_cannot_be(
    config: Config, content: tuple[int, int], size: tuple[int, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(config, content, [], size=size)
