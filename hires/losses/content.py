"""Content: features that shall stay where they are in the picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.kernels.sums import squared_error
from hires.losses.positions import Positions, View
from hires.losses.terms import References, Statistics, Term
from hires.tiling.geometry import Layer


@dataclass(frozen=True, eq=False, kw_only=True)
class Content(Term):
    """Squared error of the features, position for position.

    Attributes:
        layers: what each layer's loss counts.
        kind: the error over the target's squared size (``relative``), over the number of features
            (``mse``), or as it is (``sum``).
        weight: of the term.
        targets: the content's features, whole, of every layer.
        divisors: what each layer's error is divided by; 1 for a blank target, so that its loss
            stays finite.
        weights: how much each position of a layer counts, (1, 1, H, W), where a map says so; else
            what the view says.
    """

    layers: Mapping[str, float]
    kind: str = "relative"
    weight: float = 1.0
    name: str = "content"
    is_linear: ClassVar[bool] = True
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    divisors: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def is_mean(self) -> bool:  # type: ignore[override]
        """Sums grow with the picture."""
        return self.kind != "sum"

    def at(self, references: References) -> Self:
        """Take the features of a rung's content."""
        targets = references.of_content(tuple(self.layers))
        divisors = {
            name: self._divisor(name, target, references.positions)
            for name, target in targets.items()
        }
        weights = self._weights(references)
        return replace(self, targets=targets, divisors=divisors, weights=weights)

    def _weights(self, references: References) -> dict[str, Tensor]:
        """A map's factors, times how much each position counts."""
        strictness, positions, found = references.strictness, references.positions, {}
        if strictness is None:
            return {}
        for name in self.layers:
            factors = F.avg_pool2d(strictness, positions.stride(name))
            mask = positions.mask(name)
            found[name] = factors if mask is None else factors.to(mask) * mask
        return found

    def _divisor(self, layer: str, target: Tensor, positions: Positions) -> float:
        if self.kind == "relative":
            rows, mask = positions.own_rows(positions.stride(layer)), positions.mask(layer)
            own = power(target[..., rows, :], None if mask is None else mask[..., rows, :])
            return float(positions.total(torch.tensor(own, dtype=torch.float64))) or 1.0
        return target.shape[1] * positions.count(layer) if self.kind == "mse" else 1.0

    def measure(self, view: View, features: Tensor) -> Statistics:
        """The squared error of a part."""
        target = view.of(self.targets[view.layer])
        target = target.to(features.device, non_blocking=True)
        mask = view.mask
        if view.layer in self.weights:
            mask = view.of(self.weights[view.layer])
        return {"error": squared_error(features, target, view.sum_dtype, mask=mask)}

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """The layers' errors, divided and added up by their shares."""
        losses = [
            share * statistics[name]["error"] / self.divisors[name]
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


def power(target: Tensor, mask: Tensor | None) -> float:
    """Weighted sum of squares of a target."""
    wide = (channel.double().square() for channel in target[0])
    if mask is None:
        sums = (squares.sum() for squares in wide)
    else:
        weights = mask[0, 0].double().to(target.device)
        sums = ((squares * weights).sum() for squares in wide)
    return float(sum(sums))  # A GPU is waited for once.
