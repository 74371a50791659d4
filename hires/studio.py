"""What stays the same up the ladder: the network, its arithmetic, and what is asked of a canvas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from hires.checkpoints import load_features
from hires.config import Config, ConfigError, parse_layer
from hires.features import Network
from hires.ladder import Rung
from hires.losses import STYLE_LOSSES
from hires.objective import Weights
from hires.pixels import PIXEL_SCALES
from hires.precision import Precision, resolve_device, resolve_precision
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


def check_ladder(
    studio: Studio, config: Config, rungs: Sequence[Rung], content: tuple[int, int]
) -> None:
    """Refuse, before any work, a ladder with a picture that cannot be cut into tiles.

    Args:
        studio: the network that looks at the pictures.
        config: how to paint.
        rungs: the ladder.
        content: ``(height, width)`` of the content picture as it was given.

    Raises:
        ConfigError: for a picture too small for the network, or a memory budget too small for some
            rung; the message names a budget that is enough for all.
    """
    least = studio.network.least_side(studio.weights.names)
    if min(content) < least:
        raise ConfigError(
            f"the content is {content[1]}x{content[0]}, smaller than the network can see:"
            f" give one of at least {least} px on its short side"
        )
    failures: list[TileMemoryError] = []
    for size in sorted({size for rung in rungs for size in (rung.size, *rung.style_sizes)}):
        try:
            studio.plan_tiles(config, size)
        except TileMemoryError as error:
            failures.append(error)
    if failures:
        raise max(failures, key=lambda failure: failure.needed)
