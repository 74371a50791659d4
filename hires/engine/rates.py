"""What painting takes on this machine: a few tiles and steps, measured in a few seconds.

A canvas that is one tile is stepped as it is. Of a larger one a single tile is painted, with the
geometry and the handling of memory that it will have; a step is then a sum over tiles
(`hires.engine.estimate`), which is what makes the time of a poster known before it is begun.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from hires.config.run import Config
from hires.engine.canvas import WholeCanvas
from hires.engine.ladder import Rung, Size
from hires.engine.measuring import Measuring
from hires.engine.objective import Objective
from hires.engine.references import References
from hires.engine.run import Run
from hires.engine.setup import Setup
from hires.image.guides import UNGUIDED, Guided
from hires.image.originals import Original
from hires.kernels.precision import synchronize
from hires.losses.terms import Term
from hires.optim.create import optimizer_of
from hires.tiling.geometry import Region, Span, Tile, joined
from hires.tiling.planning import TilePlan
from hires.utils.memory import (
    keep_freed_memory,
    peak_resident_bytes,
    resident_bytes,
    restart_peak,
    return_freed_memory,
)

# Seconds that one measurement may go on for, beyond the two runs that it needs.
_PATIENCE = 1.5
# Larger canvases of one tile are not stepped any more once this much time has gone into them.
_PATIENCE_WHOLE = 8.0
_MOST_RUNS = 12
_STYLE_SIDE = 256
# Of a style of which terms draw a number of positions at coarse layers: those, and more.
_DRAWN_STYLE_SIDE = 768
# Of the canvas on which the optimizer is timed; larger than any cache.
_OPTIMIZER_SIDE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Measured costs, in seconds unless it says otherwise.

    Attributes:
        whole: pixels and seconds of complete steps of canvases that are one tile, ascending.
        forward: of a tile without a graph, per pixel.
        both: of a tile forward and back, per pixel.
        per_tile: pixels that take as long as what a tile costs whatever its size.
        outside: of optimizer and running average, per pixel of the canvas.
        fixed: of a step whatever its size: the losses of the moments.
        renewal: of a step in which a term changes (`Term.at_step`) beyond others, per pixel.
        spread: bytes that the process takes for a byte planned for feature maps, for canvases of
            one tile and for others.
    """

    whole: tuple[tuple[int, float], ...]
    forward: float
    both: float
    per_tile: float
    outside: float
    fixed: float
    renewal: float
    spread: tuple[float, float]


def measure_rates(
    config: Config, setup: Setup, rungs: Sequence[Rung], guides: Guided = UNGUIDED
) -> Rates:
    """Measure on this machine what a ladder will need. Leaves the heap as a run finds it.

    Args:
        config: how to paint.
        setup: network and arithmetic.
        rungs: the ladder.
        guides: which part of the content is painted how.
    """
    # One style stands for all.
    regions = tuple(replace(region, styles={0: None}) for region in guides.regions)
    guides = replace(guides, regions=regions, kept=None)
    untiled = [rung for rung in rungs if setup.beside(rung).is_one_tile(rung.seen_size)]
    tiled = [rung for rung in rungs if rung not in untiled]
    whole, whole_spread = _whole_steps(config, setup, untiled, guides)
    largest = tiled[-1] if tiled else rungs[-1]
    setup = setup.beside(largest)
    outside = _optimizer_seconds(config, setup) / _OPTIMIZER_SIDE**2
    least = max(setup.costs.least_side, 64)
    fixed = _walk_seconds(setup, _one_tile((least, least)), guides)[1]
    return_freed_memory()
    tiles = _typical_tiles(setup.plan_tiles(largest.seen_size), setup)
    forward, both, renewal, tile_spread = _walk_seconds(setup, tiles, guides)
    return_freed_memory()
    per_tile = setup.costs.per_tile
    num_pixels = _num_pixels(tiles) + per_tile * len(tiles.tiles)
    return Rates(
        whole=whole,
        forward=forward / num_pixels,
        both=max(both - fixed, 0) / num_pixels,
        per_tile=per_tile,
        outside=outside,
        fixed=fixed,
        renewal=renewal / _num_pixels(tiles),
        spread=(whole_spread, tile_spread),
    )


def _whole_steps(
    config: Config, setup: Setup, rungs: Sequence[Rung], guides: Guided
) -> tuple[tuple[tuple[int, float], ...], float]:
    """Pixels and seconds of steps of whole canvases, and how far their memory spreads."""
    found: list[tuple[int, float]] = []
    spread = 1.0
    started = time.perf_counter()
    for rung in rungs:
        if time.perf_counter() - started > _PATIENCE_WHOLE:
            break
        with _Gauge(setup) as gauge:
            run = _run(config, setup, rung, guides)
            found.append((rung.num_pixels, _settled(run.step, setup.device)))
        del run  # Or the next rung's memory would be counted with it.
        plan = setup.beside(rung).plan_tiles(rung.seen_size)
        spread = gauge.spread(plan.bytes_needed)
    return tuple(found), spread


def _run(config: Config, setup: Setup, rung: Rung, guides: Guided = UNGUIDED) -> Run:
    """A run that stands before the first step of a rung; of random pictures, as good as any."""
    content = Original(_random(rung.size))
    sampled = replace(rung, style_sizes=(_style_size(setup),))
    # Not where the content's loss has no slope; nor is it the noise of the pictures.
    config = replace(config, init="noise", seed=1, style_weights=())
    styles = [Original(_random(_style_size(setup)))]
    run = Run(setup, config, [sampled], content, styles, guides=guides)
    run.begin(sampled)
    return run


def _random(size: Size) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, *size, generator=generator)


def _style_size(setup: Setup) -> Size:
    side = max(_DRAWN_STYLE_SIDE if _changes(setup.terms) else _STYLE_SIDE, setup.costs.least_side)
    return side, side


def _typical_tiles(plan: TilePlan, setup: Setup) -> TilePlan:
    """The largest tile of a plan, on a canvas where a thin one follows it at each cut."""
    if len(plan.tiles) == 1:
        return plan
    halo, alignment = setup.costs.halo, setup.costs.alignment
    tile = max(plan.tiles, key=lambda tile: tile.region.num_pixels)
    rows, columns = (
        _cut(length, halo, alignment) if is_cut else (Span(0, length),)
        for length, is_cut in zip(tile.region.size, tile.is_cut, strict=True)
    )
    tiles = joined(rows, columns)
    return replace(plan, tiles=tiles, num_kept=len(tiles))


def _cut(length: int, halo: int, alignment: int) -> tuple[Span, Span]:
    stop = halo + max((length - halo) // alignment, 1) * alignment
    return Span(0, stop), Span(stop, stop + alignment)


def _one_tile(size: tuple[int, int]) -> TilePlan:
    tile = Tile(Region(Span(0, size[0]), Span(0, size[1])))
    return TilePlan((tile,), max(size), 1, 0)


def _num_pixels(plan: TilePlan) -> int:
    return sum(tile.region.num_pixels for tile in plan.tiles)


def _objective(setup: Setup, plan: TilePlan, guides: Guided = UNGUIDED) -> tuple[Objective, Tensor]:
    """An objective, and a canvas for it."""
    keep_freed_memory(False)
    last = plan.tiles[-1].region
    size = last.rows.stop, last.columns.stop
    canvas = _random(size).to(setup.device)
    references = References(
        setup=setup,
        canvas=WholeCanvas(setup, size, plan),
        content=Original(canvas),
        styles=[Original(_random(_style_size(setup)))],
        style_sizes=[_style_size(setup)],
        shares=[1.0],
        measuring=Measuring(setup),
        guides=guides,
    )
    return setup.objective(references, plan), canvas


def _walk_seconds(
    setup: Setup, plan: TilePlan, guides: Guided
) -> tuple[float, float, float, float]:
    """Seconds of tiles without a graph, forward and back, and of making terms anew.

    The last number is how far their memory spreads.
    """
    objective, canvas = _objective(setup, plan, guides)
    with _Gauge(setup) as gauge:
        seconds = _settled(lambda: objective(canvas), setup.device)
    renewal = 0.0
    if _changes(objective.terms):
        renewed = _settled(partial(_renewed, objective, canvas), setup.device)
        renewal = max(renewed - seconds, 0)
    # A second forward and nothing else is what the two plans differ by.
    objective.plan = replace(plan, num_kept=0)
    forward = max(_settled(lambda: objective(canvas), setup.device) - seconds, 0.1 * seconds)
    return forward, seconds, renewal, gauge.spread(setup.costs.bytes_needed(plan))


def _changes(terms: Sequence[Term]) -> bool:
    """Whether terms are others at some steps of a rung than at the rest."""
    return any(term.at_step(0) is not term for term in terms)


def _renewed(objective: Objective, canvas: Tensor) -> None:
    """Evaluate a canvas with the terms of a rung's first step."""
    objective.at_step(0)
    objective(canvas)


def _optimizer_seconds(config: Config, setup: Setup) -> float:
    canvas = torch.rand(1, 3, _OPTIMIZER_SIDE, _OPTIMIZER_SIDE, device=setup.home)
    gradient = torch.full_like(canvas, 1e-9)
    loss = torch.zeros((), device=setup.home)
    optimizer = optimizer_of(config, canvas, config.learning_rate_for(1))
    return _settled(lambda: optimizer.step(lambda _: (loss, gradient)), setup.device)


def _settled(act: Callable[[], object], device: torch.device) -> float:
    """Seconds of an act once caches and heap have settled: the median of the later runs.

    What lasts is allocated outside of the heap, as a run does.
    """
    seconds: list[float] = []
    keep_freed_memory(False)
    while len(seconds) < 2 or (sum(seconds) < _PATIENCE and len(seconds) < _MOST_RUNS):
        synchronize(device)
        started = time.perf_counter()
        act()
        synchronize(device)
        seconds.append(time.perf_counter() - started)
        keep_freed_memory(True)
    return statistics.median(seconds[len(seconds) // 2 :])


class _Gauge:
    """Watches how much memory the inside of a ``with`` takes at most.

    On a GPU without what is still held at its end, which is counted by itself: canvas, optimizer
    and targets. A CPU's heap does not tell it apart.
    """

    def __init__(self, setup: Setup) -> None:
        self._device = setup.device
        self._taken: int | None = None

    def __enter__(self) -> _Gauge:
        if self._device.type == "cuda":
            # What the allocator has left of earlier work would be counted with this one's.
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._before = resident_bytes() if restart_peak() else 0
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            held = torch.cuda.memory_allocated(self._device)
            self._taken = torch.cuda.max_memory_reserved(self._device) - held
        elif self._device.type == "cpu" and self._before:
            self._taken = peak_resident_bytes() - self._before

    def spread(self, planned: int) -> float:
        """Bytes taken for a byte planned; 1 where nobody tells."""
        return 1.0 if self._taken is None else self._taken / max(planned, 1)
