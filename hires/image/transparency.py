"""What cannot be seen of a picture has no influence: hidden colours are replaced before any use.

The colour of a transparent pixel is whatever the program that made the file left there. A network
would see it beside the visible pixels, and resampling would mix it into them; so it is filled in
from its surroundings by the pull-push method (Gortler et al. 1996, "The Lumigraph", section 3.4).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# From this opacity on a colour is taken as it is: with 8 bit it then had 32 levels at least, even
# in a program that kept it multiplied by alpha.
_SURE = 1 / 8
# Rows that are filled at a time: memory beyond the picture is a third of it, and these.
FILLED_ROWS = 256


def fill_hidden(pixels: Tensor, alpha: Tensor) -> Tensor:
    """Continue the colours of a picture into what is transparent.

    Args:
        pixels: (1, 3, H, W) float32, straight colours; changed in place.
        alpha: (1, 1, H, W) float32 in [0, 1].

    Returns:
        ``pixels``, untouched where alpha is 1/8 or more; where alpha is 0 nothing of what stood
        there is left.
    """
    if bool((alpha >= _SURE).all()):
        return pixels
    return _fill(pixels, (alpha / _SURE).clamp_(max=1))


def mask_of(alpha: Tensor | None) -> Tensor | None:
    """How much each pixel counts: its alpha; None where all of the picture is opaque."""
    return None if alpha is None or bool((alpha == 1).all()) else alpha


def _fill(colour: Tensor, sureness: Tensor) -> Tensor:
    """Blend each colour, as far as it is unsure, with those of a picture of half the size."""
    height, width = colour.shape[2:]
    if height * width == 1 or bool((sureness == 1).all()):
        return colour
    smaller, surer = _halved(colour, sureness)
    smaller = _fill(smaller, surer)
    for top in range(0, height, FILLED_ROWS):
        rows = slice(top, min(top + FILLED_ROWS, height))
        # lerp is exact at both ends: sure colours stay, hidden ones go.
        doubled = _doubled(smaller, rows, width)
        colour[..., rows, :] = torch.lerp(doubled, colour[..., rows, :], sureness[..., rows, :])
    return colour


def _halved(colour: Tensor, sureness: Tensor) -> tuple[Tensor, Tensor]:
    """Means over 2x2 pixels, weighted by how sure they are; one sure pixel makes a mean sure."""
    height, width = ((side + 1) // 2 for side in colour.shape[2:])
    smaller, surer = colour.new_empty(1, 3, height, width), colour.new_empty(1, 1, height, width)
    for top in range(0, colour.shape[2], FILLED_ROWS):
        rows, halves = slice(top, top + FILLED_ROWS), slice(top // 2, (top + FILLED_ROWS) // 2)
        weight = sureness[..., rows, :]
        weighted = F.avg_pool2d(colour[..., rows, :] * weight, 2, ceil_mode=True)
        weight = F.avg_pool2d(weight, 2, ceil_mode=True)
        smaller[..., halves, :] = weighted.div_(weight.clamp_min(1e-12))
        surer[..., halves, :] = weight.mul_(4).clamp_(max=1)
    return smaller, surer


def _doubled(picture: Tensor, rows: slice, width: int) -> Tensor:
    """Rows of a picture at twice its size, bilinear."""
    first = max(rows.start // 2 - 1, 0)
    part = picture[..., first : (rows.stop + 1) // 2 + 1, :]
    doubled = F.interpolate(part, scale_factor=2, mode="bilinear", align_corners=False)
    start = rows.start - 2 * first
    return doubled[..., start : start + rows.stop - rows.start, :width]
