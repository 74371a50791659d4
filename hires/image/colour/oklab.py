"""OKLab: lightness beside two axes of chroma, in which equal steps look about equal.

B. Ottosson 2020, "A perceptual color space for image processing". Lightness L is 0 for black and 1
for white; a goes from green to red, b from blue to yellow, both within 0.33 of 0 for colours of
sRGB. Grey has a = b = 0, and its L³ is its light.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Linear sRGB to cone responses, and the cube roots of those to L, a and b.
_TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
# Linear light beyond black or white that is rounding.
_ROUNDING = 1e-6
_BISECTIONS = 20


def to_linear(srgb: Tensor) -> Tensor:
    """Light in [0, 1] of sRGB values (IEC 61966-2-1)."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def from_linear(light: Tensor) -> Tensor:
    """Light in [0, 1] as sRGB values."""
    curve = 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, 12.92 * light, curve)


def to_oklab(srgb: Tensor) -> Tensor:
    """Colours as lightness and chroma.

    Args:
        srgb: (1, 3, H, W) sRGB; what lies beyond [0, 1] is cut off.

    Returns:
        (1, 3, H, W): L, a, b.
    """
    cones = _mixed(_TO_CONES, to_linear(srgb[0].clamp(0, 1)))
    return _mixed(_TO_LAB, cones.clamp_(min=0) ** (1 / 3))[None]


def from_oklab(lab: Tensor) -> Tensor:
    """Colours as sRGB; `to_oklab` backwards.

    A colour that sRGB does not have keeps its lightness and its hue, and has as much of its chroma
    as there is of it.

    Args:
        lab: (1, 3, H, W): L, a, b.

    Returns:
        (1, 3, H, W) sRGB in [0, 1].
    """
    light = _to_light(lab[0])
    outside = _is_outside(light)
    light[:, outside] = _reduced(lab[0][:, outside])
    return from_linear(light.clamp_(0, 1))[None]


def grey(lightness: Tensor) -> Tensor:
    """Greys of a lightness, which is held in [0, 1], as sRGB values."""
    return from_linear(lightness.clamp(0, 1) ** 3)


def _reduced(lab: Tensor) -> Tensor:
    """Light of some colours (3, N) with the largest share of their chroma that sRGB has."""
    lightness, chroma = lab[:1].clamp(0, 1), lab[1:]
    least, most = torch.zeros_like(lightness), torch.ones_like(lightness)
    for _ in range(_BISECTIONS):
        share = (least + most) / 2
        outside = _is_outside(_to_light(torch.cat([lightness, share * chroma])))
        least, most = torch.where(outside, least, share), torch.where(outside, share, most)
    return _to_light(torch.cat([lightness, least * chroma]))


def _is_outside(light: Tensor) -> Tensor:
    """Where sRGB has no such colour."""
    low, high = light.aminmax(dim=0)
    return (low < -_ROUNDING) | (high > 1 + _ROUNDING)


def _to_light(lab: Tensor) -> Tensor:
    """Linear sRGB (3, ...), beyond [0, 1] where sRGB has no such colour."""
    cones = _mixed(_TO_LAB, lab, inverse=True) ** 3
    return _mixed(_TO_CONES, cones, inverse=True)


def _mixed(rows: tuple[tuple[float, ...], ...], image: Tensor, *, inverse: bool = False) -> Tensor:
    matrix = torch.tensor(rows, dtype=torch.float64)
    matrix = (torch.linalg.inv(matrix) if inverse else matrix).to(image)
    return torch.einsum("ij,j...->i...", matrix, image)
