"""Ctrl-C and SIGTERM, held back while something must not be cut in two. No torch."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Shield:
    """Notes signals instead of passing them on, unless it is lifted.

    Attributes:
        is_up: whether signals wait at the moment.
    """

    def __init__(self) -> None:
        self.is_up = True
        self._waiting: list[tuple[int, FrameType | None]] = []
        self._before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def arm(self) -> None:
        """Stand before the handlers of the program; signals without a handler end it as ever."""
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._before[number] = handler
                signal.signal(number, self._arrive)

    def disarm(self) -> None:
        """Put the handlers back, then pass on what has waited."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._drop()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Let signals through during a block, first of all those that have waited."""
        self._drop()
        try:
            yield
        finally:
            self.is_up = True

    def _drop(self) -> None:
        self.is_up = False
        waiting, self._waiting = self._waiting, []
        for number, frame in waiting[:1]:
            self._before[number](number, frame)

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        # A handler may raise half-way through `disarm`; whoever is left armed passes signals on.
        if self.is_up:
            self._waiting.append((number, frame))
        else:
            self._before[number](number, frame)


@contextmanager
def held_back() -> Iterator[Shield]:
    """Let Ctrl-C and SIGTERM wait until the end of the block.

    Only the main thread is ever interrupted; elsewhere there is nothing to hold back.
    """
    shield = Shield()
    if threading.current_thread() is not threading.main_thread():
        yield shield
        return
    try:
        shield.arm()
        yield shield
    finally:
        shield.disarm()
