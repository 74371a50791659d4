#!/usr/bin/env python3
"""Kill a run at random instants, and once by a full disk; every resumed painting must be the same.

Paints once without trouble, then again and again with kill -9 at instants drawn by chance, resumes
what was cut short, and compares SHA-256 of the results. For the full disk it takes a small tmpfs if
it may mount one, else a limit on the size of files.

    scripts/kill_test.py --kills 5
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hires.cli.exits import guarded
from hires.cli.parsing import parse

PROG = "kill_test"
ROOT = Path(__file__).resolve().parents[1]
DISK_BYTES = 8 * 2**20
FILE_LIMIT = 8 * 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class KillTest:
    """Kill runs at random instants; every resumed painting must be the same, byte by byte."""

    kills: int = 5
    """How many runs are killed."""

    seed: int = 0
    """Draws the instants."""

    content: str = str(ROOT / "samples/harbour.jpg")
    """The photograph."""

    style: str = str(ROOT / "samples/impasto.jpg")
    """The painting."""

    options: str = "--sizes 96 128 160 --iterations 60 40 30"
    """Options of hires stylize, in one word."""


@dataclass(frozen=True, slots=True)
class Case:
    """One painting: how it is made, and where its files are."""

    folder: Path
    words: Sequence[str]

    @property
    def output(self) -> Path:
        """The painting."""
        return self.folder / "out.png"

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self.folder / "out.run"

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start hires, to paint or with other words."""
        return subprocess.Popen(
            [sys.executable, "-m", "hires", *(words or [*self.words, "-o", str(self.output)])],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def finish(self) -> int:
        """Resume a run that was cut short; if it had not begun, paint from the start."""
        words = ("resume", str(self.directory)) if self.directory.exists() else ()
        process = self.start(*words)
        process.communicate()
        return process.returncode

    @property
    def place(self) -> str:
        """The newest checkpoint, as RUNG-STEP."""
        names = sorted(file.stem for file in self.directory.glob("checkpoint-*"))
        return names[-1].removeprefix("checkpoint-") if names else "none"

    @property
    def seconds(self) -> float:
        """Time that the painting took."""
        *_, last = (self.directory / "trace.jsonl").read_text(encoding="utf-8").splitlines()
        return float(json.loads(last)["seconds"])

    @property
    def digest(self) -> str:
        """SHA-256 of the painting."""
        return hashlib.sha256(self.output.read_bytes()).hexdigest()


def main(argv: Sequence[str]) -> int:
    """Run the test.

    Args:
        argv: arguments without the program's name.

    Returns:
        0 if every painting is the same, 1 if not, 2 for what the user can mend.
    """
    try:
        command = parse(KillTest, argv, prog=PROG)
    except SystemExit:  # --help
        return 0
    with tempfile.TemporaryDirectory(prefix="hires-kill-") as folder:
        return _test(command, Path(folder))


def _test(command: KillTest, folder: Path) -> int:
    words = ["stylize", command.content, command.style, *command.options.split()]
    words += ["--bit-depth", "16", "--checkpoint-every", "0.3"]

    def case(name: str) -> Case:
        (folder / name).mkdir()
        return Case(folder / name, words)

    whole = case("whole")
    if _wait(whole.start()) != 0:
        return 1
    seconds = whole.seconds
    print(f"uninterrupted: {seconds:.1f} s of painting, {whole.digest}", flush=True)
    chance = random.Random(command.seed)
    good: list[bool] = []
    while len(good) < command.kills:
        killed = case(f"kill-{len(good) + 1}")
        instant = chance.uniform(0, seconds)
        if not _kill(killed, instant):
            print(f"too late after {instant:.2f} s: drawn again")
            shutil.rmtree(killed.folder)
            continue
        name = f"kill -9 after {instant:.2f} s of painting, checkpoint {killed.place}"
        killed.finish()
        good.append(_judge(name, killed, whole.digest))
    good.append(_fill(case("full"), whole.digest))
    return 0 if all(good) else 1


def _wait(process: subprocess.Popen[bytes]) -> int:
    errors = process.communicate()[1]
    if process.returncode != 0:
        print(errors.decode(), end="", file=sys.stderr)
    return process.returncode


def _kill(case: Case, instant: float) -> bool:
    """Kill a run some seconds after its first step; returns whether it was not done by then."""
    process = case.start()
    while process.poll() is None and not case.directory.exists():
        time.sleep(0.02)
    try:
        process.communicate(timeout=instant)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return process.returncode == -signal.SIGKILL


def _fill(case: Case, wanted: str) -> bool:
    with _small_disk(case) as fill:
        process = case.start()
        while process.poll() is None and case.place == "none":
            time.sleep(0.02)
        empty = fill(process)
        errors = process.communicate()[1].decode().splitlines()
        ended = f"exit {process.returncode}, checkpoint {case.place}"
        missing = "" if case.output.exists() else ", no painting"
        empty()
        case.finish()
        print(f"full disk: {ended}{missing}; it said: {errors[-1] if errors else ''}")
        return process.returncode == 2 and _judge("full disk", case, wanted)


@contextmanager
def _small_disk(
    case: Case,
) -> Iterator[Callable[[subprocess.Popen[bytes]], Callable[[], None]]]:
    """Yield what fills the disk under a case, which returns what empties it."""
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}"]
    mounted = subprocess.run(
        ["mount", *options, "tmpfs", str(case.folder)], capture_output=True, check=False
    )

    def fill(process: subprocess.Popen[bytes]) -> Callable[[], None]:
        if mounted.returncode == 0:
            filler = case.folder / "filler"
            with open(filler, "wb", buffering=0) as file:
                size = 2**20
                while size:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        size //= 2
            return filler.unlink
        limit = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FILE_LIMIT, limit[1]))
        return lambda: None

    try:
        yield fill
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(case.folder)], check=False)


def _judge(name: str, case: Case, wanted: str) -> bool:
    found = case.digest if case.output.exists() else "nothing"
    verdict = "identical" if found == wanted else f"DIFFERENT: {found}"
    print(f"{name}: {verdict}", flush=True)
    return found == wanted


if __name__ == "__main__":
    sys.exit(guarded(PROG, lambda: main(sys.argv[1:])))
