"""What is refused before any work, and whether the advice that comes with it works."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hires.config.run import Config
from hires.engine import ladder, ladder_check
from hires.engine.ladder import Size
from hires.errors import ConfigError

LEAST = 16  # of the built-in network


def refusal(config: Config, content: Size, style: Size, exact: Size | None = None) -> str | None:
    """What is said about the sizes; None if they can be painted."""
    rungs = ladder.plan(config, content, [style], size=exact)
    try:
        ladder_check._check_canvas(config, rungs, "the content (c.png)", content, LEAST)
        ladder_check._check_style(config, rungs, 0, "style 1 (s.png)", style, LEAST)
    except ConfigError as error:
        return str(error)
    return None


def advised(config: Config, advice: str) -> list[Config]:
    """The configurations that a message proposes."""
    found = []
    for name, value in re.findall(r"`?([a-z_]+)(?:=| from )([0-9.]+)", advice):
        number = float(value) if name == "style_scale" else int(value)
        better: dict[str, Any] = {name: (number,) if name == "sizes" else number}
        found.append(replace(config, **better))
    return found


@pytest.mark.parametrize("size", [1024, 4096])
def test_a_narrow_style_is_named_with_sizes_that_work(size: int) -> None:
    config, content, style = Config(size=size), (768, 1024), (40, 1024)
    message = refusal(config, content, style)
    assert message == (
        "style 1 (s.png) is 1024x40 and would be looked at at 256x10 beside the canvas of 256x192,"
        " but the network needs 16 px on the short side: give `min_size=436` or"
        " `style_scale=1.7`, or crop it"
    )
    assert [refusal(one, content, style) for one in advised(config, message)] == [None, None]


def test_a_style_too_narrow_for_any_size() -> None:
    message = refusal(Config(), (768, 1024), (12, 3000))
    assert message is not None
    assert message.endswith(
        "too narrow for the network: give one of at least 16 px on its short side"
    )
    # Enlarged, it is not.
    assert refusal(Config(min_size=1024, style_scale=4), (768, 1024), (12, 3000)) is None


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"size": 200}, "give `size=298` or more, or crop it"),
        ({"sizes": (200, 300)}, "give sizes from 298 on, or crop it"),
    ],
)
def test_a_narrow_content_is_named_with_a_size_that_works(
    settings: dict[str, Any], advice: str
) -> None:
    message = refusal(Config(**settings), (40, 700), (300, 300))
    assert message is not None
    assert message.startswith("the content (c.png) is 700x40 and would be painted at 200x11, but")
    assert message.endswith(advice)
    assert refusal(Config(size=298), (40, 700), (300, 300)) is None


side = st.integers(16, 3000)


@given(
    content=st.tuples(st.integers(100, 3000), st.integers(100, 3000)),
    style=st.tuples(side, side),
    scale=st.sampled_from([0.05, 0.3, 1.0, 1.7]),
    settings=st.sampled_from(
        [
            {},
            {"size": 300},
            {"sizes": (100, 700)},
            {"measured_side": "short"},
            {"style_fit": "stretch"},
        ]
    ),
    on_paper=st.booleans(),
)
def test_advice_about_a_narrow_style_works(
    content: Size, style: Size, scale: float, settings: dict[str, Any], on_paper: bool
) -> None:
    assume(max(content) < 16 * min(content))
    assume(not (on_paper and "sizes" in settings))
    config = Config(style_scale=scale, **settings)
    exact = (content[0] * 2, content[1] * 2) if on_paper else None
    message = refusal(config, content, style, exact)
    if message is None or message.startswith("the content"):
        return
    for better in advised(config, message):
        if better.style_scale <= 16:
            assert refusal(better, content, style, exact) is None, (message, better)
