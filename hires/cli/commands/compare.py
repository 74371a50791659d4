"""``hires compare``: paintings measured side by side, a sheet of them, a page to choose on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from hires.cli.arguments.looking import Compare
from hires.errors import ImageError
from hires.image.decode.read import load_image
from hires.image.encode.save import check_output, save_image
from hires.judging.choice import Choice, write_choices
from hires.judging.comparison import Judged, check_sides, comparison_sheet, judge, networks_of
from hires.utils.files import is_writable
from hires.utils.names import printable, unique_names

_NAME = "painting"
# Words of a value in a line, numbers of octaves above all: fewer where the terminal is narrow.
_WORDS_IN_LINE = (4, 2, 1)
_PADDING = 2  # of a column, left and right
_NOTES = (
    "palette: distance of colours to the style's, 0 to 1. strokes: distance of raw patches to the"
    " style's per octave, finest first, 0 is alike. luma, chroma/luma: energy per octave over the"
    " style's, 1 is alike. scene: how far what is alike in the photograph is from being so here."
)


def run(command: Compare) -> int:
    """Measure, print, and save what was asked for."""
    inputs = [command.content, command.style, *command.results]
    if command.output is not None:
        check_output(command.output, inputs=inputs)
    if command.choose is not None:
        _check_page(command.choose)
    networks = networks_of(command.features)
    content, style = load_image(command.content), load_image(command.style)
    names = unique_names([Path(path).stem for path in command.results])
    paintings = dict(zip(names, map(load_image, command.results), strict=True))
    found: dict[str, Judged] = {}
    for (name, painting), path in zip(paintings.items(), command.results, strict=True):
        check_sides(painting, style, (path, command.style))
        try:
            found[name] = judge(painting, content, style, networks)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
    if command.json:
        print(json.dumps({name: asdict(judged) for name, judged in found.items()}, indent=2))
    else:
        _print(found)
    _save(command, paintings, content, style, found)
    if not command.json:
        if command.output is not None:
            print(f"saved {command.output}: whole, and pixel by pixel")
        if command.choose is not None:
            print(f"saved {command.choose}: open it in a browser, and choose without the names")
    return 0


def _save(
    command: Compare,
    paintings: Mapping[str, Tensor],
    content: Tensor,
    style: Tensor,
    found: Mapping[str, Judged],
) -> None:
    if command.output is not None:
        said = {name: [*_lines(judged)] for name, judged in found.items()}
        save_image(comparison_sheet(paintings, content, style, said), command.output)
    if command.choose is not None:
        name = f"{Path(command.content).stem} in {Path(command.style).stem}"
        choice = Choice(name=name, content=content, style=style, paintings=paintings)
        write_choices(Path(command.choose), [choice])


def _check_page(path: str) -> None:
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ImageError(f"{path}: a page ends with .html")
    if not Path(path).absolute().parent.is_dir() or not is_writable(Path(path)):
        raise ImageError(f"{path}: cannot be written there; choose another folder")


def _print(found: Mapping[str, Judged]) -> None:
    """A table, and what its columns mean. Numbers stay whole: names give way, then the width."""
    console = Console()
    rows = {name: [*_values(judged)] for name, judged in found.items()}
    for in_line in _WORDS_IN_LINE:
        lines = [[_stacked(text, in_line) for _, text in row] for row in rows.values()]
        titles = [_stacked(title, in_line) for title, _ in next(iter(rows.values()))]
        widths = [max(map(_width, column)) for column in zip(titles, *lines, strict=True)]
        width = sum(widths) + len(_NAME) + _PADDING * (len(widths) + 1)
        if width <= console.width:
            break
    table = Table(box=None, header_style="bold")
    table.add_column(_NAME, overflow="fold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for name, line in zip(rows, lines, strict=True):
        table.add_row(Text(name), *line)
    Console(width=max(console.width, width)).print(table)
    console.print(_NOTES, style="dim", highlight=False)


def _stacked(text: str, in_line: int) -> str:
    """A text with so many words in a line."""
    words = text.split()
    starts = range(0, len(words), in_line)
    return "\n".join(" ".join(words[start : start + in_line]) for start in starts)


def _width(text: str) -> int:
    """Of the longest line, in letters of a terminal."""
    return max(map(cell_len, text.split("\n")))


def _lines(judged: Judged) -> Iterator[str]:
    return (f"{title} {text}" for title, text in _values(judged))


def _values(judged: Judged) -> Iterator[tuple[str, str]]:
    """What each measure is called, and what it found."""
    yield "palette", f"{judged.palette:.3f}"
    yield "strokes", " ".join(f"{one:.2f}" for one in judged.strokes)
    yield "luma", " ".join(f"{octave.luma:.2f}" for octave in judged.octaves)
    yield "chroma/luma", " ".join(f"{octave.chroma_to_luma:.2f}" for octave in judged.octaves)
    for name, distance in judged.structure.items():
        yield f"scene ({printable(Path(name).stem)})", f"{distance:.3f}"
