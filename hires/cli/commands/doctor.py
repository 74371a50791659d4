"""``hires doctor``: whether this machine paints exactly."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from hires.cli.arguments import Doctor
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
        return 0
    tell(
        "hires", "tiled painting is not exact on this machine: try another --device or --precision"
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
    checks = Table(title="Tiled against whole", title_justify="left", box=None, padding=(0, 2))
    for heading in ("precision", "loss", "gradient", "allowed", ""):
        checks.add_column(heading, justify="left" if heading in ("precision", "") else "right")
    for name, found in report["tiled_vs_whole"].items():
        if isinstance(found, dict):
            verdict = "ok" if self_check.within_tolerance(name, found) else "FAILED"
            allowed = " / ".join(f"{limit:.0e}" for limit in self_check.TOLERANCES[name])
            numbers = f"{found['loss_rel']:.1e}", f"{found['gradient_rel_l2']:.1e}"
            checks.add_row(name, *numbers, allowed, verdict)
    return Group(facts, "", checks)
