"""The pictures that a canvas is compared to at one rung, measured by tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from hires.engine.canvas import Canvas
from hires.engine.ladder import Size
from hires.engine.measuring import Measuring
from hires.engine.setup import Setup
from hires.image.originals import Original
from hires.losses.positions import Positions
from hires.losses.terms import Measured, Term


@dataclass(frozen=True, eq=False, kw_only=True)
class References:
    """The content and the styles of a rung; see `hires.losses.terms.References`.

    Attributes:
        setup: what looks at them.
        canvas: of the rung.
        content: the content picture, at its own size.
        styles: the styles, at theirs.
        style_sizes: ``(height, width)`` at which each style is looked at.
        shares: how much each style counts.
        measuring: keeps them within the memory.
    """

    setup: Setup
    canvas: Canvas
    content: Original
    styles: Sequence[Original]
    style_sizes: Sequence[Size]
    shares: Sequence[float]
    measuring: Measuring

    @cached_property
    def positions(self) -> Positions:
        """Of the canvas."""
        return self.setup.positions(
            self.canvas.size,
            self.canvas.mask(self.content),
            self.canvas.pictures,
            self.canvas.wrap,
        )

    def of_styles(self, term: Term) -> list[Measured]:
        """What a term measures on each style picture."""
        return [
            self.measuring.statistics(term, style.resized(size))
            for style, size in zip(self.styles, self.style_sizes, strict=True)
        ]

    def of_content(self, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features of the whole content, on the device."""
        return self.canvas.features(self.content, layers, self.measuring) if layers else {}
