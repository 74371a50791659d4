"""How much of a device's memory feature maps may take, and where a canvas lies."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hires.config.run import Config
from hires.utils.memory import available_bytes

# Three channels of float32.
CANVAS_BYTES = 12
# What `memory=auto` comes to on a CPU at most, and of what is available there.
_MOST_ON_HOST = 2 * 2**30
_SHARE_OF_HOST = 0.5
# Of what a GPU has left: blocks of its allocator do not lie without gaps, and other programs draw.
_SHARE_OF_CARD = 0.95
# Moments in float64 and their roots while they are judged, workspaces of cuBLAS and cuDNN.
LIBRARY_BYTES = 384 * 2**20
# A canvas leaves the GPU where it would leave feature maps less than this share of what they get
# without it: tiles would be so small that they cost more than the way to the host.
_LEAST_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Budget:
    """What there is for feature maps.

    Attributes:
        config: how to paint.
        fixed: bytes for feature maps, whatever the canvas; None for what the rest leaves of `card`.
        card: bytes that a GPU has for everything of this process but its CUDA context; None on
            other devices, or where nobody looks.
    """

    config: Config
    fixed: int | None
    card: int | None = None

    def at(
        self, num_pixels: int, rung: int, *, weights: int, references: float
    ) -> tuple[int, bool]:
        """Bytes for feature maps of one canvas, and whether it lies in the host's memory.

        Args:
            num_pixels: of the canvas.
            rung: index of the rung, from 0.
            weights: bytes of the network.
            references: bytes per pixel of what the canvas is compared to.
        """
        if self.card is None:
            assert self.fixed is not None
            return self.fixed, False
        rest = _SHARE_OF_CARD * self.card - LIBRARY_BYTES - weights - references * num_pixels
        beside = rest - state_bytes(self.config, rung) * num_pixels
        least = _LEAST_SHARE * rest if self.fixed is None else self.fixed
        hosted = beside < least
        found = (rest if hosted else beside) if self.fixed is None else self.fixed
        return max(int(found), 0), hosted


def budget_of(config: Config, device: torch.device) -> Budget:
    """The budget on a device as it is now; to be asked before anything lies there."""
    fixed = config.memory_bytes
    if device.type == "cuda":
        return Budget(config, fixed, free_bytes(device))
    if fixed is None:
        free = available_bytes() if device.type == "cpu" else None
        shared = _MOST_ON_HOST if free is None else int(_SHARE_OF_HOST * free)
        fixed = max(min(_MOST_ON_HOST, shared), 1)
    return Budget(config, fixed)


def free_bytes(device: torch.device) -> int | None:
    """Memory that a device has left for this process; None if nobody tells."""
    if device.type == "cuda":
        # What PyTorch's allocator keeps for later is ours, too.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return available_bytes() if device.type == "cpu" else None


def state_bytes(config: Config, rung: int) -> int:
    """Bytes per pixel of canvas, gradient and what the optimizer keeps."""
    # Other units than [0, 1] take a copy of the canvas.
    scaled = int(config.pixels != "unit")
    if config.optimizer == "adam":
        return CANVAS_BYTES * ((5 if config.averaging else 4) + scaled)
    return CANVAS_BYTES * (2 * config.history_at(rung) + 6 + scaled)
