"""From floats to the integers of a file, a band of rows at a time: no copy of the whole.

Each band is placed on its sheet, laid on white if need be, brought into the file's colour space,
and rounded: to nearest, or with a dither that keeps smooth gradients smooth at 8 bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hires.config.paper import Layout
from hires.errors import ImageError
from hires.image.bands import BAND_ROWS
from hires.image.colour.inks import TotalInk
from hires.image.colour.output import Profile
from hires.image.formats.kinds import Format
from hires.image.rows import Rows, rows_of

Raster = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """What a file holds, and how its floats become integers.

    Attributes:
        image: (1, 3, H, W), any float dtype and device, sRGB-encoded in [0, 1]; asked for its rows
            once, from the first to the last.
        alpha: (1, 1, H, W), straight, or None.
        layout: where the image lies on its sheet, None for a file that is all image.
        profile: the colour space of the file.
        bit_depth: 8 or 16.
        dpi: pixels per inch, None if the file will not tell.
        file_format: of the file.
        seed: of the dither, None to round to nearest.
        path: the file, for messages.
        ink: what is told of the total ink of a CMYK file, as its bands pass.
    """

    image: Tensor | Rows
    alpha: Tensor | None
    layout: Layout | None
    profile: Profile
    bit_depth: int
    dpi: float | None
    file_format: Format
    seed: int | None
    path: Path
    ink: TotalInk | None = None

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` of the file in pixels."""
        height, width = self.image.shape[-2:]
        return (height, width) if self.layout is None else self.layout.size

    @property
    def has_inks(self) -> bool:
        """Whether its colours are CMYK."""
        return self.profile.space == "CMYK"

    @property
    def flatten(self) -> bool:
        """Whether the image is laid on white instead of keeping its alpha."""
        return self.alpha is not None and (self.has_inks or not self.file_format.has_alpha)

    @property
    def num_channels(self) -> int:
        """Three, or four with alpha or of inks, which have none."""
        with_alpha = self.alpha is not None and not self.flatten
        return 4 if with_alpha or self.has_inks else 3

    @property
    def num_bytes(self) -> int:
        """Of the bare pixels."""
        return self.size[0] * self.size[1] * self.num_channels * (self.bit_depth // 8)

    def bands(self) -> Iterator[Raster]:
        """Rows of (H, W, num_channels) integers, from top to bottom.

        Raises:
            ImageError: for NaN in the image.
        """
        for top in range(0, self.size[0], BAND_ROWS):
            band = self._placed(top, min(top + BAND_ROWS, self.size[0]))
            if bool(band.isnan().any()):
                raise ImageError(
                    f"cannot save {self.path}: the image holds NaN; lower the learning rate"
                )
            band.clamp_(0, 1)
            if self.flatten and band.shape[0] == 4:
                band = band[:3] * band[3:] + (1 - band[3:])
            colours = self.profile.converted(band[:3])
            if self.ink is not None:
                self.ink.add(colours, top)
            band = torch.cat([colours, band[3:]])
            yield self._rounded(band.mul_(2**self.bit_depth - 1), top)

    def _placed(self, top: int, bottom: int) -> Tensor:
        """Rows of the sheet, (3 or 4, H, W) float32: white and opaque but for the image."""
        offset = (0, 0) if self.layout is None else self.layout.offset
        height, width = self.image.shape[-2:]
        rows = slice(max(top - offset[0], 0), max(min(bottom - offset[0], height), 0))
        planes = [rows_of(self.image, rows)[0]]
        if self.alpha is not None:
            planes.append(self.alpha[0, :, rows])
        painted = torch.cat([plane.detach().to("cpu", torch.float32) for plane in planes])
        if painted.shape[1:] == (bottom - top, self.size[1]):
            return painted
        sheet = torch.ones(painted.shape[0], bottom - top, self.size[1])
        start = rows.start + offset[0] - top
        sheet[:, start : start + painted.shape[1], offset[1] : offset[1] + width] = painted
        return sheet

    def _rounded(self, band: Tensor, top: int) -> Raster:
        if self.seed is not None:
            band = dithered(band, np.random.default_rng((self.seed, top)))
        kind = np.uint8 if self.bit_depth == 8 else np.uint16
        values: Raster = np.ascontiguousarray(band.round_().permute(1, 2, 0).numpy().astype(kind))
        return values


def dithered(band: Tensor, generator: np.random.Generator) -> Tensor:
    """Add triangular noise of one level either way, so that rounding keeps the mean and no more.

    With it the rounding error has no mean and a constant variance, whatever the picture (Lipshitz,
    Wannamaker, Vanderkooy 1992): no banding. Neighbours share a uniform number with opposite
    signs, which moves the noise to high frequencies, where eyes see least. Within a level of black
    and white half the noise keeps the mean without leaving the range, and both stay clean.

    Args:
        band: (C, H, W) float32 in levels, 0 to 255.
        generator: where the noise comes from.

    Returns:
        The same shape, still to be rounded.
    """
    channels, height, width = band.shape
    uniform = torch.from_numpy(generator.random((channels, height, width + 1), np.float32))
    noise = uniform[..., 1:] - uniform[..., :-1]
    room = torch.minimum(band, 255 - band)
    noise = torch.where(room < 1, (uniform[..., 1:] - 0.5).mul_(room > 0), noise)
    return noise.add_(band)
