"""Variations of a painting that differ, to choose from before the long run. No torch.

The first is what the options say. Then one thing at a time is changed by as much as can be seen at
a glance, then two that go together. What was given is the same in all of them: it is not changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hires.config.job import PaintJob
from hires.config.run import Config
from hires.errors import ConfigError

# How many variations there are, unless there are more styles than that.
NUM_VARIATIONS = 12

# What is changed, from what matters most to what matters least, and what it is called. Numbers are
# factors. Losses are exchanged only where their weights mean the same.
_CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("as it is", {}),
    ("broad strokes", {"style_scale": 2.0}),
    ("the photograph's colours", {"color": "content"}),
    ("closer to the photograph", {"content_weight": 4.0}),
    ("fine strokes", {"style_scale": 0.5}),
    ("freer", {"content_weight": 0.25}),
    ("the style's colours, matched", {"color": "match"}),
    ("Gram matrices", {"style_loss": "gram"}),
    ("light and dark alone", {"color": "luminance"}),
    ("the style's colours, laid out as the photograph's", {"color": "palette"}),
    ("fine strokes, closer", {"style_scale": 0.5, "content_weight": 4.0}),
    ("broad strokes, freer", {"style_scale": 2.0, "content_weight": 0.25}),
    ("means and spreads", {"style_loss": "meanstd"}),
    ("much closer", {"content_weight": 16.0}),
    ("much freer", {"content_weight": 0.0625}),
    ("very broad strokes", {"style_scale": 4.0}),
)
_LOSSES = ("wasserstein", "gram", "meanstd")


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

    With several styles each paints alone and all together, unless weights or masks say which
    paints what; there are fewer variations of each then.

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
    for change, config in [*_changed(job.config, fixed)][:num_changes]:
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
    if len(styles) == 1 or is_fixed or job.guides.mask or job.guides.labels:
        return {"": styles}
    # Files of the same name in two folders are told apart by their numbers.
    stems = [Path(style).stem for style in styles]
    names = stems if len({*stems}) == len(stems) else [f"style {i + 1}" for i in range(len(stems))]
    together = "both" if len(styles) == 2 else "all"
    return {**{name: (style,) for name, style in zip(names, styles, strict=True)}, together: styles}


def _changed(config: Config, fixed: Collection[str]) -> Iterator[tuple[str, Config]]:
    """Configurations that differ, and what they are called."""
    found: list[Config] = []
    for name, changes in _CHANGES:
        if any(field in fixed or not config.is_default(field) for field in changes):
            continue
        if "style_loss" in changes and config.style_loss not in _LOSSES:
            continue
        values = {
            field: getattr(config, field) * value if isinstance(value, float) else value
            for field, value in changes.items()
        }
        try:
            changed = replace(config, **values)
        except ConfigError:
            continue  # It does nothing beside what was given.
        if changed not in found:
            found.append(changed)
            yield name, changed
