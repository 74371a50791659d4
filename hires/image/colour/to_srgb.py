"""Embedded colour profiles to sRGB: libvips converts what Pillow's ImageCms found sound."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]
from PIL import Image, ImageCms

_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_RENDERING = {"intent": "relative", "black_point_compensation": True}


def to_srgb(colour: pyvips.Image, path: Path) -> pyvips.Image:
    """Convert by the embedded profile; without one gray stays gray and RGB is taken for sRGB.

    What had to be converted comes as 16 bit, also from 8: no second rounding to 8 bit.
    """
    if "icc-profile-data" in colour.get_fields():
        verdict = _judge_profile(bytes(colour.get("icc-profile-data")), colour.bands)
        if verdict == "srgb":
            return colour
        if verdict == "convert":
            return _converted(colour, embedded=True)
        warnings.warn(f"{path}: the embedded colour profile is broken; ignored", stacklevel=3)
        colour = colour.copy()
        colour.remove("icc-profile-data")
    if colour.interpretation == "cmyk":
        return _converted(colour, input_profile="cmyk")
    return colour


def _converted(colour: pyvips.Image, **source: bool | str) -> pyvips.Image:
    if colour.format == "uchar":
        return colour.icc_transform("srgb", depth=16, **source, **_RENDERING)
    # lcms resamples a 16-to-16-bit transform to a coarse table, off by up to 0.08 in saturated
    # colours; by way of a floating-point Lab it is off by 0.007 at most, 0.0005 on average.
    lab = colour.icc_import(pcs="lab", **source, **_RENDERING)
    return lab.icc_export(output_profile="srgb", pcs="lab", depth=16, **_RENDERING)


def is_linear(profile: bytes, num_colours: int) -> bool:
    """Whether a profile says that numbers are amounts of light; False for a broken one."""
    try:
        transform = _transform(profile, num_colours)
    except (OSError, ImageCms.PyCMSError):
        return False
    middle = Image.new(_MODES[num_colours], (1, 1), (128,) * num_colours)
    # Half the light is 188 in sRGB; the steepest curve that codes it, of gamma 1.8, leads to 143.
    return float(np.asarray(ImageCms.applyTransform(middle, transform)).mean()) > 165


def _judge_profile(profile: bytes, num_colours: int) -> str:
    """Tell a "broken" profile from one that acts as "srgb" to one 8-bit step or must "convert".

    libvips replaces a broken profile by a guess without an error, and its way through Lab costs
    half an 8-bit step that pictures in sRGB need not pay.
    """
    try:
        transform = _transform(profile, num_colours)
    except (OSError, ImageCms.PyCMSError):
        return "broken"
    if num_colours != 3:
        return "convert"
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3)
    seen = np.asarray(ImageCms.applyTransform(Image.fromarray(probe), transform))
    worst = np.abs(seen.astype(np.int16) - probe).max()
    return "srgb" if worst <= 1 else "convert"


def _transform(profile: bytes, num_colours: int) -> ImageCms.ImageCmsTransform:
    """To sRGB, 8 bit."""
    opened = ImageCms.ImageCmsProfile(BytesIO(profile))
    target = ImageCms.createProfile("sRGB")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    return ImageCms.buildTransform(opened, target, _MODES[num_colours], "RGB", intent)
