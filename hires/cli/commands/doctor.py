"""``hires doctor``: whether this machine paints exactly."""

from __future__ import annotations

import json

from rich.console import Console

from hires.engine import self_check as doctor
from hires.cli.arguments import Doctor
from hires.cli.exits import EXIT_FAULT, tell


def run(command: Doctor) -> int:
    """Examine the machine and print the report."""
    report = doctor.examine()
    if command.json:
        print(json.dumps(report, indent=2))
    else:
        Console(highlight=False).print(doctor.tables(report))
    if report["passed"]:
        return 0
    tell(
        "hires", "tiled painting is not exact on this machine: try another --device or --precision"
    )
    return EXIT_FAULT
