"""What tiles of a network cost: bytes that graphs keep, and the work of a tile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch

from hires.features.network import Network
from hires.tiling.geometry import SEAM, Layer
from hires.tiling.planning import Costs

# Of three channels in float32.
_PIXEL_BYTES = 12
# As many tensors of the widest layer are alive at once, and one more where a layer is made again.
_WIDEST_LAYERS = 2
# Bytes that a CPU's heap takes for a byte that comes and goes, measured: it fragments.
_HEAP_SLACK = 2.25
# Multiply-adds that take as long as what a tile costs whatever its size, measured on a CPU.
_TILE_WORK = 7.6e8
# Of a tile that keeps a GPU busy, in pixels, a multiple of every alignment: a few megapixels take
# longer than the launches for them.
_AMPLE_SIDE = 4096
# Of what graphs keep on a CPU: what does not fit the buffer would scatter over the heap.
_SPARE_ROOM = 1.08
# Values of a map at most, without the lines that it borrows: cuDNN counts them in 32 bits.
MOST_VALUES = 15 * 2**27


def costs_of(network: Network, names: Sequence[str], dtype: torch.dtype) -> Costs:
    """What it costs to look at some layers of a network.

    Args:
        network: on the device where tiles are computed.
        names: layers that are looked at.
        dtype: type of the features.

    Raises:
        FeaturesError: for a layer that the network does not have.
    """
    halo, alignment = network.reach(names)
    on_cpu = network.origin.device.type == "cpu"
    slack = _HEAP_SLACK if on_cpu else 1.0
    graphs = [_graph_layers(network, names, dtype, remakes=remakes) for remakes in (False, True)]
    return Costs(
        halo=halo,
        alignment=alignment,
        least_side=network.least_side(names),
        graphs=(graphs[0], graphs[1]),
        besides=(_besides(graphs[0], dtype, 0, slack), _besides(graphs[1], dtype, 1, slack)),
        seam=_seam_bytes(network, names, dtype) * slack,
        per_tile=_TILE_WORK / _depth(network, names),
        most_pixels=math.inf if on_cpu else MOST_VALUES / _widest(graphs[0]),
        ample_side=None if on_cpu else _AMPLE_SIDE,
    )


def remade_layer(names: Sequence[str]) -> str:
    """The layer that graphs make again instead of keeping it: the first convolution's.

    At full size it takes more memory than all others that are looked at together, and its few input
    channels make it the cheapest.
    """
    return "conv1_1" if "conv1_1" in names else "relu1_1"


def _depth(network: Network, names: Sequence[str]) -> float:
    """Multiply-adds per pixel of all that is computed for some layers."""
    return max(network.layers[name].multiply_adds for name in names)


def _besides(
    graphs: Sequence[tuple[Layer, float]], dtype: torch.dtype, num_remade: int, slack: float
) -> float:
    """Bytes per pixel that a pass over a tile needs beside what graphs keep.

    The widest point of the backward pass holds a few tensors of the widest layer, the pixels and
    their gradient; on a CPU counted with what the heap loses between them.
    """
    found = (_WIDEST_LAYERS + num_remade) * _widest(graphs) * dtype.itemsize + 3 * _PIXEL_BYTES
    return found * slack


def _widest(graphs: Sequence[tuple[Layer, float]]) -> float:
    """Values per pixel of the layer that has most of them."""
    return max(layer.channels / layer.stride**2 for layer, _ in graphs)


def _graph_layers(
    network: Network, names: Sequence[str], dtype: torch.dtype, *, remakes: bool
) -> tuple[tuple[Layer, float], ...]:
    """Every layer that is computed, and the bytes that graphs keep of each of its positions.

    Kept are the layers that are looked at, but for `remade_layer` where it is made again, and the
    switches of the others: a bit for each ReLU, a byte for each maximum (other poolings keep what
    they pool, and what they compute on the way).
    """
    layers = network.layers
    deepest = _depth(network, names)
    spare = _SPARE_ROOM if network.origin.device.type == "cpu" else 1.0
    found = []
    for b, block in enumerate(network.architecture.blocks, start=1):
        for i in range(1, len(block) + 1):
            relu = f"relu{b}_{i}"
            layer = layers[relu]
            if layer.multiply_adds > deepest:
                continue
            keeps = {f"conv{b}_{i}", relu}.intersection(names)
            if remakes:
                keeps -= {remade_layer(names)}
            kept = float(len(keeps) * dtype.itemsize)
            pooled = i == len(block)
            if relu not in names and not (pooled and network.pooling == "max"):
                kept += 1 / 8
            if pooled and network.pooling == "max":
                kept += 1 / 4
            elif pooled:
                maps = (relu not in keeps) + (1.25 if network.pooling == "l2" else 0)
                # In fp16 squares are taken in float32, of a copy.
                is_wide = network.pooling == "l2" and dtype == torch.float16
                kept += 9.0 if is_wide else maps * dtype.itemsize
            if pooled and f"pool{b}" in names:
                kept += dtype.itemsize / 4
            found.append((layer, kept * layer.channels * spare))
    return tuple(found)


def _seam_bytes(network: Network, names: Sequence[str], dtype: torch.dtype) -> float:
    """Bytes per pixel of a tile's side that it leaves to the next tile."""
    found, deepest = 0.0, _depth(network, names)
    # The first convolution reads its lines from the canvas.
    for key, before, _ in itertools.islice(network.architecture.convolutions(), 1, None):
        layer = network.layers[f"conv{key}"]
        if layer.multiply_adds <= deepest:
            found += SEAM * before / layer.stride * dtype.itemsize
    return found
