"""What ``--help`` and ``--help-all`` print. No torch."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hires.cli.arguments.manual import ENVIRONMENT, EXIT_CODES, FILES, examples_of, first_of
from hires.cli.options import AUTO, Option, options_of, parts_of
from hires.config.documented import documented

ASK, ASK_ALL = ("-h", "--help"), "--help-all"
_INDENT = 26
_WIDEST = 110
_ASK = {", ".join(ASK): "Show this and exit."}
Sections = dict[str, dict[str, str]]


def show_commands(
    prog: str, commands: Mapping[str, type], description: str, *, in_full: bool
) -> None:
    """Print what a program's commands do; in full also exit codes, files and environment."""
    told = {name: inspect.getdoc(kind) or "" for name, kind in commands.items()}
    options = {
        **_ASK,
        ASK_ALL: "Also show exit codes, files and environment; of a command all its options.",
        "--version": "Show the version and exit.",
        "--print-completion SHELL": "Print what completes words in bash, zsh, fish, tcsh or"
        " powershell.",
    }
    sections: Sections = {"commands": told, "options": options}
    if in_full:
        sections |= {"exit codes": EXIT_CODES, "files": FILES, "environment": ENVIRONMENT}
    _print(f"usage: {prog} COMMAND ...", description, sections)


def show_options(command: type, prog: str, start: Mapping[str, Any], *, in_full: bool) -> None:
    """Print what can be typed for a command.

    Args:
        command: its dataclass.
        prog: the program's name, and the command's.
        start: the settings that its groups of options start from.
        in_full: every option with all that is to be said of it; otherwise, of a command with many,
            those that most people change, in a few words.
    """
    options = options_of(command)
    first = () if in_full else first_of(command)
    description = inspect.getdoc(command) or ""
    if first:
        sections = _first_sections(command, options, first, start)
    else:
        sections = _all_sections(command, options, start)
    places = [option.usage for option in options if option.typed.positional]
    flags = [option.usage.split(",")[0] for option in options if _is_needed_flag(option)]
    after = _examples(command)
    if first:
        after += ["", f"{prog} {ASK_ALL} shows all {len(options)} options."]
    elif examples_of(command):
        after += ["", f"Exit codes, files and environment: hires {ASK_ALL}."]
    _print(" ".join([f"usage: {prog}", *places, *flags, "[OPTIONS]"]), description, sections, after)


def _is_needed_flag(option: Option) -> bool:
    return option.is_required and not option.typed.positional


def _all_sections(command: type, options: Iterable[Option], start: Mapping[str, Any]) -> Sections:
    """Every option, under the title of its group."""
    sections: Sections = {"arguments": {}, "options": {**_ASK}}
    if first_of(command):
        sections["options"][ASK_ALL] = "Show every option and exit."
    titles = {name: text.rstrip(".") for name, text in documented(command).items()}
    for option, text in _told(command, options):
        group = option.key[0]
        title = titles[group] if group else ("options", "arguments")[option.typed.positional]
        sections.setdefault(title, {})[option.usage] = f"{text} ({_about(option, text, start)})"
    return sections


def _first_sections(
    command: type, options: Iterable[Option], first: tuple[str, ...], start: Mapping[str, Any]
) -> Sections:
    """Arguments, what must be given, and the options that most people change, in their order."""
    sections: Sections = {"arguments": {}, "what most people change": {}}
    arguments, changed = sections.values()

    def place(told: tuple[Option, str]) -> int:
        name = told[0].key[1]
        return first.index(name) if name in first else -1

    for option, text in sorted(_told(command, options), key=place):
        row = f"{in_short(text)} ({_about(option, text, start)})"
        if option.typed.positional:
            arguments[option.usage] = in_short(text)
        elif option.is_required or option.key[1] in first:
            changed[option.usage] = row
    return sections


def _told(command: type, options: Iterable[Option]) -> Iterator[tuple[Option, str]]:
    """Options, and what their fields' strings say."""
    strings = {group: documented(kind) for group, kind in parts_of(command).items()}
    for option in options:
        group, name = option.key
        text = strings[group].get(name, "")
        yield option, f"Do not {text[:1].lower()}{text[1:]}" if option.is_negative else text


def in_short(text: str) -> str:
    """The first clause of a text; one word before a colon is none."""
    found = re.match(r"(?:\S+: )?.+?(?=[:;.](?: |$)|$)", text)
    return text if found is None else found[0]


def _about(option: Option, text: str, start: Mapping[str, Any]) -> str:
    """What holds if nothing is typed."""
    if option.is_required:
        return "required"
    group, name = option.key
    value = getattr(start[group], name) if group else option.field.default
    if option.is_switch:
        return f"default: {'on' if value != option.is_negative else 'off'}"
    nothing = AUTO if f"{AUTO}:" in text else "none"
    return f"default: {option.text(value) if value not in (None, ()) else nothing}"


def _examples(command: type) -> list[str]:
    found = examples_of(command)
    return ["", _bold("examples:"), *(f"  {line}" for line in found)] if found else []


def _print(
    usage: str,
    description: str,
    sections: Mapping[str, Mapping[str, str]],
    after: Iterable[str] = (),
) -> None:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    lines = [usage]
    for paragraph in description.strip().split("\n\n"):
        lines += ["", *textwrap.wrap(paragraph, max(width, 40), break_on_hyphens=False)]
    for title, rows in sections.items():
        lines += ["", _bold(f"{title}:")] if rows else []
        lines += [line for typed, about in rows.items() for line in _row(typed, about, width)]
    print("\n".join([*lines, *after]))


def _row(typed: str, about: str, width: int) -> Iterator[str]:
    lines = textwrap.wrap(about, max(width - _INDENT, 20), break_on_hyphens=False)
    if len(typed) > _INDENT - 4:
        yield f"  {_bold(typed)}"
    else:
        yield f"  {_bold(typed)}".ljust(_INDENT + len(_bold(""))) + lines.pop(0)
    yield from (" " * _INDENT + line for line in lines)


def _bold(text: str) -> str:
    if "NO_COLOR" in os.environ or sys.stdout is None or not sys.stdout.isatty():
        return text
    return f"\x1b[1m{text}\x1b[0m"
