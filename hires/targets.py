"""What a canvas is compared to: a style's moments, the content's features, measured by tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hires.features import Network
from hires.losses import Moments, measure
from hires.masks import LayerMasks
from hires.precision import Precision
from hires.seams import Seams
from hires.tiling import Tile
from hires.walk import TilePlan, canvas_window


def power(target: Tensor, mask: Tensor | None) -> float:
    """Weighted sum of squares of a target; a blank one's is 1, so that its loss stays finite."""
    wide = (channel.double().square() for channel in target[0])
    if mask is None:
        total = sum(float(squares.sum()) for squares in wide)
    else:
        weights = mask[0, 0].double().to(target.device)
        total = sum(float((squares * weights).sum()) for squares in wide)
    return total or 1.0


def measure_style(
    network: Network,
    image: Tensor,
    names: Sequence[str],
    plan: TilePlan,
    precision: Precision,
    mask: Tensor | None = None,
) -> dict[str, Moments]:
    """Moments of a style picture (1, 3, H, W) over its tiles.

    Args:
        network: prepared feature network.
        image: the picture.
        names: layers.
        plan: its tiles.
        precision: type of the sums.
        mask: (1, 1, H, W) in [0, 1], how much each pixel counts; None for all alike.

    Raises:
        ConfigError: for a mask in which nothing counts.
    """
    found: dict[str, Moments] = {}
    if not names:
        return found
    masks = LayerMasks(mask, network, names)
    for tile, features in _walk(network, image, names, plan):
        for name, part in features.items():
            seen = masks.part(name, tile)
            moments = measure(part, precision.sum_dtype, exact=True, mask=seen)
            found[name] = found[name] + moments if name in found else moments
    return found


def _walk(
    network: Network, image: Tensor, names: Sequence[str], plan: TilePlan
) -> Iterator[tuple[Tile, dict[str, Tensor]]]:
    """The features of every tile of a picture."""
    seams = Seams()
    for tile in plan.tiles:
        pixels = image[..., *tile.read.index].to(network.origin.device)
        with torch.no_grad():
            features = network(pixels, names, seams=seams.of(tile))
        yield tile, features


def measure_content(
    network: Network, image: Tensor, names: Sequence[str], plan: TilePlan, device: torch.device
) -> dict[str, Tensor]:
    """Features of a content picture (1, 3, H, W), whole, in the network's dtype, on ``device``."""
    found: dict[str, Tensor] = {}
    if not names:
        return found
    size = image.shape[2], image.shape[3]
    for tile, features in _walk(network, image, names, plan):
        for name, part in features.items():
            if name not in found:
                found[name] = no_features(network, name, size, device)
            found[name][..., *canvas_window(network.layers[name], tile)] = part
    return found


def no_features(network: Network, name: str, size: tuple[int, int], device: torch.device) -> Tensor:
    """Zeros (1, C, h, w) for what a layer has of a picture of ``(height, width)``."""
    layer = network.layers[name]
    shape = (1, layer.channels, size[0] // layer.stride, size[1] // layer.stride)
    return torch.empty(
        shape, dtype=network.dtype, device=device, memory_format=torch.channels_last
    ).zero_()
