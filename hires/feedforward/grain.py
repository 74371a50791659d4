"""Noise on a photograph, so that a network finds something to paint in a blank sky.

A network makes the same of the same pixels: flat areas become a regular weave. With a grain that it
has been trained with, it lays strokes there, too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hires.tiling.geometry import Region, Span

# Side of the squares that are drawn one by one, so that every tile of a picture finds its own.
_SQUARE = 64
# Keeps the seeds of rows of squares apart; no picture is that many squares wide.
_STRIDE = 2**20


def grain_over(region: Region) -> Tensor:
    """Gaussian noise of unit spread over a region of a picture without end.

    Returns:
        (1, 3, *region.size) float32, the same values wherever else regions overlap.
    """
    result = torch.empty(1, 3, *region.size)
    generator = torch.Generator()
    for i in _squares(region.rows):
        rows, from_rows = _overlap(region.rows, i)
        for j in _squares(region.columns):
            columns, from_columns = _overlap(region.columns, j)
            generator.manual_seed(i * _STRIDE + j)
            square = torch.randn(1, 3, _SQUARE, _SQUARE, generator=generator)
            result[..., rows, columns] = square[..., from_rows, from_columns]
    return result


def with_grain(images: Tensor, grain: float, *, seed: int) -> Tensor:
    """Add noise to training pictures, (B, 3, H, W), of a spread ``grain``; not clamped."""
    if grain == 0:
        return images
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return images.add(noise.to(images), alpha=grain)


def _squares(span: Span) -> range:
    return range(span.start // _SQUARE, -(-span.stop // _SQUARE))


def _overlap(span: Span, index: int) -> tuple[slice, slice]:
    """Where a square lies in a span, and what of the square that is."""
    start, stop = index * _SQUARE, (index + 1) * _SQUARE
    first, last = max(span.start, start), min(span.stop, stop)
    return (
        slice(first - span.start, last - span.start),
        slice(first - start, last - start),
    )
