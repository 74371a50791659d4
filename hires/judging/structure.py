"""The scene: whether what is alike in the photograph is alike in the painting."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.features.network import Network
from hires.image.resample import resize

LAYERS = ("relu3_1", "relu4_1")
_LARGEST, _POSITIONS = 512, 1024


def structure_distance(painting: Tensor, content: Tensor, network: Network) -> float:
    """How far self-similarities are from the photograph's, 0 (the same scene) upwards.

    Kolkin et al. 2019 (STROTSS, eq. 4): the cosine distances of all pairs of 1024 positions, each
    row over its sum, are compared between painting and photograph; mean of the absolute differences
    over their mean. Colours and strokes may change all over. Mean of two layers; pictures are
    looked at with a long side of 512 px.

    Args:
        painting: (1, 3, H, W) in [0, 1].
        content: the same, of any size.
        network: a feature network in float32 on the CPU.
    """
    height, width = painting.shape[2:]
    scale = min(_LARGEST / max(height, width), 1.0)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    own, scene = (_similarities(resize(x, size, clamp=True), network) for x in (painting, content))
    errors = [
        float((own[layer] - scene[layer]).abs().mean() / scene[layer].mean()) for layer in LAYERS
    ]
    return sum(errors) / len(errors)


@torch.no_grad()
def _similarities(image: Tensor, network: Network) -> dict[str, Tensor]:
    features: Mapping[str, Tensor] = network(image, LAYERS)
    return {layer: _distances(features[layer]) for layer in LAYERS}


def _distances(features: Tensor) -> Tensor:
    """Cosine distances (N, N) of features (1, C, H, W) at a grid of positions, rows sum to 1."""
    flat = features[0].flatten(1).float()
    step = max(flat.shape[1] / _POSITIONS, 1.0)
    places = (torch.arange(min(flat.shape[1], _POSITIONS)) * step).long()
    directions = F.normalize(flat[:, places], dim=0)
    distances = (1 - directions.mT @ directions).clamp(min=0)
    return distances / distances.sum(1, keepdim=True).clamp(min=1e-12)
