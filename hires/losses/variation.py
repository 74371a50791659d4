"""Forms of the total variation, each with its exact gradient, over windows that add up.

All take a window of the canvas, (1, 3, h, w), with one more pixel on every inner side, and edges:
top, bottom, left, right, 1 where the canvas ends. They return the sum over the inner region, and
its gradient (1, 3, h', w'). Summed over regions that partition the canvas, both are those of the
whole canvas. A pair of neighbours counts for the region of its upper or left pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hires.losses.moments import total_variation

Edges = tuple[int, int, int, int]
Measure = Callable[[Tensor, Edges, tuple[int, int]], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Variation:
    """A form of the total variation.

    Attributes:
        measure: maps window, edges, and (height, width) of the canvas to sum and gradient.
        per_pixel: whether the sum is to be divided by the number of pixels of the canvas.
    """

    measure: Measure
    per_pixel: bool


def squared(window: Tensor, edges: Edges, size: tuple[int, int]) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """The house's own nine-point form, `hires.losses.moments.total_variation`."""
    return total_variation(window, edges)


def absolute(window: Tensor, edges: Edges, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """``½ (mean|∂y| + mean|∂x|)`` times the number of pixels (Dive into Deep Learning).

    The means are over channels and over the pairs that exist: ``3 (H - 1) W`` and ``3 H (W - 1)``.
    """
    top, _, left, _ = edges
    height, width = size
    rows, columns = _inner(window, edges)
    down, across = window.diff(dim=2), window.diff(dim=3)
    per_row, per_column = height / (6 * max(height - 1, 1)), width / (6 * max(width - 1, 1))
    value = per_row * down[..., 1 - top :, columns].abs().sum()
    value = value + per_column * across[..., rows, 1 - left :].abs().sum()
    slope = torch.zeros_like(window)
    down, across = down.sign_().mul_(per_row), across.sign_().mul_(per_column)
    slope[..., 1:, :] += down
    slope[..., :-1, :] -= down
    slope[..., 1:] += across
    slope[..., :-1] -= across
    return value, slope[..., rows, columns]


def power(window: Tensor, edges: Edges, size: tuple[int, int]) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """``Σ ((∂y)² + (∂x)²)^1.25`` over pixels that have both neighbours, below and to the right.

    This is what Chollet's text means, and his other editions compute. The document's code takes the
    vertical neighbour's counterpart from one single row (``img_height-1`` in place of
    ``:img_height-1``), which leaves most of the picture out of one of the two differences.
    """
    top, _, left, _ = edges
    down, across = window.diff(dim=2)[..., :-1], window.diff(dim=3)[..., :-1, :]
    square = down.square() + across.square()
    root = square.pow(0.25)
    value = (square * root)[..., 1 - top :, 1 - left :].sum()
    slope = torch.zeros_like(window)
    root = root.mul_(2.5)
    down, across = root * down, root * across
    slope[..., 1:, :-1] += down
    slope[..., :-1, 1:] += across
    slope[..., :-1, :-1] -= down.add_(across)
    return value, slope[..., *_inner(window, edges)]


def _inner(window: Tensor, edges: Edges) -> tuple[slice, slice]:
    top, bottom, left, right = edges
    height, width = window.shape[2:]
    return slice(1 - top, height - 1 + bottom), slice(1 - left, width - 1 + right)


VARIATIONS: dict[str, Variation] = {
    "squared": Variation(squared, per_pixel=True),
    "absolute": Variation(absolute, per_pixel=True),
    "power": Variation(power, per_pixel=False),
}
