"""Names to show and to save by: in one line, and each its own. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def printable(name: str) -> str:
    """A name in one line: a blank for each line break or tab, ``?`` for what cannot be printed."""
    return "".join(_shown(letter) for letter in name)


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, printable, and numbered where several are alike: ``a 1``, ``a 2``.

    Names that differ by case alone are alike, as they are to some file systems. A number that
    would make a name of another's is left out.
    """
    shown = [printable(name) for name in names]
    counts = Counter(name.casefold() for name in shown)
    taken = {name for name, count in counts.items() if count == 1}
    return [name if counts[name.casefold()] == 1 else _numbered(name, taken) for name in shown]


def _numbered(name: str, taken: set[str]) -> str:
    """A name with the first number that makes it new; takes it."""
    number = 1
    while (found := f"{name} {number}").casefold() in taken:
        number += 1
    taken.add(found.casefold())
    return found


def _shown(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if letter.isspace() else "?"
