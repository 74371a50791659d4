"""What a run will take, told before it starts: tiles, peak memory and time of every rung."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hires.config.run import Config
from hires.engine.budget import CANVAS_BYTES, LIBRARY_BYTES, state_bytes
from hires.engine.ladder import MAX_SIZE, Rung, Size
from hires.engine.rates import Rates
from hires.engine.setup import Setup
from hires.errors import ConfigError
from hires.features.costs import remade_layer
from hires.losses.positions import PIXELS
from hires.losses.terms import Term
from hires.tiling.planning import TilePlan
from hires.utils.memory import available_bytes

# An interpreter with torch, its optimizers and its compiled kernels loaded, measured on Linux.
_PROGRAM_BYTES = 900 * 2**20
# A CUDA context and the kernels of PyTorch's libraries.
CONTEXT_BYTES = 512 * 2**20
# Of a CUDA graph, beside the tile and a copy of the canvas: its nodes, and workspaces of its own.
_GRAPH_BYTES = 64 * 2**20
# What checkpoints, previews and the trace add to the time of the steps.
_RECORDING = 1.025


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What one rung takes.

    Attributes:
        rung: the rung.
        tiles: how its canvas is walked.
        host_bytes: memory of the process expected at most.
        device_bytes: memory of the GPU expected at most, None without one.
        memory: budget for feature maps, in bytes.
        bus_bytes: what every step sends to the GPU and back because the canvas lies in the host's
            memory; None where it does not.
        seconds: time for all of its steps and for measuring its targets, None if nobody measured.
    """

    rung: Rung
    tiles: TilePlan
    host_bytes: int
    device_bytes: int | None
    memory: int
    bus_bytes: int | None
    seconds: float | None

    @property
    def peak_bytes(self) -> int:
        """Memory expected at most, on the device that computes."""
        return self.host_bytes if self.device_bytes is None else self.device_bytes


def forecast(
    config: Config,
    setup: Setup,
    rungs: Sequence[Rung],
    *,
    num_input_pixels: int,
    rates: Rates | None = None,
) -> tuple[Forecast, ...]:
    """Lay out every rung's tiles, and add up what will be in memory with them and how long it is.

    Args:
        config: how to paint.
        setup: network and arithmetic.
        rungs: the ladder.
        num_input_pixels: pixels of the content and of all styles; they stay in the host's memory.
        rates: of this machine; None for memory by arithmetic and no times.

    Raises:
        ConfigError: if the memory budget is too small for one tile.
    """
    on_host = setup.device.type == "cpu"
    program = _PROGRAM_BYTES + CANVAS_BYTES * num_input_pixels
    weights = sum(buffer.nbytes for buffer in setup.network.buffers())
    found, kept = [], _bytes_of_styles(setup)
    for rung in rungs:
        there = setup.beside(rung)
        tiles = there.plan_tiles(rung.seen_size)
        spread = 1.0
        if rates is not None:
            # A heap fills up over more steps than a probe has time for: never less than planned.
            spread = max(rates.spread[0 if len(tiles.tiles) == 1 else 1], 1.0)
        state = bytes_per_pixel(config, there, rung) * rung.num_pixels
        taken = round(tiles.bytes_needed * spread + state) + kept + _graph_bytes(there, rung, tiles)
        # A style that is enlarged to be measured may take more than the pictures that were read.
        styles = sum(height * width for height, width in rung.style_sizes)
        enlarged = CANVAS_BYTES * max(styles - num_input_pixels, 0)
        beside = taken if on_host else _beside_card(config, there, rung)
        found.append(
            Forecast(
                rung=rung,
                tiles=tiles,
                host_bytes=program + enlarged + beside,
                device_bytes=None if on_host else _context_bytes(setup) + weights + taken,
                memory=there.memory,
                bus_bytes=_bus_bytes(there, tiles) if there.is_hosted else None,
                seconds=None if rates is None else _seconds(rung, tiles, rates, setup.terms),
            )
        )
    return tuple(found)


def _bytes_of_styles(setup: Setup) -> int:
    """What terms keep of the styles on the device that computes, whatever the canvas."""
    layers, size = setup.network.layers, setup.precision.dtype.itemsize
    each = sum(term.bytes_of_styles(layers, size) for term in setup.terms)
    return max(setup.num_regions, 1) * each


def _beside_card(config: Config, setup: Setup, rung: Rung) -> int:
    """What a canvas takes of the host's memory while a GPU computes."""
    # The content is resized on the host, wherever the canvas is.
    state = state_bytes(config, rung.index) if setup.is_hosted else 0
    return (CANVAS_BYTES + state) * rung.num_pixels


def finish_bytes(setup: Setup, taken: int, *, num_input_pixels: int) -> int:
    """Memory expected at most while a painting is enlarged; see `forecast`."""
    on_host = setup.device.type == "cpu"
    program = _PROGRAM_BYTES + CANVAS_BYTES * num_input_pixels
    return program + taken if on_host else _context_bytes(setup) + taken


def _context_bytes(setup: Setup) -> int:
    """What a GPU's driver and libraries take of its memory whatever the canvas."""
    return CONTEXT_BYTES + LIBRARY_BYTES if setup.device.type == "cuda" else 0


def _graph_bytes(setup: Setup, rung: Rung, tiles: TilePlan) -> int:
    """What recording takes besides: the tile's memory is given back before, and is the graph's."""
    is_recorded = setup.cuda_graphs and not setup.is_hosted and len(tiles.tiles) == 1
    return CANVAS_BYTES * rung.num_pixels + _GRAPH_BYTES if is_recorded else 0


def bytes_per_pixel(config: Config, setup: Setup, rung: Rung) -> float:
    """What grows with the canvas on the device that computes.

    The canvas's own state, unless it lies elsewhere, and the content's features; on a CPU its
    resized picture, too.
    """
    resized = CANVAS_BYTES if setup.device.type == "cpu" else 0
    state = 0 if setup.is_hosted else state_bytes(config, rung.index)
    return state + setup.reference_bytes + resized


def _bus_bytes(setup: Setup, plan: TilePlan) -> int:
    """What a step sends to a GPU and back of a canvas that lies in the host's memory."""
    pixels = [tile.region.num_pixels for tile in plan.tiles]
    remade = plan.remakes and remade_layer(setup.names) in setup.names
    # Every tile is read, and its gradient comes back; some are read again.
    ways = (2 + remade) * sum(pixels) + sum(pixels[: len(pixels) - plan.num_kept])
    for term in setup.terms:
        if PIXELS in term.layers and not term.is_linear:
            ways += 3 * sum(pixels)  # Measured, then read once more for a gradient.
        elif PIXELS in term.layers and term.weight:
            ways += 2 * sum(pixels)
    return CANVAS_BYTES * ways


def _seconds(rung: Rung, tiles: TilePlan, rates: Rates, terms: Sequence[Term]) -> float:
    """Seconds of a rung: its targets, then its steps."""
    step = _whole_step(rung.num_pixels, rates)
    if step is None or len(tiles.tiles) > 1:
        step = _tiled_step(rung.num_pixels, tiles, rates)
    steps = range(rung.num_iterations)
    anew = sum(any(term.at_step(i) is not term for term in terms) for i in steps)
    renewal = anew * rates.renewal * rung.num_pixels
    looks = [term.num_looks for term in terms]
    looked_at = rung.num_pixels * sum(of_content for of_content, _ in looks)
    styles = sum(height * width for height, width in rung.style_sizes)
    looked_at += styles * sum(of_styles for _, of_styles in looks)
    return rung.num_iterations * step * _RECORDING + renewal + looked_at * rates.forward


def _whole_step(num_pixels: int, rates: Rates) -> float | None:
    """Seconds of a step on a canvas of one tile, between those that were measured."""
    if not rates.whole:
        return None
    below = max((one for one in rates.whole if one[0] <= num_pixels), default=None)
    above = min((one for one in rates.whole if one[0] >= num_pixels), default=None)
    if below is None or above is None:
        pixels, seconds = below or above or (1, 0.0)
        fixed = min(rates.fixed, seconds)
        return fixed + (seconds - fixed) * num_pixels / pixels
    share = (num_pixels - below[0]) / max(above[0] - below[0], 1)
    return below[1] + share * (above[1] - below[1])


def _tiled_step(num_pixels: int, tiles: TilePlan, rates: Rates) -> float:
    """Seconds of a step that walks tiles, all of them twice but for those whose graphs are kept."""
    pixels = [tile.region.num_pixels for tile in tiles.tiles]
    again = pixels[: len(pixels) - min(tiles.num_kept, len(pixels))]
    walked = rates.both * (num_pixels + rates.per_tile * len(pixels))
    walked += rates.forward * (sum(again) + rates.per_tile * len(again))
    return rates.fixed + walked + rates.outside * num_pixels


def largest_size(last: Forecast, config: Config, setup: Setup, memory: int) -> Size:
    """The largest ``(height, width)`` of the same shape whose last rung fits ``memory`` bytes.

    Args:
        last: of the last rung.
        config: how to paint.
        setup: network and arithmetic.
        memory: of the device that computes, for everything together.
    """
    if setup.device.type == "cuda" and setup.budget is not None:
        return _largest_on_card(last, config, setup, memory)
    grows = bytes_per_pixel(config, setup, last.rung)
    constant = last.peak_bytes - grows * last.rung.num_pixels
    # A canvas of one tile may become many, and then takes what the budget gives.
    constant += max(last.memory - last.tiles.bytes_needed, 0)
    (height, width), margin = last.rung.size, last.rung.margin + last.rung.wrap
    # (height · most + 2 margin) (width · most + 2 margin) pixels.
    half, whole = margin * (height + width), height * width
    free = max(memory - constant, 0) / grows - 4 * margin**2
    most = max((math.sqrt(max(half**2 + whole * free, 0)) - half) / whole, 0)

    def scaled(scale: float) -> Size:
        return math.floor(height * scale), math.floor(width * scale)

    def has_tiles(scale: float) -> bool:
        canvas = [side + 2 * margin for side in scaled(scale)]
        return _has_tiles(setup, (canvas[0], canvas[1]))

    if not most or has_tiles(most):
        return scaled(most)
    # Lines that wait at seams grow with the canvas, until the budget holds no tiles.
    return scaled(most_that(has_tiles, most))


def _largest_on_card(last: Forecast, config: Config, setup: Setup, memory: int) -> Size:
    """The same on a GPU, whose canvas may leave it, and whose tiles get what the rest leaves."""
    height, width = last.rung.size
    of_host = available_bytes()

    def fits(scale: float) -> bool:
        rung = replace(last.rung, size=(int(height * scale), int(width * scale)))
        try:
            (found,) = forecast(config, setup, [rung], num_input_pixels=0)
        except ConfigError:
            return False
        has_room = of_host is None or found.host_bytes <= of_host
        return has_room and found.peak_bytes <= memory + _context_bytes(setup)

    scale = most_that(fits, MAX_SIZE / max(height, width))
    return int(height * scale), int(width * scale)


def most_that(fits: Callable[[float], bool], most: float) -> float:
    """The largest number below one that does not fit, within a percent."""
    least, first = 0.0, most
    while most - least > 0.01 * most and most > 1e-6 * first:
        middle = (least + most) / 2
        if fits(middle):
            least = middle
        else:
            most = middle
    return least


def _has_tiles(setup: Setup, size: Size) -> bool:
    """Whether the budget holds tiles for a canvas."""
    try:
        setup.plan_tiles(size)
    except ConfigError:
        return False
    return True
