"""Patches: what a canvas's smallest patches are like, at full, half and quarter size.

The layers of a network hardly see single pixels: what a painting has for grain and for edges at 1:1
is theirs to choose. Patches of 3x3 pixels do see them, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from hires.kernels.lags import REACH, LagSlope, lag_sums
from hires.kernels.matrix_roots import CrossTrace
from hires.losses.positions import PIXELS, View
from hires.losses.terms import Measured, References, Statistics, Term, Verdict

# Sizes at which patches are looked at, each half of the one before.
NUM_LEVELS = 3
_SIDE = 3
# Variance that is added to every direction, in squares of the pixel range: a step and a half of
# eight bits, which nobody sees. What a style has less of (a grey one has no colour, a flat one no
# grain) is not asked for to the last digit.
_FLOOR = 3.5e-5


@dataclass(frozen=True, eq=False, kw_only=True)
class Patches(Term):
    """Second moments of patches of 3x3 pixels that shall be those of the styles.

    About the styles' mean colour: (27, 27) at each size. They follow from the products of pixels
    with their neighbours up to two rows and columns away (`hires.kernels.lags`), the picture being
    that colour all around, and wherever it cannot be seen. The loss is the squared 2-Wasserstein distance of the two Gaussians in
    coordinates in which the style's is white, ``mean((√λ - 1)²)`` over the eigenvalues of
    ``Σₜ^-½ Σ Σₜ^-½``: every direction counts alike, faint ones too, down to a floor.

    Attributes:
        weight: of the term.
        centre: mean colour of the styles, 3 numbers in [0, 1].
        whitening: inverse root of the styles' second moments, (27, 27), at each size.
    """

    weight: float = 1.0
    name: str = "patch"
    layers: Collection[str] = (PIXELS,)
    # Two pixels of a quarter's size, and what is missing to whole ones.
    margin: ClassVar[int] = (REACH + 1) << (NUM_LEVELS - 1)
    centre: tuple[float, ...] = (0.5, 0.5, 0.5)
    whitening: Mapping[int, Tensor] = field(default_factory=dict)

    def at(self, references: References) -> Self:
        """Measure the styles of a rung and blend them, position for position, by their shares."""
        off = _blended(references.of_styles(_MeanColour()), references.shares, "total", "count")
        centred = replace(self, centre=tuple(off.tolist()))
        styles, found = references.of_styles(centred), {}
        for level in range(NUM_LEVELS):
            lags = _blended(styles, references.shares, f"lags{level}", f"count{level}")
            moments = _of_patches(lags)
            values, vectors = torch.linalg.eigh(moments.cpu())
            whitening = (vectors * values.clamp_min(_FLOOR).rsqrt()) @ vectors.T
            found[level] = whitening.to(moments.device)
        return replace(centred, whitening=found)

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Sums of products of neighbours, and how many positions there are, at each size."""
        found: dict[str, Tensor] = {}
        for level, pixels, count, rows in self._levels(view, features):
            found[f"lags{level}"] = lag_sums(pixels, rows, view.sum_dtype)
            found[f"count{level}"] = count
        return found

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """The mean over all directions and sizes."""
        sums = statistics[PIXELS]
        losses = []
        for level, whitening in self.whitening.items():
            moments = _of_patches(sums[f"lags{level}"] / sums[f"count{level}"])
            power = (whitening @ whitening * moments).sum()
            cross = CrossTrace.apply(moments, whitening)
            losses.append((power - 2 * cross) / len(moments) + 1)
        return torch.stack(losses).mean()

    def local(self, view: View, features: Tensor, verdict: Verdict) -> Tensor:
        """Sums are not taken a second time."""
        parts = [
            LagSlope.apply(pixels, rows, verdict.slopes[f"lags{level}"])
            for level, pixels, _, rows in self._levels(view, features)
            if rows.stop > rows.start
        ]
        return torch.stack(parts).sum()

    def _levels(self, view: View, window: Tensor) -> Iterator[tuple[int, Tensor, Tensor, slice]]:
        """A part of the canvas at each size.

        A pixel of a smaller size belongs to the part that holds its first row; what is left over at
        the right and below belongs to none.

        Returns:
            Which size; its pixels about the centre; how many of its own rows' count; these rows.
        """
        rows, _ = view.index
        top = max(rows.start - self.margin, 0)
        # The first row that all sizes have.
        coarsest = 1 << (NUM_LEVELS - 1)
        start = -(-top // coarsest) * coarsest
        centre = torch.tensor(self.centre, dtype=window.dtype)
        centre = centre.to(window.device, non_blocking=True)
        pixels = window[..., start - top :, :] - centre.view(1, 3, 1, 1)
        mask = None if view.mask is None else view.mask[..., start - top :, :]
        for level in range(NUM_LEVELS):
            if level:
                pixels = _halved(pixels)
                mask = None if mask is None else _halved(mask)
            scale = 1 << level
            most, above = view.size[0] // scale, start // scale
            first, last = (min(-(-row // scale), most) for row in (rows.start, rows.stop))
            own = slice(first - above, last - above)
            if mask is None:
                num_pixels = float((own.stop - own.start) * pixels.shape[3])
                count = torch.full((), num_pixels, dtype=view.sum_dtype, device=pixels.device)
                yield level, pixels, count, own
            else:
                yield level, pixels * mask.sqrt(), mask[..., own, :].sum(dtype=view.sum_dtype), own


@dataclass(frozen=True, eq=False, kw_only=True)
class _MeanColour(Term):
    """Sums of the colours, which is all that a centre needs."""

    weight: float = 0.0
    name: str = "mean colour"
    layers: Collection[str] = (PIXELS,)

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Sums of the three colours, and how many pixels there are."""
        mask = torch.ones_like(features[:, :1]) if view.mask is None else view.mask
        total = (features * mask)[0].sum((1, 2), dtype=view.sum_dtype)
        return {"total": total, "count": mask.sum(dtype=view.sum_dtype)}

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """Nothing: it is only measured."""
        raise NotImplementedError


def _blended(
    styles: Collection[Measured], shares: Collection[float], name: str, count: str
) -> Tensor:
    """Means of what styles have, by their shares."""
    found = [
        share * style.statistics[PIXELS][name] / style.statistics[PIXELS][count]
        for style, share in zip(styles, shares, strict=True)
    ]
    return torch.stack(found).sum(0)


def _halved(pixels: Tensor) -> Tensor:
    """Means of 2x2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in pixels.shape[2:])
    rows = pixels[..., 0:height:2, :width] + pixels[..., 1:height:2, :width]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def _of_patches(lags: Tensor) -> Tensor:
    """Second moments of patches (27, 27) from those of neighbours (3, 5, 3, 3), with the floor."""
    number = torch.arange(_SIDE, device=lags.device)
    down = (number[:, None] - number)[:, None, :, None].expand(_SIDE, _SIDE, _SIDE, _SIDE)
    across = (number[:, None] - number)[None, :, None, :].expand(_SIDE, _SIDE, _SIDE, _SIDE)
    # Of a pixel above another one, products are those of the other one, the other way round.
    forward = lags[down.clamp_min(0), across + REACH]
    backward = lags[(-down).clamp_min(0), REACH - across].transpose(-2, -1)
    blocks = torch.where((down >= 0)[..., None, None], forward, backward)
    size = _SIDE * _SIDE * 3
    matrix = blocks.permute(0, 1, 5, 2, 3, 4).reshape(size, size)
    matrix = (matrix + matrix.T) / 2
    return matrix + _FLOOR * torch.eye(size, dtype=lags.dtype, device=lags.device)
