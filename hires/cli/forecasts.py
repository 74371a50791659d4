"""Forecasts as they are told: a table of rungs, a line, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from hires.config.values import counted, format_bytes
from hires.engine.estimate import Forecast
from hires.engine.shares import SharedForecast
from hires.runs.page import duration


def about_shared(shared: SharedForecast) -> str:
    """What several processes take, in a line."""
    share = shared.last
    sent = format_bytes(share.row_bytes + share.sum_bytes)
    text = (
        f"{counted(share.num_processes, 'process')} at the last rung: bands of {share.rows} rows,"
        f" each computes {share.flops / 1e12:.3g} TFLOP and sends {sent} a step, and takes about"
        f" {format_bytes(share.memory_bytes)} of memory; {1 - share.efficiency:.0%} of the work is"
        " done twice"
    )
    seconds, speedup = shared.seconds, shared.speedup
    if seconds is not None and speedup is not None:
        efficiency = speedup / share.num_processes
        text += (
            f"; about {duration(seconds)} for all rungs, {speedup:.3g} times as fast as one"
            f" process ({efficiency:.0%} of {share.num_processes} times)"
        )
    if shared.largest is not None:
        height, width = shared.largest
        text += f"; the largest such painting is {width}x{height}"
    return text


def record_of(line: Forecast) -> dict[str, Any]:
    """A rung as JSON."""
    height, width = line.rung.size
    return {
        "width": width,
        "height": height,
        "iterations": line.rung.num_iterations,
        "tiles": len(line.tiles.tiles),
        "tile": line.tiles.side,
        "kept": line.tiles.num_kept,
        "host_bytes": line.host_bytes,
        "device_bytes": line.device_bytes,
        "memory_bytes": line.memory,
        "bus_bytes": line.bus_bytes,
        "seconds": line.seconds,
    }


def table_of(rungs: Sequence[Forecast]) -> Table:
    """Rungs, a row each."""
    has_device = any(line.device_bytes is not None for line in rungs)
    columns = ["rung", "size", "steps", "tiles", "tile size", "kept"]
    columns += ["on device", "on host"] if has_device else ["memory"]
    columns += ["time"] if rungs[0].seconds is not None else []
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for line in rungs:
        height, width = max(tile.region.size for tile in line.tiles.tiles)
        cells = [
            str(line.rung.index + 1),
            f"{line.rung.size[1]}x{line.rung.size[0]}",
            str(line.rung.num_iterations),
            str(len(line.tiles.tiles)),
            f"{width}x{height}",
            str(line.tiles.num_kept),
            *(format_bytes(part) for part in (line.device_bytes, line.host_bytes) if part),
            *([] if line.seconds is None else [duration(line.seconds)]),
        ]
        table.add_row(*cells)
    return table
