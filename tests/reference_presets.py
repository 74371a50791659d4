"""The losses of the presets' documents in plain float64, from their formulas, for reading.

Pictures are (1, 3, H, W) RGB in [0, 1], all of one size; every function starts with the document's
own preprocessing and runs the network on raw weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.features.architecture import Architecture

Network = Callable[[Tensor], dict[str, Tensor]]


def vgg(architecture: Architecture, weights: Mapping[str, Tensor]) -> Network:
    """Layers by name, before (conv) and after (relu) each ReLU; the input is preprocessed."""

    def run(x: Tensor) -> dict[str, Tensor]:
        found = {}
        for b, block in enumerate(architecture.blocks, start=1):
            for i in range(1, len(block) + 1):
                weight, bias = weights[f"conv{b}_{i}.weight"], weights[f"conv{b}_{i}.bias"]
                x = found[f"conv{b}_{i}"] = F.conv2d(x, weight.double(), bias.double(), padding=1)
                x = found[f"relu{b}_{i}"] = torch.relu(x)
            x = F.max_pool2d(x, 2)
        return found

    return run


def standardised(image: Tensor) -> Tensor:
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)
    return (image - mean) / std


def gram_per_entry(features: Tensor) -> Tensor:
    """F Fᵀ over everything that the feature map holds (tutorial and d2l alike)."""
    _, channels, height, width = features.shape
    f = features.reshape(channels, height * width)
    return f @ f.T / (channels * height * width)


def tutorial(network: Network, canvas: Tensor, content: Tensor, style: Tensor) -> Tensor:
    found, kept, wanted = (network(standardised(x)) for x in (canvas, content, style))
    style_score = torch.zeros((), dtype=torch.float64)
    for name in ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"):
        style_score = style_score + F.mse_loss(
            gram_per_entry(found[name]), gram_per_entry(wanted[name])
        )
    content_score = F.mse_loss(found["conv2_2"], kept["conv2_2"])
    return 1_000_000 * style_score + 1 * content_score


def d2l(network: Network, canvas: Tensor, content: Tensor, style: Tensor) -> Tensor:
    x = standardised(canvas)
    found, kept, wanted = network(x), network(standardised(content)), network(standardised(style))
    loss = 1 * ((found["conv4_4"] - kept["conv4_4"]) ** 2).mean()
    for name in ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"):
        difference = gram_per_entry(found[name]) - gram_per_entry(wanted[name])
        loss = loss + 1000 * (difference**2).mean()
    below = (x[:, :, 1:, :] - x[:, :, :-1, :]).abs().mean()
    beside = (x[:, :, :, 1:] - x[:, :, :, :-1]).abs().mean()
    return loss + 10 * 0.5 * (below + beside)


def keras_preprocessed(image: Tensor) -> Tensor:
    """BGR in 0 to 255 minus the means."""
    blue_green_red = 255 * image[:, [2, 1, 0]]
    means = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64)
    return blue_green_red - means.view(1, 3, 1, 1)


def keras_style(style: Tensor, combination: Tensor, height: int, width: int) -> Tensor:
    s, c = style[0].flatten(1), combination[0].flatten(1)
    channels, size = 3, height * width
    loss: Tensor = ((s @ s.T - c @ c.T) ** 2).sum() / (4.0 * channels**2 * size**2)
    return loss


def keras_variation(x: Tensor) -> Tensor:
    """The document's formula with its indices as they are meant."""
    height, width = x.shape[2:]
    a = (x[:, :, : height - 1, : width - 1] - x[:, :, 1:, : width - 1]) ** 2
    b = (x[:, :, : height - 1, : width - 1] - x[:, :, : height - 1, 1:]) ** 2
    return ((a + b) ** 1.25).sum()


def keras(network: Network, canvas: Tensor, content: Tensor, style: Tensor) -> Tensor:
    x = keras_preprocessed(canvas)
    found = network(x)
    kept, wanted = network(keras_preprocessed(content)), network(keras_preprocessed(style))
    loss = 0.025 * ((found["relu5_2"] - kept["relu5_2"]) ** 2).sum()
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    height, width = canvas.shape[2:]
    for name in layers:
        loss = loss + 1.0 / len(layers) * keras_style(wanted[name], found[name], height, width)
    return loss + 1e-4 * keras_variation(x)


def cosine_distances(some: Tensor, others: Tensor) -> Tensor:
    """``1 - cos`` of the columns of (C, K) and (C, N), (K, N)."""
    found: Tensor = 1 - (some / some.norm(dim=0)).T @ (others / others.norm(dim=0))
    return found


def nnst(network: Network, canvas: Tensor, style: Tensor, layers: tuple[str, ...]) -> Tensor:
    """Feature splitting (section 3.2), about the style's mean; its quarter turns are style, too."""
    found = network(standardised(canvas))
    turned = [network(standardised(torch.rot90(style, k, (2, 3)))) for k in range(4)]
    losses = []
    for name in layers:
        wanted = torch.cat([one[name][0].flatten(1) for one in turned], 1)
        mean = wanted.mean(1, keepdim=True)
        distances = cosine_distances(found[name][0].flatten(1) - mean, wanted - mean)
        losses.append(distances.amin(1).mean())
    loss: Tensor = torch.stack(losses).mean()
    return loss


def strotss(
    network: Network, canvas: Tensor, content: Tensor, style: Tensor, layers: tuple[str, ...]
) -> tuple[Tensor, Tensor]:
    """Content (eq. 4) and relaxed transport (eq. 1 to 3) of all positions, each layer by itself."""
    found, kept, wanted = (network(standardised(x)) for x in (canvas, content, style))
    similarity, transport = [], []
    for name in layers:
        own, scene, like = (x[name][0].flatten(1) for x in (found, kept, wanted))
        shares = [cosine_distances(x, x) for x in (own, scene)]
        rows, target = (part / part.sum(1, keepdim=True) for part in shares)
        similarity.append((rows - target).abs().sum(1).mean())
        distances = cosine_distances(own, like)
        transport.append(torch.maximum(distances.amin(1).mean(), distances.amin(0).mean()))
    return torch.stack(similarity).mean(), torch.stack(transport).mean()
