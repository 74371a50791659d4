"""Colour profiles of finished files, and the way to them: made here, RGB or CMYK from files."""

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]
import torch
from PIL import ImageCms
from torch import Tensor

from hires.config.output import Intent
from hires.errors import ImageError
from hires.image.colour.oklab import to_linear
from hires.image.colour.profiles import (
    ADOBE_GAMMA,
    ADOBE_NAME,
    ADOBE_PRIMARIES,
    SRGB_PRIMARIES,
    adobe_rgb,
    assembled,
    curve_profile,
    srgb_light,
    tags_of,
    to_xyz,
)

_INTENTS: dict[Intent, ImageCms.Intent] = {
    "relative": ImageCms.Intent.RELATIVE_COLORIMETRIC,
    "perceptual": ImageCms.Intent.PERCEPTUAL,
    "saturation": ImageCms.Intent.SATURATION,
    "absolute": ImageCms.Intent.ABSOLUTE_COLORIMETRIC,
}
_MOST_BYTES = 32 * 2**20  # the largest printer tables stay far below it


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """The colour space of a finished file.

    Attributes:
        name: the description inside the profile, which other programs show.
        data: the profile itself, or None for the one that libvips carries for sRGB.
        kind: how colours get there: unchanged, by Adobe RGB's formula, or by the profile's tables.
        space: RGB, or CMYK with 1 for full ink.
        is_press: whether it describes what prints, not what shows.
        intent: how the tables treat colours that are not in the space.
        black_point_compensation: whether the picture's black becomes that of the space.
        problem: what to tell of it before a picture is converted to it, if anything.
    """

    name: str
    data: bytes | None
    kind: str
    space: str = "RGB"
    is_press: bool = False
    intent: Intent = "relative"
    black_point_compensation: bool = True
    problem: str | None = None

    def converted(self, band: Tensor) -> Tensor:
        """Bring colours from sRGB into this space.

        Args:
            band: (3, H, W) float32 in [0, 1], sRGB-encoded.

        Returns:
            (3 or 4, H, W) float32 in [0, 1], encoded as the profile says.
        """
        if self.kind == "srgb":
            return band
        return _to_adobe_rgb(band) if self.kind == "adobe-rgb" else _by_tables(band, self)


PLAIN_SRGB = Profile("sRGB", None, "srgb")


def output_profile(
    choice: str, *, intent: Intent = "relative", black_point_compensation: bool = True
) -> Profile:
    """The profile that ``--icc`` asks for.

    Args:
        choice: ``srgb``, ``adobe-rgb`` or the path of an RGB or CMYK profile.
        intent: rendering intent, for a path.
        black_point_compensation: for a path; absolute colours are never moved.

    Raises:
        ImageError: for a file that is missing, no profile, or not one to convert RGB pictures to.
    """
    if choice == "srgb":
        name = "sRGB IEC61966-2.1"
        data = curve_profile(name, SRGB_PRIMARIES, srgb_light, num_points=1024)
        return Profile(name, data, "srgb")
    if choice == "adobe-rgb":
        return Profile(ADOBE_NAME, adobe_rgb(), "adobe-rgb")
    return replace(
        _from_file(Path(choice), intent),
        intent=intent,
        black_point_compensation=black_point_compensation,
    )


def _from_file(path: Path, intent: Intent) -> Profile:
    problem = f"cannot use the profile {path}: "
    hint = "; give srgb, adobe-rgb or the path of an RGB or CMYK profile (.icc)"
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise ImageError(problem + (error.strerror or str(error)) + hint) from error
    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(data))
    except (OSError, ImageCms.PyCMSError):
        raise ImageError(f"{problem}it is no colour profile{hint}") from None
    space = opened.profile.xcolor_space.strip()
    if space not in ("RGB", "CMYK"):
        raise ImageError(f"{problem}it is for {space}, not for RGB or CMYK{hint}")
    source = ImageCms.createProfile("sRGB")
    try:
        ImageCms.buildTransform(source, opened, "RGB", space, _INTENTS[intent])
    except ImageCms.PyCMSError:
        raise ImageError(f"{problem}colours cannot be converted to it{hint}") from None
    return Profile(
        ImageCms.getProfileDescription(opened).strip(),
        data,
        "tables",
        space=space,
        is_press=opened.profile.device_class == "prtr",
        problem=_about_intent(path.name, data, intent),
    )


def _about_intent(name: str, data: bytes, intent: Intent) -> str | None:
    """What to tell of a profile of tables that has none for the intent that is asked for."""
    tags, number = tags_of(data), int(_INTENTS[intent])
    made_for = int.from_bytes(data[66:68])  # by its header; where there is one table, by that
    # Absolute colours are relative ones, moved by the white.
    own = b"B2A%d" % (1 if intent == "absolute" else number)
    if b"B2A0" not in tags or own in tags or number == made_for:
        return None
    return (
        f"{name} has no table for the intent {intent}: colours are converted by its only or first"
        " one, whatever that was made for"
    )


def _to_adobe_rgb(band: Tensor) -> Tensor:
    matrix = np.linalg.inv(to_xyz(ADOBE_PRIMARIES)) @ to_xyz(SRGB_PRIMARIES)
    mixed = torch.einsum("ij,jhw->ihw", torch.from_numpy(matrix).to(band), to_linear(band))
    return mixed.clamp_(0, 1).pow_(1 / ADOBE_GAMMA)


def _by_tables(band: Tensor, profile: Profile) -> Tensor:
    """Through lcms, from 16 bit to 16 bit by Lab.

    The way to Lab is colorimetric whatever the intent, as sRGB has no tables of its own. Its white
    is taken for what the observer is used to, so that --intent absolute prints the paper's tint.
    """
    levels = band.mul(65535).round_().permute(1, 2, 0).numpy().astype(np.uint16)
    height, width = levels.shape[:2]
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(levels), width, height, 3, "ushort")
    image = image.copy(interpretation="rgb16")
    lab = image.icc_import(pcs="lab", input_profile="srgb", intent="relative").copy()
    # icc_export takes a profile from the picture itself, which saves a temporary file.
    lab.set_type(
        pyvips.GValue.blob_type, "icc-profile-data", _for_every_intent(profile.data or b"")
    )
    result = lab.icc_export(
        pcs="lab",
        depth=16,
        intent=profile.intent,
        black_point_compensation=profile.black_point_compensation,
    ).numpy()
    _forget_operations()
    inks = torch.from_numpy(result.astype(np.float32) / 65535).permute(2, 0, 1)
    if profile.space == "CMYK" and profile.intent != "absolute":
        # White is the bare paper; where tables are off by a trifle, a dither would speckle it.
        inks[:, (band == 1).all(0)] = 0
    return inks


def _forget_operations() -> None:
    """Empty libvips' store of the last 100 operations, which keeps all pixels that they saw."""
    most = pyvips.cache_get_max()
    pyvips.cache_set_max(0)
    pyvips.cache_set_max(most)


def _for_every_intent(profile: bytes) -> bytes:
    """A profile whose one table out of Lab stands for all intents, as ICC wants it read.

    libvips would convert by the intent that the profile names in its header instead.
    """
    tags = tags_of(profile)
    missing = [name for name in (b"B2A1", b"B2A2") if name not in tags]
    if b"B2A0" not in tags or not missing:
        return profile
    return assembled(profile[4:128], tags | dict.fromkeys(missing, tags[b"B2A0"]))
