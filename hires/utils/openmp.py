"""How OpenMP's threads wait for each other while other programs want the processor. No torch.

PyTorch computes with a team of threads, which meet after every operation. GNU's OpenMP, which its
builds for Linux carry, lets those that come first run on in circles, for 300,000 turns, before it
puts them to sleep. Where another program is busy, the thread that they wait for is not running,
and the circles take the time that it needs: a step becomes tens to hundreds of times slower.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

# Turns before a thread sleeps, some 7 to 40 microseconds. With fewer, small steps are slower on an
# idle machine, with more all steps on a busy one: `scripts/measure_contention.py` measures both.
SPIN_COUNT = 750
# With any of these the user has said how threads shall wait; the last is LLVM's and Intel's.
_CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
# Seconds that threads were ready but not running, of a second: with less, nobody is in the way.
_CROWDED = 0.1
_TASKS = Path("/proc/self/task")


def bound_waiting() -> None:
    """Have OpenMP's threads of this process, and of those that it starts, soon sleep while waiting.

    Does nothing where the user has chosen. It changes the whole process, so only a program's own
    entry point should call it; and before torch is imported, which is when OpenMP looks.
    """
    if not _is_chosen():
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)


def _is_chosen() -> bool:
    return any(name in os.environ for name in _CHOICES)


class Waiting(AbstractContextManager[None]):
    """Has the threads of a run wait as suits the machine, in a process that nobody prepared.

    Once torch is loaded nothing can be set any more. But GNU's OpenMP makes only 100 turns while a
    process has more of its threads than processors, as its manual says, however few of them work.
    So while the processor is crowded, one more team is held here; it sleeps. The run's own team
    stays as large as it is, and so does every bit of what it computes. What is held is let go of
    with this object, a context manager around each step.

    Args:
        num_threads: that the run computes with.
        parallel: any short computation by a team of threads.
    """

    def __init__(self, num_threads: int, parallel: Callable[[], object]) -> None:
        self._parallel = parallel
        self._release: Callable[[], object] | None = None
        self._is_needed = num_threads > 1 and sys.platform == "linux" and not _is_chosen()
        self._entered = 0.0, 0.0
        self._hold(self._is_needed)

    @property
    def is_patient(self) -> bool:
        """Whether threads sleep soon now."""
        return self._release is not None

    def __enter__(self) -> None:
        """Begin a step."""
        if self._is_needed:
            self._entered = time.perf_counter(), _seconds_queued()

    def __exit__(self, *_: object) -> None:
        """After a step, see how crowded it was: the next one will be alike."""
        if self._is_needed:
            seconds = time.perf_counter() - self._entered[0]
            self._hold(_seconds_queued() - self._entered[1] > _CROWDED * seconds)

    def _hold(self, held: bool) -> None:
        if held and self._release is None:
            self._release = weakref.finalize(self, _hold_team(self._parallel))
        elif not held and self._release is not None:
            self._release()
            self._release = None


def _hold_team(parallel: Callable[[], object]) -> Callable[[], None]:
    """Have another thread gather a team; returns what ends both."""
    is_over, is_there = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            parallel()
        finally:
            is_there.set()
        is_over.wait()

    thread = threading.Thread(target=hold, name="hires spare team", daemon=True)
    thread.start()
    is_there.wait()
    return is_over.set


def _seconds_queued() -> float:
    """How long this process's threads have been ready without running, added up; 0 if unknown."""
    total = 0
    for task in _TASKS.glob("*/schedstat"):
        try:
            total += int(task.read_text(encoding="ascii").split()[1])
        except (OSError, IndexError, ValueError):  # A thread that ended, or another format.
            continue
    return total / 1e9
