"""From cases to a report: start the children, ask them in turn, add up what they say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from hires.bench import report as reports
from hires.bench.cases import Case
from hires.bench.report import Report, Result
from hires.bench.worker import HIRES, Worker, WorkerError
from hires.kernels.precision import resolve_device


def measure_roofline(
    device: str, precisions: Sequence[str], *, deadline: float | None = None
) -> dict[str, Any]:
    """Matrix and copy rates of a device, measured in a child; see `Worker` for the deadline."""
    fields = {"kind": "roofline", "device": device, "precisions": list(precisions)}
    with Worker(fields, deadline=deadline) as worker:
        return worker.facts


def run_case(
    case: Case,
    roofline: Mapping[str, Any] | None = None,
    *,
    command: Sequence[str] = HIRES,
    profiled: bool = False,
    deadline: float | None = None,
) -> Result:
    """Measure one case in a process of its own; running out of memory is a result.

    Args:
        case: what to measure.
        roofline: the machine's own rates, from `measure_roofline`.
        command: the program that does it, if not hires: one that calls `hires.bench.worker.serve`.
        profiled: whether two more steps are profiled (``step`` only).
        deadline: by `time.monotonic`. A ladder ends there and is told as far as it came; a child
            that does not answer by then is ended.
    """
    result: Result = {"case": case.published(), "status": "ok", "message": ""}
    try:
        with Worker(case.to_json(), command, deadline=deadline) as worker:
            is_ladder = case.kind == "ladder"
            measured = _ladder(worker, deadline) if is_ladder else _steps(worker, case)
            measured["memory"] = worker.ask("memory")
            measured["facts"] = worker.facts
            if profiled:
                measured["profile"] = _profile(worker)
    except WorkerError as error:
        return {**result, "status": error.kind, "message": str(error)}
    if case.kind == "step":
        median = measured["seconds"]["median"]
        measured["rates"] = reports.rates(
            measured["facts"], median, case.megapixels, roofline or {}
        )
    return {**result, **measured}


def _steps(worker: Worker, case: Case) -> Result:
    for _ in range(case.warmup):
        worker.ask("step")
    seconds = [worker.ask("step")["seconds"] for _ in range(case.repeats)]
    return {"seconds": reports.spread(seconds), "stages": worker.ask("stages")}


def _profile(worker: Worker) -> dict[str, Any]:
    """What the device did; a profiler that fails, as it may in a container, is told in a line."""
    try:
        return worker.ask("profile")
    except WorkerError as error:
        return {"failed": str(error)}


def _ladder(worker: Worker, deadline: float | None) -> Result:
    steps = [worker.ask("step")]
    while not steps[-1]["is_last"]:
        if deadline is not None and time.monotonic() + steps[-1]["seconds"] > deadline:
            break
        steps.append(worker.ask("step"))
    rungs = [
        {"size": size, "seconds": reports.spread([step["seconds"] for step in found])}
        for size, found in groupby(steps, lambda step: step["size"])
    ]
    total = sum(step["seconds"] for step in steps)
    return {
        "seconds": reports.spread([total]),
        "rungs": rungs,
        "loss": steps[-1]["loss"],
        "is_complete": steps[-1]["is_last"],
    }


def run_cases(
    cases: Sequence[Case], *, on_result: Callable[[Result], None] | None = None
) -> Report:
    """Measure the machine, then every case, one after the other.

    Args:
        cases: from `cases_of`, or made by hand.
        on_result: told of each result as it comes.

    Returns:
        A report, plain data: see `hires.bench.report`.

    Raises:
        ValueError: for a device or precision that this machine does not have.
    """
    rooflines: dict[str, dict[str, Any]] = {}
    for device in dict.fromkeys(case.device for case in cases):
        resolve_device(device)  # Refuses in one line what a child would refuse for every case.
        names = [case.precision for case in cases if case.device == device]
        rooflines[device] = measure_roofline(device, list(dict.fromkeys(names)))
    results = []
    for case in cases:
        results.append(run_case(case, rooflines[case.device]))
        if on_result is not None:
            on_result(results[-1])
    return new_report(results, rooflines.values(), cases[0].device)


def new_report(
    results: Sequence[Result], rooflines: Iterable[Mapping[str, Any]], device: str
) -> Report:
    """Results with the environment that they were measured in."""
    return {
        "format": reports.FORMAT,
        "version": reports.VERSION,
        "environment": reports.environment(resolve_device(device)),
        "rooflines": [dict(roofline) for roofline in rooflines],
        "results": list(results),
    }


def alternate(
    workers: Mapping[str, Worker], rounds: int, *, warmup: int = 1, burst: int = 1
) -> dict[str, list[dict[str, Any]]]:
    """Ask each worker for steps in turn, so that a machine's moods fall on all of them alike.

    Args:
        workers: by name.
        rounds: timed turns of each.
        warmup: turns before them.
        burst: steps in a turn. A short step beside a long one finds its data pushed out of the
            caches and its threads asleep, which within a run happens once; several steps in a row
            are what a run is made of.

    Returns:
        What each worker said of its steps. The warm-up steps come first in each list; they are not
        left out because a loss curve needs them.
    """
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for _ in range(warmup + rounds):
        for name, worker in workers.items():
            answers[name] += [worker.ask("step") for _ in range(burst)]
    return answers
