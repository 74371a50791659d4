#!/usr/bin/env python3
"""Measures what is published in ``benchmarks/``: the cases, the claims, or a GPU in one go.

scripts/benchmark.py                 # cases -> bench.json, bench.md, time.png, memory.png
scripts/benchmark.py --claims        # claims -> claims.json
scripts/benchmark.py --gpu           # exactness, then cases up to A0 -> gpu/
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark_claims import CLAIMS, STOCK, Effort

from hires.bench import outputs
from hires.bench import report as reports
from hires.bench.cases import VGG19_SHAPE, Case, cases_of
from hires.bench.runs import measure_roofline, new_report, run_case
from hires.bench.worker import HIRES, Worker
from hires.engine.self_check import examine

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
STOCK_NAME = "stock-vgg19"
CPU_SIZES = ("512", "1024", "2048", "4096")
# One to 139.5 megapixels: A0 at 300 dpi is 9933x14043.
GPU_SIZES = ("1024", "1448", "2048", "2896", "4096", "5792", "8192", "9933x14043")
# The stock reference takes 6 to 9 s per megapixel-step on two cores; larger sizes say nothing new.
STOCK_CPU_SIZES = ("512", "1024")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 if every claim holds (or none was asked), else 1."""
    options = _parser().parse_args(argv)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.claims:
        effort = Effort(options.rounds, options.curve_steps, options.features)
        return check_claims(options.only, effort, options.output)
    if options.gpu:
        return measure_gpu(options)
    return publish(_cases(options.features, "auto", CPU_SIZES, STOCK_CPU_SIZES, "2GiB"), options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--claims", action="store_true", help="measure the claims")
    parser.add_argument("--gpu", action="store_true", help="measure a CUDA device")
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


def _cases(
    compact: str, device: str, sizes: Sequence[str], stock_sizes: Sequence[str], memory: str
) -> list[tuple[Case, Sequence[str]]]:
    """Cases with the command that runs them."""
    fast = cases_of(
        features=(compact, VGG19_SHAPE), sizes=sizes, device=device, memory=memory, repeats=5
    )
    tiled = cases_of(
        features=(compact, VGG19_SHAPE), sizes=sizes[1:3], tiles=("512",), device=device
    )
    exact = cases_of(
        features=(compact, VGG19_SHAPE), sizes=sizes[:2], precisions=("fp32",), device=device
    )
    stock = cases_of(
        features=(STOCK_NAME,), sizes=stock_sizes, precisions=("fp32",), device=device, repeats=3
    )
    return [(case, HIRES) for case in fast + tiled + exact] + [(case, STOCK) for case in stock]


def publish(
    cases: Sequence[tuple[Case, Sequence[str]]],
    options: argparse.Namespace,
    extra: dict[str, Any] | None = None,
) -> int:
    """Measure cases one by one, print each row, write the report."""
    device = cases[0][0].device
    roofline = measure_roofline(device, ["fp32", "auto"])
    results = []
    for case, command in cases:
        results.append(run_case(case, roofline, command=command))
        print(" | ".join(reports.row(results[-1])), flush=True)
    report = new_report(results, [roofline], device) | (extra or {})
    paths, notice = outputs.write(report, options.output)
    print("\n".join([f"wrote {path.name}" for path in paths] + [notice] * bool(notice)))
    return 0


def measure_gpu(options: argparse.Namespace) -> int:
    """Exactness first, then speed and memory from 1 to 139.5 megapixels."""
    options.output = options.output / "gpu"
    options.output.mkdir(parents=True, exist_ok=True)
    doctor = examine()
    exactness = {"tiled_against_whole": doctor, "cpu_against_gpu": _cpu_against_gpu()}
    print(json.dumps(exactness, indent=1), flush=True)
    if not doctor["passed"]:
        return 1
    cases = _cases(options.features, "cuda", GPU_SIZES, GPU_SIZES, "16GiB")
    return publish(cases, options, {"exactness": exactness})


def _cpu_against_gpu() -> list[float]:
    """Relative differences of the losses of three fp32 steps on both devices."""
    losses: dict[str, list[float]] = {}
    for device in ("cpu", "cuda"):
        case = Case(size=(512, 512), precision="fp32", device=device)
        with Worker(case.to_json()) as worker:
            losses[device] = [worker.ask("step")["loss"] for _ in range(3)]
    return [abs(a / b - 1) for a, b in zip(losses["cuda"], losses["cpu"], strict=True)]


if __name__ == "__main__":
    sys.exit(main())
