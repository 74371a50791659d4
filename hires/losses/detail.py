"""Detail: fine drawing that shall be the photograph's, whatever its colours become.

Features of the content's layers, deep as they are, let lines drift and close. The Laplacian of a
slightly smoothed picture is its drawing: S. Li et al. 2017, "Laplacian-Steered Neural Style
Transfer" (arXiv 1707.01253).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.losses.positions import PIXELS, View
from hires.losses.terms import References, Statistics, Term
from hires.tiling.geometry import Layer

# Sides in pixels of the squares whose means are looked at, each a multiple of the one before.
SIDES = (4, 16)
# The least power per position that an error is divided by, in squares of the pixel range. That of
# photographs and paintings is 0.01 to 0.05 at any size; what is foggy, or enlarged several times,
# has less, and would leave no room for strokes.
_FLOOR = 0.05**2


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    """What a picture on the canvas is compared to, at each size.

    Attributes:
        laplacians: of the photograph, (1, 1, h, w).
        weights: how much each position counts, (1, 1, h, w); None for all alike.
    """

    laplacians: Sequence[Tensor]
    weights: Sequence[Tensor] | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Detail(Term):
    """Squared error of the Laplacian of a canvas's lightness, over the photograph's power.

    Lightness is the mean of the three channels, averaged over squares of each side in `SIDES`; the
    picture is replicated at its border. What squares leave over at the right and below does not
    count, nor does a position that sees something transparent. The loss is the mean over the sizes.

    Attributes:
        weight: of the term.
        targets: by top and left of each picture on the canvas.
        divisors: what the error at each size is divided by.
    """

    weight: float = 1.0
    name: str = "detail"
    layers: Collection[str] = (PIXELS,)
    # A row of the coarsest squares, and what is missing to whole ones.
    margin: ClassVar[int] = 2 * SIDES[-1]
    is_linear: ClassVar[bool] = True
    targets: Mapping[tuple[int, int], _Target] = field(default_factory=dict)
    divisors: Sequence[float] = ()

    def at(self, references: References) -> Self:
        """Take the drawing of a rung's content; of its pixels nothing else is kept."""
        positions = references.positions
        pixels = references.of_content((PIXELS,))[PIXELS]
        targets, powers, counts = {}, [0.0] * len(SIDES), [0.0] * len(SIDES)
        for picture in positions.pictures:
            drawn = [_laplacian(means) for means in _means(pixels[..., *picture.index])]
            seen = _least(positions.mask(PIXELS), picture.index)
            for i, one in enumerate(drawn):
                rows = positions.own_rows(SIDES[i]) if positions.is_band else slice(None)
                squares = one[..., rows, :].to(positions.sum_dtype).square()
                weights = torch.ones_like(squares) if seen is None else seen[i][..., rows, :]
                powers[i] += float((squares * weights).sum())
                counts[i] += float(weights.double().sum())
            strict = _strict(references.strictness, picture.index, seen)
            targets[picture.rows.start, picture.columns.start] = _Target(drawn, strict)
        totals = positions.total(torch.tensor([powers, counts], dtype=torch.float64)).tolist()
        divisors = [
            max(power, _FLOOR * max(count, 1)) for power, count in zip(*totals, strict=True)
        ]
        return replace(self, targets=targets, divisors=divisors)

    def measure(self, view: View, features: Tensor) -> Statistics:
        """The error of a part, divided and averaged over the sizes.

        A square belongs to the part that holds its first row.
        """
        target, found = self.targets[view.origin], []
        top, coarsest = max(int(view.index[0].start) - self.margin, 0), SIDES[-1]
        start = -(-top // coarsest) * coarsest
        means = _means(features[..., start - top :, :])
        for i, (side, part) in enumerate(zip(SIDES, means, strict=True)):
            drawn, above, first = target.laplacians[i], start // side, view.first // side
            ends = [min(-(-row // side), view.size[0] // side) for row in _ends(view)]
            own = _laplacian(part)[..., ends[0] - above : ends[1] - above, :]
            rows = slice(ends[0] - first, ends[1] - first)
            squares = (own - drawn[..., rows, :]).to(view.sum_dtype).square()
            if target.weights is not None:
                squares = squares * target.weights[i][..., rows, :]
            found.append(squares.sum() / (self.divisors[i] * len(SIDES)))
        return {"error": torch.stack(found).sum()}

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """That sum."""
        return statistics[PIXELS]["error"]

    def bytes_per_pixel(self, layers: Mapping[str, Layer], itemsize: int) -> float:  # noqa: ARG002
        """Of the targets, in float32, and their weights."""
        return sum(2 * 4 / side**2 for side in SIDES)


def _ends(view: View) -> tuple[int, int]:
    return view.index[0].start, view.index[0].stop


def _means(pixels: Tensor) -> Iterator[Tensor]:
    """Lightness of pixels (1, 3, H, W), averaged over squares, at each size: (1, 1, h, w)."""
    found, before = pixels.to(torch.promote_types(pixels.dtype, torch.float32)).mean(1, True), 1
    for side in SIDES:
        found, before = _averaged(found, side // before), side
        yield found


def _averaged(pixels: Tensor, side: int) -> Tensor:
    """Means of squares; what is left over at the right and below is left out."""
    height, width = (length // side for length in pixels.shape[2:])
    whole = pixels[..., : height * side, : width * side]
    return whole.reshape(1, 1, height, side, width, side).mean((3, 5))


def _laplacian(means: Tensor) -> Tensor:
    """The four neighbours of each position less four times itself, replicated at the border."""
    x = F.pad(means, (1, 1, 1, 1), mode="replicate")
    around = x[..., :-2, 1:-1] + x[..., 2:, 1:-1] + x[..., 1:-1, :-2] + x[..., 1:-1, 2:]
    return around - 4 * means


def _least(mask: Tensor | None, index: tuple[slice, slice]) -> list[Tensor] | None:
    """At each size, the least weight of what a position sees: its square and those around it."""
    if mask is None:
        return None
    squares = [F.max_pool2d(-mask[..., *index], side) for side in SIDES]
    return [-F.max_pool2d(hidden, 3, 1, 1) for hidden in squares]


def _strict(
    strictness: Tensor | None, index: tuple[slice, slice], seen: Sequence[Tensor] | None
) -> Sequence[Tensor] | None:
    """How strictly a picture is kept at each size, times how much each position counts."""
    if strictness is None:
        return seen
    factors = [_averaged(strictness[..., *index], side) for side in SIDES]
    if seen is None:
        return factors
    return [one.to(weights) * weights for one, weights in zip(factors, seen, strict=True)]
