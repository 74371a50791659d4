"""Sliced Wasserstein distance: how features are spread along every direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.kernels.histograms import PARTS, Bins, counts, histogram, sent_back, whole_numbers
from hires.losses.moments import TINY
from hires.losses.positions import View
from hires.losses.regional import Regional
from hires.losses.sample import Sample, mixed, seed_of
from hires.losses.terms import References, Statistics, Term, Verdict
from hires.tiling.geometry import Layer

NUM_BINS = 512
# Directions of a layer in a step, half as many as channels but at most so many; the next step has
# others. With twice as many paintings are as good by all measures, and a step takes a fifth longer.
_MOST_DIRECTIONS = 32
# Of the styles' range and size, what bins reach further on either side: what lies beyond is sent
# back from there.
_MARGIN = 0.25
# Positions of a style of which it is known what lies along a direction, and their values.
_MOST_SAMPLES, _MOST_VALUES = 2**14, 2**21
_SAMPLE_BYTES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """A layer's directions at a step, and what the styles are like along them.

    Attributes:
        bins: directions and bins.
        targets: (K, num_bins) for each region: share of the styles in each bin.
        scales: (K,) for each region: what the square of a bin's width counts in the layer's loss.
    """

    bins: Bins
    targets: Sequence[Tensor]
    scales: Sequence[Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class Sliced(Term):
    """Features shall be spread like the styles' along every direction.

    The sliced Wasserstein distance (Heitz et al. 2021, arXiv 2006.07229): of unit vectors θ, drawn
    anew at every step, the mean of ``W₂²(θ·f, θ·fₜ)``, times the number of channels and over the
    style's power ``E ‖fₜ‖²``: as the Wasserstein distance of two Gaussians has it. Sorted values
    are compared as histograms, which add up: ``W₂²`` is that of positions moved to the middle of
    their bins, and a position is sent where its bin is, by the map of the quantiles.

    Vectors of a step are at right angles to each other, so that all means are seen where there are
    as many as channels. Of the styles some positions are kept and looked at along each of them.

    Attributes:
        layers: what each layer's loss counts.
        styles: the style that a layer takes, by its place from 0; all where none is named.
        weight: of the term.
        seed: of the directions, with the number of the step.
        redraws: whether there are others at every step. L-BFGS wants the same loss at all.
        num_bins: along each direction.
        samples: what the styles have at some positions, and how much each position counts in every
            region, a column for each; of every layer.
        slices: of every layer, at this step.
        canvas: how many positions there are.
        step: of the slices.
    """

    layers: Mapping[str, float]
    styles: Mapping[str, int] = field(default_factory=dict)
    weight: float = 1.0
    name: str = "sliced"
    seed: int = 0
    redraws: bool = True
    num_bins: int = NUM_BINS
    samples: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    slices: Mapping[str, Slices] = field(default_factory=dict)
    canvas: Regional = field(default_factory=Regional)
    step: int = 0

    def at(self, references: References) -> Self:
        """Take a sample of the styles of a rung."""
        sample = Sample(
            layers=tuple(self.layers),
            most_values=_MOST_VALUES,
            most=_MOST_SAMPLES,
            seed=self.seed,
        )
        each = references.of_styles(sample)
        samples = {
            name: mixed(each, name, references.regions_of(self.styles.get(name)))
            for name in self.layers
        }
        canvas = Regional.of(references, self.layers)
        return replace(self, samples=samples, canvas=canvas)._drawn(0)

    def at_step(self, step: int) -> Self:
        """With the directions of a step."""
        return self._drawn(step) if self.redraws and step != self.step else self

    def _drawn(self, step: int) -> Self:
        slices = {}
        for number, (name, (vectors, weights)) in enumerate(self.samples.items()):
            generator = torch.Generator().manual_seed(seed_of(self.seed, step, number))
            slices[name] = _sliced(vectors, weights, self.num_bins, generator)
        return replace(self, slices=slices, step=step)

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Histograms, (K, num_bins) in each region."""
        bins, parts = self.slices[view.layer].bins, [*enumerate(view.regional)]
        seen = [(number, part.mask) for number, part in parts if part is not None]
        each = counts(features, bins, [mask for _, mask in seen])
        found = {_name(number): one for (number, _), one in zip(seen, each, strict=True)}
        none = torch.zeros(bins.shape, dtype=view.sum_dtype, device=features.device)
        return {
            _name(number): found.get(_name(number), none).to(view.sum_dtype) for number, _ in parts
        }

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """The layers' losses, added up by their shares."""

        def of_layer(name: str) -> Tensor:
            slices, sums = self.slices[name], statistics[name]

            def loss(region: int) -> Tensor:
                target, scale = slices.targets[region], slices.scales[region]
                return transport(sums[_name(region)], target.to(sums[_name(0)]), scale)

            return self.canvas.mean(name, loss, sums)

        return reduce(torch.add, (share * of_layer(name) for name, share in self.layers.items()))

    def bytes_of_styles(self, layers: Mapping[str, Layer], itemsize: int) -> int:  # noqa: ARG002
        """Of the samples, in float32."""
        channels = [layers[name].channels for name in self.layers]
        return sum(_SAMPLE_BYTES * min(_MOST_SAMPLES * each, _MOST_VALUES) for each in channels)

    def local(self, view: View, features: Tensor, verdict: Verdict) -> Tensor:
        """Along each direction, to where the map of the quantiles says."""
        parts = [(i, part.mask) for i, part in enumerate(view.regional) if part is not None]
        if not parts:
            return torch.zeros((), dtype=view.sum_dtype, device=features.device)
        tables = [verdict.slopes[_name(number)] for number, _ in parts]
        masks = [mask for _, mask in parts]
        return sent_back(features, self.slices[view.layer].bins, tables, masks)


def transport(counts: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """``Σₖ scaleₖ W₂²`` (0-d) of histograms and those of a target, in widths of bins.

    The slope is no derivative along the counts but what `Sliced.local` needs: that of the loss
    along the place of what is counted, for each bin and for one that is counted there. It is
    ``2 scale (p - T) / n``, T being the mean of what the bin is mapped to.

    Args:
        counts: (K, bins).
        target: (K, bins), summing to 1 in each row.
        scale: (K,).
    """
    loss: Tensor = _Transport.apply(counts, target, scale)
    return loss


class _Transport(Function):
    @staticmethod
    def forward(ctx: Any, counts: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        num_bins = counts.shape[1]
        # Told from the middle, squares are smaller and so is their rounding.
        places = torch.arange(num_bins, dtype=counts.dtype, device=counts.device) - num_bins / 2
        number = counts.sum(1, keepdim=True).clamp_min(TINY)
        mass = counts / number
        sent = _integrated(target, places, mass)  # What each bin's mass is sent to, times it.
        moved = (mass * places.square() + target * places.square() - 2 * places * sent).sum(1)
        away = torch.where(mass > 0, places - sent / mass.clamp_min(TINY), 0.0)
        ctx.save_for_backward(2 * scale[:, None].to(away) * away / number)
        return (scale.to(moved) * moved).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (away,) = ctx.saved_tensors
        return gradients[0] * away, None, None


def _integrated(target: Tensor, places: Tensor, mass: Tensor) -> Tensor:
    """The target's quantiles, added up over the ranks that each bin's mass has, (K, bins)."""
    ranks, known = (_cumulated(one) for one in (mass, target))
    sums = _cumulated(target * places)
    after = torch.searchsorted(known, ranks).clamp_(1, known.shape[1] - 1)
    before = after - 1
    low, high = known.gather(1, before), known.gather(1, after)
    share = ((ranks - low) / (high - low).clamp_min(TINY)).clamp_(0, 1)
    return torch.lerp(sums.gather(1, before), sums.gather(1, after), share).diff(dim=1)


def _cumulated(rows: Tensor) -> Tensor:
    """Sums of all values before each, and of all; (K, bins + 1)."""
    return torch.cat([torch.zeros_like(rows[:, :1]), rows.cumsum(1)], dim=1)


def _sliced(vectors: Tensor, weights: Tensor, num_bins: int, generator: torch.Generator) -> Slices:
    """Directions, the bins along each, and what the styles have in them."""
    num_channels = vectors.shape[1]
    num_directions = min((num_channels + 1) // 2, _MOST_DIRECTIONS)
    # Drawn on the CPU, the same for every device.
    drawn = torch.randn(num_channels, num_directions, generator=generator, dtype=torch.float64)
    directions = torch.linalg.qr(drawn)[0].T.contiguous().to(vectors)
    seen = vectors @ directions.T
    low, high = seen.amin(0), seen.amax(0)
    power = vectors.square().sum(1)
    reach = _MARGIN * (high - low + (power.mean() / num_channels).sqrt()) + TINY
    bins = Bins.between(directions, low - reach, high + reach, num_bins)
    places, widths = bins.places(vectors), (high - low + 2 * reach) / num_bins
    targets, scales = [], []
    for one in weights.T:
        found = histogram(bins, places, whole_numbers(one[:, None] * PARTS))
        targets.append(found / found[0].sum())
        size = (one * power).sum() + TINY
        scales.append(widths.square() * (num_channels / num_directions) / size)
    return Slices(bins, targets, scales)


def _name(region: int) -> str:
    """Of the sums of a region."""
    return f"counts{region}"
