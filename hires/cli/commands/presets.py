"""``hires presets``: looks and published systems, and their settings."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.table import Table

from hires.cli.arguments.looking import Presets
from hires.cli.options import options_of
from hires.config.presets import PRESETS, Preset
from hires.config.run import Config

_SYMBOLS = (
    "F: features, C channels at N = H W positions; G: their Gram matrix; Δ: canvas less target;"
    " W2: Wasserstein distance"
)
_FOOT = (
    "Under each, what differs from hires; auto: hires stylize --help-all tells the rule.",
    "hires stylize --preset NAME starts from one; other options override it.",
    "hires presets NAME tells its source, its loss and where it departs from its document.",
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
    _say(console, f"{name}: {preset.title}")
    _say(console, f"source: {preset.source}", hanging=8)
    _say(console, f"loss:   {preset.loss} ({_SYMBOLS})", hanging=8)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    config = Config(preset=name)  # type: ignore[arg-type]
    for option in options_of(Config):
        if option.field.name in preset.settings or not preset.settings:
            table.add_row(option.flags[-1], option.text(getattr(config, option.field.name)))
    console.print(table, markup=False)
    for note in preset.notes:
        _say(console, f"- {note}", hanging=2)


def _print_all(console: Console) -> None:
    for name, preset in PRESETS.items():
        _say(console, f"{name}: {preset.title}")
        # An option stays with its value, or with the first of them.
        options = re.sub(r"(--[\w-]+) (?!--)", "\\1\0", " ".join(difference(name)))
        if options:
            _say(console, " " * 4 + options, hanging=4)
    console.print()
    for line in _FOOT:
        _say(console, line)


def _say(console: Console, text: str, *, hanging: int = 0) -> None:
    """Print a text in lines that fit, all but the first of them indented."""
    lines = wrap(
        text,
        max(console.width, 2 * hanging + 20),
        subsequent_indent=" " * hanging,
        break_on_hyphens=False,
        break_long_words=False,
    )
    told = "\n".join(lines).replace("\0", " ")
    console.print(told, markup=False, soft_wrap=True)


def difference(name: str) -> list[str]:
    """What has to be typed for a preset's settings in place of --preset, word by word."""
    own, usual = Config(preset=name), Config()  # type: ignore[arg-type]
    values = ((option, option.field.name) for option in options_of(Config))
    return [
        word
        for option, field in values
        if field != "preset" and getattr(own, field) != getattr(usual, field)
        for word in option.words(getattr(own, field))
    ]
