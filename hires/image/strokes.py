"""How wide the strokes of a picture are, measured on the picture."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from hires.image.colour.oklab import to_oklab
from hires.image.resample import resize

# Pictures are looked at from this long side in pixels down, by a factor of √2 each time; smaller
# ones are enlarged to it, at most so many times. It is small, so that a scan of half the size has
# strokes of half the width: grain that only the larger one shows must not count.
_LARGEST, _RATIO, _ENLARGED = 512, math.sqrt(2), 2.0
# The least short side that is looked at.
_LEAST = 40
# A stroke is looked at where it is so many pixels wide: finer things are averaged away there.
_WIDTH = 8.0
# How far is looked in each of twice so many directions, in pixels, and from how many places.
_REACH, _DIRECTIONS, _PLACES = 32, 8, 4000
# Contrast is that of squares of 5 among 64 along the long side.
_COARSE, _SQUARE = 64, 5
# Less contrast than this, in OKLab, is none.
_BLANK = 1e-3
# Significant digits: what is left of rounding by other numbers of threads must not matter.
_DIGITS = 3


def stroke_width(pixels: Tensor, mask: Tensor | None = None) -> float | None:
    """Width of the broadest strokes of a picture, across them, in its own pixels.

    A place's *chord* is the shortest way through it, of 8 directions, on which colours differ from
    its own (in OKLab) by less than the picture's contrast: the root of the mean variance within
    squares of 8% of the long side. The width is what half of the picture exceeds, places counting
    by the contrast around them, so that empty ground and faint grain hardly do. Grain shortens
    chords, so they are measured on the smaller copy of the picture on which that median is 8
    pixels. A picture of half the size has half the width to 10%, unless one of them is smaller than
    the largest copy, 512 pixels.

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
    spacing = max(math.sqrt(height * width / _PLACES), 1.0)
    rows, columns = (
        ((torch.arange(int(side / spacing)) + 0.5) * spacing).long() for side in (height, width)
    )
    contrast = _contrast(colours)[0, 0][rows[:, None], columns]
    counts = torch.ones_like(contrast)
    if mask is not None:
        counts = resize(mask, (height, width), clamp=True)[0, 0][rows[:, None], columns]
    total = counts.double().sum()
    if not total:
        return None
    most = float(((contrast.double() ** 2 * counts).sum() / total).sqrt())
    if most < _BLANK:
        return None
    chords = _chords(colours[0], rows, columns, most)
    chords, order = chords.sort()
    passed = (contrast * counts).flatten().double()[order].cumsum(0)
    return float(chords[int((passed >= passed[-1] / 2).nonzero()[0])])


def _contrast(colours: Tensor) -> Tensor:
    """Standard deviation of colours around each pixel, (1, 1, H, W)."""
    height, width = colours.shape[2:]
    share = _COARSE / max(height, width)
    coarse = max(round(height * share), 1), max(round(width * share), 1)
    moments = torch.cat([colours, colours**2], 1)
    moments = functional.interpolate(moments, coarse, mode="area")
    around = functional.avg_pool2d(moments, _SQUARE, 1, _SQUARE // 2, count_include_pad=False)
    variance = (around[:, 3:] - around[:, :3] ** 2).clamp_(min=0).sum(1, keepdim=True)
    return functional.interpolate(variance.sqrt(), (height, width), mode="bilinear")


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
