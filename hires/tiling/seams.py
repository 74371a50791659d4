"""What neighbouring tiles hand to each other, so that nothing is computed twice at their seams.

A 3×3 convolution looks one position beyond what it computes. At the end of a tile it stops one
position early, and leaves the last two lines of its input to the next tile, which puts them before
its own and goes on where the first one stopped. On the way back the gradient of those two lines
returns to the tile that they came from. So every position of every layer is computed once, by one
tile, whatever the number of tiles (the reuse model of Alwani et al. 2016, "Fused-layer CNN
accelerators", here with its backward pass).

Forward, tiles are taken row by row, each after those above and left of it; back in exactly the
opposite order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.tiling.geometry import SEAM, Tile

_ROWS, _COLUMNS = 2, 3
# Which tile, which convolution, which axis of its input.
_Key = tuple[tuple[int, int], str, int]


class Seams:
    """The lines between the tiles of one canvas: features on the way there, gradients back.

    A picture that is measured, not painted, needs the way there only.
    """

    def __init__(self) -> None:
        self._features: dict[_Key, Tensor] = {}
        self._gradients: dict[_Key, Tensor] = {}

    def clear(self) -> None:
        """Forget what a walk that broke off left behind."""
        self._features.clear()
        self._gradients.clear()

    def of(self, tile: Tile, *, first: bool = True, last: bool = True) -> TileSeams | None:
        """What a tile exchanges with its neighbours while it runs; None for a whole canvas.

        Args:
            tile: the tile.
            first: whether it runs for the first time, and its neighbours still need its lines.
            last: whether it runs for the last time, and its own lines can be forgotten.
        """
        return TileSeams(self, tile, first, last) if any(tile.is_cut) else None


@dataclass(frozen=True, slots=True)
class TileSeams:
    """The seams of one tile; see `Seams.of`."""

    seams: Seams
    tile: Tile
    first: bool
    last: bool

    @property
    def has_neighbours(self) -> bool:
        """Whether there is any tile with which it exchanges something."""
        return any(any(sides) for sides in self.tile.meets)

    def join(self, x: Tensor, key: str, padding: str) -> Tensor:
        """Put the lines around a tile's features that its next convolution looks at.

        Args:
            x: (1, C, H, W), the tile's own positions.
            key: name of the convolution. The one that sees pixels, ``1_1``, finds in ``x`` what
                lies before the tile; only the border of the canvas is added to it.
            padding: how the canvas is extended at its border: ``zeros``, ``reflect`` or
                ``replicate``.

        Returns:
            (1, C, H', W'), for a convolution without padding along the axes that are cut.
        """
        joined: Tensor = _Join.apply(x, self, key, padding)
        return joined

    def margins(self, key: str, axis: int) -> tuple[int, int]:
        """How many lines come before and after a tile's own."""
        before, after = self.tile.goes_on[axis - _ROWS]
        if not (before or after):
            return 0, 0
        meets, _ = self.tile.meets[axis - _ROWS]
        lead = SEAM * (meets and key != "1_1") if before else 1
        return lead, 0 if after else 1

    def fill(self, joined: Tensor, key: str, axis: int, padding: str) -> None:
        """Write the lines around a tile's own, and leave to the next tile what it needs."""
        lead, _ = self.margins(key, axis)
        _, after = self.tile.meets[axis - _ROWS]
        size = joined.shape[axis]
        if lead == SEAM:
            here = (self.tile.place, key, axis)
            features = self.seams._features
            joined.narrow(axis, 0, SEAM).copy_(features.pop(here) if self.last else features[here])
        for line, source in self._border(axis, padding):
            if padding == "zeros":
                joined.select(axis, line).zero_()
            else:
                joined.select(axis, line).copy_(joined.select(axis, source))
        if after and self.first and key != "1_1":
            self.seams._features[self._next(axis), key, axis] = _copy(
                joined.narrow(axis, size - SEAM, SEAM)
            )

    def fold(self, slope: Tensor, key: str, axis: int, padding: str) -> Tensor:
        """The gradient of a tile's own lines from that of all; the exact opposite of `fill`.

        Args:
            slope: of what `fill` wrote, changed in place.
            key: see `join`.
            axis: 2 for rows, 3 for columns.
            padding: see `join`.
        """
        lead, trail = self.margins(key, axis)
        _, after = self.tile.meets[axis - _ROWS]
        size = slope.shape[axis]
        gradients = self.seams._gradients
        if after and key != "1_1":
            slope.narrow(axis, size - SEAM, SEAM).add_(gradients.pop((self._next(axis), key, axis)))
        for line, source in self._border(axis, padding):
            if padding != "zeros":
                slope.select(axis, source).add_(slope.select(axis, line))
        if lead == SEAM:
            gradients[self.tile.place, key, axis] = _copy(slope.narrow(axis, 0, SEAM))
        return slope.narrow(axis, lead, size - lead - trail)

    def _border(self, axis: int, padding: str) -> list[tuple[int, int]]:
        """Lines beyond the canvas along an axis that is cut, and which lines they repeat."""
        before, after = self.tile.goes_on[axis - _ROWS]
        inner = 2 if padding == "reflect" else 1
        if before == after:
            return []  # Inside of the canvas, or not cut.
        return [(0, inner)] if after else [(-1, -1 - inner)]

    def _next(self, axis: int) -> tuple[int, int]:
        row, column = self.tile.place
        return (row + 1, column) if axis == _ROWS else (row, column + 1)


class _Join(Function):
    """`TileSeams.join` as a node that keeps nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seams: TileSeams, key: str, padding: str) -> Tensor:
        ctx.seams, ctx.key, ctx.padding = seams, key, padding
        top, bottom = seams.margins(key, _ROWS)
        left, right = seams.margins(key, _COLUMNS)
        height, width = x.shape[2:]
        joined = torch.empty(
            (*x.shape[:2], top + height + bottom, left + width + right),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last,
        )
        own = joined.narrow(_ROWS, top, height)
        own.narrow(_COLUMNS, left, width).copy_(x)
        # Columns first: what lies above and below the tile then has its corners.
        seams.fill(own, key, _COLUMNS, padding)
        seams.fill(joined, key, _ROWS, padding)
        return joined

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slope = gradients[0]
        for axis in (_ROWS, _COLUMNS):
            slope = ctx.seams.fold(slope, ctx.key, axis, ctx.padding)
        return slope, None, None, None


def _copy(lines: Tensor) -> Tensor:
    return lines.clone(memory_format=torch.channels_last)
