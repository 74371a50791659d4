"""ComfyUI's IMAGE and MASK tensors as the files that a run reads, and pictures as IMAGE."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from hires.errors import ConfigError
from hires.image.encode.save import save_image


def pictures_of(images: Iterable[Tensor]) -> Iterator[Tensor]:
    """Take batches apart.

    Args:
        images: each (B, H, W, C) float in [0, 1]; several may be of different sizes.

    Yields:
        Each picture, (1, C, H, W) float32.
    """
    for batch in images:
        for picture in batch:
            yield picture.float().movedim(-1, 0).unsqueeze(0).contiguous().cpu()  # (1, C, H, W)


def masks_of(masks: Iterable[Tensor]) -> Iterator[Tensor]:
    """The same of MASK tensors, (B, H, W) or (H, W): each (1, 1, H, W) float32."""
    for batch in masks:
        yield from pictures_of([batch.reshape(-1, *batch.shape[-2:], 1)])


def to_image(picture: Tensor) -> Tensor:
    """A picture (1, C, H, W) as IMAGE, (1, H, W, C) float32 on the CPU."""
    return picture.float().movedim(1, -1).contiguous().cpu()  # (1, H, W, C)


def separated(picture: Tensor) -> tuple[Tensor, Tensor | None]:
    """Colours (1, 3, H, W) and alpha (1, 1, H, W), if there is any, of (1, C, H, W).

    Raises:
        ConfigError: for another number of channels than 1, 3 or 4.
    """
    channels = picture.shape[1]
    if channels not in (1, 3, 4):
        raise ConfigError(f"an IMAGE has 1, 3 or 4 channels, got {channels}: convert it to RGB")
    colours = picture.expand(-1, 3, -1, -1) if channels == 1 else picture[:, :3]
    return colours.contiguous(), picture[:, 3:] if channels == 4 else None


def keep(picture: Tensor, folder: Path) -> str:
    """Save a picture under a name that follows from its pixels, unless it is there already.

    The same picture has the same path, so that the same run is found again. Multiples of 1/255, as
    8-bit files have them, are kept exactly; other values in 16 bits, to nearest.

    Args:
        picture: (1, C, H, W) float32 in [0, 1]: grey, colours, or colours and alpha.
        folder: made if it is missing.

    Returns:
        The path of the PNG.

    Raises:
        ConfigError: for another number of channels.
    """
    colours, alpha = separated(picture)
    values = picture.numpy()
    digest = hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest()
    path = folder / f"{digest[:16]}.png"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_image(colours, path, bit_depth=8 if _is_8_bit(picture) else 16, alpha=alpha)
    return str(path)


def _is_8_bit(picture: Tensor) -> bool:
    return torch.equal((picture * 255).round() / 255, picture)
