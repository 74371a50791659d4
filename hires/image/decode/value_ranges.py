"""Values of any number format to 8 or 16 bit unsigned, by rules that are told.

What a file of floats means is decided on all of it, also where only a window is read: its values
are looked at once, a band of rows at a time (`float_scale`), and converted while they are read.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
from numpy.typing import NDArray

from hires.errors import ImageError
from hires.image.bands import read_bands
from hires.image.colour.to_srgb import is_linear

_NUM_COLOURS = {
    **dict.fromkeys(("b-w", "grey16"), 1),
    **dict.fromkeys(("srgb", "rgb", "rgb16", "scrgb", "lab", "labs", "labq"), 3),
    "cmyk": 4,
}
_CIELAB = ("lab", "labs", "labq")
# Floats beyond black and white by no more than this are what sharpening and resampling leave.
_EXCURSION = 0.1
# Of the pixels of a picture in [0, 1], this share may be beyond it, by up to _FAR: the edges of
# something sharpened; and this share by more: hot or broken pixels.
_FEW, _FAR, _STRAY = 0.001, 1.0, 0.0001
# Of linear light: the share of the pixels that is above white, or too negative for light.
_ABOVE_WHITE = 0.001
_BRIGHTEST = 1e15  # Its square is still a number.
_LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True, slots=True)
class Scale:
    """What the floats of a file mean.

    Attributes:
        peak: the value of white, where light is coded as in sRGB or as the profile says; None for
            linear light.
        white: the luminance of linear light from which on all is white.
    """

    peak: float | None = 1.0
    white: float = 1.0


def num_colours(image: pyvips.Image, path: Path) -> int:
    """Channels of colour, 1, 3 or 4; what comes after them is alpha or nothing."""
    try:
        return _NUM_COLOURS[image.interpretation]
    except KeyError:
        raise ImageError(
            f"cannot read {path}: colour space {image.interpretation} is not supported; "
            "convert it to RGB"
        ) from None


def float_scale(image: pyvips.Image, path: Path) -> Scale | None:
    """Find out, in one pass over a whole picture, what its floats mean; None if it has none.

    They count as sRGB-encoded in [0, 1]; a little beyond is clipped, with a warning. Whole numbers
    up to 255 or 65535 are taken for what they look like. Beyond that floats are linear light of a
    high dynamic range, unless few pixels are beyond: up to 0.1% beyond [-0.1, 1.1], and up to
    0.01% beyond [-1, 2], are clipped, with a warning that counts them.

    A print that was sharpened overshoots by a part of its range; sensors and renderers leave single
    pixels at any value. Lamps in the dark are at 5 or 500, and take more than one pixel of 10,000:
    0.05% at 50 is light. A scene whose only light is smaller than that, such as stars, is taken for
    a print and looks dark; the warning says so.

    Raises:
        ImageError: for numbers that are not finite, or too far below zero for light.
    """
    if image.format != "float" or image.interpretation in _CIELAB:
        return None
    values = _Values(num_colours(image, path), image.width * image.height)
    for _, band in read_bands(image):
        values.add(band)
    return values.scale(path)


def to_integers(image: pyvips.Image, path: Path, scale: Scale | None) -> pyvips.Image:
    """Bring every pixel type to 8 or 16 bit unsigned, while it is read.

    CIELAB becomes sRGB. In linear light negative values are black, and luminance is compressed
    (Reinhard et al. 2002, eq. 4) so that 99.9% of the whole file's pixels stay below white.

    Args:
        image: the picture or a part of it.
        path: its file, for messages.
        scale: what its floats mean, from `float_scale`.

    Raises:
        ImageError: for a type that is not supported.
    """
    if image.interpretation in _CIELAB:
        if image.bands > 3:
            warnings.warn(f"{path}: the alpha of CIELAB is left out", stacklevel=4)
        return image.extract_band(0, n=3).colourspace("rgb16")
    if image.format in ("uchar", "ushort"):
        return image
    count = num_colours(image, path)
    deep = {1: "grey16", 3: "rgb16"}.get(count, image.interpretation)
    if image.format == "uint":
        return (image >> 16).cast("ushort").copy(interpretation=deep)
    if scale is None:
        raise ImageError(
            f"cannot read {path}: pixels of type {image.format} are not supported; "
            "save it with 8 or 16 bit or 32-bit floats"
        )
    if scale.peak is None:
        return _compressed(image, count, scale.white).copy(interpretation=deep)
    return _as_16_bit(image / scale.peak).copy(interpretation=deep)


class _Values:
    """What the values of a picture are like, a band of rows after the other."""

    def __init__(self, num_colours: int, num_pixels: int) -> None:
        self._is_ink = num_colours == 4
        self._weights = [np.float32(x) for x in (_LUMINANCE if num_colours == 3 else (1.0,))]
        self._num_pixels = num_pixels
        self._low, self._high = np.float32(np.inf), np.float32(-np.inf)
        self._is_whole = True
        self._num_beyond = self._num_far = 0
        self._luminance, self._depth = _Histogram(1.0), _Histogram(_EXCURSION)

    def add(self, band: NDArray[Any]) -> None:
        """Look at a band of rows, (h, W, C) float32."""
        low, high = band.min(), band.max()  # NaN passes through both
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        if not (np.isfinite(self._low) and np.isfinite(self._high)):
            return
        self._is_whole = self._is_whole and low >= 0 and bool((band == np.rint(band)).all())
        if low >= -_EXCURSION and high <= 1 + _EXCURSION:
            return
        # Channel by channel: numpy is slow along a short axis.
        channels = [band[..., i] for i in range(band.shape[-1])]
        least = reduce(np.minimum, channels)
        beyond = np.maximum(reduce(np.maximum, channels) - 1, -least)
        self._num_beyond += int(np.count_nonzero(beyond > _EXCURSION))
        self._num_far += int(np.count_nonzero(beyond > _FAR))
        pairs = zip(channels, self._weights, strict=False)
        parts = [light.clip(0, _BRIGHTEST) * weight for light, weight in pairs]
        self._luminance.add(reduce(np.add, parts))
        self._depth.add((-least).clip(max=_BRIGHTEST))

    def scale(self, path: Path) -> Scale:
        """What they mean, with a warning where it is not certain."""
        low, high = float(self._low), float(self._high)
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ImageError(f"cannot read {path}: it holds values that are not finite; mend them")
        if not self._num_beyond:
            if low < -1 / 255 or high > 1 + 1 / 255:
                told = f"its values go from {low:.3g} to {high:.3g}; clipped to [0, 1]"
                warnings.warn(f"{path}: {told}", stacklevel=5)
            return Scale()
        peak = next((peak for peak in (255, 65535) if high <= peak), None)
        if self._is_whole and peak is not None:
            warnings.warn(f"{path}: its whole numbers are taken for 0 to {peak}", stacklevel=5)
            return Scale(peak)
        share = f"{self._num_beyond} of its {self._num_pixels} pixels are beyond [0, 1]"
        few, strays = _FEW * self._num_pixels, _STRAY * self._num_pixels
        if self._num_beyond <= few and self._num_far <= strays:
            warnings.warn(
                f"{path}: {share}, from {low:.3g} to {high:.3g}; clipped, for so few are no light"
                " (if the rest looks too dark: it is linear light, give it as 16-bit sRGB)",
                stacklevel=5,
            )
            return Scale()
        above = int(_ABOVE_WHITE * self._num_pixels)
        white = max(self._luminance.least_above_all_but(above), 1.0)
        if self._is_ink or self._depth.least_above_all_but(above) > _EXCURSION * white:
            raise ImageError(
                f"cannot read {path}: its values go from {low:g} to {high:g}; scale them to [0, 1]"
            )
        warnings.warn(
            f"{path}: {share}, up to {high:.3g}; taken for linear light and compressed to what a"
            " print can show",
            stacklevel=5,
        )
        return Scale(None, white)


class _Histogram:
    """Counts of values from ``least`` to 1e15, in steps of at most 1/2048 of the value.

    The bits of positive floats are in the order of the floats: these are the first 20 of them.
    """

    _SHIFT = 12

    def __init__(self, least: float) -> None:
        self._least = np.float32(least)
        self._first = self._bin(self._least)
        self._counts = np.zeros(self._bin(np.float32(_BRIGHTEST)) - self._first + 2, np.int64)

    def _bin(self, value: np.float32) -> int:
        return int(value.view(np.uint32)) >> self._SHIFT

    def add(self, values: NDArray[np.float32]) -> None:
        """Count all that are more than the least."""
        bits = values[values > self._least].view(np.uint32) >> np.uint32(self._SHIFT)
        self._counts += np.bincount(bits - np.uint32(self._first), minlength=len(self._counts))

    def least_above_all_but(self, count: int) -> float:
        """A value, at most 1/2048 too large, that no more than ``count`` are above; or 0."""
        above = np.cumsum(self._counts[::-1])[::-1]  # those in a bin and in all that come after
        bins = np.flatnonzero(above > count)
        if not len(bins):
            return 0.0
        edge = np.uint32((self._first + int(bins[-1]) + 1) << self._SHIFT)
        return float(edge.view(np.float32))


def _as_16_bit(image: pyvips.Image) -> pyvips.Image:
    """Floats in [0, 1]; what is beyond is clipped."""
    return (image * 65535).rint().cast("ushort")


def _compressed(image: pyvips.Image, count: int, white: float) -> pyvips.Image:
    """Linear light of any range to 16 bit, coded as in sRGB unless its profile is linear, too.

    What comes after ``count`` colours is alpha.
    """
    light = image.extract_band(0, n=count).clamp(min=0, max=_BRIGHTEST)
    luminance = light.recomb([list(_LUMINANCE)]) if count == 3 else light
    light = light * ((luminance / white**2 + 1) / (luminance + 1))
    if "icc-profile-data" in image.get_fields() and is_linear(
        bytes(image.get("icc-profile-data")), count
    ):
        coded = _as_16_bit(light)
    else:
        colours = light if count == 3 else light.bandjoin([light, light])
        coded = colours.copy(interpretation="scrgb").scRGB2sRGB(depth=16).extract_band(0, n=count)
    rest = image.bands - count
    return coded.bandjoin(_as_16_bit(image.extract_band(count, n=rest))) if rest else coded
