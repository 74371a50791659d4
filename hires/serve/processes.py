"""Programs of ours beside the server: each by a list of words, in a session of its own.

A run outlives the server. The next one knows it again by its number and the moment that it began,
for numbers are given anew.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOG, OUT = "log.txt", "out.txt"
_LAST = 4096  # bytes of a log in which its last line is looked for


@dataclass(frozen=True, slots=True)
class Known:
    """A process, so that it is known again.

    Attributes:
        pid: its number.
        began: when, in the system's own measure; empty where that is not told.
    """

    pid: int
    began: str

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        if _state(self.pid) == "Z":
            return False
        if self.began:
            return _began(self.pid) == self.began
        with suppress(OSError):
            os.kill(self.pid, 0)
            return True
        return False

    def terminate(self) -> None:
        """End it as Ctrl-C does: a run saves what it has painted."""
        if self.is_alive:
            with suppress(OSError):
                os.kill(self.pid, signal.SIGTERM)


def start(words: Sequence[str], *, folder: Path, log_folder: Path) -> subprocess.Popen[bytes]:
    """Start ``hires`` with some words.

    Args:
        words: the command and what follows it.
        folder: where it works.
        log_folder: where what it says goes.
    """
    with (log_folder / LOG).open("wb") as log, (log_folder / OUT).open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "hires", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
            start_new_session=True,
            env=environment(),
        )


def environment() -> dict[str, str]:
    """Of this process, with the same package: the folder that it works in must not hide it."""
    paths = [
        *map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    ]
    package = Path(__file__).parents[2]
    if package.name not in ("site-packages", "dist-packages"):
        paths = [str(package), *paths]
    found = {**os.environ, "PYTHONSAFEPATH": "1"}
    return found | ({"PYTHONPATH": os.pathsep.join(paths)} if any(paths) else {})


def known(pid: int) -> Known:
    """A process that was started just now."""
    return Known(pid, _began(pid))


def let_go(child: subprocess.Popen[bytes]) -> None:
    """Leave a process to itself: it goes on when this one has ended."""
    if child.poll() is None:
        child.returncode = 0  # Python would warn of what is meant.


def said(log_folder: Path) -> str:
    """The last line that a process has said, as people read it."""
    with suppress(OSError), (log_folder / LOG).open("rb") as file:
        file.seek(max(os.fstat(file.fileno()).st_size - _LAST, 0))
        lines = file.read().decode("utf-8", errors="replace").split("\n")
        for line in reversed(lines):
            text = line.rpartition("\r")[2].strip()
            if text:
                return re.sub(r"--(?=[a-z])", "", text.removeprefix("hires: "))
    return ""


def _stat(pid: int) -> list[str]:
    """What Linux tells of a process after its name."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()
    return []


def _state(pid: int) -> str:
    return next(iter(_stat(pid)), "")


def _began(pid: int) -> str:
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""
