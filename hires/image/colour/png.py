"""What a PNG without an ICC profile says about its colours, as a profile.

Of several statements the first counts (PNG specification, third edition, section 11.3.2): cICP,
iCCP, sRGB, gAMA with cHRM.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hires.image.colour.profiles import (
    D65,
    SRGB_PRIMARIES,
    matrix_profile,
    sampled_curve,
    srgb_light,
)

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Points = tuple[tuple[float, float], ...]

# By the numbers of ITU-T H.273, tables 2 and 3. HDR is shown as on paper: BT.2408's white of
# 203 cd/m2 is the sheet, and nothing is brighter.
_PRIMARIES: dict[int, Points] = {
    1: SRGB_PRIMARIES,
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_SRGB_TRANSFER, _PQ, _HLG = 13, 16, 18
_PAPER_WHITE = 203.0
_NUM_POINTS = 4096
_LONGEST_CHUNK = 2**20


def stated_profile(path: Path) -> tuple[bytes | None, str | None]:
    """An ICC profile for what a PNG says without one.

    Returns:
        The profile, None where an embedded one or sRGB counts; and what the user should know.
    """
    chunks = _chunks(path)
    if len(chunks.get(b"cICP", b"")) == 4:
        return _of_code_points(chunks[b"cICP"])
    if b"iCCP" in chunks or b"sRGB" in chunks or len(chunks.get(b"gAMA", b"")) != 4:
        return None, None
    gamma = struct.unpack(">I", chunks[b"gAMA"])[0] / 100_000
    if not 0.1 <= gamma <= 3:
        return None, f"its gamma of {gamma:g} makes no sense; taken for sRGB"
    points = _chromaticities(chunks.get(b"cHRM", b""))
    plain = points is None or np.allclose(points, (D65, *SRGB_PRIMARIES), atol=2e-3)
    if plain and abs(gamma - 1 / 2.2) < 1e-3:
        return None, None  # How programs say sRGB to those who know gamma only.
    white, *primaries = points or (D65, *SRGB_PRIMARIES)
    return _profile(f"gamma {1 / gamma:.3g}", primaries, white, lambda v: v ** (1 / gamma)), None


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
    return points if area > 0.01 and all(0 < y <= 1 for _, y in points) else None


def _of_code_points(data: bytes) -> tuple[bytes | None, str | None]:
    primaries, transfer, matrix, is_full = data
    curve = _transfer(transfer)
    if primaries not in _PRIMARIES or curve is None or matrix != 0 or not is_full:
        return None, f"its colour space (cICP {primaries} {transfer}) is unknown; taken for sRGB"
    told = None
    if transfer in (_PQ, _HLG):
        name = "PQ" if transfer == _PQ else "HLG"
        told = f"it is HDR ({name}): what is brighter than paper white (203 cd/m2) becomes white"
    if (primaries, transfer) == (1, _SRGB_TRANSFER):
        return _profile("sRGB", SRGB_PRIMARIES, D65, curve), told
    name = f"cICP {primaries} {transfer}"
    return _profile(name, _PRIMARIES[primaries], D65, curve), told


def _transfer(number: int) -> Curve | None:
    """Signal to light, 1 being the white of paper."""
    if number in (1, 6, 14, 15):  # Displays of BT.709 signals follow BT.1886.
        return lambda v: v**2.4
    curves: dict[int, Curve] = {
        4: lambda v: v**2.2,
        5: lambda v: v**2.8,
        8: lambda v: v,
        _SRGB_TRANSFER: srgb_light,
        _PQ: _pq,
        _HLG: _hlg,
    }
    return curves.get(number)


def _pq(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084 (BT.2100, table 4), in units of paper white."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = v ** (1 / m2)
    return 10_000 / _PAPER_WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def _hlg(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """BT.2100, table 5, on a display of 1000 cd/m2, its gamma of 1.2 taken channel by channel."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    scene = np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)
    return 1000 / _PAPER_WHITE * scene**1.2


def _profile(
    name: str,
    primaries: Points | list[tuple[float, float]],
    white: tuple[float, float],
    light: Curve,
) -> bytes:
    levels = np.linspace(0, 1, _NUM_POINTS)
    curve = sampled_curve(np.clip(light(levels), 0, 1))
    return matrix_profile(name, tuple(primaries), curve, white=white)
