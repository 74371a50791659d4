"""Paintings of one photograph in one style, measured side by side, and shown so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from kornia.color import rgb_to_ycbcr
from torch import Tensor

from hires.engine.ladder import Size, scale_to
from hires.errors import ImageError
from hires.features.checkpoints import load_features
from hires.features.network import Network
from hires.image.contact_sheet import Cell, contact_sheet
from hires.image.resample import resize
from hires.judging.octaves import Octave, bands, octave_ratios
from hires.judging.palette import palette_distance
from hires.judging.strokes import stroke_distances
from hires.judging.structure import LAYERS, structure_distance

_OCTAVES, _LEAST_SIDE = 4, 64
# Sides may differ from those of the photograph's shape by rounding, here and in other programs.
_TOLERANCE = 0.02
# Side of a crop in pixels, and how many pixels of the sheet show one of its.
_CROP, _ZOOM, _SHEET_SIDE = 192, 2, 512
_STYLE = "style"


@dataclass(frozen=True, slots=True)
class Judged:
    """What a painting is like, beside its photograph and its style; see each measure.

    Attributes:
        palette: `palette_distance` to the style.
        strokes: `stroke_distances` to the style, finest octave first.
        octaves: `octave_ratios` over the style's.
        structure: `structure_distance` to the photograph, by the name of the network that looks.
    """

    palette: float
    strokes: tuple[float, ...]
    octaves: tuple[Octave, ...]
    structure: Mapping[str, float]


def networks_of(names: Sequence[str]) -> dict[str, Network]:
    """Feature networks that look at the scene, by their names; see `load_features`.

    Raises:
        FeaturesError: if there is no such network, or it lacks the layers that are looked at.
    """
    found = {name: load_features(name) for name in names}
    for network in found.values():
        network.check_layers(LAYERS)
        network.prepare("cpu", torch.float32, torch.channels_last)
    return found


def judge(
    painting: Tensor, content: Tensor, style: Tensor, networks: Mapping[str, Network]
) -> Judged:
    """Measure a painting.

    Args:
        painting: (1, 3, H, W) in [0, 1].
        content: its photograph, of any size and its shape.
        style: its style, of any size: it is measured with the painting's long side, or at its own
            size if that is smaller.
        networks: that look at the scene, by name.

    Raises:
        ImageError: for a painting of another shape, and for one or a style that is too small.
    """
    check_sides(painting, style)
    size = _size(painting)
    style, content = scaled_style(style, size), _scene(content, size)
    number = _num_octaves(size, _size(style))
    return Judged(
        palette=palette_distance(painting, style),
        strokes=stroke_distances(painting, style, number),
        octaves=octave_ratios(painting, style, number),
        structure={
            name: structure_distance(painting, content, one) for name, one in networks.items()
        },
    )


def check_sides(
    painting: Tensor, style: Tensor, names: tuple[str, str] = ("the painting", "the style")
) -> None:
    """Refuse pictures that are too small to measure.

    Args:
        painting: (1, 3, H, W).
        style: its style, of any size.
        names: what to call both.

    Raises:
        ImageError: for one with a side that is too short, the style's as it is measured.
    """
    size = _size(painting)
    for name, shown in zip(names, (size, _scaled(_size(style), size)), strict=True):
        if min(shown) < _LEAST_SIDE:
            raise ImageError(
                f"{name} is too small to measure, {shown[1]}x{shown[0]} px: give one with sides of"
                f" at least {_LEAST_SIDE} px"
            )


def scaled_style(style: Tensor, size: Size) -> Tensor:
    """The style with a painting's long side, or at its own size if that is smaller."""
    return resize(style, _scaled(_size(style), size), clamp=True)


def _scaled(style: Size, size: Size) -> Size:
    return scale_to(style, min(max(size), max(style)))


def _scene(content: Tensor, size: Size) -> Tensor:
    """The photograph at the size of its painting."""
    own = _size(content)
    if abs(own[0] / own[1] * size[1] / size[0] - 1) > _TOLERANCE:
        raise ImageError(
            f"a painting of {size[1]}x{size[0]} has not the shape of a photograph of"
            f" {own[1]}x{own[0]}: give the photograph as it was cut for it"
        )
    return resize(content, size, clamp=True)


def _num_octaves(*sizes: Size) -> int:
    least = min(min(size) for size in sizes)
    return min(_OCTAVES, (least // (_LEAST_SIDE // 2)).bit_length() - 1)


def comparison_sheet(
    paintings: Mapping[str, Tensor],
    content: Tensor,
    style: Tensor,
    said: Mapping[str, Sequence[str]],
) -> Tensor:
    """Photograph, style and paintings, whole, and pixel by pixel where the scene is busy and flat.

    Args:
        paintings: (1, 3, H, W) in [0, 1], by name.
        content: the photograph.
        style: the style.
        said: lines below each painting, by name.

    Returns:
        The sheet, (1, 3, H, W) in [0, 1].
    """
    size = _size(next(iter(paintings.values())))
    scaled = scaled_style(style, size)
    head = [Cell(picture=content, title="photograph"), Cell(picture=style, title=_STYLE)]
    whole = [
        Cell(picture=picture, title=name, lines=tuple(said.get(name, ())))
        for name, picture in paintings.items()
    ]
    columns = {**paintings, _STYLE: scaled}
    crops = [*_crops(columns, content)]
    parts = [
        contact_sheet(cells, max(len(columns), 2), side=_SHEET_SIDE)
        for cells in (head, whole, crops)
    ]
    return _below(parts)


def _crops(columns: Mapping[str, Tensor], content: Tensor) -> Iterator[Cell]:
    side = min(_CROP, *(min(_size(picture)) for picture in columns.values()))
    places = {
        name: crop_places(_seen(name, picture, content), side) for name, picture in columns.items()
    }
    for number, where in enumerate(("busiest", "flattest")):
        for name, picture in columns.items():
            top, left = places[name][number]
            crop = picture[..., top : top + side, left : left + side]
            shown = crop.repeat_interleave(_ZOOM, 2).repeat_interleave(_ZOOM, 3)
            yield Cell(picture=shown, lines=(f"{name}, {where} place, {_ZOOM}:1",))


def _seen(name: str, picture: Tensor, content: Tensor) -> Tensor:
    """What says where a picture is busy: the photograph at its size, or the style itself."""
    return picture if name == _STYLE else resize(content, _size(picture), clamp=True)


def crop_places(picture: Tensor, side: int) -> list[tuple[int, int]]:
    """Top left corners of the busiest and the flattest square of a picture (1, 3, H, W)."""
    band = next(bands(rgb_to_ycbcr(picture.float())[:, :1], 1))
    step = max(side // 4, 1)
    energies = torch.nn.functional.avg_pool2d(band.square(), min(side, *band.shape[2:]), step)
    places = (int(energies.argmax()), int(energies.argmin()))
    limits = [length - side for length in _size(picture)]
    found = [divmod(place, energies.shape[3]) for place in places]
    return [(min(row * step, limits[0]), min(column * step, limits[1])) for row, column in found]


def _below(parts: Sequence[Tensor]) -> Tensor:
    """Sheets one below the other, on white paper."""
    width = max(part.shape[3] for part in parts)
    padded = [
        torch.nn.functional.pad(part, (0, width - part.shape[3]), value=1.0) for part in parts
    ]
    return torch.cat(padded, 2)


def _size(picture: Tensor) -> Size:
    return picture.shape[2], picture.shape[3]
