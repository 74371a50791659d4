"""Contact sheets: pictures in rows, with text below each, as one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hires.image.pillow import to_pillow
from hires.image.resample import resize

# Fonts of one width, which commands are read best in, as systems have them: Linux, macOS, Windows.
# Pillow's own, where there is none, has no letters beyond ASCII.
_FONTS = ("DejaVuSansMono.ttf", "LiberationMono-Regular.ttf", "Menlo.ttc", "consola.ttf")
# Letters of a font of one width in a column, of text and of titles, and the least size in pixels.
_LETTERS, _TITLE_LETTERS, _LEAST_FONT = 56, 44, 11
# Of the size of a font: a line, the room around pictures, what goes on is indented by.
_LINE, _GAP, _INDENT = 1.35, 1.5, 2
_PAPER, _INK, _TITLE_INK = (255, 255, 255), (70, 70, 70), (0, 0, 0)

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Cell:
    """A picture with what is said of it.

    Attributes:
        picture: (1, 3, H, W), any float dtype and device, sRGB in [0, 1]; None for text alone.
        title: a line in large letters, if there is one.
        lines: of text; those that are longer than the column is wide go on below.
    """

    picture: Tensor | None = None
    title: str = ""
    lines: tuple[str, ...] = ()


def contact_sheet(
    cells: Sequence[Cell], columns: int, *, head: Sequence[Cell] = (), side: int = 512
) -> Tensor:
    """Lay pictures out in rows, from left to right, on white paper.

    A picture is shown pixel by pixel, unless it is larger than ``side``: then it is resampled. All
    columns are as wide as the widest picture, or as a third of ``side`` if that is more.

    Args:
        cells: what is shown.
        columns: how many stand in a row.
        head: cells that come before the others, in rows of their own.
        side: long side of a picture in pixels, at most.

    Returns:
        The sheet, (1, 3, H, W) float32 in [0, 1].

    Raises:
        ValueError: if there are no cells or no columns.
    """
    if not (cells or head) or columns < 1:
        raise ValueError(f"a contact sheet needs cells and columns, got {len(cells)} in {columns}")
    shown = [[_shown(cell, side) for cell in part] for part in (head, cells)]
    pictures = [one.picture for part in shown for one in part if one.picture is not None]
    style = _Style.of(max([side // 3, *(picture.width for picture in pictures)]))
    rows = [
        _Row(part[start : start + columns], style)
        for part in shown
        for start in range(0, len(part), columns)
    ]
    in_row = min(columns, max(len(row.cells) for row in rows))
    width = style.gap + in_row * (style.column + style.gap)
    sheet = Image.new("RGB", (width, style.gap + sum(row.height for row in rows)), _PAPER)
    top = style.gap
    for row in rows:
        row.draw(sheet, top)
        top += row.height
    values = torch.from_numpy(np.array(sheet)).permute(2, 0, 1)[None]
    return values.float() / 255


@dataclass(frozen=True, slots=True)
class _Style:
    """Fonts, and distances in pixels."""

    column: int
    font: _Font
    title_font: _Font
    line: int
    title_line: int
    gap: int

    @classmethod
    def of(cls, column: int) -> _Style:
        """What suits columns of so many pixels."""
        # Letters of one width are about 0.6 of their size wide.
        small, large = (
            max(round(column / letters / 0.6), _LEAST_FONT)
            for letters in (_LETTERS, _TITLE_LETTERS)
        )
        return cls(
            column=column,
            font=_font(small),
            title_font=_font(large),
            line=round(small * _LINE),
            title_line=round(large * _LINE),
            gap=round(small * _GAP),
        )


@dataclass(frozen=True, slots=True)
class _Shown:
    """A cell whose picture has the size that it is shown at."""

    picture: Image.Image | None
    title: str
    lines: tuple[str, ...]


class _Row:
    """Cells side by side."""

    def __init__(self, cells: Sequence[_Shown], style: _Style) -> None:
        self.cells, self._style = cells, style
        self._texts = [[*_texts(cell, style)] for cell in cells]
        self._picture_height = max(cell.picture.height if cell.picture else 0 for cell in cells)

    @property
    def height(self) -> int:
        """In pixels, with the room below."""
        ends = (
            self._top_of_text(cell) + sum(line for *_, line in texts)
            for cell, texts in zip(self.cells, self._texts, strict=True)
        )
        return max(ends) + round(1.5 * self._style.gap)

    def _top_of_text(self, cell: _Shown) -> int:
        """From the top of the row, in pixels: the same below all pictures."""
        return 0 if cell.picture is None else self._picture_height + self._style.gap // 2

    def draw(self, sheet: Image.Image, top: int) -> None:
        """Draw the row on a sheet."""
        style, draw = self._style, ImageDraw.Draw(sheet)
        for i, (cell, texts) in enumerate(zip(self.cells, self._texts, strict=True)):
            left = style.gap + i * (style.column + style.gap)
            below = top + self._top_of_text(cell)
            if cell.picture is not None:
                sheet.paste(cell.picture, (left, top))
            for text, font, ink, line in texts:
                draw.text((left, below), text, fill=ink, font=font)
                below += line


def _texts(cell: _Shown, style: _Style) -> Iterator[tuple[str, _Font, tuple[int, int, int], int]]:
    """Lines of text as they fit into the column: text, font, colour and height."""
    if cell.title:
        for text in _wrapped(cell.title, style.title_font, style.column):
            yield text, style.title_font, _TITLE_INK, style.title_line
    for line in cell.lines:
        for text in _wrapped(line, style.font, style.column):
            yield text, style.font, _INK, style.line


def _wrapped(line: str, font: _Font, width: int) -> Iterator[str]:
    """A line in parts that are no wider than so many pixels; options keep their values."""
    text = ""
    for part in _parts(line):
        longer = f"{text} {part}" if text.strip() else text + part
        if text.strip() and font.getlength(longer) > width:
            yield text
            longer = " " * _INDENT + part
        text = longer
        while font.getlength(text) > width:
            fits = next(n for n in range(len(text) - 1, -1, -1) if font.getlength(text[:n]) < width)
            fits = max(fits, _INDENT + 1)
            yield text[:fits]
            text = " " * _INDENT + text[fits:]
    yield text


def _parts(line: str) -> Iterator[str]:
    """Words, an option with its first value as one of them."""
    option = ""
    for word in line.split(" "):
        if option and not word.startswith("-"):
            yield f"{option} {word}"
            option = ""
            continue
        if option:
            yield option
        option = word if word.startswith("-") else ""
        if not option:
            yield word
    if option:
        yield option


def _font(size: int) -> _Font:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _shown(cell: Cell, side: int) -> _Shown:
    if cell.picture is None:
        return _Shown(None, cell.title, cell.lines)
    picture = cell.picture.detach().float().cpu()
    height, width = picture.shape[2:]
    scale = side / max(height, width)
    if scale < 1:
        picture = resize(picture, (max(round(height * scale), 1), max(round(width * scale), 1)))
    return _Shown(to_pillow(picture), cell.title, cell.lines)
