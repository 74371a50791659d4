"""The report on a card as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hires.bench import report as reports
from hires.config.values import format_bytes

_STAGES = ("variation", "measure", "judge", "paint", "optimise")


def sections(report: Mapping[str, Any]) -> str:
    """Tables beyond those of `hires.bench.report.markdown`, as Markdown."""
    parts = {
        "Items": [("item", "verdict", "seconds"), *map(_item_row, report["items"])],
        "Where a step goes": [
            ("case", "s/step", "busy", "idle", "kernels", *_STAGES),
            *map(_stage_row, report["results"]),
        ],
        "Memory against the forecast": [
            ("case", "forecast", "allocated", "reserved", "device", "device over forecast"),
            *map(_memory_row, report["results"]),
        ],
        "Pieces": [("what", "way", "ms"), *_piece_rows(report["items"])],
        "A tile, whatever its size": [
            ("network", "ms", "kernels", "multiply-adds"),
            *_tile_rows(report["items"]),
        ],
    }
    return "\n".join(
        f"## {title}\n\n{reports.table(rows)}" for title, rows in parts.items() if rows[1:]
    )


def _item_row(item: Mapping[str, Any]) -> tuple[str, ...]:
    told = f" ({item['message']})" if item["message"] else ""
    return f"{item['group']}: {item['name']}", f"{item['status']}{told}", f"{item['seconds']:.0f}"


def _stage_row(result: reports.Result) -> tuple[str, ...]:
    median, profile = result["seconds"]["median"], result["profile"]
    row = [reports.label(result), f"{median:.4f}"]
    if "failed" in profile:
        row += ["", "", ""]
    else:
        busy = profile["busy_seconds"]
        row += [f"{busy:.4f}", f"{max(1 - busy / median, 0):.0%}", str(profile["num_kernels"])]
    stages = result["stages"]
    return (*row, *(f"{stages[name]:.4f}" if name in stages else "" for name in _STAGES))


def _memory_row(result: reports.Result) -> tuple[str, ...]:
    memory, expected = result["memory"], result["facts"].get("forecast_bytes")
    peak = memory.get("device_wide", memory["resident"])
    parts = [memory.get(name) for name in ("allocated", "reserved")]
    return (
        reports.label(result),
        *("" if part is None else format_bytes(part) for part in (expected, *parts, peak)),
        "" if expected is None else f"{peak / expected:.2f}",
    )


def _piece_rows(items: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for item in items:
        for row in item.get("found", {}).get("rows", ()):
            seconds = row.get("seconds")
            took = row["error"] if seconds is None else f"{1e3 * seconds:.3f}"
            yield f"{item['name']}, {row['what']}", row["way"], took


def _tile_rows(items: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for item in items:
        found = item.get("found", {})
        if item["group"] == "tiles" and found:
            each, work = found["seconds_per_tile"], found["multiply_adds_per_tile"]
            kernels = found.get("kernels_per_tile")
            told = "" if kernels is None else f"{kernels:.0f}"
            yield item["name"], f"{1e3 * each:.2f}", told, f"{work:.2g}"
