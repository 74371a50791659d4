"""Small image-to-image networks that several tests share, and a plain float64 version of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.feedforward.model import Model, write_model
from hires.feedforward.network import Design, Task

STYLE = Design(widths=(4, 6, 8), num_blocks=2, kernel=5)
ENLARGE = Design(task="super-resolution", factor=4, widths=(6,), num_blocks=1, kernel=5)


def random_tensors(design: Design, seed: int = 0) -> dict[str, Tensor]:
    """Tensors of a finished network that does something to every pixel."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in design.tensors(normalised=design.normalised).items():
        spread = 1.0 / (shape[1] * shape[2] * shape[3]) ** 0.5 if len(shape) == 4 else 0.3
        found[name] = torch.randn(shape, generator=generator) * spread
        if name.endswith(".scale"):
            found[name] += 1
    return found


def random_model(design: Design, seed: int = 0) -> Model:
    """A model with random weights that fit fp16, as after reading it from a file."""
    tensors = {name: value.half().float() for name, value in random_tensors(design, seed).items()}
    return Model(design, tensors, {}, "random")


def write_random_model(path: Path, task: Task = "style", **metadata: str) -> Path:
    """A model file."""
    design = STYLE if task == "style" else ENLARGE
    write_model(path, design, random_tensors(design), metadata)
    return path


def plain(design: Design, tensors: Mapping[str, Tensor], image: Tensor) -> Tensor:
    """The document's network, layer for layer, over a whole picture in float64, clamped."""
    weights = {name: value.double() for name, value in tensors.items()}

    def convolved(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        margin = weight.shape[-1] // 2
        x = F.pad(x, (margin, margin, margin, margin), mode="reflect")
        x = F.conv2d(x, weight, weights.get(f"{name}.bias"), stride=stride)
        if design.task == "super-resolution" or name == "last":
            return x
        return F.instance_norm(
            x, weight=weights[f"{name}.scale"], bias=weights[f"{name}.shift"], eps=1e-5
        )

    x = torch.relu(convolved("first", image.double() - 0.5))
    for i in range(1, len(design.widths)):
        x = torch.relu(convolved(f"down{i}", x, 2))
    for i in range(1, design.num_blocks + 1):
        x = x + convolved(f"block{i}_2", torch.relu(convolved(f"block{i}_1", x)))
    ups = len([name for name in weights if name.startswith("up") and name.endswith(".weight")])
    for i in range(1, ups + 1):
        x = torch.relu(convolved(f"up{i}", F.interpolate(x, scale_factor=2, mode="nearest")))
    x = convolved("last", x)
    height, width = (side * design.factor for side in image.shape[2:])
    base = torch.full_like(image, 0.5, dtype=torch.float64)
    if design.task == "super-resolution":
        base = F.interpolate(image.double(), scale_factor=design.factor, mode="bicubic")
    return (x[..., :height, :width] + base).clamp(0, 1)
