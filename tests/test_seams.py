"""Lines at the seams: put where they belong, handed on once, and their gradients handed back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hires.tiling.geometry import Span, Tile, joined
from hires.tiling.seams import Seams

PADDINGS = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate"}
SIZE = (13, 17)
# Where rows and columns are cut, if they are.
CUTS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((5,), ()),
    ((), (6,)),
    ((3, 9), (7,)),
    ((2, 3, 11), (2, 4, 5)),
]


def tiles_between(rows: Sequence[int], columns: Sequence[int]) -> tuple[Tile, ...]:
    spans = [
        [Span(*pair) for pair in itertools.pairwise((0, *cuts, length))]
        for cuts, length in zip((rows, columns), SIZE, strict=True)
    ]
    return joined(*spans)


def padded(x: Tensor, padding: str, axes: tuple[bool, bool]) -> Tensor:
    rows, columns = map(int, axes)
    return F.pad(x, (columns, columns, rows, rows), mode=PADDINGS[padding])


def window(tile: Tile) -> tuple[slice, slice]:
    """Where the outputs of a tile lie: one position earlier than its inputs."""
    rows, columns = (
        slice(span.start - before, span.stop - after)
        for span, (before, after) in zip(
            (tile.region.rows, tile.region.columns), tile.goes_on, strict=True
        )
    )
    return rows, columns


def convolved(x: Tensor, kernel: Tensor, tile: Tile, padding: str, seams: Seams) -> Tensor:
    """A 3×3 convolution of one tile, padded by itself along the axes that are not cut."""
    exchange = seams.of(tile)
    assert exchange is not None
    own = x[..., *tile.region.index]
    rows, columns = (not cut for cut in tile.is_cut)
    return F.conv2d(padded(exchange.join(own, "2_1", padding), padding, (rows, columns)), kernel)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_a_convolution_over_tiles_equals_that_of_the_whole(
    cuts: tuple[tuple[int, ...], tuple[int, ...]], padding: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(1, 3, *SIZE, generator=generator, dtype=torch.float64).requires_grad_()
    kernel = torch.randn(4, 3, 3, 3, generator=generator, dtype=torch.float64)
    slope = torch.randn(1, 4, *SIZE, generator=generator, dtype=torch.float64)
    wanted = F.conv2d(padded(whole, padding, (True, True)), kernel)
    (gradient,) = torch.autograd.grad(wanted, whole, slope)

    x, seams, outputs = whole.detach().clone().requires_grad_(), Seams(), []
    tiles = tiles_between(*cuts)
    for tile in tiles:
        found = convolved(x, kernel, tile, padding, seams)
        assert torch.allclose(found, wanted[..., *window(tile)], atol=1e-13)
        outputs.append(found)
    assert not seams._features
    for tile, output in zip(reversed(tiles), reversed(outputs), strict=True):
        output.backward(slope[..., *window(tile)])  # type: ignore[no-untyped-call]
    assert not seams._gradients
    assert x.grad is not None
    assert torch.allclose(x.grad, gradient, atol=1e-13)


def test_a_whole_canvas_has_no_seams() -> None:
    (tile,) = tiles_between((), ())
    assert Seams().of(tile) is None


def test_lines_wait_for_a_second_walk_and_are_not_left_again() -> None:
    upper, lower = tiles_between((6,), ())
    seams, x = Seams(), torch.arange(13.0 * 17).view(1, 1, *SIZE)
    first = seams.of(upper, last=False)
    assert first is not None
    first.join(x[..., *upper.region.index], "2_1", "zeros")
    for last in (False, True):
        again = seams.of(lower, first=False, last=last)
        assert again is not None
        found = again.join(x[..., *lower.region.index], "2_1", "zeros")
        assert torch.equal(found[..., :-1, :], x[..., 4:, :])
        assert bool(seams._features) != last


def test_the_first_convolution_reads_its_lines_from_the_canvas() -> None:
    upper, lower = tiles_between((6,), ())
    seams, x = Seams(), torch.arange(13.0 * 17).view(1, 1, *SIZE)
    for tile, wanted in ((upper, x[..., :6, :]), (lower, x[..., 4:, :])):
        exchange = seams.of(tile)
        assert exchange is not None
        found = exchange.join(x[..., *tile.read.index], "1_1", "zeros")
        line = torch.zeros(1, 1, 1, 17)
        parts = [line, wanted] if tile is upper else [wanted, line]
        assert torch.equal(found, torch.cat(parts, 2))
    assert not seams._features


def test_clearing_forgets_a_walk_that_broke_off() -> None:
    upper, _ = tiles_between((6,), ())
    seams = Seams()
    exchange = seams.of(upper)
    assert exchange is not None
    exchange.join(torch.ones(1, 1, 6, 17), "2_1", "zeros")
    assert seams._features
    seams.clear()
    assert not seams._features
