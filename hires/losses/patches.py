"""Patches: what a canvas's smallest patches are like, at full, half and quarter size.

The layers of a network hardly see single pixels: what a painting has for grain and for edges at 1:1
is theirs to choose. Patches of 3x3 pixels do see them, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.kernels.lags import LAGS, REACH, PixelRows, lag_slopes, lag_sums
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
# Keeps a ratio finite where nothing counts.
_TINY = 1e-12


@dataclass(frozen=True, eq=False, kw_only=True)
class Patches(Term):
    """Second moments of patches of 3x3 pixels that shall be those of the styles.

    About the styles' mean colour: (27, 27) at each size. They follow from the products of pixels
    with their neighbours up to two rows and columns away (`hires.kernels.lags`), the picture being
    that colour all around, and wherever it cannot be seen.

    The loss is the squared 2-Wasserstein distance of the two Gaussians where the style's is white,
    ``mean((√λ - 1)²)`` over the eigenvalues of ``Σₜ^-½ Σ Σₜ^-½``: every direction counts alike,
    faint ones too, down to a floor.

    Each region has its own, in which products across its border do not count; the loss is that of
    each by its share of the canvas.

    Attributes:
        weight: of the term.
        style: whose patches they are, by its place from 0, in each region that has it; None for all
            styles by their shares.
        centres: mean colour of each region's styles, (3,) in [0, 1].
        whitenings: inverse root of the second moments of each region's styles, (27, 27), at each
            size.
        areas: share of the canvas that each region has.
    """

    weight: float = 1.0
    name: str = "patch"
    layers: Collection[str] = (PIXELS,)
    # Two pixels of a quarter's size, and what is missing to whole ones.
    margin: ClassVar[int] = (REACH + 1) << (NUM_LEVELS - 1)
    style: int | None = None
    centres: Sequence[Tensor] = field(default_factory=lambda: [torch.full((3,), 0.5)])
    whitenings: Sequence[Mapping[int, Tensor]] = ()
    areas: Sequence[float] = (1.0,)

    def at(self, references: References) -> Self:
        """Measure the styles of a rung and blend them, position for position, by their shares."""
        regions = [*enumerate(references.regions_of(self.style))]
        off = references.of_styles(_MeanColour())
        centres = [_blended(off, shares, f"total{i}", f"count{i}") for i, shares in regions]
        centred = replace(self, centres=centres)
        styles = references.of_styles(centred)
        whitenings = [_whitened(styles, i, shares) for i, shares in regions]
        areas = [references.positions.area(i) for i, _ in regions]
        return replace(centred, whitenings=whitenings, areas=areas)

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Sums of products of neighbours, and how many positions there are, at each size."""
        found: dict[str, Tensor] = {}
        for i, one in enumerate(view.regional):
            if one is None:
                found |= _nothing(i, view, features)
                continue
            part = self._part(one, features, i)
            sums = _Lags.apply(features, part, True)
            for level, (lags, count) in enumerate(zip(sums, part.counts(), strict=True)):
                found |= dict(zip(_names(level, i), (lags, count), strict=True))
        return found

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """The mean over all directions and sizes."""
        sums, found = statistics[PIXELS], []
        for i, (whitenings, area) in enumerate(zip(self.whitenings, self.areas, strict=True)):
            losses = []
            for level, whitening in whitenings.items():
                lags, count = (sums[name] for name in _names(level, i))
                # Of a small region nothing may be left at a smaller size.
                moments = _of_patches(lags / (count if area == 1 else count.clamp_min(_TINY)))
                power = (whitening @ whitening * moments).sum()
                cross = CrossTrace.apply(moments, whitening)
                losses.append((power - 2 * cross) / len(moments) + 1)
            loss = torch.stack(losses).mean()
            found.append(loss if area == 1 else area * loss)
        return reduce(torch.add, found)

    def local(self, view: View, features: Tensor, verdict: Verdict) -> Tensor:
        """Sums are not taken a second time."""
        parts = []
        for i, one in enumerate(view.regional):
            if one is not None:
                sums = _Lags.apply(features, self._part(one, features, i), False)
                slopes = (verdict.slopes[_names(level, i)[0]] for level in range(NUM_LEVELS))
                parts += [(slope * part).sum() for slope, part in zip(slopes, sums, strict=True)]
        return torch.stack(parts).sum() if parts else 0 * features.sum()

    def _part(self, view: View, window: Tensor, region: int) -> _Part:
        return _Part(view, self.margin, self.centres[region].to(window))


def _names(level: int, region: int) -> tuple[str, str]:
    """Of a size's sums in a region, and of what they are divided by."""
    of = f".{region}" if region else ""
    return f"lags{level}{of}", f"count{level}{of}"


def _nothing(region: int, view: View, features: Tensor) -> dict[str, Tensor]:
    """The sums of a part that has nothing of a region."""
    found: dict[str, Tensor] = {}
    for level in range(NUM_LEVELS):
        lags, count = _names(level, region)
        found[lags] = torch.zeros(*LAGS, dtype=view.sum_dtype, device=features.device)
        found[count] = torch.zeros((), dtype=view.sum_dtype, device=features.device)
    return found


def _whitened(
    styles: Collection[Measured], region: int, shares: Collection[float]
) -> dict[int, Tensor]:
    """Inverse roots of the second moments of a region's styles, at each size."""
    found = {}
    for level in range(NUM_LEVELS):
        moments = _of_patches(_blended(styles, shares, *_names(level, region)))
        values, vectors = torch.linalg.eigh(moments.cpu())
        whitening = (vectors * values.clamp_min(_FLOOR).rsqrt()) @ vectors.T
        found[level] = whitening.to(moments.device)
    return found


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of a canvas at each size.

    A pixel of a smaller size belongs to the part that holds its first row; what is left over at the
    right and below belongs to none.

    Attributes:
        view: the rows, and how much each pixel counts.
        margin: rows around them, where the canvas goes on.
        centre: (3,), what pixels are taken about.
    """

    view: View
    margin: int
    centre: Tensor

    @property
    def border(self) -> int:
        """Columns on either side that are only looked at: a margin where the canvas wraps."""
        return self.margin if self.view.wraps else 0

    @property
    def start(self) -> int:
        """The first row of the margin that all sizes have."""
        coarsest = 1 << (NUM_LEVELS - 1)
        return -(-self._top // coarsest) * coarsest

    @property
    def skipped(self) -> int:
        """Rows of the window before it."""
        return self.start - self._top

    @property
    def _top(self) -> int:
        first = int(self.view.index[0].start) - self.margin
        return first if self.view.wraps else max(first, 0)

    def rows(self, level: int) -> slice:
        """Those that belong to the part, counted from `start`."""
        scale, rows = 1 << level, self.view.index[0]
        first, last = (
            min(-(-row // scale), self.view.size[0] // scale) - self.start // scale
            for row in (rows.start, rows.stop)
        )
        return slice(first, last)

    @cached_property
    def masks(self) -> list[Tensor] | None:
        """How much each pixel counts at each size, (1, 1, h, w); None for all alike."""
        if self.view.mask is None:
            return None
        found = [self.view.mask[..., self.skipped :, :]]
        while len(found) < NUM_LEVELS:
            found.append(_halved(found[-1]))
        return found

    def counts(self) -> list[Tensor]:
        """How many pixels there are at each size, or the sum of how much they count."""
        dtype, masks = self.view.sum_dtype, self.masks
        if masks is not None:
            return [m[..., self.rows(level), :].sum(dtype=dtype) for level, m in enumerate(masks)]
        width, spans = self.view.size[1], [self.rows(level) for level in range(NUM_LEVELS)]
        counts = [(span.stop - span.start) * (width >> i) for i, span in enumerate(spans)]
        return [torch.full((), n, dtype=dtype, device=self.centre.device) for n in counts]

    def levels(self, window: Tensor) -> list[PixelRows]:
        """The pixels of a window at each size, times the root of how much they count.

        In float32 at least: products of half-precision pixels would be rounded.
        """
        wide = window.to(torch.promote_types(window.dtype, torch.float32))
        pixels = [wide[..., self.skipped :, :] - self.centre.view(1, 3, 1, 1)]
        while len(pixels) < NUM_LEVELS:
            pixels.append(_halved(pixels[-1]))
        masks = self.masks
        if masks is not None:
            pixels = [level * mask.sqrt() for level, mask in zip(pixels, masks, strict=True)]
        return [PixelRows.of(level) for level in pixels]


def _halved(pixels: Tensor) -> Tensor:
    """Means of 2x2 pixels (1, C, h, w); an odd last row or column is left out.

    Four times as fast as an average pooling, on a CPU.
    """
    height, width = (side // 2 * 2 for side in pixels.shape[2:])
    rows = pixels[..., 0:height:2, :width] + pixels[..., 1:height:2, :width]
    return rows[..., ::2].add(rows[..., 1::2]).mul_(0.25)


class _Lags(Function):
    """`lag_sums` of a part at each size, as a node whose gradient is that of the whole canvas.

    What a loss of the sums over all parts has for slope along the pixels of this one, in which
    their neighbours beyond the part count as well; the margin gets hardly any. Who wants nothing
    but the gradient gets zeros for sums.
    """

    @staticmethod
    def forward(ctx: Any, window: Tensor, part: _Part, is_summed: bool) -> tuple[Tensor, ...]:
        ctx.save_for_backward(window)
        ctx.part, dtype = part, part.view.sum_dtype
        if not is_summed:
            return tuple(torch.zeros(NUM_LEVELS, *LAGS, dtype=dtype, device=window.device))
        return tuple(
            lag_sums(pixels, part.rows(level), dtype, border=part.border >> level)
            for level, pixels in enumerate(part.levels(window))
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """From the smallest size up: each pixel's part of the mean that it went into."""
        (window,), part = ctx.saved_tensors, ctx.part
        levels, masks, result = part.levels(window), part.masks, torch.zeros_like(window)
        found: Tensor | None = None
        for level in reversed(range(NUM_LEVELS)):
            pixels, rows = levels[level], part.rows(level)
            slopes = (
                window.new_zeros(1, 3, *pixels.size) if level else result[..., part.skipped :, :]
            )
            if rows.stop > rows.start:
                columns = slice(part.border >> level, pixels.size[1] - (part.border >> level))
                own = lag_slopes(pixels, rows, gradients[level])[:, columns]
                slopes[0, :, rows, columns] = own.permute(2, 0, 1)
            if masks is not None:
                slopes *= masks[level].sqrt()
            if found is not None:
                height, width = (2 * side for side in found.shape[2:])
                slopes[..., :height, :width].add_(F.interpolate(found, scale_factor=2), alpha=0.25)
            found = slopes
        return result, None, None


@dataclass(frozen=True, eq=False, kw_only=True)
class _MeanColour(Term):
    """Sums of the colours, which is all that a centre needs."""

    weight: float = 0.0
    name: str = "mean colour"
    layers: Collection[str] = (PIXELS,)

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Sums of the three colours, and how many pixels there are, in each region."""
        found, ones = {}, torch.ones_like(features[:, :1])
        for i, one in enumerate(view.regional):
            mask = torch.zeros_like(ones) if one is None else ones if one.mask is None else one.mask
            found[f"total{i}"] = (features * mask)[0].sum((1, 2), dtype=view.sum_dtype)
            found[f"count{i}"] = mask.sum(dtype=view.sum_dtype)
        return found

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
        if share
    ]
    return torch.stack(found).sum(0)


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
