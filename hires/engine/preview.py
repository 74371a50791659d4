"""What the final strokes will look like, before they are painted.

Nobody waits for a poster to see whether its strokes are what they hoped for. From a rung of about
one megapixel on, only a sample of the picture goes up the ladder: the window that is shown, and
small windows spread over the rest. They lie side by side on one canvas, each a picture of its own
to the network. Style is a matter of sums over positions, so those of the sample stand for those of
the whole picture, which the window alone would not: a patch of sky must not take on all the colours
of the painting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as functional
from torch import Tensor

from hires.engine.canvas import without_margin
from hires.engine.ladder import Rung, Size
from hires.engine.measuring import Measuring, features_of, no_features
from hires.engine.planned import PlannedRun
from hires.engine.progress import Progress
from hires.engine.run import Run
from hires.engine.setup import Setup
from hires.errors import StylizeError
from hires.image.guides import blended
from hires.image.originals import Original
from hires.image.resample import resize
from hires.processes.bands import Band
from hires.tiling.geometry import Region, Span, Tile, canvas_window
from hires.tiling.planning import TileMemoryError, TilePlan

SHOWN = 768  # pixels along each side of the window
_MARGIN = 64  # around it: the border of a window is painted without its surroundings
_SAMPLE_ROWS, _SAMPLE_COLUMNS = 4, 3
# Sides are multiples of the stride of any network here, those of the first window of four times it.
_ALIGNMENT = 32
# Of the canvas that a preview stops at, in pixels.
PREVIEW_PIXELS = 1.0e6


def preview_rung(rungs: Sequence[Rung]) -> Rung | None:
    """The rung to stop at: the one closest to a megapixel in ratio, None if it is the last."""
    pixels = [rung.size[0] * rung.size[1] / PREVIEW_PIXELS for rung in rungs]
    ratios = [max(share, 1 / share) for share in pixels]
    found = rungs[ratios.index(min(ratios))]
    return None if found.index == len(rungs) - 1 else found


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of a picture by its centre, in shares of height and width, at a fixed size.

    Attributes:
        centre: ``(y, x)``, 0 to 1.
        size: ``(height, width)`` in pixels of whatever canvas it is laid on.
        place: where it lies on the canvas of the sample.
    """

    centre: tuple[float, float]
    size: Size
    place: Region

    def region(self, canvas: Size) -> Region:
        """What it covers of a canvas of ``(height, width)``, moved inside."""
        spans = []
        for centre, side, whole in zip(self.centre, self.size, canvas, strict=True):
            start = min(max(round(centre * whole - side / 2), 0), whole - side)
            spans.append(Span(start, start + side))
        return Region(*spans)


class CloseUp:
    """The rungs above a painting, on a sample of it; iterate it to paint them.

    Args:
        painting: where the run of the painting stands, at the end of a rung that is not the last.
        planned: the whole run.

    Attributes:
        spot: centre ``(y, x)`` of the window that is shown, in shares of height and width.
    """

    def __init__(self, painting: Progress, planned: PlannedRun) -> None:
        planned = planned.alone()
        setup, rungs = planned.setup, planned.rungs
        below = painting.rung
        above = [replace(rung, wrap=0) for rung in rungs[below.index + 1 :]]
        self._chroma, self._guides = planned.chroma, planned.guides
        self._photograph = planned.photograph
        self.spot = spot = busiest(painting.picture(), rungs[-1].size, _painted(planned))
        self._canvases: dict[int, SampledCanvas] = {}
        for rung, before in zip(above, [below, *above], strict=False):
            self._canvases[rung.index] = SampledCanvas(
                setup,
                rung.size,
                before.size,
                spot,
                margin_below=below.margin if before is below else None,
            )
        self._run = Run(
            setup,
            planned.config,
            above,
            planned.content,
            planned.styles,
            guides=planned.guides,
            resume=painting.snapshot().gathered(),
            below=below,
            canvas_of=lambda rung: self._canvases[rung.index],
        )

    def __iter__(self) -> Iterator[Progress]:
        """Paint.

        Raises:
            StylizeError: if the optimisation breaks down; its picture is the window.
        """
        try:
            yield from self._run
        except StylizeError as error:
            raise StylizeError(str(error), self.picture()) from None

    def picture(self) -> Tensor:
        """The window as it is painted so far: (1, 3, 768, 768) or smaller; it may be no copy.

        At the scale of the rung that is being painted, from the first step on.
        """
        rung = self._run.progress.rung
        canvas = self._canvases[rung.index]
        window = canvas.windows[0]
        rows, columns = (max(side - SHOWN, 0) // 2 for side in window.size)
        picture = self._run.optimizer.picture[..., *window.place.index]
        if self._chroma is not None:
            shown = canvas.sampled(self._photograph.pixels)[..., *window.place.index]
            picture = self._chroma.onto_part(picture, shown, rung.size)
        if self._guides.kept is not None:
            shown = canvas.pixels(self._photograph)[..., *window.place.index]
            kept = canvas.weights(self._guides.kept)[..., *window.place.index]
            picture = blended(picture, shown, kept)
        return picture[..., rows : rows + SHOWN, columns : columns + SHOWN]


class SampledCanvas:
    """Windows of a picture side by side; a `hires.engine.canvas.Canvas`.

    Args:
        setup: what looks at it.
        whole: ``(height, width)`` of the picture at this rung.
        below: the same at the rung below.
        spot: centre of the first window.
        margin_below: of the canvas of the rung below, which is the whole picture; None where it is
            a sample, too.
    """

    def __init__(
        self,
        setup: Setup,
        whole: Size,
        below: Size,
        spot: tuple[float, float],
        *,
        margin_below: int | None,
    ) -> None:
        self._whole, self._below = whole, below
        self.windows = _windows(whole, spot)
        self._margin_below = margin_below
        self._windows_below = _windows(below, spot) if margin_below is None else None
        self.band: Band | None = None
        self.wrap = 0  # Windows of a canvas that wraps show no border of it, or hardly.
        places = self.pictures = [window.place for window in self.windows]
        self.size = (
            max(place.rows.stop for place in places),
            max(place.columns.stop for place in places),
        )
        self._setup = setup.at(self.size[0] * self.size[1], 0)

    def plan(self) -> TilePlan:
        """A tile for each window; as many graphs kept as fit."""
        tiles = tuple(Tile(window.place) for window in self.windows)
        each = self._setup.costs.tile_bytes(remakes=True)
        spare = self._setup.memory - each * tiles[0].region.num_pixels
        num_small = int(spare // (each * tiles[-1].region.num_pixels))
        num_kept = max(min(num_small + 1, len(tiles)), 1)
        return TilePlan(tiles, SHOWN, num_kept, 0, remakes=True)

    def smaller(self, plan: TilePlan) -> TilePlan:
        """Fewer graphs; windows stay as they are."""
        if plan.num_kept > 1:
            return replace(plan, num_kept=plan.num_kept // 2)
        raise TileMemoryError("a window cannot be cut", 0)

    def features(
        self, picture: Original, layers: Sequence[str], measuring: Measuring
    ) -> dict[str, Tensor]:
        """Features of the windows, each a picture of its own."""
        network = self._setup.network
        sample = self.pixels(picture)
        found = {name: no_features(network, name, self.size) for name in layers}
        for window in self.windows:
            part = sample[..., *window.place.index]
            parts = measuring(window.size, partial(features_of, network, part, layers))
            for name, values in parts.items():
                found[name][..., *canvas_window(network.layers[name], Tile(window.place))] = values
        return found

    def pixels(self, picture: Original) -> Tensor:
        """The windows of a picture, (1, 3, H, W) in [0, 1]."""
        return self.sampled(picture.pixels).clamp_(0, 1)

    def weights(self, mask: Tensor, most: float = 1.0) -> Tensor:
        """Those of the windows."""
        return self.sampled(mask).clamp_(0, most)

    def sampled(self, image: Tensor, most: Size | None = None) -> Tensor:
        """The windows of a picture, with the detail that it has at a size, if it has more."""
        most = most or self._whole
        if image.shape[2] > most[0]:
            image = resize(image, most)
        return _collage(self.windows, self._whole, image)

    def detail(self, picture: Original, below: Size) -> Tensor:
        """That of the windows."""
        return self.sampled(picture.pixels) - self.sampled(picture.pixels, below)

    def from_below(self, image: Tensor) -> Tensor:
        """The windows, from the whole picture or from larger parts of it, on the same device."""
        if self._windows_below is None:
            image = without_margin(image, self._margin_below or 0)
            found = _collage(self.windows, self._whole, image)
        else:
            before, after = (self._windows_below, self._below), (self.windows, self._whole)
            found = _enlarged(image, before, after)
        return found.to(image.device)


def _painted(planned: PlannedRun) -> Tensor | None:
    """How much of each pixel of the content can be seen and is painted; None for all of it."""
    mask, kept = planned.content.mask, planned.guides.kept
    if kept is None:
        return mask
    return 1 - kept if mask is None else (1 - kept) * mask


def busiest(picture: Tensor, final: Size, mask: Tensor | None = None) -> tuple[float, float]:
    """Centre ``(y, x)`` of the window with most detail, in shares of height and width.

    Args:
        picture: (1, 3, H, W).
        final: ``(height, width)`` of the last rung; the window is `SHOWN` pixels of it.
        mask: (1, 1, h, w) in [0, 1], how much each part of it counts; None for all alike.
    """
    grey = picture.float().mean(1, keepdim=True)
    detail = torch.zeros_like(grey)
    detail[..., 1:, :] += (grey[..., 1:, :] - grey[..., :-1, :]).abs()
    detail[..., 1:] += (grey[..., 1:] - grey[..., :-1]).abs()
    size = picture.shape[2], picture.shape[3]
    if mask is not None:
        detail *= resize(mask, size, clamp=True).to(detail)
    window = [
        min(max(round(SHOWN / whole * side), 1), side)
        for side, whole in zip(size, final, strict=True)
    ]
    # Sums over all windows from the sums over all corners: windows are hundreds of pixels wide.
    corners = functional.pad(detail[0, 0].double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    high, wide = window
    bands = corners[high:] - corners[:-high]
    sums = bands[:, wide:] - bands[:, :-wide]
    row, column = divmod(int(sums.argmax()), sums.shape[1])
    return (row + window[0] / 2) / size[0], (column + window[1] / 2) / size[1]


def _windows(canvas: Size, spot: tuple[float, float]) -> list[Patch]:
    """The window that is shown, and a grid of smaller ones beside it, which fill a rectangle."""
    step = _SAMPLE_ROWS * _ALIGNMENT
    height, width = (min(SHOWN + 2 * _MARGIN, max(side // step * step, step)) for side in canvas)
    side = height // _SAMPLE_ROWS
    windows = [Patch(spot, (height, width), Region(Span(0, height), Span(0, width)))]
    for i in range(_SAMPLE_ROWS):
        for j in range(_SAMPLE_COLUMNS):
            left = width + j * side
            place = Region(Span(i * side, (i + 1) * side), Span(left, left + side))
            centre = (i + 0.5) / _SAMPLE_ROWS, (j + 0.5) / _SAMPLE_COLUMNS
            windows.append(Patch(centre, (side, side), place))
    return windows


def _empty_canvas(windows: Sequence[Patch], num_channels: int = 3) -> Tensor:
    height = max(window.place.rows.stop for window in windows)
    width = max(window.place.columns.stop for window in windows)
    return torch.zeros(1, num_channels, height, width)


def _collage(windows: Sequence[Patch], canvas: Size, picture: Tensor) -> Tensor:
    """The windows of a picture, as they look on a larger canvas of ``(height, width)``."""
    found = _empty_canvas(windows, picture.shape[1])
    whole = Region(Span(0, canvas[0]), Span(0, canvas[1]))
    for window in windows:
        part = _resampled(picture, whole, window.region(canvas))
        found[..., *window.place.index] = part
    return found


def _enlarged(
    canvas: Tensor,
    before: tuple[Sequence[Patch], Size],
    after: tuple[Sequence[Patch], Size],
) -> Tensor:
    """The windows of a rung, from those of the rung below, which are larger parts of the whole."""
    found = _empty_canvas(after[0])
    scale = [new / old for new, old in zip(after[1], before[1], strict=True)]
    for old, new in zip(*(part[0] for part in (before, after)), strict=True):
        covered = old.region(before[1])
        spans = (covered.rows, covered.columns)
        rows, columns = (
            Span(round(span.start * by), round(span.stop * by))
            for span, by in zip(spans, scale, strict=True)
        )
        picture = canvas[..., *old.place.index]
        part = _resampled(picture, Region(rows, columns), new.region(after[1]))
        found[..., *new.place.index] = part
    return found


def _resampled(picture: Tensor, covered: Region, wanted: Region) -> Tensor:
    """The wanted pixels of a canvas, of which a smaller picture covers a region (bicubic)."""
    axes = []
    for whole, part in ((covered.rows, wanted.rows), (covered.columns, wanted.columns)):
        centres = torch.arange(part.start, part.stop, dtype=torch.float64) + 0.5
        axes.append((2 * (centres - whole.start) / whole.length - 1).float())
    grid = torch.stack(torch.meshgrid(axes[1], axes[0], indexing="xy"), dim=-1)
    picture = picture.to("cpu", torch.float32)
    return functional.grid_sample(
        picture, grid[None], mode="bicubic", padding_mode="border", align_corners=False
    )
