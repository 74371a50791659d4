"""What a run will take, told before it starts: tiles and peak memory of every rung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hires.config import Config, parse_layer
from hires.engine import Studio
from hires.finish import CANVAS_BYTES, Finish
from hires.ladder import Rung
from hires.walk import TilePlan

# An interpreter with torch, its optimizers and its compiled kernels loaded, measured on Linux.
_PROGRAM_BYTES = 900 * 2**20


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one rung takes.

    Attributes:
        rung: the rung.
        tiles: how its canvas is walked.
        peak_bytes: memory expected at most, on the device that computes.
    """

    rung: Rung
    tiles: TilePlan
    peak_bytes: int


def forecast(
    config: Config, studio: Studio, rungs: Sequence[Rung], *, num_input_pixels: int
) -> tuple[Forecast, ...]:
    """Lay out every rung's tiles and add up what will be in memory with them.

    Args:
        config: how to paint.
        studio: network and arithmetic.
        rungs: the ladder.
        num_input_pixels: pixels of the content and of all styles; they stay in the host's memory.

    Raises:
        ConfigError: if the memory budget is too small for one tile.
    """
    on_host = studio.device.type == "cpu"
    constant = _PROGRAM_BYTES + CANVAS_BYTES * num_input_pixels if on_host else 0
    found = []
    for rung in rungs:
        tiles = studio.plan_tiles(config, rung.size)
        per_pixel = state_bytes(config, rung.index) + content_bytes(config, studio)
        peak = constant + tiles.bytes_needed + round(per_pixel * rung.num_pixels)
        found.append(Forecast(rung, tiles, peak))
    return tuple(found)


def finish_bytes(studio: Studio, finish: Finish, *, num_input_pixels: int) -> int:
    """Memory expected at most while a painting is enlarged; see `forecast`."""
    on_host = studio.device.type == "cpu"
    constant = _PROGRAM_BYTES + CANVAS_BYTES * num_input_pixels if on_host else 0
    return constant + finish.bytes_needed


def state_bytes(config: Config, rung: int) -> int:
    """Bytes per pixel of canvas, gradient and what the optimizer keeps."""
    if config.optimizer == "adam":
        return CANVAS_BYTES * (5 if config.averaging else 4)
    history = max(20 >> rung, 3)
    return CANVAS_BYTES * (2 * history + 6)


def content_bytes(config: Config, studio: Studio) -> float:
    """Bytes per pixel of the content's features."""
    layers = [studio.network.layers[parse_layer(text)[0]] for text in config.content_layers]
    channels = sum(layer.channels / layer.stride**2 for layer in layers)
    return channels * studio.precision.dtype.itemsize
