"""``hires plan``: what a run would take."""

from __future__ import annotations

import io
import json
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from hires.cli.arguments.painting import Plan
from hires.cli.commands.stylize import tell_warnings
from hires.cli.exits import as_typed
from hires.cli.forecasts import about_shared, record_of, table_of
from hires.config.brush import told_width
from hires.config.run import Config
from hires.config.values import counted, format_bytes, parse_bytes, parse_rate
from hires.engine import ladder
from hires.engine.budget import free_bytes
from hires.engine.estimate import Forecast, finish_bytes, forecast, largest_size
from hires.engine.rates import Rates, measure_rates
from hires.engine.shared import check_shared
from hires.engine.shares import Cluster, SharedForecast, shared_forecast
from hires.image.resample import resize
from hires.runs.page import duration
from hires.runs.planning import PlannedJob, plan_job

# A wait that is worth a word about smaller pictures, in seconds.
_LONG = 3600.0
# Proposed in place of more; large prints are looked at from further away.
_LESS_DPI = (240, 200, 150, 100, 75)
_PROBE_PIXELS = 10**6
_WIDTH = 120  # columns of a table that is read elsewhere than in a terminal


def run(job: Plan) -> int:
    """Print the ladder with its tiles, memory and time."""
    planned = plan_job(job)
    tell_warnings(planned.run.warnings)
    if job.quiet and not job.json:
        return 0
    estimate, free = _estimated(job, planned)
    if job.json:
        print(json.dumps(estimate.record(free), indent=2))
    else:
        estimate.show(free, Console(highlight=False))
    return 0


def told(job: Plan) -> str:
    """What `run` prints, its warnings first."""
    planned = plan_job(job)
    estimate, free = _estimated(job, planned)
    text = io.StringIO()
    estimate.show(free, Console(file=text, width=_WIDTH, highlight=False))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join([*(f"warning: {note}" for note in planned.run.warnings), *lines])


def _estimated(job: Plan, planned: PlannedJob) -> tuple[_Estimate, int | None]:
    """What a run takes, and the memory that is free for it."""
    # What is free is asked before the probe takes some of it.
    setup = planned.run.setup
    free = free_bytes(setup.device)
    config, guides = planned.run.config, planned.run.guides
    is_told = job.no_probe or job.flops is not None
    rates = None if is_told else measure_rates(config, setup, planned.rungs, guides)
    return _Estimate(planned, rates), free


class _Estimate:
    """What a run takes as a whole."""

    def __init__(self, planned: PlannedJob, rates: Rates | None) -> None:
        self.planned, self.rates, self.finish = planned, rates, planned.finish
        self.config, self.setup = planned.run.config, planned.run.setup
        content = () if planned.job.content is None else (planned.run.content,)
        pictures = (*content, *planned.run.styles)
        self.num_input_pixels = sum(height * width for height, width in (p.size for p in pictures))
        self.num_input_pixels += planned.run.guides.num_values // 3
        self.rungs = self.of(planned.rungs)
        self.saving = 0.0 if rates is None else saving_seconds(planned)
        self.finishing = self._finishing_seconds()
        factor = 1 if self.finish is None else self.finish.factor
        widths = planned.run.broadest_strokes()
        self.strokes = [None if width is None else width * factor for width in widths]

    def of(self, rungs: Sequence[ladder.Rung]) -> tuple[Forecast, ...]:
        """The forecast of a ladder."""
        pixels = self.num_input_pixels
        return forecast(self.config, self.setup, rungs, num_input_pixels=pixels, rates=self.rates)

    def _finishing_seconds(self) -> float:
        """Seconds that the enlargement takes."""
        if self.rates is None or self.finish is None:
            return 0.0
        return self.finish.measure_seconds()

    @property
    def seconds(self) -> float | None:
        """All rungs, the enlargement and the file."""
        if self.rates is None:
            return None
        return _total(self.rungs) + self.finishing + self.saving

    @property
    def peak_bytes(self) -> int:
        """Memory expected at most, of all rungs and the enlargement."""
        peak = max(line.peak_bytes for line in self.rungs)
        if self.finish is None:
            return peak
        pixels = self.num_input_pixels
        taken = finish_bytes(self.setup, self.finish.bytes_needed, num_input_pixels=pixels)
        return max(peak, taken)

    def record(self, free: int | None) -> dict[str, Any]:
        """Everything as JSON."""
        proposal, largest = self.proposal(), self.largest(free)
        return {
            "device": str(self.setup.device),
            "precision": self.setup.precision.name,
            "rungs": [record_of(line) for line in self.rungs],
            "seconds": self.seconds,
            "finish_seconds": None if self.rates is None else self.finishing,
            "saving_seconds": None if self.rates is None else self.saving,
            "finish": None if self.finish is None else str(self.finish),
            "peak_bytes": self.peak_bytes,
            "available_bytes": free,
            "largest_size": None if largest is None else largest[::-1],
            "strokes": self.strokes,
            "proposal": None if proposal is None else {proposal[0]: proposal[1]},
            "processes": None if (shared := self.shared()) is None else shared.record(),
            "warnings": [as_typed(warning) for warning in self.planned.run.warnings],
        }

    def show(self, free: int | None, console: Console) -> None:
        """Everything for people."""
        console.print(table_of(self.rungs))
        for line in self.lines(free):
            console.print(line, soft_wrap=True)

    def lines(self, free: int | None) -> list[str]:
        """What is to be said below the table."""
        steps = sum(line.rung.num_iterations for line in self.rungs)
        peak, setup = self.peak_bytes, self.setup
        text = f"{counted(steps, 'step')} on {setup.device} in {setup.precision.name}"
        if self.seconds is not None:
            text += f": about {duration(self.seconds)}, going by a few tiles measured just now"
        if self.finish is not None:
            text += f"; then {self.finish}"
            text += "" if self.rates is None else f" in {duration(self.finishing)} of that time"
        lines = [text, f"about {format_bytes(peak)} of memory at most{_of(free)}"]
        lines += self._about_memory()
        lines += self._about_strokes()
        if (shared := self.shared()) is not None:
            lines.append(about_shared(shared))
        largest = self.largest(free)
        if largest is not None and free is not None:
            height, width = largest
            what = "the largest painting of this shape that fits into it"
            lines.append(f"{what}: {width}x{height} ({height * width / 1e6:.0f} megapixels)")
            if peak > free:
                lines.append(f"too large for this machine: give at most {width}x{height}")
        proposal = self.proposal()
        if proposal is not None:
            option, value, seconds = proposal
            lines.append(f"a long wait: {option} {value} would take about {duration(seconds)}")
        return lines

    @property
    def cluster(self) -> Cluster | None:
        """The devices that were asked about; None for this machine's alone."""
        job = self.planned.job
        if not isinstance(job, Plan):
            return None
        memory, link, flops = job.device_memory, job.link, job.flops
        if job.processes == 1 and memory is link is flops is None:
            return None
        return Cluster(
            num_processes=job.processes,
            device_bytes=None if memory is None else parse_bytes(memory),
            link=None if link is None else parse_rate(link, "B"),
            flops=None if flops is None else parse_rate(flops, "FLOP"),
        )

    def shared(self) -> SharedForecast | None:
        """What several devices would take, if they were asked about."""
        cluster, config, setup = self.cluster, self.config, self.setup
        if cluster is None:
            return None
        check_shared(config, setup.terms, self.planned.rungs, cluster.num_processes)
        return shared_forecast(config, setup, self.rungs, cluster)

    def _about_memory(self) -> list[str]:
        """What the budget is, where nobody has set it, and what a canvas on the host costs."""
        last, found = self.rungs[-1], []
        if self.config.memory_bytes is None:
            found.append(f"memory for feature maps: {format_bytes(last.memory)} at the last rung")
        if last.bus_bytes is not None:
            found.append(
                f"the canvas lies in the host's memory, {format_bytes(last.host_bytes)} of it in"
                f" all: every step of the last rung sends {format_bytes(last.bus_bytes)} to the"
                " GPU and back"
            )
        return found

    def _about_strokes(self) -> list[str]:
        """How wide the broadest strokes are."""
        widths = [width for width in self.strokes if width is not None]
        if not widths or not self.config.style_weight:
            return []
        dpi = self.planned.job.print.dpi_of_file
        told = [told_width(width, dpi) for width in widths]
        return [f"broadest strokes about {' and '.join(dict.fromkeys(told))}"]

    def largest(self, free: int | None) -> tuple[int, int] | None:
        """The largest ``(height, width)`` for the memory that is free; not with an enlargement."""
        if free is None or self.finish is not None:
            return None
        return largest_size(self.rungs[-1], self.config, self.setup, free)

    def proposal(self) -> tuple[str, int, float] | None:
        """An option and its value that cut a long wait, and the seconds that are left then."""
        if self.seconds is None or self.seconds <= _LONG:
            return None
        found = None
        for option, value, rungs in self._smaller():
            found = option, value, _total(self.of(rungs))
            if found[2] <= _LONG:
                break
        return found

    def _smaller(self) -> list[tuple[str, int, tuple[ladder.Rung, ...]]]:
        config, layout = self.config, self.planned.layout
        if config.sizes or self.finish is not None:
            return []
        if layout is None:
            side = ladder.final_side(config, self.planned.run.content.size)
            halves = [side // 2**i for i in (1, 2, 3) if side // 2**i >= 1024]
            return [
                ("--size", size, self._ladder(replace(config, size=size, iterations=())))
                for size in halves
            ]
        painted, dpi = layout.painted, layout.dpi
        less = [one for one in _LESS_DPI if one <= 0.85 * dpi]
        shapes = [(one, tuple(round(side * one / dpi) for side in painted)) for one in less]
        return [
            ("--dpi", one, self._ladder(replace(config, iterations=()), (high, wide)))
            for one, (high, wide) in shapes
            if min(high, wide) >= 512
        ]

    def _ladder(self, config: Config, size: ladder.Size | None = None) -> tuple[ladder.Rung, ...]:
        """That of a smaller painting."""
        run = self.planned.run
        asked: dict[str, Any] = {"size": size}
        if run.brush is not None:
            asked |= {"brush": run.brush.width, "scales": run.brush.scales}
        rungs = ladder.plan(config, run.content.size, run.style_sizes, **asked)
        return ladder.wrapping(rungs, *self.setup.wrap) if self.planned.job.tileable else rungs


def saving_seconds(planned: PlannedJob) -> float:
    """How long the finished file takes to write, going by a small one of the same kind."""
    if planned.job.output is None:
        return 0.0
    height, width = planned.size
    side = max(height, width) * min(_PROBE_PIXELS / (height * width), 1.0) ** 0.5
    small = ladder.scale_to((height, width), round(side))
    shown = planned.run.styles[0] if planned.job.content is None else planned.run.content
    picture = resize(shown.pixels, small, clamp=True)
    # What is odd about the probe is of no interest: it is no painting, and lies nowhere.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        path = Path(folder) / f"probe{Path(planned.job.output).suffix}"
        started = time.perf_counter()
        chroma = planned.run.chroma
        planned.save(picture if chroma is None else chroma.onto(picture), path)
        seconds = time.perf_counter() - started
    return seconds * height * width / (small[0] * small[1])


def _total(rungs: Sequence[Forecast]) -> float:
    return sum(line.seconds or 0.0 for line in rungs)


def _of(free: int | None) -> str:
    return "" if free is None else f"; {format_bytes(free)} are free"
