"""The page of a run: one HTML file that needs nothing else, with ladder, losses and previews.

No script, no server, no network: pictures are inside, curves are SVG, and the browser's light or
dark theme is followed. No torch.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import groupby
from typing import Any

from hires.engine.ladder import Rung
from hires.runs.trace import Step

REFRESH_SECONDS = 20
_WIDTH, _HEIGHT = 520, 190  # of a plot, in CSS pixels
_LEFT, _TOP, _BOTTOM = 52, 12, 26
_LARGEST_RANGE = 200.0  # of a plot's largest value to its smallest
_MOST_POINTS = 300  # of one rung's curve: more could not be told apart
_NAMES = {
    "loss": "Loss",
    "style": "Style",
    "content": "Content",
    "detail": "Detail",
    "patch": "Patches",
    "tv": "Total variation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """What a page tells.

    Attributes:
        title: name of the painting.
        status: one sentence: painting, interrupted or finished.
        is_running: whether the page should load itself again.
        rungs: the ladder.
        steps: the trace.
        preview: the picture so far as JPEG, None before the first.
        previews: a JPEG of every rung that is done, by its number from 1.
        facts: names and values for the list at the end.
    """

    title: str
    status: str
    is_running: bool
    rungs: Sequence[Rung]
    steps: Sequence[Step]
    preview: bytes | None
    previews: Mapping[int, bytes]
    facts: Mapping[str, Any]


def render(page: RunPage) -> str:
    """Write the page."""
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if page.is_running else ""
    title = escape(page.title)
    style = files("hires.runs").joinpath("page.css").read_text(encoding="utf-8")
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"{refresh}<title>{title}</title><style>{style}</style></head><body><main>",
            f"<header><h1>{title}</h1><p>{escape(page.status)}</p></header>",
            _picture(page.preview, "The painting so far") if page.preview else "",
            f"<h2>Ladder</h2>{_ladder(page)}",
            f"<h2>Losses</h2>{_plots(page)}" if page.steps else "",
            f"<h2>Settings</h2>{_facts(page.facts)}",
            "</main></body></html>\n",
        ]
    )


def _picture(jpeg: bytes, alternative: str) -> str:
    data = base64.b64encode(jpeg).decode()
    return f'<img alt="{alternative}" src="data:image/jpeg;base64,{data}">'


def _ladder(page: RunPage) -> str:
    cards = []
    for rung in page.rungs:
        steps = [step for step in page.steps if step.rung == rung.index + 1]
        cards.append(_card(rung, steps, _seconds(page.steps, rung), page.previews))
    return f'<div class="rungs">{"".join(cards)}</div>'


def _card(rung: Rung, steps: Sequence[Step], seconds: float, previews: Mapping[int, bytes]) -> str:
    height, width = rung.size
    jpeg = previews.get(rung.index + 1)
    picture = (
        _picture(jpeg, f"Rung {rung.index + 1}")
        if jpeg
        else f'<div class="empty" style="aspect-ratio:{width}/{height}"></div>'
    )
    done = steps[-1].iteration if steps else 0
    lines = [f"{done} of {rung.num_iterations} steps"]
    if steps:
        lines[0] += f" · {duration(seconds)}"
        lines += [f"{name} {value:.2g}" for name, value in steps[-1].terms.items()]
    small = "<br>".join(lines)
    share = done / rung.num_iterations
    return (
        f"<figure>{picture}<figcaption><b>{width} × {height}</b>"
        f'<span class="bar"><i style="width:{share:.1%}"></i></span><small>{small}</small>'
        "</figcaption></figure>"
    )


def _seconds(steps: Sequence[Step], rung: Rung) -> float:
    """Time that a rung has taken so far, with the measuring of its pictures."""
    before = [step.seconds for step in steps if step.rung <= rung.index]
    until = [step.seconds for step in steps if step.rung <= rung.index + 1]
    return max(until, default=0.0) - max(before, default=0.0)


def duration(seconds: float) -> str:
    """Write a time for people: ``4.2 s``, ``3 min 05 s`` or ``2 h 07 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _plots(page: RunPage) -> str:
    curves = {"loss": [step.loss for step in page.steps]}
    for name in page.steps[0].terms:
        curves[name] = [step.terms.get(name, 0.0) for step in page.steps]
    plots = [_plot(_NAMES.get(name, name), page, values) for name, values in curves.items()]
    return f'<div class="plots">{"".join(plots)}</div>'


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where steps and values lie in a plot; values on a logarithmic scale."""

    num_steps: int
    lowest: float
    highest: float

    def x(self, step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 4) * step / max(self.num_steps, 1)

    def y(self, value: float) -> float:
        span = math.log(self.highest / self.lowest)
        share = math.log(max(value, self.lowest) / self.lowest) / span
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * share


def _plot(name: str, page: RunPage, values: Sequence[float]) -> str:
    positive = [value for value in values if value > 0]
    if not positive:
        return ""
    # The content's loss begins near zero; what follows must not be squeezed by that.
    highest = max(positive)
    lowest = max(min(positive), highest / _LARGEST_RANGE)
    # A little air, and never less than a third of a decade, so that a flat curve looks flat.
    middle = math.sqrt(lowest * highest)
    axes = _Axes(
        sum(rung.num_iterations for rung in page.rungs),
        min(lowest / 1.1, middle / 1.5),
        max(highest * 1.1, middle * 1.5),
    )
    parts = [*_grid(axes), *_borders(axes, page.rungs), *_curves(axes, page, values)]
    label = f"{name}: {values[0]:.3g} at first, {values[-1]:.3g} now"
    return (
        f'<figure class="plot"><figcaption><b>{escape(name)}</b>'
        f"<small>{values[0]:.3g} → {values[-1]:.3g}</small></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _grid(axes: _Axes) -> Iterator[str]:
    for value in _ticks(axes.lowest, axes.highest):
        y = axes.y(value)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - 4}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'


def _ticks(lowest: float, highest: float) -> list[float]:
    """Round numbers between two others, at most about five of them."""
    decades = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    for digits in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if lowest <= tick <= highest]
        if len(ticks) <= 5:
            return ticks
    return ticks[:: -(-len(ticks) // 5)]


def _borders(axes: _Axes, rungs: Sequence[Rung]) -> Iterator[str]:
    """A line where each rung begins, and its size below."""
    done, free = 0, 0.0
    for rung in rungs:
        x, end = axes.x(done), axes.x(done + rung.num_iterations)
        if done:
            yield f'<path class="rung" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
        text = f"{rung.size[1]} × {rung.size[0]}"
        # A label that would run into the next is left out; 6 px is the width of a letter.
        start = (x + end) / 2 - 3 * len(text)
        if start >= free and start + 6 * len(text) <= _WIDTH:
            free = start + 6 * len(text) + 8
            yield f'<text x="{(x + end) / 2:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">'
            yield f"{text}</text>"
        done += rung.num_iterations


def _curves(axes: _Axes, page: RunPage, values: Sequence[float]) -> Iterator[str]:
    starts = [0]
    for rung in page.rungs:
        starts.append(starts[-1] + rung.num_iterations)
    pairs = list(zip(page.steps, values, strict=True))
    for rung_number, group in groupby(pairs, key=lambda pair: pair[0].rung):
        points = [
            f"{axes.x(starts[rung_number - 1] + step.iteration):.1f},{axes.y(value):.1f}"
            for step, value in group
        ]
        stride = -(-len(points) // _MOST_POINTS)
        shown = [*points[:-1:stride], points[-1]]
        if len(shown) == 1:
            x, y = shown[0].split(",")
            yield f'<circle class="dot" cx="{x}" cy="{y}" r="2"/>'
        else:
            yield f'<polyline points="{" ".join(shown)}"/>'


def _facts(facts: Mapping[str, Any]) -> str:
    rows = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(_said(value))}</dd></div>"
        for name, value in facts.items()
    ]
    return f"<dl>{''.join(rows)}</dl>"


def _said(value: Any) -> str:
    if value is None or value in ([], ()):
        return "auto"
    if isinstance(value, list | tuple):
        return " ".join(map(_said, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def told_place(rung: Rung, num_rungs: int, iteration: int) -> str:
    """How far a run has come, in words."""
    height, width = rung.size
    done = f"step {iteration}/{rung.num_iterations}"
    return f"rung {rung.index + 1}/{num_rungs} ({width}x{height}), {done}"
