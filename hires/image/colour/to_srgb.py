"""Embedded colour profiles to sRGB: libvips converts what Pillow's ImageCms found sound."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]
from PIL import Image, ImageCms

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


def _judge_profile(profile: bytes, num_colours: int) -> str:
    """Tell a "broken" profile from one that acts as "srgb" to one 8-bit step or must "convert".

    libvips replaces a broken profile by a guess without an error, and its way through Lab costs
    half an 8-bit step that pictures in sRGB need not pay.
    """
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[num_colours]
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(opened, target, mode, "RGB", intent)
    except (OSError, ImageCms.PyCMSError):
        return "broken"
    if mode != "RGB":
        return "convert"
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3)
    seen = np.asarray(ImageCms.applyTransform(Image.fromarray(probe), transform))
    worst = np.abs(seen.astype(np.int16) - probe).max()
    return "srgb" if worst <= 1 else "convert"
