"""Masks: how much each position of a picture, and of its features, counts. (1, 1, H, W) in [0, 1].

A weight for every position leaves moments and content losses what they are, sums over positions
(Gatys et al. 2017, "Controlling perceptual factors", eq. 6), so they stay exact under tiles.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from hires.config import ConfigError
from hires.features import Network
from hires.tiling import Tile
from hires.walk import canvas_window


class LayerMasks:
    """One mask at the resolutions of a network's layers.

    Args:
        mask: (1, 1, H, W) float in [0, 1] over the whole picture; None where all counts alike.
        network: whose layers look at the picture.
        names: those layers.

    Raises:
        ConfigError: if nothing of the picture counts at one of the layers.
    """

    def __init__(self, mask: Tensor | None, network: Network, names: Sequence[str]) -> None:
        self._layers = {name: network.layers[name] for name in names}
        self._at: dict[int, Tensor] = {}
        if mask is None:
            return
        mask = mask.to(network.origin.device)
        # Each position of a layer stands for a square of pixels; what is left over at the right
        # and below belongs to none, as in pooling.
        strides = {1, *(layer.stride for layer in self._layers.values())}
        self._at = {stride: F.avg_pool2d(mask, stride) for stride in strides}
        self._sums = {stride: float(part.double().sum()) for stride, part in self._at.items()}
        if not min(self._sums.values()) > 0:
            height, width = mask.shape[2:]
            raise ConfigError(
                f"nothing of a picture can be seen at {width}x{height}: crop it to what is not"
                " transparent, or choose another"
            )

    def whole(self, name: str) -> Tensor | None:
        """(1, 1, H, W) at the resolution of a layer; None where all counts alike."""
        return self._at[self._layers[name].stride] if self._at else None

    def part(self, name: str, tile: Tile) -> Tensor | None:
        """The same for a tile."""
        if not self._at:
            return None
        layer = self._layers[name]
        return self._at[layer.stride][..., *canvas_window(layer, tile)]

    def count(self, name: str, size: tuple[int, int]) -> float:
        """Σm over a layer's positions, in a picture of ``(height, width)`` pixels."""
        return self._count(self._layers[name].stride, size)

    def num_pixels(self, size: tuple[int, int]) -> float:
        """Σm over the pixels of a picture of ``(height, width)``."""
        return self._count(1, size)

    def _count(self, stride: int, size: tuple[int, int]) -> float:
        return self._sums[stride] if self._at else (size[0] // stride) * (size[1] // stride)
