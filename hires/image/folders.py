"""Pictures in folders: which files are some, and what was passed over."""

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from hires.image.formats.kinds import READABLE


@dataclass(slots=True)
class Found:
    """What lies in folders.

    Attributes:
        pictures: files that can be read, by their endings.
        others: files of other kinds, counted by ending.
        num_folders: subfolders that were not searched.
    """

    pictures: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    num_folders: int = 0

    def add(self, other: "Found") -> None:
        """Count what was found elsewhere, too."""
        self.pictures += other.pictures
        self.others += other.others
        self.num_folders += other.num_folders

    def see(self, file: Path) -> None:
        """Sort a file in; hidden ones, such as macOS's ``._name.jpg``, are passed by."""
        if is_hidden(file):
            return
        if file.suffix.lower() in READABLE:
            self.pictures.append(file)
        else:
            self.others[file.suffix.lower() or "without an ending"] += 1

    def passed_over(self) -> str:
        """``3 files of other kinds skipped (2 .gif, 1 .txt), 2 subfolders not searched``, or ""."""
        parts = []
        if self.others:
            count = self.others.total()
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.others.items()))
            parts.append(f"{count} file{'s' * (count > 1)} of other kinds skipped ({kinds})")
        if self.num_folders:
            count = self.num_folders
            parts.append(f"{count} subfolder{'s' * (count > 1)} not searched")
        return ", ".join(parts)


def is_hidden(path: Path) -> bool:
    """Whether a name begins with a dot."""
    return path.name.startswith(".")


def search(folder: Path, *, recursive: bool, without: Collection[Path] = ()) -> Found:
    """Look for pictures, in the order of their names; hidden files and folders are passed by.

    Args:
        folder: where to look.
        recursive: also look in all folders below, but not through links.
        without: folders not to look in.

    Raises:
        OSError: if the folder cannot be read.
    """
    found = Found()
    barred = {os.path.realpath(path) for path in without}
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir():
            found.see(entry)
        elif is_hidden(entry) or os.path.realpath(entry) in barred:
            continue
        elif recursive and not entry.is_symlink():
            found.add(search(entry, recursive=True, without=without))
        else:
            found.num_folders += 1
    return found
