#!/usr/bin/env python3
"""Paint one picture at several sizes, each started from the one before, and compare them.

Saves into a folder: every rung's picture, ``ladder.csv`` (size, seconds, peak memory, losses) and
``contact_sheet.jpg``, on which every rung is shown whole and, below, a part of it pixel by pixel.

    scripts/resolution_ladder.py CONTENT STYLE --sizes 256 512 1024 -o ladder
"""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hires.cli.display import clock_time, open_display
from hires.cli.exits import EXIT_INTERRUPTED, guarded, tell
from hires.cli.options import Typed
from hires.cli.parsing import parse
from hires.config.job import Job
from hires.config.values import format_bytes
from hires.engine.progress import Progress
from hires.errors import ConfigError, ImageError
from hires.image.encode.save import check_output, save_image
from hires.image.resample import resize
from hires.runs.planning import PlannedJob, files_of, plan_job
from hires.utils.memory import manage_heap, peak_resident_bytes

PROG = "resolution_ladder"
PANEL = 360  # width of a panel on the contact sheet, in pixels
MARGIN, LABEL_HEIGHT = 12, 44
PANELS_PER_ROW = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Study(Job):
    """Paint a ladder of --sizes, each from the one before, and save all of them side by side."""

    output: Annotated[str, Typed(short="-o", metavar="DIR")] = "ladder"
    """Folder for the pictures, ladder.csv and contact_sheet.jpg; made if missing."""

    def __post_init__(self) -> None:
        """Refuse a study without sizes."""
        super(Study, self).__post_init__()
        if not self.config.sizes:
            raise ConfigError("missing --sizes: name the long sides, for example 256 512 1024")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the CSV: one rung. Peak memory is that of the GPU, or of this process so far."""

    size: int
    width: int
    height: int
    iterations: int
    seconds: float
    peak_memory_bytes: int
    loss: float
    style: float
    content: float
    patch: float
    tv: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; exit codes as those of ``hires``."""
    if argv is None:
        argv = sys.argv[1:]
        manage_heap()
    return guarded(PROG, lambda: run(argv))


def run(argv: Sequence[str]) -> int:
    """Paint every rung, saving as it goes."""
    try:
        study = parse(Study, argv, prog=PROG)
    except SystemExit:  # --help
        return 0
    folder = Path(study.output)
    job = Job(
        content=study.content,
        styles=study.styles,
        bit_depth=study.bit_depth,
        config=study.config,
    )
    planned = plan_job(job)
    check_folder(folder, job)
    for warning in planned.run.warnings:
        tell(PROG, f"warning: {warning}")
    rows: list[Row] = []
    panels: list[Image.Image] = []
    try:
        climb(planned, folder, rows, panels, quiet=study.quiet)
    except KeyboardInterrupt:
        tell(PROG, f"interrupted: {len(rows)} of {len(planned.rungs)} sizes are saved in {folder}")
        return EXIT_INTERRUPTED
    save_sheet(panels, folder / "contact_sheet.jpg")
    if not study.quiet:
        print(f"{folder}: {len(rows)} pictures, ladder.csv, contact_sheet.jpg")
    return 0


def check_folder(folder: Path, job: Job) -> None:
    """Make the folder, and see that everything can be saved there and nothing read is replaced."""
    if folder.exists() and not folder.is_dir():
        raise ImageError(f"cannot save into {folder}: it is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    inputs = files_of(job)
    for size in job.config.sizes:
        check_output(picture_path(folder, size), bit_depth=job.bit_depth, inputs=inputs)
    check_output(folder / "contact_sheet.jpg", inputs=inputs)


def picture_path(folder: Path, size: int) -> Path:
    """Where the picture of a size goes; names sort by size."""
    return folder / f"{size:05d}.png"


def climb(
    planned: PlannedJob, folder: Path, rows: list[Row], panels: list[Image.Image], *, quiet: bool
) -> None:
    """Paint; at every rung's end save its picture, its row and its panel."""
    device = planned.run.setup.device
    with open_display(quiet=quiet) as display:
        display.begin(planned.rungs)
        started = time.perf_counter()
        for progress in planned.run.start():
            if progress.ends_rung:
                picture = progress.picture().cpu()
                rows.append(measured(progress, time.perf_counter() - started, device))
                planned.save(picture, picture_path(folder, rows[-1].size))
                save_table(rows, folder / "ladder.csv")
                panels.append(panel(picture, rows[-1]))
                started = time.perf_counter()
            display.update(progress)


def measured(progress: Progress, seconds: float, device: torch.device) -> Row:
    """What a finished rung took, and how far it came."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    else:
        peak = peak_resident_bytes()
    height, width = progress.rung.size
    return Row(
        size=max(progress.rung.size),
        width=width,
        height=height,
        iterations=progress.rung.num_iterations,
        seconds=round(seconds, 3),
        peak_memory_bytes=peak,
        loss=progress.loss,
        **progress.terms,
    )


def save_table(rows: Sequence[Row], path: Path) -> None:
    """Write the CSV anew; it is whole at any time."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(rows[0])))
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def panel(picture: Tensor, row: Row) -> Image.Image:
    """A rung whole and, below, the middle of it pixel by pixel, under two lines of text."""
    whole_height = max(round(PANEL * row.height / row.width), 1)
    whole = resize(picture, (whole_height, PANEL), clamp=True)
    top, left = max(row.height - whole_height, 0) // 2, max(row.width - PANEL, 0) // 2
    detail = picture[..., top : top + whole_height, left : left + PANEL]
    height = LABEL_HEIGHT + whole_height + MARGIN + detail.shape[2]
    found = Image.new("RGB", (PANEL, height), "white")
    draw, font = ImageDraw.Draw(found), ImageFont.load_default(size=15)
    took = f"{row.iterations} steps, {clock_time(row.seconds)}"
    draw.text((0, 0), f"{row.width}x{row.height}  {took}", "black", font)
    losses = f"style {row.style:#.2g}, content {row.content:#.2g}"
    draw.text((0, 20), f"{format_bytes(row.peak_memory_bytes)}, {losses}", "dimgray", font)
    found.paste(as_pillow(whole), (0, LABEL_HEIGHT))
    found.paste(as_pillow(detail), (0, LABEL_HEIGHT + whole_height + MARGIN))
    return found


def as_pillow(picture: Tensor) -> Image.Image:
    """(1, 3, H, W) in [0, 1] to 8 bit."""
    array = (picture[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous()
    return Image.fromarray(array.numpy())


def save_sheet(panels: Sequence[Image.Image], path: Path) -> None:
    """Lay the panels out row by row and save them as one picture."""
    columns = min(len(panels), PANELS_PER_ROW)
    num_rows = -(-len(panels) // columns)
    step_x, step_y = PANEL + MARGIN, max(part.height for part in panels) + 2 * MARGIN
    sheet = Image.new("RGB", (columns * step_x + MARGIN, num_rows * step_y + MARGIN), "white")
    for i, part in enumerate(panels):
        sheet.paste(part, (MARGIN + i % columns * step_x, MARGIN + i // columns * step_y))
    pixels = torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8)
    image = pixels.view(sheet.height, sheet.width, 3).permute(2, 0, 1)[None].float() / 255
    save_image(image, path)


if __name__ == "__main__":
    sys.exit(main())
