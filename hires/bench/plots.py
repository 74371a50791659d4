"""Time and memory against megapixels, on logarithmic axes. The only importer of matplotlib."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from hires.bench.cases import case_from_json
from hires.bench.report import Report, peak_bytes
from hires.errors import ConfigError

Series = dict[str, list[tuple[float, float, float]]]


def series_of(report: Report) -> Series:
    """``(megapixels, seconds per step, peak GiB)`` of every case that ran, sizes put together."""
    series: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for result in report["results"]:
        if result["status"] == "ok":
            case = case_from_json(result["case"])
            size = f"{case.size[1]}x{case.size[0]}"
            label = " ".join(part for part in case.label.split(" ") if part != size)
            peak = peak_bytes(result["memory"]) / 2**30
            series[label].append((case.megapixels, result["seconds"]["median"], peak))
    return {label: sorted(points) for label, points in series.items()}


def draw(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write ``time.png`` and ``memory.png``; returns their paths.

    Raises:
        ConfigError: if matplotlib is not installed.
    """
    series = series_of(report)
    times, memory = folder / "time.png", folder / "memory.png"
    _draw(series, 1, "seconds per step", times)
    _draw(series, 2, "peak memory of the process, GiB", memory)
    return times, memory


def _draw(series: Series, column: int, unit: str, path: Path) -> None:
    figure = _figure()
    axes = figure.add_subplot()
    for label, points in series.items():
        axes.loglog([p[0] for p in points], [p[column] for p in points], "o-", label=label)
    axes.set_xlabel("megapixels")
    axes.set_ylabel(unit)
    axes.grid(visible=True, which="both", alpha=0.25)
    if series:
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("plots need matplotlib: pip install 'hires[bench]'") from None
    return Figure(figsize=(7, 5), layout="constrained")
