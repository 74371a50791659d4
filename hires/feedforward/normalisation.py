"""Instance normalisation: its statistics, which add up over tiles, and a node for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.kernels.sums import as_rows, blocks, column_sums

# What every normalisation adds to a variance before its root (Ulyanov et al. 2016).
EPSILON = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Mean and variance of every channel of a feature map, (C,) each, in at least float32."""

    mean: Tensor
    variance: Tensor


class Sums:
    """n, Σf and Σf² over the tiles of a feature map, by channel; Σm, Σmf and Σmf² under a mask."""

    def __init__(self, channels: int, dtype: torch.dtype, device: torch.device) -> None:
        self.count = 0.0
        self.total = torch.zeros(channels, dtype=dtype, device=device)
        self.square = torch.zeros(channels, dtype=dtype, device=device)

    def add(self, features: Tensor, mask: Tensor | None = None) -> None:
        """Add the positions of (1, C, h, w).

        A mask (1, 1, h, w), in at least float32, says how much each of them counts.
        """
        rows = as_rows(features)
        wide = torch.promote_types(rows.dtype, torch.float32)
        weights, start = None if mask is None else mask.reshape(-1, 1), 0
        for block in blocks(rows):
            values = block.to(wide)
            weighted = values if weights is None else values * weights[start : start + len(block)]
            start += len(block)
            self.total += column_sums(weighted, self.total.dtype)
            self.square += column_sums(weighted * values, self.total.dtype)
        self.count += len(rows) if mask is None else float(mask.sum(dtype=self.total.dtype))

    def finish(self, dtype: torch.dtype) -> Statistics:
        """The statistics of all positions."""
        mean = self.total / self.count
        variance = (self.square / self.count - mean.square()).clamp_min(0)
        return Statistics(mean.to(dtype), variance.to(dtype))


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
        wide = x if _mixes_types(x.device) else x.to(scale.dtype)
        y, mean, inverse = torch.native_group_norm(
            wide, scale, shift, batch, channels, height * width, channels, EPSILON
        )
        y = y.to(x.dtype)
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


def _mixes_types(device: torch.device) -> bool:
    """Whether a half-precision map can be normalised with wider parameters as it is.

    Elsewhere than on a CPU it cannot, and with parameters of its own type its statistics would be
    rounded to that.
    """
    return device.type == "cpu"


def _position_sums(x: Tensor) -> Tensor:
    """Sum over positions of (B, C, H, W): (B, C); a product with ones, which is fastest."""
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, N, C)
    return (rows.new_ones(len(rows), 1, rows.shape[1]) @ rows)[:, 0]


def _as_map(values: Tensor, like: Tensor) -> Tensor:
    return values[:, :, None, None].to(like.dtype)
