"""The image-to-image network in training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hires.feedforward.design import Design
from hires.feedforward.normalisation import EPSILON, NormRelu
from hires.feedforward.stages import CENTRE, Stage, convolve, enlarged

_BATCH_MOMENTUM = 0.1


class Transformer(nn.Module):
    """The trainable network of a design, from seeded random weights."""

    def __init__(self, design: Design, *, seed: int) -> None:
        super().__init__()
        self.design = design
        self.stages = design.stages(normalised=True)
        self.tensors = nn.ParameterDict()
        generator = torch.Generator().manual_seed(seed)
        for name, shape in design.tensors(normalised=True).items():
            self.tensors[_key(name)] = nn.Parameter(_first_value(name, shape, generator))
        # Training begins at grey, or at the enlarged input, not far outside of what a picture is.
        self.tensors["last_weight"].data.mul_(0.0 if design.shortcut else 0.1)
        if not design.normalised:
            for stage in self.stages:
                if stage.norm:
                    self.register_buffer(f"{stage.name}_mean", torch.zeros(stage.after))
                    self.register_buffer(f"{stage.name}_variance", torch.ones(stage.after))

    @torch.no_grad()
    def go_on_from(self, finished: Mapping[str, Tensor]) -> None:
        """Take the tensors of a finished network that normalises, as `finished` gives them."""
        for name, value in finished.items():
            self.tensors[_key(name)].copy_(value)

    def tensor(self, stage: Stage, part: str) -> Tensor:
        """A tensor of a stage: weight, bias, scale or shift."""
        found: Tensor = self.tensors[f"{stage.name}_{part}"]
        return found

    def forward(self, image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Transform (B, 3, H, W) sRGB in [0, 1] to (B, 3, H·factor, W·factor), not clamped.

        Pictures are float32 or float64, feature maps of the given type.
        """
        x, remembered = (image - CENTRE).to(dtype), image
        x = x.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            if stage.opens:
                remembered = x
            last = stage is self.stages[-1]
            weight = self.tensor(stage, "weight")
            bias = None if stage.norm else self.tensor(stage, "bias").to(dtype)
            y = convolve(stage, weight.to(dtype), bias, x, stage.whole((x.shape[2], x.shape[3])))
            y = y if last else self._normalised(stage, y)
            x = remembered + y if stage.closes else y
        factor = self.design.factor
        x = x[..., : image.shape[2] * factor, : image.shape[3] * factor].to(image.dtype)
        return x + (enlarged(image, factor) if self.design.shortcut else CENTRE)

    def _normalised(self, stage: Stage, x: Tensor) -> Tensor:
        scale, shift = self.tensor(stage, "scale"), self.tensor(stage, "shift")
        if self.design.normalised:
            normalised: Tensor = NormRelu.apply(x, scale, shift, stage.relu)[0]
            return normalised
        # A batch is normalised as one picture: its pictures on top of each other.
        shape, rows = x.shape, x.permute(0, 2, 3, 1)
        stacked = rows.reshape(1, -1, shape[3], shape[1]).permute(0, 3, 1, 2)
        y: Tensor
        y, mean, inverse = NormRelu.apply(stacked, scale, shift, stage.relu)
        if self.training:
            self._remember(stage, mean[0], inverse[0])
        return y.permute(0, 2, 3, 1).reshape(rows.shape).permute(0, 3, 1, 2)

    @torch.no_grad()
    def _remember(self, stage: Stage, mean: Tensor, inverse: Tensor) -> None:
        running = self.get_buffer(f"{stage.name}_mean")
        running.lerp_(mean.to(running.dtype), _BATCH_MOMENTUM)
        variance = inverse.to(running.dtype) ** -2 - EPSILON
        self.get_buffer(f"{stage.name}_variance").lerp_(variance, _BATCH_MOMENTUM)

    def finished(self) -> dict[str, Tensor]:
        """The tensors of the finished network, float32: batch statistics become part of weights."""
        found: dict[str, Tensor] = {}
        for stage in self.stages:
            weight = self.tensor(stage, "weight").detach().float().cpu()
            parts = {"weight": weight.contiguous()}
            names = ("scale", "shift") if stage.norm else ("bias",)
            parts |= {name: self.tensor(stage, name).detach().float().cpu() for name in names}
            if stage.norm and not self.design.normalised:
                mean = self.get_buffer(f"{stage.name}_mean").cpu()
                variance = self.get_buffer(f"{stage.name}_variance").cpu()
                factor = parts["scale"] / (variance + EPSILON).sqrt()
                weight = weight * factor[:, None, None, None]
                parts = {"weight": weight, "bias": parts["shift"] - factor * mean}
            found |= {f"{stage.name}.{part}": value.clone() for part, value in parts.items()}
        return found


def _key(name: str) -> str:
    return name.replace(".", "_")


def _first_value(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    part = name.rpartition(".")[2]
    if part == "weight":
        spread = math.sqrt(2 / (shape[1] * shape[2] * shape[3]))
        value = torch.randn(shape, generator=generator) * spread
        return value.contiguous(memory_format=torch.channels_last)
    return torch.ones(shape) if part == "scale" else torch.zeros(shape)
