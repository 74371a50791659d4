"""What the final strokes will look like, before they are painted.

Nobody waits for a poster to see whether its strokes are what they hoped for. From a rung of about
one megapixel on, only a sample of the picture goes up the ladder: the window that is shown, and
small windows spread over the rest. They lie side by side on one canvas, each a picture of its own
to the network. Style is a matter of sums over positions, so those of the sample stand for those of
the whole picture, which the window alone would not: a patch of sky must not take on all the colours
of the painting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as functional
from torch import Tensor

from hires.config import Config
from hires.engine import breakdown
from hires.images import resize
from hires.ladder import Rung, Size
from hires.objective import Evaluation, Objective
from hires.optim import CanvasOptimizer, NonFiniteError
from hires.optimizers import optimizer_of
from hires.originals import Original, PictureLike, original, originals
from hires.studio import Measuring, Studio, open_studio, style_target
from hires.targets import measure_content, no_features
from hires.tiling import Region, Span, Tile
from hires.walk import TilePlan, canvas_window

SHOWN = 768  # pixels along each side of the window
_MARGIN = 64  # around it: the border of a window is painted without its surroundings
_SAMPLE_ROWS, _SAMPLE_COLUMNS = 4, 3
# Sides are multiples of the stride of any network here, those of the first window of four times it.
_ALIGNMENT = 32
# Of the canvas that a preview stops at, in pixels.
PREVIEW_PIXELS = 1.0e6


def preview_rung(rungs: Sequence[Rung]) -> Rung | None:
    """The rung to stop at: the one closest to a megapixel in ratio, None if it is the last."""
    ratios = [max(r.num_pixels / PREVIEW_PIXELS, PREVIEW_PIXELS / r.num_pixels) for r in rungs]
    found = rungs[ratios.index(min(ratios))]
    return None if found.index == len(rungs) - 1 else found


@dataclass(frozen=True, slots=True)
class Window:
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


@dataclass(frozen=True, slots=True)
class CloseUpStep:
    """A step of a close-up; see `hires.engine.Progress` for the attributes."""

    rung: Rung
    num_rungs: int
    iteration: int
    fraction: float
    terms: Mapping[str, float]
    shown: Tensor

    @property
    def ends_rung(self) -> bool:
        """Whether this was the last step of its rung."""
        return self.iteration == self.rung.num_iterations

    @property
    def is_last(self) -> bool:
        """Whether the close-up is finished."""
        return self.ends_rung and self.rung.index == self.num_rungs - 1


def paint_close_up(
    whole: Tensor,
    content: PictureLike,
    styles: Sequence[PictureLike],
    config: Config,
    rungs: Sequence[Rung],
    start: Rung,
) -> Iterator[CloseUpStep]:
    """Paint a window, and a sample of the rest, up the rungs above one; yields after every step.

    Args:
        whole: the painting at the rung ``start``, (1, 3, H, W) in [0, 1].
        content: as `hires.stylize` takes it, at any size.
        styles: the same, one or several.
        config: how to paint, as `hires.fitting.fit` returns it.
        rungs: the whole ladder.
        start: where the painting stands.

    Yields:
        Steps; ``shown`` of the last one is the window, (1, 3, 768, 768) or smaller, at the
        scale of the last rung.

    Raises:
        StylizeError: if the optimisation breaks down; its picture is the window.
    """
    studio = open_studio(config)
    photograph, paintings = original(content), originals(styles)
    shares = config.style_shares(len(paintings))
    spot = busiest(whole, rungs[-1].size, photograph.mask)
    above = rungs[start.index + 1 :]
    work = sum(rung.num_iterations for rung in above)
    windows = _windows(above[0].size, spot)
    canvas = _collage(windows, above[0].size, whole)
    done = 0
    for rung, following in zip(above, [*above[1:], None], strict=True):
        measuring = Measuring(studio, config)
        objective = _objective(measuring, studio, windows, rung, photograph, config.memory_bytes)
        objective.style = style_target(measuring, studio, rung, paintings, shares)
        optimizer = optimizer_of(config, canvas.to(studio.device), rung.learning_rate)
        for i in range(rung.num_iterations):
            try:
                terms = _step(optimizer, objective, rung.learning_rate_at(i + 1))
            except NonFiniteError as error:
                shown = _shown(optimizer, windows[0])
                raise breakdown(error, rung, i + 1, studio.weights, shown) from None
            done += 1
            yield CloseUpStep(
                rung, len(rungs), i + 1, done / work, terms, _shown(optimizer, windows[0])
            )
        if following is not None:
            larger = _windows(following.size, spot)
            canvas = _enlarged(optimizer.result(), (windows, rung.size), (larger, following.size))
            windows = larger


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


def _windows(canvas: Size, spot: tuple[float, float]) -> list[Window]:
    """The window that is shown, and a grid of smaller ones beside it, which fill a rectangle."""
    step = _SAMPLE_ROWS * _ALIGNMENT
    height, width = (min(SHOWN + 2 * _MARGIN, max(side // step * step, step)) for side in canvas)
    side = height // _SAMPLE_ROWS
    windows = [Window(spot, (height, width), Region(Span(0, height), Span(0, width)))]
    for i in range(_SAMPLE_ROWS):
        for j in range(_SAMPLE_COLUMNS):
            left = width + j * side
            place = Region(Span(i * side, (i + 1) * side), Span(left, left + side))
            centre = (i + 0.5) / _SAMPLE_ROWS, (j + 0.5) / _SAMPLE_COLUMNS
            windows.append(Window(centre, (side, side), place))
    return windows


def _empty_canvas(windows: Sequence[Window], num_channels: int = 3) -> Tensor:
    height = max(window.place.rows.stop for window in windows)
    width = max(window.place.columns.stop for window in windows)
    return torch.zeros(1, num_channels, height, width)


def _collage(windows: Sequence[Window], canvas: Size, picture: Tensor) -> Tensor:
    """The windows of a picture, as they look on a larger canvas of ``(height, width)``."""
    found = _empty_canvas(windows, picture.shape[1])
    whole = Region(Span(0, canvas[0]), Span(0, canvas[1]))
    for window in windows:
        part = _resampled(picture, whole, window.region(canvas))
        found[..., *window.place.index] = part
    return found.clamp_(0, 1)


def _enlarged(
    canvas: Tensor,
    before: tuple[Sequence[Window], Size],
    after: tuple[Sequence[Window], Size],
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
    return found.clamp_(0, 1)


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


def _objective(
    measuring: Measuring,
    studio: Studio,
    windows: Sequence[Window],
    rung: Rung,
    content: Original,
    memory: int,
) -> Objective:
    """The loss of a sample; its style is still to be filled in."""
    if content.size[0] > rung.size[0]:
        content = content.resized(rung.size)
    picture = _collage(windows, rung.size, content.pixels)
    mask = None if content.mask is None else _collage(windows, rung.size, content.mask)
    tiles = tuple(Tile(window.place) for window in windows)
    spare = memory - studio.tile_bytes(tiles[0].region.num_pixels)
    num_small = int(spare // studio.tile_bytes(tiles[-1].region.num_pixels))
    num_kept = max(min(num_small + 1, len(tiles)), 1)
    plan = TilePlan(tiles, SHOWN, num_kept, 0, remakes=True)  # As `Studio.tile_bytes` counts.
    return Objective(
        studio.network,
        studio.weights,
        style={},
        content=_features(measuring, studio, windows, picture),
        plan=plan,
        precision=studio.precision,
        mask=mask,
    )


def _features(
    measuring: Measuring, studio: Studio, windows: Sequence[Window], picture: Tensor
) -> dict[str, Tensor]:
    """Features of the content, each window's as those of a picture of its own."""
    network, layers = studio.network, list(studio.weights.content_layers)
    size = picture.shape[2], picture.shape[3]
    found = {name: no_features(network, name, size, studio.device) for name in layers}
    for window in windows:
        part = picture[..., *window.place.index]
        measure = partial(measure_content, network, part, layers, device=studio.device)
        for name, values in measuring(window.size, measure).items():
            found[name][..., *canvas_window(network.layers[name], Tile(window.place))] = values
    return found


def _step(optimizer: CanvasOptimizer, objective: Objective, rate: float) -> dict[str, float]:
    evaluations: list[Evaluation] = []

    def evaluate(canvas: Tensor) -> tuple[Tensor, Tensor]:
        evaluations.append(objective(canvas))
        return evaluations[-1].loss, evaluations[-1].gradient

    optimizer.set_learning_rate(rate)
    optimizer.step(evaluate)
    return {name: float(value) for name, value in evaluations[-1].terms.items()}


def _shown(optimizer: CanvasOptimizer, window: Window) -> Tensor:
    """The middle of the first window, not a copy."""
    height, width = window.size
    rows, columns = (max(side - SHOWN, 0) // 2 for side in (height, width))
    picture = optimizer.picture[..., *window.place.index]
    return picture[..., rows : rows + SHOWN, columns : columns + SHOWN]
