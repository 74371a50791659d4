"""How a program ends: exit codes, errors as one line, Ctrl-C and SIGTERM alike."""

from __future__ import annotations

import io
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hires.memory import is_out_of_memory

EXIT_FAULT, EXIT_MENDABLE, EXIT_INTERRUPTED = 1, 2, 130

# What takes less memory, by command: only options that it has.
_PAINT_LESS = "give a smaller --memory or a smaller --size (of a print: --dpi)"
_LESS_MEMORY = {
    "stylize": _PAINT_LESS,
    "plan": _PAINT_LESS,
    "resume": "close other programs, or paint anew with a smaller --memory or a smaller --size",
    "apply": "give a smaller --memory or a smaller picture",
    "train": "give a smaller --batch-size or a smaller --crop",
    "bench": "give smaller --sizes",
}
_USE_LESS = "close other programs or give smaller pictures"


def guarded(prog: str, action: Callable[[], int], command: str = "") -> int:
    """Run an action; what the user can mend becomes one line on stderr instead of a traceback.

    Args:
        prog: the program's name, which begins every line.
        action: what to run; returns the exit code.
        command: the subcommand that it is, for advice that fits it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # Names of files need not be text.
    try:
        with _terminable(), _warnings_in_one_line(prog):
            return action()
    except KeyboardInterrupt:
        tell(prog, "interrupted: nothing is saved")
        return EXIT_INTERRUPTED
    except Exception as error:
        problem = mendable(error, command)
        if problem is None:
            raise
        tell(prog, problem)
        return EXIT_MENDABLE


def tell(prog: str, message: str) -> None:
    """Print one line on stderr."""
    print(f"{prog}: {' '.join(message.split())}", file=sys.stderr, flush=True)


def mendable(error: Exception, command: str) -> str | None:
    """Say in a line what a user of a command can mend about an error; None for a bug's."""
    text = str(error)
    if is_out_of_memory(error):
        return f"out of memory: {_LESS_MEMORY.get(command, _USE_LESS)}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    from hires.engine import StylizeError

    return text if isinstance(error, ValueError | OSError | StylizeError) else None


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
