"""What can be typed for a dataclass: a word or a flag for each of its fields. No torch.

A field that holds a dataclass is a group of options. The string under a field is its help.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from hires.config.job import Job, PaintJob
from hires.config.output import Delivery
from hires.config.paper import Print

AUTO = "auto"


class UsageError(ValueError):
    """The command line cannot be understood; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """How a field is typed, where its name and type do not say it: ``Annotated[str, Typed(...)]``.

    Attributes:
        positional: as a word by its place, not after a flag.
        name: what the flag is called instead of the field.
        short: another flag, of one letter.
        metavar: stands for the value in help.
    """

    positional: bool = False
    name: str | None = None
    short: str | None = None
    metavar: str | None = None


# The same for the dataclasses of hires.config, which know no command line.
_OF_CONFIG: dict[type, dict[str, Typed]] = {
    Job: {
        "content": Typed(positional=True),
        "styles": Typed(positional=True, metavar="STYLE [STYLE ...]"),
        "output": Typed(short="-o", metavar="PATH"),
        "finish": Typed(metavar="MODEL"),
    },
    PaintJob: {
        "source": Typed(name="from", metavar="FILE"),
        "run_dir": Typed(metavar="DIR"),
    },
    Print: {"paper": Typed(name="print", metavar="PAPER"), "bleed": Typed(metavar="LENGTH")},
    Delivery: {"icc": Typed(metavar="PROFILE")},
}
_NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}


@dataclass(frozen=True, slots=True)
class Option:
    """A field as it is typed.

    Attributes:
        group: the field that holds its dataclass; empty for the command's own.
        field: the dataclass's field.
        hint: the field's type.
        typed: how it is typed.
    """

    group: str
    field: Field[Any]
    hint: Any
    typed: Typed

    @property
    def key(self) -> tuple[str, str]:
        """Where its value belongs."""
        return self.group, self.field.name

    @property
    def flags(self) -> tuple[str, ...]:
        """What comes before its value, such as ``-o`` and ``--output``."""
        flag = "--" + (self.typed.name or self.field.name).replace("_", "-")
        return (flag,) if self.typed.short is None else (self.typed.short, flag)

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.field.default is MISSING and self.field.default_factory is MISSING

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off, without a value."""
        return self.hint is bool

    @property
    def is_many(self) -> bool:
        """Whether it takes any number of values."""
        return get_origin(self.hint) is tuple

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types of its values, without None."""
        parts = get_args(self.hint)
        if get_origin(self.hint) is UnionType:
            return tuple(part for part in parts if part is not NoneType)
        return parts[:1] if self.is_many else (self.hint,)

    @property
    def metavar(self) -> str:
        """What stands for its value in help."""
        if self.typed.metavar is not None:
            return self.typed.metavar
        if self.typed.positional:
            name = self.field.name.upper()
            return name if self.is_required else f"[{name}]"
        one = "|".join(_metavar(kind) for kind in self.kinds)
        if not self.is_many:
            return one
        return f"{one} [{one} ...]" if self.kinds[0] in _NUMBERS else f"[{one} [{one} ...]]"

    @property
    def usage(self) -> str:
        """``-o PATH, --output PATH``, as it stands in help."""
        if self.typed.positional:
            return self.metavar
        if self.is_switch:
            return f"--no-{self.flags[-1][2:]}" if self.field.default is True else self.flags[-1]
        return ", ".join(f"{flag} {self.metavar}" for flag in self.flags)

    def text(self, value: Any) -> str:
        """A value as it would be typed."""
        if value in (None, ()) and self.kinds[0] in _NUMBERS:
            return AUTO
        if self.is_many:
            return " ".join(map(str, value))
        return f"{value:g}" if isinstance(value, float) else str(value)

    def read(self, texts: list[str]) -> Any:
        """The value that was typed.

        Raises:
            UsageError: if it is none; what is allowed besides is for the dataclass to say.
        """
        takes_numbers = self.kinds[0] in _NUMBERS
        if takes_numbers and len(self.kinds) == 1 and texts == [AUTO]:
            if self.is_many:
                return ()
            if NoneType in get_args(self.hint):
                return None
        if takes_numbers and not texts:
            raise UsageError(f"{self.flags[-1]}: needs at least one number")
        values = tuple(self._read_one(text) for text in texts)
        return values if self.is_many else values[0]

    def _read_one(self, text: str) -> Any:
        kind = self.kinds[0]
        if get_origin(kind) is Literal:
            for choice in get_args(kind):
                if str(choice) == text:
                    return choice
            allowed = ", ".join(map(str, get_args(kind)))
            raise UsageError(f"{self.flags[-1]} is '{text}': choose one of {allowed}")
        try:
            return kind(text)
        except ValueError:
            if str in self.kinds:
                return text
            raise UsageError(f"{self.flags[-1]}: '{text}' is not {_NUMBERS[kind]}") from None


def options_of(command: type) -> list[Option]:
    """Everything that can be typed for a dataclass: its own fields first, then those of groups."""
    own = [*_fields(command, "")]
    groups = [option for option in own if is_dataclass(option.hint)]
    single = [option for option in own if option not in groups]
    return [*single, *(one for part in groups for one in _fields(part.hint, part.field.name))]


def groups_of(command: type) -> dict[str, Any]:
    """Fields of a dataclass that hold dataclasses, and these."""
    own = {option.field.name: option.hint for option in _fields(command, "")}
    return {name: hint for name, hint in own.items() if is_dataclass(hint)}


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _fields(kind: Any, group: str) -> Iterator[Option]:
    for field in fields(kind):
        hint, typed = _hints(kind)[field.name], None
        if get_origin(hint) is Annotated:
            hint, typed = get_args(hint)
        known = (_OF_CONFIG.get(base, {}).get(field.name) for base in kind.__mro__)
        yield Option(group, field, hint, typed or next(filter(None, known), Typed()))


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    return str(kind.__name__).upper()


@functools.cache
def documented(kind: Any) -> dict[str, str]:
    """The strings under the fields of a dataclass and its bases, each as one line."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for node in ast.walk(_parsed(base.__module__)) if is_dataclass(base) else ():
            if isinstance(node, ast.ClassDef) and node.name == base.__name__:
                found |= dict(_strings_under_fields(node))
    return found


@functools.cache
def _parsed(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))


def _strings_under_fields(kind: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(kind.body):
        text = below.value if isinstance(below, ast.Expr) else None
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Constant):
            yield ast.unparse(field.target), " ".join(str(text.value).split())
