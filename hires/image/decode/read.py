"""Files to tensors: orientation, colour profiles, alpha, 8 and 16 bit, and nothing read in vain."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]
import torch
from torch import Tensor

from hires.config.paper import Window
from hires.errors import ImageError
from hires.image.bands import read_bands
from hires.image.colour.to_srgb import to_srgb
from hires.image.decode.opening import ended, opened
from hires.image.decode.stored import orientation_of, reading, separated
from hires.image.decode.value_ranges import float_scale, num_colours, to_integers
from hires.image.formats.kinds import StrPath
from hires.image.transparency import fill_hidden


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture as read from a file.

    Attributes:
        pixels: (1, 3, H, W) float32, sRGB-encoded, in [0, 1]; upright. What cannot be seen is
            filled in from its surroundings (`hires.image.transparency`).
        alpha: (1, 1, H, W) float32 in [0, 1], straight (colours are not multiplied by it), or None.
        bit_depth: 8, or 16 for a file of more than 8 bit per channel.
        path: where it was read from.
    """

    pixels: Tensor
    alpha: Tensor | None
    bit_depth: int
    path: Path

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""
        return self.pixels.shape[2], self.pixels.shape[3]


def load_image(path: StrPath, *, window: Window | None = None) -> Tensor:
    """Read a picture's colours: (1, 3, H, W) float32 sRGB in [0, 1]. See `read_picture`."""
    return read_picture(path, window=window).pixels


def read_picture(
    path: StrPath, *, max_long_side: int | None = None, window: Window | None = None
) -> Picture:
    """Read a JPEG, PNG, TIFF, WebP, AVIF, GIF, BMP or JPEG 2000 file, told by its content.

    HEIC needs the package pillow-heif. Of several pictures in a file the first is taken that is not
    marked as a thumbnail; of a JPEG with a gain map (Ultra HDR) its base. The orientation is
    applied, and an ICC profile, or what a PNG, AVIF, HEIC or JPEG says instead, is converted to
    sRGB (relative colorimetric with black point compensation). A broken one is ignored. CMYK
    without a profile is taken for a generic press. For floats see `value_ranges`.

    Args:
        path: the file.
        max_long_side: in pixels. A picture at least twice as long is reduced while it is read
            (antialiased), to this or up to twice as much; a smaller one comes whole.
        window: read only this part of the upright picture. The rest is passed over by the decoder
            and never held in memory; a tiled TIFF is not even read there. Floats are all looked
            at first, so that they mean the same in every window.

    Warns:
        UserWarning: for what the file says or holds that is not followed, each once.

    Raises:
        ImageError: missing, empty, truncated, damaged or no picture, an unsupported compression,
            pixel type or colour space, too large for the memory, or wholly transparent.
        ValueError: for a window beyond the picture, or together with a max_long_side.
    """
    path = Path(path)
    if max_long_side is not None and (max_long_side < 1 or window is not None):
        raise ValueError(
            f"max_long_side must be at least 1 and alone, got {max_long_side} and {window}"
        )
    with reading(path):
        image, notes = opened(path, max_long_side)
        found = None
        try:
            found = _read(image, path, max_long_side, window)
        except pyvips.Error as error:
            if "premature end" not in str(error):
                raise
        if found is None:
            # Every row may be there, but not the mark of the end: `ended` finds if more is missing.
            found = _read(ended(path), path, max_long_side, window)
            notes = (*notes, "the end of the file is missing, but all of its rows are there")
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return found


def _read(
    image: pyvips.Image, path: Path, max_long_side: int | None, window: Window | None
) -> Picture:
    scale = float_scale(image, path)
    if scale is not None:  # The file was read to its end for it.
        image, _ = opened(path)
    image = to_integers(_cropped(image, window), path, scale)
    image = _upright(_shrunk(image, max_long_side, path))
    bit_depth = 8 if image.format == "uchar" else 16
    colour, alpha = separated(image, path)
    pixels, alpha_plane = _decoded(to_srgb(colour, path), alpha, path)
    if alpha_plane is not None:
        if not bool(alpha_plane.any()):
            raise ImageError(f"{path}: all of it is transparent; choose another picture")
        fill_hidden(pixels, alpha_plane)
    return Picture(pixels, alpha_plane, bit_depth, path)


def _shrunk(image: pyvips.Image, max_long_side: int | None, path: Path) -> pyvips.Image:
    long_side = max(image.width, image.height)
    if max_long_side is None or long_side < 2 * max_long_side:
        return image
    scale, vscale = (
        max(1, round(side * max_long_side / long_side)) / side
        for side in (image.width, image.height)
    )
    if image.bands == num_colours(image, path):
        return image.resize(scale, vscale=vscale)
    # Hidden colours must not be mixed into visible ones: pixels count as much as they are opaque.
    opaque = {"uchar": 255, "ushort": 65535}[image.format]
    smaller = image.premultiply(max_alpha=opaque).resize(scale, vscale=vscale)
    smaller = smaller.unpremultiply(max_alpha=opaque)
    return smaller.rint().cast(image.format).copy(interpretation=image.interpretation)


def _cropped(image: pyvips.Image, window: Window | None) -> pyvips.Image:
    if window is None:
        return image
    orientation = orientation_of(image)
    size = image.height, image.width
    top, left, height, width = _as_stored(window, size, orientation)
    if top < 0 or left < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError(f"{window} reaches beyond a picture of {size[1]}x{size[0]} px")
    return image.crop(left, top, width, height)


def _as_stored(
    window: Window, stored: tuple[int, int], orientation: int
) -> tuple[int, int, int, int]:
    """Where a window of the upright picture lies in the file: top, left, height, width."""
    top, left, height, width = window.top, window.left, window.height, window.width
    if orientation > 4:  # rows of the file are columns of the picture
        top, left, height, width = left, top, width, height
    if orientation in (3, 4, 6, 7):  # the file's first row is the last row or column
        top = stored[0] - top - height
    if orientation in (2, 3, 7, 8):
        left = stored[1] - left - width
    return top, left, height, width


def _upright(image: pyvips.Image) -> pyvips.Image:
    if orientation_of(image) == 1:
        return image
    return image.copy_memory().autorot()  # a streamed image cannot be read out of order


def _decoded(
    colour: pyvips.Image, alpha: pyvips.Image | None, path: Path
) -> tuple[Tensor, Tensor | None]:
    """Run the decoder once, into (1, 3, H, W) and (1, 1, H, W) or None."""
    shape = (colour.height, colour.width)
    try:  # the largest piece first, so that an impossible size fails before any work
        pixels = torch.empty((1, 3, *shape))
        plane = None if alpha is None else torch.empty((1, 1, *shape))
    except RuntimeError as error:
        megapixels = colour.width * colour.height / 1e6
        raise ImageError(
            f"cannot read {path}: {megapixels:.0f} megapixels do not fit the memory; shrink it"
        ) from error
    if alpha is not None:
        if colour.format != alpha.format:
            alpha = (alpha * 257).cast("ushort")
        colour = colour.bandjoin(alpha)
    peak = float(np.iinfo(np.uint8 if colour.format == "uchar" else np.uint16).max)
    num_colours = colour.bands - (alpha is not None)
    for top, band in read_bands(colour):
        rows = slice(top, top + len(band))
        values = torch.from_numpy((band.astype(np.float32) / peak).transpose(2, 0, 1))  # (C, h, W)
        pixels[0, :, rows] = values[:num_colours]
        if plane is not None:
            plane[0, :, rows] = values[num_colours:]
    return pixels, plane
