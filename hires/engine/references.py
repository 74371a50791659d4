"""The pictures that a canvas is compared to at one rung, measured by tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from hires.engine.canvas import Canvas
from hires.engine.ladder import Size
from hires.engine.measuring import Measuring
from hires.engine.setup import Setup
from hires.image.guides import MOST_STRICT, UNGUIDED, Guided
from hires.image.originals import Original, turned
from hires.losses.positions import PIXELS, Positions
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
        guides: which part of the content is painted how.
    """

    setup: Setup
    canvas: Canvas
    content: Original
    styles: Sequence[Original]
    style_sizes: Sequence[Size]
    shares: Sequence[float]
    measuring: Measuring
    guides: Guided = UNGUIDED

    @cached_property
    def positions(self) -> Positions:
        """Of the canvas."""
        mask = self.content.mask
        return self.setup.positions(
            self.canvas.size,
            None if mask is None else self.canvas.weights(mask),
            [self.canvas.weights(region.mask) for region in self.guides.regions],
            self.canvas.pictures,
            self.canvas.wrap,
            self.canvas.band,
        )

    @property
    def regions(self) -> list[list[float]]:
        """How much each style counts in each region of the canvas."""
        return self.regions_of(None)

    def regions_of(self, style: int | None) -> list[list[float]]:
        """The same where one style, by its place, counts alone in each region that has it."""
        return self.guides.shares(self.shares, style)

    @cached_property
    def strictness(self) -> Tensor | None:
        """Factor on the content's loss at each pixel that is seen, on the device."""
        found = self.guides.strictness
        if found is None:
            return None
        weights, band = self.canvas.weights(found, MOST_STRICT), self.canvas.band
        seen = weights if band is None else weights[..., band.seen.slice, :]
        return seen.to(self.setup.device)

    def of_styles(self, term: Term) -> list[Measured]:
        """What a term measures on each style picture."""
        return self.of_each_style(lambda _: term)

    def of_each_style(
        self, term_of: Callable[[Positions], Term], num_quarters: int = 0
    ) -> list[Measured]:
        """The same with a term for each, of pictures turned by so many quarter turns."""
        return [
            self.measuring.statistics(
                term_of,
                style.resized(size).turned(num_quarters),
                [
                    None if part is None else turned(part, num_quarters)
                    for part in self.guides.of_style(i, size)
                ],
            )
            for i, (style, size) in enumerate(zip(self.styles, self.style_sizes, strict=True))
        ]

    def of_content(self, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features of the content that is seen, on the device; of `PIXELS` its colours."""
        names = [name for name in layers if name != PIXELS]
        found = self.canvas.features(self.content, names, self.measuring) if names else {}
        if len(names) < len(layers):
            found[PIXELS] = self.canvas.pixels(self.content).clamp(0, 1).to(self.setup.device)
        return found
