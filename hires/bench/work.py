"""How much arithmetic and memory a step takes, counted from the network and its tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hires.features.costs import remade_layer
from hires.features.network import Network
from hires.tiling.geometry import Region, Span, Tile, canvas_window, round_up
from hires.tiling.planning import MIN_TILE, Costs, TilePlan

# Bytes per pixel that stay for the whole run, float32: canvas and gradient 12 each, Adam 24,
# running average 12; and the content picture that the run began with, 12.
STATE_BYTES = 60
PICTURE_BYTES = 12


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
    whole = Region(Span(0, size[0]), Span(0, size[1]))
    untiled = Tile(whole)
    repainted = len(plan.tiles) - min(plan.num_kept, len(plan.tiles))
    remade = [name for name in (remade_layer(names),) if plan.remakes and name in names]
    done = 0.0
    for i, tile in enumerate(plan.tiles):
        walks = 3 if i < repainted else 2
        done += walks * forward_flops(network, names, tile)
        done += forward_flops(network, remade, tile) if remade else 0
    return Work(
        useful_flops=2 * forward_flops(network, names, untiled),
        done_flops=done,
        num_second_forwards=repainted,
        least_bytes=_least_bytes(network, names, untiled),
    )


def forward_flops(network: Network, names: Sequence[str], tile: Tile) -> float:
    """FLOP of one forward over a tile: two for every multiply-add of its convolutions.

    A backward to the image (none to the weights) costs the same again.
    """
    return sum(
        18.0 * layer.before * layer.after * layer.size[0] * layer.size[1]
        for layer in _convolutions(network, names, tile)
    )


@dataclass(frozen=True, slots=True)
class _Convolution:
    """Channels in and out, output size, and the size that was pooled to get its input (or None)."""

    before: int
    after: int
    size: tuple[int, int]
    pooled: tuple[int, int] | None


def _convolutions(network: Network, names: Sequence[str], tile: Tile) -> Iterator[_Convolution]:
    """Every convolution up to the deepest of the names."""
    order = list(network.layers)
    deepest = max(order.index(name) for name in names)
    block, size = 1, tile.region.size
    for key, before, after in network.architecture.convolutions():
        if order.index(f"conv{key}") > deepest:
            return
        pooled = None
        if int(key.split("_")[0]) > block:
            block, pooled = block + 1, size
        rows, columns = canvas_window(network.layers[f"conv{key}"], tile)
        size = rows.stop - rows.start, columns.stop - columns.start
        yield _Convolution(before, after, size, pooled)


def _least_bytes(network: Network, names: Sequence[str], tile: Tile) -> float:
    total = 0
    for convolution in _convolutions(network, names, tile):
        positions = convolution.size[0] * convolution.size[1]
        read, written = convolution.before * positions, convolution.after * positions
        # Forward: x read, y written. Backward: y and its slope read, x's slope written.
        total += 2 * read + 3 * written
        if convolution.pooled:
            # Forward: x read, y written. Backward: x and y's slope read, x's slope written.
            wide = convolution.before * convolution.pooled[0] * convolution.pooled[1]
            total += 3 * wide + 2 * read
    return float(total) * network.dtype.itemsize


def predicted_bytes(plan: TilePlan, size: tuple[int, int], content: float) -> float:
    """What a step at ``(height, width)`` should need on top of the program itself.

    Args:
        plan: the tiles.
        size: of the canvas.
        content: what the canvas is compared to, in bytes per pixel.
    """
    return plan.bytes_needed + size[0] * size[1] * (STATE_BYTES + content)


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
    state = STATE_BYTES + PICTURE_BYTES + content
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
