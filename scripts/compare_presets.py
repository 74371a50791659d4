#!/usr/bin/env python3
"""Paint one photograph in one style with several presets at one size, and lay them side by side.

Saves into a folder: every preset's picture, ``compare.md`` and ``compare.json`` (seconds,
evaluations, losses), and ``contact_sheet.jpg``, on which every picture is shown whole and, below, a
part of it pixel by pixel. A preset's own loss cannot be compared with another's; so all pictures
are also judged by one yardstick, the style and content losses of the preset hires.

    scripts/compare_presets.py CONTENT STYLE --size 256 -o presets
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from panels import LABEL_HEIGHT, MARGIN, PANEL, as_pillow, save_sheet
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hires.cli.display import clock_time, open_display
from hires.cli.exits import EXIT_INTERRUPTED, guarded, tell
from hires.cli.options import Typed
from hires.cli.parsing import parse
from hires.config.presets import PRESETS
from hires.config.run import Config
from hires.engine.ladder import plan, scale_to
from hires.engine.resolve import fit
from hires.engine.stylize import iter_stylize
from hires.errors import ConfigError
from hires.image.decode.read import load_image
from hires.image.encode.save import check_output, save_image
from hires.image.resample import resize
from hires.utils.memory import manage_heap

PROG = "compare_presets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Paint one photograph in one style with several presets at one size."""

    content: Annotated[str, Typed(positional=True)]
    """The photograph."""

    style: Annotated[str, Typed(positional=True)]
    """The painting."""

    output: Annotated[str, Typed(short="-o", metavar="DIR")] = "presets"
    """Folder for the pictures, compare.md, compare.json and contact_sheet.jpg; made if missing."""

    presets: tuple[str, ...] = tuple(PRESETS)
    """Which presets."""

    size: int = 256
    """Long side of all pictures in pixels. hires and d2l climb to it from smaller ones."""

    iterations: int | None = None
    """Evaluations at every size, the same for all. auto: each preset's own number."""

    features: str | None = None
    """Feature network for all of them. auto: each preset's own (vgg19 for the documents)."""

    yardstick: str = "compact"
    """Feature network of the losses that all pictures are judged by."""

    device: str = Config().device
    """auto, cpu, cuda, cuda:N or mps."""

    quiet: bool = False
    """Print nothing but warnings and errors."""

    def __post_init__(self) -> None:
        """Refuse what is no preset."""
        for name in self.presets:
            if name not in PRESETS:
                raise ConfigError(f"preset '{name}': choose from {', '.join(PRESETS)}")
        if len(set(self.presets)) < len(self.presets):
            raise ConfigError("a preset is named twice: name each once")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one preset took, and how far it came.

    ``first_loss`` and ``loss`` are its own, at the first and last evaluation of the last size;
    ``style`` and ``content`` are those of the preset hires for the saved picture.
    """

    preset: str
    width: int
    height: int
    evaluations: int
    seconds: float
    first_loss: float
    loss: float
    style: float
    content: float
    notes: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; exit codes as those of ``hires``."""
    if argv is None:
        argv = sys.argv[1:]
        manage_heap()
    return guarded(PROG, lambda: run(argv))


def run(argv: Sequence[str]) -> int:
    """Paint with every preset, saving as it goes."""
    try:
        job = parse(Comparison, argv, prog=PROG)
    except SystemExit:  # --help
        return 0
    folder = Path(job.output)
    content, style = load_image(job.content), load_image(job.style)
    configs = {name: config_of(job, name) for name in job.presets}
    for config in configs.values():
        plan(fit(config).config, size_of(content), [size_of(style)])
    check_folder(job, folder)
    rows: list[Row] = []
    panels = [
        panel(fitted_to(content, job.size), "content"),
        panel(fitted_to(style, PANEL), "style"),
    ]
    try:
        for name, config in configs.items():
            row, picture = paint(job, name, config, (content, style), folder)
            rows.append(row)
            panels.append(panel(picture, name, row))
            save_table(rows, job, folder)
            save_sheet(panels, folder / "contact_sheet.jpg")
    except KeyboardInterrupt:
        tell(PROG, f"interrupted: {len(rows)} of {len(configs)} presets are saved in {folder}")
        return EXIT_INTERRUPTED
    if not job.quiet:
        print(markdown(rows), end="")
    return 0


def config_of(job: Comparison, name: str) -> Config:
    """The preset at the common size; a ladder that starts at half of its size still does."""
    given: dict[str, Any] = {"size": job.size, "measured_side": "long", "device": job.device}
    if name == "d2l":
        given["min_size"] = max(job.size // 2, 32)
    if job.iterations is not None:
        given["iterations"] = (job.iterations,)
    if job.features is not None:
        given["features"] = job.features
    return Config(preset=name, **given)  # type: ignore[arg-type]


def check_folder(job: Comparison, folder: Path) -> None:
    """Make the folder, and see that nothing that is read would be replaced."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"cannot save into {folder}: it is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*(f"{name}.png" for name in job.presets), "contact_sheet.jpg"):
        check_output(folder / file, inputs=(job.content, job.style))


def paint(
    job: Comparison, name: str, config: Config, pictures: tuple[Tensor, Tensor], folder: Path
) -> tuple[Row, Tensor]:
    """Paint with one preset, save its picture and judge it."""
    fitted = fit(config)
    content, style = pictures
    rungs = plan(fitted.config, size_of(content), [size_of(style)])
    for note in fitted.warnings:
        tell(PROG, f"warning: {note}")
    losses: list[float] = []
    started = time.perf_counter()
    with open_display(quiet=job.quiet) as display:
        display.begin(rungs)
        for progress in iter_stylize(content, style, fitted.config):
            if progress.rung.index == len(rungs) - 1:
                losses.append(progress.loss)
            display.update(progress)
    picture, seconds = progress.picture().cpu(), time.perf_counter() - started
    save_image(picture, folder / f"{name}.png")
    judged = judge(job, (content, style), folder / f"{name}.png")
    row = Row(
        preset=name,
        width=picture.shape[3],
        height=picture.shape[2],
        evaluations=sum(rung.num_iterations for rung in rungs),
        seconds=round(seconds, 2),
        first_loss=losses[0],
        loss=losses[-1],
        style=judged["style"],
        content=judged["content"],
        notes=fitted.warnings,
    )
    return row, picture


def judge(job: Comparison, pictures: tuple[Tensor, Tensor], path: Path) -> dict[str, float]:
    """Style and content loss of a saved picture by the house's own measure."""
    # The losses of the first step are those of the picture that it starts from.
    config = Config(
        sizes=(job.size,),
        iterations=(1,),
        features=job.yardstick,
        init=str(path),
        precision="fp32",
        device=job.device,
    )
    return next(iter(iter_stylize(*pictures, config))).terms


def markdown(rows: Sequence[Row]) -> str:
    """The table, for people."""
    head = ("preset", "size", "evaluations", "seconds", "own loss", "style", "content")
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for row in rows:
        cells = (
            row.preset,
            f"{row.width}x{row.height}",
            str(row.evaluations),
            f"{row.seconds:.1f}",
            f"{row.first_loss:.3g} → {row.loss:.3g}",
            f"{row.style:.3g}",
            f"{row.content:.3g}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def save_table(rows: Sequence[Row], job: Comparison, folder: Path) -> None:
    """Write the table as Markdown and JSON anew; both are whole at any time."""
    explained = (
        "\nOwn loss: at the first and last evaluation of the last size, in the preset's own units."
        f" Style and content: the losses of the preset hires with {job.yardstick}.\n"
    )
    notes = "".join(f"\n{row.preset}: {note}\n" for row in rows for note in row.notes)
    _write(folder / "compare.md", markdown(rows) + explained + notes)
    found = {
        "settings": asdict(replace(job, quiet=False)),
        "presets": [asdict(row) for row in rows],
    }
    _write(folder / "compare.json", json.dumps(found, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def panel(picture: Tensor, name: str, row: Row | None = None) -> Image.Image:
    """A picture whole and, below, the middle of it pixel by pixel, under two lines of text."""
    height, width = size_of(picture)
    whole_height = max(round(PANEL * height / width), 1)
    whole = resize(picture, (whole_height, PANEL), clamp=True)
    top, left = max(height - whole_height, 0) // 2, max(width - PANEL, 0) // 2
    detail = picture[..., top : top + whole_height, left : left + PANEL]
    total = LABEL_HEIGHT + whole_height + MARGIN + detail.shape[2]
    found = Image.new("RGB", (PANEL, total), "white")
    draw, font = ImageDraw.Draw(found), ImageFont.load_default(size=15)
    took = "" if row is None else f"{row.evaluations} evaluations, {clock_time(row.seconds)}"
    judged = "" if row is None else f"style {row.style:#.2g}, content {row.content:#.2g}"
    draw.text((0, 0), f"{name}  {took}", "black", font)
    draw.text((0, 20), judged or f"{width}x{height}", "dimgray", font)
    found.paste(as_pillow(whole), (0, LABEL_HEIGHT))
    found.paste(as_pillow(detail), (0, LABEL_HEIGHT + whole_height + MARGIN))
    return found


def fitted_to(picture: Tensor, side: int) -> Tensor:
    """A picture with its long side at a length."""
    return resize(picture, scale_to(size_of(picture), side), clamp=True)


def size_of(picture: Tensor) -> tuple[int, int]:
    """(height, width)."""
    return picture.shape[2], picture.shape[3]


if __name__ == "__main__":
    sys.exit(main())
