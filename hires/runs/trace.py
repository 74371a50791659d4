"""The trace of a run: a line of JSON for every step, in memory and on the disk. No torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hires.utils.files import replacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a trace.

    Attributes:
        rung: number of the rung, from 1.
        iteration: steps done at this rung, from 1.
        size: width and height of the canvas, ``512x341``.
        seconds: time since the run began, without the time between a kill and its resumption.
        loss: the weighted sum of the terms before the step.
        terms: ``style``, ``content``, ``patch`` and ``tv`` before the step, before their weights.
        processes: where several paint, seconds that each has computed since it began, without those
            in which it waited for others, and the most bytes of memory that it has had.
    """

    rung: int
    iteration: int
    size: str
    seconds: float
    loss: float
    terms: Mapping[str, float]
    processes: Sequence[Sequence[float]] = ()

    @property
    def position(self) -> tuple[int, int]:
        """What steps are ordered by."""
        return self.rung, self.iteration


class Trace:
    """The steps of a run, and the file that is brought up to date now and then.

    Args:
        path: the file.
        position: last step to keep of what the file holds; later ones will be done again.

    Attributes:
        steps: all steps in order.
    """

    def __init__(self, path: Path, position: tuple[int, int]) -> None:
        self.path = path
        self.steps = [step for step in read_steps(path) if step.position <= position]
        self._num_written = 0
        # The file may end in half a line, or in steps that will be done again.
        self._is_sound = False

    def append(self, step: Step) -> None:
        """Add a step, unless it is there already."""
        if not self.steps or self.steps[-1].position < step.position:
            self.steps.append(step)

    def flush(self, *, sync: bool = False) -> None:
        """Bring the file up to date; with ``sync`` it also survives a power cut.

        Raises:
            OSError: if it cannot be written. The next flush makes up for it.
        """
        if not self._is_sound:
            with replacing(self.path) as temporary:
                temporary.write_text(_lines(self.steps), encoding="utf-8")
        elif self._num_written < len(self.steps) or sync:
            self._is_sound = False
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_lines(self.steps[self._num_written :]))
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
        self._is_sound, self._num_written = True, len(self.steps)


def _lines(steps: Sequence[Step]) -> str:
    return "".join(json.dumps(_record(step)) + "\n" for step in steps)


def _record(step: Step) -> dict[str, Any]:
    found = asdict(step)
    return found if step.processes else {k: v for k, v in found.items() if k != "processes"}


def read_steps(path: Path, *, last_bytes: int | None = None) -> list[Step]:
    """Whatever lines of a trace can be read: it is nice to have, and no run depends on it.

    Args:
        path: the file.
        last_bytes: read only so much of its end.
    """
    found: list[Step] = []
    with suppress(OSError), path.open("rb") as file:
        if last_bytes is not None:
            file.seek(max(os.fstat(file.fileno()).st_size - last_bytes, 0))
        for line in file.read().decode("utf-8", errors="replace").splitlines():
            with suppress(ValueError, TypeError):
                found.append(Step(**json.loads(line)))
    return found
