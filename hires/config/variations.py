"""Variations of a painting that differ, to choose from before the long run. No torch.

The first is what the options say. Then one thing at a time is changed by as much as can be seen at
a glance, or two that go together. What was given is the same in all of them: it is not changed, and
others take the place of what would have changed it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hires.config.job import PaintJob
from hires.config.run import Config
from hires.config.values import parse_style_layer
from hires.errors import ConfigError

# How many variations there are, unless there are more styles than that.
NUM_VARIATIONS = 12


@dataclass(frozen=True, slots=True)
class _Change:
    """What makes a variation: its name, its rank where there is no room for all, its options.

    Numbers are factors: large enough to be seen at a glance, small enough to leave a painting.
    """

    name: str
    rank: int
    options: dict[str, Any]


# As they stand on the sheet. Losses are exchanged only where their weights mean the same.
_CHANGES = (
    _Change("as it is", 0, {}),
    _Change("closer to the photograph", 3, {"content_weight": 4.0}),
    _Change("freer", 5, {"content_weight": 0.25}),
    _Change("Gram matrices", 7, {"style_loss": ("gram",)}),
    _Change("broad strokes", 1, {"style_scale": 2.0}),
    _Change("broad strokes, freer", 9, {"style_scale": 2.0, "content_weight": 0.25}),
    _Change("fine strokes", 4, {"style_scale": 0.5}),
    _Change("fine strokes, closer", 11, {"style_scale": 0.5, "content_weight": 4.0}),
    _Change("the photograph's colours", 2, {"color": "content"}),
    _Change("the photograph's colours and light", 8, {"color": "luminance"}),
    _Change("style recoloured like the photograph", 6, {"color": "match"}),
    _Change("colours laid out as in the photograph", 10, {"color": "palette"}),
    _Change("each stroke in its place", 12, {"style_loss": ("wasserstein", "neighbours:0.3")}),
    _Change("much closer to the photograph", 13, {"content_weight": 16.0}),
    _Change("much freer", 14, {"content_weight": 0.0625}),
    _Change("very broad strokes", 15, {"style_scale": 4.0}),
    _Change(
        "fine strokes in the photograph's colours", 16, {"style_scale": 0.5, "color": "content"}
    ),
    _Change("closer, in the photograph's colours", 17, {"content_weight": 4.0, "color": "content"}),
)
_LOSSES = {"wasserstein", "gram", "meanstd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """One of the paintings to choose from.

    Attributes:
        name: how it differs from the others, in a few words.
        job: the painting.
    """

    name: str
    job: PaintJob


def variations(job: PaintJob, fixed: Collection[str] = ()) -> tuple[Variation, ...]:
    """The paintings to choose from: about a dozen, the same for the same pictures and options.

    With several styles each paints alone and all together, unless weights, layers or masks say
    which paints what; there are fewer variations of each then.

    Args:
        job: what all of them share.
        fixed: fields of its config that are not changed, beside those that are not as by default.

    Raises:
        ConfigError: for a texture.
    """
    if job.content is None:
        raise ConfigError("a texture has no variations to choose from: give a `content`")
    found: list[Variation] = []
    subjects = _subjects(job, fixed)
    num_changes = max(NUM_VARIATIONS // len(subjects), 1)
    for change, config in _changed(job.config, fixed, num_changes):
        for subject, styles in subjects.items():
            output = f"{Path(job.content).stem}-{len(found) + 1}.png"
            parts = {field.name: getattr(job, field.name) for field in fields(PaintJob)}
            parts |= {"styles": styles, "config": config, "output": output}
            name = ", ".join(filter(None, (subject, change)))
            found.append(Variation(name=name, job=PaintJob(**parts)))
    return tuple(found)


def _subjects(job: PaintJob, fixed: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Which styles paint, by what they are called."""
    styles, weights = job.styles, "style_weights"
    is_fixed = weights in fixed or not job.config.is_default(weights)
    is_fixed |= any(parse_style_layer(layer).number for layer in job.config.style_layers)
    if len(styles) == 1 or is_fixed or job.guides.mask or job.guides.labels:
        return {"": styles}
    # Files of the same name in two folders are told apart by their numbers.
    stems = [Path(style).stem for style in styles]
    names = stems if len({*stems}) == len(stems) else [f"style {i + 1}" for i in range(len(stems))]
    together = "both" if len(styles) == 2 else "all"
    return {**{name: (style,) for name, style in zip(names, styles, strict=True)}, together: styles}


def _changed(config: Config, fixed: Collection[str], most: int) -> Iterator[tuple[str, Config]]:
    """At most so many configurations that differ, and what they are called."""
    found: list[tuple[_Change, Config]] = []
    for change in _CHANGES:
        options = change.options
        if any(name in fixed or not config.is_default(name) for name in _given_by(options)):
            continue
        if "style_loss" in options and not {*config.style_losses} <= _LOSSES:
            continue
        values = {
            name: getattr(config, name) * value if isinstance(value, float) else value
            for name, value in options.items()
        }
        with suppress(ConfigError):  # It does nothing beside what was given.
            found.append((change, replace(config, **values)))
    ranks = sorted(change.rank for change, _ in found)[:most]
    yield from ((change.name, one) for change, one in found if change.rank in ranks)


def _given_by(options: Collection[str]) -> set[str]:
    """What says as much as some options do: a brush size says the scale of the styles."""
    return {*options} | ({"brush_size"} if "style_scale" in options else set())
