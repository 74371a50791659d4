"""Colour spaces by the numbers of ITU-T H.273, which PNG and HEIF files name, as ICC profiles.

HDR is shown as on paper: BT.2408's white of 203 cd/m2 is the sheet, and nothing is brighter.
"""

import numpy as np

from hires.image.colour.profiles import (
    SRGB_PRIMARIES,
    Curve,
    Matrix,
    Points,
    curve_profile,
    srgb_light,
)

# Table 2; transfer characteristics are those of table 3.
_PRIMARIES: dict[int, Points] = {
    1: SRGB_PRIMARIES,
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
VIDEO_TRANSFERS = (1, 6, 14, 15)  # of cameras: BT.709 and its like
SRGB_TRANSFER, _PQ, _HLG = 13, 16, 18
_HDR = {_PQ: "PQ", _HLG: "HLG"}
_PAPER_WHITE = 203.0


def coded_profile(primaries: int, transfer: int) -> tuple[bytes, tuple[str, ...]] | None:
    """A colour space as a profile, and what the user should know of it; None if it is unknown."""
    curve = _transfer(transfer)
    if primaries not in _PRIMARIES or curve is None:
        return None
    hdr = "it is HDR ({}): what is brighter than paper white (203 cd/m2) becomes white"
    notes = tuple(hdr.format(kind) for code, kind in _HDR.items() if code == transfer)
    is_srgb = (primaries, transfer) == (1, SRGB_TRANSFER)
    name = "sRGB" if is_srgb else f"H.273 {primaries} {transfer}"
    return curve_profile(name, _PRIMARIES[primaries], curve), notes


def _transfer(number: int) -> Curve | None:
    """Signal to light, 1 being the white of paper."""
    curves: dict[int, Curve] = {
        **dict.fromkeys(VIDEO_TRANSFERS, lambda v: v**2.4),  # their displays follow BT.1886
        4: lambda v: v**2.2,
        5: lambda v: v**2.8,
        8: lambda v: v,
        SRGB_TRANSFER: srgb_light,
        _PQ: _pq,
        _HLG: _hlg,
    }
    return curves.get(number)


def _pq(v: Matrix) -> Matrix:
    """SMPTE ST 2084 (BT.2100, table 4), in units of paper white."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = v ** (1 / m2)
    return 10_000 / _PAPER_WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def _hlg(v: Matrix) -> Matrix:
    """BT.2100, table 5, on a display of 1000 cd/m2, its gamma of 1.2 taken channel by channel."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    scene = np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)
    return 1000 / _PAPER_WHITE * scene**1.2
