"""The plain way everyone writes style transfer, as the reference that hires is measured against.

torchvision's VGG-19 modules, float32, NCHW, autograd through everything, one pass over the whole
picture, `torch.optim.Adam`. The losses, the weights and the pictures are those of hires, so that
both walk down the same loss curve. Random weights: nothing is downloaded.

Run as a child process of ``scripts/benchmark.py`` or ``scripts/gpu_report.py``; on its own it waits
for a case on its standard input.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers  # type: ignore[import-untyped]

from hires.bench.cases import case_from_json
from hires.bench.exercise import Exercise
from hires.bench.exercises import (
    CONTENT_SEED,
    STYLE_SEED,
    STYLE_SIZE,
    VGG19_TO_RELU5_1,
    picture,
    random_weights,
)
from hires.bench.worker import serve
from hires.config.run import Config
from hires.config.values import parse_layer
from hires.kernels.precision import synchronize

# Where torchvision's ``features`` has the ReLU of each layer.
POSITIONS = {"relu1_1": 1, "relu2_1": 6, "relu3_1": 11, "relu4_1": 20, "relu4_2": 22, "relu5_1": 29}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class StockVGG19(nn.Module):
    """VGG-19 to relu5_1 from torchvision's modules, with the benchmark's random weights."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers = make_layers(cfgs["E"], batch_norm=False)
        self.layers = layers[: max(POSITIONS.values()) + 1]
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        weights = random_weights(VGG19_TO_RELU5_1)
        convolutions = [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
        keys = [key for key, _, _ in VGG19_TO_RELU5_1.convolutions()]
        for key, convolution in zip(keys, convolutions, strict=True):
            part = {name: weights[f"conv{key}.{name}"] for name in ("weight", "bias")}
            convolution.load_state_dict(part)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features (1, C, h, w) of every layer that is looked at."""
        x, found = (image - self.mean) / self.std, {}
        names = {position: name for name, position in POSITIONS.items()}
        for position, layer in enumerate(self.layers):
            x = layer(x)
            if position in names:
                found[names[position]] = x
        return found


def gram(features: Tensor) -> Tensor:
    """Second moment per position, (C, C)."""
    flat = features.flatten(2)[0]
    return flat @ flat.T / flat.shape[1]


def total_variation(image: Tensor) -> Tensor:
    """Nine-point squared total variation per pixel, as hires has it."""
    kernel = (
        image.new_tensor([[-0.5, -1, -0.5], [-1, 6, -1], [-0.5, -1, -0.5]]).view(1, 1, 3, 3) / 3
    )
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    slope = F.conv2d(padded, kernel.expand(3, 1, 3, 3), groups=3)
    return 0.5 * (image * slope).sum() / (image.shape[2] * image.shape[3])


class StockExercise(Exercise):
    """Optimisation steps at one size, as in the usual script.

    Args:
        fields: a case; its size, device and decay are used, nothing else.
    """

    def __init__(self, fields: dict[str, Any]) -> None:
        case, self.config = case_from_json(fields), Config()
        super().__init__(case.device)
        self.network = StockVGG19().to(self.device)
        content = picture(case.size, CONTENT_SEED).to(self.device)
        style = picture(STYLE_SIZE, STYLE_SEED).to(self.device)
        with torch.no_grad():
            self.grams = {name: gram(part) for name, part in self.network(style).items()}
            self.content = self.network(content)["relu4_2"]
        self.canvas = content.requires_grad_()
        self.adam = torch.optim.Adam(
            [self.canvas], lr=0.02, betas=(0.9, 0.95), eps=1e-8 / self.canvas.numel()
        )
        # Between steps far too many to come, the step size stays.
        self.schedule = torch.optim.lr_scheduler.StepLR(
            self.adam, case.decay_every or sys.maxsize, case.learning_rate_decay
        )
        self.facts = {"device": str(self.device), "precision": "fp32"}

    def loss(self) -> Tensor:
        """The weighted sum of hires' default but for patches, with Gram matrices for the style."""
        features = self.network(self.canvas)
        style, total = torch.zeros(()), 0.0
        for name, weight in map(parse_layer, self.config.style_layers):
            target = self.grams[name]
            distance = (gram(features[name]) - target).square().sum() / target.square().sum()
            style, total = style + weight * distance, total + weight
        style = style / total
        difference = features["relu4_2"] - self.content
        content = difference.square().sum() / self.content.square().sum()
        tv = total_variation(self.canvas)
        config = self.config
        terms = [
            config.style_weight * style,
            config.content_weight * content,
            config.tv_weight * tv,
        ]
        return torch.stack(terms).sum()

    def step(self) -> dict[str, Any]:
        """One step: its synchronised ``seconds``, and the ``loss`` before it."""
        synchronize(self.device)
        started = time.perf_counter()
        self.adam.zero_grad()
        loss = self.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self.schedule.step()
        with torch.no_grad():
            self.canvas.clamp_(0, 1)
        synchronize(self.device)
        seconds = time.perf_counter() - started
        self.gauge.sample()
        return {"seconds": seconds, "loss": float(loss.detach())}


if __name__ == "__main__":
    serve(StockExercise)
