"""Energy per octave: how much grain, edge and stroke a painting has at each scale, and its style.

A Laplacian pyramid (Burt and Adelson 1983) with a binomial filter of five taps: each octave is the
picture minus its filtered self, of which every second pixel goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from kornia.color import rgb_to_ycbcr
from kornia.filters import filter2d_separable
from torch import Tensor

BINOMIAL = torch.tensor([[1.0, 4.0, 6.0, 4.0, 1.0]], dtype=torch.float64) / 16
# Its filtered border is made up, and left out.
_RADIUS = 2
# Variance of rounding to 8 bits, of values in [0, 1]: a grey style has no chroma.
ROUNDING = 1 / 12 / 255**2


@dataclass(frozen=True, slots=True)
class Octave:
    """Energies of an octave over those of the style: of luma, and of chroma over luma."""

    luma: float
    chroma_to_luma: float


def bands(image: Tensor, number: int) -> Iterator[Tensor]:
    """The finest octaves of a picture (1, C, H, W), each half as large as the one before."""
    for _ in range(number):
        low = filter2d_separable(image, BINOMIAL.to(image.dtype), BINOMIAL.to(image.dtype))
        border = slice(_RADIUS, -_RADIUS)
        yield (image - low)[..., border, border]
        image = low[..., ::2, ::2]


def octave_energies(image: Tensor, number: int) -> list[tuple[float, float]]:
    """Energy of luma, and of chroma (Cb plus Cr of ITU-R BT.601), per octave, finest first.

    Args:
        image: (1, 3, H, W) in [0, 1].
        number: of octaves.
    """
    found = []
    for band in bands(rgb_to_ycbcr(image.double()), number):
        luma, blue, red = (band[0].square().mean((1, 2)) + ROUNDING).tolist()
        found.append((luma, blue + red))
    return found


def octave_ratios(painting: Tensor, style: Tensor, number: int) -> tuple[Octave, ...]:
    """Energies of a painting's octaves over those of its style, finest first; 1 is alike.

    Args:
        painting: (1, 3, H, W) in [0, 1].
        style: the same, at the scale of the painting.
        number: of octaves.
    """
    pairs = zip(octave_energies(painting, number), octave_energies(style, number), strict=True)
    return tuple(
        Octave(luma / of_style, (chroma / luma) / (chroma_of_style / of_style))
        for (luma, chroma), (of_style, chroma_of_style) in pairs
    )
