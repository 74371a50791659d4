"""What the page asks for, made of the fields of `hires.config`; and what it may ask."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hires.config.checks import LARGEST
from hires.config.documented import documented
from hires.config.paper import PAPERS, Print
from hires.config.run import Config
from hires.config.values import STYLE_LOSSES

# Fields of `Config` that the page offers, by the group that they stand in. None is a path.
GROUPS: dict[str, tuple[str, ...]] = {
    "size": ("size", "min_size", "rungs", "iterations"),
    "look": (
        *("content_weight", "detail_weight", "style_weight", "patch_weight", "tv_weight"),
        *("style_loss", "content_detail", "style_turns"),
    ),
    "brush": ("brush_size", "style_scale", "style_fit"),
    "colour": ("color", "color_match"),
    "machine": ("preset", "seed", "precision", "device", "memory"),
}
PRINT_FIELDS = ("paper", "dpi", "bleed", "landscape", "portrait", "fit", "gravity")
# More than anybody needs, and less than breaks anything.
MOST_NUMBER = 1e6
MOST = {
    "size": 65_536,
    "min_size": 65_536,
    "rungs": 16,
    "iterations": 10_000,
    "seed": 2**31 - 1,
    "dpi": 2400,
}
MOST_TEXT, MOST_VALUES = 100, 16


@dataclass(frozen=True, slots=True)
class FormField:
    """A field as the page shows it.

    Attributes:
        field: of the dataclass.
        group: where it stands.
        hint: its type.
        help: a sentence or two.
    """

    field: Field[Any]
    group: str
    hint: Any
    help: str

    @property
    def kind(self) -> str:
        """How it is asked for."""
        name, parts = self.field.name, _parts(self.hint)
        if name == "style_loss":
            return "losses"
        if any(get_origin(part) is Literal for part in parts):
            return "choice"
        if parts == {bool}:
            return "switch"
        if str in parts or self.is_many:
            return "text"
        return "integer" if parts == {int} else "number"

    @property
    def is_many(self) -> bool:
        """Whether it takes several values."""
        return get_origin(self.hint) in (tuple, Sequence)

    @property
    def types(self) -> set[type]:
        """Of its value, or of each of its values."""
        of_each = get_args(self.hint)[:1] if self.is_many else (self.hint,)
        found = {part for one in of_each for part in _parts(one)}
        return {str if get_origin(part) is Literal else part for part in found}

    @property
    def choices(self) -> list[Any]:
        """What may be chosen."""
        if self.field.name == "style_loss":
            return [*STYLE_LOSSES]
        found = [part for part in _parts(self.hint) if get_origin(part) is Literal]
        return [*get_args(found[0])] if found else []

    def told(self) -> dict[str, Any]:
        """As JSON."""
        data, name = self.field.metadata, self.field.name
        default = data.get("default", self.field.default)
        told: dict[str, Any] = {
            "name": name,
            "group": self.group,
            "label": name.replace("_", " ").capitalize(),
            "help": self.help,
            "kind": self.kind,
            "default": None if default is MISSING else default,
        }
        if self.kind in ("integer", "number"):
            most = min(data.get("most", LARGEST), MOST.get(name, MOST_NUMBER))
            told |= {"least": data.get("least", 0), "most": most}
        if self.choices:
            told["choices"] = self.choices
        return told


def _parts(hint: Any) -> set[Any]:
    """The types that a value may have, but None."""
    parts = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return {part for part in parts if part is not NoneType}


@functools.cache
def known_fields() -> Mapping[str, FormField]:
    """Everything that the page offers, by its name."""
    return {field.field.name: field for field in form_fields()}


def form_fields() -> Iterator[FormField]:
    """Everything that the page offers."""
    for group, names in GROUPS.items():
        yield from _of(Config, names, group)
    yield from _of(Print, PRINT_FIELDS, "print")


def _of(kind: type, names: tuple[str, ...], group: str) -> Iterator[FormField]:
    hints, texts = get_type_hints(kind), documented(kind)
    known: Mapping[str, Field[Any]] = {field.name: field for field in fields(kind)}
    for name in names:
        yield FormField(known[name], group, hints[name], in_words(texts[name]))


def in_words(text: str) -> str:
    """Help for those who do not type: it names options as they are typed."""
    return re.sub(r"--([a-z][a-z-]*)", lambda flag: flag[1].replace("-", " "), text)


def papers() -> list[dict[str, Any]]:
    """The papers that have names, in mm."""
    return [
        {"name": paper.name, "width": round(paper.width, 1), "height": round(paper.height, 1)}
        for paper in PAPERS.values()
    ]
