"""Whether a painting has the tones of its styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hires.config.run import Config
from hires.config.values import parse_style_layer
from hires.engine.ladder import Size, scale_to
from hires.image.guides import UNGUIDED, Guided
from hires.image.originals import Original
from hires.image.resample import resize

Tones = tuple[float, float, float]

_SHARES = (0.05, 0.5, 0.95)
_NUM_BINS = 256
# Long side of the copies whose tones are compared, in pixels: as coarse as each other, so that
# strokes and grain do not count, light and dark do.
TONES_SIDE = 512
# Of the range from black to white. Paintings of the samples are off by 0.1 at most, a dark style
# under Gram matrices by 0.4.
_FAR = 0.15


def tones(pictures: Sequence[Tensor], shares: Sequence[float] = (1.0,)) -> Tones:
    """The values below which 5, 50 and 95% of all values of some pictures lie.

    Args:
        pictures: values in [0, 1], of any shape each.
        shares: what each counts, summing to 1.
    """
    counts = torch.zeros(_NUM_BINS, dtype=torch.float64)
    for picture, share in zip(pictures, shares, strict=True):
        found = torch.histc(picture.detach().double().cpu(), _NUM_BINS, 0, 1)
        counts += share * found / found.sum()
    bounds = torch.tensor(_SHARES, dtype=torch.float64)
    low, middle, high = (torch.searchsorted(counts.cumsum(0), bounds) / _NUM_BINS).tolist()
    return low, middle, high


def about_tones(painting: Tones, style: Tones, advice: str) -> str | None:
    """What to say of a painting whose tones are far from those asked for; None if they are not.

    Args:
        painting: its tones.
        style: those of what it should look like.
        advice: ends the sentence.
    """
    if max(abs(a - b) for a, b in zip(painting, style, strict=True)) <= _FAR:
        return None
    found, wanted = (f"{one[0]:.2f} to {one[2]:.2f}" for one in (painting, style))
    return (
        f"the tones of the painting are not the style's: most lie at {found}, around"
        f" {painting[1]:.2f}, those of the style at {wanted}, around {style[1]:.2f}; {advice}"
    )


def compared(
    painting: Tensor,
    content: Original,
    styles: Sequence[Original],
    config: Config,
    guides: Guided = UNGUIDED,
) -> str | None:
    """What to say of a finished painting whose tones are far from its styles'; else None.

    Args:
        painting: a copy of it (1, 3, H, W) in [0, 1], its long side `TONES_SIDE` at most.
        content: the picture that was painted.
        styles: what it should look like.
        config: how it was painted.
        guides: which part of the content was painted how.
    """
    if not config.style_weight or not config.style_layers:
        return None
    if any(parse_style_layer(layer).number for layer in config.style_layers):
        return None  # Tones are made by all layers, and no picture has those of several.
    advice = "give more `iterations`"
    if config.content_weight:
        advice += " or a smaller `content_weight`"
    if all(name.startswith("gram") for name in config.style_losses):
        advice = "`style_loss=wasserstein`, or more `iterations`, brings them nearer"
    shares = config.style_shares(len(styles))
    if guides.regions:
        content, styles, shares = _painted_parts(content, styles, shares, guides)
    copies = [_visible(one, resize(one.pixels, _small(one.size), clamp=True)) for one in styles]
    wanted = tones(copies, shares)
    return about_tones(tones([_visible(content, painting)]), wanted, advice)


def _painted_parts(
    content: Original, styles: Sequence[Original], shares: Sequence[float], guides: Guided
) -> tuple[Original, list[Original], tuple[float, ...]]:
    """What is painted of the content, the parts of styles that paint it, and what each counts."""
    parts, counts, regions = [], [], guides.regions
    areas = [float(region.mask.double().sum()) for region in regions]
    for region, area, own in zip(regions, areas, guides.shares(shares), strict=True):
        for index, part in region.styles.items():
            seen = [plane for plane in (part, styles[index].mask) if plane is not None]
            mask = None if not seen else seen[0] * seen[-1] if len(seen) == 2 else seen[0]
            parts.append(replace(styles[index], mask=mask))
            counts.append(area / sum(areas) * own[index])
    painted = sum(region.mask for region in regions)
    assert isinstance(painted, Tensor)
    seen_of = painted if content.mask is None else painted * content.mask
    return replace(content, mask=seen_of), parts, tuple(counts)


def _small(size: Size) -> Size:
    """``(height, width)`` of a copy whose tones are compared."""
    return scale_to(size, min(TONES_SIDE, max(size)))


def _visible(picture: Original, copy: Tensor) -> Tensor:
    """The values of a picture's copy (1, 3, H, W) that can be seen."""
    if picture.mask is None:
        return copy
    mask = resize(picture.mask, (copy.shape[2], copy.shape[3]), clamp=True)
    return copy[..., mask[0, 0] >= mask.max() / 2]
