"""``hires compare``: paintings measured side by side, a sheet of them, a page to choose on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch import Tensor

from hires.cli.arguments.looking import Compare
from hires.errors import ImageError
from hires.image.decode.read import load_image
from hires.image.encode.save import check_output, save_image
from hires.judging.choice import Choice, write_choices
from hires.judging.comparison import Judged, comparison_sheet, judge, networks_of
from hires.utils.files import is_writable

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
    paintings = {name: load_image(path) for name, path in _named(command.results)}
    found: dict[str, Judged] = {}
    for (name, painting), path in zip(paintings.items(), command.results, strict=True):
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


def _named(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Short names of files that differ, and their paths."""
    stems = [Path(path).stem for path in paths]
    for number, (stem, path) in enumerate(zip(stems, paths, strict=True)):
        is_unique = stems.count(stem) == 1
        yield stem if is_unique else f"{stem} {stems[: number + 1].count(stem)}", path


def _print(found: Mapping[str, Judged]) -> None:
    table = Table(box=None, header_style="bold")
    table.add_column("painting")
    rows = {name: [*_values(judged)] for name, judged in found.items()}
    for title, _ in next(iter(rows.values())):
        table.add_column(title, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(text for _, text in row))
    console = Console()
    console.print(table)
    console.print(_NOTES, style="dim", highlight=False)


def _lines(judged: Judged) -> Iterator[str]:
    return (f"{title} {text}" for title, text in _values(judged))


def _values(judged: Judged) -> Iterator[tuple[str, str]]:
    """What each measure is called, and what it found."""
    yield "palette", f"{judged.palette:.3f}"
    yield "strokes", " ".join(f"{one:.2f}" for one in judged.strokes)
    yield "luma", " ".join(f"{octave.luma:.2f}" for octave in judged.octaves)
    yield "chroma/luma", " ".join(f"{octave.chroma_to_luma:.2f}" for octave in judged.octaves)
    for name, distance in judged.structure.items():
        yield f"scene ({Path(name).stem})", f"{distance:.3f}"
