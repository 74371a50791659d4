"""Pictures of known colours, and what their numbers mean in sRGB, by the textbook."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hires.image.decode.read import read_picture

Array = NDArray[Any]

# x and y of red, green and blue.
REC709 = [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)]
ADOBE_RGB = [(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)]
P3 = [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)]
ADOBE_GAMMA = 563 / 256


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, channels, height, width), generator=generator)


def encoded(width: int = 96, height: int = 80, kind: str = "PNG") -> bytes:
    """Noise as a file."""
    pixels = (noise(height, width)[0].permute(1, 2, 0) * 255).byte().numpy()
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, kind)
    return made.getvalue()


def gradient(height: int = 96, width: int = 128) -> Array:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([2 * x, 2 * y, x + y], -1).clip(0, 255).astype(np.uint8)


def mean_error(path: Path, wanted: Array) -> float:
    """Mean distance of what is read to bytes, in levels of 255."""
    pixels = read_picture(path).pixels[0].permute(1, 2, 0).numpy() * 255
    assert pixels.shape == wanted.shape
    return float(np.abs(pixels - wanted).mean())


def png(path: Path, pixels: Array, chunks: dict[bytes, bytes]) -> Path:
    """A PNG with chunks put behind its header."""
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    extra = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    )
    path.write_bytes(data[:33] + extra + data[33:])
    return path


def to_srgb(linear: Array) -> Array:
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * coded.clip(0, 1)


def from_primaries(light: Array, points: Sequence[tuple[float, float]]) -> Array:
    """Linear colours of some primaries to those of sRGB, both under D65."""

    def matrix(primaries: Sequence[tuple[float, float]]) -> Array:
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
        white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
        return columns * np.linalg.solve(columns, white)

    turn = np.linalg.inv(matrix(REC709)) @ matrix(points)
    return (light @ turn.T).clip(0, 1)


def srgb_light(v: Array) -> Array:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
