"""What a term of the loss is. A run's loss is a weighted sum of terms.

A term looks at features, or at pixels, and knows nothing of tiles. It says what to add up
(`Term.measure`), what the finished sums are worth (`Term.judge`), and, if it must, how each
position is sent back (`Term.local`). Whatever is written so is exact, loss and gradient, however
the picture is cut: docs/add_a_loss.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from torch import Tensor

from hires.losses.positions import PIXELS, Positions, View
from hires.tiling.geometry import Layer

Statistics = Mapping[str, Tensor]
"""Tensors by name that add up over the parts of a picture.

What is to be gathered instead, such as the vectors at given positions, is a sum as well: each part
fills in its own rows of a tensor of zeros.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What became of a layer's statistics.

    Attributes:
        statistics: the finished sums.
        slopes: of the weighted loss along each of them.
    """

    statistics: Statistics
    slopes: Statistics


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A reference picture as a term sees it.

    Attributes:
        statistics: of every layer of the term.
        positions: of the picture.
    """

    statistics: Mapping[str, Statistics]
    positions: Positions


class References(Protocol):
    """The pictures that a canvas is compared to, at one rung of the ladder."""

    @property
    def positions(self) -> Positions:
        """Of the canvas."""

    @property
    def shares(self) -> Sequence[float]:
        """How much each style counts; they sum to 1."""

    @property
    def regions(self) -> Sequence[Sequence[float]]:
        """The same in each region of the canvas; once where it has none."""

    def regions_of(self, style: int | None) -> Sequence[Sequence[float]]:
        """The same where one style, by its place, counts alone in each region that has it."""

    @property
    def strictness(self) -> Tensor | None:
        """(1, 1, H, W), factor on the content's loss at each pixel of the canvas; None for 1."""

    def of_styles(self, term: Term) -> Sequence[Measured]:
        """What a term measures on each style picture."""

    def of_each_style(
        self, term_of: Callable[[Positions], Term], num_quarters: int = 0
    ) -> Sequence[Measured]:
        """The same with a term for each, made for the positions of the picture.

        Args:
            term_of: makes it.
            num_quarters: quarter turns by which the pictures are turned.
        """

    def of_content(self, layers: Sequence[str]) -> Mapping[str, Tensor]:
        """Features (1, C, H, W) of the whole content on the device; of `PIXELS`, its colours."""


class Term(ABC):
    """A term of the loss; a subclass says what it looks at and what that is worth.

    Attributes:
        name: of the term in traces and displays, and of its weight.
        weight: what its loss is multiplied by in the sum.
        layers: what it looks at: names of layers, or `PIXELS` alone.
        margin: where it looks at pixels, how many rows above and below each band it wants to see.
        is_linear: whether its loss is a weighted sum of its statistics. The slope is known then
            before everything is added up, and one pass is enough where it looks at pixels.
        is_mean: whether its loss stays the same when a picture is enlarged, so that a pixel's
            gradient shrinks with the number of pixels.
        keeps_own_rows: whether its `state` is maps of the canvas's positions, (1, C, h, W), of the
            rows that this process answers for (`Positions.own_rows`); if not, a term with a state
            needs the whole canvas in one process.
    """

    name: str
    weight: float
    layers: Collection[str]
    margin: ClassVar[int] = 0
    is_linear: ClassVar[bool] = False
    is_mean: ClassVar[bool] = True
    keeps_own_rows: ClassVar[bool] = False

    def at(self, references: References) -> Self:  # noqa: ARG002
        """The term of a rung, compared to the pictures there; itself if it compares to none."""
        return self

    def at_step(self, step: int) -> Self:  # noqa: ARG002
        """The term of a step, itself unless it changes from step to step.

        Asked before every step, and answered by the number alone: a run that is resumed asks only
        for the steps that are left, and ends with the same bits.

        Args:
            step: how many steps have been done at this rung.
        """
        return self

    @abstractmethod
    def measure(self, view: View, features: Tensor) -> Statistics:
        """What a part of a layer adds to the sums over all of it; differentiable.

        Args:
            view: the layer, and where the part lies.
            features: (1, C, h, w) of the part, any float dtype; or pixels (1, 3, h, w) in [0, 1]
                with a margin above and below, where the picture goes on.
        """

    @abstractmethod
    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """The loss (0-d) of the finished sums of every layer, before its weight; differentiable."""

    def local(self, view: View, features: Tensor, verdict: Verdict) -> Tensor:
        """A number (0-d) whose slope along the features of a part is that of the weighted loss.

        A term overrides it whose slope at a position is no linear function of the sums. What it
        measures needs no slope, then.
        """
        found = self.measure(view, features)
        parts = [(verdict.slopes[name] * part).sum() for name, part in found.items()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    @property
    def state(self) -> Mapping[str, Tensor]:
        """What it has found out on the way and later steps depend on, by name.

        A snapshot holds these tensors, and fills them in again where a run goes on from it. They
        are the same ones, of the same shapes, as long as the rung lasts. Where several processes
        paint, a snapshot puts together what each has (`keeps_own_rows`).
        """
        return {}

    @property
    def num_looks(self) -> tuple[int, int]:
        """How often `at` has the network look at the content, and at each style; for forecasts."""
        return 0, 0 if PIXELS in self.layers else 1

    @property
    def lasting(self) -> Iterable[Tensor]:
        """Tensors of its own that are as large as features and that graphs may point to."""
        return ()

    def bytes_per_pixel(self, layers: Mapping[str, Layer], itemsize: int) -> float:  # noqa: ARG002
        """What it keeps of the references, in bytes per pixel of the canvas."""
        return 0.0

    def bytes_of_styles(self, layers: Mapping[str, Layer], itemsize: int) -> int:  # noqa: ARG002
        """What it keeps of a region's styles at most, in bytes, however large the canvas."""
        return 0


def layers_of(terms: Iterable[Term]) -> tuple[str, ...]:
    """The layers of a network that terms look at, each once."""
    names = dict.fromkeys(name for term in terms for name in term.layers)
    return tuple(name for name in names if name != PIXELS)


def states_of(
    terms: Iterable[Term], before: Mapping[str, Mapping[str, Tensor]] | None = None
) -> dict[str, Mapping[str, Tensor]]:
    """What terms have found out (`Term.state`), by their names.

    Args:
        terms: of the loss.
        before: what the same terms had found out before, which they take up; None for nothing.
    """
    found = {term.name: term.state for term in terms if term.state}
    if before is not None:
        for name, state in found.items():
            for key, tensor in state.items():
                tensor.copy_(before[name][key])
    return found
