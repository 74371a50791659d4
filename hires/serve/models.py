"""Trained networks that paint a photograph in seconds: hires' own, and those of the folder.

Of a file in the folder only the head is read, as JSON; whoever applies it reads the rest as
safetensors, with every check. Nothing here, and nothing there, opens a pickle.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from hires.config.feedforward import MODEL_ENDING, MODEL_FORMAT

BUILT_IN = ("impasto",)
_MOST, _MOST_HEAD = 64, 2**20  # files, and bytes of a head


def known_models(folder: Path) -> dict[str, str]:
    """What ``hires apply`` is given for each model, by the name that the page has for it.

    Args:
        folder: whose models are offered, too; it may have files of any kind.
    """
    found = {name: name for name in BUILT_IN}
    for path in sorted(folder.glob(f"*{MODEL_ENDING}"))[:_MOST]:
        is_inside = path.resolve().is_relative_to(folder.resolve())
        if is_inside and path.name.isprintable() and _paints(path):
            found[path.name] = f"./{path.name}"
    return found


def _paints(path: Path) -> bool:
    """Whether a file says of itself that it is a network that paints in a style."""
    with suppress(OSError, ValueError, RecursionError, AttributeError):
        if not path.is_file():
            return False
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _MOST_HEAD:
                return False
            told = json.loads(file.read(length)).get("__metadata__", {})
        return bool(told.get("format") == MODEL_FORMAT and told.get("task") == "style")
    return False
