"""How much arithmetic and memory a step takes, counted from the network and its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hires.config.run import Config
from hires.engine.budget import CANVAS_BYTES, state_bytes
from hires.features.arithmetic import convolutions, forward_flops, step_flops
from hires.features.network import Network
from hires.tiling.geometry import Region, Span, Tile, round_up
from hires.tiling.planning import MIN_TILE, Costs, TilePlan

# Bytes per pixel that stay for the whole run: canvas, gradient, Adam's moments, running average.
STATE_BYTES = state_bytes(Config(), 0)


@dataclass(frozen=True, slots=True)
class Work:
    """What one step computes inside the network (moments, losses and optimizer not counted).

    Attributes:
        useful_flops: one forward and one backward over the canvas as a single tile.
        done_flops: the same over the tiles as they are, with what is computed a second time.
        num_second_forwards: tiles whose graph is not kept from the first walk to the second.
        least_bytes: memory traffic of one untiled step if every operation read its inputs and wrote
            its output once, forward and backward.
    """

    useful_flops: float
    done_flops: float
    num_second_forwards: int
    least_bytes: float


def work_of(network: Network, names: Sequence[str], size: tuple[int, int], plan: TilePlan) -> Work:
    """Count one step over a canvas of ``(height, width)`` cut into the tiles of a plan."""
    untiled = Tile(Region(Span(0, size[0]), Span(0, size[1])))
    again = len(plan.tiles) - min(plan.num_kept, len(plan.tiles))
    return Work(
        useful_flops=2 * forward_flops(network, names, untiled),
        done_flops=step_flops(network, names, plan),
        num_second_forwards=again,
        least_bytes=_least_bytes(network, names, untiled),
    )


def _least_bytes(network: Network, names: Sequence[str], tile: Tile) -> float:
    total = 0
    for before, after, positions, pooled in convolutions(network, names, tile):
        # Forward: x read, y written. Backward: y and its slope read, x's slope written.
        total += 2 * before * positions + 3 * after * positions
        if pooled:
            # Forward: x read, y written. Backward: x and y's slope read, x's slope written.
            total += 3 * before * pooled + 2 * before * positions
    return float(total) * network.dtype.itemsize


def largest_megapixels(costs: Costs, memory: int, *, content: float = 0.0) -> tuple[float, float]:
    """The largest canvas that fits into ``memory`` bytes in all, untiled and in tiles.

    By arithmetic; the program itself (a few hundred MiB) comes on top.

    Args:
        costs: of the tiles.
        memory: of the machine or the device, in bytes.
        content: of what the canvas is compared to, in bytes per pixel.

    Returns:
        Two areas in millions of pixels.
    """
    state = STATE_BYTES + CANVAS_BYTES + content  # With the picture that the run began with.
    untiled = memory / (costs.tile_bytes(remakes=False) + state)
    each = costs.tile_bytes(remakes=True)
    # Small tiles need little for themselves, and many lines that wait at their seams.
    waiting = 2 * costs.seam
    least = round_up(MIN_TILE, costs.alignment)
    tiled = max(
        (memory - side**2 * each) / (state + waiting / side)
        for side in range(least, 64 * least, costs.alignment)
    )
    return untiled / 1e6, max(tiled, 0.0) / 1e6
