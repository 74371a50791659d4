"""Which pictures many jobs are made of: a table of them, a part of it, names of files. No torch."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hires.errors import ConfigError
from hires.utils.files import reading_problem

TABLES = (".csv", ".jsonl")
# Names in the pattern of an output.
_NAMES = ("content", "style", "number")
# What tells a process which part is its own, with how many parts there are, and the first number.
_SLURM = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN")
_TORCHRUN = ("RANK", "WORLD_SIZE", "")

Row = Mapping[str, tuple[str, ...] | bool]
"""A job by the names of its options: the words of each, or whether a switch is on."""


def shard_of(text: str | None, environment: Mapping[str, str]) -> tuple[int, int]:
    """Which part of the jobs is this process's, from 1, and how many parts there are.

    Args:
        text: ``3/16``; None for what a scheduler says: an array of Slurm, or torchrun.
        environment: variables of the process.

    Raises:
        ConfigError: if it cannot be read so.
    """
    if text is not None:
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            raise ConfigError(f"`shard` is '{text}': write NUMBER/COUNT, such as 3/16, from 1")
        return number, count
    for names in (_SLURM, _TORCHRUN):
        at, of, first = (_whole(environment.get(name)) for name in names)
        if at is not None and of is not None and 0 <= at - (first or 0) < of:
            return at - (first or 0) + 1, of
    return 1, 1


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def read_table(path: Path) -> list[Row]:
    """The jobs of a table: a column for each option, named as in Python or as flags are.

    In CSV an empty cell leaves its option out, several values stand as on a command line, with
    quotes around what has spaces; ``true`` and ``false`` are for switches. In JSON Lines lists,
    numbers, true, false and null say the same.

    Raises:
        ConfigError: for what is no such table, or cannot be read.
    """
    read = _read_csv if path.suffix.lower() == ".csv" else _read_json_lines
    try:
        rows = read(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8: save it as that") from None
    except OSError as error:
        problem = reading_problem(path, "a table (.csv, .jsonl)") or error.strerror
        raise ConfigError(f"cannot read {path}: {problem}") from None
    except _TableError as error:
        raise ConfigError(f"{path}, {error}") from None
    if not rows:
        raise ConfigError(f"{path} has no jobs: give a row for each below the names of columns")
    return rows


class _TableError(ValueError):
    """A row that cannot be read; says which."""


def _read_csv(text: str) -> list[Row]:
    rows = csv.reader(text.splitlines())
    names = [_option(name) for name in next(rows, [])]
    if len({*names}) < len(names) or "" in names:
        raise _TableError("line 1: give each column a name, and each name once")
    found: list[Row] = []
    for cells in rows:
        if not any(map(str.strip, cells)):
            continue
        where = f"line {rows.line_num}"
        if len(cells) > len(names):
            raise _TableError(f"{where}: {len(cells)} cells for {len(names)} columns")
        pairs = zip(names, cells, strict=False)
        found.append({name: _of_cell(name, cell, where) for name, cell in pairs if cell.strip()})
    return found


def _of_cell(name: str, cell: str, where: str) -> tuple[str, ...] | bool:
    cell = cell.strip()
    if cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    if name in ("content", "output"):
        return (cell,)  # One file, whatever is in its name.
    try:
        return tuple(shlex.split(cell)) if " " in cell or cell[0] in "\"'" else (cell,)
    except ValueError as error:
        raise _TableError(f"{where}, {name}: {error}") from None


def _read_json_lines(text: str) -> list[Row]:
    found: list[Row] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise _TableError(f"line {number}: no JSON ({error})") from None
        if not isinstance(values, dict):
            raise _TableError(f"line {number}: give an object of options")
        found.append(
            {
                _option(name): _of_json(name, value, number)
                for name, value in values.items()
                if value is not None
            }
        )
    return found


def _of_json(name: str, value: Any, number: int) -> tuple[str, ...] | bool:
    if isinstance(value, bool):
        return value
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str | int | float) for part in parts):
        raise _TableError(f"line {number}, {name}: give text, a number, or a list of them")
    return tuple(map(str, parts))


def _option(name: str) -> str:
    """``style_weight`` for what a column may be called."""
    name = name.strip().removeprefix("--").replace("-", "_").lower()
    return {"style": "styles", "print": "paper"}.get(name, name)


def output_name(pattern: str, content: str | None, styles: Sequence[str], number: int) -> str:
    """A file's name of a pattern such as ``{content}-{style}.jpg``.

    Args:
        pattern: with the names of the content, of the styles, and the job's number in braces.
        content: the photograph's path; None for a texture.
        styles: the paintings' paths.
        number: of the job, from 1.

    Raises:
        ConfigError: for a pattern with other names.
    """
    names = {
        "content": Path(content).stem if content else "texture",
        "style": "+".join(Path(style).stem for style in styles),
        "number": f"{number:04}",
    }
    try:
        return pattern.format_map(names)
    except (KeyError, ValueError, IndexError, AttributeError):
        told = ", ".join(f"{{{name}}}" for name in _NAMES)
        raise ConfigError(f"`pattern` is '{pattern}': it may have {told}") from None


def part_of(jobs: Sequence[Any], shard: tuple[int, int]) -> list[tuple[int, Any]]:
    """The jobs of a part with their numbers from 1: every ``count``-th of all.

    Neighbours in a table are alike; so each part gets some of every kind.
    """
    number, count = shard
    return [*islice(enumerate(jobs, 1), number - 1, None, count)]
