"""A canvas of which each of several processes has a band of rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hires.engine.canvas import WholeCanvas, extended, mirrored
from hires.engine.ladder import Rung, Size
from hires.engine.measuring import Measuring, features_of
from hires.engine.setup import Setup
from hires.engine.snapshot import Spread, is_map, mapped, tensors_of
from hires.image.originals import Original
from hires.image.resample import resize_rows, rows_seen
from hires.image.rows import Rows
from hires.optim.canvas_optimizer import CanvasOptimizer
from hires.processes.bands import (
    Band,
    even_bands,
    overlap,
    rows_of_layer,
    seen_by,
    stride_of,
)
from hires.processes.group import Group
from hires.tiling.geometry import Span
from hires.tiling.planning import TileMemoryError, TilePlan, replan


class Order(IntEnum):
    """What rank 0 wants the others to do."""

    GO_ON = 0
    PICTURE = 1
    STATE = 2
    END = 3


class Bands:
    """Which rows of a canvas each process has, and the way of rows between them.

    Args:
        group: the processes.
        height: of the canvas, in pixels.
        strip: rows beyond its own that a process sees on either side.
        own: the rows of each process; None for nearly as many for all.
    """

    def __init__(
        self, group: Group, height: int, strip: int, own: Sequence[Span] | None = None
    ) -> None:
        self.group, self.height = group, height
        self.own = tuple(own or even_bands(height, group.size))
        self._seen = [seen_by(rows, height, strip) for rows in self.own]
        self.band = Band(self.own[group.rank], self._seen[group.rank])

    @property
    def is_open(self) -> tuple[bool, bool]:
        """Whether the canvas goes on above and below what this process sees; see `Tile`."""
        return self.band.seen.start > 0, self.band.seen.stop < self.height

    def seen(self, own: Tensor) -> Tensor:
        """What this process sees, of its own rows (1, C, h, W) and those of its neighbours."""
        return self.group.fetch(own, self.own, self._seen)

    def folded(self, slope: Tensor) -> Tensor:
        """The gradient of its own rows, from those of what each process sees."""
        return self.group.give_back(slope, self.own, self._seen)

    def shown(self, own: Tensor, margin: int) -> Rows:
        """The picture without its margin, for rank 0, which orders rows as they are asked for."""
        width = own.shape[3] - 2 * margin

        def fetch(rows: slice) -> Tensor:
            wanted = Span(rows.start + margin, rows.stop + margin)
            self.group.order(Order.PICTURE, wanted.start, wanted.stop)
            parts = []
            for rank, has in enumerate(self.own):
                some = overlap(has, wanted)
                if some is None:
                    continue
                if rank:
                    part = own.new_empty((1, 3, some.length, own.shape[3]), device="cpu")
                    self.group.receive(part, rank)
                else:
                    part = own[..., some.slice, :].cpu()
                parts.append(part[..., margin : margin + width])
            return torch.cat(parts, 2)

        return Rows((self.height - 2 * margin, width), fetch)

    def spread(self, state: Any) -> Any:
        """A state, with what is fetched from all processes when it is written.

        Args:
            state: of the optimizer, and of the terms: what `obey` gets.
        """
        number = itertools.count()

        def placed(tensor: Tensor) -> Any:
            here = next(number)
            if not is_map(tensor.shape):
                return tensor
            stride = stride_of(self.band.own.length, tensor.shape[2])
            shape = (*tensor.shape[:2], self.height // stride, tensor.shape[3])
            return Spread(tensor, shape, partial(self._planes, tensor, stride, here))

        return mapped(state, placed)

    def _planes(self, own: Tensor, stride: int, number: int) -> Iterator[Tensor]:
        for channel in range(own.shape[1]):
            self.group.order(Order.STATE, number, channel)
            rest = iter(range(1, self.group.size))
            try:
                yield own[0, channel].cpu()
                for rank in rest:
                    yield self._plane(own, stride, rank)
            finally:
                for rank in rest:
                    self._plane(own, stride, rank)

    def _plane(self, own: Tensor, stride: int, rank: int) -> Tensor:
        rows = rows_of_layer(self.own[rank], stride)
        part = own.new_empty((rows.length, own.shape[3]), device="cpu")
        return self.group.receive(part, rank)

    def obey(self, order: list[int], optimizer: CanvasOptimizer, of_terms: Any) -> None:
        """Send rank 0 what it has ordered, of the canvas or of what terms have found out."""
        kind, first, second = order
        if kind == Order.PICTURE:
            own = self.band.own
            some = overlap(own, Span(first, second))
            if some is not None:
                rows = slice(some.start - own.start, some.stop - own.start)
                self.group.send(optimizer.picture[..., rows, :].cpu().contiguous())
        elif kind == Order.STATE:
            tensor = tensors_of([optimizer.state(), of_terms])[first]
            self.group.send(tensor[0, second].cpu().contiguous())

    def wanted(self, own: Tensor, rows: Span) -> Tensor:
        """Some rows, another number for each process: all of them call it."""
        told = self.group.gather([rows.start, rows.stop])
        return self.group.fetch(own, self.own, [Span(int(one[0]), int(one[1])) for one in told])


class BandCanvas(WholeCanvas):
    """A band of a canvas that is one picture; see `WholeCanvas`.

    Args:
        setup: what looks at it.
        rung: whose canvas it is.
        bands: of the canvas.
        below: those of the rung below, and its margin; None for the first.
    """

    def __init__(
        self, setup: Setup, rung: Rung, bands: Bands, below: tuple[Bands, int] | None = None
    ) -> None:
        super().__init__(setup, rung.size, margin=rung.margin)
        self.bands, self._below = bands, below
        self.band = bands.band
        self._seen_size = bands.band.seen.length, self.size[1]
        plan = setup.plan_tiles(self._seen_size, bands.is_open)
        # Of one size in all processes: one number says how to go on to the same bits.
        self._plan = self._of_side(plan, int(setup.together.least(plan.side)))

    def _of_side(self, plan: TilePlan, side: int) -> TilePlan:
        return replan(self._setup.costs, self._seen_size, plan, side=side, num_kept=plan.num_kept)

    def smaller(self, plan: TilePlan) -> TilePlan:
        """See `Canvas`; all processes take smaller ones together."""
        try:
            found = self._setup.smaller_plan(self._seen_size, plan)
        except TileMemoryError as error:
            self._setup.together.least(0)
            raise error
        side = int(self._setup.together.least(found.side))
        if not side:
            raise TileMemoryError("another process has no smaller tiles", 0)
        return self._of_side(found, side)

    def features(
        self, picture: Original, layers: Sequence[str], measuring: Measuring
    ) -> dict[str, Tensor]:
        """See `Canvas`."""
        network, pixels = self._setup.network, self.pixels(picture)
        return measuring(self._seen_size, partial(features_of, network, pixels, layers), self._plan)

    def weights(self, mask: Tensor, most: float = 1.0) -> Tensor:
        """See `Canvas`."""
        return super()._of_picture(mask).clamp_(0, most)

    def from_below(self, image: Tensor) -> Tensor:
        """See `Canvas`; of a process's own rows, its own rows."""
        assert self._below is not None
        (before, margin), rows = self._below, self._shown_rows(self.bands.band.own)
        height = before.height - 2 * margin
        needed = rows_seen(height, self._shown[0], rows)
        wanted = Span(needed.start + margin, needed.stop + margin)
        seen = before.wanted(image, wanted)
        seen = seen[..., margin : seen.shape[3] - margin]
        found = resize_rows(seen, self._shown, rows, height=height, first=needed.start)
        return self._on_canvas(found, rows, self.bands.band.own)

    def detail(self, picture: Original, below: Size) -> Tensor:
        """See `Canvas`; of a process's own rows."""
        rows = self._shown_rows(self.bands.band.own)
        fine = resize_rows(picture.pixels, self._shown, rows)
        coarse = rows_seen(below[0], self._shown[0], rows)
        small = resize_rows(picture.pixels, below, coarse)
        fine -= resize_rows(small, self._shown, rows, height=below[0], first=coarse.start)
        return self._on_canvas(fine, rows, self.bands.band.own)

    def start(self, picture: Callable[..., Tensor]) -> Tensor:
        """See `WholeCanvas`; a process's own rows."""
        rows = self._shown_rows(self.bands.band.own)
        return self._on_canvas(picture(rows), rows, self.bands.band.own)

    def _of_picture(self, image: Tensor) -> Tensor:
        rows = self._shown_rows(self.bands.band.seen)
        return self._on_canvas(resize_rows(image, self._shown, rows), rows, self.bands.band.seen)

    def _shown_rows(self, rows: Span) -> slice:
        """Those of the picture that are seen in some rows of the canvas."""
        lines = self._lines(rows)
        return slice(int(lines.min()), int(lines.max()) + 1)

    def _lines(self, rows: Span) -> Tensor:
        """The row of the picture that each of some rows of the canvas shows."""
        return mirrored(torch.arange(rows.start, rows.stop) - self._margin, self._shown[0])

    def _on_canvas(self, image: Tensor, shown: slice, rows: Span) -> Tensor:
        """Rows of the canvas, of the rows of the picture that they show."""
        lines = (self._lines(rows) - shown.start).to(image.device)
        return extended(image.index_select(2, lines), self._margin, dims=(3,))
