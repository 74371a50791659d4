"""Small image-to-image networks that several tests share, and a plain float64 version of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.feedforward.design import Design, Task
from hires.feedforward.model import Model, write_model

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


def plain(
    design: Design, tensors: Mapping[str, Tensor], image: Tensor, mask: Tensor | None = None
) -> Tensor:
    """The document's network, layer for layer, over a whole picture in float64, clamped.

    Under a mask its statistics count each position as far as the pixels do that it stands for.
    """
    weights = {name: value.double() for name, value in tensors.items()}
    seen = torch.ones_like(image[:, :1]) if mask is None else mask

    def normalised(name: str, x: Tensor, step: int) -> Tensor:
        beyond = [x.shape[i] * step - seen.shape[i] for i in (3, 2)]
        counts = F.pad(seen.double(), (0, beyond[0], 0, beyond[1]), mode="replicate")
        counts = F.avg_pool2d(counts, step)
        mean = (counts * x).sum((2, 3), keepdim=True) / counts.sum()
        variance = (counts * (x - mean).square()).sum((2, 3), keepdim=True) / counts.sum()
        scale, shift = (weights[f"{name}.{part}"][:, None, None] for part in ("scale", "shift"))
        y: Tensor = (x - mean) / (variance + 1e-5).sqrt() * scale + shift
        return y

    def convolved(name: str, x: Tensor, stride: int = 1, step: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        margin = weight.shape[-1] // 2
        x = F.pad(x, (margin, margin, margin, margin), mode="reflect")
        x = F.conv2d(x, weight, weights.get(f"{name}.bias"), stride=stride)
        if design.task == "super-resolution" or name == "last":
            return x
        return normalised(name, x, step)

    x = torch.relu(convolved("first", image.double() - 0.5))
    for i in range(1, len(design.widths)):
        x = torch.relu(convolved(f"down{i}", x, 2, 2**i))
    deep = 2 ** (len(design.widths) - 1)
    for i in range(1, design.num_blocks + 1):
        inner = torch.relu(convolved(f"block{i}_1", x, step=deep))
        x = x + convolved(f"block{i}_2", inner, step=deep)
    ups = len([name for name in weights if name.startswith("up") and name.endswith(".weight")])
    for i in range(1, ups + 1):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = torch.relu(convolved(f"up{i}", x, step=deep // 2**i or 1))
    x = convolved("last", x)
    height, width = (side * design.factor for side in image.shape[2:])
    base = torch.full_like(image, 0.5, dtype=torch.float64)
    if design.task == "super-resolution":
        base = F.interpolate(image.double(), scale_factor=design.factor, mode="bicubic")
    return (x[..., :height, :width] + base).clamp(0, 1)
