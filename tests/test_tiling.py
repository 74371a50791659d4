"""Geometry of the tile walk, by properties; and a network that copies its input, over the tiles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import random_image
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.features import Architecture, Network
from hires.tiling import Region, Span, Tile, bands, core_spans, grid, pad_span, round_up
from hires.walk import canvas_window, feature_window

lengths = st.integers(1, 700)
alignments = st.sampled_from([1, 2, 4, 8, 16])
halos = st.integers(0, 90)


@given(lengths, st.integers(1, 300), alignments)
def test_spans_partition_a_length(length: int, core: int, alignment: int) -> None:
    spans = core_spans(length, max(core, alignment), alignment)
    assert spans[0].start == 0
    assert spans[-1].stop == length
    assert all(left.stop == right.start for left, right in pairwise(spans))
    assert all(span.start % alignment == 0 for span in spans)


@given(lengths, st.integers(1, 300), alignments)
def test_spans_are_neither_slivers_nor_too_long(length: int, core: int, alignment: int) -> None:
    core = round_up(core, alignment)
    spans = core_spans(length, core, alignment)
    # A sliver, shorter than one feature, would be seen by nobody.
    assert all(span.length >= min(alignment, length) for span in spans)
    assert all(span.length < core + alignment for span in spans)
    cells = [span.length // alignment for span in spans]
    assert max(cells) - min(cells) <= 1


def test_a_core_smaller_than_the_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="a tile of 8 px is smaller than the network's stride 16"):
        core_spans(100, 8, 16)


@given(lengths, st.data(), halos, alignments)
def test_padding_reaches_the_halo_or_the_border(
    length: int, data: st.DataObject, halo: int, alignment: int
) -> None:
    start = data.draw(st.integers(0, (length - 1) // alignment)) * alignment
    core = Span(start, data.draw(st.integers(start + 1, length)))
    padded, bordered = pad_span(core, length, halo, alignment)
    assert 0 <= padded.start <= max(core.start - halo, 0)
    assert padded.stop == min(core.stop + halo, length)
    assert bordered == (core.start < halo or core.stop + halo > length)
    if bordered:
        assert padded.start % alignment == 0
    else:
        assert padded == Span(core.start - halo, core.stop + halo)


def coverage(size: tuple[int, int], tiles: tuple[Tile, ...]) -> np.ndarray:
    count = np.zeros(size, dtype=int)
    for tile in tiles:
        count[tile.core.index] += 1
    return count


@given(lengths, lengths, st.integers(16, 300), halos, alignments)
def test_cores_partition_the_canvas(
    height: int, width: int, core: int, halo: int, alignment: int
) -> None:
    tiles = grid((height, width), core=core, halo=halo, alignment=alignment)
    assert (coverage((height, width), tiles) == 1).all()
    for tile in tiles:
        for inner, outer, length in (
            (tile.core.rows, tile.padded.rows, height),
            (tile.core.columns, tile.padded.columns, width),
        ):
            assert 0 <= outer.start <= inner.start < inner.stop <= outer.stop <= length


def test_cores_may_be_oblong() -> None:
    tiles = grid((64, 96), core=(64, 32), halo=4, alignment=4)
    assert [tile.core.size for tile in tiles] == [(64, 32)] * 3
    assert [tile.bordered for tile in tiles] == [(True, True), (True, False), (True, True)]


def test_a_canvas_no_larger_than_a_core_is_one_tile() -> None:
    (tile,) = grid((33, 47), core=48, halo=70, alignment=16)
    assert tile.core == tile.padded == Region(Span(0, 33), Span(0, 47))
    assert tile.core.num_pixels == 33 * 47


@given(lengths, lengths, st.integers(1, 100_000))
def test_bands_partition_the_canvas(height: int, width: int, max_pixels: int) -> None:
    regions = list(bands((height, width), max_pixels))
    assert [row for band in regions for row in range(band.rows.start, band.rows.stop)] == list(
        range(height)
    )
    for band in regions:
        assert band.columns == Span(0, width)
        assert band.num_pixels <= max(max_pixels, width)


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
def test_an_identity_network_gives_its_input_back(height: int, width: int, core: int) -> None:
    network = identity_network(3)
    names = ("relu1_2", "relu2_2", "relu3_2")
    halo, alignment = network.reach(names)
    image = random_image(height, width)
    tiles = grid((height, width), core=core, halo=halo, alignment=alignment)
    for name in names:
        layer = network.layers[name]
        found = torch.full((1, 3, height // layer.stride, width // layer.stride), torch.nan)
        for tile in tiles:
            features = network(image[..., *tile.padded.index], names, padded=tile.bordered)[name]
            part = features[..., *feature_window(layer, tile)]
            found[..., *canvas_window(layer, tile.core)] = part.float()
        wanted = torch.nn.functional.max_pool2d(image, layer.stride).float()
        assert torch.equal(found, wanted)
