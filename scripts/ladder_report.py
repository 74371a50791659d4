"""The report of a resolution study: one HTML file with pictures, plots and tables inside."""

from __future__ import annotations

import base64
import io
import shlex
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from ladder_series import Row
from torch import Tensor

from hires.cli.typed import options_typed
from hires.config.job import Job
from hires.config.settings import settings_of
from hires.config.values import counted, format_bytes
from hires.engine.ladder import scale_to
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image
from hires.image.resample import resize
from hires.runs.page import duration
from hires.utils.files import replacing

Value = Callable[[Row], float | None]
_GREY = "#8a877f"  # Seen on light and on dark paper.
_COLOURS = ("#c2552d", "#3b7dbd", "#4f9a53", "#9a5fb0", "#b08a1e", "#3fa3a3", "#c0567e", "#7a6a5a")
_INPUT_SIDE = 320
_LEAST_LOG_RANGE = 5  # of the largest value to the smallest, for a logarithmic scale
_CSS = """
@media(min-width:900px){.plots{grid-template-columns:repeat(var(--columns),1fr)}}
.plot img{width:100%;display:block;margin-top:.3rem}.plot figcaption{display:block}
.plot small{display:block;line-height:1.35}
.inputs{display:flex;flex-wrap:wrap;gap:1.25rem}.inputs img{height:190px;border-radius:4px}
.series{overflow-x:auto}.series>div{display:grid;grid-auto-flow:column;gap:1rem;
grid-auto-columns:minmax(220px,360px)}
.series img{width:100%;display:block;border-radius:4px}
.series .detail{max-width:100%;width:auto;margin-top:.6rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;margin:.3rem 0 1.2rem;
font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.25rem .8rem;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
td small{margin-left:.25em}p{max-width:75ch}code{overflow-wrap:anywhere}
"""
_JUDGES = {
    "palette": ("Palette", "Distance of colours to the style's, 0 to 1; less is nearer."),
    "strokes": ("Strokes", "Distance of raw patches to the style's, mean of octaves; 0 is alike."),
    "energy": ("Energy", "Factor by which octaves have more or less contrast than the style's."),
    "scene": ("Scene", "How far what is alike in the photograph is from being so; 0 is alike."),
}
_TERMS = {
    "style": "Statistics of features against the style's.",
    "content": "Features against the photograph's.",
    "detail": "Fine drawing against the photograph's.",
    "patch": "Grain and edges against the style's.",
    "tv": "Total variation.",
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """What is shown of a rung.

    Attributes:
        row: what was measured of it.
        whole: the picture, as wide as a panel.
        detail: a part of it, pixel by pixel.
    """

    row: Row
    whole: Tensor
    detail: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A quantity of every rung: what it is called, explained by, and found with."""

    title: str
    about: str
    value: Value


def write_report(
    path: Path,
    job: Job,
    rows: Sequence[Row],
    samples: Sequence[Sample],
    environment: Mapping[str, Any],
) -> None:
    """Write the page, whole or not at all."""
    css = files("hires.runs").joinpath("page.css").read_text(encoding="utf-8") + _CSS
    title = f"Resolution ladder of {escape(Path(job.content or '').name)}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{css}</style></head><body><main>",
        f"<header><h1>{title}</h1><p>{escape(summary(rows))}</p></header>",
        inputs(job),
        "<h2>Ladders</h2>",
        *(ladder(name, samples) for name in _styles(rows)),
        *plots(rows),
        "<h2>Numbers</h2><p>Mean and, after ±, standard deviation of the repeats.</p>",
        *(table(name, rows) for name in _styles(rows)),
        "<h2>How it was measured</h2>",
        methods(job, rows, environment),
        "</main></body></html>\n",
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")


def summary(rows: Sequence[Row]) -> str:
    """One line: what was painted, and how long it took."""
    sizes, seeds = _sizes(rows), {row.seed for row in rows}
    took = duration(sum(row.seconds for row in rows))
    ladders = f"{counted(len(sizes), 'size')} from {sizes[0]} to {sizes[-1]} px on the long side"
    times = f", {counted(len(seeds), 'repeat')}" if len(seeds) > 1 else ""
    return f"{ladders}, {counted(len(_styles(rows)), 'style')}{times}: painted in {took}."


def inputs(job: Job) -> str:
    """Photograph and styles."""
    named = [("photograph", job.content or ""), *(("style", style) for style in job.styles)]
    figures = [
        f"<figure>{picture(_small(path), role)}<figcaption><b>{escape(Path(path).stem)}</b>"
        f"<small>{role}</small></figcaption></figure>"
        for role, path in named
    ]
    return f'<div class="inputs">{"".join(figures)}</div>'


def _small(path: str) -> Tensor:
    pixels = load_image(path)
    size = pixels.shape[2], pixels.shape[3]
    return resize(pixels, scale_to(size, min(_INPUT_SIDE, max(size))), clamp=True)


def ladder(name: str, samples: Sequence[Sample]) -> str:
    """Every rung of a style: whole, and pixel by pixel."""
    figures = []
    for sample in samples:
        if sample.row.style == name:
            height, width = sample.row.size
            took = f"{sample.row.iterations} steps · {duration(sample.row.seconds)}"
            figures.append(
                f"<figure>{picture(sample.whole, f'{name}, {width}x{height}')}<figcaption>"
                f"<b>{width} × {height}</b><small>{took}</small></figcaption>"
                f"{picture(sample.detail, 'pixel by pixel', 'detail')}"
                "<small>pixel by pixel</small></figure>"
            )
    return f'<h3>{escape(name)}</h3><div class="series"><div>{"".join(figures)}</div></div>'


def picture(pixels: Tensor, alternative: str, kind: str = "") -> str:
    """An image (1, 3, H, W) in [0, 1] as part of the page."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture.jpg")
        save_image(pixels, path)
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<img class="{kind}" alt="{escape(alternative)}" width="{pixels.shape[3]}"'
        f' height="{pixels.shape[2]}" style="height:auto" src="data:image/jpeg;base64,{data}">'
    )


def plots(rows: Sequence[Row]) -> Iterator[str]:
    """Time, memory, losses and judges, each against the size."""
    work = (
        Plot(title="Seconds", about="Of a rung, by the clock.", value=_seconds),
        Plot(
            title="Seconds per megapixel and step",
            about="What a step costs, for what it paints.",
            value=lambda row: row.seconds / row.megapixels / row.iterations,
        ),
        Plot(
            title="Peak memory, GiB",
            about="Of the process or the GPU, at this rung.",
            value=lambda row: row.peak_memory_bytes / 2**30,
        ),
    )
    terms = [
        Plot(title=name, about=_TERMS.get(name, ""), value=_term(name))
        for name in rows[0].terms
        if any(row.terms[name] for row in rows)
    ]
    judges = [
        Plot(title=title, about=about, value=_judge(name))
        for name, (title, about) in _JUDGES.items()
        if any(name in row.judges for row in rows)
    ]
    for title, group in (("Time and memory", work), ("Losses", terms), ("Judges", judges)):
        if group:
            columns = 2 if len(group) == 4 else 3
            yield f'<h2>{title}</h2><div class="plots" style="--columns:{columns}">'
            yield from (_figure(plot, rows) for plot in group)
            yield "</div>"


def _seconds(row: Row) -> float:
    return row.seconds


def _term(name: str) -> Value:
    return lambda row: row.terms.get(name)


def _judge(name: str) -> Value:
    return lambda row: row.judges.get(name)


def _figure(plot: Plot, rows: Sequence[Row]) -> str:
    data = base64.b64encode(drawn(plot, rows)).decode("ascii")
    about = escape(plot.about)
    return (
        f'<figure class="plot"><figcaption><b>{escape(plot.title)}</b><small>{about}</small>'
        f'</figcaption><img alt="{escape(plot.title)} by size" src="data:image/svg+xml;base64,'
        f'{data}"></figure>'
    )


def drawn(plot: Plot, rows: Sequence[Row]) -> bytes:
    """A plot as SVG: a line for each style, bars of one standard deviation up and down."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    parts = ("axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "text.color")
    looks: Any = {
        **dict.fromkeys((*parts, "grid.color"), _GREY),
        "svg.hashsalt": "hires",
        "font.size": 9,
    }
    with mpl.rc_context(looks):
        figure = Figure(figsize=(4.6, 3.1), layout="constrained")
        axes: Any = figure.add_subplot(xlabel="long side, pixels")
        sizes, colour = _sizes(rows), iter(_COLOURS * len(rows))
        for name in _styles(rows):
            found = [(size, spread(plot.value, _at(rows, name, size))) for size in sizes]
            points = [(size, *told) for size, told in found if told is not None]
            x, mean, deviation = zip(*points, strict=True) if points else ((), (), ())
            bars = deviation if any(deviation) else None
            axes.errorbar(
                x, mean, bars, marker="o", ms=4, lw=1.6, capsize=3, color=next(colour), label=name
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        _scale(axes, [number for number in map(plot.value, rows) if number is not None])
        axes.grid(visible=True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize="small", frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()


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


def table(name: str, rows: Sequence[Row]) -> str:
    """A style's numbers, a line for each size."""
    columns: dict[str, Value] = {"seconds": _seconds, "processor, s": lambda row: row.cpu_seconds}
    columns |= {f"loss: {term}": _term(term) for term in rows[0].terms}
    columns |= {judge: _judge(judge) for judge in _JUDGES if any(judge in r.judges for r in rows)}
    head = "".join(f"<th>{escape(title)}</th>" for title in ("size", "steps", "memory", *columns))
    lines = []
    for size in _sizes(rows):
        at = _at(rows, name, size)
        height, width = at[0].size
        peak = format_bytes(max(row.peak_memory_bytes for row in at))
        cells = [f"{width} × {height}", str(at[0].iterations), peak]
        cells += [_cell(spread(value, at)) for value in columns.values()]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return (
        f'<h3>{escape(name)}</h3><div class="scroll"><table><tr>{head}</tr>{"".join(lines)}'
        "</table></div>"
    )


def _cell(told: tuple[float, float] | None) -> str:
    if told is None:
        return "–"
    mean, deviation = told
    return f"{mean:.3g}" + (f"<small>± {deviation:.2g}</small>" if deviation else "")


def methods(job: Job, rows: Sequence[Row], environment: Mapping[str, Any]) -> str:
    """Settings, machine, and what the numbers are."""
    settings = {**settings_of(job), "config": {**settings_of(job)["config"], "sizes": []}}
    options = " ".join(filter(None, [_sizes_typed(rows), options_typed(settings)]))
    told = [
        "Each size begins with the picture of the one before. Time and memory are those of a rung;"
        " processor time is that of all threads together. Losses are those of the last step,"
        " before their weights. Judges are the measures of <code>hires compare</code>, by what no"
        " loss asks for; they leave out pictures that are too small."
    ]
    if len({row.seed for row in rows}) > 1 and not _differ(rows):
        told.append(
            "The repeats have the same losses to the last digit: nothing is random in these"
            " settings (<code>--init blend:0.1</code> would be), so only time and memory differ."
        )
    facts = {"options": options, "seeds": " ".join(map(str, sorted({r.seed for r in rows})))}
    facts |= {name.replace("_", " "): str(value) for name, value in environment.items()}
    lines = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts.items()
        if value not in ("None", "")
    ]
    return "".join(f"<p>{text}</p>" for text in told) + f"<dl>{''.join(lines)}</dl>"


def _sizes_typed(rows: Sequence[Row]) -> str:
    return shlex.join(["--sizes", *map(str, _sizes(rows))])


def _differ(rows: Sequence[Row]) -> bool:
    """Whether paintings of one style differ by their seeds."""
    return any(
        len({row.loss for row in _at(rows, name, size)}) > 1
        for name in _styles(rows)
        for size in _sizes(rows)
    )


def _styles(rows: Sequence[Row]) -> list[str]:
    return [*dict.fromkeys(row.style for row in rows)]


def _sizes(rows: Sequence[Row]) -> list[int]:
    return sorted({row.long_side for row in rows})


def _at(rows: Sequence[Row], style: str, size: int) -> list[Row]:
    return [row for row in rows if row.style == style and row.long_side == size]
