#!/usr/bin/env python3
"""Measures what is published in ``benchmarks/`` for CPUs: the cases, or the claims.

scripts/benchmark.py                 # cases -> bench.json, bench.md, time.png, memory.png
scripts/benchmark.py --claims        # claims -> claims.json

A GPU is measured by ``scripts/gpu_report.py``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark_claims import CLAIMS, STOCK, STOCK_NAME, Effort

from hires.bench import outputs
from hires.bench import report as reports
from hires.bench.cases import VGG19_SHAPE, Case, cases_of
from hires.bench.runs import measure_roofline, new_report, run_case
from hires.bench.worker import HIRES

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SIZES = ("512", "1024", "2048", "4096")
# The stock reference takes 6 to 9 s per megapixel-step on two cores; larger sizes say nothing new.
STOCK_SIZES = ("512", "1024")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 if every claim holds (or none was asked), else 1."""
    options = _parser().parse_args(argv)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.claims:
        effort = Effort(options.rounds, options.curve_steps, options.features)
        return check_claims(options.only, effort, options.output)
    return publish(_cases(options.features), options.output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--claims", action="store_true", help="measure the claims")
    parser.add_argument("--only", nargs="+", choices=CLAIMS, default=list(CLAIMS))
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each side")
    parser.add_argument("--curve-steps", type=int, default=100, help="steps of claim 1's curves")
    parser.add_argument("--features", default="compact", help="stands for the compact network")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER, help="folder to write to")
    return parser


def check_claims(numbers: Sequence[str], effort: Effort, folder: Path) -> int:
    """Measure claims, print each with its goal and verdict, write ``claims.json``."""
    roofline = measure_roofline("cpu", ["fp32", "auto"])
    report = new_report([], [roofline], "cpu")
    del report["results"]
    report |= {"format": "hires-claims", "rounds": effort.rounds, "claims": []}
    for number in numbers:
        for claim in CLAIMS[number](effort):
            found = claim.to_json()
            report["claims"].append(found)
            verdict = "holds" if found["passed"] else "FAILS"
            print(
                f"{verdict}  {claim.found:8.3f} (goal {claim.goal:.3f})  {claim.what}", flush=True
            )
        reports.save(report, folder / "claims.json")  # A later failure keeps what was measured.
    return int(not all(claim["passed"] for claim in report["claims"]))


def _cases(compact: str) -> list[tuple[Case, Sequence[str]]]:
    """Cases with the command that runs them."""
    networks = (compact, VGG19_SHAPE)
    fast = cases_of(features=networks, sizes=SIZES)
    tiled = cases_of(features=networks, sizes=SIZES[1:3], tiles=("512",))
    exact = cases_of(features=networks, sizes=SIZES[:2], precisions=("fp32",))
    stock = cases_of(features=(STOCK_NAME,), sizes=STOCK_SIZES, precisions=("fp32",), repeats=3)
    return [(case, HIRES) for case in fast + tiled + exact] + [(case, STOCK) for case in stock]


def publish(cases: Sequence[tuple[Case, Sequence[str]]], folder: Path) -> int:
    """Measure cases one by one, print each row, write the report."""
    device = cases[0][0].device
    roofline = measure_roofline(device, ["fp32", "auto"])
    results = []
    for case, command in cases:
        results.append(run_case(case, roofline, command=command))
        print(" | ".join(reports.row(results[-1])), flush=True)
    paths, notice = outputs.write(new_report(results, [roofline], device), folder)
    print("\n".join([f"wrote {path.name}" for path in paths] + [notice] * bool(notice)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
