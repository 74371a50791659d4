"""What each of several processes would take of a rung, by arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hires.config.run import Config
from hires.engine.budget import CANVAS_BYTES
from hires.engine.estimate import Forecast, bytes_per_pixel
from hires.engine.setup import Setup
from hires.losses.style import Style
from hires.processes.bands import even_bands, seen_by

# Of a sum, in float64.
_SUM_BYTES = 8


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
        efficiency: what is computed over what the processes compute together.
        seconds: time for the rung; None if nobody measured.
    """

    num_processes: int
    rows: int
    seen_rows: int
    row_bytes: int
    sum_bytes: int
    memory_bytes: int
    efficiency: float
    seconds: float | None


def process_share(config: Config, setup: Setup, line: Forecast, num_processes: int) -> ProcessShare:
    """What a process would take of a rung.

    Args:
        config: how to paint.
        setup: network and arithmetic, as one process has them.
        line: what one process alone takes.
        num_processes: how many paint.

    Raises:
        ConfigError: if the canvas has too few rows.
    """
    rung, (strip, _) = line.rung, setup.wrap
    height, width = rung.canvas_size
    own = even_bands(height, num_processes)
    seen = [seen_by(rows, height, strip) for rows in own]
    most = max(range(num_processes), key=lambda rank: seen[rank].length)
    borrowed = [there.length - here.length for here, there in zip(own, seen, strict=True)]
    there = replace(setup, num_bands=num_processes).beside(rung)
    tiles = there.plan_tiles((seen[most].length, width))
    state = bytes_per_pixel(config, there, rung)
    alone = line.tiles.bytes_needed + bytes_per_pixel(config, setup, rung) * rung.num_pixels
    # The strips and their gradient are kept beside the band.
    taken = tiles.bytes_needed + width * (
        state * own[most].length + 2 * CANVAS_BYTES * seen[most].length
    )
    efficiency = height / (num_processes * seen[most].length)
    seconds = None if line.seconds is None else line.seconds / (num_processes * efficiency)
    ways = 2  # Pixels to the neighbours, gradients back.
    return ProcessShare(
        num_processes=num_processes,
        rows=own[most].length,
        seen_rows=seen[most].length,
        row_bytes=ways * CANVAS_BYTES * width * max(borrowed),
        sum_bytes=round(2 * (1 - 1 / num_processes) * _SUM_BYTES * _num_sums(setup)),
        memory_bytes=round(line.peak_bytes - alone + taken),
        efficiency=efficiency,
        seconds=seconds,
    )


def _num_sums(setup: Setup) -> int:
    """Of the moments, next to which other terms' sums are few."""
    layers: Sequence[str] = [
        name for term in setup.terms if isinstance(term, Style) for name in term.layers
    ]
    channels = [setup.network.layers[name].channels for name in layers]
    return max(setup.num_regions, 1) * sum(count * count + count for count in channels)
