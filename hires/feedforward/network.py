"""Image-to-image networks of Johnson et al. 2016: what they are, and how a stage is computed.

A network is a chain of stages, each a convolution with what follows it. The same arithmetic serves
a whole picture in training and a tile of one in application: `Stage.reads` tells which part of its
input a part of a stage's output needs, and where the picture's own border has to be reflected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.tiling.geometry import Span

Task = Literal["style", "super-resolution"]
TASKS: tuple[Task, ...] = ("style", "super-resolution")
FACTORS = (4, 8)
# What every normalisation adds to a variance before its root (Ulyanov et al. 2016).
EPSILON = 1e-5
# Pictures are in [0, 1]; networks see them around zero, where half precision is finest.
CENTRE = 0.5
_BATCH_MOMENTUM = 0.1
# Fewer output channels than this are computed for several positions at once.
_FEW_CHANNELS = 8


class ModelError(ValueError):
    """A trained model, or a picture for it, that cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a stretch of a stage's output reads along one axis.

    Attributes:
        span: positions of the stage's input.
        skip: positions of the enlarged input to drop before the stretch begins.
        length: positions of the enlarged input to use from there.
        pads: positions to reflect before and after it, at the picture's own border only.
    """

    span: Span
    skip: int
    length: int
    pads: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Stage:
    """A convolution, the normalisation of its output, a residual connection and a ReLU, as told.

    Attributes:
        name: what its tensors are called.
        before: input channels.
        after: output channels.
        kernel: side of the kernel, odd.
        stride: step of the convolution.
        enlarge: the input is first enlarged by this factor, each position repeated.
        norm: whether the output is normalised; only then there is no bias.
        relu: whether negative values become zero at the end.
        opens: whether the stage's input is remembered ...
        closes: ... and added to the (normalised) output of this stage.
    """

    name: str
    before: int
    after: int
    kernel: int = 3
    stride: int = 1
    enlarge: int = 1
    norm: bool = True
    relu: bool = True
    opens: bool = False
    closes: bool = False

    def length(self, before: int) -> int:
        """Positions along an axis after this stage."""
        return -(-before * self.enlarge // self.stride)

    def reads(self, out: Span, before: int) -> Reach:
        """What the outputs in a span need of an input of ``before`` positions."""
        margin, end = self.kernel // 2, before * self.enlarge
        first, last = out.start * self.stride - margin, (out.stop - 1) * self.stride + margin + 1
        start, stop = max(first, 0), min(last, end)
        span = Span(start // self.enlarge, -(-stop // self.enlarge))
        skip = start - span.start * self.enlarge
        return Reach(span, skip, stop - start, (max(-first, 0), max(last - end, 0)))

    @property
    def multiply_adds(self) -> int:
        """Cost of one position of the output."""
        return self.kernel**2 * self.before * self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The architecture of an image-to-image network.

    ``style`` is c9s1-32, d64, d128, five residual blocks, u64, u32, c9s1-3 with instance
    normalisation; ``super-resolution`` is c9s1-64, four residual blocks, a u64 for every doubling
    and c9s1-3, trained with batch normalisation, which is folded into the convolutions afterwards,
    and added to the bicubically enlarged input (the document has no such shortcut; with it a
    network is useful after minutes). Up-convolutions repeat positions and convolve (Odena et al.
    2016), so that no checkerboard appears. Everything is padded by reflection.

    Attributes:
        task: ``style`` or ``super-resolution``.
        factor: how many times larger the output is than the input: 1, or 4 or 8.
        widths: channels from the first stage down to the residual blocks, halving the size each.
        num_blocks: residual blocks.
        kernel: side of the first and the last kernel.
    """

    task: Task = "style"
    factor: int = 1
    widths: tuple[int, ...] = (32, 64, 128)
    num_blocks: int = 5
    kernel: int = 9

    def __post_init__(self) -> None:
        """Refuse what cannot be a network, in words that name the fault."""
        if self.task not in TASKS:
            raise ModelError(f"unknown task '{self.task}': choose one of {', '.join(TASKS)}")
        factors = (1,) if self.task == "style" else FACTORS
        if self.factor not in factors:
            allowed = " or ".join(map(str, factors))
            raise ModelError(f"factor {self.factor} does not suit {self.task}: give {allowed}")
        if not self.widths or min(self.widths) < 1 or self.num_blocks < 1:
            raise ModelError("a network needs at least one width and one residual block")
        if self.task == "super-resolution" and len(self.widths) != 1:
            raise ModelError("a super-resolution network has one width")
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise ModelError(f"kernel {self.kernel}: give an odd number of at least 3")

    @property
    def shortcut(self) -> bool:
        """Whether the enlarged input is added to the output."""
        return self.task == "super-resolution"

    def stages(self, *, normalised: bool) -> tuple[Stage, ...]:
        """The chain of stages.

        Args:
            normalised: whether stages but the last have a normalisation: always for style, for
                super-resolution only in training.
        """
        first, wide = self.widths[0], self.widths[-1]
        found = [Stage("first", 3, first, self.kernel, norm=normalised)]
        for i, (before, after) in enumerate(pairwise(self.widths), 1):
            found.append(Stage(f"down{i}", before, after, stride=2, norm=normalised))
        for i in range(1, self.num_blocks + 1):
            found.append(Stage(f"block{i}_1", wide, wide, opens=True, norm=normalised))
            found.append(Stage(f"block{i}_2", wide, wide, relu=False, closes=True, norm=normalised))
        ups = self.widths[::-1] if self.task == "style" else (wide,) * (_doublings(self.factor) + 1)
        for i, (before, after) in enumerate(pairwise(ups), 1):
            found.append(Stage(f"up{i}", before, after, enlarge=2, norm=normalised))
        found.append(Stage("last", ups[-1], 3, self.kernel, norm=False, relu=False))
        return tuple(found)

    @property
    def normalised(self) -> bool:
        """Whether a finished network normalises: its statistics are then those of the picture."""
        return self.task == "style"

    def tensors(self, *, normalised: bool) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of the network."""
        shapes: dict[str, tuple[int, ...]] = {}
        for stage in self.stages(normalised=normalised):
            shape = (stage.after, stage.before, stage.kernel, stage.kernel)
            shapes[f"{stage.name}.weight"] = shape
            for part in ("scale", "shift") if stage.norm else ("bias",):
                shapes[f"{stage.name}.{part}"] = (stage.after,)
        return shapes

    @property
    def receptive_field(self) -> int:
        """How many pixels of the input, along an axis, an output pixel depends on at most."""
        stages = self.stages(normalised=self.normalised)
        far = 2**20  # The middle of a picture without end.
        lengths = [2 * far]
        for stage in stages:
            lengths.append(stage.length(lengths[-1]))
        widest = 0
        for offset in range(4 * self.factor):
            start = far * self.factor + offset
            span = Span(start, start + 1)
            for stage, before in zip(reversed(stages), reversed(lengths[:-1]), strict=True):
                span = stage.reads(span, before).span
            widest = max(widest, span.length)
        return widest


def _doublings(factor: int) -> int:
    return round(math.log2(factor))


def check_tensors(design: Design, weights: Mapping[str, Tensor]) -> None:
    """Raise `ModelError` unless the tensors are finite and those of a finished network."""
    expected = design.tensors(normalised=design.normalised)
    for name, shape in expected.items():
        if name not in weights:
            raise ModelError(f"it has no tensor '{name}'")
        if tuple(weights[name].shape) != shape:
            found = tuple(weights[name].shape)
            raise ModelError(f"tensor '{name}' is {found}, the architecture says {shape}")
        if not bool(torch.isfinite(weights[name]).all()):
            raise ModelError(f"tensor '{name}' has values that are not finite")
    unknown = sorted(set(weights) - set(expected))
    if unknown:
        raise ModelError(f"it has a tensor '{unknown[0]}' that does not belong")


def convolve(
    stage: Stage, weight: Tensor, bias: Tensor | None, x: Tensor, reaches: tuple[Reach, Reach]
) -> Tensor:
    """The convolution of a stage, on the part of its input that `Stage.reads` asked for.

    Args:
        stage: what to compute.
        weight: (after, before, kernel, kernel), in the type of ``x``.
        bias: (after,), or None.
        x: (B, before, h, w), rows and columns as the reaches say.
        reaches: those of the rows and of the columns of the output.

    Returns:
        (B, after, h', w').
    """
    rows, columns = reaches
    if stage.enlarge > 1:
        x = F.interpolate(x, scale_factor=stage.enlarge, mode="nearest")
        x = x[
            ...,
            rows.skip : rows.skip + rows.length,
            columns.skip : columns.skip + columns.length,
        ]
    if any(rows.pads + columns.pads):
        x = F.pad(x, (*columns.pads, *rows.pads), mode="reflect")
    if stage.after < _FEW_CHANNELS and stage.stride == 1:
        return _convolve_to_few(x, weight, bias)
    return F.conv2d(x, weight, bias, stride=stage.stride)


def _convolve_to_few(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution to few channels, two rows and two columns of the output at once.

    Processors compute at least 16 channels together, so three cost as much as sixteen. A kernel one
    larger, in four positions and at every other place, gives twelve: less than half of the time.
    """
    channels, before, side, _ = weight.shape
    height, width = (length - side + 1 for length in x.shape[2:])
    wide = weight.new_zeros(channels, 2, 2, before, side + 1, side + 1)
    for y in range(2):
        for z in range(2):
            wide[:, y, z, :, y : y + side, z : z + side] = weight
    kernels = wide.flatten(0, 2).contiguous(memory_format=torch.channels_last)
    if height % 2 or width % 2:
        x = F.pad(x, (0, width % 2, 0, height % 2))
    biases = None if bias is None else bias.repeat_interleave(4)
    found = F.pixel_shuffle(F.conv2d(x, kernels, biases, stride=2), 2)
    return found[..., :height, :width]


def whole(stage: Stage, size: tuple[int, int]) -> tuple[Reach, Reach]:
    """The reaches of the whole output of a stage for an input of ``(height, width)``."""
    rows, columns = (stage.reads(Span(0, stage.length(side)), side) for side in size)
    return rows, columns


class NormRelu(Function):
    """Normalise each picture's channels, scale, shift, and optionally ReLU, in one node.

    PyTorch's own backward of an instance normalisation takes twenty times as long in half
    precision on a CPU as this one.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalise (B, C, H, W); also returns mean and 1/deviation, (B, C)."""
        batch, channels, height, width = x.shape
        y, mean, inverse = torch.native_group_norm(
            x, scale, shift, batch, channels, height * width, channels, EPSILON
        )
        if relu:
            y = y.relu_()
        ctx.save_for_backward(x, y if relu else x, scale, mean, inverse)
        ctx.relu = relu
        ctx.mark_non_differentiable(mean, inverse)
        return y, mean, inverse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``a g + b x + c`` with a, b and c by channel, from two sums over positions."""
        gradient = gradients[0]
        x, y, scale, mean, inverse = ctx.saved_tensors
        if ctx.relu:
            gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
        count = x.shape[2] * x.shape[3]
        mean, inverse = mean.to(scale.dtype), inverse.to(scale.dtype)
        total = _position_sums(gradient).to(scale.dtype)
        along = inverse * (_position_sums(gradient * x).to(scale.dtype) - mean * total)
        factor = scale * inverse
        slope = -factor * inverse * along / count
        offset = -factor * total / count - slope * mean
        result = gradient * _as_map(factor, x)
        result = result.addcmul_(x, _as_map(slope, x)).add_(_as_map(offset, x))
        return result, along.sum(0), total.sum(0), None


def _position_sums(x: Tensor) -> Tensor:
    """Sum over positions of (B, C, H, W): (B, C); a product with ones, which is fastest."""
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, N, C)
    return (rows.new_ones(len(rows), 1, rows.shape[1]) @ rows)[:, 0]


def _as_map(values: Tensor, like: Tensor) -> Tensor:
    return values[:, :, None, None].to(like.dtype)


class Transformer(nn.Module):
    """The trainable network.

    Args:
        design: what to train.
        seed: seed of the weights.
    """

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

    def tensor(self, stage: Stage, part: str) -> Tensor:
        """A tensor of a stage: weight, bias, scale or shift."""
        found: Tensor = self.tensors[f"{stage.name}_{part}"]
        return found

    def forward(self, image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Transform (B, 3, H, W) sRGB in [0, 1] to (B, 3, H·factor, W·factor), not clamped.

        Args:
            image: pictures of at least a few pixels a side, float32 or float64.
            dtype: type of the feature maps.
        """
        x, remembered = (image - CENTRE).to(dtype), image
        x = x.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            if stage.opens:
                remembered = x
            last = stage is self.stages[-1]
            weight = self.tensor(stage, "weight")
            bias = None if stage.norm else self.tensor(stage, "bias").to(dtype)
            y = convolve(stage, weight.to(dtype), bias, x, whole(stage, (x.shape[2], x.shape[3])))
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


def enlarged(image: Tensor, factor: int) -> Tensor:
    """Bicubic enlargement of (B, 3, h, w) by a whole factor; the border repeats beyond itself."""
    return F.interpolate(image, scale_factor=factor, mode="bicubic", align_corners=False)


def _key(name: str) -> str:
    return name.replace(".", "_")


def _first_value(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    part = name.rpartition(".")[2]
    if part == "weight":
        spread = math.sqrt(2 / (shape[1] * shape[2] * shape[3]))
        value = torch.randn(shape, generator=generator) * spread
        return value.contiguous(memory_format=torch.channels_last)
    return torch.ones(shape) if part == "scale" else torch.zeros(shape)
