"""Total variation: its forms, each with its exact gradient, over windows that add up.

All take a window of the canvas, (1, 3, h, w), with one more pixel on every inner side, and edges:
top, bottom, left, right, 1 where the canvas ends. They return the sum over the inner region, and
its gradient (1, 3, h', w'). Summed over regions that partition the canvas, both are those of the
whole canvas. A pair of neighbours counts for the region of its upper or left pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.losses.positions import PIXELS, View
from hires.losses.terms import References, Statistics, Term

Edges = tuple[int, int, int, int]
Size = tuple[int, int]
Measure = Callable[[Tensor, Edges, Size | None], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Variation:
    """A form of the total variation.

    Attributes:
        measure: maps window, edges, and (height, width) of the canvas, None for one that wraps, to
            sum and gradient.
        per_pixel: whether the sum is to be divided by the number of pixels of the canvas.
    """

    measure: Measure
    per_pixel: bool


def total_variation(window: Tensor, edges: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Squared total variation of a window of the canvas, and its exact gradient.

    Nine-point: a sixth of the sum over pairs of neighbours of their squared difference, diagonal
    pairs counted half, the picture replicated at its border. Own stencil rather than kornia's
    (which sums ``|∂x| + |∂y|`` along two axes): the diagonals damp the checkerboards that pooling
    leaves behind, and a square has no kink at zero. Being a quadratic form it is ``½ Σ x·(its
    gradient)``.

    Args:
        window: (1, 3, h, w), a region of the canvas with one more pixel on every inner side.
        edges: top, bottom, left, right; 1 where the canvas ends there and has to be replicated.

    Returns:
        The sum over the inner region (not divided by anything), and its gradient (1, 3, h', w').
        Summed over regions that partition the canvas, both are those of the whole canvas.
    """
    top, bottom, left, right = edges
    x = F.pad(window, (left, right, top, bottom), mode="replicate")
    inner = x[..., 1:-1, 1:-1]
    # The sum over neighbours is half of a separable 1-2-1 filter, less the pixel itself: sums of
    # shifted views, which on a CPU take a tenth of the time of a convolution.
    rows = torch.add(x[..., :-2, :], x[..., 2:, :]).add_(x[..., 1:-1, :], alpha=2)
    smooth = torch.add(rows[..., :-2], rows[..., 2:]).add_(rows[..., 1:-1], alpha=2)
    gradient = smooth.mul_(-1 / 6).add_(inner, alpha=8 / 3)
    return 0.5 * (inner * gradient).sum(), gradient


def squared(window: Tensor, edges: Edges, size: Size | None) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """The house's own nine-point form, `total_variation`."""
    return total_variation(window, edges)


def absolute(window: Tensor, edges: Edges, size: Size | None) -> tuple[Tensor, Tensor]:
    """``½ (mean|∂y| + mean|∂x|)`` times the number of pixels (Dive into Deep Learning).

    The means are over channels and over the pairs that exist: ``3 (H - 1) W`` and ``3 H (W - 1)``,
    or ``3 H W`` each where the canvas wraps.
    """
    top, _, left, _ = edges
    rows, columns = _inner(window, edges)
    down, across = window.diff(dim=2), window.diff(dim=3)
    per_row = per_column = 1 / 6
    if size is not None:
        per_row, per_column = (side / (6 * max(side - 1, 1)) for side in size)
    value = per_row * down[..., 1 - top :, columns].abs().sum()
    value = value + per_column * across[..., rows, 1 - left :].abs().sum()
    slope = torch.zeros_like(window)
    down, across = down.sign_().mul_(per_row), across.sign_().mul_(per_column)
    slope[..., 1:, :] += down
    slope[..., :-1, :] -= down
    slope[..., 1:] += across
    slope[..., :-1] -= across
    return value, slope[..., rows, columns]


def power(window: Tensor, edges: Edges, size: Size | None) -> tuple[Tensor, Tensor]:  # noqa: ARG001
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


@dataclass(frozen=True, eq=False, kw_only=True)
class TotalVariation(Term):
    """How rough a canvas is.

    Attributes:
        form: a key of `VARIATIONS`.
        weight: of the term.
        pixel_scale: what a channel's 1 is in the units that it looks at.
        num_pixels: of the canvas.
    """

    form: str = "squared"
    weight: float = 1.0
    name: str = "tv"
    layers: Collection[str] = (PIXELS,)
    margin: ClassVar[int] = 1
    is_linear: ClassVar[bool] = True
    pixel_scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    num_pixels: float = 1.0

    def at(self, references: References) -> Self:
        """For the number of pixels of a rung's canvas. It holds everywhere, whatever the mask."""
        return replace(self, num_pixels=references.positions.num_pixels)

    def measure(self, view: View, features: Tensor) -> Statistics:
        """The sum over a part of the canvas, over the number of pixels if that is the form."""
        variation = VARIATIONS[self.form]
        if self.pixel_scale != (1.0, 1.0, 1.0):
            scale = torch.tensor(self.pixel_scale, dtype=features.dtype, device=features.device)
            features = features * scale.view(1, 3, 1, 1)
        size = None if view.wraps else view.size
        value: Tensor = _Measured.apply(features, variation.measure, view.edges, size)
        divisor = self.num_pixels if variation.per_pixel else 1
        return {"sum": value.to(view.sum_dtype) / divisor}

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """That sum."""
        return statistics[PIXELS]["sum"]


class _Measured(Function):
    """A form of the total variation, as a node that has computed its gradient already.

    That of the whole canvas's variation along the pixels of the window, which its neighbours add
    to; the margin gets none.
    """

    @staticmethod
    def forward(
        ctx: Any, window: Tensor, measure: Measure, edges: Edges, size: Size | None
    ) -> Tensor:
        value, slope = measure(window, edges, size)
        ctx.save_for_backward(slope)
        ctx.inner, ctx.shape = _inner(window, edges), window.shape
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        found = slope.new_zeros(ctx.shape)
        found[..., *ctx.inner] = slope.mul_(gradients[0])
        return found, None, None, None
