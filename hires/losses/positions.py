"""Where features lie in the whole picture, and how much each position of it counts.

A weight for every position leaves moments and content losses what they are, sums over positions
(Gatys et al. 2017, "Controlling perceptual factors", eq. 6), so they stay exact under tiles. So do
several weights for every position, one for each region of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.errors import ConfigError
from hires.losses.erosion import eroded
from hires.processes.bands import Band, rows_of_layer
from hires.tiling.geometry import Layer, Region, Span, Tile, canvas_window

# The layer that a picture itself is: what a term looks at that needs no network.
PIXELS = "pixels"
# They are looked at in bands of rows of about this many, which suits a CPU's caches, ...
BAND_PIXELS = 2**17
# ... or of this many margins, where that is more: what lies around a band is looked at twice.
_BAND_MARGINS = 20

Index = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A part of a layer's features, and where it lies in those of the whole picture.

    Attributes:
        layer: its name, such as ``relu4_2``, or `PIXELS`.
        index: rows and columns of the part.
        size: ``(height, width)`` of the whole layer.
        mask: (1, 1, h, w) in [0, 1], how much each position of the part counts, and of the margin
            that it has; None for all alike.
        sum_dtype: type to add up in.
        wraps: whether the whole repeats for ever: the margin is that of all four sides then.
        origin: of pixels, top and left on the canvas of the picture that is the whole.
        regions: the same as the mask for each region of the picture; None where it has nothing
            here. Empty for a picture without regions.
        first: row of the layer that references begin with: where several processes paint a
            picture, each has some rows of them.
    """

    layer: str
    index: tuple[slice, slice]
    size: tuple[int, int]
    mask: Tensor | None
    sum_dtype: torch.dtype
    wraps: bool = False
    regions: tuple[Tensor | None, ...] = ()
    origin: tuple[int, int] = (0, 0)
    first: int = 0

    def of(self, reference: Tensor) -> Tensor:
        """The part of what `References.of_content` gave of the layer."""
        rows, columns = self.index
        return reference[..., rows.start - self.first : rows.stop - self.first, columns]

    @property
    def regional(self) -> tuple[View | None, ...]:
        """The view of each region, its mask that of the region; None where it has nothing here.

        Of a picture without regions, itself.
        """
        if not self.regions:
            return (self,)
        return tuple(
            None if mask is None else replace(self, mask=mask, regions=()) for mask in self.regions
        )

    @property
    def edges(self) -> tuple[int, int, int, int]:
        """Top, bottom, left, right: 1 where the whole ends with the part, else 0."""
        (rows, columns), (height, width) = self.index, self.size
        if self.wraps:
            return 0, 0, 0, 0
        return (
            int(rows.start == 0),
            int(rows.stop == height),
            int(columns.start == 0),
            int(columns.stop == width),
        )


class Positions:
    """The positions of a picture and of its features.

    Args:
        size: ``(height, width)`` of the picture in pixels.
        layers: of the network that looks at it, those that are looked at.
        device: where its features are.
        sum_dtype: type to add up in.
        mask: (1, 1, height, width) in [0, 1], how much each pixel counts; None for all alike.
        regions: (1, 1, height, width) in [0, 1], how much each pixel belongs to each region; None
            for a region that has nothing of the picture. Empty for a picture without regions.
        pictures: what lies side by side on it, if it is more than one picture.
        band_pixels: how many pixels terms look at in one go, about.
        wrap: width in pixels of what is only seen, all around a canvas that wraps: the opposite
            borders. A multiple of all strides and at least as wide as all margins.
        band: the rows of the picture that this process has; None for all of them. It sees at least
            as much beyond its own as all layers and margins do. Masks and regions are whole.
        total: adds a tensor up over all processes.

    Attributes:
        pictures: what lies side by side on it, or all of it; without what is only seen at borders.
        total: adds a tensor of this process's own rows up over all processes; all of them call it.

    Raises:
        ConfigError: if nothing of the picture counts at one of the layers.
    """

    def __init__(
        self,
        size: tuple[int, int],
        layers: Mapping[str, Layer],
        *,
        device: torch.device,
        sum_dtype: torch.dtype,
        mask: Tensor | None = None,
        regions: Sequence[Tensor | None] = (),
        pictures: Sequence[Region] = (),
        band_pixels: int = BAND_PIXELS,
        wrap: int = 0,
        band: Band | None = None,
        total: Callable[[Tensor], Tensor] = lambda amount: amount,
    ) -> None:
        self.size = size
        self._band, self.total = band, total
        self._band_pixels = band_pixels
        inner = Region(Span(wrap, size[0] - wrap), Span(wrap, size[1] - wrap))
        if band is not None:
            inner = Region(Span(0, band.seen.length), Span(0, size[1]))
        self.pictures = pictures or [inner]
        self._wraps = wrap > 0
        if wrap:
            mask = torch.zeros(1, 1, *size)
            mask[..., *inner.index] = 1
        self.sum_dtype = sum_dtype
        self._layers = layers
        self._device = device
        self._masks: dict[int, Tensor] = {}
        self._regions = tuple(regions)
        self._guides: dict[tuple[int, int], list[_Guide | None]] = {}
        if mask is None:
            return
        mask = mask.to(device)
        # Each position of a layer stands for a square of pixels; what is left over at the right
        # and below belongs to none, as in pooling.
        strides = {1, *(layer.stride for layer in layers.values())}
        self._masks = {stride: F.avg_pool2d(mask, stride) for stride in strides}
        self._sums = {stride: float(part.double().sum()) for stride, part in self._masks.items()}
        if not min(self._sums.values()) > 0:
            height, width = size
            raise ConfigError(
                f"nothing of a picture can be seen at {width}x{height}: crop it to what is not"
                " transparent, or choose another"
            )

    @property
    def num_pixels(self) -> float:
        """How many pixels there are, or Σm over them."""
        return self._count(1)

    def count(self, layer: str) -> float:
        """How many positions a layer has, or Σm over them."""
        return self._count(self._layers[layer].stride)

    def stride(self, layer: str) -> int:
        """Pixels of a layer's position, along each side."""
        return self._place(layer)[0]

    def area(self, region: int) -> float:
        """Share of the picture that is a region's, 0 to 1."""
        return self.count_of(PIXELS, region) / self.num_pixels if self._regions else 1.0

    def count_of(self, layer: str, region: int) -> float:
        """Σm of a region's positions at a layer."""
        if not self._regions:
            return self._count(self._place(layer)[0])
        guide = self._guides_at(layer)[region]
        return 0.0 if guide is None else guide.count

    def mask(self, layer: str) -> Tensor | None:
        """(1, 1, H, W) of the rows seen, at a layer's resolution; None where all counts alike."""
        stride = self.stride(layer)
        mask = self._masks.get(stride)
        return None if mask is None else mask[..., self.seen_rows(stride), :]

    def size_of(self, layer: str) -> tuple[int, int]:
        """``(height, width)`` of a layer."""
        return self._at(self.stride(layer))

    def weights(self, layer: str, region: int) -> Tensor | None:
        """(1, 1, H, W) of the rows seen, how much each counts for a region; None for all alike."""
        if not self._regions:
            return self.mask(layer)
        rows, width = self.seen_rows(self.stride(layer)), self.size_of(layer)[1]
        part = self._parts(layer, (rows, slice(0, width)))[region]
        return torch.zeros(1, 1, rows.stop - rows.start, width) if part is None else part

    @property
    def is_band(self) -> bool:
        """Whether other processes have the rest of the picture."""
        return self._band is not None

    def seen_rows(self, stride: int) -> slice:
        """Of all rows, those that this process sees, where stride is so."""
        seen = Span(0, self.size[0]) if self._band is None else self._band.seen
        return rows_of_layer(seen, stride).slice

    def own_rows(self, stride: int) -> slice:
        """Of the rows that are seen, those that this process answers for, where stride is so."""
        return self.seen_rows(stride) if self._band is None else self._band.rows(stride).slice

    def of_tile(self, layer: str, tile: Tile) -> tuple[View, slice | None]:
        """What counts of a tile's part of a layer; which rows of it that are, None for all."""
        stride = self._layers[layer].stride
        rows, columns = canvas_window(self._layers[layer], tile)
        own, counted = self.own_rows(stride), None
        if self._band is not None and (rows.start < own.start or rows.stop > own.stop):
            start = min(max(rows.start, own.start), rows.stop)
            stop = max(min(rows.stop, own.stop), start)
            counted = slice(start - rows.start, stop - rows.start)
            rows = slice(start, stop)
        first = self._first // stride
        index = slice(rows.start + first, rows.stop + first), columns
        return self._view(layer, stride, index), counted

    def of_pixels(self, margin: int) -> Iterator[tuple[Index, View]]:
        """Bands of rows of the picture itself, with a margin around each where it goes on.

        What wraps goes on everywhere, also left and right.

        Returns:
            The index of each band and its margin, and the view of the band.
        """
        for picture in self.pictures:
            size = picture.size if self._band is None else self.size
            own = Span(0, size[0]) if self._band is None else self._band.own
            num_rows = max(self._band_pixels // size[1], _BAND_MARGINS * margin, 1)
            for start in range(own.start, own.stop, num_rows):
                stop = min(start + num_rows, own.stop)
                yield self._pixel_rows(picture, Span(start, stop), size, margin)

    def _pixel_rows(
        self, picture: Region, rows: Span, size: tuple[int, int], margin: int
    ) -> tuple[Index, View]:
        (height, width), first = size, self._first
        index = rows.slice, slice(0, width)
        view = View(PIXELS, index, size, None, self.sum_dtype, self._wraps)
        if self._wraps:
            return _around(picture, index, margin), view
        top, left = picture.rows.start, picture.columns.start
        start, stop = max(rows.start - margin, 0), min(rows.stop + margin, height)
        columns = slice(left, left + width)
        around = slice(top + start, top + stop), columns
        mask = self._masks[1][..., *around] if self._masks else None
        parts = self._parts(PIXELS, around)
        view = replace(view, mask=mask, regions=parts, origin=(top, left), first=first)
        return (slice(top + start - first, top + stop - first), columns), view

    @property
    def _first(self) -> int:
        """The first row that is seen."""
        return 0 if self._band is None else self._band.seen.start

    def _view(self, layer: str, stride: int, index: tuple[slice, slice]) -> View:
        mask = self._masks[stride][..., *index] if self._masks else None
        parts, first = self._parts(layer, index), self._first // stride
        size = self._at(stride)
        return View(layer, index, size, mask, self.sum_dtype, regions=parts, first=first)

    def _parts(self, layer: str, index: Index) -> tuple[Tensor | None, ...]:
        """What each region has of a part of a layer."""
        if not self._regions:
            return ()
        guides = self._guides_at(layer)
        return tuple(None if guide is None else guide.part(index) for guide in guides)

    def _guides_at(self, layer: str) -> list[_Guide | None]:
        """How much each position of a layer counts for each region, made when first asked for."""
        stride, halo = self._place(layer)
        if (stride, halo) not in self._guides:
            seen = self._masks.get(stride)
            places = [picture.index for picture in self.pictures]
            if self._band is not None:
                places = [(slice(0, self.size[0]), slice(0, self.size[1]))]
            self._guides[stride, halo] = [
                None
                if region is None
                else _Guide.of(eroded(region.to(self._device), stride, halo, places, seen))
                for region in self._regions
            ]
        return self._guides[stride, halo]

    def _place(self, layer: str) -> tuple[int, int]:
        """Stride and halo of a layer, in pixels."""
        if layer == PIXELS:
            return 1, 0
        return self._layers[layer].stride, self._layers[layer].halo

    def _at(self, stride: int) -> tuple[int, int]:
        return self.size[0] // stride, self.size[1] // stride

    def _count(self, stride: int) -> float:
        height, width = self._at(stride)
        return self._sums[stride] if self._masks else height * width


def _around(picture: Region, index: Index, margin: int) -> Index:
    """A part of a picture and a margin on all sides, where the canvas goes on beyond it."""
    rows, columns = (
        slice(span.start + part.start - margin, span.start + part.stop + margin)
        for span, part in zip((picture.rows, picture.columns), index, strict=True)
    )
    return rows, columns


@dataclass(frozen=True, slots=True, eq=False)
class _Guide:
    """How much each position of a layer counts for a region, in 255ths, and the sum of it."""

    steps: Tensor
    count: float

    @staticmethod
    def of(weights: Tensor) -> _Guide:
        """Weights (1, 1, H, W) in [0, 1], as the nearest 255ths: a byte for each position."""
        steps = weights.mul(255).round_().to(torch.uint8)
        rows = (_in_ones(row).double().sum() for row in torch.split(steps, 1024, dim=2))
        return _Guide(steps, float(sum(rows)))

    def part(self, index: Index) -> Tensor | None:
        """Those of a part; None where all are 0, as far as that can be known without waiting."""
        steps = self.steps[..., *index]
        if not steps.is_cuda and not bool(steps.any()):
            return None
        return _in_ones(steps)


def _in_ones(steps: Tensor) -> Tensor:
    return steps.float().div_(255)
