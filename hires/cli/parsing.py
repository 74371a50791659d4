"""From typed words to a dataclass, with every mistake told in one line. No torch."""

from __future__ import annotations

import re
from argparse import SUPPRESS, ArgumentError, ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, TypeVar, cast

from hires.cli.arguments.painting import Variations
from hires.cli.options import Option, UsageError, options_of, parts_of
from hires.config.run import Config, changed
from hires.errors import ConfigError

Command = TypeVar("Command")
# Values by the group of options that they belong to, and their names.
Given = dict[tuple[str, str], Any]

_HELP = "--help-all lists what there is"
_ASKED = ("-h", "--help", "--help-all")


def parse(
    command: type[Command],
    argv: Sequence[str],
    *,
    prog: str,
    recorded: Callable[[Given], Command | None] = lambda _: None,
) -> Command:
    """Turn arguments into a command.

    Args:
        command: the dataclass to fill.
        argv: arguments without the program's name.
        prog: the program's name in help.
        recorded: a command that holds for whatever the arguments leave open, if there is one.

    Raises:
        UsageError: if the arguments cannot be understood.
        ConfigError: if a setting's value is not allowed.
        SystemExit: with code 0 after ``--help`` and ``--help-all``.
    """
    options = options_of(command)
    if {*_ASKED} & set(argv):
        _show_help(command, options, argv, prog)
        raise SystemExit(0)
    given = _given(options, argv)
    before = recorded(given)
    for option in options:
        if option.typed.positional and option.is_many and before is None:
            given.setdefault(option.key, ())
    needed = [option for option in options if option.is_required and option.key not in given]
    missing = [option for option in needed if not getattr(before, option.field.name, None)]
    if missing:
        told = ", ".join(option.usage.split(",")[0] for option in missing)
        raise UsageError(f"missing {told} ({_HELP})")
    return _made(command, given, before)


def _made(command: type[Command], given: Given, before: Command | None) -> Command:
    """The command with what was given, from defaults or from another command."""

    def of(group: str) -> dict[str, Any]:
        return {name: value for (part, name), value in given.items() if part == group}

    values = of("")
    if command is Variations:
        values["fixed"] = (*of("config"),)
    for name, kind in [*parts_of(command).items()][1:]:
        start: Any = getattr(before, name, None)
        if isinstance(start, Config):
            values[name] = changed(start, **of(name))
        else:
            values[name] = kind(**of(name)) if start is None else replace(start, **of(name))
    return command(**values) if before is None else replace(cast(Any, before), **values)


def _given(options: Sequence[Option], argv: Sequence[str]) -> Given:
    """Everything that was typed."""
    parser = ArgumentParser(
        add_help=False, allow_abbrev=False, exit_on_error=False, argument_default=SUPPRESS
    )
    # argparse takes a word such as -3mm for an option, unless this says that it is a number.
    parser._negative_number_matcher = re.compile(r"-\.?\d")
    for number, option in enumerate(options):
        flag, to = option.flags[-1], str(number)
        if option.is_switch:
            parser.add_argument(flag, dest=to, action="store_true")
            # For what a recorded run has switched on.
            parser.add_argument(f"--no-{flag[2:]}", dest=to, action="store_false")
        elif not option.typed.positional:
            action = "extend" if option.typed.adds_up else "store"
            nargs = "*" if option.is_many else None
            parser.add_argument(*option.flags, dest=to, nargs=nargs, action=action)
    try:
        found, words = parser.parse_known_args([*map(_hyphenated, argv)])
    except ArgumentError as error:
        valued = ["/".join(option.flags) for option in options if not option.is_switch]
        lacks = "needs a" if error.argument_name in valued else "takes no"
        raise UsageError(f"{error.argument_name} {lacks} value") from None
    given: Given = {}
    for key, value in vars(found).items():
        option = options[int(key)]
        texts = [value] if isinstance(value, str) else value
        given[option.key] = value if option.is_switch else option.read(texts)
    return _words(options, words) | given


def _hyphenated(word: str) -> str:
    """``--style-weight=1`` for ``--style_weight=1``."""
    return re.sub(r"^--[^=]+", lambda flag: flag[0].replace("_", "-"), word)


def _words(options: Sequence[Option], words: Sequence[str]) -> Given:
    """What was typed by its place."""
    for word in words:
        if word.startswith("-") and word != "-":
            raise _unknown(word, options)
    given: Given = {}
    for option in options:
        if option.typed.positional and words:
            count = len(words) if option.is_many else 1
            given[option.key], words = option.read([*words[:count]]), words[count:]
    if words:
        raise _unknown(words[0], options)
    return given


def _unknown(word: str, options: Sequence[Option]) -> UsageError:
    flags = [flag for option in options for flag in (*option.flags, option.usage)]
    close = get_close_matches(word.partition("=")[0], flags, n=1)
    hint = f": did you mean {close[0]}?" if word.startswith("-") and close else ""
    return UsageError(f"unknown argument '{word}'{hint} ({_HELP})")


def _show_help(command: type, options: Sequence[Option], argv: Sequence[str], prog: str) -> None:
    """Print what there is; defaults are those of the preset that was typed."""
    from hires.cli.help import ASK_ALL, show_options

    start = {name: kind() for name, kind in parts_of(command).items() if name}
    with suppress(UsageError, ConfigError):
        if isinstance(start.get("config"), Config):
            given = _given(options, [word for word in argv if word not in _ASKED])
            start["config"] = Config(preset=given.get(("config", "preset"), "hires"))
    show_options(command, prog, start, in_full=ASK_ALL in argv)
