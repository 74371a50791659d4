"""What stays the same up the ladder: the network, its arithmetic, and what is asked of a canvas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch

from hires.checkpoints import load_features
from hires.config import Config, ConfigError, parse_layer
from hires.features import Network
from hires.ladder import Rung, Size, measured
from hires.losses import STYLE_LOSSES, Moments, blend
from hires.objective import Weights
from hires.originals import Original
from hires.pixels import PIXEL_SCALES
from hires.precision import Precision, resolve_device, resolve_precision
from hires.targets import measure_style
from hires.walk import TileMemoryError, TilePlan, plan_tiles, replan, tile_bytes, within_memory

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Studio:
    """What stays the same up the ladder: network, arithmetic, weights.

    Attributes:
        network: prepared feature network.
        precision: its arithmetic.
        weights: what is asked of the canvas.
    """

    network: Network
    precision: Precision
    weights: Weights

    @property
    def device(self) -> torch.device:
        """Where tiles are computed."""
        return self.network.origin.device

    def plan_tiles(self, config: Config, size: tuple[int, int]) -> TilePlan:
        """The tiles of a picture of ``(height, width)``."""
        return plan_tiles(
            self.network,
            self.weights.names,
            size,
            dtype=self.precision.dtype,
            memory=config.memory_bytes,
            tile=config.tile,
        )

    def tile_bytes(self, num_pixels: int) -> float:
        """Bytes planned for one tile of several, of so many pixels, with its graph kept."""
        return num_pixels * sum(
            tile_bytes(self.network, self.weights.names, self.precision.dtype, remakes=True)
        )

    def is_one_tile(self, config: Config, size: tuple[int, int]) -> bool:
        """Whether a picture of ``(height, width)`` is a single tile."""
        return len(self.plan_tiles(config, size).tiles) == 1


class Measuring:
    """Measures the pictures of a rung one after the other, with smaller tiles if memory runs out.

    Args:
        studio: the network that looks at them.
        config: how to paint.
        sides: of the tiles with which the same pictures were measured before, in that order. Sums
            depend on them in their last bits.

    Attributes:
        sides: of the tiles with which the pictures were measured.
    """

    def __init__(self, studio: Studio, config: Config, sides: Sequence[int] = ()) -> None:
        self._studio, self._config = studio, config
        self._before = list(sides)
        self.sides: list[int] = []

    def __call__(self, size: tuple[int, int], measure: Callable[[TilePlan], Result]) -> Result:
        """Measure a picture of ``(height, width)``."""
        studio, names = self._studio, self._studio.weights.names
        plan = studio.plan_tiles(self._config, size)
        if self._before:
            side = self._before.pop(0)
            plan = replan(studio.network, names, size, plan, side=side, num_kept=plan.num_kept)
        # No graphs are kept: tiles are all that can be made smaller.
        plan = replace(plan, num_kept=1)
        dtype = studio.precision.dtype
        found, plan = within_memory(measure, studio.network, names, size, plan, dtype)
        self.sides.append(plan.side)
        return found


def open_studio(config: Config) -> Studio:
    """Load the network and settle device, precision and weights.

    Raises:
        ValueError: for an unknown device, precision, network or layer.
    """
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    network = load_features(config.features, pooling=config.pooling, pixels=config.pixels)
    network.prepare(device, precision.dtype, precision.memory_format)
    weights = weights_of(config)
    network.check_layers(weights.names)
    return Studio(network, precision, weights)


def weights_of(config: Config) -> Weights:
    """What a configuration asks of the canvas."""
    return Weights(
        style_loss=STYLE_LOSSES[config.style_loss],
        style_layers=dict(parse_layer(layer) for layer in config.style_layers),
        content_layers=dict(parse_layer(layer) for layer in config.content_layers),
        style=config.style_weight,
        content=config.content_weight,
        tv=config.tv_weight,
        content_loss=config.content_loss,
        tv_loss=config.tv_loss,
        layer_reduction=config.layer_reduction,
        pixel_scale=PIXEL_SCALES[config.pixels],
    )


def style_target(
    measuring: Measuring,
    studio: Studio,
    rung: Rung,
    styles: Sequence[Original],
    shares: Sequence[float],
) -> dict[str, Moments]:
    """Moments that a rung is to have: those of the styles at its sizes, blended by their shares."""
    names = list(studio.weights.style_layers)
    moments = [
        measuring(size, partial(_moments, studio, style.resized(size), names))
        for style, size in zip(styles, rung.style_sizes, strict=True)
    ]
    return {name: blend([part[name] for part in moments], shares) for name in names}


def _moments(
    studio: Studio, painting: Original, names: Sequence[str], plan: TilePlan
) -> dict[str, Moments]:
    network, precision = studio.network, studio.precision
    return measure_style(network, painting.pixels, names, plan, precision, painting.mask)


def check_ladder(
    studio: Studio,
    config: Config,
    rungs: Sequence[Rung],
    content: Size,
    styles: Sequence[Size],
    *,
    names: Sequence[str] = (),
) -> None:
    """Refuse, before any work, a ladder with a picture that cannot be cut into tiles.

    Args:
        studio: the network that looks at the pictures.
        config: how to paint.
        rungs: the ladder.
        content: ``(height, width)`` of the content picture as it was given.
        styles: the same of each style.
        names: what to call the content and each style, such as their files.

    Raises:
        ConfigError: for a picture too small for the network, or a memory budget too small for some
            rung; the message names a budget that is enough for all.
    """
    least = studio.network.least_side(studio.weights.names)
    called = [f" ({name})" if name else "" for name in names or [""] * (1 + len(styles))]
    if min(content) < least:
        raise ConfigError(
            f"the content{called[0]} is {content[1]}x{content[0]}, smaller than the network can"
            f" see: give one of at least {least} px on its short side"
        )
    _check_canvas(config, rungs, f"the content{called[0]}", content, least)
    for i, style in enumerate(styles):
        _check_style(config, rungs, i, f"style {i + 1}{called[i + 1]}", style, least)
    failures: list[TileMemoryError] = []
    for size in sorted({size for rung in rungs for size in (rung.size, *rung.style_sizes)}):
        try:
            studio.plan_tiles(config, size)
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
