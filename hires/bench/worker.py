"""A child process that exercises one case, asked over a pipe, one JSON object a line.

Each case has a process of its own: its peak memory is its own, and running out of memory ends it
alone. Several workers can be held open and asked in turn, which is how two programs are compared
fairly on a noisy machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from hires.utils.memory import is_out_of_memory, speaks_of_memory

if TYPE_CHECKING:
    from hires.bench.exercise import Exercise

HIRES = (sys.executable, "-m", "hires.bench")
OUT_OF_MEMORY = "out of memory"
TOO_LONG = "too long"
_KILLED = -9


class WorkerError(RuntimeError):
    """A child could not do what it was asked.

    Attributes:
        kind: ``out of memory``, ``too long`` or ``error``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def serve(build: Callable[[dict[str, Any]], Exercise]) -> None:
    """Answer requests until the input ends: ``build`` with a case, then its methods by name."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with suppress(OSError):  # Where Linux kills a process for lack of memory, let it be this one.
        Path("/proc/self/oom_score_adj").write_text("1000")
    exercise: Exercise | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if exercise is None:
                exercise = build(request["case"])
                answer = exercise.facts
            else:
                answer = getattr(exercise, request["do"])()
        except Exception as error:
            kind = OUT_OF_MEMORY if is_out_of_memory(error) else "error"
            text = str(error).strip().splitlines() or [""]
            answer = {"failed": kind, "message": f"{type(error).__name__}: {text[0]}"}
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    """A child process with one case.

    Args:
        case: plain data that the child builds its exercise from.
        command: what to start; a program that calls `serve`.
        deadline: by `time.monotonic`; a child that has not answered by then is ended. None for
            never.

    Attributes:
        facts: what the child said about the case once it was set up.

    Raises:
        WorkerError: if the case cannot be set up, or not in time.
    """

    def __init__(
        self,
        case: Mapping[str, Any],
        command: Sequence[str] = HIRES,
        *,
        deadline: float | None = None,
    ) -> None:
        self.deadline = deadline
        self._is_late = threading.Event()
        # A pipe would block a child that writes more errors than the pipe holds.
        self._errors: IO[str] = tempfile.TemporaryFile(  # noqa: SIM115
            "w+", encoding="utf-8", errors="replace"
        )
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": _python_path()},
        )
        try:
            self.facts = self._exchange({"case": dict(case)})
        except BaseException:
            self.close()
            raise

    def ask(self, method: str) -> dict[str, Any]:
        """Have the exercise ``step``, ``stages``, ``memory``, or whatever else it can do.

        Raises:
            WorkerError: if it fails, takes too long or the child dies.
        """
        return self._exchange({"do": method})

    def close(self) -> None:
        """End the child."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        with self._hurrying():
            with suppress(BrokenPipeError):
                print(json.dumps(request), file=pipe_in, flush=True)
            line = pipe_out.readline()
        if not line.endswith("\n"):
            raise self._cause_of_death()
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise WorkerError(answer["failed"], answer["message"])
        return answer

    @contextmanager
    def _hurrying(self) -> Iterator[None]:
        """End the child if the deadline comes inside."""
        if self.deadline is None:
            yield
            return
        timer = threading.Timer(max(self.deadline - time.monotonic(), 0), self._end_late)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end_late(self) -> None:
        self._is_late.set()
        self._process.kill()

    def _cause_of_death(self) -> WorkerError:
        code = self._process.wait()
        if self._is_late.is_set():
            return WorkerError(TOO_LONG, "no answer in time")
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or [""])[-1]
        if code == _KILLED or speaks_of_memory(last):
            return WorkerError(OUT_OF_MEMORY, last or "killed by the system")
        return WorkerError("error", f"the process ended with code {code}: {last}".rstrip(": "))


def _python_path() -> str:
    """Let children import the same package as this process, wherever it was imported from."""
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
