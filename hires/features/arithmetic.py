"""How much arithmetic a network's convolutions are, counted from their shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hires.features.costs import remade_layer
from hires.features.network import Network
from hires.tiling.geometry import Tile, canvas_window
from hires.tiling.planning import TilePlan


def step_flops(network: Network, names: Sequence[str], plan: TilePlan) -> float:
    """FLOP of one step over the tiles of a plan, with what is computed a second time."""
    again = len(plan.tiles) - min(plan.num_kept, len(plan.tiles))
    remade = [name for name in (remade_layer(names),) if plan.remakes and name in names]
    done = 0.0
    for i, tile in enumerate(plan.tiles):
        done += (3 if i < again else 2) * forward_flops(network, names, tile)
        done += forward_flops(network, remade, tile) if remade else 0
    return done


def forward_flops(network: Network, names: Sequence[str], tile: Tile) -> float:
    """FLOP of one forward over a tile: two for every multiply-add of its convolutions.

    A backward to the image (none to the weights) costs the same again.
    """
    return sum(
        18.0 * before * after * positions
        for before, after, positions, _ in convolutions(network, names, tile)
    )


def convolutions(
    network: Network, names: Sequence[str], tile: Tile
) -> Iterator[tuple[int, int, int, int]]:
    """Of every convolution up to the deepest of the names: channels in and out, positions, and
    the positions that were pooled to get its input (0 for none).
    """
    order = list(network.layers)
    deepest = max(order.index(name) for name in names)
    block, positions = 1, tile.region.num_pixels
    for key, before, after in network.architecture.convolutions():
        if order.index(f"conv{key}") > deepest:
            return
        pooled = 0
        if int(key.split("_")[0]) > block:
            block, pooled = block + 1, positions
        rows, columns = canvas_window(network.layers[f"conv{key}"], tile)
        positions = (rows.stop - rows.start) * (columns.stop - columns.start)
        yield before, after, positions, pooled
