"""Benchmark results as JSON, as Markdown tables, and as ratios of two runs."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hires.bench.cases import case_from_json
from hires.config.values import format_bytes
from hires.errors import ConfigError
from hires.runs.fingerprint import processor
from hires.utils.files import replacing
from hires.version import __version__

FORMAT = "hires-bench"
VERSION = 1
Report = dict[str, Any]
Result = dict[str, Any]


def environment(device: torch.device) -> dict[str, Any]:
    """Machine, versions and commit; no names and no paths."""
    found = {
        "hires": __version__,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "num_cores": os.cpu_count(),
        "num_threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["gpu"] = properties.name
        found["gpu_memory_bytes"] = properties.total_memory
        found["cuda"] = torch.version.cuda
    return found


def commit() -> str | None:
    """The commit of this package, with ``+`` if it was changed since; None outside of a clone."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=here.parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # Not somebody else's repository around us.
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", "..") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def spread(seconds: Sequence[float]) -> dict[str, Any]:
    """Median and interquartile range of some timings, and the timings themselves."""
    quartiles = statistics.quantiles(seconds, n=4, method="inclusive") if seconds[1:] else [0, 0, 0]
    return {
        "median": statistics.median(seconds),
        "iqr": quartiles[2] - quartiles[0],
        "all": [round(value, 6) for value in seconds],
    }


def rates(
    facts: Mapping[str, Any], seconds: float, megapixels: float, roofline: Mapping[str, Any]
) -> dict[str, Any]:
    """What a step of so many seconds achieved, absolutely and as shares of the machine's own rates.

    ``roofline_share`` is the least time that arithmetic or memory traffic alone would have taken
    over the time that the step took.
    """
    found = {"seconds_per_megapixel": seconds / megapixels}
    if "useful_flops" not in facts:
        return found
    found["useful_flops_per_second"] = facts["useful_flops"] / seconds
    found["done_flops_per_second"] = facts["done_flops"] / seconds
    matrix = roofline.get("matrix_flops_per_second", {}).get(facts["precision"])
    if matrix:
        arithmetic = facts["useful_flops"] / matrix / seconds
        traffic = facts["least_bytes"] / roofline["copy_bytes_per_second"] / seconds
        found["matrix_share"] = arithmetic
        found["copy_share"] = traffic
        found["roofline_share"] = max(arithmetic, traffic)
    return found


def peak_bytes(memory: Mapping[str, int]) -> int:
    """The peak that matters on the device: reserved on a GPU, else what was resident."""
    return memory.get("reserved", memory["resident"])


def load(path: Path) -> Report:
    """Read a report.

    Raises:
        ConfigError: if the file is missing or is no report of this version.
    """
    try:
        report: Report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"benchmark '{path}': cannot be read ({error})") from None
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise ConfigError(f"benchmark '{path}': not a report of hires bench")
    if report.get("version") != VERSION:
        raise ConfigError(f"benchmark '{path}': of another version, run hires bench again")
    return report


def save(report: Report, path: Path) -> None:
    """Write a report as JSON, whole or not at all."""
    with replacing(path) as temporary:
        text = json.dumps(report, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head, the first column is text, the rest numbers."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    rule = "|---|" + "---:|" * (len(rows[0]) - 1)
    return "\n".join([head, rule, *body]) + "\n"


_HEAD = ("case", "s/step", "IQR", "s/MP-step", "TFLOP/s", "of matrix", "of roof", "peak", "tiles")


def markdown(report: Report) -> str:
    """The report for people."""
    place = report["environment"]
    lines = [
        f"hires {place['hires']}, commit {place['commit'] or 'unknown'}, torch {place['torch']},"
        f" {place.get('gpu') or place['processor']}, {place['num_threads']} threads,"
        f" {place['date'][:10]}.",
        "",
    ]
    for roof in report["rooflines"]:
        rates = roof["matrix_flops_per_second"].items()
        matrix = ", ".join(f"{name} {rate / 1e12:.2f} TFLOP/s" for name, rate in rates)
        copy = roof["copy_bytes_per_second"] / 1e9
        lines += [f"Measured rates of {roof['device']}: {matrix}; copy {copy:.0f} GB/s.", ""]
    return "\n".join(lines) + "\n" + table([_HEAD, *map(row, report["results"])])


def label(result: Result) -> str:
    """Name of a result's case, for people."""
    return case_from_json(result["case"]).label


def line(result: Result) -> str:
    """One result in a line, for whoever waits."""
    name = label(result)
    if result["status"] != "ok":
        return f"{name}: {result['status']} ({result['message']})"
    seconds, peak = result["seconds"], format_bytes(peak_bytes(result["memory"]))
    return f"{name}: {seconds['median']:.3g} s, spread {seconds['iqr']:.2g} s, peak {peak}"


def row(result: Result) -> tuple[str, ...]:
    """One result as a row of `markdown`'s table."""
    name = label(result)
    if result["status"] != "ok":
        return (name, result["status"], *[""] * (len(_HEAD) - 2))
    seconds, achieved = result["seconds"], result.get("rates", {})

    def number(rate: str, style: str, scale: float = 1.0) -> str:
        return style.format(achieved[rate] * scale) if rate in achieved else ""

    return (
        name,
        f"{seconds['median']:.3g}",
        f"{seconds['iqr']:.2g}",
        number("seconds_per_megapixel", "{:.3f}"),
        number("useful_flops_per_second", "{:.3f}", 1e-12),
        number("matrix_share", "{:.0%}"),
        number("roofline_share", "{:.0%}"),
        format_bytes(peak_bytes(result["memory"])),
        str(result["facts"].get("num_tiles", "")),
    )


def compare(before: Report, after: Report) -> str:
    """Ratios of the cases that two reports share, as a Markdown table: below 1 is better.

    A ratio whose distance from 1 is within both interquartile ranges is marked with ``~``: noise.

    Raises:
        ConfigError: if they have no case in common.
    """
    old = {_key(result): result for result in before["results"]}
    pairs = [(old[_key(new)], new) for new in after["results"] if _key(new) in old]
    if not pairs:
        raise ConfigError("the two benchmarks have no case in common")
    head = ("case", "s/step before", "after", "ratio", "peak before", "after", "ratio")
    return table([head, *(_compared(*pair) for pair in pairs)])


def _key(result: Result) -> str:
    # What an older report did not know of is at its default.
    case = case_from_json(result["case"]).to_json()
    return json.dumps({**case, "warmup": None, "repeats": None}, sort_keys=True)


def _compared(old: Result, new: Result) -> tuple[str, ...]:
    name = label(new)
    if old["status"] != "ok" or new["status"] != "ok":
        return name, old["status"], new["status"], "", "", "", ""
    a, b = old["seconds"], new["seconds"]
    noise = "~" * (abs(b["median"] - a["median"]) <= max(a["iqr"], b["iqr"]))
    peaks = peak_bytes(old["memory"]), peak_bytes(new["memory"])
    times = (f"{a['median']:.3g}", f"{b['median']:.3g}", f"{noise}{b['median'] / a['median']:.2f}")
    return (name, *times, *map(format_bytes, peaks), f"{peaks[1] / peaks[0]:.2f}")
