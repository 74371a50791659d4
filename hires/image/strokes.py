"""How wide the strokes of a picture are, measured on the picture."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from hires.image.colour.oklab import to_oklab
from hires.image.resample import resize

# Pictures are looked at from this long side in pixels down, by a factor of √2 each time; smaller
# ones are enlarged to it, at most so many times. It is small, so that a scan of half the size has
# strokes of half the width: grain that only the larger one shows must not count.
_LARGEST, _RATIO, _ENLARGED = 512, math.sqrt(2), 2.0
# The least short side that is looked at.
_LEAST = 32
# A stroke is looked at where it is so many pixels wide: finer things are averaged away there.
_WIDTH = 8.0
# How far is looked in each of twice so many directions, in pixels, and from how many places.
_REACH, _DIRECTIONS, _PLACES = 32, 8, 4000
# An edge of a copy is blurred: chords end so many pixels too early, both ends together.
_EDGE = 0.8
# A stroke ends where colours differ by more than this share of the picture's standard deviation. At
# 0.5, what is painted with a brush twice as broad measures 1.7 to 2.1 times as broad, at 0.7 from
# 1.8 to 2.3 times, and skies and grounds count as strokes.
_SHARE = 0.6
# Less contrast than this, in OKLab, is none.
_BLANK = 1e-3
# Significant digits: what is left of rounding by other numbers of threads must not matter.
_DIGITS = 3


def stroke_width(pixels: Tensor, mask: Tensor | None = None) -> float | None:
    """Width of the broad strokes of a picture, across them, in its own pixels.

    A place's *chord* is the shortest way through it, of 8 directions, on which colours (OKLab)
    differ from its own by less than 0.6 of the standard deviation of the picture's colours. The
    width is the median of chords: half of the picture lies in strokes that are broader. Grain
    shortens chords, so they are measured on the smaller copy of the picture on which that median
    is 8 pixels. A picture of half the size has half the width to 10%, unless one of them is smaller
    than the largest copy, 512 pixels; and of strokes twice as broad on the same canvas, in the same
    colours, twice the width.

    It is a granulometry by line segments (Soille, "Morphological Image Analysis")
    with a scale that the picture chooses, as in Lindeberg 1998, "Feature Detection with Automatic
    Scale Selection".

    Args:
        pixels: (1, 3, H, W) float, sRGB in [0, 1].
        mask: (1, 1, H, W) in [0, 1], how much each pixel counts; None for all alike.

    Returns:
        Pixels, to three digits; None for a picture without contrast, or too small to tell.
    """
    found: tuple[float, float] | None = None
    for scale, colours in _copies(pixels):
        chord = _median_chord(colours, mask)
        if chord is None:
            continue
        width = chord * scale
        if chord > _WIDTH:
            found = chord, scale
            continue
        if found is not None:
            before, fine = found
            share = math.log(before / _WIDTH) / math.log(before / chord)
            width = _WIDTH * fine * (scale / fine) ** share
        return _rounded(width)
    return None if found is None else _rounded(found[0] * found[1])


def _rounded(width: float) -> float:
    return float(f"{width:.{_DIGITS}g}")


def _copies(pixels: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Smaller and smaller copies in OKLab, each with how many times smaller it is."""
    height, width = pixels.shape[2:]
    scale = max(max(height, width) / _LARGEST, 1 / _ENLARGED)
    first: Tensor | None = None
    while min(height, width) / scale >= _LEAST:
        size = round(height / scale), round(width / scale)
        if first is None:
            first = to_oklab(resize(pixels, size, clamp=True))
        yield scale, resize(first, size)
        scale *= _RATIO


def _median_chord(colours: Tensor, mask: Tensor | None) -> float | None:
    """Median of the chords of a copy (1, 3, H, W), in its pixels; None if it has no contrast."""
    height, width = colours.shape[2:]
    counts = torch.ones(1, 1, height, width, dtype=torch.float64)
    if mask is not None:
        counts = resize(mask, (height, width), clamp=True).double()
    total = counts.sum()
    if not total:
        return None
    mean, square = ((colours**k * counts).sum((2, 3)) / total for k in (1, 2))
    spread = float((square - mean**2).sum().clamp(min=0).sqrt())
    if spread < _BLANK:
        return None
    spacing = max(math.sqrt(height * width / _PLACES), 1.0)
    rows, columns = (
        ((torch.arange(int(side / spacing)) + 0.5) * spacing).long() for side in (height, width)
    )
    chords, order = _chords(colours[0], rows, columns, _SHARE * spread).sort()
    passed = counts[0, 0][rows[:, None], columns].flatten()[order].cumsum(0)
    return float(chords[int((passed >= passed[-1] / 2).nonzero()[0])]) + _EDGE


def _chords(colours: Tensor, rows: Tensor, columns: Tensor, most: float) -> Tensor:
    """The shortest way through each place on which colours (3, H, W) stay within ``most``."""
    height, width = colours.shape[1:]
    steps = torch.arange(1, _REACH + 1)[:, None]
    angles = torch.arange(2 * _DIRECTIONS) * (math.pi / _DIRECTIONS)
    down, right = ((steps * turned).round().long() for turned in (angles.sin(), angles.cos()))
    y = rows.repeat_interleave(len(columns)) + down[..., None]
    x = columns.repeat(len(rows)) + right[..., None]
    is_outside = (y < 0) | (y >= height) | (x < 0) | (x >= width)
    place = y.clamp_(0, height - 1) * width + x.clamp_(0, width - 1)
    centre = colours[:, rows[:, None], columns].flatten(1)
    distance = torch.zeros(place.shape)
    for channel, own in zip(colours.flatten(1), centre, strict=True):
        distance += (channel[place] - own) ** 2
    # Nobody knows where a stroke ends that leaves the picture.
    distance = distance.sqrt_().masked_fill_(is_outside.cummax(0).values, 0.0)
    ends = distance > most
    end = ends.to(torch.uint8).argmax(0, keepdim=True)
    after = distance.gather(0, end)[0]
    before = distance.gather(0, (end - 1).clamp_(min=0))[0] * (end[0] > 0)
    way = end[0] + (most - before) / (after - before).clamp_(min=1e-6)
    way = torch.where(ends.any(0), way, float(_REACH))
    return (way[:_DIRECTIONS] + way[_DIRECTIONS:]).amin(0)
