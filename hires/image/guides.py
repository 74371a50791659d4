"""Masks, labels and maps read: which part of a photograph is painted how."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hires.config.guides import REST, Guides, Mask, assigned, check_labels, parse_mask
from hires.config.paper import Window
from hires.errors import ConfigError
from hires.image.decode.read import read_picture
from hires.image.labels import meet, parts_of_colours
from hires.image.originals import Original, PictureLike, original, originals
from hires.image.resample import resize, resize_rows
from hires.image.rows import Picture, Rows

Size = tuple[int, int]
# How much more strictly the scene is kept where a map is white.
MOST_STRICT = 16.0
# Two masks that are each other's inverse, in 8 bit, may leave this much.
_ROUNDING = 1.5 / 255
# Shares of its width by which a mask may be of another shape: a rounded pixel may be more than the
# first, but in a mask of a few pixels it would be any shape.
_OFF, _MOST_OFF = 0.01, 0.05
# Shares of the photograph that are worth a word.
_TOLD = 0.001


@dataclass(frozen=True, slots=True, eq=False)
class PaintedRegion:
    """A region that is painted.

    Attributes:
        mask: (1, 1, H, W) in [0, 1], how much each pixel of the content belongs to it.
        styles: what paints it: of each style by its place, from 0, which part, (1, 1, h, w) in
            [0, 1]; None for all of it.
    """

    mask: Tensor
    styles: Mapping[int, Tensor | None]


@dataclass(frozen=True, slots=True, eq=False)
class Guided:
    """Which part of a content picture is painted how.

    Attributes:
        regions: what is painted, each by its own styles; nothing if there are no regions.
        kept: (1, 1, H, W) in [0, 1], where the photograph is kept; None for nowhere.
        strictness: (1, 1, H, W) in [0, `MOST_STRICT`], factor on the content's loss; None for 1.
        notes: what the user should know.
    """

    regions: tuple[PaintedRegion, ...] = ()
    kept: Tensor | None = None
    strictness: Tensor | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_values(self) -> int:
        """How many numbers it holds."""
        planes = [self.kept, self.strictness, *(region.mask for region in self.regions)]
        planes += [part for region in self.regions for part in region.styles.values()]
        return sum(plane.numel() for plane in planes if plane is not None)

    def shares(self, of_styles: Sequence[float], only: int | None = None) -> list[list[float]]:
        """What each style counts in each region, summing to 1; once where there are no regions.

        Args:
            of_styles: the same of the whole picture.
            only: the style by its place, from 0, that counts alone wherever a region has it.
        """
        found, everywhere = [], dict.fromkeys(range(len(of_styles)))
        for styles in [region.styles for region in self.regions] or [everywhere]:
            own = [share if i in styles else 0.0 for i, share in enumerate(of_styles)]
            if only in styles and only in everywhere:
                own = [float(i == only) for i in everywhere]
            total = sum(own) if self.regions else 1.0
            found.append([share / total for share in own])
        return found

    def of_style(self, index: int, size: Size) -> list[Tensor | None]:
        """Which part of a style at ``(height, width)`` paints each region; None for nothing."""
        found: list[Tensor | None] = []
        for region in self.regions:
            part = region.styles.get(index)
            if part is not None:
                part = resize(part, size, clamp=True)
            elif index in region.styles:
                part = torch.ones(1, 1, 1, 1).expand(1, 1, *size)
            found.append(part)
        return found

    def restored(self, picture: Picture, content: Original) -> Picture:
        """A painting (1, 3, H, W) with the photograph where it is kept; itself if that is nowhere.

        Blended as pixels are: what is kept is the photograph, to the bit.
        """
        if self.kept is None:
            return picture
        kept, size = self.kept, (picture.shape[2], picture.shape[3])
        if isinstance(picture, Tensor):
            photograph = resize(content.pixels, size, clamp=True)
            return blended(picture, photograph, resize(kept, size, clamp=True))

        def made(rows: slice) -> Tensor:
            photograph, share = (
                resize_rows(one, size, rows).clamp_(0, 1) for one in (content.pixels, kept)
            )
            return blended(picture[rows], photograph, share)

        return Rows(size, made)


UNGUIDED = Guided()


def blended(picture: Tensor, photograph: Tensor, kept: Tensor) -> Tensor:
    """A painting with the photograph in place of it where ``kept`` (1, 1, H, W) is 1."""
    return torch.lerp(picture, photograph.to(picture), kept.to(picture))


def read_guides(
    content: PictureLike,
    styles: PictureLike | Sequence[PictureLike],
    *,
    masks: Sequence[str | Mask] = (),
    labels: Sequence[PictureLike] = (),
    content_map: PictureLike | None = None,
) -> Guided:
    """Read masks or labels, and a map of the content, for `hires.stylize`.

    Args:
        content: the content picture, whole, as `hires.stylize` takes it.
        styles: the styles, the same.
        masks: which style paints which region: `Mask`, or as typed, ``"sky.png:2"``.
        labels: in place of masks, a picture of colours for the content and one for each style: what
            has one colour is painted by what has the same in the styles.
        content_map: grey picture, how strictly the scene is kept where: mid grey as
            ``Config.content_weight`` says, black not at all, white `MOST_STRICT` times as much.

    Raises:
        ValueError: for pictures that cannot be read, are empty, or have another shape.
    """
    whole, paintings = original(content), originals(styles)
    if masks and labels:
        raise ConfigError("`mask` and `labels` both say where regions are: leave one out")
    typed = [parse_mask(mask) if isinstance(mask, str) else mask for mask in masks]
    check_labels(len(labels), len(paintings))
    reader = _Reader(whole.size, paintings)
    return reader.read(assigned(typed, len(paintings)), labels, content_map)


def guided(
    content: Size,
    styles: Sequence[Original],
    given: Guides,
    *,
    window: Window | None = None,
    style_weights: Sequence[float] = (),
) -> Guided:
    """Read the pictures of guides.

    Args:
        content: ``(height, width)`` of the whole content picture.
        styles: the styles.
        given: what to read.
        window: the part of the content that is painted; None for all of it.
        style_weights: of the styles, if they were given.

    Raises:
        ValueError: for pictures that cannot be read, are empty, or have another shape.
    """
    masks = given.check(len(styles), style_weights)
    found = _Reader(content, styles).read(masks, given.labels, given.content_map)
    return found if window is None else _cut(found, window)


class _Reader:
    """Reads guides of a content of ``(height, width)`` and of its styles."""

    def __init__(self, content: Size, styles: Sequence[Original]) -> None:
        self._content, self._styles = content, styles
        self.notes: list[str] = []

    def read(
        self, masks: Sequence[Mask], labels: Sequence[PictureLike], content_map: PictureLike | None
    ) -> Guided:
        """Regions of masks, each with the numbers of its styles, or of labels; and a map."""
        found = self.of_labels(labels) if labels else self.of_masks(masks)
        if content_map is not None:
            grey = self.plane(content_map, _called(content_map, "the content map"), self._content)
            # Odds: 1 where the map is mid grey.
            strictness = (grey / (1 - grey).clamp_min(1e-6)).clamp_(max=MOST_STRICT)
            found = replace(found, strictness=strictness)
        return replace(found, notes=tuple(self.notes))

    def of_masks(self, masks: Sequence[Mask]) -> Guided:
        """Regions of masks, each with the numbers of its styles."""
        if not masks:
            return UNGUIDED
        rests = [_is_rest(mask) for mask in masks]
        planes = [
            torch.zeros(1, 1, *self._content) if rest else self._plane_of(mask)
            for mask, rest in zip(masks, rests, strict=True)
        ]
        if any(rests):
            rest = planes[rests.index(True)]
            rest += (1 - torch.stack(planes).sum(0)).clamp_min_(0)
            if not bool((rest > _ROUNDING).any()):
                raise ConfigError(f"the {REST} is empty: the other masks cover the photograph")
        parts = [
            {number - 1: self._part_of(mask, number) for number in mask.numbers if number}
            for mask in masks
        ]
        return self._shared(planes, parts)

    def of_labels(self, labels: Sequence[PictureLike]) -> Guided:
        """One region for each colour of the content's label picture."""
        pictures = [original(label) for label in labels]
        names = [_called(label) for label in labels]
        sizes = [self._content, *(style.size for style in self._styles)]
        whose = ["the photograph", *(f"style {i}" for i in range(1, len(labels)))]
        for picture, name, size, owner in zip(pictures, names, sizes, whose, strict=True):
            self._fits(picture.size, name, size, owner)
        own, *others = [
            parts_of_colours(picture.pixels, picture.mask, name)
            for picture, name in zip(pictures, names, strict=True)
        ]
        planes, parts = [], []
        for colour, plane in own.items():
            planes.append(resize(plane, self._content, clamp=True))
            parts.append(meet(colour, others, names))
        return self._shared(planes, parts)

    def plane(self, picture: Any, name: str, size: Size, whose: str = "the photograph") -> Tensor:
        """A grey picture at ``(height, width)``, (1, 1, H, W) in [0, 1]; what is hidden is 0.

        Raises:
            ConfigError: if nothing of it is white, or it has another shape.
        """
        if isinstance(picture, Tensor):
            found = picture.detach().to("cpu", torch.float32).clamp(0, 1)
            if found.ndim != 4 or found.shape[0] != 1 or found.shape[1] not in (1, 3):
                raise ConfigError(f"{name} is {tuple(picture.shape)}: give (1, 1, H, W) floats")
            found = found.mean(1, keepdim=True)
        else:
            file = read_picture(picture) if isinstance(picture, str | os.PathLike) else picture
            one = original(file)
            found = one.pixels.mean(1, keepdim=True)
            found = found if one.mask is None else found * one.mask
        if not bool((found > _ROUNDING).any()):
            raise ConfigError(f"{name} is empty: paint white where it is to count")
        self._fits((found.shape[2], found.shape[3]), name, size, whose)
        return resize(found, size, clamp=True)

    def _fits(self, found: Size, name: str, size: Size, whose: str) -> None:
        """Refuse another shape, and note another size."""
        told = f"{name} is {found[1]}x{found[0]}"
        allowed = max(_OFF * found[1], min(_MOST_OFF * found[1], 1))
        if abs(found[0] * size[1] / size[0] - found[1]) > allowed:
            raise ConfigError(
                f"{told}, of another shape than {whose}, which is {size[1]}x{size[0]}: give one of"
                " the same shape"
            )
        if found != size:
            note = f"{told} and is resized to the {size[1]}x{size[0]} of {whose}"
            self.notes += [note] if note not in self.notes else []

    def _plane_of(self, mask: Mask) -> Tensor:
        return self.plane(mask.content, _called(mask.content), self._content)

    def _part_of(self, mask: Mask, number: int) -> Tensor | None:
        if mask.style is None:
            return None
        size = self._styles[number - 1].size
        return self.plane(mask.style, _called(mask.style), size, f"style {number}")

    def _shared(self, planes: list[Tensor], parts: Sequence[Mapping[int, Tensor | None]]) -> Guided:
        """Regions of which each pixel belongs to no more than 1 in all."""
        total = torch.stack(planes).sum(0)
        overlap = float((total > 1 + 5 * _ROUNDING).float().mean())
        if overlap > _TOLD:
            self.notes.append(
                f"masks overlap in {overlap:.0%} of the photograph: there each counts by its share"
            )
        gap = 1 - total.clamp(max=1)
        missing = float((gap > 0.5).float().mean())
        if missing > _TOLD:
            self.notes.append(
                f"no mask covers {missing:.0%} of the photograph: it is kept there as it is"
            )
        planes = [plane / total.clamp_min(1) for plane in planes]
        painted = [
            PaintedRegion(plane, part) for plane, part in zip(planes, parts, strict=True) if part
        ]
        kept = (1 - torch.stack([region.mask for region in painted]).sum(0)).clamp_(0, 1)
        kept[kept <= _ROUNDING] = 0
        return Guided(tuple(painted), kept if bool(kept.any()) else None)


def _cut(whole: Guided, window: Window) -> Guided:
    """What guides have of the window of a content that is painted."""
    rows = slice(window.top, window.top + window.height)
    columns = slice(window.left, window.left + window.width)

    def part(plane: Tensor) -> Tensor:
        return plane[..., rows, columns].clone()

    cut = [replace(region, mask=part(region.mask)) for region in whole.regions]
    regions = tuple(region for region in cut if bool((region.mask > _ROUNDING).any()))
    if cut and not regions:
        raise ConfigError("no mask lies on the paper: choose another `gravity`, or `fit`")
    notes = whole.notes
    if len(regions) < len(cut):
        notes = (*notes, "a mask lies wholly beyond the paper: its region is not painted")
    kept, strictness = (
        None if plane is None else part(plane) for plane in (whole.kept, whole.strictness)
    )
    if kept is not None and not bool(kept.any()):
        kept = None
    return Guided(regions, kept, strictness, notes)


def _is_rest(mask: Mask) -> bool:
    return isinstance(mask.content, str) and mask.content == REST


def _called(picture: Any, else_called: str = "a mask") -> str:
    """What to call a picture: its file, if it has one."""
    if isinstance(picture, Tensor):
        return else_called
    return str(getattr(picture, "path", "") or getattr(picture, "name", "") or picture)
