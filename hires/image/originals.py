"""The pictures that a run is given: their colours, and how much each pixel counts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hires.errors import ConfigError
from hires.image.decode.read import Picture, read_picture
from hires.image.formats.kinds import StrPath
from hires.image.resample import resize
from hires.image.transparency import mask_of


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """A picture of a run.

    Attributes:
        pixels: (1, 3, H, W) float32, sRGB in [0, 1]; what cannot be seen is filled in.
        mask: (1, 1, H, W) float32 in [0, 1], how much of each pixel can be seen; None for all.
        name: its file, if it has one.
    """

    pixels: Tensor
    mask: Tensor | None = None
    name: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""
        return self.pixels.shape[2], self.pixels.shape[3]

    def resized(self, size: tuple[int, int]) -> Original:
        """The picture at another size, floats beyond [0, 1] included."""
        mask = None if self.mask is None else resize(self.mask, size, clamp=True)
        return Original(resize(self.pixels, size), mask, self.name)

    def turned(self, num_quarters: int) -> Original:
        """The picture turned to the left by so many quarter turns."""
        mask = None if self.mask is None else turned(self.mask, num_quarters)
        return Original(turned(self.pixels, num_quarters), mask, self.name)

    @property
    def share_hidden(self) -> float:
        """How much of the picture cannot be seen, 0 to 1."""
        return 0.0 if self.mask is None else 1 - float(self.mask.double().mean())


def turned(picture: Tensor, num_quarters: int) -> Tensor:
    """A picture (1, C, H, W) turned to the left by so many quarter turns, laid out anew."""
    return torch.rot90(picture, num_quarters, (2, 3)).contiguous() if num_quarters else picture


def blank(size: tuple[int, int]) -> Original:
    """A grey picture of ``(height, width)``, of one pixel in memory."""
    return Original(torch.full((1, 1, 1, 1), 0.5).expand(1, 3, *size))


PictureLike = StrPath | Tensor | Picture | Original


def original(picture: PictureLike) -> Original:
    """A picture as a run looks at it.

    Args:
        picture: a path; what `hires.read_picture` returned; or (1, 3, H, W) float, sRGB in [0, 1].

    Raises:
        ConfigError: for a tensor that is no picture.
    """
    if isinstance(picture, Original):
        return picture
    if isinstance(picture, str | os.PathLike):
        picture = read_picture(picture)
    if isinstance(picture, Picture):
        return Original(picture.pixels, mask_of(picture.alpha), str(picture.path))
    shaped = picture.ndim == 4 and picture.shape[:2] == (1, 3) and picture.numel() > 0
    if not (shaped and picture.is_floating_point()):
        kind = f"{tuple(picture.shape)} {str(picture.dtype).removeprefix('torch.')}"
        raise ConfigError(f"a picture tensor is (1, 3, H, W) float, not {kind}")
    if not bool(torch.isfinite(picture).all()):
        raise ConfigError("a picture tensor has values that are not finite")
    return Original(picture.detach().to("cpu", torch.float32))


def originals(styles: PictureLike | Sequence[PictureLike]) -> list[Original]:
    """One or several pictures, as `original` takes them."""
    if isinstance(styles, str | os.PathLike | Tensor | Picture | Original):
        return [original(styles)]
    if not styles:
        raise ConfigError("no style picture: give at least one")
    return [original(style) for style in styles]


def about_hidden(pictures: Iterable[Original]) -> list[str]:
    """What to tell of pictures of which not all can be seen."""
    return [
        f"{one.name}: {_in_words(one.share_hidden)} of it is transparent and does not count"
        for one in pictures
        if one.share_hidden
    ]


def _in_words(share: float) -> str:
    """A share as a percentage that is neither 0 nor 100."""
    if share <= 0.005:
        return "less than 1%"
    return "more than 99%" if share >= 0.995 else f"{share:.0%}"
