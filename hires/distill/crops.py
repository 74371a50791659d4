"""Training pictures: random crops of photographs and paintings, degraded, mixed and invented.

A network that paints must answer for every input that an optimiser can reach, not only for clean
pictures: hence noise, over-sharpening, invented shapes and values outside of [0, 1].
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.feedforward.photographs import searched
from hires.image.decode.read import read_picture

# Training pictures are held in memory as 8-bit; more pixels than this add scale, not variety.
_MAX_LONG_SIDE = 2048
_SHRINKINGS = (1, 1, 2, 2, 3, 4)


class Crops:
    """An endless, seeded supply of training pictures.

    Args:
        folders: image folders; every folder is drawn from equally often, whatever its size.
        seed: seed of every draw.

    Raises:
        ImageError: if a folder has no readable picture.
    """

    def __init__(self, folders: Sequence[Path], *, seed: int) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.folders = [_read_folder(folder) for folder in folders]

    def batch(self, count: int, size: int) -> Tensor:
        """Draw ``count`` augmented pictures, (count, 3, size, size) float32, mostly in [0, 1]."""
        pictures = [self._augmented(self._picture(size)) for _ in range(count)]
        return torch.cat(pictures).contiguous(memory_format=torch.channels_last)

    def crop(self, size: int) -> Tensor:
        """Draw one clean crop at a random scale, (1, 3, size, size) float32 in [0, 1]."""
        image = self.random.choice(self.random.choice(self.folders))
        short = min(image.shape[2:])
        shrink = max(1, min(self.random.choice(_SHRINKINGS), short // size))
        side = size * shrink
        if short < side:
            height, width = (max(side, length) for length in image.shape[2:])
            image = F.interpolate(image.float(), (height, width), mode="bilinear").byte()
        top = self.random.randint(0, image.shape[2] - side)
        left = self.random.randint(0, image.shape[3] - side)
        return F.avg_pool2d(image[..., top : top + side, left : left + side] / 255, shrink)

    def _picture(self, size: int) -> Tensor:
        chance = self.random.random()
        if chance < 0.04:
            colour = torch.rand(1, 3, 1, 1, generator=self.generator)
            return colour + self._noise(size) * self.random.choice((0.03, 0.1, 0.3))
        if chance < 0.08:
            return self._dead_leaves(size)
        picture = self.crop(size)
        if self.random.random() < 0.12:
            return self._mixed(picture, self.crop(size))
        return picture

    def _mixed(self, one: Tensor, other: Tensor) -> Tensor:
        share = self.random.random()
        if self.random.random() < 0.5:
            return one * share + other * (1 - share)
        return one + (other - _blurred(other, 9)) * (0.3 + share)

    def _augmented(self, x: Tensor) -> Tensor:
        draw = self.random
        for turn in ((2,), (3,)):
            x = x.flip(turn) if draw.random() < 0.5 else x
        x = x.transpose(2, 3) if draw.random() < 0.5 else x
        x = x[:, draw.sample(range(3), 3)] if draw.random() < 0.4 else x
        if draw.random() < 0.5:
            offset = torch.randn(1, 3, 1, 1, generator=self.generator) * 0.08
            x = (x - 0.5) * math.exp(draw.uniform(-0.6, 0.5)) + 0.5 + offset
        chance = draw.random()
        if chance < 0.12:
            x = _blurred(x, 3)
        elif chance < 0.32:
            x = x + (x - _blurred(x, 3)) * math.exp(draw.uniform(-1.0, 1.6))
        if draw.random() < 0.35:
            x = x + self._noise(x.shape[-1]) * math.exp(draw.uniform(-4.6, -1.2))
        return x.clamp(0, 1) if draw.random() < 0.9 else x

    def _noise(self, size: int) -> Tensor:
        """Gray or coloured noise of unit spread, in grains of 1 to 8 pixels, some in streaks."""
        grain = self.random.choice((1, 1, 2, 4, 8))
        channels = 3 if self.random.random() < 0.7 else 1
        side = -(-size // grain)
        noise = torch.randn(1, channels, side, side, generator=self.generator)
        if grain > 1:
            mode = self.random.choice(("nearest", "bilinear"))
            noise = F.interpolate(noise, scale_factor=grain, mode=mode)[..., :size, :size]
        if self.random.random() < 0.25:
            noise = _streaked(noise, self.random.uniform(0, math.pi))
        return noise.expand(1, 3, size, size)

    def _dead_leaves(self, size: int) -> Tensor:
        """Overlapping ellipses of every size (the dead-leaves model): edges at all scales."""
        draw = self.random
        y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        picture = torch.rand(1, 3, 1, 1, generator=self.generator).expand(1, 3, size, size)
        for _ in range(draw.choice((20, 60, 120))):
            radius = min(size / 2, 2 + 3 / max(1e-3, draw.random()) ** 0.8)
            top, left, angle = draw.random() * size, draw.random() * size, draw.uniform(0, math.pi)
            along = (y - top) * math.cos(angle) + (x - left) * math.sin(angle)
            across = (x - left) * math.cos(angle) - (y - top) * math.sin(angle)
            inside = along**2 + (across / draw.choice((1, 1, 0.4, 0.2))) ** 2 < radius**2
            colour = torch.rand(1, 3, 1, 1, generator=self.generator)
            picture = torch.where(inside, colour, picture)
        return picture


def _read_folder(folder: Path) -> list[Tensor]:
    paths = searched(folder, recursive=False).pictures
    pictures = (read_picture(path, max_long_side=_MAX_LONG_SIDE).pixels for path in paths)
    return [(pixels * 255).round().byte() for pixels in pictures]


def _blurred(x: Tensor, window: int) -> Tensor:
    return F.avg_pool2d(x, window, 1, window // 2, count_include_pad=False)


def _streaked(noise: Tensor, angle: float) -> Tensor:
    """Blur noise along a line; the factor of 3 restores its spread roughly."""
    length = 7
    kernel = torch.zeros(length, length)
    for step in torch.linspace(-(length // 2), length // 2, 2 * length).tolist():
        row, column = round(step * math.sin(angle)), round(step * math.cos(angle))
        kernel[length // 2 + row, length // 2 + column] = 1
    kernel = (kernel / kernel.sum()).expand(noise.shape[1], 1, length, length)
    return 3 * F.conv2d(noise, kernel, padding=length // 2, groups=noise.shape[1])
