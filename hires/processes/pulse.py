"""Signs of life: who is gone is found out though its connections stand, as after a power cut.

Every process writes a count into the store of `torch.distributed` every few seconds, from a thread
of its own: a step may take as long as it likes. Who has been silent for half a minute is given up.
Silence is counted in a process's own beats, not in seconds: whoever was stopped itself (a laptop
that slept, a job that was suspended) suspects nobody when it goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

BEAT = 2.0  # seconds between two signs of life
# So many of one's own without one of another process, and that is given up.
_SILENCE = 15
# Whoever lives is heard of within so many.
_ROLL_CALL = 3
# What a process writes last: it has ended, or has noticed itself that something is wrong.
_ENDED, _ALARMED = "ended", "alarmed"


class Pulse:
    """Says that this process lives, and watches whether the others do.

    Args:
        store: where all write, by a connection that nobody else uses.
        rank: of this process.
        size: how many there are.
        alarm: what to do once others are found to be gone; called in a thread.

    Attributes:
        lost: processes that are gone.
        is_cut_off: whether the store itself is gone.
    """

    def __init__(self, store: Any, rank: int, size: int, alarm: Callable[[], object]) -> None:
        self._store, self._rank, self._alarm, self._beat = store, rank, alarm, BEAT
        self._keys = [f"pulse/{other}" for other in range(size)]
        self._heard, self._silent = [""] * size, [0] * size
        self._rounds, self._word = 0, ""
        self._ending = threading.Event()
        self._hurry = threading.Event()
        self.lost: list[int] = []
        self.is_cut_off = False
        self._say("0")

    def start(self) -> None:
        """Begin, once all have said a first word."""
        self._threads = [
            threading.Thread(target=each, daemon=True) for each in (self._beating, self._watching)
        ]
        for thread in self._threads:
            thread.start()

    def end(self, *, is_last: bool) -> None:
        """Take leave: what comes now is no loss.

        Args:
            is_last: whether to wait for the others, which need the store until then.
        """
        self._ending.set()
        pause = threading.Event()
        for _ in range(4 * _ROLL_CALL * is_last):
            if self.is_cut_off or len({*self.ended, *self.lost, self._rank}) == len(self._keys):
                break
            pause.wait(self._beat / 4)
            self._hurry.set()
        self._last_word(_ENDED)
        for thread in self._threads:
            thread.join(2 * self._beat)

    def call_roll(self, reason: str = "") -> list[int]:
        """Who is gone, found within a few seconds: somebody's connection broke.

        Args:
            reason: why this process stops, if it is the one.
        """
        if not self._word:
            self._last_word(_ALARMED + reason)
        before, pause = self._rounds, threading.Event()
        while not (self.lost or self.is_cut_off or self._rounds - before > _ROLL_CALL):
            pause.wait(self._beat / 4)
        silent = [rank for rank, beats in enumerate(self._silent) if beats >= _ROLL_CALL]
        self.lost = sorted({*self.lost, *silent} - {self._rank})
        return self.lost

    @property
    def reasons(self) -> dict[int, str]:
        """Why others have stopped, by their ranks, where they say so."""
        words = enumerate(self._heard)
        said = {rank: word.removeprefix(_ALARMED) for rank, word in words if _ALARMED in word}
        return {rank: word for rank, word in said.items() if word}

    @property
    def ended(self) -> list[int]:
        """Those who have taken leave."""
        return [rank for rank, word in enumerate(self._heard) if word == _ENDED]

    def _last_word(self, word: str) -> None:
        self._word = word
        self._hurry.set()

    def _say(self, word: str) -> None:
        self._store.set(self._keys[self._rank], word)

    def _beating(self) -> None:
        """Write and read, in a thread of its own: a store that is gone may not answer at all."""
        with suppress(RuntimeError):
            while not (self._word == _ENDED and self._heard[self._rank] == _ENDED):
                self._say(self._word or str(self._rounds + 1))
                for rank, found in enumerate(self._store.multi_get(self._keys)):
                    word = found.decode()
                    is_new = word != self._heard[rank] or word.startswith((_ENDED, _ALARMED))
                    self._silent[rank] = 0 if is_new else self._silent[rank] + 1
                    self._heard[rank] = word
                self._rounds += 1
                self._hurry.wait(self._beat)
                self._hurry.clear()
            return
        self.is_cut_off = True

    def _watching(self) -> None:
        rounds = waited = 0
        while not self._ending.wait(self._beat):
            waited = waited + 1 if rounds == self._rounds else 0
            rounds = self._rounds
            self.lost = [rank for rank, beats in enumerate(self._silent) if beats >= _SILENCE]
            self.is_cut_off = self.is_cut_off or waited >= _SILENCE
            if self.lost or self.is_cut_off:
                self._alarm()
                return
