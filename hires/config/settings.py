"""A job as JSON and back: what is kept beside a painting, so that it can be repeated. No torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from hires.config.job import PaintJob
from hires.errors import ConfigError

Record = TypeVar("Record")


def settings_of(job: Any) -> dict[str, Any]:
    """Every field of a job (a dataclass), given or default, as values that JSON can hold."""
    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(job)))
    return found


def job_of(settings: Mapping[str, Any]) -> PaintJob:
    """The job that `settings_of` described; options that are not named have their defaults.

    Raises:
        ConfigError: for an option that does not exist, or a value that is not allowed.
    """
    return _record(PaintJob, settings)


def _record(kind: type[Record], settings: Mapping[str, Any]) -> Record:
    known: dict[str, dataclasses.Field[Any]] = {
        field.name: field
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
    }
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ConfigError(f"unknown setting '{unknown[0]}': written by another version of hires?")
    values = {name: _value(known[name], value) for name, value in settings.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"settings cannot be used: {error}") from None


def _value(field: dataclasses.Field[Any], value: Any) -> Any:
    if isinstance(value, Mapping):
        make = field.default_factory
        part = None if make is dataclasses.MISSING else make()
        if not dataclasses.is_dataclass(part):
            raise ConfigError(f"setting '{field.name}' is not a group of settings")
        return _record(type(part), value)
    return tuple(value) if isinstance(value, list) else value
