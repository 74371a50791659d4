"""What is painted at a rung: a canvas that shows the whole content, or a sample of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from hires.config.run import Config
from hires.config.values import parse_blend
from hires.engine.ladder import Size
from hires.engine.measuring import Measuring, features_of
from hires.engine.setup import Setup
from hires.errors import ImageError
from hires.image.decode.read import load_image
from hires.image.originals import Original
from hires.image.resample import resize, resize_rows, shaped
from hires.kernels.wrapping import resized
from hires.processes.bands import Band
from hires.tiling.geometry import Region
from hires.tiling.planning import TilePlan


class Canvas(Protocol):
    """How the canvas of a rung shows the content, and in which tiles it is walked."""

    @property
    def size(self) -> Size:
        """``(height, width)`` in pixels of what is looked at, by all processes."""

    @property
    def wrap(self) -> int:
        """Pixels all around it that it sees of itself beyond its borders; 0 if it does not wrap."""

    @property
    def band(self) -> Band | None:
        """The rows of it that this process has; None for all of them."""

    @property
    def pictures(self) -> Sequence[Region]:
        """What lies side by side on it; nothing if it is one picture."""

    def plan(self) -> TilePlan:
        """Its tiles."""

    def smaller(self, plan: TilePlan) -> TilePlan:
        """What to try in place of tiles that took more memory than there is.

        Raises:
            TileMemoryError: if nothing is left.
        """

    def pixels(self, picture: Original) -> Tensor:
        """What it shows of a picture, (1, 3, H, W); a filter may leave values beyond [0, 1].

        Of a band, of the rows that are seen; so are features. Weights are those of all rows.
        """

    def features(
        self, picture: Original, layers: Sequence[str], measuring: Measuring
    ) -> dict[str, Tensor]:
        """Features (1, C, H, W) of what it shows of a picture."""

    def weights(self, mask: Tensor, most: float = 1.0) -> Tensor:
        """What it shows of a picture's weights, (1, 1, H, W) from 0 to ``most``."""

    def from_below(self, image: Tensor) -> Tensor:
        """What it shows of a tensor (1, 3, h, w) that belongs to the canvas of the rung below."""

    def detail(self, picture: Original, below: Size) -> Tensor:
        """What it shows of a picture and a canvas of ``(height, width)`` does not."""


class WholeCanvas:
    """A canvas that is one picture.

    Args:
        setup: what looks at it.
        size: ``(height, width)`` of the picture in pixels.
        plan: its tiles; None for what fits the memory.
        margin: pixels of the canvas beyond each border of the picture, whose mirror image it shows
            there. A network pads what it sees, and paints what it pads, in colours of its own.
        wrap: pixels of the opposite border that are looked at beyond each border, and not painted.
    """

    def __init__(
        self,
        setup: Setup,
        size: Size,
        plan: TilePlan | None = None,
        *,
        margin: int = 0,
        wrap: int = 0,
    ) -> None:
        self._setup, self._plan = setup, plan
        self._shown, self._margin, self.wrap = size, margin, wrap
        around = 2 * (margin + wrap)
        self.size = size[0] + around, size[1] + around
        self.pictures: Sequence[Region] = ()
        self.band: Band | None = None

    def plan(self) -> TilePlan:
        """See `Canvas`."""
        return self._plan or self._setup.plan_tiles(self.size)

    def smaller(self, plan: TilePlan) -> TilePlan:
        """See `Canvas`."""
        return self._setup.smaller_plan(self.size, plan)

    def pixels(self, picture: Original) -> Tensor:
        """See `Canvas`."""
        return self._of_picture(picture.pixels)

    def features(
        self, picture: Original, layers: Sequence[str], measuring: Measuring
    ) -> dict[str, Tensor]:
        """See `Canvas`."""
        network, pixels = self._setup.network, self.pixels(picture)
        return measuring(self.size, partial(features_of, network, pixels, layers), self._plan)

    def weights(self, mask: Tensor, most: float = 1.0) -> Tensor:
        """See `Canvas`."""
        return self._of_picture(mask).clamp_(0, most)

    def start(self, picture: Callable[..., Tensor]) -> Tensor:
        """What it shows of a picture that has its size without margins, of all rows or some."""
        return extended(picture(), self._margin)

    def from_below(self, image: Tensor) -> Tensor:
        """See `Canvas`."""
        if self.wrap:
            return resized(image, self._shown)
        return self._of_picture(without_margin(image, self._margin))

    def detail(self, picture: Original, below: Size) -> Tensor:
        """See `Canvas`."""
        fine = resize(picture.pixels, self._shown)
        fine -= resize(resize(picture.pixels, below), self._shown)
        return extended(fine, self._margin)

    def _of_picture(self, image: Tensor) -> Tensor:
        return extended(resize(image, self._shown), self._margin)


def extended(image: Tensor, margin: int, dims: Sequence[int] = (2, 3)) -> Tensor:
    """A picture (1, C, H, W) with its mirror image around it, ``margin`` pixels on each side."""
    for dim in dims if margin else ():
        side = image.shape[dim]
        around = torch.arange(margin, device=image.device)
        before, after = mirrored(torch.stack([around - margin, around + side]), side)
        strips = [image.index_select(dim, lines) for lines in (before, after)]
        image = torch.cat([strips[0], image, strips[1]], dim)
    return image


def mirrored(lines: Tensor, side: int) -> Tensor:
    """Which lines of a picture are seen at some of it and its mirror images."""
    index = lines.remainder(2 * side)
    return torch.minimum(index, 2 * side - 1 - index)


def without_margin(image: Tensor, margin: int) -> Tensor:
    """What lies within a margin; a view."""
    height, width = image.shape[2:]
    return image[..., margin : height - margin, margin : width - margin]


def first_canvas(config: Config, size: Size, content: Tensor, rows: slice | None = None) -> Tensor:
    """What the first rung starts from, (1, 3, H, W) float32 in [0, 1], or some rows of it.

    A picture of another shape is cut to that of the canvas, not stretched.
    """
    noise_share = 1.0 if config.init == "noise" else parse_blend(config.init)
    if noise_share is not None:
        noise = _noise(config.seed, size, rows)
        if noise_share == 1:
            return noise
        return _resized(content, size, rows).lerp_(noise, noise_share)
    if config.init == "content":
        return _resized(content, size, rows)
    try:
        start = load_image(config.init)
    except ImageError as error:
        raise ImageError(f"`init`: {error}") from error
    return _resized(shaped(start, size), size, rows)


def _resized(image: Tensor, size: Size, rows: slice | None) -> Tensor:
    found = resize(image, size) if rows is None else resize_rows(image, size, rows)
    return found.clamp_(0, 1)


def _noise(seed: int, size: Size, rows: slice | None) -> Tensor:
    """Random pixels; those of some rows are the same as in the whole."""
    generator = torch.Generator().manual_seed(seed)
    if rows is None:
        return torch.rand(1, 3, *size, generator=generator)
    found = torch.empty(1, 3, rows.stop - rows.start, size[1])
    for channel in range(3):
        for row in range(size[0]):
            line = torch.rand(size[1], generator=generator)
            if rows.start <= row < rows.stop:
                found[0, channel, row - rows.start] = line
    return found
