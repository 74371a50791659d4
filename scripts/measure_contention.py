#!/usr/bin/env python3
"""Measure how a step fares beside other busy programs, against what is fair and what was.

    scripts/measure_contention.py -o contention.json

Steps of the compact network, alone and beside one and two programs that never rest, in processes
that are stepped in turn: `hires`, where threads wait as the commands have them, and `gnu`, the same
steps with GNU's OpenMP as it is by default; `python`, steps of a run in a program that has loaded
torch before it calls hires, and `gnu-run`, the same run by default. Times are medians, ratios are
to GNU's of the same work, alone. Exit code 1 if one is above its goal: 1.1 alone, and beside others
what the processor's fair shares allow. Linux only; nothing else should be running.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from hires.bench import report
from hires.bench.cases import Case
from hires.bench.worker import HIRES, Worker

# By number of busy programs.
GOALS = {0: 1.1, 1: 2.0, 2: 3.0}
# What GNU's OpenMP takes when nobody says anything.
GNU = {"GOMP_SPINCOUNT": "300000"}
# A child that is no program of hires: it has torch before hires could set anything up.
PYTHON = (
    *(sys.executable, "-c"),
    "import torch; from hires.bench.__main__ import build, serve; serve(build)",
)
# Ends with its parent, however that ends.
REST_NEVER = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
NUM_WARMUPS = 3
# Steps in a row: a short one finds its data in the caches, as within a run.
BURST = 3
# Those that have a goal, and what they are compared to.
JUDGED = {"hires": "gnu", "python": "gnu-run"}
# More of the processor than this taken by programs that are not ours spoils a measurement.
_CROWD = 0.1

Row = dict[str, Any]


def main() -> int:
    """Measure, print a table, save JSON; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="in pixels")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each line of the table")
    parser.add_argument("--spin-counts", nargs="*", default=[], help="measure these as well")
    parser.add_argument("-o", "--output", type=Path, help="JSON to write")
    options = parser.parse_args()
    rows = []
    print(" size beside     side steps  seconds  ratio  goal")
    for size in options.sizes:
        rows += measure(size, options.seconds, options.spin_counts)
    found = {"environment": report.environment(torch.device("cpu")), "rows": rows}
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(any(row["ratio"] > row["goal"] for row in rows if row["side"] in JUDGED))


def measure(size: int, seconds: float, spin_counts: Sequence[str]) -> list[Row]:
    """Step all sides of one size beside no, one and two busy programs; prints as it goes."""
    step = Case(size=(size, size), device="cpu")
    ladder = Case(
        size=(size, size), device="cpu", kind="ladder", min_size=size, iterations=(10**6,)
    )
    rows: list[Row] = []
    alone: dict[str, float] = {}
    with ExitStack() as stack:
        sides = {
            "gnu": worker(stack, step, HIRES, GNU),
            "hires": worker(stack, step, HIRES, {}),
            "gnu-run": worker(stack, ladder, PYTHON, GNU),
            "python": worker(stack, ladder, PYTHON, {}),
        }
        for count in spin_counts:
            sides[count] = worker(stack, step, HIRES, {"GOMP_SPINCOUNT": count})
        for side in sides.values():
            for _ in range(NUM_WARMUPS):
                side.ask("step")
        for num_busy, goal in GOALS.items():
            with busy_programs(num_busy):
                times, others = in_turn(sides, seconds)
            for name, steps in times.items():
                median = statistics.median(steps)
                usual = alone.setdefault(compared_to(name), median)
                rows.append(
                    {
                        "size": size,
                        "busy": num_busy,
                        "side": name,
                        "others": others,
                        "seconds": report.spread(steps),
                        "ratio": median / usual,
                        "goal": goal,
                    }
                )
                show(rows[-1])
            if others > _CROWD:
                print(f"(not quiet: other programs took {others:.0%} of a processor)")
    return rows


def compared_to(side: str) -> str:
    """The side that a ratio is to; a number of turns is one for bare steps."""
    return side if side.startswith("gnu") else JUDGED.get(side, "gnu")


def worker(
    stack: ExitStack, case: Case, command: Sequence[str], environment: Mapping[str, str]
) -> Worker:
    """A child whose threads wait as its environment says, and as nothing of ours does."""
    ours = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
    others = {name: value for name, value in os.environ.items() if name not in ours}
    with patch.dict(os.environ, {**others, **environment}, clear=True):
        return stack.enter_context(Worker(case.to_json(), command))


@contextmanager
def busy_programs(number: int) -> Iterator[None]:
    """Programs that never rest."""
    programs = [subprocess.Popen([sys.executable, "-c", REST_NEVER]) for _ in range(number)]
    try:
        time.sleep(0.5)  # They have started.
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def in_turn(sides: Mapping[str, Worker], seconds: float) -> tuple[dict[str, list[float]], float]:
    """Seconds of steps by side, and the processors that were taken by programs not ours."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    started, before = time.monotonic(), crowd()
    while not times["gnu"] or time.monotonic() - started < seconds:
        for name, side in sides.items():
            for _ in range(BURST):
                times[name].append(side.ask("step")["seconds"])
                if times[name][-1] > 1:
                    break
    return times, max(crowd() - before, 0) / (time.monotonic() - started)


def crowd() -> float:
    """Processor seconds of all programs that this one has not started, since long ago."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=9)[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    total = user + nice + system + irq + softirq + steal
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # Programs end.
            of_one = status.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if os.getpid() in (int(of_one[1]), int(status.parent.name)):
                total -= int(of_one[11]) + int(of_one[12])
    return total / os.sysconf("SC_CLK_TCK")


def show(row: Row) -> None:
    """Print one line of the table."""
    seconds = row["seconds"]
    goal = "" if row["side"] not in JUDGED else f"{row['goal']:.1f}"
    print(
        f"{row['size']:>5} {row['busy']:>6} {row['side']:>8} {len(seconds['all']):>5}"
        f" {seconds['median']:>8.3f} {row['ratio']:>6.2f} {goal:>5}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
