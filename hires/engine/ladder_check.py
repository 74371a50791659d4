"""Refusing, before any work, a ladder with a picture that cannot be cut into tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hires.config.run import Config
from hires.engine.ladder import Rung, Size, measured
from hires.engine.setup import Setup
from hires.errors import ConfigError
from hires.tiling.planning import TileMemoryError


def check_ladder(
    setup: Setup,
    config: Config,
    rungs: Sequence[Rung],
    content: Size,
    styles: Sequence[Size],
    *,
    names: Sequence[str] = (),
    what: str = "the content",
) -> None:
    """Refuse, before any work, a ladder with a picture that cannot be cut into tiles.

    Args:
        setup: the network that looks at the pictures.
        config: how to paint.
        rungs: the ladder.
        content: ``(height, width)`` of the content picture as it was given.
        styles: the same of each style.
        names: what to call the content and each style, such as their files.
        what: gives the canvas its shape.

    Raises:
        ConfigError: for a picture too small for the network, or a memory budget too small for some
            rung; the message names a budget that is enough for all.
    """
    least = setup.costs.least_side
    called = [f" ({name})" if name else "" for name in names or [""] * (1 + len(styles))]
    if min(content) < least:
        raise ConfigError(
            f"{what}{called[0]} is {content[1]}x{content[0]}, smaller than the network can"
            f" see: give one of at least {least} px on its short side"
        )
    _check_canvas(config, rungs, f"{what}{called[0]}", content, least)
    for i, style in enumerate(styles):
        _check_style(config, rungs, i, f"style {i + 1}{called[i + 1]}", style, least)
    failures: list[TileMemoryError] = []
    for rung in rungs:
        there = setup.beside(rung)
        for size in {rung.seen_size, *rung.style_sizes}:
            try:
                there.plan_tiles(size)
            except TileMemoryError as error:
                failures.append(error)
    if failures:
        raise max(failures, key=lambda failure: failure.needed)


def _check_canvas(
    config: Config, rungs: Sequence[Rung], name: str, content: Size, least: int
) -> None:
    """Refuse a canvas too narrow for the network, and say at which size it is not."""
    narrow = [rung for rung in rungs if min(rung.size) < least]
    if not narrow:
        return
    height, width = narrow[-1].size
    # The narrower side may be a pixel less than its shape says.
    side = math.ceil(measured(config, content) * (least + 1) / min(content))
    option = "min_size" if len(narrow) < len(rungs) else "size"
    advice = f"give sizes from {side} on" if config.sizes else f"give `{option}={side}` or more"
    raise ConfigError(
        f"{name} is {content[1]}x{content[0]} and would be painted at {width}x{height}, but the"
        f" network needs {least} px on the short side: {advice}, or crop it"
    )


def _check_style(
    config: Config, rungs: Sequence[Rung], index: int, name: str, style: Size, least: int
) -> None:
    """Refuse a style too narrow for the network at some rung, and say what would help."""
    first, last = rungs[0], rungs[-1]
    height, width = first.style_sizes[index]
    if min(height, width) >= least:
        return
    told = f"{name} is {style[1]}x{style[0]}"
    shape = first.size if config.style_fit == "stretch" else style
    if shape is style and min(style) * max(config.style_scale, 1) < least:
        raise ConfigError(
            f"{told}, too narrow for the network: give one of at least {least} px on its short side"
        )
    # Rounding may take a pixel from the narrower side.
    needed = (least + 1) * max(shape) / min(shape) / config.style_scale
    if shape is style and needed * config.style_scale > max(style):
        needed = least * max(shape) / min(shape) / config.style_scale
    scale = math.ceil(100 * config.style_scale * needed / max(first.size)) / 100
    choices = [f"`style_scale={scale:g}`"]
    if needed <= max(last.size):
        side = math.ceil(needed * measured(config, last.size) / max(last.size))
        choices = [f"sizes from {side} on" if config.sizes else f"`min_size={side}`", *choices]
    raise ConfigError(
        f"{told} and would be looked at at {width}x{height} beside the canvas of"
        f" {first.size[1]}x{first.size[0]}, but the network needs {least} px on the short side:"
        f" give {' or '.join(choices)}, or crop it"
    )
