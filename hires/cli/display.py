"""How work looks while it is done: a bar on a terminal, lines elsewhere, or nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from statistics import median
from typing import TYPE_CHECKING

from rich import progress as bars
from rich.console import Console, RenderableType
from rich.text import Text

from hires.cli.exits import escaped
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


class Times:
    """Seconds since some work began, and an estimate of those left."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._started = self._rung_started = clock()
        self._since: tuple[float, float] | None = None
        self._finish: float | None = None
        self._rung: int | None = None
        self._skips_next = False
        self._rates: deque[float] = deque(maxlen=_NUM_RATES)

    def note(self, fraction: float) -> None:
        """Note how much is done, 0 to 1. What comes before the first note is loading."""
        now = self._clock()
        if self._since is None:
            self._since = now, fraction
        elif fraction > self._since[1]:
            rate = (now - self._since[0]) / (fraction - self._since[1])
            self._finish = now + rate * (1 - fraction)

    def note_step(self, progress: Progress) -> None:
        """Note a step of a run, or where a resumed one stands. Called after every one.

        A rung's first step also measures the pictures and warms up: it says nothing of the others.
        They are taken together until some time has passed, for a device may run behind, and their
        median counts: neither a checkpoint nor another program's burst of work changes it.
        """
        now, fraction = self._clock(), progress.fraction
        is_new = progress.rung.index != self._rung
        if self._since is None or is_new or self._skips_next:
            if is_new and self._rung is not None:
                # Until this rung tells its own: that of the last one, as if it were one step.
                self._rates = deque([median(self._rates)] if self._rates else [], _NUM_RATES)
            self._skips_next = is_new and progress.iteration != 1
            self._rung, self._since = progress.rung.index, (now, fraction)
        seconds = now - self._since[0]
        if seconds >= _SECONDS_PER_RATE and fraction > self._since[1]:
            self._rates.append(seconds / (fraction - self._since[1]))
            self._since = now, fraction
        if self._rates:
            self._finish = now + median(self._rates) * (1 - fraction)

    def end_rung(self) -> float:
        """Seconds that the rung took which ends now."""
        before, self._rung_started = self._rung_started, self._clock()
        return self._rung_started - before

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take, None while nobody can tell."""
        return None if self._finish is None else max(self._finish - self._clock(), 0)

    def __str__(self) -> str:
        """``1:23 elapsed, 4:56 left``."""
        elapsed, left = f"{clock_time(self._clock() - self._started)} elapsed", self.left
        return elapsed if left is None else f"{elapsed}, {clock_time(left)} left"


class Display(AbstractContextManager["Display"]):
    """Shows nothing; `Lines` and `Bar` do. A context, so that the terminal is left in order."""

    def begin(self, rungs: Sequence[Rung], *, first: int = 0) -> None:
        """The ladder of a run is known; one of its rungs is about to be measured."""

    def update(self, progress: Progress) -> None:
        """A step of a run is done. Called after each; reads values only when it shows them."""

    def tell(self, fraction: float, label: str, detail: str = "") -> None:
        """Other work than a run is done to this share, 0 to 1, and stands where the label says."""

    def __exit__(self, *_: object) -> None:
        """Take away what moves."""


class Lines(Display):
    """Prints a line when work or a rung begins and ends, and about every ten seconds."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._times = Times(clock)
        self._printed: float | None = None

    def update(self, progress: Progress) -> None:
        """Print a line if it is time for one."""
        self._times.note_step(progress)
        rung = progress.rung
        name = f"rung {rung.index + 1}/{progress.num_rungs}, {rung.size[1]}x{rung.size[0]}"
        if progress.iteration == 1:
            self._print(f"{name}: {counted(rung.num_iterations, 'step')}")
        if progress.ends_rung:
            took = clock_time(self._times.end_rung())
            self._print(f"{name}: done in {took}; {losses(progress.terms)}")
        elif self._is_due():
            self._print(
                f"{name}: step {progress.iteration}, {progress.fraction:.0%} of all work,"
                f" {self._times}; {losses(progress.terms)}"
            )

    def tell(self, fraction: float, label: str, detail: str = "") -> None:
        """Print a line if it is time for one."""
        self._times.note(fraction)
        if fraction >= 1 or self._is_due():
            parts = (f"{label}: {fraction:.0%}", str(self._times), detail)
            self._print("; ".join(filter(None, parts)))

    def _is_due(self) -> bool:
        return self._printed is None or self._clock() - self._printed >= _SECONDS_PER_LINE

    def _print(self, line: str) -> None:
        self._printed = self._clock()
        self._console.print(escaped(line), highlight=False, markup=False, soft_wrap=True)


class Bar(Display):
    """Two or three lines that move, below one line for each finished rung. Fits 60 columns."""

    def __init__(self, console: Console) -> None:
        self._times = Times()
        self._rungs: Sequence[Rung] = ()
        self._updated = 0.0
        self._moving = _Moving(
            bars.BarColumn(None),
            bars.TaskProgressColumn("{task.percentage:3.0f}%"),
            _TimesColumn(self._times),
            console=console,
            refresh_per_second=5,
            transient=True,
            expand=True,
        )
        self._task: bars.TaskID | None = None

    def begin(self, rungs: Sequence[Rung], *, first: int = 0) -> None:
        """Show the first rung."""
        self._rungs = rungs
        self._announce(rungs[first], 0.0)

    def update(self, progress: Progress) -> None:
        """Take the step's values if the last ones have been seen."""
        self._times.note_step(progress)
        now = time.monotonic()
        if now - self._updated < _SECONDS_PER_UPDATE and not progress.ends_rung:
            return
        self._updated = now
        name, told = _name(progress.rung, self._rungs), losses(progress.terms)
        steps = f"step {progress.iteration}/{progress.rung.num_iterations}"
        self._show(progress.fraction, f"{name}  {steps}", told)
        if progress.ends_rung:
            took = clock_time(self._times.end_rung())
            line = Text.assemble(("✓ ", "green"), f"{name}  ", (took, "cyan"), (f"  {told}", "dim"))
            self._moving.console.print(line, no_wrap=True, overflow="ellipsis")
            if not progress.is_last:
                self._announce(self._rungs[progress.rung.index + 1], progress.fraction, told)

    def tell(self, fraction: float, label: str, detail: str = "") -> None:
        """Take the values; the screen follows a few times a second."""
        self._times.note(fraction)
        self._show(fraction, label, detail)

    def _announce(self, rung: Rung, fraction: float, told: str = "") -> None:
        self._show(fraction, f"{_name(rung, self._rungs)}  measuring the pictures", told)

    def _show(self, fraction: float, label: str, detail: str) -> None:
        if self._task is None:
            self._task = self._moving.add_task("", total=1.0, detail="")
            self._moving.start()
        self._moving.update(
            self._task, completed=fraction, description=escaped(label), detail=detail
        )

    def __exit__(self, *_: object) -> None:
        """Take the moving lines away and give the cursor back."""
        if self._task is not None:
            self._moving.stop()


class _Moving(bars.Progress):
    """A bar below a headline, and details below the bar."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The lines of every task."""
        for task in self.tasks:
            yield Text(task.description, "bold", no_wrap=True, overflow="ellipsis")
            yield self.make_tasks_table([task])
            if task.fields["detail"]:
                yield Text(task.fields["detail"], "dim", no_wrap=True, overflow="ellipsis")


class _TimesColumn(bars.ProgressColumn):
    def __init__(self, times: Times) -> None:
        super().__init__()
        self._times = times

    def render(self, _: bars.Task) -> Text:
        """How long the work has taken, and will."""
        return Text(str(self._times), "cyan", no_wrap=True)


def open_display(*, quiet: bool, console: Console | None = None) -> Display:
    """Choose how to show work: on stderr, so that stdout holds results only."""
    console = console or Console(stderr=True)
    if quiet:
        return Display()
    return Bar(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


def losses(terms: Mapping[str, float]) -> str:
    """``style 0.012, content 0.46, tv 0.0012``."""
    return ", ".join(f"{name} {value:#.2g}".rstrip(".") for name, value in terms.items())


def clock_time(seconds: float) -> str:
    """``0:07``, ``12:05`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _name(rung: Rung, rungs: Sequence[Rung]) -> str:
    """``rung 2/4  512x341``, padded so that a ladder's lines stand in columns."""
    sizes = [f"{other.size[1]}x{other.size[0]}" for other in rungs]
    size = f"{rung.size[1]}x{rung.size[0]}"
    return f"rung {rung.index + 1}/{len(rungs)}  {size:<{max(map(len, sizes))}}"
