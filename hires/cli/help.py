"""What ``--help`` prints. No torch."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from hires.cli.options import options_of, parts_of
from hires.config.documented import documented

_INDENT = 26
_WIDEST = 110
_ASK = {"-h, --help": "show this help message and exit"}


def show_commands(prog: str, commands: Mapping[str, type], description: str) -> None:
    """Print what a program's commands do."""
    told = {name: inspect.getdoc(kind) or "" for name, kind in commands.items()}
    _print(f"usage: {prog} COMMAND ...", description, {"options": _ASK, "commands": told})


def show_options(command: type, prog: str, start: Mapping[str, Any]) -> None:
    """Print what can be typed for a command.

    Args:
        command: its dataclass.
        prog: the program's name, and the command's.
        start: the settings that its groups of options start from.
    """
    usage, flags = [f"usage: {prog}"], []
    sections: dict[str, dict[str, str]] = {"arguments": {}, "options": {**_ASK}}
    titles = {name: text.rstrip(".") for name, text in documented(command).items()}
    strings = {group: documented(kind) for group, kind in parts_of(command).items()}
    for option in options_of(command):
        group, name = option.key
        default = getattr(start[group], name) if group else option.field.default
        about = "required" if option.is_required else f"default: {option.text(default)}"
        title = titles[group] if group else ("options", "arguments")[option.typed.positional]
        row = f"{strings[group].get(name, '')} ({about})"
        sections.setdefault(title, {})[option.usage] = row
        if option.typed.positional:
            usage.append(option.usage)
        elif option.is_required:
            flags.append(option.usage.split(",")[0])
    _print(" ".join([*usage, *flags, "[OPTIONS]"]), inspect.getdoc(command) or "", sections)


def _print(usage: str, description: str, sections: Mapping[str, Mapping[str, str]]) -> None:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    lines = [usage, "", description.strip()]
    for title, rows in sections.items():
        lines += ["", _bold(f"{title}:")] if rows else []
        lines += [line for typed, about in rows.items() for line in _row(typed, about, width)]
    print("\n".join(lines))


def _row(typed: str, about: str, width: int) -> Iterator[str]:
    lines = textwrap.wrap(about, max(width - _INDENT, 20))
    if len(typed) > _INDENT - 4:
        yield f"  {_bold(typed)}"
    else:
        yield f"  {_bold(typed)}".ljust(_INDENT + len(_bold(""))) + lines.pop(0)
    yield from (" " * _INDENT + line for line in lines)


def _bold(text: str) -> str:
    if "NO_COLOR" in os.environ or sys.stdout is None or not sys.stdout.isatty():
        return text
    return f"\x1b[1m{text}\x1b[0m"
