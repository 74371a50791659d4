"""Colour profiles of finished files: matrix profiles made here, and RGB or CMYK ones from files."""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from PIL import ImageCms
from torch import Tensor

from hires.config.output import Intent
from hires.errors import ImageError
from hires.image.colour.oklab import to_linear

_D50 = (0.9642, 1.0, 0.8249)
D65 = (0.3127, 0.3290)  # x, y
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
SRGB_PRIMARIES = (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)
_ADOBE_PRIMARIES = (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)
_ADOBE_NAME = "Compatible with Adobe RGB (1998)"
_ADOBE_GAMMA = 563 / 256  # 2.19921875: what 2.2 became in eight binary digits
_INTENTS: dict[Intent, ImageCms.Intent] = {
    "relative": ImageCms.Intent.RELATIVE_COLORIMETRIC,
    "perceptual": ImageCms.Intent.PERCEPTUAL,
    "saturation": ImageCms.Intent.SATURATION,
    "absolute": ImageCms.Intent.ABSOLUTE_COLORIMETRIC,
}
_MOST_BYTES = 32 * 2**20  # the largest printer tables stay far below it

Matrix = NDArray[np.float64]
Curve = Callable[[Matrix], Matrix]
Points = Sequence[tuple[float, float]]  # x and y


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
        return Profile(_ADOBE_NAME, adobe_rgb(), "adobe-rgb")
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
    tags, number = _tags(data), int(_INTENTS[intent])
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
    matrix = np.linalg.inv(_to_xyz(_ADOBE_PRIMARIES)) @ _to_xyz(SRGB_PRIMARIES)
    mixed = torch.einsum("ij,jhw->ihw", torch.from_numpy(matrix).to(band), to_linear(band))
    return mixed.clamp_(0, 1).pow_(1 / _ADOBE_GAMMA)


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
    tags = _tags(profile)
    missing = [name for name in (b"B2A1", b"B2A2") if name not in tags]
    if b"B2A0" not in tags or not missing:
        return profile
    return _assembled(profile[4:128], tags | dict.fromkeys(missing, tags[b"B2A0"]))


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """A profile's tags by name."""
    end = 132 + 12 * int.from_bytes(profile[128:132])
    table = struct.iter_unpack(">4s2I", profile[132:end])
    return {name: profile[offset : offset + length] for name, offset, length in table}


def _assembled(header: bytes, tags: dict[bytes, bytes]) -> bytes:
    """All behind the length, the table and the tags, aligned to four bytes; equal ones once."""
    start = 132 + 12 * len(tags)
    body, places = b"", dict[bytes, int]()
    for data in dict.fromkeys(tags.values()):
        places[data] = start + len(body)
        body += data + bytes(-len(data) % 4)
    table = (struct.pack(">4s2I", name, places[data], len(data)) for name, data in tags.items())
    count = struct.pack(">I", len(tags))
    return struct.pack(">I", start + len(body)) + header + count + b"".join(table) + body


def matrix_profile(
    name: str, primaries: Points, curve: bytes, *, white: tuple[float, float] = D65
) -> bytes:
    """Write an ICC version 2.4 display profile (ICC.1:2001-04), which all software reads.

    Args:
        name: its description, ASCII.
        primaries: x and y of red, green and blue.
        curve: the body of a ``curv`` tag, for all three.
        white: x and y of white.
    """
    light = _xyz(*white)
    points = [light, *(_adaptation(light) @ _to_xyz(primaries, white)).T]
    text = name.encode("ascii") + b"\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + b"No copyright; use freely\0",
    }
    for tag, point in zip((b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ"), points, strict=True):
        tags[tag] = b"XYZ " + bytes(4) + _fixed(point)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"curv" + bytes(4) + curve)
    header = struct.pack(">4xI4s4s4s", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(_D50)
    return _assembled(header.ljust(124, b"\0"), tags)


def curve_profile(
    name: str,
    primaries: Points,
    light: Curve,
    *,
    white: tuple[float, float] = D65,
    num_points: int = 4096,
) -> bytes:
    """A matrix profile with a sampled curve from signal to light; what is beyond 1 is 1."""
    curve = sampled_curve(np.clip(light(np.linspace(0, 1, num_points)), 0, 1))
    return matrix_profile(name, primaries, curve, white=white)


def adobe_rgb() -> bytes:
    """Adobe RGB (1998) as an ICC profile."""
    curve = struct.pack(">IH", 1, round(_ADOBE_GAMMA * 256))
    return matrix_profile(_ADOBE_NAME, _ADOBE_PRIMARIES, curve)


def _fixed(numbers: Iterable[float]) -> bytes:
    return struct.pack(">3i", *(round(value * 65536) for value in numbers))


def srgb_light(levels: Matrix) -> Matrix:
    """SRGB's signal to light, both in [0, 1] (IEC 61966-2-1)."""
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def sampled_curve(light: Matrix) -> bytes:
    """The body of a ``curv`` tag: light in [0, 1] at evenly spaced signals."""
    points = np.rint(light * 65535).astype(int).tolist()
    return struct.pack(f">I{len(points)}H", len(points), *points)


def _xyz(x: float, y: float) -> Matrix:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _to_xyz(primaries: Points, white: tuple[float, float] = D65) -> Matrix:
    """Linear RGB to XYZ: columns are the primaries, scaled so that white is white."""
    columns = np.stack([_xyz(x, y) for x, y in primaries], axis=1)
    return columns * np.linalg.solve(columns, _xyz(*white))


def _adaptation(white: Matrix) -> Matrix:
    """Bradford's linear adaptation from a white to D50, the white of all ICC profiles."""
    gains = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    result: Matrix = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD
    return result
