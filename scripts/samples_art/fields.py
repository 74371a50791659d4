"""Noise, sampling and smoothing: the few field operations that all sample pictures share."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

Field = NDArray[np.float32]


def as_field(values: object) -> Field:
    """Return array-like `values` as a float32 array, copied only when it has to be."""
    return np.asarray(values, dtype=np.float32)


def fractal(
    rng: np.random.Generator, size: int, exponent: float = 1.6, lowest: float = 1.0
) -> Field:
    """Periodic fractal noise by spectral synthesis: amplitude falls as frequency**-exponent.

    `lowest` is the lowest frequency kept, in cycles per period. Returns (size, size) with mean 0
    and standard deviation 1.
    """
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) * size
    gain = np.where(frequency >= lowest, np.maximum(frequency, 1.0) ** -exponent, 0.0)
    noise = np.fft.irfft2(spectrum * gain, s=(size, size))
    return as_field(noise / noise.std())


def sample(texture: Field, u: Field, v: Field) -> Field:
    """Read a periodic texture (H, W) or (H, W, C) bilinearly at u, v in periods, any shape.

    u runs along the width, v along the height. Returns u.shape, or u.shape + (C,).
    """
    channels = texture[..., None] if texture.ndim == 2 else texture
    padded = np.pad(channels, ((0, 1), (0, 1), (0, 0)), mode="wrap")
    source = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)))[None]
    flat = np.stack([u.ravel() % 1.0, v.ravel() % 1.0], axis=-1) * 2.0 - 1.0
    grid = torch.from_numpy(as_field(flat))[None, :, None]
    read = functional.grid_sample(source, grid, padding_mode="border", align_corners=True)
    result = read[0, :, :, 0].numpy().T.reshape(*u.shape, channels.shape[2])
    return as_field(result[..., 0] if texture.ndim == 2 else result)


def lookup(image: Field, x: Field, y: Field) -> Field:
    """Read an image (H, W) or (H, W, C) bilinearly at pixel positions, clamped at its border."""
    channels = image[..., None] if image.ndim == 2 else image
    height, width = image.shape[:2]
    source = torch.from_numpy(np.ascontiguousarray(channels.transpose(2, 0, 1)))[None]
    spot = np.stack([x.ravel() * (2 / (width - 1)), y.ravel() * (2 / (height - 1))], -1) - 1.0
    grid = torch.from_numpy(as_field(spot))[None, :, None]
    read = functional.grid_sample(source, grid, padding_mode="border", align_corners=True)
    result = read[0, :, :, 0].numpy().T.reshape(*x.shape, channels.shape[2])
    return as_field(result[..., 0] if image.ndim == 2 else result)


def resize(image: Field, height: int, width: int) -> Field:
    """Resample (H, W) or (H, W, C): box filter when shrinking, bicubic when growing."""
    if image.ndim == 3:
        planes = [resize(image[..., c], height, width) for c in range(image.shape[2])]
        return np.stack(planes, axis=-1)
    method = Image.Resampling.BOX if width < image.shape[1] else Image.Resampling.BICUBIC
    return as_field(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), method))


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur of an (H, W) field, sigma in pixels, border replicated."""
    radius = max(1, int(3 * sigma + 0.5))
    ramp = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (ramp / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    plane = torch.from_numpy(np.ascontiguousarray(field))[None, None]
    plane = functional.pad(plane, (radius, radius, radius, radius), mode="replicate")
    plane = functional.conv2d(plane, kernel[:, :, None])
    return as_field(functional.conv2d(plane, kernel[..., None])[0, 0].numpy())


def smoothstep(low: float | Field, high: float | Field, values: Field) -> Field:
    """Hermite step from 0 at `low` to 1 at `high`, element by element."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return as_field(t * t * (3.0 - 2.0 * t))


def mix(first: Field, second: Field, weight: Field) -> Field:
    """Blend colours (..., 3): `first` where weight (...) is 0, `second` where it is 1."""
    share = weight[..., None]
    return as_field(first * (1.0 - share) + second * share)


def colour(code: str) -> Field:
    """Turn "#rrggbb" into an sRGB triple in [0, 1]."""
    return as_field([int(code[i : i + 2], 16) / 255.0 for i in (1, 3, 5)])
