"""One picture on its way through a network that normalises, in passes of tiles.

Instance normalisation divides by the spread of a whole feature map. Sums over positions add up over
tiles, so the statistics are exact, and so is the result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.feedforward.design import Design
from hires.feedforward.grain import grain_over
from hires.feedforward.normalisation import EPSILON, Statistics, Sums
from hires.feedforward.plan import PICTURE, Pass, Plan
from hires.feedforward.stages import CENTRE, InputSpan, Stage, convolve, enlarged
from hires.kernels.precision import Precision
from hires.tiling.geometry import Region, Span
from hires.utils.memory import keep_freed_memory

Report = Callable[[float], None]

# Positions around a region that its bicubic enlargement looks at.
_BICUBIC_MARGIN = 3


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Network:
    """What every picture goes through: weights of `prepared`, noise of a spread ``grain``."""

    design: Design
    stages: tuple[Stage, ...]
    weights: Mapping[str, Tensor]
    precision: Precision
    device: torch.device
    grain: float

    @property
    def wide(self) -> torch.dtype:
        """Type of pixels and statistics."""
        return torch.promote_types(self.precision.dtype, torch.float32)

    def load(self, image: Tensor, region: Region) -> Tensor:
        """What the first stage reads over a region of the picture."""
        pixels = image[..., *region.index].to(self.device, self.wide) - CENTRE
        if self.grain:
            pixels.add_(grain_over(region).to(pixels), alpha=self.grain)
        layout = self.precision.memory_format
        return pixels.to(self.precision.dtype).contiguous(memory_format=layout)

    def convolve(self, stage: Stage, x: Tensor, spans: tuple[InputSpan, InputSpan]) -> Tensor:
        """The convolution of a stage alone."""
        weight, bias = self.weights[f"{stage.name}.weight"], self.weights.get(f"{stage.name}.bias")
        bias = None if bias is None else bias.to(weight.dtype)
        return convolve(stage, weight, bias, x.to(weight.dtype), spans)

    def activate(
        self, stage: Stage, x: Tensor, found: Statistics | None, residual: Tensor | None
    ) -> Tensor:
        """Normalise, add the residual, ReLU, as the stage says."""
        if found is not None:
            scale, shift = (self.weights[f"{stage.name}.{part}"] for part in ("scale", "shift"))
            x = F.batch_norm(
                x, found.mean, found.variance, scale, shift, training=False, eps=EPSILON
            )
        if residual is not None:
            x += residual
        return x.relu_() if stage.relu else x


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """What is kept of a stage.

    Attributes:
        index: the stage.
        output: (1, C, h, w), not yet normalised.
        residual: (1, C', h, w), the input of the residual block it lies in; None outside of one.
    """

    index: int
    output: Tensor
    residual: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A region of what a pass computes; the residual only where it must be kept anew."""

    region: Region
    output: Tensor
    residual: Tensor | None

    def write(self, kept: _Kept) -> None:
        """Put it where it is kept."""
        kept.output[..., *self.region.index] = self.output
        if kept.residual is not None and self.residual is not None:
            kept.residual[..., *self.region.index] = self.residual


class TiledPicture:
    """A picture (1, 3, H, W) on its way, and how much each of its pixels counts: (1, 1, H, W).

    Statistics that are ``known``, by stage, are not measured.
    """

    def __init__(
        self,
        network: Network,
        plan: Plan,
        image: Tensor,
        mask: Tensor | None,
        known: Mapping[int, Statistics] | None = None,
    ) -> None:
        self.network, self.plan, self.image, self.mask = network, plan, image, mask
        self.geometry, self.statistics = plan.geometry, dict(known or {})
        self.kept: _Kept | None = None
        self._work = sum(self.geometry.work(one.start, one.stop) for one in plan.passes)
        self._done = 0.0

    def measure(self, report: Report = lambda _: None) -> dict[int, Statistics]:
        """The statistics of every normalisation."""
        for one in self.plan.passes[:-1]:
            self._measure(one, report)
        return self.statistics

    def run(self, report: Report) -> Tensor:
        """The result, (1, 3, H·factor, W·factor) in [0, 1]."""
        # Kept memory fragments: only pictures of one tile get the speed of it.
        keep_freed_memory(
            all(one.tile == self.geometry.sizes[one.stop] for one in self.plan.passes)
        )
        self.measure(report)
        one = self.plan.passes[-1]
        result = torch.empty((1, 3, *self.geometry.sizes[one.stop]), dtype=self.network.wide)
        for region in (region for row in self.plan.tiles(one) for region in row):
            x = self._compute(one, region).output
            x += self._enlarged(region) if self.network.design.shortcut else CENTRE
            result[..., *region.index] = x.clamp_(0, 1)
            self._tell(one, region, report)
        return result

    def _measure(self, one: Pass, report: Report) -> None:
        """Compute what is normalised: its statistics, and what is kept of it."""
        network = self.network
        sums = Sums(network.stages[one.stop].after, network.precision.sum_dtype, network.device)
        target = self._target(one) if one.keep else None
        # What overwrites its own source must wait until the tiles below have read it.
        waits = target is not None and self.geometry.replaces(one.start, one.stop)
        waiting: deque[_Part] = deque()
        for row in self.plan.tiles(one):
            above = len(waiting)
            for region in row:
                part = self._compute(one, region)
                sums.add(part.output, self._seen(one.stop, region))
                if waits:
                    waiting.append(part)
                elif target is not None:
                    part.write(target)
                self._tell(one, region, report)
            _write(waiting, above, target)
        _write(waiting, len(waiting), target)
        self.statistics[one.stop] = sums.finish(network.wide)
        self.kept = target or self.kept

    def _seen(self, index: int, region: Region) -> Tensor | None:
        """How much each position of a region of a stage's output counts: a mean over its pixels."""
        if self.mask is None:
            return None
        stride = self.geometry.stride(index)
        rows, columns = (
            # The last position of a stage may lie beyond the picture, whose border goes on there.
            torch.arange(span.start * stride, span.stop * stride).clamp_(max=length - 1)
            for span, length in zip((region.rows, region.columns), self.geometry.size, strict=True)
        )
        mask = self.mask.index_select(2, rows).index_select(3, columns)
        return F.avg_pool2d(mask.double(), stride).to(self.network.device, self.network.wide)

    def _target(self, one: Pass) -> _Kept:
        """Where a pass puts what is kept of it: in the place of what it starts from, if it can."""
        output = residual = None
        if self.kept is not None and self.geometry.replaces(one.start, one.stop):
            output, residual = self.kept.output, self.kept.residual
        if output is None:
            output = self._empty(one.stop, self.network.stages[one.stop].after)
        opener = self.geometry.opener(one.stop)
        if opener is None:
            residual = None
        elif residual is None:
            residual = self._empty(one.stop, self.network.stages[opener].before)
        return _Kept(one.stop, output, residual)

    def _empty(self, index: int, channels: int) -> Tensor:
        return torch.empty(
            (1, channels, *self.geometry.sizes[index]),
            dtype=self.network.precision.dtype,
            device=self.network.device,
            memory_format=self.network.precision.memory_format,
        )

    def _compute(self, one: Pass, tile: Region) -> _Part:
        """A region of a stage's output, from what is kept or from the picture."""
        regions = self.geometry.regions(tile, one.start, one.stop)
        x, block_input = self._load(one.start, regions[0])
        for index in range(one.start + 1, one.stop + 1):
            stage = self.network.stages[index]
            before, region = regions[index - one.start - 1 : index - one.start + 1]
            if stage.opens:
                block_input = _Patch(x, before)
            x = self.network.convolve(stage, x, self.geometry.input_spans(region, index))
            if index < one.stop:
                residual = block_input.over(region) if stage.closes and block_input else None
                x = self._activate(index, x, residual)
                block_input = None if stage.closes else block_input
        # A residual that the pass started with is kept already.
        is_new = self.geometry.opener(one.stop) != self.geometry.opener(one.start)
        return _Part(tile, x, block_input.over(tile) if block_input and is_new else None)

    def _load(self, start: int, region: Region) -> tuple[Tensor, _Patch | None]:
        """The activated output of a stage over a region, and the input of an open block."""
        if start == PICTURE:
            return self.network.load(self.image, region), None
        assert self.kept is not None
        assert self.kept.index == start
        layout = self.network.precision.memory_format
        output = self.kept.output[..., *region.index].contiguous(memory_format=layout)
        residual = self.kept.residual
        if residual is not None:
            residual = residual[..., *region.index]
        if self.network.stages[start].closes or residual is None:
            return self._activate(start, output, residual), None
        return self._activate(start, output, None), _Patch(residual, region)

    def _activate(self, index: int, x: Tensor, residual: Tensor | None) -> Tensor:
        stage = self.network.stages[index]
        found = self.statistics[index] if stage.norm else None
        return self.network.activate(stage, x, found, residual)

    def _enlarged(self, region: Region) -> Tensor:
        """The bicubic enlargement of the picture over a region of the result."""
        factor = self.network.design.factor
        spans = []
        for span, length in zip((region.rows, region.columns), self.geometry.size, strict=True):
            start = max(span.start // factor - _BICUBIC_MARGIN, 0)
            stop = min(-(-span.stop // factor) + _BICUBIC_MARGIN, length)
            spans.append((Span(start, stop), span.start - start * factor, span.length))
        (rows, top, height), (columns, left, width) = spans
        pixels = self.image[..., rows.slice, columns.slice]
        pixels = pixels.to(self.network.device, self.network.wide)
        return enlarged(pixels, factor).narrow(2, top, height).narrow(3, left, width)

    def _tell(self, one: Pass, region: Region, report: Report) -> None:
        height, width = self.geometry.sizes[one.stop]
        share = region.num_pixels / (height * width)
        self._done += share * self.geometry.work(one.start, one.stop)
        report(min(self._done / self._work, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """Values (1, C, h, w) over a region."""

    values: Tensor
    region: Region

    def over(self, inner: Region) -> Tensor:
        """The values over a region within."""
        top = inner.rows.start - self.region.rows.start
        left = inner.columns.start - self.region.columns.start
        height, width = inner.size
        return self.values.narrow(2, top, height).narrow(3, left, width)


def _write(waiting: deque[_Part], count: int, target: _Kept | None) -> None:
    """Write the first parts that wait."""
    for _ in range(count):
        assert target is not None
        waiting.popleft().write(target)
