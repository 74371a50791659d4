"""``hires doctor``: whether this machine paints exactly."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from hires.cli.arguments.looking import Doctor
from hires.cli.exits import EXIT_FAULT, tell
from hires.engine import self_check


def run(command: Doctor) -> int:
    """Examine the machine and print the report."""
    report = self_check.examine()
    if command.json:
        print(json.dumps(report, indent=2))
    else:
        Console(highlight=False).print(tables(report))
    if report["passed"]:
        if not command.json:
            print("\nTiled painting is exact on this machine, to rounding.")
        return 0
    tell(
        "hires",
        "tiled painting is not exact on this machine: give stylize another --device or --precision",
    )
    return EXIT_FAULT


def tables(report: dict[str, Any]) -> RenderableType:
    """The report for people."""
    facts = Table.grid(padding=(0, 2))
    device = report["device"]
    gpus = ", ".join(f"{gpu['name']} ({gpu['memory_gib']} GiB)" for gpu in device["gpus"])
    facts.add_row("device", f"{device['name']} in {device['precision']} (what auto picks)")
    facts.add_row("system", f"{device['system']}, {device['cpu_cores']} cores")
    facts.add_row("GPUs", gpus or "none")
    facts.add_row("versions", "  ".join(f"{k} {v}" for k, v in report["versions"].items()))
    for extra, version in report["extras"].items():
        package, purpose = self_check.EXTRAS[extra]
        state = f"{self_check.MISSING}: pip install {package}"
        if version != self_check.MISSING:
            state = f"{package} {version}"
        facts.add_row(f"extra {extra}", f"{state} ({purpose})")
    title = "Painting in tiles against painting at once: relative differences"
    checks = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    for heading in ("precision", "loss", "gradient", "allowed: loss", "gradient", ""):
        checks.add_column(heading, justify="left" if heading in ("precision", "") else "right")
    for name, found in report["tiled_vs_whole"].items():
        if isinstance(found, dict):
            numbers = found["loss_rel"], found["gradient_rel_l2"], *self_check.TOLERANCES[name]
            verdict = "ok" if self_check.within_tolerance(name, found) else "FAILED"
            checks.add_row(name, *(f"{number:.0e}" for number in numbers), verdict)
    return Group(facts, "", checks)
