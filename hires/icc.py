"""Embedded colour profiles to sRGB: libvips converts what Pillow's ImageCms found sound."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]
from PIL import Image, ImageCms

# 16 bit also for 8-bit files: the conversion must not add a second rounding.
_RENDERING = {"depth": 16, "intent": "relative", "black_point_compensation": True}


def to_srgb(colour: pyvips.Image, path: Path) -> pyvips.Image:
    """Convert by the embedded profile; without one gray stays gray and RGB is taken for sRGB."""
    if "icc-profile-data" in colour.get_fields():
        verdict = _judge_profile(bytes(colour.get("icc-profile-data")), colour.bands)
        if verdict == "srgb":
            return colour
        if verdict == "convert":
            return colour.icc_transform("srgb", embedded=True, **_RENDERING)
        warnings.warn(f"{path}: the embedded colour profile is broken; ignored", stacklevel=3)
        colour = colour.copy()
        colour.remove("icc-profile-data")
    if colour.interpretation == "cmyk":
        return colour.icc_transform("srgb", input_profile="cmyk", **_RENDERING)
    return colour


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
