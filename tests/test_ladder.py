"""Sizes, steps and style sizes of a run: pure arithmetic."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.config.paper import Print
from hires.config.run import Config
from hires.engine.ladder import long_sides, plan, scale_to
from hires.engine.ladder_warnings import about_ladder, idle
from hires.errors import ConfigError

CONTENT, STYLE = (600, 800), (1000, 700)


@given(st.integers(64, 20_000), st.integers(32, 2048))
def test_rungs_are_spaced_by_a_factor_between_root_two_and_two(final: int, smallest: int) -> None:
    sides = long_sides(final, smallest)
    assert sides[-1] == final
    for small, large in pairwise(sides):
        # Sides are whole pixels.
        assert (large + 1) / (small - 1) >= math.sqrt(2)
        assert (large - 1) / (small + 1) <= 2
    if len(sides) > 1:
        assert sides[0] == smallest


@pytest.mark.parametrize(
    ("final", "smallest", "sides"),
    [
        (1024, 256, (256, 512, 1024)),
        (256, 256, (256,)),
        (300, 256, (300,)),
        (362, 256, (362,)),
        (363, 256, (256, 363)),
        (513, 256, (256, 362, 513)),
        (128, 256, (128,)),
        (3840, 256, (256, 504, 991, 1951, 3840)),
    ],
)
def test_known_ladders(final: int, smallest: int, sides: tuple[int, ...]) -> None:
    assert long_sides(final, smallest) == sides


def test_the_picture_keeps_its_shape() -> None:
    rungs = plan(Config(size=1024), CONTENT, [STYLE])
    assert [rung.size for rung in rungs] == [(192, 256), (384, 512), (768, 1024)]
    assert [rung.index for rung in rungs] == [0, 1, 2]
    assert (rungs[0].margin, rungs[0].canvas_size) == (16, (224, 288))
    assert rungs[0].num_pixels == 224 * 288


@given(st.integers(1, 30_000), st.integers(1, 30_000), st.integers(1, 30_000))
def test_scale_to_hits_the_long_side(height: int, width: int, side: int) -> None:
    scaled = scale_to((height, width), side)
    assert max(scaled) == side
    assert min(scaled) >= 1


def test_given_iterations_repeat_the_last_number() -> None:
    config = Config(size=2048, iterations=(300, 100))
    assert [rung.num_iterations for rung in plan(config, CONTENT, [])] == [300, 100, 100, 100]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_iterations_fall_as_rungs_grow(optimizer: str) -> None:
    rungs = plan(Config(size=16_384, optimizer=optimizer), CONTENT, [])  # type: ignore[arg-type]
    counts = [rung.num_iterations for rung in rungs]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] >= 20


def test_more_iterations_than_rungs_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"`iterations` has 4 numbers for a ladder of 3 rungs"):
        plan(Config(iterations=(4, 3, 2, 1)), CONTENT, [])


def test_sizes_given_by_hand() -> None:
    rungs = plan(Config(sizes=(100, 400, 500)), CONTENT, [])
    assert [rung.size for rung in rungs] == [(75, 100), (300, 400), (375, 500)]


def test_the_style_grows_with_the_rung_but_never_past_its_own_pixels() -> None:
    rungs = plan(Config(size=2048), CONTENT, [STYLE, (3000, 3000)])
    assert [rung.style_sizes[0] for rung in rungs] == [
        (256, 179),
        (512, 358),
        (1000, 700),
        (1000, 700),
    ]
    assert [rung.style_sizes[1] for rung in rungs] == [
        (side, side) for side in (256, 512, 1024, 2048)
    ]


def test_style_scale() -> None:
    rungs = plan(Config(style_scale=0.5), CONTENT, [STYLE])
    assert [max(rung.style_sizes[0]) for rung in rungs] == [128, 256, 512]
    rungs = plan(Config(style_scale=3), CONTENT, [STYLE])
    assert [max(rung.style_sizes[0]) for rung in rungs] == [768, 1536, 3000]


@pytest.mark.parametrize("scale", [1.0, 1.1, 1.9, 3.0, 16.0])
def test_a_style_is_enlarged_by_style_scale_at_most(scale: float) -> None:
    config = Config(size=4096, style_scale=scale)
    (size,) = plan(config, CONTENT, [STYLE])[-1].style_sizes
    assert max(size) == round(1000 * scale)
    assert size[1] / size[0] == pytest.approx(0.7, abs=1e-3)


@pytest.mark.parametrize("size", [(100, 2100), (2100, 100)])
def test_an_absurd_aspect_ratio_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"21 times longer than wide: crop it to at most 20:1"):
        plan(Config(), size, [])


def test_a_banner_starts_where_its_short_side_shows_something() -> None:
    rungs = plan(Config(size=4096), (100, 1600), [])
    assert rungs[0].size == (64, 1024)
    # Painting smaller than that is up to the user.
    assert plan(Config(size=512), (100, 1600), [])[0].size == (32, 512)


def test_a_small_style_is_warned_about() -> None:
    config, styles = Config(size=2048), [(400, 300), (1024, 900)]
    content = (1536, 2048)
    (warning,) = about_ladder(config, plan(config, content, styles), content, styles)
    assert warning.startswith("style 1 is 300x400 and is measured at 400 px, not at 2048: the last")
    assert "5.1 times finer" in warning
    (warning,) = about_ladder(config, plan(config, content, styles), content, styles, dpi=100)
    assert "as if it were 10 cm large" in warning
    assert not about_ladder(
        Config(size=512), plan(Config(size=512), content, styles), content, styles
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"style_scale": 0.25}, ()),
        ({"style_scale": 0.5}, ("measured at 400 px, not at 1024", "2.6 times finer")),
        ({"style_scale": 3}, ("measured at 1200 px, not at 6144", "5.1 times finer")),
        ({"style_scale": 3, "size": 600}, ("enlarged to 1200 px", "will look soft")),
        ({"style_scale": 3, "size": 300}, ("enlarged to 900 px", "will look soft")),
        ({"style_scale": 2, "size": 600}, ()),
        ({"style_fit": "stretch"}, ("enlarged to 2048 px", "will look soft")),
    ],
)
def test_the_warning_tells_at_which_size_a_style_is_really_measured(
    settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    config, styles = Config(**{"size": 2048, **settings}), [(400, 300)]
    content = (1536, 2048)
    found = about_ladder(config, plan(config, content, styles), content, styles)
    assert len(found) == bool(words)
    assert all(word in found[0] for word in words)


def test_a_first_size_that_is_the_only_one_is_as_given() -> None:
    config = Config(size=64, min_size=64)
    assert idle(config, plan(config, (600, 900), [])) == []


def test_a_small_photograph_is_warned_about() -> None:
    config, content = Config(), (32, 32)
    layout = Print(paper="A2").layout(content)
    window = (layout.window.height, layout.window.width)
    rungs = plan(config, window, [], size=layout.painted)
    (warning,) = about_ladder(config, rungs, window, [], dpi=300)
    told = " is 23x32 and is painted at 4961x7016: its scene"
    assert warning.startswith(f"the content{told}")
    (part,) = about_ladder(config, rungs, window, [], dpi=300, is_part=True)
    assert part.startswith(f"the part of the content that lies on the paper{told}")
    assert "219.2 times coarser" in warning
    rungs = plan(Config(size=1600), CONTENT, [])
    assert not about_ladder(Config(size=1600), rungs, CONTENT, [])
    assert about_ladder(Config(size=1602), plan(Config(size=1602), CONTENT, []), CONTENT, [])


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"size": "content"}, (600, 800)),
        ({"size": "50%"}, (300, 400)),
        ({"size": "12.5%"}, (75, 100)),
        ({"size": "200%"}, (1200, 1600)),
        ({"size": "50%", "measured_side": "short"}, (300, 400)),
        ({"size": "content", "measured_side": "height"}, (600, 800)),
        ({"size": "content", "preset": "keras"}, (600, 800)),
    ],
)
def test_a_size_that_follows_from_the_photograph(
    settings: dict[str, Any], size: tuple[int, int]
) -> None:
    assert plan(Config(**settings), CONTENT, [])[-1].size == size


def test_a_share_of_the_photograph_that_is_too_small() -> None:
    with pytest.raises(ConfigError, match=r"`size=3%` of a content of 800x600 is 24 px: give at l"):
        plan(Config(size="3%"), CONTENT, [])


def test_a_first_size_beyond_the_last_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`min_size` is 2000: give at most the last size, 1024"):
        plan(Config(min_size=2000), CONTENT, [])
    # That of a preset gives way.
    assert plan(Config(preset="d2l", size=200), CONTENT, [])[0].size == (150, 200)


@pytest.mark.parametrize(
    ("settings", "content", "words"),
    [
        ({"min_size": 128}, (100, 1600), "`min_size=128` is too small for the shape .* at 1024 px"),
        ({"min_size": 128, "size": 2048}, (100, 1600), "`min_size=128` is .* at 1024 px"),
        ({"min_size": 800}, (900, 1600), "`min_size=800` does nothing: the last size is so close"),
        ({"min_size": 128}, (900, 1600), ""),
        (
            {"learning_rate_decay": 0.5, "decay_every": (300,), "iterations": (300, 100)},
            (900, 1600),
            "`decay_every=300` does nothing: no size takes more than 300 steps",
        ),
        (
            {"learning_rate_decay": 0.5, "decay_every": (299,), "iterations": (300, 100)},
            (900, 1600),
            "",
        ),
        (
            {"optimizer": "lbfgs-wolfe", "restart": 200},
            (900, 1600),
            "`restart=200` does nothing: no size takes more than 200 evaluations",
        ),
        ({"optimizer": "lbfgs-wolfe", "restart": 199}, (900, 1600), ""),
        ({"optimizer_state": "fresh", "rungs": 1}, (900, 1600), "`optimizer_state=fresh` does"),
        ({"optimizer_state": "fresh"}, (900, 1600), ""),
        ({"preset": "d2l", "iterations": (50,)}, (900, 1600), ""),
    ],
)
def test_options_that_do_nothing_on_a_ladder_are_told(
    settings: dict[str, Any], content: tuple[int, int], words: str
) -> None:
    config = Config(**settings)
    found = idle(config, plan(config, content, []))
    assert len(found) == bool(words)
    assert not words or re.match(words, found[0])


@pytest.mark.parametrize(
    ("settings", "size", "words"),
    [
        ({"size": "100000%"}, None, r"4000000x3000000 px .* a smaller `size`, for at most 100000 "),
        ({"size": 100_001}, None, "100001x75001 px .* `size`"),
        ({"sizes": (512, 10**9)}, None, "`sizes`"),
        ({}, (75_000, 100_001), "`dpi`"),
    ],
)
def test_a_size_beyond_any_machine_is_refused(
    settings: dict[str, Any], size: tuple[int, int] | None, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(Config(**settings), (3000, 4000), [], size=size)
    assert plan(Config(size=100_000), (3000, 4000), [])[-1].size == (75_000, 100_000)
