"""``hires plan``: what a run would take."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from hires.arguments import Plan
from hires.commands.stylize import set_up
from hires.config import format_bytes
from hires.engine import check_ladder, open_studio
from hires.forecast import Forecast, finish_bytes, forecast


def run(job: Plan) -> int:
    """Print the ladder with its tiles and memory."""
    easel = set_up(job)
    studio = open_studio(job.config)
    check_ladder(studio, job.config, easel.rungs, easel.content_size)
    found = forecast(job.config, studio, easel.rungs, num_input_pixels=easel.num_input_pixels)
    if not job.quiet:
        console = Console(highlight=False)
        console.print(_ladder_table(found))
        steps = sum(rung.num_iterations for rung in easel.rungs)
        peak = max(rung.peak_bytes for rung in found)
        finish, last = easel.finish, ""
        if finish is not None:
            last = f" then {finish},"
            pixels = easel.num_input_pixels
            peak = max(peak, finish_bytes(studio, finish, num_input_pixels=pixels))
        console.print(
            f"{steps} steps on {studio.device} in {studio.precision.name},{last}"
            f" at most about {format_bytes(peak)} of memory",
            soft_wrap=True,
        )
    return 0


def _ladder_table(found: Sequence[Forecast]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("rung", "size", "steps", "tiles", "tile size", "graphs kept", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in found:
        height, width = max(tile.core.size for tile in line.tiles.tiles)
        table.add_row(
            str(line.rung.index + 1),
            f"{line.rung.size[1]}x{line.rung.size[0]}",
            str(line.rung.num_iterations),
            str(len(line.tiles.tiles)),
            f"{width}x{height}",
            str(line.tiles.num_kept),
            format_bytes(line.peak_bytes),
        )
    return table
