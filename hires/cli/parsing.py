"""From typed words to a dataclass, by tyro, with every mistake told in one line. No torch."""

from __future__ import annotations

import io
import os
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import fields, replace
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from hires.config.presets import PRESETS, yielding
from hires.config.run import Config
from hires.errors import ConfigError

Command = TypeVar("Command")

AUTO = "auto"
MISSING: Any = tyro.MISSING
_HELP = "--help lists what there is"


class UsageError(ValueError):
    """The command line cannot be understood; the message is one line."""


def parse(
    command: type[Command],
    argv: Sequence[str],
    *,
    prog: str = "hires",
    description: str | None = None,
    default: Command | None = None,
) -> Command:
    """Turn arguments into a command.

    Args:
        command: the dataclass, or union of dataclasses, to fill.
        argv: arguments without the program's name.
        prog: the program's name in help and messages.
        description: heads the help; the dataclass's docstring if not given.
        default: holds for whatever the arguments leave open; required is what is `MISSING` in it.

    Raises:
        UsageError: if the arguments cannot be understood.
        ConfigError: if a setting's value is not allowed.
        SystemExit: with code 0 after ``--help``.
    """
    start = _starting.set(typed_preset(argv))
    try:
        return _parse(command, argv, prog, description, _beside(default, argv))
    finally:
        _starting.reset(start)


_starting: ContextVar[Config | None] = ContextVar("_starting", default=None)


def starting_config() -> Config:
    """What options start from: the preset of the line being parsed, elsewhere the house's own."""
    return _starting.get() or Config()


def typed_preset(argv: Sequence[str]) -> Config:
    """The preset that a line names, without what gives way to other options of the line."""
    typed = dict(_typed_options(argv))
    preset = typed.get("preset", "hires")
    if preset not in PRESETS:
        return Config()  # tyro names the choices.
    return Config(preset=preset, **_yielded(preset, typed))  # type: ignore[arg-type]


def _beside(default: Command | None, argv: Sequence[str]) -> Command | None:
    """A recorded command without what gives way to the options of a line."""
    config = getattr(default, "config", None)
    if not isinstance(config, Config):
        return default
    typed = dict(_typed_options(argv))
    if typed.get("preset", config.preset) != config.preset:
        raise ConfigError(
            f"the recorded run has the preset {config.preset}, and its options with it:"
            f" leave --preset out, or paint anew with --preset {typed['preset']}"
        )
    command: Any = default
    return cast(Command, replace(command, config=replace(config, **_yielded(config.preset, typed))))


def _yielded(preset: str, typed: Mapping[str, str]) -> dict[str, Any]:
    """The house's own values for those settings of a preset that give way, and the optimizer."""
    house = {field.name: field.default for field in fields(Config)}
    optimizer = typed.get("optimizer")
    settings: dict[str, Any] = {name: house[name] for name in yielding(preset, typed, optimizer)}
    if optimizer in get_args(get_type_hints(Config)["optimizer"]):
        settings["optimizer"] = optimizer
    return settings


def _typed_options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every ``--name value`` and ``--name=value``, as a field's name and a text."""
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            yield name.replace("-", "_"), value if equals else following


def _parse(
    command: type[Command],
    argv: Sequence[str],
    prog: str,
    description: str | None,
    default: Command | None,
) -> Command:
    given: dict[str, Any] = {} if default is None else {"default": default}

    def attempt() -> Any:
        return tyro.cli(
            command,
            args=list(argv),
            prog=prog,
            description=description,
            **given,
            registry=_registry(),
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName),
        )

    try:
        with redirect_stderr(io.StringIO()):
            return cast(Command, attempt())
    except SystemExit as stop:
        if not stop.code:
            raise
        _raise_config_error(stop)
    # Once more for the message, on a terminal so wide that tyro breaks no line. Its box is drawn
    # with other characters unless stdout is UTF-8.
    printed, stdout = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with _columns("10000"), redirect_stdout(stdout), redirect_stderr(printed), suppress(SystemExit):
        return cast(Command, attempt())
    raise UsageError(one_line(printed.getvalue()))


def _raise_config_error(error: BaseException) -> None:
    """Our own checks say best what is wrong: tyro exits while it handles their error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConfigError):
            raise cause from None
        cause = cause.__context__


@contextmanager
def _columns(number: str) -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = number
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


_REWORDED = (
    (r"Unrecognized options: (\S+?)(?:, .*)?", r"unknown argument '\1'"),
    (r"invalid choice '(.*)' for argument '(.*)'\. .*\((.*)\)\.", r"\2 is '\1': choose one of \3"),
    (r"Missing value for argument '(.*)'\..*", r"\1 needs a value"),
    (r"Expected one of \{(.*)\}\.", r"missing command: choose one of \1"),
    (r"Error parsing (.*)", r"\1"),
)


def one_line(box: str) -> str:
    """Reduce tyro's box of text to a line that says what is wrong and what is allowed."""
    sections = _sections(box)
    first, rest = (sections[0], sections[1:]) if sections else (["invalid arguments"], [])
    if first[0].startswith("Missing from "):
        return f"missing {', '.join(_missing(first))} ({_HELP})"
    message = " ".join(line.strip() for line in first)
    for pattern, replacement in _REWORDED:
        message = re.sub(f"^{pattern}$", replacement, message)
    if ": choose one of '" in message:
        return message.replace("', '", ", ").replace("of '", "of ").removesuffix("'")
    return message + _hint(rest) if message.startswith("unknown") else message


def _sections(box: str) -> list[list[str]]:
    """Rows of a box, cut at its rules, without frame and colours; indents are kept."""
    sections: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines():
        row = line.strip("│").removeprefix(" ").rstrip()
        if line.startswith(("╭", "╰")) or not row:
            continue
        if row.strip("─"):
            sections[-1].append(row)
        else:
            sections.append([])
    return [section for section in sections if section]


def _missing(section: Sequence[str]) -> Iterator[str]:
    """Names of missing arguments: the rows indented once; their help is indented twice."""
    for row in section:
        if re.match(r" {4}\S", row):
            yield row.split(",")[0].strip()


def _hint(sections: Sequence[Sequence[str]]) -> str:
    """What tyro offers instead of an argument that it does not know."""
    for title, *rows in sections:
        if title.startswith("Perhaps you meant") and rows:
            return f": did you mean {rows[0].split()[0]}? ({_HELP})"
        if title.startswith("Available subcommands: "):
            return ": choose one of " + title.partition(": ")[2]
    return f" ({_HELP})"


def _registry() -> ConstructorRegistry:
    """Numbers with messages for people; ``auto`` for what is chosen when nothing is given."""
    registry = ConstructorRegistry()
    registry.primitive_rule(_number_rule)
    return registry


_READERS: dict[type, tuple[Callable[[str], Any], str]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
}


def _number_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    members = get_args(info.type) or (info.type,)
    reader = _READERS.get(members[0])
    many = get_origin(info.type) is tuple and members[1:] == (Ellipsis,)
    optional = get_origin(info.type) in (Union, types.UnionType) and members[1:] == (type(None),)
    if reader is None or not (many or optional or len(members) == 1):
        return None
    nothing = () if many else None
    name = members[0].__name__.upper()

    def read(texts: list[str]) -> Any:
        if (many or optional) and texts == [AUTO]:
            return nothing
        if not texts:
            raise ValueError("needs at least one number")
        values = [_read(text, *reader) for text in texts]
        return tuple(values) if many else values[0]

    def write(value: Any) -> list[str]:
        if value == nothing:
            return [AUTO]
        return (
            [f"{part:g}" if members[0] is float else str(part) for part in value]
            if many
            else [f"{value:g}" if members[0] is float else str(value)]
        )

    return PrimitiveConstructorSpec(
        nargs="*" if many else 1,
        metavar=f"{name} [{name} ...]" if many else name,
        instance_from_str=read,
        is_instance=lambda value: value == nothing or isinstance(value, int | float | tuple),
        str_from_instance=write,
    )


def _read(text: str, reader: Callable[[str], Any], wanted: str) -> Any:
    try:
        return reader(text)
    except ValueError:
        raise ValueError(f"'{text}' is not {wanted}") from None
