"""A page on which people choose the better of two paintings without knowing which is which.

Two-alternative choices agree better among people than marks do. The page is one HTML file that
needs no network: pictures are within it; what was chosen is downloaded from it as JSON.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from torch import Tensor

from hires.engine.ladder import scale_to
from hires.image.encode.save import save_image
from hires.image.resample import resize
from hires.judging.comparison import crop_places
from hires.utils.files import replacing

_WHOLE, _SMALL, _CROP = 1024, 320, 640


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Choice:
    """Paintings to choose from.

    Attributes:
        name: of the pair of photograph and style.
        content: the photograph, (1, 3, H, W) in [0, 1].
        style: the style.
        paintings: the same by the names that are to be compared; two or more.
    """

    name: str
    content: Tensor
    style: Tensor
    paintings: Mapping[str, Tensor]


def write_choices(path: Path, choices: Sequence[Choice]) -> None:
    """Write the page, whole or not at all.

    Raises:
        SaveError: if the system refuses.
    """
    data = json.dumps([_packed(choice) for choice in choices]).replace("</", "<\\/")
    template = files(__package__).joinpath("choice.html").read_text(encoding="utf-8")
    with replacing(path) as temporary:
        temporary.write_text(template.replace("/*CHOICES*/[]", data), encoding="utf-8")


def _packed(choice: Choice) -> dict[str, object]:
    first = next(iter(choice.paintings.values()))
    size = first.shape[2], first.shape[3]
    side = min(_CROP, *size)
    top, left = crop_places(resize(choice.content, size, clamp=True), side)[0]
    crop = (..., slice(top, top + side), slice(left, left + side))
    return {
        "name": choice.name,
        "content": _url(choice.content, _SMALL),
        "style": _url(choice.style, _SMALL),
        "paintings": [
            {"name": name, "whole": _url(picture, _WHOLE), "crop": _url(picture[crop], _CROP)}
            for name, picture in choice.paintings.items()
        ],
    }


def _url(picture: Tensor, most: int) -> str:
    """A picture as part of a page, as a JPEG with a long side of so many pixels at most."""
    size = picture.shape[2], picture.shape[3]
    if max(size) > most:
        picture = resize(picture, scale_to(size, most), clamp=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture.jpg")
        save_image(picture, path)
        return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
