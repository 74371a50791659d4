"""Sizes, steps and style sizes of a run: pure arithmetic."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires import ladder
from hires.config import Config, ConfigError
from hires.ladder import long_sides, plan, scale_to

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
    assert rungs[0].num_pixels == 192 * 256


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
    assert counts[0] > counts[-1] >= 30


def test_more_iterations_than_rungs_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"--iterations has 4 numbers for a ladder of 3 rungs"):
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
    assert [max(rung.style_sizes[0]) for rung in rungs] == [768, 1000, 1000]


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
    (warning,) = ladder.warnings(config, plan(config, CONTENT, styles), styles)
    assert warning.startswith("style 1 is 300x400 and would be measured at 2048 px: the last")
    assert "5.1 times finer" in warning
    (warning,) = ladder.warnings(config, plan(config, CONTENT, styles), styles, dpi=100)
    assert "as if it were 10 cm large" in warning
    assert not ladder.warnings(Config(size=512), plan(Config(size=512), CONTENT, styles), styles)


def test_style_scale_counts_for_the_warning() -> None:
    config, styles = Config(size=2048, style_scale=0.25), [(400, 300)]
    assert not ladder.warnings(config, plan(config, CONTENT, styles), styles)
