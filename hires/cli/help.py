"""What ``--help`` prints. No torch."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hires.cli.options import Option, documented, groups_of, options_of

_INDENT = 26
_WIDEST = 110
_ASK = ("-h, --help", "show this help message and exit")
Rows = Iterable[tuple[str, str]]


def show_commands(prog: str, commands: Mapping[str, type], description: str) -> None:
    """Print what a program's commands do."""
    rows = [(name, inspect.getdoc(kind) or "") for name, kind in commands.items()]
    _print(f"usage: {prog} COMMAND ...", description, {"options": [_ASK], "commands": rows})


def show_options(command: type, prog: str, groups: Mapping[str, Any]) -> None:
    """Print what can be typed for a command.

    Args:
        command: its dataclass.
        prog: the program's name, and the command's.
        groups: the settings that its groups of options start from.
    """
    options = options_of(command)
    words = [option for option in options if option.typed.positional]
    flags = [option for option in options if not (option.group or option.typed.positional)]
    needed = [option.usage.split(",")[0] for option in flags if option.is_required]
    usage = [f"usage: {prog}", *(option.usage for option in words), *needed, "[OPTIONS]"]
    sections: dict[str, Rows] = {
        "arguments": _rows(words, command),
        "options": [_ASK, *_rows(flags, command)],
    }
    for name, kind in groups_of(command).items():
        part = [option for option in options if option.group == name]
        sections[documented(command)[name].rstrip(".")] = _rows(part, kind, groups[name])
    _print(" ".join(usage), inspect.getdoc(command) or "", sections)


def _rows(options: Iterable[Option], kind: type, start: Any = None) -> Iterator[tuple[str, str]]:
    """How each option is typed, and its help with its default."""
    for option in options:
        name = option.field.name
        default = option.field.default if start is None else getattr(start, name)
        about = "required" if option.is_required else f"default: {option.text(default)}"
        yield option.usage, f"{documented(kind).get(name, '')} ({about})"


def _print(usage: str, description: str, sections: Mapping[str, Rows]) -> None:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    lines = [usage, "", description.strip()]
    for title, rows in sections.items():
        parts = [line for typed, about in rows for line in _row(typed, about, width)]
        lines += ["", _bold(f"{title}:"), *parts] if parts else []
    print("\n".join(lines))


def _row(typed: str, about: str, width: int) -> Iterator[str]:
    lines = textwrap.wrap(about, max(width - _INDENT, 20))
    if len(typed) > _INDENT - 4:
        yield f"  {_bold(typed)}"
    else:
        yield f"  {_bold(typed)}".ljust(_INDENT + len(_bold(""))) + lines.pop(0)
    yield from (" " * _INDENT + line for line in lines)


def _bold(text: str) -> str:
    plain = "NO_COLOR" in os.environ or not sys.stdout.isatty()
    return text if plain else f"\x1b[1m{text}\x1b[0m"
