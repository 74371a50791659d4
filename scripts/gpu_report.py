#!/usr/bin/env python3
"""The first ten minutes on a card: is it right, how fast is it, and where do time and memory go?

    scripts/gpu_report.py                          # everything -> benchmarks/gpu/
    scripts/gpu_report.py --device cpu --small     # a rehearsal without a GPU
    scripts/gpu_report.py --redraw                 # tables and plots from the JSON alone

What matters most comes first. ``bench.json`` is written after every item; what fails is told there
in a line, and the rest goes on. When the time is up, what is left is not measured.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmark_claims import PLENTY, STOCK, STOCK_NAME
from gpu_report_tables import sections

from hires.bench import outputs
from hires.bench import report as reports
from hires.bench.cases import VGG19_SHAPE, Case, parse_size
from hires.bench.checks import CHECKS
from hires.bench.kernels import KERNELS
from hires.bench.runs import measure_roofline, new_report, run_case
from hires.bench.worker import HIRES, TOO_LONG, Worker, WorkerError
from hires.kernels.precision import resolve_device

ROOT = Path(__file__).resolve().parent.parent
SIZES, SMALL_SIZES = ("512", "1024", "2048"), ("96",)
A0, SMALL_A0 = (9933, 14043), (160, 224)
# Seconds that an item may take unless it says otherwise.
PATIENCE = 75.0
OUT_OF_TIME, SKIPPED = "no time left", "skipped"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to find out.

    Attributes:
        group: what it belongs to; groups share no process.
        name: unique in its group.
        measure: finds it out by a deadline (`time.monotonic`).
        seconds: that it may take.
    """

    group: str
    name: str
    measure: Callable[[float], dict[str, Any]]
    seconds: float = PATIENCE


class Skip(Exception):  # noqa: N818
    """Why an item has nothing to find out."""


@dataclass
class Session:
    """The report so far, and the processes that are asked for more of it.

    Attributes:
        device: as ``--device``.
        small: less of everything.
        features: networks to measure.
        path: where the JSON goes.
        deadline: when the time is up (`time.monotonic`).
    """

    device: str
    small: bool
    features: Sequence[str]
    path: Path
    deadline: float
    report: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.report = new_report([], [], self.device) | {"items": []}
        self._workers: dict[str, Worker] = {}

    def run(self, item: Item) -> None:
        """Find out one thing, and write the JSON; whatever fails is told in a line."""
        entry: dict[str, Any] = {"group": item.group, "name": item.name}
        for group in [*self._workers]:
            if group != item.group:
                self._workers.pop(group).close()
        started = time.monotonic()
        entry |= self._measured(item, started)
        entry["seconds"] = round(time.monotonic() - started, 1)
        self.report["items"].append(entry)
        reports.save(self.report, self.path)
        left, told = (
            self.deadline - time.monotonic(),
            f": {entry['message']}" * bool(entry["message"]),
        )
        print(
            f"[{left:4.0f} s left] {item.group}, {item.name}: {entry['status']}{told}", flush=True
        )

    def _measured(self, item: Item, started: float) -> dict[str, Any]:
        if started >= self.deadline:
            return {"status": OUT_OF_TIME, "message": ""}
        try:
            found = item.measure(min(started + item.seconds, self.deadline))
        except Skip as reason:
            return {"status": SKIPPED, "message": str(reason)}
        except WorkerError as error:
            return {"status": error.kind, "message": str(error)}
        except Exception as error:  # One item must not end the others.
            lines = str(error).strip().splitlines() or [""]
            return {"status": "error", "message": f"{type(error).__name__}: {lines[0]}"}
        passed = found.get("passed", True)
        return {"status": "ok" if passed else "FAILED", "message": "", "found": found}

    def close(self) -> None:
        """End what is still running."""
        for worker in self._workers.values():
            worker.close()

    def ask(self, kind: str, method: str, deadline: float) -> dict[str, Any]:
        """Ask the process of a kind; one that has failed may have lost its device, and goes."""
        fields = {"kind": kind, "device": self.device, "small": self.small}
        worker = self._workers.pop(kind, None) or Worker(fields, deadline=deadline)
        worker.deadline = deadline
        try:
            found = worker.ask(method)
        except BaseException:
            worker.close()
            raise
        if any("error" in row for row in found.get("rows", ())):
            worker.close()
        else:
            self._workers[kind] = worker
        return found

    def roofline(self, deadline: float) -> dict[str, Any]:
        """The device's own rates, which later results are compared to."""
        found = measure_roofline(self.device, ["fp32", "auto"], deadline=deadline)
        self.report["rooflines"].append(found)
        return found

    def case(
        self, case: Case, deadline: float, *, command: Sequence[str] = HIRES
    ) -> dict[str, Any]:
        """Measure a case, with profile; the result goes among the report's."""
        roofline = (self.report["rooflines"] or [{}])[0]
        result = run_case(case, roofline, command=command, profiled=True, deadline=deadline)
        if result["status"] != "ok":
            raise WorkerError(result["status"], result["message"])
        self.report["results"].append(result)
        return result

    def step(self, case: Case, deadline: float, command: Sequence[str] = HIRES) -> dict[str, Any]:
        """Measure a case; returns a little of it."""
        result = self.case(case, deadline, command=command)
        return {"median_seconds": result["seconds"]["median"]}

    def one_tile(self, case: Case, deadline: float) -> dict[str, Any]:
        """Measure a case as one tile, unless that is what it is by default."""
        same = replace(case, memory=Case(size=case.size).memory).published()
        for result in self.report["results"]:
            if result["case"] == same and result["facts"]["num_tiles"] == 1:
                raise Skip("one tile by default")
        return self.step(case, deadline)

    def tile_time(self, few: Case, many: Case, deadline: float) -> dict[str, Any]:
        """What a tile costs whatever its size, from a canvas in few tiles and in many."""
        results = [self.case(case, deadline) for case in (few, many)]
        tiles = [result["facts"]["num_tiles"] for result in results]
        seconds = [result["seconds"]["median"] for result in results]
        each = (seconds[1] - seconds[0]) / (tiles[1] - tiles[0])
        found = {"num_tiles": tiles, "median_seconds": seconds, "seconds_per_tile": each}
        kernels = [result["profile"].get("num_kernels") for result in results]
        if None not in kernels:
            found["kernels_per_tile"] = (kernels[1] - kernels[0]) / (tiles[1] - tiles[0])
        rates = [
            result["rates"]["useful_flops_per_second"]
            for result in self.report["results"]
            if result["case"]["features"] == results[0]["case"]["features"]
            and "useful_flops_per_second" in result["rates"]
        ]
        # There and back, two FLOP each: see hires/features/costs.py.
        found["multiply_adds_per_tile"] = each * max(rates) / 4
        return found

    def ladder(self, case: Case, deadline: float) -> dict[str, Any]:
        """Paint a whole picture, as far as the time allows."""
        found = run_case(case, deadline=deadline)
        if found["status"] != "ok":
            raise WorkerError(found["status"], found["message"])
        return found


def items_of(session: Session) -> Iterator[Item]:
    """Everything, by its worth."""
    for name in CHECKS:
        yield Item("checks", name, partial(session.ask, "checks", name))
    yield Item("tests", "pytest -m gpu", tests_of_gpus, 150)
    # First, because steps are told as shares of it.
    yield Item("roofline", "products and copies", session.roofline)
    yield from steps(session)
    for name in KERNELS:
        yield Item("kernels", name, partial(session.ask, "kernels", name))
    yield from tiles(session)
    yield from largest(session)


def steps(session: Session) -> Iterator[Item]:
    """Steps by stage, by default and as one tile, the stock reference's, and other precisions."""
    sizes = [parse_size(size) for size in (SMALL_SIZES if session.small else SIZES)]
    effort: dict[str, Any] = {"warmup": 1, "repeats": 1 if session.small else 5}
    cases = [
        Case(size=size, features=features, device=session.device, **effort)
        for size in sizes
        for features in session.features
    ]
    for case in cases:
        yield Item("steps", case.label, partial(session.step, case))
    for size in sizes:
        case = Case(
            size=size, features=STOCK_NAME, precision="fp32", device=session.device, **effort
        )
        yield Item("steps", case.label, partial(session.step, case, command=STOCK))
    for case in [replace(case, memory=PLENTY) for case in cases]:
        yield Item("steps", case.label, partial(session.one_tile, case))
    # A CPU has no TF32.
    for precision in ("fp32", "tf32")[: 1 if session.device == "cpu" else 2]:
        for case in cases:
            if case.size == sizes[len(sizes) // 2]:
                case = replace(case, precision=precision)
                yield Item("steps", case.label, partial(session.step, case))


def tiles(session: Session) -> Iterator[Item]:
    """Time of the host for a tile: canvases so small that the device waits for it."""
    size, few, many = ((256, 256), 160, 64) if session.small else ((1024, 1024), 512, 128)
    for features in session.features:
        case = Case(size=size, features=features, device=session.device, memory=PLENTY, repeats=3)
        both = replace(case, tile=few), replace(case, tile=many)
        yield Item("tiles", features, partial(session.tile_time, *both), 120)


def largest(session: Session) -> Iterator[Item]:
    """Steps of A0, and the whole ladder."""
    size = SMALL_A0 if session.small else A0
    cases = [
        Case(
            size=size, features=features, device=session.device, memory=memory, warmup=1, repeats=2
        )
        for features, memory in zip(session.features, ("8GiB", "16GiB"), strict=False)
    ]
    for case in cases:
        yield Item("A0", case.label, partial(session.step, case), 120)
    for case in cases:
        steps = (2,) if session.small else ()
        whole = replace(case, kind="ladder", iterations=steps)
        yield Item("A0", whole.label, partial(session.ladder, whole), 3600)


def tests_of_gpus(deadline: float) -> dict[str, Any]:
    """The tests that need a GPU; those that fail are told in a line each."""
    options = ["-m", "gpu", "-q", "--tb=no", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, "tests/test_gpu.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "250"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=max(deadline - time.monotonic(), 1))
        late = False
    except subprocess.TimeoutExpired:
        process.kill()
        output, late = process.communicate()[0], True
    lines = output.strip().splitlines() or [""]
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    numbers = re.findall(r"(\d+) (passed|failed|skipped|error)", lines[-1])
    counts = {word: int(number) for number, word in numbers}
    if late:
        raise WorkerError(TOO_LONG, "; ".join(lines[-3:]))
    return {**counts, "failures": failures[:40], "passed": process.returncode == 0}


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """Tables and plots of a report."""
    paths, notice = outputs.write(dict(report), folder)
    text = folder / "bench.md"
    text.write_text(f"{text.read_text(encoding='utf-8')}\n{sections(report)}", encoding="utf-8")
    print("\n".join([f"wrote {path.name}" for path in paths] + [notice] * bool(notice)))


def main(argv: Sequence[str] | None = None) -> int:
    """Find out what there is time for; 0 if no check failed, else 1."""
    options = _parser().parse_args(argv)
    path = options.output / "bench.json"
    if options.redraw:
        draw(reports.load(path), options.output)
        return 0
    resolve_device(options.device)
    options.output.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * options.minutes
    features = [*dict.fromkeys((options.compact, options.vgg19))]
    session = Session(options.device, options.small, features, path, deadline)
    try:
        for item in items_of(session):
            if not options.only or item.group in options.only:
                session.run(item)
    finally:
        session.close()
    draw(session.report, options.output)
    return int(any(item["status"] == "FAILED" for item in session.report["items"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="as hires --device")
    parser.add_argument("--small", action="store_true", help="tiny sizes: a rehearsal")
    parser.add_argument("--minutes", type=float, default=9.0, help="when to stop")
    parser.add_argument("--only", nargs="+", metavar="GROUP", help="groups of items")
    parser.add_argument("--compact", default="compact", help="stands for the compact network")
    parser.add_argument("--vgg19", default=VGG19_SHAPE, help="a checkpoint; random weights if none")
    parser.add_argument(
        "--redraw", action="store_true", help="only tables and plots, from the JSON"
    )
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "gpu")
    return parser


if __name__ == "__main__":
    sys.exit(main())
