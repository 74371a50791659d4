"""Noise on a photograph, so that a network finds something to paint in a blank sky.

A network makes the same of the same pixels: flat areas become a regular weave. With a grain that it
has been trained with, it lays strokes there, too.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Rows that are drawn at a time.
_BAND = 64


def with_grain(image: Tensor, grain: float, *, seed: int) -> Tensor:
    """A copy of a picture with Gaussian noise.

    Args:
        image: (B, 3, H, W).
        grain: standard deviation, as a share of the range of pixels; 0 returns the image itself.
        seed: of the noise, which is the same on every device.

    Returns:
        The same shape, not clamped: white and black have as much grain as grey.
    """
    if grain == 0:
        return image
    generator = torch.Generator().manual_seed(seed)
    result = image.clone()
    for band in torch.split(result, _BAND, dim=2):
        noise = torch.randn(band.shape, generator=generator)
        band.add_(noise.to(band), alpha=grain)
    return result
