"""What can be typed for a dataclass: a word or a flag for each of its fields. No torch.

A field that holds a dataclass is a group of options. The string under a field is its help.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from hires.config.deliver import DeliverJob
from hires.config.feedforward import TrainConfig
from hires.config.guides import Guides
from hires.config.job import Job, PaintJob
from hires.config.morph import MorphJob
from hires.config.output import Delivery
from hires.config.paper import Print
from hires.config.run import Config

AUTO = "auto"
_NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}


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
        adds_up: whether values after another such flag come on top.
    """

    positional: bool = False
    name: str | None = None
    short: str | None = None
    metavar: str | None = None
    adds_up: bool = False


# The same for the dataclasses of hires.config, which know no command line.
_OF_CONFIG: dict[tuple[type, str], Typed] = {
    (Job, "content"): Typed(positional=True),
    (Job, "styles"): Typed(positional=True, metavar="STYLE [STYLE ...]"),
    (Job, "output"): Typed(short="-o", metavar="PATH"),
    (Job, "finish"): Typed(metavar="MODEL"),
    (Job, "aspect"): Typed(metavar="WIDTH:HEIGHT"),
    (Config, "size"): Typed(metavar="PIXELS|SHARE%|content"),
    (Config, "brush_size"): Typed(metavar="WIDTH"),
    (Config, "features"): Typed(metavar="NETWORK"),
    (Config, "style_layers"): Typed(metavar="LAYER [LAYER ...]"),
    (Config, "content_layers"): Typed(metavar="LAYER [LAYER ...]"),
    (Config, "init"): Typed(metavar="START"),
    (Config, "memory"): Typed(metavar="SIZE"),
    (Config, "device"): Typed(metavar="DEVICE"),
    (Guides, "mask"): Typed(metavar="CONTENT_MASK[:STYLE_MASK][:STYLE_NUMBER]", adds_up=True),
    (Guides, "labels"): Typed(metavar="CONTENT_LABELS STYLE_LABELS [STYLE_LABELS ...]"),
    (Guides, "content_map"): Typed(metavar="MAP"),
    (MorphJob, "content"): Typed(metavar="PHOTO"),
    (MorphJob, "styles"): Typed(positional=True, metavar="STYLE STYLE"),
    (PaintJob, "source"): Typed(name="from", metavar="FILE"),
    (PaintJob, "run_dir"): Typed(metavar="DIR"),
    (Print, "paper"): Typed(name="print", metavar="PAPER"),
    (Print, "bleed"): Typed(metavar="LENGTH"),
    (Config, "style_loss"): Typed(metavar="LOSS[:WEIGHT] [LOSS[:WEIGHT] ...]"),
    (TrainConfig, "start"): Typed(metavar="MODEL"),
    (DeliverJob, "painting"): Typed(positional=True, metavar="PAINTING|RUN"),
    (DeliverJob, "output"): Typed(short="-o", metavar="PATH"),
    (Delivery, "icc"): Typed(metavar="PROFILE"),
}


# What a command inherits and has no use for, by the names of both.
_LEFT_OUT: dict[str, tuple[str, ...]] = {
    "PaintJob": ("aspect", "tileable"),
    "Variations": ("aspect", "tileable", "source", "fixed"),
    "Texture": (
        *("content", "content_weight", "content_detail", "content_layers", "content_loss"),
        "detail_weight",
        *("color", "color_match"),
        *("mask", "labels", "content_map"),
    ),
    "MorphJob": (
        *("source", "save_every", "run_dir", "no_run_dir", "checkpoint_every", "preview"),
        *("finish", "tileable", "print", "sizes", "cpu_size", "style_weights", "mask", "labels"),
        *("paper", "dpi", "bleed", "landscape", "portrait", "fit", "gravity"),
    ),
}


@dataclass(frozen=True, slots=True)
class Option:
    """A field as it is typed.

    Attributes:
        group: the field that holds its dataclass; empty for the command's own.
        field: of that dataclass.
        typed: how it is typed.
        kinds: types of its value, or of each of its values.
        is_many: whether it takes any number of values.
        is_optional: whether its value may be None.
    """

    group: str
    field: Field[Any]
    typed: Typed
    kinds: tuple[Any, ...]
    is_many: bool
    is_optional: bool

    @property
    def key(self) -> tuple[str, str]:
        """Where its value belongs: group and name."""
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
        return self.kinds == (bool,)

    @property
    def is_negative(self) -> bool:
        """Whether it turns off what is on by default, as ``--no-...``."""
        return self.is_switch and self.field.default is True

    @property
    def usage(self) -> str:
        """``-o PATH, --output PATH``, as it stands in help."""
        if self.is_switch:
            return f"--no-{self.flags[-1][2:]}" if self.is_negative else self.flags[-1]
        if self.typed.positional:
            name = self.typed.metavar or self.field.name.upper()
            return name if self.is_required else f"[{name}]"
        value = "|".join(_metavar(kind) for kind in self.kinds)
        if self.is_many:
            value = f"{value} [{value} ...]"
            value = value if self.kinds[0] in _NUMBERS else f"[{value}]"
        return ", ".join(f"{flag} {self.typed.metavar or value}" for flag in self.flags)

    def text(self, value: Any) -> str:
        """A value as it would be typed."""
        return " ".join(self._texts(value))

    def words(self, value: Any) -> list[str]:
        """Flag and value as they would be typed."""
        return [self.usage] if self.is_switch else [self.flags[-1], *self._texts(value)]

    def _texts(self, value: Any) -> list[str]:
        if value in (None, ()) and self.kinds[0] in _NUMBERS:
            return [AUTO]
        if self.is_many:
            return [*map(str, value)]
        short = f"{value:g}" if isinstance(value, float) else str(value)
        return [short if not isinstance(value, float) or float(short) == value else repr(value)]

    def read(self, texts: list[str]) -> Any:
        """The value that was typed.

        Raises:
            UsageError: if it is none; what is allowed besides is for the dataclass to say.
        """
        if self.kinds[0] in _NUMBERS and (self.is_many or self.is_optional) and texts == [AUTO]:
            return () if self.is_many else None
        if self.kinds[0] in _NUMBERS and not texts:
            raise UsageError(f"{self.flags[-1]}: needs at least one number")
        values = tuple(self._read_one(text) for text in texts)
        return values if self.is_many else values[0]

    def _read_one(self, text: str) -> Any:
        kind = self.kinds[0]
        if not text and str in self.kinds:
            name = self.usage.strip("[]").split()[0] if self.typed.positional else self.flags[-1]
            raise UsageError(f"{name} is empty: give a value (is a shell variable not set?)")
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


def parts_of(command: Any) -> dict[str, Any]:
    """The dataclasses that are typed together: a command under "", and those of its groups."""
    hints = get_type_hints(command)
    groups = [field.name for field in fields(command) if is_dataclass(hints[field.name])]
    return {"": command, **{name: hints[name] for name in groups}}


def options_of(command: type) -> list[Option]:
    """Everything that can be typed for a dataclass: its own fields first, then those of groups.

    Its own field stands for one of the same name in a group.
    """
    parts, left_out = parts_of(command), _LEFT_OUT.get(command.__name__, ())
    own = [field.name for field in fields(command)]
    return [
        _option(group, kind, field)
        for group, kind in parts.items()
        for field in fields(kind)
        if field.name not in (*parts, *left_out) and not (group and field.name in own)
    ]


def _option(group: str, kind: type, field: Field[Any]) -> Option:
    hint, typed = _hints(kind)[field.name], None
    if get_origin(hint) is Annotated:
        hint, typed = get_args(hint)
    known = (_OF_CONFIG.get((base, field.name)) for base in kind.__mro__)
    is_many, parts = get_origin(hint) in (tuple, Sequence), get_args(hint)
    kinds = parts[:1] if is_many else parts if get_origin(hint) is UnionType else (hint,)
    return Option(
        group,
        field,
        typed or next(filter(None, known), Typed()),
        tuple(part for part in kinds if part is not NoneType),
        is_many,
        NoneType in kinds,
    )


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _metavar(kind: Any) -> str:
    choices = ",".join(map(str, get_args(kind)))
    return f"{{{choices}}}" if choices else str(kind.__name__).upper()
