"""Which part of a photograph is painted how: masks, labels, a map of the content. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hires.config.checks import check_fields
from hires.config.values import counted
from hires.errors import ConfigError

REST = "rest"
"""In place of a mask: whatever no other mask covers."""
_HOW = "write CONTENT_MASK, CONTENT_MASK:STYLE_MASK, or either with :STYLE_NUMBER after it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A region of the photograph, and what paints it.

    Attributes:
        content: grey picture of the photograph's shape, white where the region is: a path, or
            (1, 1, H, W) float in [0, 1]; ``rest`` for whatever no other mask covers.
        style: the same of its style: which part of it paints the region; None for all of it.
        numbers: of the styles that paint it, from 1; several are blended by their weights. ``(0,)``
            keeps the photograph. Empty: the style whose place is that of the mask.
    """

    content: Any
    style: Any = None
    numbers: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What to call it: its file, if it has one."""
        return str(self.content) if isinstance(self.content, str) else "a mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guides:
    """Pictures that say which part of the photograph is painted how."""

    mask: tuple[str, ...] = ()
    """A region, white in a grey picture, and the style that paints it; :0 keeps the photograph, as
    does what no mask covers, and the word rest stands for that. STYLE_MASK: by this part only."""

    labels: tuple[str, ...] = ()
    """In place of masks, a picture of colours for the photograph and one for each style: what has
    one colour is painted by what has the same in the styles."""

    content_map: str | None = None
    """Grey picture: how strictly the scene is kept where. Mid grey as --content-weight says, black
    not at all, white 16 times as much."""

    def __post_init__(self) -> None:
        """Refuse masks that cannot be read as such, and masks beside labels."""
        check_fields(self)
        for text in self.mask:
            parse_mask(text)
        if self.mask and self.labels:
            raise ConfigError("`mask` and `labels` both say where regions are: leave one out")

    def check(self, num_styles: int, style_weights: Sequence[float]) -> list[Mask]:
        """Hold masks and labels to the number of styles, and weights of styles to the masks.

        Returns:
            The masks, each with the numbers of its styles.

        Raises:
            ConfigError: see `assigned` and `check_labels`.
        """
        masks = assigned([parse_mask(text) for text in self.mask], num_styles, style_weights)
        check_labels(len(self.labels), num_styles)
        if masks and style_weights and all(len(mask.numbers) == 1 for mask in masks):
            raise ConfigError(
                "`style_weights` does nothing where each region has one style: leave it out"
            )
        return masks

    def files(self) -> Iterator[tuple[str, str]]:
        """Role and path of every picture, each once."""
        pictures = [
            picture
            for mask in map(parse_mask, self.mask)
            for picture in (mask.content, mask.style)
            if picture not in (None, REST)
        ]
        yield from dict.fromkeys(("mask", path) for path in pictures)
        yield from dict.fromkeys(("labels", path) for path in self.labels)
        if self.content_map is not None:
            yield "content map", self.content_map


def parse_mask(text: str) -> Mask:
    """Turn ``CONTENT_MASK[:STYLE_MASK][:STYLE_NUMBER]`` into a mask.

    A number may be several, as ``1+2``.

    Raises:
        ConfigError: if it cannot be read so.
    """
    # A colon before a slash is a drive's.
    parts = re.split(r":(?![\\/])", text)
    numbers: tuple[int, ...] = ()
    if len(parts) > 1 and re.fullmatch(r"\d+(\+\d+)*", parts[-1]):
        numbers = tuple(map(int, parts.pop().split("+")))
    if len(parts) > 2 or not all(parts):
        raise ConfigError(f"`mask` is '{text}': {_HOW}")
    return Mask(content=parts[0], style=parts[1] if len(parts) == 2 else None, numbers=numbers)


def assigned(
    masks: Sequence[Mask], num_styles: int, style_weights: Sequence[float] = ()
) -> list[Mask]:
    """Masks with the numbers of their styles.

    Raises:
        ConfigError: for a mask without a style, a style without a mask, and what contradicts
            itself.
    """
    found = [_numbered(mask, place, num_styles) for place, mask in enumerate(masks, 1)]
    named = {number for mask in found for number in mask.numbers}
    idle = [number for number in range(1, num_styles + 1) if number not in named]
    if found and not named - {0}:
        raise ConfigError("no `mask` has a style: nothing would be painted")
    if found and idle:
        raise ConfigError(
            f"style {idle[0]} paints nothing: name its number after a mask, as in"
            f" `mask={found[0].name}:{idle[0]}`, or leave the picture out"
        )
    if [mask.content for mask in found if isinstance(mask.content, str)].count(REST) > 1:
        raise ConfigError(f"two masks are the {REST}: give its styles together, as {REST}:1+2")
    for mask in found if len(style_weights) == num_styles else ():
        if any(mask.numbers) and not sum(style_weights[number - 1] for number in mask.numbers):
            raise ConfigError(f"{mask.name} has a style whose `style_weights` are 0: give it more")
    return found


def _numbered(mask: Mask, place: int, num_styles: int) -> Mask:
    numbers = mask.numbers
    if not numbers:
        # Parts of one style need no number.
        numbers = (1,) if num_styles == 1 and mask.style is not None else (place,)
        if place > num_styles and numbers == (place,):
            raise ConfigError(
                f"there are {counted(place, 'mask')} or more for"
                f" {counted(num_styles, 'style picture')}: say which style {mask.name} has, as in"
                f" `mask={mask.name}:1`"
            )
    if max(numbers) > num_styles:
        raise ConfigError(
            f"{mask.name} names style {max(numbers)}, but there {_are(num_styles)}: give a number"
            f" from 0 to {num_styles}"
        )
    if 0 in numbers and (len(numbers) > 1 or mask.style is not None):
        raise ConfigError(f"{mask.name} has style 0, which keeps the photograph: give that alone")
    if len(set(numbers)) != len(numbers):
        raise ConfigError(f"{mask.name} names a style twice")
    return Mask(content=mask.content, style=mask.style, numbers=numbers)


def check_labels(num_labels: int, num_styles: int) -> None:
    """Refuse labels that are not one picture for the photograph and one for each style.

    Raises:
        ConfigError: with how many there are.
    """
    if num_labels and num_labels != 1 + num_styles:
        raise ConfigError(
            f"`labels` has {counted(num_labels, 'picture')} for a photograph and"
            f" {counted(num_styles, 'style')}: give {1 + num_styles}, the photograph's first"
        )


def _are(number: int) -> str:
    return f"is {number}" if number == 1 else f"are {number}"
