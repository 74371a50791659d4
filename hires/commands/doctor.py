"""``hires doctor``: whether this machine paints exactly."""

from __future__ import annotations

import json

from rich.console import Console

from hires import doctor
from hires.arguments import Doctor
from hires.exits import EXIT_FAULT, tell


def run(command: Doctor) -> int:
    """Examine the machine and print the report."""
    report = doctor.examine()
    if command.json:
        print(json.dumps(report, indent=2))
    else:
        Console(highlight=False).print(doctor.tables(report))
    if report["passed"]:
        if not command.json:
            print("\nTiled painting is exact on this machine, to rounding.")
        return 0
    tell(
        "hires",
        "tiled painting is not exact on this machine: give stylize another --device or --precision",
    )
    return EXIT_FAULT
