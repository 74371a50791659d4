"""Pictures measured by tiles, within the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial, reduce
from typing import TypeVar

import torch
from torch import Tensor

from hires.engine.ladder import Size
from hires.engine.setup import Setup
from hires.features.network import Network
from hires.image.originals import Original
from hires.kernels.precision import float32_products
from hires.losses.positions import PIXELS, Positions
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
        self, size: Size, measure: Callable[[TilePlan], Result], plan: TilePlan | None = None
    ) -> Result:
        """Measure a picture of ``(height, width)``.

        Args:
            size: of the picture.
            measure: what takes tiles.
            plan: the tiles; None for what fits the memory.
        """
        plan = plan or self._setup.plan_tiles(size)
        smaller = partial(self._setup.smaller_plan, size)
        if self._before:
            side, kept = self._before.pop(0), plan.num_kept
            plan = replan(self._setup.costs, size, plan, side=side, num_kept=kept)
        # No graphs are kept: tiles are all that can be made smaller.
        with self._arithmetic():
            found, plan = within_memory(measure, replace(plan, num_kept=1), smaller)
        self.sides.append(plan.side)
        return found

    def statistics(
        self,
        term_of: Callable[[Positions], Term],
        picture: Original,
        regions: Sequence[Tensor | None] = (),
    ) -> Measured:
        """What a term measures on a picture that has the size at which it is looked at.

        The term is made for the picture's positions.
        """
        positions = self._setup.positions(picture.size, picture.mask, regions)
        term = term_of(positions)
        if PIXELS in term.layers:
            device = self._setup.device
            with self._arithmetic():
                found = pixel_statistics(picture.pixels, term, positions, device)
                return Measured({PIXELS: found}, positions)
        network, pixels = self._setup.network, picture.pixels
        measure = partial(statistics_of, network, pixels, term, positions)
        return Measured(self(picture.size, measure), positions)

    def _arithmetic(self) -> AbstractContextManager[None]:
        return float32_products(self._setup.precision, self._setup.device)


def statistics_of(
    network: Network, image: Tensor, term: Term, positions: Positions, plan: TilePlan
) -> dict[str, Statistics]:
    """What a term measures on a picture (1, 3, H, W), added up over its tiles, by layer."""
    found: dict[str, Statistics] = {}
    layers = list(term.layers)
    for tile, features in _walk(network, image, layers, plan):
        for name, part in features.items():
            with torch.no_grad():
                sums = term.measure(positions.of_tile(name, tile)[0], part)
            before = found.get(name)
            found[name] = sums if before is None else _added(before, sums)
    return found


def pixel_statistics(
    image: Tensor, term: Term, positions: Positions, device: torch.device
) -> Statistics:
    """What a term of pixels measures on a picture (1, 3, H, W), added up over its bands."""
    found: list[Statistics] = []
    for index, view in positions.of_pixels(term.margin):
        with torch.no_grad():
            found.append(term.measure(view, image[..., *index].to(device).clamp(0, 1)))
    return reduce(_added, found)


def _added(one: Statistics, other: Statistics) -> Statistics:
    return {name: part + other[name] for name, part in one.items()}


def features_of(
    network: Network, image: Tensor, layers: Sequence[str], plan: TilePlan
) -> dict[str, Tensor]:
    """Features of a picture (1, 3, H, W), whole, in the network's dtype and on its device."""
    found: dict[str, Tensor] = {}
    size = image.shape[2], image.shape[3]
    for tile, features in _walk(network, image, layers, plan):
        for name, part in features.items():
            if name not in found:
                found[name] = no_features(network, name, size)
            found[name][..., *canvas_window(network.layers[name], tile)] = part
    return found


def no_features(network: Network, name: str, size: Size) -> Tensor:
    """Zeros (1, C, h, w) for what a layer has of a picture of ``(height, width)``."""
    layer = network.layers[name]
    return torch.empty(
        (1, layer.channels, size[0] // layer.stride, size[1] // layer.stride),
        dtype=network.dtype,
        device=network.origin.device,
        memory_format=torch.channels_last,
    ).zero_()


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
