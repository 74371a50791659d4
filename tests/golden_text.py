"""Text that must stay as it is, in tests/golden; `HIRES_GOLDEN=write` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"
MODE = os.environ.get("HIRES_GOLDEN", "")


def golden(name: str, text: str) -> str:
    """What a file holds; after writing ``text`` to it, if that is asked for."""
    path = FOLDER / name
    if MODE == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8")
