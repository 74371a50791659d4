"""What a painting is like at 1:1: its octaves, its borders, style and content; what stands.

Measures of `judge_fine`, which says how they are meant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from judge_features import Judge
from torch import Tensor

from hires.engine.ladder import Size
from hires.errors import ImageError
from hires.image.resample import resize
from hires.judging.comparison import scaled_style
from hires.judging.octaves import Octave, octave_ratios

LEAST_SIDE = 32
OCTAVES, JUDGED_OCTAVES = 3, 2
LEAST_RATIO, LARGEST_RATIO, TIMES_NEARER = 0.7, 1.4, 3
# Borders: the thin frame, the wide one, and how many percent are never too much.
THIN_FRAME, WIDE_FRAME, LEAST_TINT = 4, 24, 2.0


@dataclass(frozen=True, slots=True)
class Border:
    """Red, green and blue of a frame minus those further in, in percent of the range.

    Attributes:
        pixels: width of the outermost frame.
        difference: mean colour of the frame minus that of the frame further in.
        deviation: standard deviation of such a difference inside of the picture.
        of_content: the difference in the content picture: what may be its composition.
        stands: whether the difference is within 2% or two standard deviations in every channel.
    """

    pixels: int
    difference: tuple[float, ...]
    deviation: tuple[float, ...]
    of_content: tuple[float, ...]
    stands: bool

    @property
    def worst(self) -> tuple[float, float, float]:
        """The values of the channel that is nearest to what is allowed, or furthest beyond."""
        values = zip(self.difference, self.deviation, self.of_content, strict=True)
        return max(values, key=lambda found: abs(found[0]) / max(2 * found[1], LEAST_TINT))


@dataclass(frozen=True, slots=True)
class Quality:
    """What a painting is like; does not depend on the machine, up to rounding."""

    style_error: float
    style_errors: dict[str, float]
    content_error: float
    octaves: tuple[Octave, ...]
    borders: tuple[Border, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a painting stands, and its errors over those before (None if there is no before).

    Attributes:
        luma: whether each of the finest two octaves stands.
        chroma_to_luma: the same.
        borders: whether each frame stands.
        style_ratio: style error, after over before.
        content_ratio: content error, after over before.
    """

    luma: tuple[bool, ...]
    chroma_to_luma: tuple[bool, ...]
    borders: tuple[bool, ...]
    style_ratio: float | None
    content_ratio: float | None

    @property
    def octaves_stand(self) -> bool:
        """Whether all octaves do."""
        return all(self.luma + self.chroma_to_luma)


def measure(judge: Judge, painting: Tensor, content: Tensor, style: Tensor) -> Quality:
    """Measure a painting against its content and style, all (1, 3, H, W) in [0, 1].

    Raises:
        ImageError: if it or its style is too small.
    """
    size = size_of(painting)
    style = scaled_style(style, size)
    if min(*size, *size_of(style)) < LEAST_SIDE:
        raise ImageError(f"painting and style must have sides of at least {LEAST_SIDE} px")
    content = resize(content, size, clamp=True)
    errors, content_error = judge.measure(painting, content, style)
    return Quality(
        style_error=sum(errors.values()) / len(errors),
        style_errors=errors,
        content_error=content_error,
        octaves=octave_ratios(painting, style, OCTAVES),
        borders=measure_borders(painting, content),
    )


def measure_borders(painting: Tensor, content: Tensor) -> tuple[Border, ...]:
    """The thin and the wide frame of (1, 3, H, W); an eighth of the short side at most."""
    depth = min(WIDE_FRAME, min(size_of(painting)) // 8)
    return tuple(measure_border(painting, content, width, depth) for width in (THIN_FRAME, depth))


def measure_border(painting: Tensor, content: Tensor, pixels: int, depth: int) -> Border:
    """The outermost pixels of (1, 3, H, W) against those from ``depth`` to twice that.

    Four strips at random places inside of the picture, as long as its sides, differ from what lies
    ``depth`` further by ``deviation``: their mean's variance follows from that of all places.
    """
    x, scene = (100 * image[0].double() for image in (painting, content))
    difference, of_content = (
        frame_colour(picture, 0, pixels) - frame_colour(picture, depth, 2 * depth)
        for picture in (x, scene)
    )
    height, width = x.shape[1:]
    variance = torch.zeros(3, dtype=x.dtype)
    for turned, length in ((x, width), (x.mT, height)):
        # Two of the four sides have this length.
        share = length / (2 * (height + width))
        variance += 2 * share**2 * strip_differences(turned, pixels, depth).var(1)
    deviation = variance.sqrt()
    return Border(
        pixels=pixels,
        difference=tuple(difference.tolist()),
        deviation=tuple(deviation.tolist()),
        of_content=tuple(of_content.tolist()),
        stands=bool((difference.abs() <= (2 * deviation).clamp(min=LEAST_TINT)).all()),
    )


def frame_colour(x: Tensor, start: int, end: int) -> Tensor:
    """Mean colour (3,) of the pixels of (3, H, W) that lie from ``start`` to ``end`` px deep."""
    rows, columns = (torch.arange(side) for side in x.shape[1:])
    down, across = torch.minimum(rows, rows.flip(0)), torch.minimum(columns, columns.flip(0))
    depths = torch.minimum(down[:, None], across)
    return x[:, (depths >= start) & (depths < end)].mean(1)


def strip_differences(x: Tensor, pixels: int, depth: int) -> Tensor:
    """Mean colour of strips of rows minus that of ``depth`` rows as far below: (3, places).

    The outermost ``depth`` pixels of (3, H, W) are left out.
    """
    lines = x[:, depth:-depth, depth:-depth].mean(2)
    near = lines.unfold(1, pixels, 1).mean(2)
    far = lines.unfold(1, depth, 1).mean(2)[:, depth:]
    return near[:, : far.shape[1]] - far


def compare(after: Quality, before: Quality | None) -> Verdict:
    """The verdict on a painting."""
    octaves: dict[str, tuple[bool, ...]] = {}
    for name in ("luma", "chroma_to_luma"):
        octaves[name] = tuple(
            is_near(
                getattr(after.octaves[i], name),
                None if before is None else getattr(before.octaves[i], name),
            )
            for i in range(JUDGED_OCTAVES)
        )
    return Verdict(
        **octaves,
        borders=tuple(border.stands for border in after.borders),
        style_ratio=None if before is None else after.style_error / before.style_error,
        content_ratio=None if before is None else after.content_error / before.content_error,
    )


def is_near(after: float, before: float | None) -> bool:
    """Whether a ratio is near 1, or much nearer than before."""
    if LEAST_RATIO <= after <= LARGEST_RATIO:
        return True
    return before is not None and TIMES_NEARER * abs(math.log(after)) <= abs(math.log(before))


def size_of(picture: Tensor) -> Size:
    """(height, width)."""
    return picture.shape[2], picture.shape[3]
