"""Pictures for programs that take Pillow's."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_pillow(picture: Tensor) -> Image.Image:
    """A picture (1, 3, H, W), clamped to [0, 1], in 8 bits, rounded to nearest."""
    values = (picture[0].detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(values.permute(1, 2, 0).numpy()))
