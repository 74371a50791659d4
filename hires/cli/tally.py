"""How work of known length looks while it is done: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from hires.cli.display import Clock, Stopwatch, bar, times

_SECONDS_PER_LINE = 10.0


class Tally(AbstractContextManager["Tally"]):
    """Shows nothing; the other two do.

    A context manager, so that the terminal is left in order.
    """

    def update(self, fraction: float, label: str, detail: str = "") -> None:
        """Tell what share of the work is done, 0 to 1, and where it stands."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to tidy up."""


class LineTally(Tally):
    """Prints the first line, the last, and one about every ten seconds."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._watch = Stopwatch(clock)
        self._printed: float | None = None

    def update(self, fraction: float, label: str, detail: str = "") -> None:
        """Print a line if it is time for one."""
        self._watch.step(fraction)
        now = self._clock()
        if self._printed is not None and now - self._printed < _SECONDS_PER_LINE and fraction < 1:
            return
        self._printed = now
        parts = [f"{label}: {fraction:.0%}", times(self._watch), *([detail] if detail else [])]
        self._console.print("; ".join(parts), highlight=False, soft_wrap=True)


class LiveTally(Tally):
    """Two lines that move."""

    def __init__(self, console: Console) -> None:
        self._watch = Stopwatch()
        self._fraction, self._label, self._detail = 0.0, "", ""
        self._live = Live(
            console=console, get_renderable=self._picture, refresh_per_second=5, transient=True
        )

    def update(self, fraction: float, label: str, detail: str = "") -> None:
        """Take the values; the screen follows a few times a second."""
        self._watch.step(fraction)
        self._fraction, self._label, self._detail = fraction, label, detail

    def _picture(self) -> RenderableType:
        line = Text(self._label, style="bold", no_wrap=True, overflow="ellipsis")
        return Group(line.append(f"  {self._detail}", "dim"), bar(self._fraction, self._watch))

    def __enter__(self) -> Self:
        """Show the lines."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the moving lines away and give the cursor back."""
        self._live.stop()


def open_tally(*, quiet: bool, console: Console | None = None) -> Tally:
    """Choose how to show it: on stderr, so that stdout holds results only."""
    console = console or Console(stderr=True)
    if quiet:
        return Tally()
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveTally(console)
    return LineTally(console)
