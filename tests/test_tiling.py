"""Geometry of the tile walk, by properties; and a network that copies its input, over the tiles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import random_image
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hires.features.architecture import Architecture, PaddingMode
from hires.features.network import Network, random_network
from hires.tiling.geometry import (
    Layer,
    Region,
    Span,
    Tile,
    canvas_window,
    even_spans,
    grid,
    round_up,
    tile_spans,
)
from hires.tiling.seams import Seams

lengths = st.integers(1, 700)
alignments = st.sampled_from([1, 2, 4, 8, 16])
halos = st.integers(0, 90)


@given(lengths, st.integers(1, 300))
def test_even_spans_partition_a_length(length: int, side: int) -> None:
    spans = even_spans(length, side)
    assert (spans[0].start, spans[-1].stop) == (0, length)
    assert all(left.stop == right.start for left, right in pairwise(spans))
    sides = [span.length for span in spans]
    assert max(sides) <= side
    assert max(sides) - min(sides) <= 1


@given(lengths, st.integers(1, 300), halos, alignments)
def test_tiles_are_cut_where_every_layer_can_be(
    length: int, side: int, halo: int, alignment: int
) -> None:
    side = round_up(side, alignment)
    spans = tile_spans(length, side, halo=halo, alignment=alignment)
    assert (spans[0].start, spans[-1].stop) == (0, length)
    assert all(left.stop == right.start for left, right in pairwise(spans))
    assert all((span.start - halo) % alignment == 0 for span in spans[1:])
    # The deepest layer sees something in every tile.
    assert all(span.length >= min(alignment, length) for span in spans)
    assert len(spans) == 1 or spans[0].length >= halo + alignment


@given(lengths, st.integers(1, 300), halos, alignments)
def test_tiles_are_not_larger_than_asked_for(
    length: int, side: int, halo: int, alignment: int
) -> None:
    side = round_up(side, alignment)
    spans = tile_spans(length, side, halo=halo, alignment=alignment)
    first = max(side, halo + alignment)
    if len(spans) == 1:
        assert length < first + alignment
    else:
        assert spans[0].length <= first
        assert all(span.length <= side for span in spans[1:-1])
        # The last also takes what is less than a cell.
        assert spans[-1].length < side + alignment


def test_a_tile_smaller_than_the_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="a tile of 8 px is smaller than the network's stride 16"):
        tile_spans(100, 8, halo=0, alignment=16)


@given(lengths, lengths, st.integers(16, 300), halos, alignments)
def test_tiles_partition_the_canvas(
    height: int, width: int, side: int, halo: int, alignment: int
) -> None:
    tiles = grid((height, width), round_up(side, alignment), halo=halo, alignment=alignment)
    count = np.zeros((height, width), dtype=int)
    last = tiles[-1].place
    for tile in tiles:
        count[tile.region.index] += 1
        for axis, (span, read, length) in enumerate(
            (
                (tile.region.rows, tile.read.rows, height),
                (tile.region.columns, tile.read.columns, width),
            )
        ):
            before, after = tile.goes_on[axis]
            assert before == (span.start > 0) == (tile.place[axis] > 0)
            assert after == (span.stop < length) == (tile.place[axis] < last[axis])
            assert read == Span(span.start - 2 * before, span.stop)
    assert (count == 1).all()


def test_a_canvas_no_larger_than_a_tile_is_one() -> None:
    (tile,) = grid((33, 47), 48, halo=70, alignment=16)
    assert tile == Tile(Region(Span(0, 33), Span(0, 47)))
    assert tile.region == tile.read
    assert tile.region.num_pixels == 33 * 47
    assert tile.is_cut == (False, False)


def test_a_band_is_cut_along_its_rows_only() -> None:
    upper, lower = grid((300, 150), 160, halo=10, alignment=16)
    assert (upper.is_cut, lower.is_cut) == ((True, False), (True, False))
    assert (upper.place, lower.place) == ((0, 0), (1, 0))


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_round_up(value: int, multiple: int) -> None:
    rounded = round_up(value, multiple)
    assert rounded % multiple == 0
    assert value <= rounded < value + multiple


def identity_network(num_blocks: int) -> Network:
    """A network of two convolutions a block that pass three non-negative channels through."""
    architecture = Architecture(blocks=((3, 3),) * num_blocks)
    kernel = torch.zeros(3, 3, 3, 3)
    kernel[range(3), range(3), 1, 1] = 1
    weights = {}
    for key, _, _ in architecture.convolutions():
        weights[f"conv{key}.weight"], weights[f"conv{key}.bias"] = kernel, torch.zeros(3)
    return Network(architecture, weights)


@settings(max_examples=40)
@given(st.integers(8, 150), st.integers(8, 150), st.sampled_from([8, 16, 24, 64]))
def test_an_identity_network_gives_its_input_back(height: int, width: int, side: int) -> None:
    network = identity_network(3)
    names = ("relu1_2", "relu2_2", "relu3_2")
    halo, alignment = network.reach(names)
    image = random_image(height, width)
    tiles = grid((height, width), side, halo=halo, alignment=alignment)
    found = {
        name: torch.full((1, 3, height // layer.stride, width // layer.stride), torch.nan)
        for name, layer in network.layers.items()
        if name in names
    }
    seams = Seams()
    for tile in tiles:
        parts = network(image[..., *tile.read.index], names, seams=seams.of(tile))
        for name, part in parts.items():
            window = canvas_window(network.layers[name], tile)
            assert torch.isnan(found[name][..., *window]).all()  # Nothing is computed twice.
            found[name][..., *window] = part.float()
    for name in names:
        wanted = torch.nn.functional.max_pool2d(image, network.layers[name].stride).float()
        assert torch.equal(found[name], wanted)


@pytest.mark.parametrize("padding", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize("side", [1024, 96], ids=["one tile", "several"])
@pytest.mark.parametrize("is_open", [(False, True), (True, True), (True, False)])
def test_open_ends_compute_what_the_rows_between_need(
    is_open: tuple[bool, bool], side: int, padding: PaddingMode
) -> None:
    architecture = Architecture(
        blocks=((4, 4), (6,), (6, 6)), padding=padding, input_padding="replicate"
    )
    network = random_network(architecture).prepare("cpu", torch.float64, torch.channels_last)
    names = ("relu1_1", "relu2_1", "relu3_2")
    halo, alignment = network.reach(names)
    image = random_image(128, 101).double().requires_grad_()
    strip = round_up(halo, 8)
    own = Span(48 if is_open[0] else 0, 96 if is_open[1] else 128)
    seen = Span(own.start - strip * is_open[0], own.stop + strip * is_open[1])
    band = image.detach()[..., seen.slice, :].clone().requires_grad_()
    size = seen.length, 101
    wanted, seams = network(image, names), Seams()
    ends: list[Tensor] = []
    tiles = grid(size, side, halo=halo, alignment=alignment, is_open=is_open)
    for tile in tiles:
        parts = network(band[..., *tile.read.index], names, seams=seams.of(tile))
        for name, part in parts.items():
            stride = network.layers[name].stride
            rows, columns = canvas_window(network.layers[name], tile)
            assert (rows.stop - rows.start, columns.stop - columns.start) == part.shape[2:]
            first = seen.start // stride
            of_whole = wanted[name][..., rows.start + first : rows.stop + first, columns]
            assert torch.allclose(part, of_whole, rtol=0, atol=1e-12)
            counted = slice(
                max(own.start // stride - first - rows.start, 0),
                max(min(own.stop // stride - first, rows.stop) - rows.start, 0),
            )
            ends.append(part[..., counted, :].square().sum())
    for i in reversed(range(len(tiles))):
        each = len(names)
        torch.autograd.backward(ends[i * each : (i + 1) * each], retain_graph=True)
    strides = {name: network.layers[name].stride for name in names}
    own_rows = (
        wanted[name][..., own.start // stride : own.stop // stride, :]
        for name, stride in strides.items()
    )
    (slope,) = torch.autograd.grad([part.square().sum() for part in own_rows], image)
    assert band.grad is not None
    assert torch.allclose(band.grad, slope[..., seen.slice, :], rtol=0, atol=1e-10)
    assert not slope[..., : seen.start, :].any()
    assert not slope[..., seen.stop :, :].any()


def test_open_ends_leave_out_what_nobody_needs() -> None:
    (tile,) = grid((208, 64), 256, halo=66, alignment=16, is_open=(True, True))
    assert tile.region.rows == Span(14, 194)
    assert tile.read == tile.region
    deepest = Layer(stride=16, halo=66, channels=1, multiply_adds=1.0)
    assert canvas_window(deepest, tile)[0] == slice(5, 8)
