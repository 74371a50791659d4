"""What a PNG says about its colours besides an ICC profile, as a profile.

Of several statements the first counts (PNG specification, third edition, section 11.3.2): cICP,
iCCP, sRGB, gAMA with cHRM.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hires.image.colour.code_points import coded_profile
from hires.image.colour.profiles import D65, SRGB_PRIMARIES, Points, curve_profile

_LONGEST_CHUNK = 2**20
_MOST_SUM = 1.0001  # x, y and z of a colour add up to 1, but for rounding


def stated_profile(path: Path) -> tuple[bytes | None, tuple[str, ...]]:
    """An ICC profile for what a PNG says beside an embedded one.

    Returns:
        The profile, None where an embedded one or sRGB counts; and what the user should know.
    """
    chunks = _chunks(path)
    if len(chunks.get(b"cICP", b"")) != 4:
        return _by_gamma(chunks)
    primaries, transfer, matrix, is_full = chunks[b"cICP"]
    found = coded_profile(primaries, transfer)
    if found is not None and matrix == 0 and is_full == 1:
        return found
    profile, notes = _by_gamma(chunks)
    unknown = f"its colour space (cICP {primaries} {transfer} {matrix} {is_full}) is unknown; "
    if profile is None and b"iCCP" not in chunks:
        return None, (unknown + "taken for sRGB", *notes)
    return profile, (unknown + f"its {'gamma' if profile else 'ICC profile'} counts", *notes)


def _by_gamma(chunks: Mapping[bytes, bytes]) -> tuple[bytes | None, tuple[str, ...]]:
    if b"iCCP" in chunks or b"sRGB" in chunks or len(chunks.get(b"gAMA", b"")) != 4:
        return None, ()
    gamma = struct.unpack(">I", chunks[b"gAMA"])[0] / 100_000
    if not 0.1 <= gamma <= 3:
        return None, (f"its gamma of {gamma:g} makes no sense; taken for sRGB",)
    srgb = D65, *SRGB_PRIMARIES
    points = _chromaticities(chunks[b"cHRM"]) if b"cHRM" in chunks else srgb
    notes: tuple[str, ...] = ()
    if points is None:
        points = srgb
        notes = ("its primary colours make no sense; taken for those of sRGB",)
    if np.allclose(points, srgb, atol=2e-3) and abs(gamma - 1 / 2.2) < 1e-3:
        return None, notes  # How programs say sRGB to those who know gamma only.
    white, *primaries = points
    name = f"gamma {1 / gamma:.3g}"
    return curve_profile(name, primaries, lambda v: v ** (1 / gamma), white=white), notes


def _chunks(path: Path) -> dict[bytes, bytes]:
    """Sound chunks before the pixels that speak of colour."""
    found: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name in (b"IDAT", b"IEND"):
                break
            if name not in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM") or length > _LONGEST_CHUNK:
                file.seek(length + 4, 1)
                continue
            data, check = file.read(length), file.read(4)
            if check == struct.pack(">I", zlib.crc32(name + data)):
                found.setdefault(name, data)
    return found


def _chromaticities(data: bytes) -> Points | None:
    """X and y of white, red, green and blue, if they span colours at all."""
    if len(data) != 32:
        return None
    values = [value / 100_000 for value in struct.unpack(">8I", data)]
    points = tuple(zip(values[::2], values[1::2], strict=True))
    (x1, y1), (x2, y2), (x3, y3) = points[1:]
    area = abs((x2 - x1) * (y3 - y1) - (x3 - x1) * (y2 - y1)) / 2
    is_possible = all(y > 0 and x + y <= _MOST_SUM for x, y in points)
    return points if area > 0.01 and is_possible else None
