#!/usr/bin/env python3
"""Paint the pictures of README.md and docs/gallery.md from the samples, and write the page.

What is painted already is not painted again (``--work``, build/gallery by default, keeps it), so it
may be stopped at any time and goes on when called again. The page shows what is painted.

    scripts/gallery.py                    # all but the poster
    scripts/gallery.py --only city-impasto  # some of it, then the page
    scripts/gallery.py --poster           # the poster as well, up to 9933 px: hours on two cores
    scripts/gallery.py --only             # nothing new: the page from what there is
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from pathlib import Path
from textwrap import wrap

from gallery_pictures import PICTURES, POSTER, ROWS, SECTIONS, Picture, Row
from PIL import Image

import hires
from hires.cli.main import main as cli
from hires.image.encode.save import save_image

ROOT = Path(__file__).parents[1]
QUALITY = 87
GAP = 8  # pixels between the parts of one picture
WIDEST = 1200  # of a picture, also its height; the sheet of variations is larger
WIDE_HEIGHT, LADDER_HEIGHT = 600, 330


def main() -> int:
    """Paint what is asked for and missing, then write pictures and page."""
    parser = argparse.ArgumentParser(description="Paint the gallery.")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="which ones; all by default")
    parser.add_argument("--poster", action="store_true", help="paint the poster as well")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "gallery")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    options.work, options.docs = options.work.resolve(), options.docs.resolve()
    os.chdir(ROOT)  # the commands name samples/...
    chosen = list(PICTURES) if options.only is None else options.only
    unknown = sorted(set(chosen) - set(PICTURES))
    if unknown:
        parser.error(f"no picture is called {unknown[0]}: there are {', '.join(PICTURES)}")
    for folder in (options.work, options.docs / "gallery"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"{folder} cannot be a folder: {error.strerror}")
    for name in chosen:
        status = paint(PICTURES[name], options.work)
        if status:
            return status
    if options.poster:
        paint_poster(options.work)
    shown = write_pictures(options.work, options.docs / "gallery")
    sizes = poster_sizes(options.docs / "gallery", "ladder-*.jpg")
    (options.docs / "gallery.md").write_text(page(shown, sizes), "utf-8")
    missing = [name for name in PICTURES if name not in shown]
    print(f"{options.docs / 'gallery.md'}: {len(shown)} pictures; missing: {missing or 'none'}")
    return 0


def paint(picture: Picture, work: Path) -> int:
    """Paint one picture by its own command, unless that has been done. Returns the exit code."""
    output, note = work / f"{picture.name}.png", work / f"{picture.name}.txt"
    if is_done(picture, work):
        return 0
    words = shlex.split(picture.command)
    status = cli([*words[1:], "-o", str(output), "--quiet"])
    if status == 0:
        note.write_text(picture.command, "utf-8")
    return status


def is_done(picture: Picture, work: Path) -> bool:
    """Whether its command has painted it to the end; a stopped run may leave a picture, too."""
    output, note = work / f"{picture.name}.png", work / f"{picture.name}.txt"
    return output.exists() and note.exists() and note.read_text("utf-8") == picture.command


def paint_poster(work: Path) -> None:
    """Paint the poster, keeping the picture of every size; goes on where it was stopped."""
    job = hires.Job(
        content="samples/harbour.jpg",
        styles=("samples/impasto.jpg",),
        output=str(work / "ladder" / "poster.png"),
        config=hires.Config(size=POSTER.size, content_weight=0.05, memory="1GiB"),
    )
    (work / "ladder").mkdir(parents=True, exist_ok=True)
    for progress in hires.iter_paint(job):
        if progress.ends_rung:
            save_image(progress.picture(), rung_path(work, max(progress.rung.size)))


def rung_path(work: Path, size: int) -> Path:
    """Where the poster's picture of one size is kept."""
    return work / "ladder" / f"poster-{size}.png"


def poster_sizes(folder: Path, files: str) -> list[int]:
    """The sizes of the poster of which a folder has files, from small to large."""
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob(files))


def write_pictures(work: Path, folder: Path) -> set[str]:
    """Save every picture that is painted for the docs. Returns their names.

    Those that were saved before, by another folder of work, count as long as their commands do.
    """
    shown = set()
    for name, picture in PICTURES.items():
        path = folder / f"{name}.jpg"
        if is_done(picture, work):
            whole = repeated(opened(work / f"{name}.png"), picture.copies)
            whole.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
            save(whole, path, picture.command)
        if command_of(path) == picture.command:
            shown.add(name)
    for row in ROWS:
        if all(is_done(PICTURES[part], work) for part in row.parts if part in PICTURES):
            save(in_a_row(row, work), folder / f"{row.name}.jpg")
    sizes = poster_sizes(work / "ladder", "poster-*.png")
    for size in sizes:
        save(ladder_row(opened(rung_path(work, size))), folder / f"ladder-{size}.jpg")
    if sizes:
        save(
            wide(opened(rung_path(work, min(sizes, key=lambda s: abs(s - 2934))))),
            folder / "wide.jpg",
        )
    return shown


def in_a_row(row: Row, work: Path) -> Image.Image:
    """Paintings and samples side by side, each as high as the row."""
    files = (work / f"{part}.png" if part in PICTURES else ROOT / part for part in row.parts)
    return beside([to_height(opened(file), row.height) for file in files])


def repeated(picture: Image.Image, copies: int) -> Image.Image:
    """So many copies of a picture in each direction, without a gap."""
    width, height = picture.size
    found = Image.new("RGB", (width * copies, height * copies))
    for k in range(copies * copies):
        found.paste(picture, (k % copies * width, k // copies * height))
    return found


def wide(painting: Image.Image) -> Image.Image:
    """README's first picture: content over style, the painting, and a part of it at 1:1."""
    half = (WIDE_HEIGHT - GAP) // 2
    parts = [to_height(opened(ROOT / "samples" / f"{name}.jpg"), half) for name in POSTER.samples]
    side = min(part.width for part in parts)
    column = Image.new("RGB", (side, WIDE_HEIGHT), "white")
    for k, part in enumerate(parts):
        left = (part.width - side) // 2
        column.paste(part.crop((left, 0, left + side, half)), (0, k * (half + GAP)))
    close = close_up(painting, round(WIDE_HEIGHT * 0.9), WIDE_HEIGHT)
    return beside([column, to_height(painting, WIDE_HEIGHT), close])


def ladder_row(painting: Image.Image) -> Image.Image:
    """One size of the ladder: the whole, and a part at 1:1."""
    width = round(LADDER_HEIGHT / painting.height * painting.width)
    whole = painting.resize((width, LADDER_HEIGHT), Image.Resampling.LANCZOS)
    close = close_up(painting, min(width, painting.width), min(LADDER_HEIGHT, painting.height))
    return beside([whole, close])


def close_up(painting: Image.Image, width: int, height: int) -> Image.Image:
    """A part at 1:1 about the house and the foot of the lighthouse."""
    x, y = round(POSTER.spot[0] * painting.width), round(POSTER.spot[1] * painting.height)
    left = min(max(x - width // 2, 0), painting.width - width)
    top = min(max(y - height // 2, 0), painting.height - height)
    return painting.crop((left, top, left + width, top + height))


def opened(path: Path) -> Image.Image:
    """A picture as RGB; posters are larger than what Pillow takes for an attack."""
    Image.MAX_IMAGE_PIXELS = None
    return Image.open(path).convert("RGB")


def to_height(picture: Image.Image, height: int) -> Image.Image:
    """The picture made as high as that."""
    width = round(height / picture.height * picture.width)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def beside(parts: list[Image.Image]) -> Image.Image:
    """Pictures side by side on white, their tops level."""
    width = sum(part.width for part in parts) + GAP * (len(parts) - 1)
    found = Image.new("RGB", (width, max(part.height for part in parts)), "white")
    left = 0
    for part in parts:
        found.paste(part, (left, 0))
        left += part.width + GAP
    return found


def save(picture: Image.Image, path: Path, command: str = "") -> None:
    """JPEG without subsampling of colours, so that no defect of a painting is hidden or added.

    It keeps the command that has painted it as its comment.
    """
    picture.save(
        path,
        "JPEG",
        quality=QUALITY,
        subsampling=0,
        optimize=True,
        progressive=True,
        comment=command,
    )


def command_of(path: Path) -> str | None:
    """The command that has painted a picture of the docs; None if there is no such picture."""
    if not path.exists():
        return None
    with Image.open(path) as picture:
        return str(picture.info.get("comment", b"").decode())


def page(shown: set[str], sizes: list[int]) -> str:
    """docs/gallery.md: every section with its pictures, each under its command."""
    lines = [
        "# Gallery",
        "",
        "Everything here is painted by `scripts/gallery.py` from the drawn pictures in `samples`,"
        " with the built-in network, each by the command above it.",
        "",
    ]
    if sizes:
        lines += ladder(sizes)
    for title, text, pictures in SECTIONS:
        painted = [picture for picture in pictures if picture.name in shown]
        if painted:
            lines += [f"## {title}", "", text, ""]
        for picture in painted:
            lines += shell(f"{picture.command} -o {picture.name}.png")
            lines += [f"![{picture.caption}](gallery/{picture.name}.jpg)", "", picture.caption, ""]
    return "\n".join(lines).rstrip() + "\n"


def shell(command: str) -> list[str]:
    """A command as a block, in lines that need not be scrolled on a screen."""
    held = re.sub(r"( --?[\w-]+) (?!-)", "\\1\0", command)  # An option stays with its value.
    parts = wrap(held, 84, break_on_hyphens=False, break_long_words=False)
    return ["```sh", " \\\n    ".join(parts).replace("\0", " "), "```", ""]


def ladder(sizes: list[int]) -> list[str]:
    """The section of the poster, size by size."""
    lines = ["## A poster grows", "", POSTER.text, "", *shell(POSTER.command)]
    for size in sizes:
        words = f"{size} px: the whole, and a part at 1:1"
        lines += [f"**{size} px**", "", f"![{words}](gallery/ladder-{size}.jpg)", ""]
    return lines


if __name__ == "__main__":
    sys.exit(main())
