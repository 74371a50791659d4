"""What a run is without a content picture: a texture, painted from noise. No torch."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from hires.config.run import Config
from hires.config.values import parse_blend
from hires.errors import ConfigError

# What asks for a content picture, and its value where there is none.
_OF_CONTENT: dict[str, Any] = {
    "color": "style",
    "content_weight": 0.0,
    "detail_weight": 0.0,
    "content_detail": 0.0,
    "content_layers": (),
}
# The same for what a canvas has no use for that wraps.
_OF_BORDERS: dict[str, Any] = {"margin": 0}


def texture_config(config: Config, *, tileable: bool = False) -> Config:
    """How to paint a texture; a configuration that is one already stays as it is.

    Args:
        config: how to paint. Options that were not given and ask for a content are switched off.
        tileable: whether the canvas wraps.

    Raises:
        ConfigError: for options that do nothing without a content or a border.
    """
    settings = {name: _off(config, name, "a texture has no content") for name in _OF_CONTENT}
    if tileable:
        settings |= {name: _off(config, name, "what tiles has no border") for name in _OF_BORDERS}
    if parse_blend(config.init) is not None or isinstance(config.size, str):
        name = "size" if isinstance(config.size, str) else "init"
        advice = "pixels" if name == "size" else "noise or a picture"
        value = getattr(config, name)
        raise ConfigError(
            f"`{name}={value}` needs a content, and a texture has none: give {advice}"
        )
    if config.init == "content":
        settings["init"] = "noise"
    return replace(config, **settings)


def _off(config: Config, name: str, why: str) -> Any:
    """The value that an option has where it does nothing."""
    off = (_OF_CONTENT | _OF_BORDERS)[name]
    if not config.is_default(name) and getattr(config, name) != off:
        raise ConfigError(f"{why}: leave `{name}` out")
    return off


def parse_aspect(text: str) -> tuple[int, int]:
    """A shape of ``(height, width)``, of ``16:9`` or ``1:1.5``: the width comes first.

    Raises:
        ConfigError: if it is none.
    """
    match = re.fullmatch(r"([0-9]*\.?[0-9]+):([0-9]*\.?[0-9]+)", text)
    sides = [round(float(side) * _FINE) for side in match.groups()] if match else [0]
    if not all(sides):
        raise ConfigError(f"`aspect` is '{text}': write WIDTH:HEIGHT, such as 3:2")
    return sides[1], sides[0]


# Parts of a side by which aspects are told apart.
_FINE = 10_000
