"""A job as the page sends it, held to what it may be: known names, known types, bounded numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from hires.config.guides import Guides
from hires.config.job import PaintJob
from hires.config.output import Delivery, Purpose
from hires.config.paper import Print
from hires.config.run import Config
from hires.config.values import size_share
from hires.errors import ConfigError
from hires.serve.form import (
    GROUPS,
    MOST,
    MOST_NUMBER,
    MOST_TEXT,
    MOST_VALUES,
    PRINT_FIELDS,
    known_fields,
)
from hires.serve.models import known_models
from hires.serve.pictures import Pictures
from hires.serve.store import Store

MOST_PAINTED = 600_000_000  # pixels of a painting: two A0 of 300 dpi and more
MOST_STYLES = 8
FORMATS = {"png": ".png", "tif": ".tif", "jpg": ".jpg", "pdf": ".pdf"}
_DEEP = ("png", "tif")
_KEYS = {
    *("content", "styles", "weights", "masks", "options", "print"),
    *("deliver", "format", "mode", "model", "closeup"),
}
_OPTIONS = {name for names in GROUPS.values() for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the page asks for.

    Attributes:
        job: what is painted; its output is to be named yet.
        name: what the photograph is called.
        model: paints it in one pass instead of the job, None for the job.
        ending: of the file.
        content: id of the photograph.
        picture: its file, from the folder.
        close_up: id of a close-up that was painted of it before, None for none.
    """

    job: PaintJob | None
    name: str
    model: str | None
    ending: str
    content: str
    picture: str
    close_up: str | None


def read_asked(asked: Any, store: Store, pictures: Pictures) -> Asked:
    """Make a job of JSON.

    Raises:
        ConfigError: for what is unknown, of another type or beyond its bounds.
    """
    if not isinstance(asked, dict):
        raise ConfigError("a job is an object")
    _known(asked, _KEYS, "job")
    mode, form = asked.get("mode", "paint"), asked.get("format") or "png"
    if mode not in ("paint", "apply"):
        raise ConfigError("`mode`: choose one of paint, apply")
    if not isinstance(form, str) or form not in FORMATS:
        raise ConfigError(f"`format`: choose one of {', '.join(FORMATS)}")
    content, about = asked.get("content"), pictures.about(asked.get("content"))
    path = store.relative(pictures.path(content, "content"))
    common: dict[str, Any] = {
        "name": str(about["name"]),
        "ending": FORMATS[form],
        "content": str(content),
        "picture": path,
        "close_up": asked["closeup"] if store.find("closeups", asked.get("closeup")) else None,
    }
    if mode == "apply":
        models = known_models(store.folder)
        model = asked.get("model") or next(iter(models))
        if not isinstance(model, str) or model not in models:
            raise ConfigError(f"`model`: choose one of {', '.join(models)}")
        return Asked(job=None, model=models[model], **common)
    options = _options(asked.get("options"), _OPTIONS, "options")
    job = _job(asked, options, path, form, store, pictures)
    _require_bounded(job, (int(about["height"]), int(about["width"])))
    return Asked(job=job, model=None, **common)


def _job(
    asked: Mapping[str, Any],
    options: dict[str, Any],
    content: str,
    form: str,
    store: Store,
    pictures: Pictures,
) -> PaintJob:
    styles = _list(asked, "styles", MOST_STYLES)
    if not styles:
        raise ConfigError("`styles`: choose at least one painting")
    paths = tuple(store.relative(pictures.path(style, "styles")) for style in styles)
    weights = [_number(weight, "weights") for weight in _list(asked, "weights", MOST_STYLES)]
    if len(paths) > 1 and weights:
        options["style_weights"] = tuple(float(weight) for weight in weights)
    masks = []
    for mask in _list(asked, "masks", MOST_STYLES):
        if not isinstance(mask, dict):
            raise ConfigError("`masks`: each is an object")
        _known(mask, {"mask", "style"}, "masks")
        path = store.relative(pictures.path(mask.get("mask"), "masks"))
        masks.append(f"{path}:{_style_numbers(mask.get('style', 1))}")
    deliver = asked.get("deliver") or "plain"
    if deliver not in ("plain", "lab", "master"):
        raise ConfigError("`deliver`: choose one of lab, master")
    if (deliver, form in _DEEP) == ("master", False) or (deliver, form) == ("lab", "png"):
        allowed = "png, tif" if deliver == "master" else "tif, jpg, pdf"
        raise ConfigError(f"`format`: for a {deliver} choose one of {allowed}")
    return PaintJob(
        content=content,
        styles=paths,
        output=f"painting{FORMATS[form]}",
        # So that whatever else is asked for later can be made of it without loss.
        bit_depth=16 if form in _DEEP and deliver == "plain" else 8,
        config=Config(**options),
        guides=Guides(mask=tuple(masks)),
        print=Print(**_options(asked.get("print"), {*PRINT_FIELDS}, "print")),
        delivery=Delivery(deliver=cast(Purpose, deliver)),
    )


def _style_numbers(asked: Any) -> str:
    """Which style a mask is for, or which several."""
    numbers = asked if isinstance(asked, list) else [asked]
    is_right = all(type(number) is int and 0 <= number <= MOST_STYLES for number in numbers)
    if not is_right or not 1 <= len(numbers) <= MOST_STYLES:
        raise ConfigError(f"`masks`: styles are whole numbers from 0 to {MOST_STYLES}")
    return "+".join(map(str, numbers))


def _known(asked: Mapping[str, Any], names: set[str], where: str) -> None:
    unknown = sorted(str(name)[:40] for name in {*asked} - names)
    if unknown:
        raise ConfigError(f"`{where}` has no '{unknown[0]}'")


def _options(asked: Any, names: set[str], where: str) -> dict[str, Any]:
    """Options that are given; null stands for what is chosen when nothing is given."""
    if asked is None:
        return {}
    if not isinstance(asked, dict):
        raise ConfigError(f"`{where}` is an object")
    _known(asked, names, where)
    found = {}
    for name, value in asked.items():
        if value is not None:
            found[name] = _value(name, value)
    return found


def _value(name: str, value: Any) -> Any:
    is_many = known_fields()[name].is_many
    if isinstance(value, list) and is_many:
        if len(value) > MOST_VALUES:
            raise ConfigError(f"`{name}` has {len(value)} values: give at most {MOST_VALUES}")
        return tuple(_one(name, one) for one in value)
    one = _one(name, value)
    return (one,) if is_many else one


def _one(name: str, value: Any) -> Any:
    types = known_fields()[name].types
    if isinstance(value, bool) and bool in types:
        return value
    if type(value) in (int, float) and types & {int, float}:
        return _number(value, name)
    is_text = isinstance(value, str) and value and value.strip() == value and value.isprintable()
    if is_text and str in types and len(value) <= MOST_TEXT and not value.startswith("-"):
        return value
    raise ConfigError(f"`{name}`: give {_wanted(types)}")


def _wanted(types: set[type]) -> str:
    words = {
        "yes or no": bool in types,
        "a number": not types.isdisjoint((int, float)),
        "a short text that begins with no hyphen": str in types,
    }
    return " or ".join(word for word, is_wanted in words.items() if is_wanted)


def _number(value: Any, name: str) -> int | float:
    most = MOST.get(name, MOST_NUMBER)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"`{name}`: give a number")
    if not 0 <= value <= most:  # Nor is NaN.
        raise ConfigError(f"`{name}`: give a number from 0 to {most:g}")
    return value


def _list(asked: Mapping[str, Any], name: str, most: int) -> list[Any]:
    found = asked.get(name) or []
    if not isinstance(found, list) or len(found) > most:
        raise ConfigError(f"`{name}` is a list of at most {most}")
    return found


def _require_bounded(job: PaintJob, content: tuple[int, int]) -> None:
    """Refuse paintings that are larger than any that are worth it.

    Args:
        job: what is painted.
        content: ``(height, width)`` of the photograph.
    """
    if job.print.paper is not None:
        pixels = math.prod(job.print.layout(content).size)
    else:
        size, long = job.config.size, max(content)
        side = size_share(size) * long if isinstance(size, str) else size
        measured = min(content) if job.config.measured_side == "short" else long
        pixels = round(math.prod(content) * (side / measured) ** 2)
    if pixels > MOST_PAINTED:
        raise ConfigError(
            f"the painting would have {pixels / 1e6:.0f} megapixels: at most"
            f" {MOST_PAINTED / 1e6:.0f} are painted here; give a smaller `size` or `dpi`"
        )
