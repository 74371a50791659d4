"""Losses of features at some positions: gathered from all tiles, judged once, sent back to them.

Both are those of STROTSS (Kolkin et al. 2019, arXiv 1904.12785). Positions are others at every
step, one in each cell of a grid, so that all of the canvas is seen in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.kernels.nearest import nearest
from hires.kernels.sums import nothing
from hires.losses.positions import View
from hires.losses.regional import Regional
from hires.losses.sample import Sample, mixed, sample_of_step
from hires.losses.terms import References, Statistics, Term
from hires.tiling.geometry import Layer

# Positions of a layer in a step, as published, and of a style at a rung.
NUM_POSITIONS, _NUM_OF_STYLE = 1024, 2048
_TINY = 1e-8
# Less than any cosine, even added to one of 1.
_FAR = -4.0


@dataclass(frozen=True, eq=False, kw_only=True)
class SelfSimilarity(Term):
    """What is alike in the photograph shall be alike in the painting: STROTSS's content loss.

    Of the cosine distances of all pairs of positions of a layer, each row over its sum, the mean
    over the rows of ``Σⱼ |dᵢⱼ - dᵢⱼ of the photograph|``, 0 to 2 (eq. 4). Colours and strokes may
    change all over, as long as they do so alike where the photograph is alike.

    Attributes:
        layers: what each layer's loss counts.
        weight: of the term.
        seed: of the positions, with the number of the step.
        redraws: whether there are others at every step. L-BFGS wants the same loss at all.
        num_positions: of each layer, about.
        step: of the positions.
        targets: the photograph's features, whole, of every layer.
        strictness: how much each position of a layer counts besides, (1, 1, H, W), by a map.
    """

    layers: Mapping[str, float]
    weight: float = 1.0
    name: str = "content"
    seed: int = 0
    redraws: bool = True
    num_positions: int = NUM_POSITIONS
    step: int = 0
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    strictness: Mapping[str, Tensor] = field(default_factory=dict)

    def at(self, references: References) -> Self:
        """Take the features of a rung's content."""
        strict, positions = references.strictness, references.positions
        factors = (
            {}
            if strict is None
            else {name: F.avg_pool2d(strict, positions.stride(name)) for name in self.layers}
        )
        targets = references.of_content(tuple(self.layers))
        return replace(self, targets=targets, strictness=factors, step=0)

    def at_step(self, step: int) -> Self:
        """With the positions of a step."""
        return replace(self, step=step) if self.redraws and step != self.step else self

    @property
    def _sample(self) -> Sample:
        return sample_of_step(self.layers, self.num_positions, self.seed, self.step)

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Vectors of the canvas and of the photograph at the positions, and how much they count."""
        own = gathered(self._sample, view, features)
        target = view.of(self.targets[view.layer]).to(features.device, non_blocking=True)
        factors = self.strictness.get(view.layer)
        with torch.no_grad():
            scene = self._sample.measure(view, target)["vectors"]
            weights = own["weights"].sum(1)
            if factors is not None:
                strict = self._sample.measure(view, view.of(factors).to(features.device))
                weights = weights * strict["vectors"][:, 0]
        wide = view.sum_dtype
        return {
            "vectors": own["vectors"].to(wide),
            "scene": scene.to(wide),
            "weights": weights.to(wide),
        }

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """The layers' losses, added up by their shares."""
        losses = [
            share * self_similarity_loss(*_counted(statistics[name]))
            for name, share in self.layers.items()
        ]
        return reduce(torch.add, losses)

    @property
    def num_looks(self) -> tuple[int, int]:
        """Of the content, one."""
        return 1, 0

    @property
    def lasting(self) -> Iterable[Tensor]:
        """The targets."""
        return self.targets.values()

    def bytes_per_pixel(self, layers: Mapping[str, Layer], itemsize: int) -> float:
        """Of the targets."""
        looked_at = [layers[name] for name in self.layers]
        return itemsize * sum(layer.channels / layer.stride**2 for layer in looked_at)


def _counted(found: Statistics) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors, those of the photograph, and weights, of the positions that count."""
    weights = found["weights"].detach()
    return found["vectors"], found["scene"].detach(), weights


def self_similarity_loss(vectors: Tensor, scene: Tensor, weights: Tensor) -> Tensor:
    """STROTSS, eq. 4 (0-d), see `SelfSimilarity`.

    Args:
        vectors: (K, C), of the canvas.
        scene: (K, C), of the photograph at the same positions.
        weights: (K,), how much each position counts.
    """
    seen = weights > 0
    own, wanted = (_shares(part, seen) for part in (vectors, scene))
    rows = (own - wanted).abs().sum(1)
    return (rows * weights).sum() / weights.sum().clamp_min(_TINY)


def _shares(vectors: Tensor, seen: Tensor) -> Tensor:
    """Cosine distances (K, K), each row over its sum; what is not seen is no distance away."""
    distances = cosine_distances(vectors, vectors) * seen
    return distances / distances.sum(1, keepdim=True).clamp_min(_TINY)


def _of_pairs(some: Tensor, others: Tensor) -> Tensor:
    """``1 - cos`` (K,) of vectors (K, C) and as many others."""
    return 1 - (_directions(some) * _directions(others)).sum(1)


def _directions(vectors: Tensor) -> Tensor:
    return vectors / (vectors.square().sum(1, keepdim=True) + _TINY).sqrt()


def cosine_distances(some: Tensor, others: Tensor) -> Tensor:
    """``1 - cos`` (K, N) of vectors (K, C) and (N, C), 0 to 2; of a blank one 1."""
    return 1 - _directions(some) @ _directions(others).T


@dataclass(frozen=True, eq=False, kw_only=True)
class RelaxedTransport(Term):
    """Every vector has its like among the styles', and every one of theirs here: STROTSS's style.

    The relaxed earth mover's distance by cosine: the larger of two means, of the distance from each
    position to the nearest of the styles, and from each of theirs to the nearest here (eq. 1 to 3).
    Here layers are compared one by one, where the paper has one vector of all of them at a
    position. Moments and colours, which it adds, are other terms.

    Attributes:
        layers: what each layer's loss counts.
        styles: the style that a layer takes, by its place from 0; all where none is named.
        weight: of the term.
        seed: of the positions, with the number of the step.
        redraws: whether there are others at every step. L-BFGS wants the same loss at all.
        num_positions: of each layer, about.
        step: of the positions.
        targets: vectors of the styles, (N, C), and how much each counts in every region, (N, R); of
            every layer.
        canvas: how many positions there are.
    """

    layers: Mapping[str, float]
    styles: Mapping[str, int] = field(default_factory=dict)
    weight: float = 1.0
    name: str = "transport"
    seed: int = 0
    redraws: bool = True
    num_positions: int = NUM_POSITIONS
    step: int = 0
    targets: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    canvas: Regional = field(default_factory=Regional)

    def at(self, references: References) -> Self:
        """Take a sample of the styles of a rung."""
        each = references.of_styles(sample_of_step(self.layers, _NUM_OF_STYLE, self.seed, 0))
        targets = {
            name: mixed(each, name, references.regions_of(self.styles.get(name)))
            for name in self.layers
        }
        return replace(self, targets=targets, canvas=Regional.of(references, self.layers), step=0)

    def at_step(self, step: int) -> Self:
        """With the positions of a step."""
        return replace(self, step=step) if self.redraws and step != self.step else self

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Vectors at the positions, and how much each counts in every region."""
        sample = sample_of_step(self.layers, self.num_positions, self.seed, self.step)
        return {
            name: part.to(view.sum_dtype) for name, part in gathered(sample, view, features).items()
        }

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """The layers' losses, added up by their shares."""

        def of_layer(name: str) -> Tensor:
            sums, (vectors, weights) = statistics[name], self.targets[name]
            own = sums["vectors"], sums["weights"].detach()

            def loss(region: int) -> Tensor:
                like = vectors.to(own[0]), weights[:, region].to(own[0])
                return relaxed_transport(own[0], own[1][:, region], *like)

            return self.canvas.mean(name, loss, {"vectors": own[0]})

        return reduce(torch.add, (share * of_layer(name) for name, share in self.layers.items()))


def relaxed_transport(vectors: Tensor, weights: Tensor, targets: Tensor, wanted: Tensor) -> Tensor:
    """STROTSS, eq. 1 to 3 (0-d), 0 to 2.

    Args:
        vectors: (K, C), of the canvas.
        weights: (K,), how much each counts.
        targets: (N, C), of the styles.
        wanted: (N,), how much each of them counts.
    """
    like, here = _nearest(vectors, targets, wanted), _nearest(targets, vectors, weights)
    means = [
        (_of_pairs(vectors, targets[like]) * weights).sum() / weights.sum().clamp_min(_TINY),
        (_of_pairs(vectors[here], targets) * wanted).sum() / wanted.sum().clamp_min(_TINY),
    ]
    return torch.maximum(*means)


@torch.no_grad()
def _nearest(some: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    """Of each vector (K, C) the number of the nearest of others (N, C) that count, (K,).

    Which it is float32 tells; how far it is does not follow from this.
    """
    # What does not count (N,) is far away in a direction that none has but all look at.
    rows, directions = (
        torch.cat([_directions(part), beside[:, None]], 1).float()
        for part, beside in ((some, torch.ones_like(some[:, 0])), (others, _FAR * (weights <= 0)))
    )
    return nearest(rows, directions, rows.new_zeros(rows.shape[1])).long()


def gathered(sample: Sample, view: View, features: Tensor) -> Statistics:
    """What a sample has of a part; its slope is that of the part, if nothing of it is taken."""
    found = dict(sample.measure(view, features))
    if features.requires_grad and not found["vectors"].requires_grad:
        shape = [*found["vectors"].shape]
        found["vectors"] = nothing(features, shape, found["vectors"].dtype)
    return found
