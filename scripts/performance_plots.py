"""Draws the plots of the documentation from the figures in benchmarks/.

usage: scripts/performance_plots.py [FOLDER]    (docs, if none is given)

Each SVG names the file that it was drawn from and that file's SHA-256; tests/test_site.py finds a
plot whose figures have changed since.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hires.utils.files import replacing, sha256

ROOT = Path(__file__).parents[1]
GIB = 2**30
# Of Okabe and Ito, told apart by all eyes.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#888888"
LOSSES = {
    "wasserstein": "wasserstein",
    "sliced": "sliced:2",
    "near": "wasserstein neighbours:0.3",
    "central": "wasserstein central:5",
    "strotss": "transport, self-similarity",
}

Claims = dict[str, dict[str, Any]]


def claims(data: Any) -> Claims:
    """Details of the claims, by their numbers."""
    return {claim["number"]: claim["detail"] for claim in data["claims"]}


def draw_step(figure: Any, data: Any) -> None:
    """Seconds of one step at 1024x1024, from the plain script to the built-in network."""
    found = claims(data)
    rows = {
        "plain script, VGG-19, fp32": found["3 seconds"]["stock"],
        "hires, VGG-19, fp32": found["7 fp32"]["vgg19"],
        "hires, VGG-19, bf16": found["7 bf16"]["vgg19"],
        "hires, compact, fp32": found["7 fp32"]["compact"],
        "hires, compact, bf16 (default)": found["7 bf16"]["compact"],
    }
    seconds = [row["seconds"]["median"] for row in rows.values()]
    axes = figure.add_subplot(xlabel="seconds of a step, 1024x1024")
    axes.barh(list(rows), seconds, color=[GREY, ORANGE, ORANGE, BLUE, BLUE])
    for place, value in enumerate(seconds):
        axes.text(
            value + 0.15, place, f"{value:.2g}" if value < 10 else f"{value:.1f}", va="center"
        )
    axes.invert_yaxis()
    axes.set_xlim(0, max(seconds) * 1.1)


def draw_size(figure: Any, data: Any) -> None:
    """Seconds of a step and memory of the process against the size of the canvas."""
    found = claims(data)
    time, memory = figure.subplots(1, 2)
    rungs = [(_mega(rung["size"]), rung["seconds"]["median"]) for rung in found["6"]["rungs"]]
    large = found["5"]["16 MP"]
    compact = [*rungs, (_mega(large["case"]["size"]), large["seconds"]["median"])]
    runs = {
        "compact": ([found["5"]["1 MP"], large, found["4 peak"]["1GiB"]], BLUE),
        "VGG-19": (
            [found["1 time"]["hires"], found["7 bf16"]["vgg19"], found["2 none"]["whole"]],
            ORANGE,
        ),
        "plain script, VGG-19": ([found["1 time"]["stock"], found["3 seconds"]["stock"]], GREY),
    }
    for label, (cases, colour) in runs.items():
        points = [(_mega(case["case"]["size"]), case["seconds"]["median"]) for case in cases]
        points = compact if label == "compact" else points
        time.loglog(*zip(*points, strict=True), "o-", color=colour, label=label)
        peaks = [(_mega(case["case"]["size"]), case["memory"]["resident"] / GIB) for case in cases]
        memory.plot(*zip(*peaks, strict=True), "o-", color=colour, label=label)
    time.set(xlabel="megapixels", ylabel="seconds of a step")
    memory.set(xlabel="megapixels", ylabel="peak memory of the process, GiB", ylim=(0, None))
    time.legend(fontsize="small")
    time.xaxis.set_major_formatter("{x:g}")
    time.yaxis.set_major_formatter("{x:g}")
    for axes in (time, memory):
        axes.grid(visible=True, alpha=0.25)


def _mega(size: list[int]) -> float:
    return size[0] * size[1] / 1e6


def draw_curve(figure: Any, data: Any) -> None:
    """Losses of 100 steps, the plain script's and those of hires in half precision."""
    curves = claims(data)["1 curve"]
    losses, apart = figure.subplots(1, 2)
    steps = range(1, len(curves["hires"]) + 1)
    losses.plot(steps, curves["stock"], color=GREY, linewidth=4, label="plain script, fp32")
    losses.plot(steps, curves["hires"], color=ORANGE, linewidth=1.2, label="hires, bf16")
    pairs = zip(curves["hires"], curves["stock"], strict=True)
    apart.plot(steps, [100 * abs(own / other - 1) for own, other in pairs], color=ORANGE)
    losses.set(xlabel="step", ylabel="loss", ylim=(0, None))
    apart.set(xlabel="step", ylabel="difference, %", ylim=(0, None))
    losses.legend(fontsize="small")


def draw_octaves(figure: Any, data: Any) -> None:
    """Energy of the finest octave over the style's, before and with the term of patches."""
    axes = figure.add_subplot(xlabel="luma of the finest octave over the style's")
    names = [pair["pair"].replace("_", " ").replace("+", ", ") for pair in data["pairs"]]
    before, after = (
        [pair[when]["octaves"][0]["luma"] for pair in data["pairs"]] for when in ("before", "after")
    )
    axes.axvline(1, color=GREY, linewidth=1)
    axes.hlines(names, before, after, color=GREY, alpha=0.4)
    axes.plot(
        before, names, "o", color=ORANGE, label="defaults before patches, margin and half the steps"
    )
    axes.plot(after, names, "o", color=BLUE, label="defaults now")
    axes.invert_yaxis()
    figure.legend(fontsize="small", loc="outside upper center", ncols=2)


def draw_judged(figure: Any, data: Any) -> None:
    """What `hires compare` finds of five losses: medians of the pairs, and each pair."""
    measures: dict[str, Callable[[Any], float]] = {
        "palette": lambda found: found["palette"],
        "strokes": lambda found: statistics.fmean(found["strokes"]),
        "scene": lambda found: found["structure"]["compact"],
    }
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (name, measure) in zip(panels, measures.items(), strict=True):
        for loss, label in LOSSES.items():
            values = [measure(pair[loss]) for pair in data["pairs"].values()]
            axes.plot(values, [label] * len(values), "|", color=GREY, alpha=0.6)
            axes.plot(statistics.median(values), label, "o", color=BLUE)
        axes.set(xlabel=name, xlim=(0, None))
    axes.invert_yaxis()


# The plot's name, the figures that it shows, its size in inches.
PLOTS: dict[str, tuple[Callable[[Any, Any], None], str, tuple[float, float]]] = {
    "performance_step": (draw_step, "claims", (5.6, 2.4)),
    "performance_size": (draw_size, "claims", (5.6, 3.2)),
    "performance_curve": (draw_curve, "claims", (5.6, 2.8)),
    "performance_octaves": (draw_octaves, "fine", (5.6, 2.8)),
    "losses_judged": (draw_judged, "judged", (5.6, 2.4)),
}


def source_of(name: str) -> str:
    """What a plot says of its figures."""
    return f"benchmarks/{name}.json, SHA-256 {sha256(ROOT / 'benchmarks' / f'{name}.json')}"


def main(folder: Path) -> None:
    """Draw all of them."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "hires", "font.size": 9})
    for name, (draw, figures, inches) in PLOTS.items():
        data = json.loads((ROOT / "benchmarks" / f"{figures}.json").read_text(encoding="utf-8"))
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure, data)
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
        with replacing(folder / f"{name}.svg") as temporary:
            notes = {"Date": None, "Creator": None, "Source": source_of(figures)}
            figure.savefig(temporary, format="svg", metadata=notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs")
