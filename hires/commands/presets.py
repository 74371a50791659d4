"""``hires presets``: the published systems and their settings."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console
from rich.table import Table

from hires.arguments import Presets
from hires.config import Config
from hires.presets import PRESETS, Preset

_SYMBOLS = (
    "F: features, C channels at N = H W positions; G: their Gram matrix; Δ: canvas less target;"
    " W2: Wasserstein distance"
)
_FOOT = (
    "Settings that are the same in all of them are left out; auto: hires stylize --help tells the"
    " rule.\nhires stylize --preset NAME starts from one; other options override it.\n"
    "hires presets NAME tells its source, its loss and where it departs from its document."
)


def run(command: Presets) -> int:
    """Print one preset or all of them."""
    if command.json:
        names = [command.name] if command.name else list(PRESETS)
        found = {name: described(name) for name in names}
        print(json.dumps(found[command.name] if command.name else found, indent=2))
        return 0
    console = Console(highlight=False)
    if command.name:
        _print_one(console, command.name, PRESETS[command.name])
    else:
        _print_all(console)
    return 0


def described(name: str) -> dict[str, Any]:
    """A preset as values that JSON can hold, with every setting in effect."""
    preset = PRESETS[name]
    settings: dict[str, Any] = asdict(Config(preset=name))  # type: ignore[arg-type]
    return {
        "title": preset.title,
        "source": preset.source,
        "loss": preset.loss,
        "notes": list(preset.notes),
        "settings": settings,
    }


def _print_one(console: Console, name: str, preset: Preset) -> None:
    lines = (f"{name}: {preset.title}", f"source: {preset.source}", f"loss:   {preset.loss}")
    for line in (*lines, f"        ({_SYMBOLS})"):
        console.print(line, markup=False, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    settings = asdict(Config(preset=name))  # type: ignore[arg-type]
    changed = preset.settings or {field.name: None for field in fields(Config)}
    for option, value in settings.items():
        if option in changed:
            table.add_row(_flag(option), _text(value))
    console.print(table, markup=False)
    for note in preset.notes:
        console.print(f"- {note}", markup=False, soft_wrap=True)


def _print_all(console: Console) -> None:
    for name, preset in PRESETS.items():
        console.print(f"{name}: {preset.title}", markup=False, soft_wrap=True)
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("setting", *PRESETS):
        table.add_column(heading, no_wrap=heading == "setting", overflow="fold")
    settings = {name: asdict(Config(preset=name)) for name in PRESETS}  # type: ignore[arg-type]
    for field in fields(Config):
        values = [_text(settings[name][field.name]) for name in PRESETS]
        if len(set(values)) > 1 and field.name != "preset":
            table.add_row(_flag(field.name), *values)
    console.print(table, markup=False)
    console.print(f"\n{_FOOT}", soft_wrap=True)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _text(value: Any) -> str:
    if value is None or value == ():
        return "auto"
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
