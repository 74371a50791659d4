"""Pictures of labels: flat colours that name regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hires.errors import ConfigError

Colour = tuple[int, int, int]
# Steps of 8 bit within which two colours are one: what a JPEG or a brush makes of a colour.
_ALIKE = 32
# A colour has at least this share of a picture; less is an edge between two of them.
_LEAST = 0.001
_MOST_COLOURS = 24


def parts_of_colours(pixels: Tensor, alpha: Tensor | None, name: str) -> dict[Colour, Tensor]:
    """Where each colour of a label picture is.

    Colours that are nearly alike are one, and smoothed edges belong to the nearest colour.

    Args:
        pixels: (1, 3, H, W) in [0, 1].
        alpha: (1, 1, H, W) in [0, 1], how much of each pixel can be seen; None for all. What
            cannot be seen has no label.
        name: what to call the picture.

    Returns:
        (1, 1, H, W) of zeros and ones for each colour, of 8 bit, the most frequent first.

    Raises:
        ConfigError: for a picture that is no picture of labels.
    """
    values = (pixels[0] * 255).round_().to(torch.int32)
    codes = values[0] * 65536 + values[1] * 256 + values[2]
    seen = torch.ones_like(codes, dtype=torch.bool) if alpha is None else alpha[0, 0] >= 0.5
    found, indices, counts = torch.unique(codes, return_inverse=True, return_counts=True)
    if alpha is not None:
        counts = torch.bincount(indices[seen], minlength=len(found))
    shades = torch.stack([found // 65536, found // 256 % 256, found % 256], 1)
    main = _main_colours(shades, counts, counts.sum() * _LEAST)
    if not main or len(main) > _MOST_COLOURS:
        raise ConfigError(
            f"{name} is no picture of labels: it has {len(main)} colours or more; paint each"
            f" region in one colour, {_MOST_COLOURS} at most, and save it as PNG"
        )
    nearest = torch.cdist(shades.float(), torch.tensor(main).float()).argmin(1)
    numbers = nearest[indices]
    planes = [((numbers == i) & seen).float()[None, None] for i in range(len(main))]
    return dict(zip(main, planes, strict=True))


def meet(
    colour: Colour, styles: Sequence[Mapping[Colour, Tensor]], names: Sequence[str]
) -> dict[int, Tensor | None]:
    """The part of each style that has a colour, by the style's place, from 0.

    Args:
        colour: of the content's label picture.
        styles: the colours of those of the styles.
        names: of the content's label picture, and of each style's.

    Raises:
        ConfigError: if none has it.
    """
    found: dict[int, Tensor | None] = {}
    for i, parts in enumerate(styles):
        for other, plane in parts.items():
            if max(abs(a - b) for a, b in zip(colour, other, strict=True)) <= _ALIKE:
                before = found.get(i)
                found[i] = plane if before is None else torch.maximum(before, plane)
    if not found:
        told = "#{:02x}{:02x}{:02x}".format(*colour)
        raise ConfigError(
            f"{names[0]} has the colour {told}, which {' and '.join(names[1:])} lacks: paint it"
            " there, too, or make it transparent to keep the photograph"
        )
    return found


def _main_colours(shades: Tensor, counts: Tensor, least: Tensor) -> list[Colour]:
    """The most frequent colours, each with those that are nearly alike."""
    main: list[Colour] = []
    left = counts.clone()
    while len(main) <= _MOST_COLOURS and bool(left.any()):
        top = int(left.argmax())
        alike = (shades - shades[top]).abs().amax(1) <= _ALIKE
        if left[alike].sum() >= least:
            main.append(tuple(shades[top].tolist()))
        left[alike] = 0
    return main
