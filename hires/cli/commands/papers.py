"""``hires papers``: the papers that ``--print`` knows."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from hires.cli.arguments.looking import Papers
from hires.config.paper import MM_PER_INCH, PAPERS, Paper, to_pixels

_DPI = (150, 200, 300)


def run(command: Papers) -> int:
    """Print every paper, upright, with its pixels at three resolutions."""
    if command.json:
        print(json.dumps([_record(paper) for paper in PAPERS.values()], indent=2))
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("paper", no_wrap=True)
    for heading in ("mm", "inches", *(f"px at {dpi} dpi" for dpi in _DPI)):
        table.add_column(heading, justify="right", no_wrap=True)
    for paper in PAPERS.values():
        record = _record(paper)
        sides = (record["mm"], record["inches"], *record["pixels"].values())
        table.add_row(paper.name, *(f"{width:g}x{height:g}" for width, height in sides))
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "All as width x height, upright; a wide photograph turns them (--portrait or --landscape"
        " decides).\nGive a name to hires stylize or plan, as --print A2, or any other"
        " size, as --print 50x70cm.",
        soft_wrap=True,
    )
    return 0


def _record(paper: Paper) -> dict[str, Any]:
    sides = paper.width, paper.height
    return {
        "name": paper.name,
        "mm": [round(side, 1) for side in sides],
        "inches": [round(side / MM_PER_INCH, 2) for side in sides],
        "pixels": {str(dpi): [to_pixels(side, dpi) for side in sides] for dpi in _DPI},
    }
