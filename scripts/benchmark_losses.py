#!/usr/bin/env python3
"""What a step takes with each style loss, over one with ``wasserstein``; its memory beside plan's.

scripts/benchmark_losses.py                          # 1, 4 and 16 megapixels -> losses.json
scripts/benchmark_losses.py --sizes 1024 --rounds 5 --only neighbours

Each loss is stepped in turn with ``wasserstein``, both held open in processes of their own. The
means of ten rounds are compared, for neighbours are matched every tenth step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark import FOLDER
from benchmark_claims import Sides, measure

from hires.bench.cases import Case
from hires.bench.worker import HIRES

BASE = "wasserstein"
LOSSES = {
    "gram": "gram",
    "meanstd": "meanstd",
    "sliced": "sliced",
    "central": "central",
    "central beside": "wasserstein central:5",
    "neighbours": "wasserstein neighbours:0.3",
    "transport": "wasserstein transport",
}
MIB = 2**20


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a row each, write the table; 0 if all stayed within their forecasts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1024, 2048, 4096], help="sides")
    parser.add_argument("--only", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--rounds", type=int, default=10, help="timed steps of each side")
    parser.add_argument("--features", default="compact", help="as hires stylize --features")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER / "losses.json")
    options = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    print("size   loss            clock  processor   MiB  planned")
    for size in options.sizes:
        for name in options.only:
            row = compared(name, size, options.features, options.rounds)
            rows.append(row)
            print(
                f"{size:5}  {name:15} {row['clock']:5.2f}  {row['processor']:9.2f}"
                f" {row['peak_bytes'] / MIB:6.0f} {row['forecast_bytes'] / MIB:7.0f}",
                flush=True,
            )
            # A later failure keeps what was measured.
            table = {"format": "hires-losses", "rounds": options.rounds, "rows": rows}
            options.output.write_text(json.dumps(table, indent=2) + "\n")
    return int(any(row["peak_bytes"] > row["forecast_bytes"] for row in rows))


def compared(name: str, size: int, features: str, rounds: int) -> dict[str, Any]:
    """A loss in turn with the base: ratios of mean seconds, peak and forecast memory."""
    sides: Sides = {
        loss: (Case(size=(size, size), features=features, style_loss=loss), HIRES)
        for loss in (BASE, LOSSES[name])
    }
    answers, detail = measure(sides, rounds)
    own = detail[LOSSES[name]]

    def ratio(clock: str) -> float:
        means = {
            loss: statistics.fmean(step[clock] for step in steps[1:])
            for loss, steps in answers.items()
        }
        return means[LOSSES[name]] / means[BASE]

    return {
        "loss": LOSSES[name],
        "size": size,
        "clock": ratio("seconds"),
        "processor": ratio("processor_seconds"),
        "peak_bytes": own["memory"]["resident"],
        "forecast_bytes": own["facts"]["forecast_bytes"],
    }


if __name__ == "__main__":
    sys.exit(main())
