"""Kinds of files that libvips here does not read: decoded by Pillow, handed over as its images."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]
from PIL import Image, ImageOps

from hires.errors import ImageError
from hires.image.formats.signatures import refusal
from hires.utils.memory import speaks_of_memory

# What Pillow's modes become, and what libvips calls it.
_MODES = {"L": "b-w", "LA": "b-w", "RGB": "srgb", "RGBA": "srgb", "I;16": "grey16"}


def decoded(path: Path, kind: str) -> pyvips.Image:
    """A BMP, JPEG 2000 or HEIC picture, or a TIFF of CIELAB bytes; upright.

    Raises:
        ImageError: if it is damaged, too large, or needs a package that is not there.
        MemoryError: if it does not fit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture, num_pictures = _opened(path, kind)
            with picture:
                if kind == "JPEG 2000":
                    # OpenJPEG calls a lack of memory damage: is there room for its numbers, twice?
                    np.empty((*picture.size, len(picture.getbands()), 2), np.int32)
                image = _handed_over(ImageOps.exif_transpose(picture), kind)
            image.set_type(pyvips.GValue.gint_type, "n-pages", num_pictures)
            return image
    except Image.DecompressionBombError:
        raise ImageError(
            f"cannot read {path}: {kind} pictures of more than 178 megapixels are not supported;"
            " save it as TIFF or PNG"
        ) from None
    except ImageError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        if speaks_of_memory(str(error)):
            raise MemoryError(str(error)) from error
        raise ImageError(
            f"cannot read {path}: it is truncated, damaged or of a rare kind ({error});"
            " save or fetch it anew"
        ) from error


def _opened(path: Path, kind: str) -> tuple[Image.Image, int]:
    """The picture that counts, and how many the file holds."""
    if kind != "HEIC":
        return Image.open(path), 1
    try:
        import pillow_heif  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise refusal(path, kind) from None
    file = pillow_heif.open_heif(path)
    return file.to_pillow(), len(file)


def _handed_over(picture: Image.Image, kind: str) -> pyvips.Image:
    if picture.mode == "LAB":
        # Bytes of TIFF: L from 0 to 255, a and b signed.
        values = np.asarray(picture)
        lab = values.view(np.int8).astype(np.float32)
        lab[..., 0] = values[..., 0] * np.float32(100 / 255)
        return _image(lab, "lab", kind)
    if picture.mode not in _MODES:
        has_alpha = picture.has_transparency_data
        picture = picture.convert("RGBA" if has_alpha else "RGB")
    image = _image(np.asarray(picture), _MODES[picture.mode], kind)
    profile = picture.info.get("icc_profile")
    if profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return image


def _image(values: np.ndarray, interpretation: str, kind: str) -> pyvips.Image:
    image = pyvips.Image.new_from_array(np.ascontiguousarray(values))
    image = image.copy(interpretation=interpretation)
    image.set_type(pyvips.GValue.gstr_type, "vips-loader", f"{kind.lower()}load")
    return image
