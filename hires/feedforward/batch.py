"""Which files a command over many pictures reads and writes: folders, patterns, what is there."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hires.config.output import Delivery
from hires.errors import ConfigError, ImageError
from hires.image.encode.save import check_output, output_format
from hires.image.folders import Found, is_hidden, search
from hires.image.formats.kinds import FORMATS, READABLE


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to read and the place for what is made of it."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Batch:
    """What there is to do.

    Attributes:
        items: in the order in which they were asked for.
        skipped: targets that exist already.
        passed_over: what lies in the folders besides pictures, as one line; empty if nothing does.
    """

    items: tuple[Item, ...]
    skipped: tuple[Path, ...] = ()
    passed_over: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveOptions:
    """How every picture is saved.

    Attributes:
        bit_depth: 8 or 16.
        dpi: pixels per inch, None if the file will not tell.
        delivery: what the files are for.
    """

    bit_depth: int
    dpi: float | None
    delivery: Delivery

    def check(
        self, target: Path, *, inputs: Sequence[Path] = (), size: tuple[int, int] | None = None
    ) -> None:
        """Refuse what cannot be saved there; see `check_output`."""
        check_output(
            target,
            bit_depth=self.bit_depth,
            inputs=[path for path in inputs if path.is_file()],
            size=size,
            dpi=self.dpi,
            delivery=self.delivery,
        )

    def ending_for(self, ending: str) -> str:
        """A source's ending, or one that holds this."""
        fitting = (one for one in (ending, ".png", ".tif") if self._is_held_by(one))
        return next(fitting, ".png" if self.delivery.pdfx is None else ".pdf")

    def _is_held_by(self, ending: str) -> bool:
        try:
            output_format(Path(f"any{ending}"), self.bit_depth, self.delivery)
        except ImageError:
            return False
        return True


def plan_batch(
    contents: Sequence[str],
    output: str,
    *,
    overwrite: bool,
    model: str,
    options: SaveOptions,
    recursive: bool = False,
) -> Batch:
    """Find the pictures, and a place for each.

    A single file goes to the file ``output``, if that has a picture's ending; everything else into
    the folder ``output``, under its own name, with .png or else .tif in place of an ending that
    does not hold it. The folder is made if it is missing. If subfolders are searched, what they
    hold goes into subfolders of the same names; the folder ``output`` itself is not searched.

    Raises:
        ValueError: if there is nothing to read, two pictures have one name, or a place cannot be
            written to.
    """
    target, found, sources, has_folders = Path(output), Found(), dict[Path, Path](), False
    for content in contents:
        some, roots = _searched(content, recursive=recursive, output=target)
        found.add(some)
        has_folders |= bool(roots)
        for path in some.pictures:
            root = next((root for root in roots if root in path.parents), path.parent)
            sources[path] = path.parent.relative_to(root)
    if recursive and not has_folders:
        raise ConfigError("`recursive` is for folders: leave it out, or give one")
    passed_over = _passed_over(found, recursive=recursive)
    to_file = target.suffix.lower() in FORMATS["plain"] and not target.is_dir()
    if to_file and (len(sources) > 1 or has_folders):
        raise ConfigError(f"`output={output}` is one file for several pictures: give a folder")
    if to_file and overwrite:
        raise ConfigError("`overwrite` is for folders: a single file is always made anew")
    if to_file:
        options.check(target, inputs=[*sources, Path(model)])
        return Batch(tuple(Item(source, target) for source in sources), (), passed_over)
    _make_folder(target)
    batch = _into_folder(sources, target, overwrite=overwrite, model=model, options=options)
    return replace(batch, passed_over=passed_over)


def _into_folder(
    sources: Mapping[Path, Path], folder: Path, *, overwrite: bool, model: str, options: SaveOptions
) -> Batch:
    """The batch that puts every source into its subfolder."""
    endings = {ending: options.ending_for(ending) for ending in {path.suffix for path in sources}}
    taken: dict[Path, Path] = {}
    items, skipped = [], []
    for source, place in sources.items():
        if place != Path():
            _make_folder(folder / place)
        target = folder / place / (source.stem + endings[source.suffix])
        if target in taken:
            raise ConfigError(
                f"{taken[target]} and {source} would both become {target}: rename one of them"
            )
        taken[target] = source
        if target.exists() and not overwrite and not os.path.samefile(target, source):
            skipped.append(target)
            continue
        options.check(target, inputs=[source, Path(model)])
        items.append(Item(source, target))
    return Batch(tuple(items), tuple(skipped))


def _searched(content: str, *, recursive: bool, output: Path) -> tuple[Found, list[Path]]:
    """What a file, a folder, or a pattern of both stands for, and the folders searched for it."""
    path = Path(content)
    if path.is_dir():
        found = search(path, recursive=recursive, without=[output])
        if not found.pictures:
            over = _passed_over(found, recursive=recursive)
            more = f"; {over}" if over else ""
            raise ImageError(f"{content}: no pictures in this folder ({' '.join(READABLE)}){more}")
        return found, [path]
    if path.exists() or not glob.has_magic(content):
        return Found([path]), []
    found, roots = Found(), []
    for match in sorted(Path(match) for match in glob.glob(content, recursive=True)):
        if not match.is_dir():
            found.see(match)
        elif recursive:
            found.add(search(match, recursive=True, without=[output]))
            roots.append(match)
        elif not is_hidden(match):
            found.num_folders += 1
    if not found.pictures:
        raise ImageError(f"{content}: no picture matches this pattern")
    return found, roots


def _passed_over(found: Found, *, recursive: bool) -> str:
    advice = "" if recursive or not found.num_folders else "; `recursive` searches them"
    return found.passed_over() + advice


def _make_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"`output={folder}` is no folder: give a folder, or a picture's name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"cannot make the folder {folder}: {error.strerror}") from error
