"""Colour profiles as bytes: matrix profiles made here, and the parts of any. No torch."""

import struct
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_D50 = (0.9642, 1.0, 0.8249)
D65 = (0.3127, 0.3290)  # x, y
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
SRGB_PRIMARIES = (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)
ADOBE_PRIMARIES = (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)
ADOBE_NAME = "Compatible with Adobe RGB (1998)"
ADOBE_GAMMA = 563 / 256  # 2.19921875: what 2.2 became in eight binary digits

Matrix = NDArray[np.float64]
Curve = Callable[[Matrix], Matrix]
Points = Sequence[tuple[float, float]]  # x and y


def tags_of(profile: bytes) -> dict[bytes, bytes]:
    """A profile's tags by name."""
    end = 132 + 12 * int.from_bytes(profile[128:132])
    table = struct.iter_unpack(">4s2I", profile[132:end])
    return {name: profile[offset : offset + length] for name, offset, length in table}


def assembled(header: bytes, tags: dict[bytes, bytes]) -> bytes:
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
    points = [light, *(_adaptation(light) @ to_xyz(primaries, white)).T]
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
    return assembled(header.ljust(124, b"\0"), tags)


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
    curve = struct.pack(">IH", 1, round(ADOBE_GAMMA * 256))
    return matrix_profile(ADOBE_NAME, ADOBE_PRIMARIES, curve)


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


def to_xyz(primaries: Points, white: tuple[float, float] = D65) -> Matrix:
    """Linear RGB to XYZ: columns are the primaries, scaled so that white is white."""
    columns = np.stack([_xyz(x, y) for x, y in primaries], axis=1)
    return columns * np.linalg.solve(columns, _xyz(*white))


def _adaptation(white: Matrix) -> Matrix:
    """Bradford's linear adaptation from a white to D50, the white of all ICC profiles."""
    gains = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    result: Matrix = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD
    return result
