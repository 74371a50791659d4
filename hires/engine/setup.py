"""What stays the same up the ladder: the network, its arithmetic, the terms of the loss."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from hires.config.pixels import PIXEL_SCALES
from hires.config.run import Config
from hires.config.values import parse_layer, parse_style_layer
from hires.engine.budget import Budget, budget_of
from hires.engine.ladder import Rung
from hires.engine.objective import Objective
from hires.engine.replay import Graphs
from hires.engine.style_terms import redraws, style_terms
from hires.errors import ConfigError
from hires.features.checkpoints import load_features
from hires.features.costs import costs_of
from hires.features.network import Network
from hires.kernels.precision import Precision, resolve_device, resolve_precision
from hires.losses.content import Content
from hires.losses.detail import Detail
from hires.losses.gathered import SelfSimilarity
from hires.losses.patches import Patches
from hires.losses.positions import BAND_PIXELS, PIXELS, Positions
from hires.losses.style import shares_of
from hires.losses.terms import References, Term, layers_of
from hires.losses.variation import TotalVariation
from hires.processes.bands import Band
from hires.processes.together import Together
from hires.tiling.geometry import Region, round_up
from hires.tiling.planning import Costs, TilePlan, plan_tiles, smaller_plan

# Bytes per pixel of what terms of pixels compute, there and back, and pixels with which a GPU has
# enough to do.
_TERM_BYTES = 80
_MOST_BAND_PIXELS = 2**25
# Asks for CUDA graphs with 1. It is no option: pictures do not depend on it.
_GRAPHS = "HIRES_CUDA_GRAPHS"
# Sides of canvases that wrap are multiples of it, whatever is looked at: patches, at quarter size.
_WRAP_UNIT = 16
# Bytes per pixel of a region's guides at all layers, a byte for each position, of its mask on its
# way to the canvas, and of the numbers that a tile's graph makes of them.
_GUIDE_BYTES = 16


@dataclass(frozen=True, eq=False, kw_only=True)
class Setup:
    """Network, arithmetic, terms of the loss, and the memory that there is for them.

    Attributes:
        network: prepared feature network.
        precision: its arithmetic.
        terms: what is asked of a canvas, not yet compared to any picture.
        memory: budget for feature maps in bytes.
        tile: largest side of a tile in pixels; None for what is fast and fits.
        cuda_graphs: whether steps of one tile are recorded as CUDA graphs and replayed.
        budget: what ``memory`` follows from, canvas by canvas; None for the same for all.
        is_hosted: whether the canvas, its gradient and the optimizer lie in the host's memory,
            because the GPU, where tiles are computed, has no room for them.
        num_regions: of a canvas, each with guides; 0 if it has none.
        together: the processes that paint a canvas.
        num_bands: how many they are, each with a band of its rows.
    """

    network: Network
    precision: Precision
    terms: tuple[Term, ...]
    memory: int
    tile: int | None = None
    cuda_graphs: bool = False
    budget: Budget | None = None
    is_hosted: bool = False
    num_regions: int = 0
    together: Together = field(default_factory=Together)
    num_bands: int = 1

    def at(self, num_pixels: int, rung: int) -> Setup:
        """The same with the memory that there is beside a canvas of so many pixels, at a rung."""
        if self.budget is None:
            return self
        weights = sum(buffer.nbytes for buffer in self.network.buffers())
        memory, is_hosted = self.budget.at(
            num_pixels // self.num_bands, rung, weights=weights, references=self.reference_bytes
        )
        return replace(self, memory=memory, is_hosted=is_hosted)

    def beside(self, rung: Rung) -> Setup:
        """The same with the memory that there is beside the canvas of a rung."""
        return self.at(rung.num_pixels, rung.index)

    @property
    def home(self) -> torch.device:
        """Where the canvas lies."""
        return torch.device("cpu") if self.is_hosted else self.device

    @property
    def device(self) -> torch.device:
        """Where tiles are computed."""
        return self.network.origin.device

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All layers that are looked at, each once."""
        return layers_of(self.terms)

    @cached_property
    def costs(self) -> Costs:
        """Of tiles."""
        return costs_of(self.network, self.names, self.precision.dtype)

    @property
    def wrap(self) -> tuple[int, int]:
        """What a canvas that wraps needs in pixels: what is seen beyond it, a unit of its sides.

        No layer sees further beyond, and no term; every layer has whole positions of both.
        """
        halo, stride = self.network.reach(self.names) if self.names else (0, 1)
        unit = max(stride, _WRAP_UNIT)
        return round_up(max([halo, *(term.margin for term in self.terms)]), unit), unit

    @property
    def reference_bytes(self) -> float:
        """Bytes per pixel of the canvas that terms keep of what it is compared to."""
        layers, size = self.network.layers, self.precision.dtype.itemsize
        guides = _GUIDE_BYTES * self.num_regions
        return guides + sum(term.bytes_per_pixel(layers, size) for term in self.terms)

    def plan_tiles(
        self, size: tuple[int, int], is_open: tuple[bool, bool] = (False, False)
    ) -> TilePlan:
        """The tiles of a picture of ``(height, width)``; see `plan_tiles`."""
        costs, memory = self.costs, self.memory
        return plan_tiles(costs, size, memory=memory, tile=self.tile, is_open=is_open)

    def smaller_plan(self, size: tuple[int, int], plan: TilePlan) -> TilePlan:
        """What to try in its place when there was less memory than it takes."""
        return smaller_plan(self.costs, size, plan)

    def is_one_tile(self, size: tuple[int, int]) -> bool:
        """Whether a picture of ``(height, width)`` is a single tile."""
        return len(self.plan_tiles(size).tiles) == 1

    def positions(
        self,
        size: tuple[int, int],
        mask: Tensor | None = None,
        regions: Sequence[Tensor | None] = (),
        pictures: Sequence[Region] = (),
        wrap: int = 0,
        band: Band | None = None,
    ) -> Positions:
        """Those of a picture of ``(height, width)``; see `Positions`."""
        layers = {name: self.network.layers[name] for name in self.names}
        sum_dtype = self.precision.sum_dtype
        return Positions(
            size,
            layers,
            device=self.device,
            sum_dtype=sum_dtype,
            mask=mask,
            regions=regions,
            pictures=pictures,
            band_pixels=self._band_pixels,
            wrap=wrap,
            band=band,
            total=self.together.total,
        )

    @property
    def _band_pixels(self) -> int:
        """How many pixels terms look at in one go.

        On a GPU as many as a quarter of the memory budget holds: graphs of tiles wait meanwhile.
        """
        if self.device.type == "cpu":
            return BAND_PIXELS
        return min(max(self.memory // 4 // _TERM_BYTES, BAND_PIXELS), _MOST_BAND_PIXELS)

    def objective(
        self,
        references: References,
        plan: TilePlan,
        *,
        smaller: Callable[[TilePlan], TilePlan] | None = None,
        timed: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext(),
        graphs: Graphs | None = None,
    ) -> Objective:
        """The loss of a canvas that is compared to some pictures; see `Objective`."""
        return Objective(
            self.network,
            [term.at(references) for term in self.terms],
            positions=references.positions,
            plan=plan,
            precision=self.precision,
            smaller=smaller,
            together=self.together,
            timed=timed,
            graphs=graphs,
        )


def open_setup(
    config: Config,
    *,
    terms: Iterable[Term] = (),
    network: Network | None = None,
) -> Setup:
    """Load the network and settle device, precision and terms.

    Args:
        config: how to paint.
        terms: of the loss, beside those of the configuration.
        network: in place of the configuration's; it is copied.

    Raises:
        ValueError: for an unknown device, precision, network or layer.
    """
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    budget = budget_of(config, device)
    if network is None:
        network = load_features(config.features, pooling=config.pooling, pixels=config.pixels)
    else:
        network = copy.deepcopy(network)
    network.prepare(device, precision.dtype, precision.memory_format)
    asked = (*terms_of(config), *terms)
    _check_terms(asked)
    setup = Setup(
        network=network,
        precision=precision,
        terms=asked,
        memory=budget.fixed or 0,
        tile=config.tile,
        cuda_graphs=device.type == "cuda" and os.environ.get(_GRAPHS) == "1",
        budget=budget,
    )
    network.check_layers(setup.names)
    return setup


def _check_terms(terms: Sequence[Term]) -> None:
    names = [term.name for term in terms]
    for term in terms:
        if names.count(term.name) > 1:
            raise ConfigError(f"two terms of the loss are called '{term.name}': rename one")
        if isinstance(term.layers, str) or (PIXELS in term.layers and len(term.layers) > 1):
            raise ConfigError(
                f"the term '{term.name}' looks at {term.layers!r}: give a tuple of layers, or"
                f" ('{PIXELS}',) alone"
            )


def terms_of(config: Config) -> tuple[Term, ...]:
    """What a configuration asks of the canvas."""
    layers = [parse_style_layer(layer) for layer in config.style_layers]
    weights = {layer.name: layer.weight for layer in layers}
    chosen = {layer.name: layer.number - 1 for layer in layers if layer.number is not None}
    style, content = (
        shares_of(found, config.layer_reduction)
        for found in (weights, dict(map(parse_layer, config.content_layers)))
    )
    # Grain goes with the finest strokes.
    finest = min(
        (layer for layer in layers if layer.weight), key=lambda layer: layer.depth, default=None
    )
    grain = None if finest is None else chosen.get(finest.name)
    return (
        *style_terms(config, style, chosen),
        # A texture has none.
        *([content_term(config, content)] if content or config.content_weight else []),
        *([Detail(weight=config.detail_weight)] if config.detail_weight else []),
        *([Patches(weight=config.patch_weight, style=grain)] if config.patch_weight else []),
        TotalVariation(
            form=config.tv_loss,
            weight=config.tv_weight,
            pixel_scale=PIXEL_SCALES[config.pixels],
        ),
    )


def content_term(config: Config, layers: Mapping[str, float]) -> Term:
    """What a configuration asks of the content, and what each layer's loss counts."""
    if config.content_loss != "self-similarity":
        return Content(layers=layers, kind=config.content_loss, weight=config.content_weight)
    return SelfSimilarity(
        layers=layers,
        weight=config.content_weight,
        seed=config.seed,
        redraws=redraws(config),
    )
