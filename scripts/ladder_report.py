"""The report of a resolution study: one HTML file with pictures, plots and tables inside."""

from __future__ import annotations

import base64
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from ladder_plots import Plot, Value, at_size, drawn, sizes_of, spread, styles_of
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

_INPUT_SIDE = 320
_CSS = """
.plots{grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));
max-width:calc(var(--columns)*22.5rem)}
.plot img{width:100%;max-width:26rem;display:block;margin:.3rem auto 0}
.plot figcaption{display:block}
.plot small{display:block;line-height:1.35}
.inputs{display:flex;flex-wrap:wrap;gap:1.25rem}.inputs img{height:190px;border-radius:4px}
.series{overflow-x:auto}.series>div{display:grid;grid-auto-flow:column;gap:1rem;
grid-auto-columns:minmax(220px,360px)}
.series img{width:100%;display:block;border-radius:4px}
.series .detail{max-width:100%;width:auto;margin-top:.6rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;margin:.3rem 0 1.2rem;
font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.25rem .45rem;border-bottom:1px solid var(--line)}
th{vertical-align:bottom}td{vertical-align:top;white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
td small{display:block}p{max-width:75ch}code{overflow-wrap:anywhere}
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
        *(ladder(name, samples) for name in styles_of(rows)),
        *plots(rows),
        "<h2>Numbers</h2><p>Mean and, after ±, standard deviation of the repeats.</p>",
        *(table(name, rows) for name in styles_of(rows)),
        "<h2>How it was measured</h2>",
        methods(job, rows, environment),
        "</main></body></html>\n",
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")


def summary(rows: Sequence[Row]) -> str:
    """One line: what was painted, and how long it took."""
    sizes, seeds = sizes_of(rows), {row.seed for row in rows}
    took = duration(sum(row.seconds for row in rows))
    ladders = f"{counted(len(sizes), 'size')} from {sizes[0]} to {sizes[-1]} px on the long side"
    times = f", {counted(len(seeds), 'repeat')}" if len(seeds) > 1 else ""
    return f"{ladders}, {counted(len(styles_of(rows)), 'style')}{times}: painted in {took}."


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


def table(name: str, rows: Sequence[Row]) -> str:
    """A style's numbers, a line for each size."""
    columns: dict[str, Value] = {
        "seconds": _seconds,
        "processor,\u00a0s": lambda row: row.cpu_seconds,
    }
    columns |= {f"loss: {term}": _term(term) for term in rows[0].terms}
    columns |= {judge: _judge(judge) for judge in _JUDGES if any(judge in r.judges for r in rows)}
    head = "".join(f"<th>{escape(title)}</th>" for title in ("size", "steps", "memory", *columns))
    lines = []
    for size in sizes_of(rows):
        at = at_size(rows, name, size)
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
    return shlex.join(["--sizes", *map(str, sizes_of(rows))])


def _differ(rows: Sequence[Row]) -> bool:
    """Whether paintings of one style differ by their seeds."""
    return any(
        len({row.loss for row in at_size(rows, name, size)}) > 1
        for name in styles_of(rows)
        for size in sizes_of(rows)
    )
