"""A trained network applied to a picture of any size, tile by tile, with the result of one pass.

Instance normalisation divides by the spread of a whole feature map. Sums over positions add up over
tiles, so the statistics are exact, and so is the result: see `streaming` for the walks. Thumbnail
statistics (Chen et al. 2022, "Towards ultra-resolution neural style transfer") are the fast
approximation: one walk, with the sums of a small copy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.config.feedforward import ApplyConfig
from hires.engine.ladder import scale_to
from hires.errors import ConfigError
from hires.feedforward.grain import grain_over
from hires.feedforward.model import Model, prepared
from hires.feedforward.network import CENTRE, EPSILON, ModelError, Reach, Stage, convolve, enlarged
from hires.feedforward.normalisation import Statistics, Sums
from hires.feedforward.streaming import (
    PICTURE,
    Course,
    Walk,
    bytes_needed,
    plan_walks,
    tiled_work,
    tiles,
)
from hires.image.resample import resize
from hires.kernels.precision import Precision, resolve_device, resolve_precision
from hires.tiling.geometry import Region, Span
from hires.utils.memory import keep_freed_memory

Report = Callable[[float], None]

# Positions around a region that its bicubic enlargement looks at.
_BICUBIC_MARGIN = 3


@dataclass(slots=True, eq=False)
class Kept:
    """What is kept of a stage: its output, and the input of the residual block it lies in.

    Attributes:
        index: the stage.
        output: (1, C, h, w), not yet normalised.
        residual: (1, C', h, w), or None outside of a block.
    """

    index: int
    output: Tensor
    residual: Tensor | None


class Press:
    """A model made ready for a device.

    Args:
        model: what to apply.
        config: how.
        precision: the arithmetic, if not the one that ``config`` names.

    Raises:
        ValueError: for a device or precision that this machine does not have.
    """

    def __init__(
        self, model: Model, config: ApplyConfig, *, precision: Precision | None = None
    ) -> None:
        self.model, self.config = model, config
        self.device = resolve_device(config.device)
        self.precision = precision or resolve_precision(config.precision, self.device)
        self.stages = model.design.stages(normalised=model.design.normalised)
        self.weights = prepared(
            model, self.device, self.precision.dtype, self.precision.memory_format
        )
        self.least_side = model.design.receptive_field
        self.grain = _grain(model, config)

    @property
    def factor(self) -> int:
        """How many times larger the result is."""
        return self.model.design.factor

    def check(self, size: tuple[int, int]) -> int:
        """Refuse a picture that is smaller than what one pixel of the result depends on.

        Returns:
            Bytes that feature maps will take, besides the picture before and after.

        Raises:
            ModelError: if it is; `ConfigError` if the memory does not hold a tile of it.
        """
        if min(size) < self.least_side:
            raise ModelError(
                f"the picture is {size[1]}x{size[0]}, smaller than the network's view: give one of"
                f" at least {self.least_side} px on its short side"
            )
        course = Course(self.stages, size, self.factor)
        walks = self.plan(course, known=self._has_thumbnail(size))
        return bytes_needed(course, walks, self.precision.dtype.itemsize)

    def work(self, size: tuple[int, int]) -> float:
        """Multiply-adds that a picture of ``(height, width)`` takes; not those of its thumbnail."""
        course = Course(self.stages, size, self.factor)
        return tiled_work(course, self.plan(course, known=self._has_thumbnail(size)))

    @torch.no_grad()
    def apply(
        self, image: Tensor, report: Report = lambda _: None, *, mask: Tensor | None = None
    ) -> Tensor:
        """Apply the model.

        Args:
            image: (1, 3, H, W) float32 sRGB in [0, 1], on the CPU.
            report: told the share of the work done, 0 to 1, now and then.
            mask: (1, 1, H, W) float32 in [0, 1], how much each pixel counts in the statistics of
                a normalisation; None for all alike.

        Returns:
            (1, 3, H·factor, W·factor) in [0, 1], float32 (float64 if that is the arithmetic).

        Raises:
            ModelError: if the picture is too small, or nothing of it counts; `ConfigError` if the
                memory is too small.
        """
        size = (image.shape[2], image.shape[3])
        self.check(size)
        if mask is not None and not bool(mask.any()):
            raise ModelError("all of the picture is transparent; choose another")
        known: dict[int, Statistics] = {}
        if self._has_thumbnail(size):
            less = scale_to(size, self._thumbnail_side(size))
            small = resize(image, less, clamp=True)
            # Means over pixels: whatever counts at all still does.
            seen = None if mask is None else F.adaptive_avg_pool2d(mask, less)
            known = _Passage(self, small, seen, {}).measure()
        return _Passage(self, image, mask, known).run(report)

    def _has_thumbnail(self, size: tuple[int, int]) -> bool:
        return self.config.mode == "thumbnail" and max(size) > self._thumbnail_side(size)

    def _thumbnail_side(self, size: tuple[int, int]) -> int:
        """Long side of the thumbnail: its short side must not be too small either."""
        least = -(-self.least_side * max(size) // min(size))
        return max(self.config.thumbnail, least)

    def plan(self, course: Course, *, known: bool) -> tuple[Walk, ...]:
        """The walks of a picture."""
        return plan_walks(
            course,
            itemsize=self.precision.dtype.itemsize,
            memory=self.config.memory_bytes,
            tile=self.config.tile,
            known=known,
        )


def _grain(model: Model, config: ApplyConfig) -> float:
    """The noise to add: what is asked for, or what the model knows from its training."""
    if model.design.task != "style":
        if config.grain is not None:
            raise ConfigError(f"`grain` is for style models, {model.name} enlarges: leave it out")
        return 0.0
    return model.trained_grain if config.grain is None else config.grain


class _Passage:
    """One picture on its way through a network.

    Args:
        press: the prepared model.
        image: (1, 3, H, W).
        mask: (1, 1, H, W), how much each pixel counts; None for all alike.
        known: statistics by stage; what is missing is measured.
    """

    def __init__(
        self, press: Press, image: Tensor, mask: Tensor | None, known: dict[int, Statistics]
    ) -> None:
        self.press, self.image, self.mask, self.statistics = press, image, mask, dict(known)
        self.stages, self.weights = press.stages, press.weights
        self.dtype, self.device = press.precision.dtype, press.device
        self.wide = torch.promote_types(self.dtype, torch.float32)
        self.course = Course(self.stages, (image.shape[2], image.shape[3]), press.factor)
        self.walks = press.plan(self.course, known=bool(known))
        self.kept: Kept | None = None
        self._work = sum(self.course.work(walk.start, walk.stop) for walk in self.walks)
        self._done = 0.0

    def measure(self) -> dict[int, Statistics]:
        """Only the statistics."""
        for walk in self.walks[:-1]:
            self._measure(walk, lambda _: None)
        return self.statistics

    def run(self, report: Report) -> Tensor:
        """The whole way."""
        # Kept memory fragments: only pictures of one tile get the speed of it.
        sizes = (self.course.walked_size(walk.stop) for walk in self.walks)
        keep_freed_memory(
            all(walk.core == size for walk, size in zip(self.walks, sizes, strict=True))
        )
        for walk in self.walks[:-1]:
            self._measure(walk, report)
        return self._finish(self.walks[-1], report)

    def _measure(self, walk: Walk, report: Report) -> None:
        """Walk to a normalisation: its statistics, and what is kept of it."""
        sums = Sums(self.stages[walk.stop].after, self.press.precision.sum_dtype, self.device)
        rows = tiles(self.course.walked_size(walk.stop), walk.core)
        target = self._target(walk) if walk.keep else None
        # What overwrites its own source must wait until the tiles below have read it.
        waits = target is not None and self.course.replaces(walk.start, walk.stop)
        waiting: deque[list[_Part]] = deque()
        for row in rows:
            if len(waiting) == 2:
                self._write(waiting.popleft(), target)
            parts: list[_Part] = []
            for region in row:
                part = self._compute(walk, region)
                sums.add(part.output, self._seen(walk.stop, region))
                if waits:
                    parts.append(part)
                else:
                    self._write([part], target)
                self._tell(walk, region, report)
            if waits:
                waiting.append(parts)
        for parts in waiting:
            self._write(parts, target)
        self.statistics[walk.stop] = sums.finish(self.wide)
        if target is not None:
            self.kept = target

    def _seen(self, index: int, region: Region) -> Tensor | None:
        """How much each position of a region of a stage's output counts: a mean over its pixels."""
        if self.mask is None:
            return None
        stride = self.course.stride(index)
        rows, columns = (
            # The last position of a stage may lie beyond the picture, whose border goes on there.
            torch.arange(span.start * stride, span.stop * stride).clamp_(max=length - 1)
            for span, length in zip((region.rows, region.columns), self.course.size, strict=True)
        )
        mask = self.mask.index_select(2, rows).index_select(3, columns)
        return F.avg_pool2d(mask.double(), stride).to(self.device, self.wide)

    def _target(self, walk: Walk) -> Kept:
        """Where a walk puts what is kept of it: in the place of what it starts from, if it can."""
        old = self.kept
        if old is None or not self.course.replaces(walk.start, walk.stop):
            output, residual = self._empty(walk.stop, self.stages[walk.stop].after), None
        else:
            output, residual = old.output, old.residual
        opener = self.course.opener(walk.stop)
        if opener is None:
            residual = None
        elif residual is None:
            residual = self._empty(walk.stop, self.stages[opener].before)
        return Kept(walk.stop, output, residual)

    def _empty(self, index: int, channels: int) -> Tensor:
        return torch.empty(
            (1, channels, *self.course.sizes[index]),
            dtype=self.dtype,
            device=self.device,
            memory_format=self.press.precision.memory_format,
        )

    def _write(self, parts: list[_Part], target: Kept | None) -> None:
        if target is None:
            return
        for part in parts:
            target.output[..., *part.region.index] = part.output
            if target.residual is not None and part.residual is not None:
                target.residual[..., *part.region.index] = part.residual

    def _compute(self, walk: Walk, core: Region) -> _Part:
        """A region of a stage's output, from what is kept or from the picture."""
        regions = self.course.regions(core, walk.start, walk.stop)
        x, open_block = self._load(walk.start, regions[0])
        for index in range(walk.start + 1, walk.stop + 1):
            stage = self.stages[index]
            region = regions[index - walk.start]
            if stage.opens:
                open_block = _Open(x, regions[index - walk.start - 1])
            reaches = self.course.reaches(region, index)
            x = self._convolve(stage, x, reaches)
            if index < walk.stop:
                residual = open_block.part(region) if stage.closes and open_block else None
                x = self._activate(index, x, residual)
                open_block = None if stage.closes else open_block
        # A residual that the walk started with is kept already.
        is_new = self.course.opener(walk.stop) != self.course.opener(walk.start)
        return _Part(core, x, open_block.part(core) if open_block and is_new else None)

    def _convolve(self, stage: Stage, x: Tensor, reaches: tuple[Reach, Reach]) -> Tensor:
        weight, bias = self.weights[f"{stage.name}.weight"], self.weights.get(f"{stage.name}.bias")
        bias = None if bias is None else bias.to(weight.dtype)
        return convolve(stage, weight, bias, x.to(weight.dtype), reaches)

    def _load(self, start: int, region: Region) -> tuple[Tensor, _Open | None]:
        """The activated output of a stage over a region."""
        memory_format = self.press.precision.memory_format
        if start == PICTURE:
            pixels = self.image[..., *region.index].to(self.device, self.wide) - CENTRE
            if self.press.grain:
                pixels.add_(grain_over(region).to(pixels), alpha=self.press.grain)
            return pixels.to(self.dtype).contiguous(memory_format=memory_format), None
        assert self.kept is not None
        assert self.kept.index == start
        output = self.kept.output[..., *region.index].contiguous(memory_format=memory_format)
        residual = self.kept.residual
        residual = None if residual is None else residual[..., *region.index]
        if self.stages[start].closes or residual is None:
            return self._activate(start, output, residual), None
        return self._activate(start, output, None), _Open(residual, region)

    def _activate(self, index: int, x: Tensor, residual: Tensor | None) -> Tensor:
        """Normalise, add the residual, ReLU, as the stage says."""
        stage = self.stages[index]
        if stage.norm:
            found = self.statistics[index]
            scale, shift = (self.weights[f"{stage.name}.{part}"] for part in ("scale", "shift"))
            x = F.batch_norm(
                x, found.mean, found.variance, scale, shift, training=False, eps=EPSILON
            )
        if residual is not None:
            x += residual
        return x.relu_() if stage.relu else x

    def _finish(self, walk: Walk, report: Report) -> Tensor:
        """Walk to the result."""
        size = self.course.walked_size(walk.stop)
        result = torch.empty((1, 3, *size), dtype=self.wide)
        for row in tiles(size, walk.core):
            for region in row:
                x = self._compute(walk, region).output
                x += self._shortcut(region) if self.press.model.design.shortcut else CENTRE
                result[..., *region.index] = x.clamp_(0, 1)
                self._tell(walk, region, report)
        return result

    def _shortcut(self, region: Region) -> Tensor:
        """The bicubic enlargement of the picture over a region of the result."""
        factor = self.press.factor
        spans = []
        for span, length in zip((region.rows, region.columns), self.course.size, strict=True):
            start = max(span.start // factor - _BICUBIC_MARGIN, 0)
            stop = min(-(-span.stop // factor) + _BICUBIC_MARGIN, length)
            spans.append((Span(start, stop), span.start - start * factor, span.length))
        (rows, top, height), (columns, left, width) = spans
        pixels = self.image[..., rows.slice, columns.slice].to(self.device, self.wide)
        return enlarged(pixels, factor)[..., top : top + height, left : left + width]

    def _tell(self, walk: Walk, region: Region, report: Report) -> None:
        height, width = self.course.walked_size(walk.stop)
        share = region.num_pixels / (height * width)
        self._done += share * self.course.work(walk.start, walk.stop)
        report(min(self._done / self._work, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    """The input of a residual block, over a region."""

    values: Tensor
    region: Region

    def part(self, inner: Region) -> Tensor:
        """The values over a region within."""
        top = inner.rows.start - self.region.rows.start
        left = inner.columns.start - self.region.columns.start
        height, width = inner.size
        return self.values[..., top : top + height, left : left + width]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A region of what a walk computes."""

    region: Region
    output: Tensor
    residual: Tensor | None
