"""How a run looks while it paints: a live display on a terminal, lines elsewhere, or nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hires.config.values import counted
from hires.engine.ladder import Rung

if TYPE_CHECKING:
    from hires.engine.progress import Progress

# Reading losses waits for the device, and eyes read no faster.
_SECONDS_PER_UPDATE = 0.2
_SECONDS_PER_LINE = 10.0
# What the time left is reckoned from: the median of so many rates, each of at least so long.
_NUM_RATES, _SECONDS_PER_RATE = 15, 0.5

Clock = Callable[[], float]


class Display(Protocol):
    """What is told to whoever watches. A context manager, so that the terminal is left in order."""

    def begin(self, rungs: Sequence[Rung], *, first: int = 0) -> None:
        """The ladder is known; one of its rungs is about to be measured."""

    def update(self, progress: Progress) -> None:
        """A step is done. Called after every one; reads values only when it shows them."""


def open_display(*, quiet: bool, console: Console | None = None) -> AbstractContextManager[Display]:
    """Choose how to show a run: on stderr, so that stdout holds results only."""
    console = console or Console(stderr=True)
    if quiet:
        return Silence()
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveDisplay(console)
    return PlainLines(console)


class Silence(AbstractContextManager["Silence"]):
    """Shows nothing."""

    def begin(self, rungs: Sequence[Rung], *, first: int = 0) -> None:
        """Show nothing."""

    def update(self, progress: Progress) -> None:
        """Show nothing."""

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind."""


class Stopwatch:
    """Seconds since some work began, and an estimate of those left.

    The first step's end is where the estimate counts from: what comes before it is loading.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._first: tuple[float, float] | None = None
        self._finish: float | None = None

    def step(self, fraction: float) -> None:
        """Note that this share of the work is done."""
        now = self._clock()
        if self._first is None:
            self._first = now, fraction
        elif fraction > self._first[1]:
            rate = (now - self._first[0]) / (fraction - self._first[1])
            self._finish = now + rate * (1 - fraction)

    @property
    def elapsed(self) -> float:
        """Seconds since the work began."""
        return self._clock() - self._started

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take, None while nobody can tell."""
        return None if self._finish is None else max(self._finish - self._clock(), 0)


class RungWatch(Stopwatch):
    """The same for a run, with the seconds that each rung took.

    A rung's first step also measures the pictures and warms up: it says nothing of the others. They
    are taken together until some time has passed, for a device may run behind, and their median
    counts: neither a checkpoint nor another program's burst of work changes it.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._rung_started = self._started
        self._rung: int | None = None
        self._is_resumed = False
        self._since = self._started, 0.0
        self._rates: deque[float] = deque(maxlen=_NUM_RATES)

    def note(self, progress: Progress) -> None:
        """Note a step, or where a resumed run stands. Called after every one."""
        now, fraction = self._clock(), progress.fraction
        is_new = progress.rung.index != self._rung
        if is_new or self._is_resumed:
            if is_new and self._rung is not None:
                # Until this rung tells its own: that of the last one, as if it were one step.
                self._rates = deque([median(self._rates)] if self._rates else [], _NUM_RATES)
            self._is_resumed = is_new and progress.iteration != 1
            self._rung, self._since = progress.rung.index, (now, fraction)
        seconds = now - self._since[0]
        if seconds >= _SECONDS_PER_RATE and fraction > self._since[1]:
            self._rates.append(seconds / (fraction - self._since[1]))
            self._since = now, fraction
        if self._rates:
            self._finish = now + median(self._rates) * (1 - fraction)

    def next_rung(self) -> float:
        """Start the rung's time anew; returns the seconds that the rung took."""
        before, self._rung_started = self._rung_started, self._clock()
        return self._rung_started - before


class PlainLines(AbstractContextManager["PlainLines"]):
    """Prints a line when a rung begins and ends, and about every ten seconds."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._watch = RungWatch(clock)
        self._printed = clock()

    def begin(self, rungs: Sequence[Rung], *, first: int = 0) -> None:
        """Nothing yet: the first step may still be refused."""

    def update(self, progress: Progress) -> None:
        """Print a line if it is time for one."""
        self._watch.note(progress)
        rung = progress.rung
        name = f"rung {rung.index + 1}/{progress.num_rungs}, {rung.size[1]}x{rung.size[0]}"
        if progress.iteration == 1:
            self._print(f"{name}: {counted(rung.num_iterations, 'step')}")
        if progress.ends_rung:
            took = clock_time(self._watch.next_rung())
            self._print(f"{name}: done in {took}; {losses(progress.terms)}")
        elif self._clock() - self._printed >= _SECONDS_PER_LINE:
            self._print(
                f"{name}: step {progress.iteration}, {progress.fraction:.0%} of all work,"
                f" {times(self._watch)}; {losses(progress.terms)}"
            )

    def _print(self, line: str) -> None:
        self._printed = self._clock()
        self._console.print(line, highlight=False, soft_wrap=True)

    def __exit__(self, *_: object) -> None:
        """Nothing to tidy up."""


class LiveDisplay(AbstractContextManager["LiveDisplay"]):
    """Three lines that move, below one line for each finished rung. Fits 60 columns."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._watch = RungWatch()
        self._rungs: Sequence[Rung] = ()
        self._headline, self._losses, self._fraction = "", "", 0.0
        self._updated = 0.0
        self._live = Live(
            console=console, get_renderable=self._picture, refresh_per_second=5, transient=True
        )

    def begin(self, rungs: Sequence[Rung], *, first: int = 0) -> None:
        """Show the first rung."""
        self._rungs = rungs
        self._announce(rungs[first])
        self._live.start()

    def update(self, progress: Progress) -> None:
        """Take the step's values if the last ones have been seen."""
        self._watch.note(progress)
        now = time.monotonic()
        if now - self._updated < _SECONDS_PER_UPDATE and not progress.ends_rung:
            return
        self._updated, self._fraction = now, progress.fraction
        self._losses = losses(progress.terms)
        steps = f"step {progress.iteration}/{progress.rung.num_iterations}"
        self._headline = f"{rung_name(progress.rung, self._rungs)}  {steps}"
        if progress.ends_rung:
            self._finish_rung(progress)

    def _finish_rung(self, progress: Progress) -> None:
        seconds = clock_time(self._watch.next_rung())
        line = Text.assemble(
            ("✓ ", "green"), f"{rung_name(progress.rung, self._rungs)}  ", (seconds, "cyan")
        )
        self._live.console.print(
            line.append(f"  {self._losses}", "dim"), no_wrap=True, overflow="ellipsis"
        )
        if not progress.is_last:
            self._announce(self._rungs[progress.rung.index + 1])

    def _announce(self, rung: Rung) -> None:
        self._headline = f"{rung_name(rung, self._rungs)}  measuring the pictures"

    def _picture(self) -> RenderableType:
        moving = bar(self._fraction, self._watch)
        return Group(Text(self._headline, style="bold"), moving, Text(self._losses, style="dim"))

    def __enter__(self) -> Self:
        """The display appears when the run begins."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the moving lines away and give the cursor back."""
        self._live.stop()


def bar(fraction: float, watch: Stopwatch) -> RenderableType:
    """How much of the work is done, as a bar and in numbers, and its times."""
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(
        ProgressBar(total=1, completed=fraction), f"{fraction:4.0%}  [cyan]{times(watch)}[/]"
    )
    return grid


def rung_name(rung: Rung, rungs: Sequence[Rung]) -> str:
    """``rung 2/4  512x341``, padded so that a ladder's lines stand in columns."""
    sizes = [f"{other.size[1]}x{other.size[0]}" for other in rungs]
    size = f"{rung.size[1]}x{rung.size[0]}"
    return f"rung {rung.index + 1}/{len(rungs)}  {size:<{max(map(len, sizes))}}"


def losses(terms: Mapping[str, float]) -> str:
    """``style 0.012, content 0.46, tv 0.0012``."""
    return ", ".join(f"{name} {value:#.2g}" for name, value in terms.items())


def times(watch: Stopwatch) -> str:
    """``1:23 elapsed, 4:56 left``."""
    left = watch.left
    return f"{clock_time(watch.elapsed)} elapsed" + (
        "" if left is None else f", {clock_time(left)} left"
    )


def clock_time(seconds: float) -> str:
    """``0:07``, ``12:05`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
