"""Files to tensors and back.

A tensor holds sRGB-encoded values in [0, 1], float32, shaped (1, 3, height, width). libvips reads
and writes: no pixel limits, 16 bit everywhere, streaming encoders. This module, with its halves
`icc` and `encoding`, is the only one that knows imaging libraries.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]
import torch
from torch import Tensor
from torch.nn import functional

from hires.encoding import (
    BAND_ROWS,
    ImageError,
    SaveError,
    encode,
    first_line,
    forget_messages,
    format_for,
    is_writable,
    quantised,
    replacing,
)
from hires.icc import to_srgb

__all__ = [
    "ImageError",
    "Picture",
    "SaveError",
    "check_output",
    "load_image",
    "read_picture",
    "resize",
    "save_image",
]

_LOADERS = ("jpegload", "pngload", "tiffload", "webpload")
_NUM_COLOURS = {
    **dict.fromkeys(("b-w", "grey16"), 1),
    **dict.fromkeys(("srgb", "rgb", "rgb16", "scrgb"), 3),
    "cmyk": 4,
}

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture as read from a file.

    Attributes:
        pixels: (1, 3, H, W) float32, sRGB-encoded, in [0, 1]; upright.
        alpha: (1, 1, H, W) float32 in [0, 1], straight (colours are not multiplied by it), or None.
        bit_depth: 8, or 16 for a file of more than 8 bit per channel.
        path: where it was read from.
    """

    pixels: Tensor
    alpha: Tensor | None
    bit_depth: int
    path: Path


def load_image(path: StrPath) -> Tensor:
    """Read a picture's colours: (1, 3, H, W) float32 sRGB in [0, 1]. See `read_picture`."""
    return read_picture(path).pixels


def read_picture(path: StrPath, *, max_long_side: int | None = None) -> Picture:
    """Read a JPEG, PNG, TIFF or WebP file, told by its content; of several pages the first.

    The EXIF orientation is applied, an embedded ICC profile is converted to sRGB (relative
    colorimetric with black point compensation) and a broken one is ignored with a warning. CMYK
    without a profile is taken for a generic press. Floating-point TIFFs count as sRGB-encoded.

    Args:
        path: the file.
        max_long_side: in pixels. A picture at least twice as long is reduced while it is read
            (antialiased), to this or up to twice as much; a smaller one comes whole.

    Raises:
        ImageError: missing, empty, truncated, damaged or no picture, an unsupported compression,
            pixel type or colour space, or too large for the memory.
    """
    path = Path(path)
    if max_long_side is not None and max_long_side < 1:
        raise ValueError(f"max_long_side must be at least 1, got {max_long_side}")
    with _reading(path):
        image = _shrunk(_integers(_opened(path, max_long_side), path), max_long_side)
        image = _upright(image)
        bit_depth = 8 if image.format == "uchar" else 16
        colour, alpha = _separated(image, path)
        pixels, alpha_plane = _decoded(to_srgb(colour, path), alpha, path)
    return Picture(pixels, alpha_plane, bit_depth, path)


def save_image(
    image: Tensor,
    path: StrPath,
    *,
    bit_depth: int = 8,
    alpha: Tensor | None = None,
    dpi: float | None = None,
) -> None:
    """Write a picture with an sRGB profile; the format follows from the ending of the path.

    The file appears whole or not at all: it is written beside the target under a temporary name,
    flushed to the disk and renamed. Values are clamped to [0, 1] and rounded to nearest.

    Args:
        image: (1, 3, H, W), any float dtype and device, sRGB-encoded in [0, 1].
        path: ends in .jpg, .jpeg, .png, .tif, .tiff or .webp, in either case.
        bit_depth: 8, or 16 for PNG and TIFF.
        alpha: (1, 1, H, W), straight. JPEG cannot hold it: the picture is laid on white, with a
            warning unless it is opaque.
        dpi: print resolution to record, in pixels per inch.

    Raises:
        ImageError: a path, depth or size that the format cannot hold, or NaN in the image.
        SaveError: the disk is full or the folder refuses; also an OSError.
        ValueError: wrong shapes or a dpi that is not a positive number.
    """
    path = Path(path)
    _require_canvas(image, alpha)
    height, width = image.shape[-2:]
    file_format = format_for(path, bit_depth, (height, width))
    if dpi is not None and not 0 < dpi < float("inf"):
        raise ValueError(f"dpi must be a positive number, got {dpi}")
    array = quantised(image, alpha, bit_depth, file_format, path)
    with replacing(path) as temporary:
        encode(array, temporary, file_format, dpi)


def check_output(
    path: StrPath,
    *,
    bit_depth: int = 8,
    inputs: Iterable[StrPath] = (),
    size: tuple[int, int] | None = None,
) -> None:
    """Refuse before a run what `save_image` would refuse after it.

    Args:
        path: where the picture is to be saved.
        bit_depth: 8 or 16.
        inputs: files that must not be overwritten.
        size: (height, width) of the picture in pixels, if known.

    Raises:
        ImageError: unknown ending, depth or size that the format cannot hold, a folder that is
            missing or not writable, a target that is no regular file, or one of the inputs.
    """
    path = Path(path)
    format_for(path, bit_depth, size)
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise ImageError(f"cannot save {path}: there is no folder {target.parent}; create it first")
    if target.is_dir():
        raise ImageError(f"cannot save {path}: it is a folder; give a file name in it")
    if target.exists() and not target.is_file():
        raise ImageError(f"cannot save {path}: it is not a regular file; choose another name")
    for source in inputs:
        if target.exists() and os.path.exists(source) and os.path.samefile(target, source):
            raise ImageError(f"cannot save {path}: it is the input {source}; choose another name")
    if not is_writable(target):
        raise ImageError(f"cannot save {path}: no permission to write there; choose another folder")


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


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what libvips says while it opens or decodes a file into one line for the user."""
    forget_messages()
    try:
        yield
    except pyvips.Error as error:
        raise ImageError(f"cannot read {path}: {_reading_problem(error)}") from error


def _reading_problem(error: pyvips.Error) -> str:
    detail = first_line(error)
    if "known format" in detail:
        return "it is not a JPEG, PNG, TIFF or WebP picture, or cut off; choose another file"
    if "compression support" in detail:  # ZSTD, LZMA: without fail_on these would come out black
        method = detail.split(" compression")[0].split()[-1]
        return f"its {method} compression is not supported; save it with LZW or Deflate"
    return f"it is truncated, damaged or of a rare kind ({detail}); save or fetch it anew"


def _opened(path: Path, max_long_side: int | None) -> pyvips.Image:
    """Open a file; only its header is read. JPEGs may come at 1/2, 1/4 or 1/8 of their size."""
    _require_file(path)
    image = _lazy(path)
    loader = image.get("vips-loader").removesuffix("_source")
    if loader not in _LOADERS:
        kind = loader.split("load")[0].upper()
        raise ImageError(
            f"cannot read {path}: {kind} is not supported; use JPEG, PNG, TIFF or WebP"
        )
    if loader != "jpegload" or max_long_side is None:
        return image
    ratio = max(image.width, image.height) // max_long_side
    shrink = next(factor for factor in (8, 4, 2, 1) if factor <= max(ratio, 1))
    return _lazy(path, shrink=shrink)


def _lazy(path: Path, **options: int) -> pyvips.Image:
    # A source, not a file name: libvips would take "[...]" in a name for options, and hand out the
    # old pixels of a file that was overwritten. fail_on="error": "truncated" misses cut TIFFs.
    source = pyvips.Source.new_from_file(os.fsencode(path))
    return pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error", **options)


def _require_file(path: Path) -> None:
    problem = _file_problem(path)
    if problem is not None:
        raise ImageError(f"cannot read {path}: {problem}")


def _file_problem(path: Path) -> str | None:
    try:
        if path.is_dir():
            return "it is a folder; give a picture file"
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            return "it is not a regular file; give a picture file"
        with path.open("rb") as file:
            return None if file.read(1) else "the file is empty; choose another file"
    except FileNotFoundError:
        return "there is no such file; check the path"
    except (OSError, ValueError) as error:
        return f"{error}; check the path and its permissions"


def _integers(image: pyvips.Image, path: Path) -> pyvips.Image:
    """Bring every pixel type to 8 or 16 bit unsigned."""
    if image.format in ("uchar", "ushort"):
        return image
    deep = {1: "grey16", 3: "rgb16"}.get(_num_colours(image, path), image.interpretation)
    if image.format == "uint":
        return (image >> 16).cast("ushort").copy(interpretation=deep)
    if image.format != "float":
        raise ImageError(
            f"cannot read {path}: pixels of type {image.format} are not supported; "
            "save it with 8 or 16 bit or 32-bit floats"
        )
    image = image.copy_memory()
    values = image.numpy()
    low, high = float(values.min()), float(values.max())  # NaN passes through both
    tolerance = 1 / 255
    if not (low >= -tolerance and high <= 1 + tolerance):
        raise ImageError(
            f"cannot read {path}: its values go from {low:g} to {high:g}; scale them to [0, 1]"
        )
    return (image * 65535).rint().cast("ushort").copy(interpretation=deep)


def _shrunk(image: pyvips.Image, max_long_side: int | None) -> pyvips.Image:
    long_side = max(image.width, image.height)
    if max_long_side is None or long_side < 2 * max_long_side:
        return image
    width = max(1, round(image.width * max_long_side / long_side))
    height = max(1, round(image.height * max_long_side / long_side))
    return image.resize(width / image.width, vscale=height / image.height)


def _upright(image: pyvips.Image) -> pyvips.Image:
    if "orientation" not in image.get_fields() or image.get("orientation") == 1:
        return image
    return image.copy_memory().autorot()  # a streamed image cannot be read out of order


def _num_colours(image: pyvips.Image, path: Path) -> int:
    try:
        return _NUM_COLOURS[image.interpretation]
    except KeyError:
        raise ImageError(
            f"cannot read {path}: colour space {image.interpretation} is not supported; "
            "convert it to RGB"
        ) from None


def _separated(image: pyvips.Image, path: Path) -> tuple[pyvips.Image, pyvips.Image | None]:
    """Colour bands and the first extra band, which is straight alpha (libvips divides it out)."""
    count = _num_colours(image, path)
    if image.bands < count:
        raise ImageError(f"cannot read {path}: {image.bands} channels; convert it to RGB")
    if image.bands == count:
        return image, None
    return image.extract_band(0, n=count), image.extract_band(count)


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
    array = colour.numpy().reshape(*shape, colour.bands)
    peak = float(np.iinfo(array.dtype).max)
    num_colours = colour.bands - (alpha is not None)
    for top in range(0, shape[0], BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        band = torch.from_numpy(array[rows].astype(np.float32) / peak).permute(2, 0, 1)  # (C, h, W)
        pixels[0, :, rows] = band[:num_colours]
        if plane is not None:
            plane[0, :, rows] = band[num_colours:]
    return pixels, plane


def _require_canvas(image: Tensor, alpha: Tensor | None) -> None:
    height, width = image.shape[-2:] if image.ndim == 4 else (0, 0)
    if image.shape != (1, 3, height, width) or not (height and width):
        raise ValueError(f"expected an image of shape (1, 3, H, W), got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ValueError(f"expected an image of floats in [0, 1], got {image.dtype}")
    if alpha is not None and alpha.shape != (1, 1, height, width):
        raise ValueError(f"expected alpha of (1, 1, {height}, {width}), got {tuple(alpha.shape)}")
