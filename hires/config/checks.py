"""What fields may hold: every value against its type and bounds, in the same words. No torch."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from numbers import Real
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from hires.errors import ConfigError

Value = TypeVar("Value")


# The largest finite number: infinity is refused unless it is allowed by name.
LARGEST = sys.float_info.max


def bounds(least: float = 0, most: float = LARGEST, what: str = "") -> dict[str, Any]:
    """What `check_fields` finds in a field's metadata: the least and the largest number allowed.

    ``what`` names a unit for messages, as in ``give seconds of at least 0``.
    """
    return {"least": least, "most": most, "what": what}


def bounded(default: Value, least: float = 0, most: float = LARGEST, what: str = "") -> Value:
    """A field of numbers between `bounds`."""
    made: Value = field(default=default, metadata=bounds(least, most, what))
    return made


def check_fields(options: Any) -> None:
    """Hold every field of a dataclass to its type and bounds.

    Choices (`Literal`) and numbers are checked, also each of several, and also where None stands
    for what is chosen when nothing is given. Numbers are finite and at least 0 if no bounds are
    named.

    Raises:
        ConfigError: with the field, its value and what is allowed.
    """
    kind: Any = type(options)
    for name, hint, limits in _rules(kind):
        _check(name, getattr(options, name), hint, limits)


def check_device(device: str) -> None:
    """Refuse what is no device; whether it is there is seen later."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise ConfigError(f"`device` is '{device}': choose auto, cpu, cuda, cuda:N or mps")


def given(options: Any, names: Iterable[str]) -> list[str]:
    """Those fields of a dataclass that do not have their defaults."""
    defaults = {field.name: field.default for field in fields(options)}
    return [name for name in names if getattr(options, name) != defaults[name]]


def leave_out(names: Iterable[str], why: str) -> None:
    """Refuse the first field that was given in vain, for it ``does nothing where ...``."""
    for name in names:
        raise ConfigError(f"`{name}` {why}: leave it out")


@functools.cache
def _rules(kind: Any) -> tuple[tuple[str, Any, Mapping[str, Any]], ...]:
    hints = get_type_hints(kind)
    return tuple(
        (field.name, hints[field.name], {**bounds(), **field.metadata}) for field in fields(kind)
    )


def _check(name: str, value: Any, hint: Any, limits: Mapping[str, Any]) -> None:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in parts:
            raise ConfigError(f"`{name}` is '{value}': choose one of {', '.join(map(str, parts))}")
    elif origin is tuple:
        for one in value:
            _check(name, one, parts[0], limits)
    elif origin is UnionType:
        _check(name, value, type(value) if type(value) in parts else parts[0], limits)
    elif hint in (int, float):
        _check_number(name, value, hint, limits)


def _check_number(name: str, value: Any, kind: type, limits: Mapping[str, Any]) -> None:
    least, most = limits["least"], limits["most"]
    is_number = isinstance(value, int if kind is int else Real) and not isinstance(value, bool)
    if is_number and least <= kind(value) <= most:  # NaN is not.
        return
    what = limits["what"] or ("a whole number" if kind is int else "a number")
    allowed = f"of at least {least:g}" if most >= LARGEST else f"from {least:g} to {most:g}"
    told = f"{value:g}" if isinstance(value, float) else value
    raise ConfigError(f"`{name}` is {told}: give {what} {allowed}")
