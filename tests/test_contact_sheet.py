"""Contact sheets: where pictures lie, and that no text is cut off."""

from __future__ import annotations

import pytest
import torch
from conftest import random_image
from PIL import ImageFont
from torch import Tensor

from hires.image import contact_sheet as module
from hires.image.contact_sheet import Cell, contact_sheet

COMMAND = "hires stylize photo.jpg painting.jpg -o out.png --content-weight 0.1 --style-loss gram"


def find(picture: Tensor, sheet: Tensor) -> list[tuple[int, int]]:
    """Where a picture lies on a sheet, as rows and columns of its first pixel."""
    values = (picture * 255).round().float() / 255
    height, width = values.shape[2:]
    corners = (sheet[..., : -height or None, : -width or None] == values[..., :1, :1]).all(1)[0]
    return [
        (top, left)
        for top, left in corners.nonzero().tolist()
        if torch.equal(sheet[..., top : top + height, left : left + width], values)
    ]


def columns_of_ink(sheet: Tensor) -> list[int]:
    """Columns of a sheet that are not white."""
    return (sheet < 1).any(1)[0].any(0).nonzero()[:, 0].tolist()


def test_pictures_stand_pixel_by_pixel_in_rows_of_columns() -> None:
    pictures = [random_image(40 + i, 60, seed=i) for i in range(3)]
    head = Cell(picture=random_image(30, 30, seed=9), title="photo.jpg")
    cells = [Cell(picture=one, lines=(COMMAND,)) for one in pictures]
    sheet = contact_sheet(cells, 2, head=[head], side=100)
    assert sheet.dtype == torch.float32
    assert sheet.shape[:2] == (1, 3)
    (first,), (second,), (third,) = (find(one, sheet) for one in pictures)
    ((above, left),) = find(head.picture, sheet)  # type: ignore[arg-type]
    assert above < first[0] == second[0] < third[0]
    assert left == first[1] == third[1] < second[1]


def test_large_pictures_are_resampled_and_small_ones_are_not_enlarged() -> None:
    large, small = torch.zeros(1, 3, 300, 400), torch.zeros(1, 3, 10, 20)
    assert len(columns_of_ink(contact_sheet([Cell(picture=large)], 4, side=100))) == 100
    assert len(columns_of_ink(contact_sheet([Cell(picture=small)], 4, side=100))) == 20


@pytest.mark.parametrize("has_fonts", [True, False])
@pytest.mark.parametrize("text", [COMMAND, "x" * 300, "-" * 300, "--mask " + "a" * 200])
def test_text_stays_within_its_column(
    text: str, has_fonts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_fonts:
        monkeypatch.setattr(module, "_FONTS", ())
    sheet = contact_sheet([Cell(title=text, lines=(text,)), Cell(title=text)], 2, side=600)
    font = module._Style.of(200)
    inked = columns_of_ink(sheet)
    assert inked[0] >= font.gap - 1
    assert inked[-1] <= font.gap + 2 * (200 + font.gap)
    # Nothing between the columns.
    assert not {*range(font.gap + 202, 2 * font.gap + 198)} & {*inked}


@pytest.mark.parametrize("text", [COMMAND, "x" * 300])
def test_no_letter_is_lost(text: str) -> None:
    font = ImageFont.load_default(12)
    lines = [*module._wrapped(text, font, 150)]
    assert len(lines) > 2
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(font.getlength(line) <= 150 for line in lines)


def test_options_keep_their_values() -> None:
    lines = [*module._wrapped(COMMAND, ImageFont.load_default(12), 200)]
    assert [line.strip() for line in lines if "--" in line][-1] == "--style-loss gram"
    assert not any(line.endswith(("-o", "weight", "loss")) for line in lines)


def test_nothing_is_no_sheet() -> None:
    with pytest.raises(ValueError, match="needs cells"):
        contact_sheet([], 4)
