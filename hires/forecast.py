"""What a run will take, told before it starts: tiles and peak memory of every rung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hires.config import Config
from hires.engine import Studio
from hires.ladder import Rung
from hires.walk import TilePlan

# Three channels of float32.
_CANVAS_BYTES = 12
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
    constant = _PROGRAM_BYTES + _CANVAS_BYTES * num_input_pixels if on_host else 0
    found = []
    for rung in rungs:
        tiles = studio.plan_tiles(config, rung.size)
        per_pixel = state_bytes(config, rung.index) + content_bytes(studio)
        peak = constant + tiles.bytes_needed + round(per_pixel * rung.num_pixels)
        found.append(Forecast(rung, tiles, peak))
    return tuple(found)


def state_bytes(config: Config, rung: int) -> int:
    """Bytes per pixel of canvas, gradient and what the optimizer keeps."""
    # Other units than [0, 1] take a copy of the canvas.
    scaled = int(config.pixels != "unit")
    if config.optimizer == "adam":
        return _CANVAS_BYTES * ((5 if config.averaging else 4) + scaled)
    return _CANVAS_BYTES * (2 * config.history_at(rung) + 6 + scaled)


def content_bytes(studio: Studio) -> float:
    """Bytes per pixel of the content's features."""
    layers = [studio.network.layers[name] for name in studio.weights.content_layers]
    channels = sum(layer.channels / layer.stride**2 for layer in layers)
    return channels * studio.precision.dtype.itemsize
