"""How far a run is, seen from another process, and how it is asked to stop. No torch.

Nothing here disturbs a run: files are read, and its lock is tried for a moment that whoever claims
the directory meanwhile waits out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from hires.runs.record import CLOSE_UP, LADDER, LOCK, STOP, TRACE
from hires.runs.trace import Step, read_steps
from hires.utils.files import write_json

When = Literal["now", "size"]
_TAIL = 16_384  # bytes of a trace that hold its last steps
_RECENT = 20  # steps that the time left is reckoned from


@dataclass(frozen=True, slots=True)
class RungPlan:
    """A rung that a run will climb.

    Attributes:
        width: in pixels.
        height: in pixels.
        steps: how many.
        work: what one step takes, in any unit.
    """

    width: int
    height: int
    steps: int
    work: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands.

    Attributes:
        rungs: its ladder, empty if it is not told.
        last: the last step that is written down, None before the first.
        fraction: share of all work that is done, 0 to 1.
        seconds_left: at the pace of the last steps, None if that is not known.
    """

    rungs: tuple[RungPlan, ...]
    last: Step | None
    fraction: float
    seconds_left: float | None


def write_ladder(path: Path, rungs: Sequence[RungPlan]) -> None:
    """Note in a run directory what its run will do."""
    told = [[rung.width, rung.height, rung.steps, rung.work] for rung in rungs]
    write_json(path / LADDER, {"rungs": told})


def read_ladder(path: Path) -> tuple[RungPlan, ...]:
    """The ladder of a run; empty if it is of a version that did not tell."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads((path / LADDER).read_text(encoding="utf-8"))["rungs"]
        return tuple(RungPlan(int(w), int(h), int(n), float(k)) for w, h, n, k in found)
    return ()


def write_close_up(
    path: Path, spot: Sequence[float], size: Sequence[int], whole: Sequence[int]
) -> None:
    """Note in a run directory which part of the painting its close-up shows.

    Args:
        path: the run directory.
        spot: centre ``(y, x)``, in shares of height and width.
        size: ``(height, width)`` of the close-up in pixels.
        whole: the same of the painting.
    """
    write_json(path / CLOSE_UP, {"spot": [*spot], "size": [*size], "whole": [*whole]})


def standing(path: Path) -> Standing:
    """Where the run of a directory stands, going by the end of its trace."""
    rungs, steps = read_ladder(path), read_steps(path / TRACE, last_bytes=_TAIL)
    last = steps[-1] if steps else None
    if last is None or last.rung > len(rungs):
        return Standing(rungs, last, 0.0, None)
    total = sum(rung.work * rung.steps for rung in rungs)
    fraction = min(_done(rungs, last) / total, 1.0) if total else 0.0
    since = next(step for step in steps[-_RECENT:] if step.rung == last.rung)
    work, seconds = _done(rungs, last) - _done(rungs, since), last.seconds - since.seconds
    left = (total - _done(rungs, last)) * seconds / work if work > 0 else None
    return Standing(rungs, last, fraction, left)


def _done(rungs: Sequence[RungPlan], step: Step) -> float:
    """Work up to a step."""
    before = sum(rung.work * rung.steps for rung in rungs[: step.rung - 1])
    return before + rungs[step.rung - 1].work * step.iteration


def is_painted(path: Path) -> bool:
    """Whether a process has a run directory open, as its lock tells."""
    if not (path / LOCK).exists():
        return False
    lock = FileLock(path / LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def ask_to_stop(path: Path, when: When) -> None:
    """Ask a run to stop as Ctrl-C stops it: after its next step, or at the end of its rung."""
    (path / STOP).write_text(when, encoding="utf-8")


def asked_to_stop(path: Path) -> When | None:
    """When a run is asked to stop, None if it is not."""
    with suppress(OSError):
        return "size" if (path / STOP).read_text(encoding="utf-8") == "size" else "now"
    return None


def withdraw_stop(path: Path) -> None:
    """Let a run go on."""
    with suppress(OSError):
        os.unlink(path / STOP)
