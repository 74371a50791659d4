"""The pixels of a tile, on their way into a network and their gradient's way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.tiling.geometry import Region


def read_pixels(
    canvas: Tensor,
    region: Region,
    device: torch.device,
    gradient: Tensor,
    scale: Callable[[], float],
) -> Tensor:
    """A region of a canvas, whose gradient is added to the canvas's own as soon as it is known.

    No tile's pixels stay in memory until then, as those of a leaf would.

    Args:
        canvas: (1, 3, H, W).
        region: what to read.
        device: where to.
        gradient: of the canvas, (1, 3, H, W); it is added to in place.
        scale: tells on the way back how much larger gradients are inside of the network.

    Returns:
        (1, 3, h, w), a copy.
    """
    anchor = torch.zeros((), requires_grad=True)
    pixels: Tensor = _Pixels.apply(anchor, canvas, region, device, gradient, scale)
    return pixels


class _Pixels(Function):
    """A tile of a canvas, whose gradient is added to the canvas's own as soon as it is known.

    No tile's pixels stay in memory until then, as those of a leaf would.
    """

    @staticmethod
    def forward(
        ctx: Any,
        anchor: Tensor,  # noqa: ARG004 - what makes the output part of a graph
        canvas: Tensor,
        region: Region,
        device: torch.device,
        gradient: Tensor,
        scale: Callable[[], float],
    ) -> Tensor:
        """Copy a region of a canvas to a device; ``anchor`` is any leaf."""
        ctx.gradient, ctx.region, ctx.scale = gradient, region, scale
        pixels: Tensor = canvas[..., *region.index].to(
            device, memory_format=torch.contiguous_format, copy=True
        )
        return pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        """Add the gradient, which was made larger."""
        part = gradients[0].to(ctx.gradient.device)
        ctx.gradient[..., *ctx.region.index].add_(part, alpha=1 / ctx.scale())
        return None, None, None, None, None, None
