"""A report as files: JSON alone, or a folder with JSON, Markdown and plots.

The only importer of matplotlib.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from hires.bench.cases import case_from_json
from hires.bench.report import Report, markdown, peak_bytes, save
from hires.errors import ConfigError

Series = dict[str, list[tuple[float, float, float]]]


def check_output(output: Path) -> None:
    """Refuse before the measuring what could not be written after it.

    Args:
        output: a file that ends in ``.json``, or a folder (made if need be).

    Raises:
        ConfigError: if it cannot be one.
    """
    if _is_file(output):
        if not output.parent.is_dir():
            raise ConfigError(f"output '{output}': there is no folder '{output.parent}'")
    elif output.exists() and not output.is_dir():
        raise ConfigError(f"output '{output}': write NAME.json or a folder")


def write(report: Report, output: Path) -> tuple[tuple[Path, ...], str]:
    """Write ``bench.json``, ``bench.md``, ``time.png`` and ``memory.png``, or one ``.json``.

    Returns:
        The paths written, and a notice to pass on (empty if all went well): without matplotlib the
        plots are left out.
    """
    if _is_file(output):
        save(report, output)
        return (output,), ""
    output.mkdir(parents=True, exist_ok=True)
    data, text = output / "bench.json", output / "bench.md"
    save(report, data)
    text.write_text(markdown(report), encoding="utf-8")
    try:
        return (data, text, *_plots(series_of(report), output)), ""
    except ImportError:
        return (data, text), "plots need matplotlib: pip install matplotlib"


def _is_file(output: Path) -> bool:
    return output.suffix.lower() == ".json"


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


def _plots(series: Series, folder: Path) -> tuple[Path, Path]:
    """Time and memory against megapixels, on logarithmic axes."""
    from matplotlib.figure import Figure

    def draw(name: str, column: int, unit: str) -> Path:
        figure = Figure(figsize=(7, 5), layout="constrained")
        axes: Any = figure.add_subplot(xlabel="megapixels", ylabel=unit)
        for label, points in series.items():
            axes.loglog([p[0] for p in points], [p[column] for p in points], "o-", label=label)
        axes.grid(visible=True, which="both", alpha=0.25)
        if series:
            axes.legend(fontsize="small")
        figure.savefig(folder / name, dpi=120)
        return folder / name

    return (
        draw("time.png", 1, "seconds per step"),
        draw("memory.png", 2, "peak memory of the process, GiB"),
    )
