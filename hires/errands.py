"""Which files a command over many pictures reads and writes: folders, patterns, what is there."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hires.config import ConfigError
from hires.delivery import Delivery
from hires.formats import FORMATS, READABLE
from hires.images import ImageError, check_output


@dataclass(frozen=True, slots=True)
class Errand:
    """A picture to read and the place for what is made of it."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Errands:
    """What there is to do.

    Attributes:
        todo: in the order in which it was asked for.
        skipped: targets that exist already.
    """

    todo: tuple[Errand, ...]
    skipped: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What every picture is saved as.

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
            inputs=inputs,
            size=size,
            dpi=self.dpi,
            delivery=self.delivery,
        )

    def name_for(self, source: Path) -> str:
        """The source's name, with an ending that holds this."""
        purpose = self.delivery.deliver
        kind = FORMATS[purpose].get(source.suffix.lower())
        if kind and self.delivery.depth(self.bit_depth) in kind.depths:
            return source.name
        return f"{source.stem}{'.tif' if purpose == 'lab' else '.png'}"


def plan_errands(
    contents: Sequence[str], output: str, *, overwrite: bool, model: str, outcome: Outcome
) -> Errands:
    """Find the pictures, and a place for each.

    A single file goes to the file ``output``, if that has a picture's ending; everything else into
    the folder ``output``, under its own name, with .png (.tif for a lab) in place of an ending that
    does not hold the outcome. The folder is made if it is missing.

    Raises:
        ValueError: if there is nothing to read, two pictures have one name, or a place cannot be
            written to.
    """
    sources = [path for content in contents for path in _expanded(content)]
    target = Path(output)
    to_file = target.suffix.lower() in FORMATS["plain"] and not target.is_dir()
    if to_file and (len(sources) > 1 or Path(contents[0]).is_dir()):
        raise ConfigError(f"--output {output} is one file for several pictures: give a folder")
    if to_file and overwrite:
        raise ConfigError("--overwrite is for folders: a single file is always made anew")
    if to_file:
        outcome.check(target, inputs=_files([*sources, Path(model)]))
        return Errands((Errand(sources[0], target),), ())
    _make_folder(target)
    return _into_folder(sources, target, overwrite=overwrite, model=model, outcome=outcome)


def _into_folder(
    sources: Sequence[Path], folder: Path, *, overwrite: bool, model: str, outcome: Outcome
) -> Errands:
    taken: dict[Path, Path] = {}
    todo, skipped = [], []
    for source in sources:
        target = folder / outcome.name_for(source)
        if target in taken:
            raise ConfigError(
                f"{taken[target]} and {source} would both become {target}: rename one of them"
            )
        taken[target] = source
        if target.exists() and not overwrite and not os.path.samefile(target, source):
            skipped.append(target)
            continue
        outcome.check(target, inputs=_files([source, Path(model)]))
        todo.append(Errand(source, target))
    return Errands(tuple(todo), tuple(skipped))


def _expanded(content: str) -> list[Path]:
    path = Path(content)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in READABLE)
        if not found:
            raise ImageError(f"{content}: no pictures in this folder ({' '.join(READABLE)})")
        return found
    if path.exists() or not glob.has_magic(content):
        return [path]
    matches = sorted(Path(match) for match in glob.glob(content, recursive=True))
    pictures = [match for match in matches if match.suffix.lower() in READABLE]
    if not pictures:
        raise ImageError(f"{content}: no picture matches this pattern")
    return pictures


def _files(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.is_file()]


def _make_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output {folder} is no folder: give a folder, or a picture's name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"cannot make the folder {folder}: {error.strerror}") from error
