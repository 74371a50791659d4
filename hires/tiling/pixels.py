"""The pixels of a tile, on their way into a network and their gradient's way back.

A canvas may lie in the host's memory while a GPU computes. Its parts then go there, and their
gradients come back, through pinned memory: neither way does the host wait for what the GPU does
meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.tiling.geometry import Region

Index = tuple[slice, slice]


def fetched(canvas: Tensor, index: Index, device: torch.device) -> Tensor:
    """A part of a canvas (1, 3, H, W) on a device: a view if it lies there, else a copy."""
    part = canvas[..., *index]
    if not _are_apart(canvas.device, device):
        return part
    pinned = torch.empty(part.shape, dtype=part.dtype, pin_memory=torch.cuda.is_available())
    return pinned.copy_(part).to(device, non_blocking=True)


def _are_apart(one: torch.device, other: torch.device) -> bool:
    return one != other


class CanvasGradient:
    """The gradient of a canvas, to which that of its parts is added in the order of `add`.

    Args:
        canvas: (1, 3, H, W).

    Attributes:
        total: the sum, where the canvas is; complete after `settle`.
    """

    def __init__(self, canvas: Tensor) -> None:
        self.total = torch.empty_like(canvas)
        self._on_the_way: Callable[[], None] | None = None

    def clear(self) -> None:
        """Begin with nothing."""
        self._on_the_way = None
        self.total.zero_()

    def add(self, index: Index, part: Tensor, *, scale: float = 1.0) -> None:
        """Add a part (1, 3, h, w), times a number, on whatever device it is.

        From another device it is added when the next one comes, so that the host waits for a part
        only once the GPU has more to do.
        """
        here = self.total[..., *index]
        if not _are_apart(part.device, here.device):
            here.add_(part, alpha=scale)
            return
        copy = part.to(here.device, non_blocking=True)  # PyTorch pins what it copies to.
        is_there = torch.cuda.Event()  # type: ignore[no-untyped-call]
        is_there.record()
        self.settle()

        def arrive() -> None:
            is_there.synchronize()
            here.add_(copy, alpha=scale)

        self._on_the_way = arrive

    def settle(self) -> Tensor:
        """Wait for what is on the way; returns the sum."""
        arrive, self._on_the_way = self._on_the_way, None
        if arrive is not None:
            arrive()
        return self.total


def read_pixels(
    canvas: Tensor,
    region: Region,
    device: torch.device,
    gradient: CanvasGradient,
    scale: Callable[[], float],
) -> Tensor:
    """A region of a canvas, whose gradient is added to the canvas's own as soon as it is known.

    No tile's pixels stay in memory until then, as those of a leaf would.

    Args:
        canvas: (1, 3, H, W).
        region: what to read.
        device: where to.
        gradient: of the canvas; it is added to.
        scale: tells on the way back how much larger gradients are inside of the network.

    Returns:
        (1, 3, h, w), a copy.
    """
    anchor = torch.zeros((), requires_grad=True)
    pixels: Tensor = _Pixels.apply(anchor, canvas, region, device, gradient, scale)
    return pixels


class _Pixels(Function):
    """See `read_pixels`."""

    @staticmethod
    def forward(
        ctx: Any,
        anchor: Tensor,  # noqa: ARG004 - what makes the output part of a graph
        canvas: Tensor,
        region: Region,
        device: torch.device,
        gradient: CanvasGradient,
        scale: Callable[[], float],
    ) -> Tensor:
        """Copy a region of a canvas to a device; ``anchor`` is any leaf."""
        ctx.gradient, ctx.region, ctx.scale = gradient, region, scale
        pixels = fetched(canvas, region.index, device)
        is_copy = _are_apart(canvas.device, device)
        return pixels if is_copy else pixels.clone(memory_format=torch.contiguous_format)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        """Add the gradient, which was made larger."""
        ctx.gradient.add(ctx.region.index, gradients[0], scale=1 / ctx.scale())
        return None, None, None, None, None, None
