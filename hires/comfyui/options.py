"""What the nodes offer of the options of `hires.config`, and what was given. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from typing import Any, Literal, get_args, get_origin

from hires.cli.options import Option, UsageError, options_of
from hires.config.feedforward import ApplyConfig
from hires.config.job import PaintJob
from hires.errors import ConfigError
from hires.serve.form import GROUPS, PRINT_FIELDS

# Not the device, which is ComfyUI's, and no path: workflows come from strangers.
_OF_CONFIG = ("preset", *(name for names in GROUPS.values() for name in names), "style_weights")
_OF_PAINTING = {
    "config": tuple(name for name in dict.fromkeys(_OF_CONFIG) if name != "device"),
    "print": PRINT_FIELDS,
    "delivery": ("deliver", "no_metadata"),
    "": ("bit_depth",),
}
_OF_APPLYING = {"": ("mode", "thumbnail", "grain", "memory", "tile", "precision")}


def painting_options() -> list[Option]:
    """Options of a painting, in the order of the node."""
    return _offered(PaintJob, _OF_PAINTING)


def applying_options() -> list[Option]:
    """Options of a model that is applied."""
    return _offered(ApplyConfig, _OF_APPLYING)


def _offered(command: type, names: Mapping[str, Sequence[str]]) -> list[Option]:
    known = {option.key: option for option in options_of(command)}
    return [known[group, name] for group, inner in names.items() for name in inner]


def kind_of(option: Option) -> Literal["switch", "choice", "text", "integer", "number"]:
    """How a value is asked for."""
    kinds = option.kinds
    if option.is_switch:
        return "switch"
    if get_origin(kinds[0]) is Literal:
        return "choice"
    if option.is_many or str in kinds:
        return "text"
    return "integer" if kinds == (int,) else "number"


def choices_of(option: Option) -> list[str]:
    """What may be chosen."""
    return [str(choice) for choice in get_args(option.kinds[0])]


def _default(option: Option) -> Any:
    """The value that stands for nothing given."""
    default = option.field.metadata.get("default", option.field.default)
    assert default is not MISSING, f"{option.field.name} has no default"
    return default


def automatic(option: Option) -> int | None:
    """What stands for a number that is chosen when none is given: 0, or -1 where 0 is one."""
    if not option.is_optional or kind_of(option) not in ("integer", "number"):
        return None
    return 0 if option.field.metadata.get("least", 0) > 0 else -1


def shown_default(option: Option) -> Any:
    """What a node shows where nothing is given."""
    default, kind = _default(option), kind_of(option)
    if kind in ("integer", "number"):
        return automatic(option) if default is None else default
    if kind == "text" and default is None and option.kinds == (str,):
        return ""
    return default if kind == "switch" else option.text(default)


def read_given(options: Sequence[Option], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields that a node's inputs ask for, by group.

    What is as the node shows it by default is not given: it has the value of the preset.

    Args:
        options: those of the node.
        given: values by names; others than those of options are passed over.

    Raises:
        ConfigError: for text that cannot be read.
    """
    found: dict[str, dict[str, Any]] = {option.group: {} for option in options}
    for option in options:
        value = _read(option, given.get(option.field.name))
        if value != _default(option):
            found[option.group][option.field.name] = value
    return found


def _read(option: Option, value: Any) -> Any:
    if isinstance(value, str):
        texts = value.split() if option.is_many else [value.strip()]
        if not any(texts):
            return _default(option)
        try:
            return option.read(texts)
        except UsageError as error:
            raise ConfigError(
                str(error).replace(option.flags[-1], f"`{option.field.name}`")
            ) from None
    return _default(option) if value in (None, automatic(option)) else value
