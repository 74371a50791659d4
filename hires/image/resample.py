"""Pictures at other sizes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hires.config.paper import largest_within

# Rows that are resampled at a time by `resize_rows`.
_ROWS = 256


def resize(image: Tensor, size: tuple[int, int], *, clamp: bool = False) -> Tensor:
    """Resample bicubically (Catmull-Rom), antialiased along each axis that shrinks.

    The picture's corners stay its corners, and a constant image stays constant. Works channel by
    channel, so that what it needs beyond the result is about one channel's worth.

    Args:
        image: (B, C, H, W), floating point; half precisions are returned as float32.
        size: (height, width) in pixels.
        clamp: cut the overshoot of the cubic kernel to [0, 1].

    Returns:
        (B, C, *size), a new tensor on the same device.
    """
    if image.ndim != 4 or not image.is_floating_point():
        raise ValueError(f"expected (B, C, H, W) floats, got {tuple(image.shape)} {image.dtype}")
    if min(size) < 1:
        raise ValueError(f"size must be at least 1x1 px (height, width), got {size}")
    dtype = torch.promote_types(image.dtype, torch.float32)
    result = image.new_empty((*image.shape[:2], *size), dtype=dtype)
    for channel in range(image.shape[1]):
        plane = image[:, channel : channel + 1].to(dtype)
        if image.shape[-2:] != size:
            plane = functional.interpolate(
                plane, size=size, mode="bicubic", align_corners=False, antialias=True
            )
        result[:, channel : channel + 1] = plane
    return result.clamp_(0, 1) if clamp else result


def resize_rows(
    image: Tensor, size: tuple[int, int], rows: slice, *, height: int | None = None, first: int = 0
) -> Tensor:
    """Some rows of what `resize` makes of a picture, to rounding; nothing else is computed.

    Args:
        image: (1, C, H, W) float32 or float64, or the rows of it that are needed (`rows_seen`).
        size: (height, width) of the whole result in pixels.
        rows: of the result.
        height: of the whole picture, if these are some of its rows.
        first: the first of them.

    Returns:
        (1, C, rows, width), a new tensor.
    """
    found = image.new_empty((*image.shape[:2], rows.stop - rows.start, size[1]))
    for start in range(rows.start, rows.stop, _ROWS):
        some = slice(start, min(start + _ROWS, rows.stop))
        window, weights = _row_weights(height or image.shape[2], size[0], some)
        seen = image[..., window.start - first : window.stop - first, :]
        band = resize(seen, (window.stop - window.start, size[1]))
        found[..., start - rows.start : some.stop - rows.start, :] = weights.to(band) @ band
    return found


def rows_seen(before: int, after: int, rows: slice) -> slice:
    """The rows of a picture ``before`` high that some rows of it ``after`` high are made of."""
    first, last = (slice(row, row + 1) for row in (rows.start, rows.stop - 1))
    return slice(
        _row_weights(before, after, first)[0].start, _row_weights(before, after, last)[0].stop
    )


def _row_weights(before: int, after: int, rows: slice) -> tuple[slice, Tensor]:
    """Which rows of a picture its resized rows see, and their weights (rows, window)."""
    scale = before / after
    widened = max(scale, 1.0)
    centres = (torch.arange(rows.start, rows.stop, dtype=torch.float64) + 0.5) * scale
    first = max(int(centres[0] - 2 * widened), 0)
    window = slice(first, min(int(centres[-1] + 2 * widened) + 1, before))
    seen = torch.arange(window.start, window.stop, dtype=torch.float64) + 0.5
    x = ((seen - centres[:, None]) / widened).abs()
    # Catmull-Rom, the cubic convolution kernel with a = -1/2 (Keys 1981).
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    return window, weights / weights.sum(1, keepdim=True)


def fill(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample the largest centred part of a picture that has the shape of ``size``.

    A picture of that shape, but for a pixel that rounding took or gave, is resampled whole.

    Args:
        image: (B, C, H, W), see `resize`.
        size: (height, width) in pixels.

    Returns:
        (B, C, *size), a new tensor on the same device.
    """
    return resize(shaped(image, size), size)


def shaped(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The part of a picture (B, C, H, W) that `fill` resamples; a view."""
    height, width = image.shape[2:]
    part = largest_within((height, width), size)
    room = height - part[0], width - part[1]
    # A pixel more or less of either picture is rounding.
    if max(room) > max(part[0] / size[0], part[1] / size[1], 1):
        top, left = room[0] // 2, room[1] // 2
        image = image[..., top : top + part[0], left : left + part[1]]
    return image
