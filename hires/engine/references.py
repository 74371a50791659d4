"""The pictures that a canvas is compared to at one rung, measured by tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TypeVar

import torch
from torch import Tensor

from hires.engine.canvas import Canvas
from hires.engine.ladder import Size
from hires.engine.setup import Setup
from hires.features.network import Network
from hires.image.originals import Original
from hires.losses.positions import Positions
from hires.losses.terms import Measured, Statistics, Term
from hires.tiling.geometry import Tile, canvas_window
from hires.tiling.planning import TilePlan, replan, within_memory
from hires.tiling.seams import Seams

Result = TypeVar("Result")


class Measuring:
    """Measures the pictures of a rung one after the other, with smaller tiles if memory runs out.

    Args:
        setup: what looks at them.
        sides: of the tiles with which the same pictures were measured before, in that order. Sums
            depend on them in their last bits.

    Attributes:
        sides: of the tiles with which the pictures were measured.
    """

    def __init__(self, setup: Setup, sides: Sequence[int] = ()) -> None:
        self._setup = setup
        self._before = list(sides)
        self.sides: list[int] = []

    def __call__(
        self,
        size: Size,
        plan: TilePlan,
        smaller: Callable[[TilePlan], TilePlan],
        measure: Callable[[TilePlan], Result],
    ) -> Result:
        """Measure a picture of ``(height, width)``.

        Args:
            size: of the picture.
            plan: its tiles.
            smaller: what to try in place of tiles that took more memory than there is.
            measure: what takes tiles.
        """
        if self._before:
            side, kept = self._before.pop(0), plan.num_kept
            plan = replan(self._setup.costs, size, plan, side=side, num_kept=kept)
        # No graphs are kept: tiles are all that can be made smaller.
        found, plan = within_memory(measure, replace(plan, num_kept=1), smaller)
        self.sides.append(plan.side)
        return found


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
        return self.setup.positions(self.canvas.size, self.canvas.mask(self.content))

    def of_styles(self, term: Term) -> list[Measured]:
        """What a term measures on each style picture."""
        return [
            self._of_style(term, style.resized(size))
            for style, size in zip(self.styles, self.style_sizes, strict=True)
        ]

    def _of_style(self, term: Term, style: Original) -> Measured:
        setup, size = self.setup, style.size
        positions = setup.positions(size, style.mask)

        def measure(plan: TilePlan) -> dict[str, Statistics]:
            return statistics_of(setup.network, style.pixels, term, positions, plan)

        smaller = partial(setup.smaller_plan, size)
        return Measured(self.measuring(size, setup.plan_tiles(size), smaller, measure), positions)

    def of_content(self, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features of the whole content, on the device."""
        if not layers:
            return {}
        canvas, picture = self.canvas, self.canvas.content(self.content)

        def measure(plan: TilePlan) -> dict[str, Tensor]:
            return features_of(self.setup.network, picture, layers, plan)

        return self.measuring(canvas.size, canvas.plan(), canvas.smaller, measure)


def statistics_of(
    network: Network, image: Tensor, term: Term, positions: Positions, plan: TilePlan
) -> dict[str, Statistics]:
    """What a term measures on a picture (1, 3, H, W), added up over its tiles, by layer."""
    found: dict[str, Statistics] = {}
    layers = list(term.layers)
    for tile, features in _walk(network, image, layers, plan):
        for name, part in features.items():
            with torch.no_grad():
                sums = term.measure(positions.of_tile(name, tile), part)
            before = found.get(name)
            found[name] = sums if before is None else _added(before, sums)
    return found


def _added(one: Statistics, other: Statistics) -> Statistics:
    return {name: part + other[name] for name, part in one.items()}


def features_of(
    network: Network, image: Tensor, layers: Sequence[str], plan: TilePlan
) -> dict[str, Tensor]:
    """Features of a picture (1, 3, H, W), whole, in the network's dtype and on its device."""
    found: dict[str, Tensor] = {}
    height, width = image.shape[2:]
    device = network.origin.device
    for tile, features in _walk(network, image, layers, plan):
        for name, part in features.items():
            layer = network.layers[name]
            if name not in found:
                shape = (1, layer.channels, height // layer.stride, width // layer.stride)
                found[name] = torch.empty(
                    shape, dtype=network.dtype, device=device, memory_format=torch.channels_last
                ).zero_()  # A plan may cover a part of the canvas only.
            found[name][..., *canvas_window(layer, tile)] = part
    return found


def _walk(
    network: Network, image: Tensor, layers: Sequence[str], plan: TilePlan
) -> Iterator[tuple[Tile, Mapping[str, Tensor]]]:
    """The features of every tile of a picture."""
    seams = Seams()
    for tile in plan.tiles:
        pixels = image[..., *tile.read.index].to(network.origin.device)
        with torch.no_grad():
            features = network(pixels, layers, seams=seams.of(tile))
        yield tile, features
