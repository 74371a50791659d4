"""Whose colours a painting has: what is done to its pictures before, and to itself at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from hires.config.run import Config
from hires.engine.ladder import Size
from hires.image.colour.matching import Colours, Map, bands, colours_of, matching, mixed
from hires.image.colour.oklab import from_oklab, grey, to_oklab
from hires.image.originals import Original
from hires.image.resample import resize_rows
from hires.image.rows import Picture, Rows, rows_of
from hires.kernels.guided_filter import guided_filter, halo

# Of the guided filter. Strokes are as many pixels wide whatever the size, so windows grow with the
# picture to a limit, which bounds what bands of rows overlap by, too.
_RADIUS_SHARE, _LARGEST_RADIUS = 1 / 256, 24
_EDGE = 0.02  # of lightness, its standard deviation within a window


@dataclass(frozen=True, slots=True, eq=False)
class Chroma:
    """The chroma that a painting gets in the end; its lightness stays what was painted.

    Attributes:
        content: the picture that it comes from.
        change: what becomes of chroma (1, 2, H, W) in OKLab first; None for nothing.
        follows_edges: whether it is smoothed between edges of the painting's lightness.
    """

    content: Original
    change: Map | None = None
    follows_edges: bool = False

    def onto(self, picture: Picture) -> Picture:
        """A copy of a painting with it.

        Args:
            picture: (1, 3, H, W) sRGB in [0, 1], of any size.
        """
        size = picture.shape[2], picture.shape[3]
        content = partial(resize_rows, self.content.pixels, size)
        if isinstance(picture, Rows):
            return Rows(size, lambda rows: self._rows_onto(picture, content, size, rows))
        return self._onto(picture, content, size)

    def onto_part(self, picture: Tensor, content: Tensor, whole: Size) -> Tensor:
        """A copy of a part of a painting with it.

        Args:
            picture: the part, (1, 3, H, W) sRGB in [0, 1].
            content: what the content shows there, (1, 3, H, W) sRGB.
            whole: ``(height, width)`` of all of the painting.
        """
        return self._onto(picture, lambda rows: content[..., rows, :], whole)

    def _onto(self, picture: Tensor, content: Callable[[slice], Tensor], whole: Size) -> Tensor:
        result = torch.empty_like(picture)
        for rows in bands(picture.shape[2]):
            result[..., rows, :] = self._rows_onto(picture, content, whole, rows)
        return result

    def _rows_onto(
        self, picture: Tensor | Rows, content: Callable[[slice], Tensor], whole: Size, rows: slice
    ) -> Tensor:
        radius = min(max(round(max(whole) * _RADIUS_SHARE), 2), _LARGEST_RADIUS)
        beyond = halo(radius) if self.follows_edges else 0
        around = slice(max(rows.start - beyond, 0), min(rows.stop + beyond, picture.shape[2]))
        lightness = to_oklab(rows_of(picture, around).to("cpu", torch.float32))[:, :1]
        chroma = to_oklab(content(around))[:, 1:]
        if self.change is not None:
            chroma = self.change(chroma)
        if self.follows_edges:
            chroma = guided_filter(chroma, lightness, radius, _EDGE**2).to(chroma)
        lab = torch.cat([lightness, chroma], 1)
        inner = slice(rows.start - around.start, rows.stop - around.start)
        return from_oklab(lab[..., inner, :])


def recoloured(
    config: Config, content: Original, styles: Sequence[Original]
) -> tuple[Original, tuple[Original, ...], Chroma | None]:
    """The pictures that a run looks at, and the chroma that its painting gets in the end, if any.

    Args:
        config: how to paint.
        content: the content picture.
        styles: the styles.
    """
    if config.color == "content":
        return content, tuple(styles), Chroma(content)
    if config.color == "luminance":
        light = colours_of(content.pixels, content.mask, _lightness)
        return _in_grey(content), tuple(_as_light(one, light) for one in styles), Chroma(content)
    if config.color == "match":
        wanted = colours_of(content.pixels, content.mask)
        return content, tuple(_matched(one, wanted, config.color_match) for one in styles), None
    if config.color == "palette":
        palettes = [colours_of(one.pixels, one.mask, _chroma) for one in styles]
        palette = mixed(palettes, config.style_shares(len(styles)))
        own = colours_of(content.pixels, content.mask, _chroma)
        change = matching(own, palette, config.color_match)
        return content, tuple(styles), Chroma(content, change, follows_edges=True)
    return content, tuple(styles), None


def _matched(style: Original, wanted: Colours, root: str) -> Original:
    """A style with the mean and covariance of other colours, but for what is cut off at 0 and 1."""
    match = matching(colours_of(style.pixels, style.mask), wanted, root)
    pixels = torch.empty_like(style.pixels)
    for rows in bands(style.size[0]):
        pixels[..., rows, :] = match(style.pixels[..., rows, :]).clamp_(0, 1)
    return replace(style, pixels=pixels)


def _as_light(style: Original, wanted: Colours) -> Original:
    """A style in greys, of the mean and the spread of another picture's lightness.

    L. A. Gatys et al. 2016, "Preserving Color in Neural Artistic Style Transfer", section 4.
    """
    own = colours_of(style.pixels, style.mask, _lightness)
    return _in_grey(style, matching(own, wanted, "symmetric"))


def _in_grey(picture: Original, change: Map = lambda lightness: lightness) -> Original:
    """A picture in greys; its three channels share their memory."""
    pixels = picture.pixels.new_empty(1, 1, *picture.size)
    for rows in bands(picture.size[0]):
        pixels[..., rows, :] = grey(change(_lightness(picture.pixels[..., rows, :])))
    return replace(picture, pixels=pixels.expand(1, 3, *picture.size))


def _lightness(band: Tensor) -> Tensor:
    return to_oklab(band)[:, :1]


def _chroma(band: Tensor) -> Tensor:
    return to_oklab(band)[:, 1:]
