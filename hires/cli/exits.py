"""How a program ends: exit codes, errors as one line, Ctrl-C and SIGTERM alike, closed pipes."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any

from hires.errors import ProcessLostError, StylizeError
from hires.utils.memory import is_out_of_memory

EXIT_FAULT, EXIT_MENDABLE, EXIT_INTERRUPTED = 1, 2, 130
EXIT_UNREAD = 128 + 13  # what a shell says of a program that SIGPIPE ended
# Fields whose flags have other names.
_CALLED = {"paper": "print"}
# C0, C1, and what changes the direction of writing.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

# What takes less memory, by command: only options that it has.
_PAINT_LESS = "give a smaller --memory or a smaller --size (of a print: --dpi)"
_LESS_MEMORY = {
    "stylize": _PAINT_LESS,
    "texture": _PAINT_LESS,
    "variations": _PAINT_LESS,
    "morph": _PAINT_LESS,
    "batch": _PAINT_LESS,
    "plan": _PAINT_LESS,
    "resume": "close other programs, or paint anew with a smaller --memory or a smaller --size",
    "deliver": "close other programs",
    "apply": "give a smaller --memory or a smaller picture",
    "train": "give a smaller --batch-size or a smaller --crop",
    "bench": "give smaller --sizes",
}
_USE_LESS = "close other programs or give smaller pictures"


def guarded(prog: str, action: Callable[[], int], command: str = "") -> int:
    """Run an action; what the user can mend becomes one line on stderr instead of a traceback.

    Where nobody reads stdout any more, as in ``| head``, the action ends without a word when it
    prints; what fails to reach stderr ends nothing.

    Args:
        prog: the program's name, which begins every line.
        action: what to run; returns the exit code.
        command: the subcommand that it is, for advice that fits it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # Names of files need not be text.
    with (
        redirect_stdout(sys.stdout and _Watched(sys.stdout, is_needed=True)),
        redirect_stderr(sys.stderr and _Watched(sys.stderr, is_needed=False)),
    ):
        try:
            with _terminable(), _warnings_in_one_line(prog):
                code = action()
                if sys.stdout is not None:
                    sys.stdout.flush()
                return code
        except KeyboardInterrupt:
            tell(prog, "interrupted: nothing is saved")
            return EXIT_INTERRUPTED
        except _Unread:
            return EXIT_UNREAD
        except Exception as error:
            problem = mendable(error, command)
            if problem is None:
                raise
            tell(prog, problem)
            return EXIT_MENDABLE


def tell(prog: str, message: str) -> None:
    """Print one line on stderr, with flags in place of the library's fields."""
    line = escaped(" ".join(as_typed(message).split()))
    print(f"{prog}: {line}", file=sys.stderr, flush=True)


def escaped(text: str) -> str:
    """A text with escapes in place of what moves a terminal's cursor, colours or turns its text."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def as_typed(message: str) -> str:
    """Turn fields in backticks into flags: `tv_weight=0` into ``--tv-weight 0``."""
    return re.sub(r"`([a-z][a-z0-9_]*)(?:=([^`]*))?`", _flag, message)


def _flag(field: re.Match[str]) -> str:
    name, value = _CALLED.get(field[1], field[1]).replace("_", "-"), field[2]
    if value == "False":
        return f"--no-{name}"
    return f"--{name}" if value is None else f"--{name} {value}"


def mendable(error: Exception, command: str) -> str | None:
    """Say in a line what a user of a command can mend about an error; None for a bug's."""
    text = str(error)
    if is_out_of_memory(error):
        return f"out of memory: {_LESS_MEMORY.get(command, _USE_LESS)}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    is_mendable = isinstance(error, ValueError | OSError | StylizeError | ProcessLostError)
    return text if is_mendable else None


class _Unread(BaseException):
    """Nobody reads stdout any more. No `Exception`: it is no failure of what was being done."""


class _Watched:
    """A stream of text that goes nowhere once it has failed: nor does its flush at exit complain.

    Args:
        stream: stdout or stderr.
        is_needed: whether what cannot be written must be heard of.
    """

    def __init__(self, stream: Any, *, is_needed: bool) -> None:
        self._stream, self._is_needed = stream, is_needed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; returns its length."""
        with self._failing_once():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand over what is written."""
        with self._failing_once():
            self._stream.flush()

    @contextmanager
    def _failing_once(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            if not self._is_needed:
                return
            if isinstance(error, BrokenPipeError):
                raise _Unread from None
            raise


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, with the picture saved."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _warnings_in_one_line(prog: str) -> Iterator[None]:
    told = set[str]()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        # A file may be read more than once, for its pixels and for its size.
        if str(message) not in told:
            told.add(str(message))
            tell(prog, f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
