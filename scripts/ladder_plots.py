"""The plots of a resolution study: a quantity of every rung against the size, as SVG."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ladder_series import Row

Value = Callable[[Row], float | None]
_GREY = "#8a877f"  # Seen on light and on dark paper.
_COLOURS = ("#c2552d", "#3b7dbd", "#4f9a53", "#9a5fb0", "#b08a1e", "#3fa3a3", "#c0567e", "#7a6a5a")
_LEAST_LOG_RANGE = 5  # of the largest value to the smallest, for a logarithmic scale
# Inches, 96 px each, and points, 4/3 px each: about as wide as the page shows a plot, on a desk and
# on a telephone, so that text is as large as it says.
_FIGURE, _FONT = (3.3, 2.6), 9
_NEAREST = 0.11  # of the axis, from one size's label to the next


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A quantity of every rung: what it is called, explained by, and found with."""

    title: str
    about: str
    value: Value


def drawn(plot: Plot, rows: Sequence[Row]) -> bytes:
    """A plot as SVG: a line for each style, bars of one standard deviation up and down."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    parts = ("axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "text.color")
    looks: Any = {
        **dict.fromkeys((*parts, "grid.color"), _GREY),
        "svg.hashsalt": "hires",
        "font.size": _FONT,
        "axes.labelsize": _FONT,
        "legend.fontsize": _FONT,
        "xtick.labelsize": _FONT,
        "ytick.labelsize": _FONT,
    }
    with mpl.rc_context(looks):
        figure = Figure(figsize=_FIGURE, layout="constrained")
        axes: Any = figure.add_subplot(xlabel="long side, pixels")
        sizes, colour = sizes_of(rows), iter(_COLOURS * len(rows))
        for name in styles_of(rows):
            found = [(size, spread(plot.value, at_size(rows, name, size))) for size in sizes]
            points = [(size, *told) for size, told in found if told is not None]
            x, mean, deviation = zip(*points, strict=True) if points else ((), (), ())
            bars = deviation if any(deviation) else None
            axes.errorbar(
                x, mean, bars, marker="o", ms=4, lw=1.6, capsize=3, color=next(colour), label=name
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, _labels(sizes))
        axes.minorticks_off()
        _scale(axes, [number for number in map(plot.value, rows) if number is not None])
        axes.grid(visible=True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()


def _labels(sizes: Sequence[int]) -> list[str]:
    """What the ticks of growing sizes say: the last one its size, those too near to it nothing."""
    least = (sizes[-1] / sizes[0]) ** _NEAREST
    labels: list[str] = []
    last = float("inf")
    for size in reversed(sizes):
        is_legible = size * least <= last
        labels.insert(0, str(size) if is_legible else "")
        last = size if is_legible else last
    return labels


def _scale(axes: Any, values: Sequence[float]) -> None:
    """Logarithmic where values differ by much, else from zero."""
    from matplotlib import ticker

    if min(values) <= 0 or max(values) < _LEAST_LOG_RANGE * min(values):
        axes.set_ylim(bottom=0)
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def spread(value: Value, rows: Sequence[Row]) -> tuple[float, float] | None:
    """Mean and standard deviation of a quantity; None where it was not measured."""
    found = [number for number in map(value, rows) if number is not None]
    if not found:
        return None
    return statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else 0.0


def styles_of(rows: Sequence[Row]) -> list[str]:
    """Names of the styles, as they were painted."""
    return [*dict.fromkeys(row.style for row in rows)]


def sizes_of(rows: Sequence[Row]) -> list[int]:
    """Long sides, the smallest first."""
    return sorted({row.long_side for row in rows})


def at_size(rows: Sequence[Row], style: str, size: int) -> list[Row]:
    """The repeats of a style at a size."""
    return [row for row in rows if row.style == style and row.long_side == size]
