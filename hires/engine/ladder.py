"""The resolution ladder: which sizes to paint, and how long at each. Pure arithmetic, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat

from hires.config.run import Config
from hires.config.texture import parse_aspect
from hires.config.values import LEAST_SIZE, counted, size_share
from hires.errors import ConfigError

Size = tuple[int, int]

# A picture longer than this many times its width is a banner that no rung can start from.
MAX_ASPECT = 20.0
# Longest side of a painting in pixels: 7 times that of A0 at 300 dpi, and hundreds of GB of memory.
MAX_SIZE = 100_000
# A style is enlarged at most so many times for a brush: beyond, its strokes have no edges.
MOST_ENLARGED = 4.0
# Long side of the first rung, unless it is asked for.
_FIRST = 256
# A brush is so many pixels wide at the first rung: strokes form there, where the network sees them
# whole, and larger rungs only refine them. Where a brush is broader, the photograph's own detail
# is finer than the strokes, and does not belong among them.
_FIRST_BRUSH = 7.0
# For a fine brush the first rung is at most so long, and strokes form at a later one.
_LARGEST_FIRST = 1024
# Pixels that the parts of a step that do not grow with the canvas are worth: between the measured
# 170 thousand (compact, two cores) and the 20 thousand of VGG-19.
_FIXED_WORK = 2**16


@dataclass(frozen=True, slots=True)
class Rung:
    """One size of the ladder.

    Attributes:
        index: position in the ladder, from 0.
        size: ``(height, width)`` of the picture in pixels.
        num_iterations: optimisation steps at this size.
        learning_rate: step size of the optimizer at this size.
        style_sizes: ``(height, width)`` at which each style is measured.
        decay: factor on the step size ...
        decay_every: ... every so many steps; 0 for never.
        margin: pixels of the canvas beyond each border of the picture.
        wrap: where the canvas wraps, pixels of the opposite border that are seen beyond each.
        content_detail: share of the photograph's own detail that it begins with, if it is not the
            first.
    """

    index: int
    size: Size
    num_iterations: int
    learning_rate: float
    style_sizes: tuple[Size, ...]
    decay: float = 1.0
    decay_every: int = 0
    margin: int = 0
    wrap: int = 0
    content_detail: float = 0.0

    @property
    def canvas_size(self) -> Size:
        """``(height, width)`` of the canvas in pixels."""
        return self.size[0] + 2 * self.margin, self.size[1] + 2 * self.margin

    @property
    def seen_size(self) -> Size:
        """``(height, width)`` in pixels of what the network sees: more, if the canvas wraps."""
        return self.canvas_size[0] + 2 * self.wrap, self.canvas_size[1] + 2 * self.wrap

    @property
    def num_pixels(self) -> int:
        """Those that the network sees."""
        height, width = self.seen_size
        return height * width

    @property
    def step_work(self) -> int:
        """What a step takes beside those of other rungs, in pixels."""
        return self.num_pixels + _FIXED_WORK

    @property
    def work(self) -> int:
        """What all its steps take, in pixels."""
        return self.step_work * self.num_iterations

    def learning_rate_at(self, iteration: int) -> float:
        """Step size of a step, counted from 1."""
        num_decays = (iteration - 1) // self.decay_every if self.decay_every else 0
        return self.learning_rate * self.decay**num_decays


def scale_to(size: Size, long_side: int) -> Size:
    """Scale ``(height, width)`` so that its longer side is ``long_side``, at least 1 px each."""
    height, width = size
    scale = long_side / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def scale_side(size: Size, length: int, side: str) -> Size:
    """Scale ``(height, width)`` so that its ``long`` or ``short`` side, or its ``height``, fits.

    Beside a short side or a height the other one is truncated, as the documents of the presets do
    (torchvision's ``Resize``, Chollet's ``int(width * 400 / height)``).
    """
    if side == "long":
        return scale_to(size, length)
    measured = size[0] if side == "height" else min(size)
    return max(size[0] * length // measured, 1), max(size[1] * length // measured, 1)


def long_sides(final: int, smallest: int, num_rungs: int | None = None) -> tuple[int, ...]:
    """Sizes from small to large, spaced evenly by a factor between √2 and 2.

    The number of rungs, if it is not given, is the least that keeps the factor at 2 or below; a
    span shorter than √2 is painted in one rung.

    Raises:
        ConfigError: if so many rungs do not fit between the two sizes.
    """
    if num_rungs is None and final < smallest * math.sqrt(2):
        num_rungs = 1
    if num_rungs == 1:
        return (final,)
    if num_rungs is not None and final - smallest < num_rungs:
        raise ConfigError(
            f"`rungs={num_rungs}` do not fit between {smallest} and {final} px:"
            " give fewer or a smaller `min_size`"
        )
    num_steps = (num_rungs or 0) - 1
    if num_rungs is None:
        num_steps = max(math.ceil(math.log2(final / smallest) - 1e-9), 1)
    factor = (final / smallest) ** (1 / num_steps)
    return tuple(round(final / factor ** (num_steps - i)) for i in range(num_steps + 1))


def iterations(config: Config, num_rungs: int) -> tuple[int, ...]:
    """Steps per rung: those of the user, else a schedule that falls as the rungs grow.

    Raises:
        ConfigError: if more numbers are given than there are rungs.
    """
    first, decay, least = config.schedule
    automatic = tuple(max(round(first * decay**i), least) for i in range(num_rungs))
    return _per_rung(config, "iterations", num_rungs) or automatic


def _per_rung(config: Config, name: str, num_rungs: int) -> tuple[int, ...]:
    """One number for each rung; what a preset has too many of is left out."""
    given: tuple[int, ...] = getattr(config, name)
    if len(given) > num_rungs and not config.is_default(name):
        raise ConfigError(
            f"`{name}` has {counted(len(given), 'number')} for a ladder of"
            f" {counted(num_rungs, 'rung')}: give at most {num_rungs}, from small to large (the"
            " last one repeats)"
        )
    return tuple(given[min(i, len(given) - 1)] for i in range(num_rungs)) if given else ()


def plan(
    config: Config,
    content: Size,
    styles: Sequence[Size],
    *,
    size: Size | None = None,
    brush: float | None = None,
    scales: Sequence[float] = (),
) -> tuple[Rung, ...]:
    """Lay out the whole ladder for a content picture and styles of the given sizes.

    Args:
        config: how to paint.
        content: ``(height, width)`` of the content picture.
        styles: the same of each style.
        size: exact ``(height, width)`` of the last rung, in place of ``config.size``; the rungs
            before it have its shape.
        brush: width of the strokes in pixels of the last rung; the first is small enough for them.
        scales: of each style, for a brush, in place of ``config.style_scale``.

    Raises:
        ConfigError: for an absurd aspect ratio or size, an exact size of another shape than the
            content or beside ``config.sizes``, or iterations that do not fit the ladder.
    """
    if size is not None:
        _check_shape(config, content, size)
    _check_aspect(content)
    shape = content if size is None else size
    sides = _sides(config, content, size, brush)
    steps = iterations(config, len(sides))
    every = _per_rung(config, "decay_every", len(sides))
    canvases = [scale_side(shape, side, config.measured_side) for side in sides]
    _check_size(config, canvases[-1], is_exact=size is not None)
    return tuple(
        Rung(
            index=i,
            size=canvas,
            num_iterations=steps[i],
            learning_rate=config.learning_rate_for(steps[i]),
            style_sizes=tuple(
                style_size(config, style, canvas, scale)
                for style, scale in zip(styles, scales or repeat(None), strict=False)
            ),
            decay=config.learning_rate_decay or 1.0,
            decay_every=every[i] if every else 0,
            margin=config.margin,
            content_detail=_content_detail(config, side / sides[-1], brush),
        )
        for i, (side, canvas) in enumerate(zip(sides, canvases, strict=True))
    )


def _content_detail(config: Config, share: float, brush: float | None) -> float:
    """The photograph's detail at a rung that is so large by the last one."""
    is_broad = brush is not None and brush * share > _FIRST_BRUSH
    return 0.0 if is_broad and config.is_default("content_detail") else config.content_detail


def _sides(config: Config, content: Size, size: Size | None, brush: float | None) -> Sequence[int]:
    """Sides of all rungs, as they are measured."""
    # The short side of the first rung must still show something to the deepest layer.
    least = least_first(config, content)
    final = final_side(config, content) if size is None else measured(config, size)
    given = None if config.is_default("min_size") else config.min_size
    if given is not None and given > final and config.rungs != 1:
        raise ConfigError(f"`min_size` is {config.min_size}: give at most the last size, {final}")
    smallest = config.min_size or _FIRST
    if brush is not None and given is None:
        smallest = min(round(final * _FIRST_BRUSH / brush), _LARGEST_FIRST)
    smallest = min(max(smallest, least), final)
    return config.sizes or long_sides(final, smallest, config.rungs)


def _check_aspect(content: Size) -> None:
    aspect = max(content) / min(content)
    if aspect > MAX_ASPECT:
        raise ConfigError(
            f"the content is {content[1]}x{content[0]}, {aspect:.3g} times longer than wide:"
            f" crop it to at most {MAX_ASPECT:.0f}:1"
        )


def _check_size(config: Config, size: Size, *, is_exact: bool) -> None:
    height, width = size
    if max(size) > MAX_SIZE:
        option = "`dpi`" if is_exact else "`sizes`" if config.sizes else "`size`"
        raise ConfigError(
            f"a painting of {width}x{height} px is beyond any machine: give a smaller {option},"
            f" for at most {MAX_SIZE} px on the long side"
        )


def texture_size(config: Config, aspect: str) -> Size:
    """``(height, width)`` of a texture's last rung, for the shape that it is to have."""
    shape, last = parse_aspect(aspect), config.sizes[-1:] or (config.size,)
    return scale_side(shape, int(last[0]), config.measured_side)


def wrapping(rungs: Sequence[Rung], wrap: int, unit: int) -> tuple[Rung, ...]:
    """The ladder of a canvas that wraps.

    Args:
        rungs: that of one which does not.
        wrap: what is seen beyond each border, in pixels.
        unit: what its sides are multiples of: the nearest ones.
    """

    def whole(side: int) -> int:
        return max(round(side / unit), 1) * unit

    return tuple(
        replace(rung, size=(whole(rung.size[0]), whole(rung.size[1])), wrap=wrap) for rung in rungs
    )


def least_first(config: Config, shape: Size) -> int:
    """The measured side at which the first rung shows something to the deepest layer."""
    return round(config.min_short_side * measured(config, shape) / min(shape))


def final_side(config: Config, content: Size) -> int:
    """The side of the last rung that the configuration measures, in pixels.

    Raises:
        ConfigError: for a share of the content picture that is less than 32 px.
    """
    if isinstance(config.size, int):
        return config.size
    side = round(size_share(config.size) * measured(config, content))
    if side < LEAST_SIZE:
        raise ConfigError(
            f"`size={config.size}` of a content of {content[1]}x{content[0]} is {side} px:"
            f" give at least {LEAST_SIZE}"
        )
    return side


def measured(config: Config, size: Size) -> int:
    """The side that the configuration's sizes measure."""
    return {"long": max(size), "short": min(size), "height": size[0]}[config.measured_side]


def _check_shape(config: Config, content: Size, size: Size) -> None:
    if config.sizes:
        raise ConfigError("the size of the print is exact: leave `sizes` out")
    if min(size) < 32:
        raise ConfigError(f"a painting of {size[1]}x{size[0]} px is too small: give more dpi")
    # Cropping to whole pixels of a small photograph may miss the shape by a little.
    tolerance = 0.01 + 1 / min(content)
    if abs(math.log(content[0] / content[1] * size[1] / size[0])) > tolerance:
        raise ConfigError(
            f"the content is {content[1]}x{content[0]} and the painting {size[1]}x{size[0]}:"
            " crop the content to the same shape"
        )


def style_size(config: Config, style: Size, canvas: Size, scale: float | None = None) -> Size:
    """Size at which a style is measured beside a canvas.

    It grows with the canvas, but not past its own pixels, unless it is stretched to the canvas or
    ``style_scale`` is above 1: then it is enlarged, at most by that factor. With a scale of its
    own, for a brush, it is enlarged at most `MOST_ENLARGED` times, and seen by the deepest layer.
    """
    if scale is not None:
        least = config.min_short_side * max(style) / min(style)
        side = min(max(max(canvas) * scale, least), max(style) * MOST_ENLARGED)
        return scale_to(style, round(side))
    if config.style_fit == "stretch":
        height, width = (max(round(side * config.style_scale), 1) for side in canvas)
        return height, width
    most = round(max(style) * max(config.style_scale, 1))
    return scale_to(style, min(round(max(canvas) * config.style_scale), most))
