"""What each of several processes would take of a rung, by arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from hires.config.run import Config
from hires.engine.budget import CANVAS_BYTES, LIBRARY_BYTES, Budget
from hires.engine.estimate import CONTEXT_BYTES, Forecast, bytes_per_pixel, most_that
from hires.engine.ladder import MAX_SIZE, Size
from hires.engine.setup import Setup
from hires.errors import ConfigError
from hires.features.arithmetic import forward_flops, step_flops
from hires.losses.style import Style
from hires.processes.bands import even_bands, seen_by

# Of a sum, in float64.
_SUM_BYTES = 8
# Seconds of a step that more devices do not shorten: messages, roots of covariances. A guess, for
# devices that nobody has measured.
_FIXED = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Devices that paint together.

    Attributes:
        num_processes: how many, with a process each.
        device_bytes: memory of each; None for what this machine's has.
        link: bytes that a process sends in a second; None for links that take no time.
        flops: FLOP that one reaches in a second of whole steps; None for what was measured here.
    """

    num_processes: int
    device_bytes: int | None = None
    link: float | None = None
    flops: float | None = None

    def devices(self, setup: Setup, config: Config) -> Setup:
        """A setup on one of these devices, with its memory."""
        if self.device_bytes is None:
            return setup
        card = max(self.device_bytes - CONTEXT_BYTES, 0)
        return replace(setup, budget=Budget(config, config.memory_bytes, card))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessShare:
    """A rung's band that takes most, of several processes.

    Attributes:
        num_processes: how many paint.
        rows: of the canvas that a process answers for.
        seen_rows: those that it computes.
        row_bytes: pixels and gradients that it sends in a step.
        sum_bytes: sums that it sends in a step.
        memory_bytes: memory expected at most on the device that computes.
        flops: of its convolutions in a step.
        efficiency: what is computed over what the processes compute together.
        seconds: time for the rung; None if nobody measured.
        alone_seconds: the same for one such device alone, whether or not it has the memory.
    """

    num_processes: int
    rows: int
    seen_rows: int
    row_bytes: int
    sum_bytes: int
    memory_bytes: int
    flops: float
    efficiency: float
    seconds: float | None
    alone_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedForecast:
    """What a painting would take of several devices.

    Attributes:
        shares: of every rung.
        largest: ``(height, width)`` of the largest painting of this shape that they hold; None if
            their memory was not told.
    """

    shares: Sequence[ProcessShare]
    largest: Size | None

    @property
    def last(self) -> ProcessShare:
        """Of the last rung."""
        return self.shares[-1]

    @property
    def seconds(self) -> float | None:
        """For all rungs; None if nobody measured."""
        seconds = [share.seconds for share in self.shares if share.seconds is not None]
        return sum(seconds) if len(seconds) == len(self.shares) else None

    @property
    def speedup(self) -> float | None:
        """How many times as fast as one such device alone; None if nobody measured."""
        alone = sum(share.alone_seconds or 0.0 for share in self.shares)
        return alone / self.seconds if self.seconds else None

    def record(self) -> dict[str, Any]:
        """As JSON: the last rung, and what all of them take."""
        return {
            **asdict(self.last),
            "all_seconds": self.seconds,
            "speedup": self.speedup,
            "largest_size": None if self.largest is None else self.largest[::-1],
        }


def shared_forecast(
    config: Config, setup: Setup, lines: Sequence[Forecast], cluster: Cluster
) -> SharedForecast:
    """What a ladder would take of several devices.

    Args:
        config: how to paint.
        setup: network and arithmetic, as one process has them.
        lines: what one process alone takes of each rung.
        cluster: who paints.

    Raises:
        ConfigError: if a canvas has too few rows, or a device too little memory.
    """
    shares = [process_share(config, setup, line, cluster) for line in lines]
    largest = None
    if cluster.device_bytes is not None:
        largest = largest_shared(config, setup, lines[-1], cluster)
    return SharedForecast(shares=shares, largest=largest)


def process_share(config: Config, setup: Setup, line: Forecast, cluster: Cluster) -> ProcessShare:
    """What a process would take of a rung.

    Args:
        config: how to paint.
        setup: network and arithmetic, as one process has them.
        line: what one process alone takes.
        cluster: who paints.

    Raises:
        ConfigError: if the canvas has too few rows, or a device too little memory.
    """
    num_processes = cluster.num_processes
    rung, (strip, _) = line.rung, setup.wrap
    height, width = rung.canvas_size
    own = even_bands(height, num_processes)
    seen = [seen_by(rows, height, strip) for rows in own]
    most = max(range(num_processes), key=lambda rank: seen[rank].length)
    borrowed = [there.length - here.length for here, there in zip(own, seen, strict=True)]
    there = replace(cluster.devices(setup, config), num_bands=num_processes).beside(rung)
    is_open = seen[most].start > 0, seen[most].stop < height
    tiles = there.plan_tiles((seen[most].length, width), is_open)
    state = bytes_per_pixel(config, there, rung)
    # The strips and their gradient are kept beside the band.
    taken = tiles.bytes_needed + width * (
        state * own[most].length + 2 * CANVAS_BYTES * seen[most].length
    )
    ways = 2  # Pixels to the neighbours, gradients back.
    row_bytes = ways * CANVAS_BYTES * width * max(borrowed)
    sum_bytes = round(2 * (1 - 1 / num_processes) * _SUM_BYTES * _num_sums(setup))
    flops = step_flops(setup.network, setup.names, tiles)
    untiled = replace(setup, budget=None, memory=2**62, tile=None).plan_tiles((height, width))
    whole = step_flops(setup.network, setup.names, untiled)
    forward = partial(forward_flops, setup.network, setup.names)
    efficiency = sum(map(forward, untiled.tiles)) / (num_processes * sum(map(forward, tiles.tiles)))
    speedup, num_bytes = num_processes * efficiency, row_bytes + sum_bytes
    return ProcessShare(
        num_processes=num_processes,
        rows=own[most].length,
        seen_rows=seen[most].length,
        row_bytes=row_bytes,
        sum_bytes=sum_bytes,
        memory_bytes=round(taken + _beside(config, setup, line, cluster)),
        flops=flops,
        efficiency=efficiency,
        seconds=_seconds(line, cluster, flops, speedup, num_bytes),
        alone_seconds=_seconds(line, cluster, whole, 1.0, 0),
    )


def _beside(config: Config, setup: Setup, line: Forecast, cluster: Cluster) -> float:
    """Bytes that a process has on its device beside tiles and canvas."""
    if cluster.device_bytes is not None:
        weights = sum(buffer.nbytes for buffer in setup.network.buffers())
        return CONTEXT_BYTES + LIBRARY_BYTES + weights
    state = bytes_per_pixel(config, setup, line.rung) * line.rung.num_pixels
    return line.peak_bytes - line.tiles.bytes_needed - state


def _seconds(
    line: Forecast, cluster: Cluster, flops: float, speedup: float, num_bytes: int
) -> float | None:
    """Seconds of a rung.

    Args:
        line: what one process alone takes.
        cluster: who paints.
        flops: of a process in a step.
        speedup: how much less than one alone computes.
        num_bytes: that a process sends in a step.
    """
    if cluster.flops is not None:
        seconds = line.rung.num_iterations * (flops / cluster.flops + _FIXED)
    elif line.seconds is not None:
        seconds = line.seconds / speedup
    else:
        return None
    return seconds + line.rung.num_iterations * num_bytes / (cluster.link or math.inf)


def largest_shared(config: Config, setup: Setup, line: Forecast, cluster: Cluster) -> Size | None:
    """The largest ``(height, width)`` of a rung's shape that such devices hold; None if none do.

    Args:
        config: how to paint.
        setup: network and arithmetic, as one process has them.
        line: what one process alone takes of the rung.
        cluster: who paints, with ``device_bytes``.
    """
    height, width = line.rung.size

    def fits(scale: float) -> bool:
        rung = replace(line.rung, size=(int(height * scale), int(width * scale)))
        try:
            share = process_share(config, setup, replace(line, rung=rung), cluster)
        except ConfigError:
            return False
        return share.memory_bytes <= (cluster.device_bytes or 0)

    scale = most_that(fits, MAX_SIZE / max(height, width))
    return (int(height * scale), int(width * scale)) if scale else None


def _num_sums(setup: Setup) -> int:
    """Of the moments, next to which other terms' sums are few."""
    layers: Sequence[str] = [
        name for term in setup.terms if isinstance(term, Style) for name in term.layers
    ]
    channels = [setup.network.layers[name].channels for name in layers]
    return max(setup.num_regions, 1) * sum(count * count + count for count in channels)
