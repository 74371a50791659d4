"""Pictures as they are shown, reduced while they are read."""

from __future__ import annotations

from pathlib import Path

import pyvips  # type: ignore[import-untyped]

from hires.image.colour.to_srgb import to_srgb
from hires.image.decode.opening import opened
from hires.image.decode.stored import orientation_of, separated
from hires.image.decode.value_ranges import float_scale, to_integers

# Sides whose square is held in memory to be turned, in pixels.
_TURNED_SIDE = 2048

Size = tuple[int, int]


def shown(path: Path, factor: int = 1) -> pyvips.Image:
    """A file as it is shown: 8 bit, sRGB, upright, on white; to be read once, from top to bottom.

    Args:
        path: the file.
        factor: how many times smaller it is made, a power of two; each pixel is the mean of some.
    """
    image, _ = opened(path)
    scale, height, width = float_scale(image, path), image.height, image.width
    if scale is not None or factor > 1:  # For the scale, the file was read to its end.
        least = max(image.width, image.height) // factor
        image, _ = opened(path, least if factor > 1 else None)
    image = to_integers(image, path, scale)
    orientation = orientation_of(image)
    colour, alpha = separated(image, path)
    if alpha is not None:
        most = {"uchar": 255, "ushort": 65535}[image.format]
        white = [0 if image.interpretation == "cmyk" else most] * colour.bands
        colour = colour.bandjoin(alpha).flatten(background=white, max_alpha=most)
    if factor > 1:
        colour = _shrunk(colour, factor, (height, width))
    colour = to_srgb(colour, path)
    if colour.format == "ushort":
        colour = (colour / 257).rint().cast("uchar")
    if colour.bands == 1:
        colour = colour.bandjoin([colour, colour])
    colour = colour.copy(interpretation="srgb")
    return colour if orientation == 1 else _upright(colour, orientation)


def _shrunk(image: pyvips.Image, factor: int, whole: Size) -> pyvips.Image:
    """Reduced to 1/``factor`` of a whole, sides rounded up.

    A JPEG was reduced while it was read, and libvips left a pixel out that its blocks do not fill.
    """
    height, width = (-(-side // factor) for side in whole)
    left = factor // round(whole[1] / image.width)
    image = image.shrink(left, left, ceil=True)
    if (image.height, image.width) == (height, width):
        return image
    return image.embed(0, 0, width, height, extend="copy")


def _upright(image: pyvips.Image, orientation: int) -> pyvips.Image:
    """Held as EXIF says. What is streamed cannot be read out of order: by way of a copy on disk."""
    if image.width * image.height <= _TURNED_SIDE**2:
        whole = image.copy_memory()
    else:
        whole = pyvips.Image.new_temp_file("%s.v")
        image.write(whole)
    whole = whole.copy()
    whole.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return whole.autorot()
