"""Values of any number format to 8 or 16 bit unsigned, by rules that are told."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]
from numpy.typing import NDArray

from hires.image.formats.kinds import ImageError

_NUM_COLOURS = {
    **dict.fromkeys(("b-w", "grey16"), 1),
    **dict.fromkeys(("srgb", "rgb", "rgb16", "scrgb", "lab", "labs", "labq"), 3),
    "cmyk": 4,
}
# Floats beyond black and white by no more than this are what sharpening and resampling leave.
_EXCURSION = 0.1
# Of high dynamic range: the share of pixels that stays below white.
_BELOW_WHITE = 0.999


def num_colours(image: pyvips.Image, path: Path) -> int:
    """Channels of colour, 1, 3 or 4; what comes after them is alpha or nothing."""
    try:
        return _NUM_COLOURS[image.interpretation]
    except KeyError:
        raise ImageError(
            f"cannot read {path}: colour space {image.interpretation} is not supported; "
            "convert it to RGB"
        ) from None


def to_integers(image: pyvips.Image, path: Path) -> pyvips.Image:
    """Bring every pixel type to 8 or 16 bit unsigned.

    CIELAB becomes sRGB. Floats count as sRGB-encoded in [0, 1]; a little beyond is clipped, with a
    warning. Whole numbers up to 255 or 65535 are taken for what they look like. Beyond that floats
    are linear light of a high dynamic range: negative ones are black, luminance is compressed
    (Reinhard et al. 2002, eq. 4) so that 99.9% of the pixels stay below white.

    Raises:
        ImageError: for numbers that are not finite, or a type that is not supported.
    """
    if image.interpretation in ("lab", "labs", "labq"):
        if image.bands > 3:
            warnings.warn(f"{path}: the alpha of CIELAB is left out", stacklevel=4)
        return image.extract_band(0, n=3).colourspace("rgb16")
    if image.format in ("uchar", "ushort"):
        return image
    deep = {1: "grey16", 3: "rgb16"}.get(num_colours(image, path), image.interpretation)
    if image.format == "uint":
        return (image >> 16).cast("ushort").copy(interpretation=deep)
    if image.format != "float":
        raise ImageError(
            f"cannot read {path}: pixels of type {image.format} are not supported; "
            "save it with 8 or 16 bit or 32-bit floats"
        )
    image = image.copy_memory()
    values = _scaled(image.numpy().reshape(image.height, image.width, image.bands), image, path)
    levels = np.rint(values * 65535).astype(np.uint16)
    found = pyvips.Image.new_from_array(levels).copy(interpretation=deep)
    for name in ("icc-profile-data", "orientation"):
        if name in image.get_fields():
            found.set_type(image.get_typeof(name), name, image.get(name))
    return found


def _scaled(values: NDArray[np.float32], image: pyvips.Image, path: Path) -> NDArray[np.float32]:
    """Floats to [0, 1], sRGB-encoded or as the profile says."""
    low, high = float(values.min()), float(values.max())  # NaN passes through both
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"cannot read {path}: it holds values that are not finite; mend them")
    if low >= -_EXCURSION and high <= 1 + _EXCURSION:
        if low < -1 / 255 or high > 1 + 1 / 255:
            warnings.warn(
                f"{path}: its values go from {low:.3g} to {high:.3g}; clipped to [0, 1]",
                stacklevel=5,
            )
        return values.clip(0, 1)
    peak = next((peak for peak in (255, 65535) if high <= peak), None)
    if low >= 0 and peak is not None and bool((values == np.rint(values)).all()):
        warnings.warn(f"{path}: its whole numbers are taken for 0 to {peak}", stacklevel=5)
        return values / np.float32(peak)
    if low < -_EXCURSION * max(high, 1):
        raise ImageError(
            f"cannot read {path}: its values go from {low:g} to {high:g}; scale them to [0, 1]"
        )
    warnings.warn(
        f"{path}: its values go up to {high:.3g}; taken for linear light and compressed"
        " to what a print can show",
        stacklevel=5,
    )
    return _compressed(values, num_colours(image, path))


def _compressed(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Linear light of any range to [0, 1], sRGB-encoded; what comes after ``count`` is alpha."""
    light, alpha = values[..., :count].clip(0), values[..., count:].clip(0, 1)
    weights = {3: (0.2126, 0.7152, 0.0722)}.get(count, (1.0,) + (0.0,) * (count - 1))
    light = np.minimum(light, np.float32(1e15))  # Its square is still a number.
    luminance = (light @ np.array(weights, np.float32))[..., None]
    white = max(float(np.quantile(luminance, _BELOW_WHITE)), 1.0)
    light = (light * (1 + luminance / white**2) / (1 + luminance)).clip(0, 1)
    coded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.concatenate([coded.astype(np.float32), alpha], axis=-1)
