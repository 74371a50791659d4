"""The ``hires`` command: runs what was typed, prints, saves, and answers with an exit code.

Whatever needs torch is imported where it is used: help and mistakes must not wait for it.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hires.arguments import COMMANDS, DESCRIPTION, Bench, Doctor, Plan, Stylize, parse
from hires.config import format_bytes
from hires.memory import manage_heap
from hires.version import __version__

if TYPE_CHECKING:
    from rich.table import Table

    from hires.display import Display
    from hires.easel import Easel
    from hires.forecast import Forecast

EXIT_FAULT, EXIT_MENDABLE, EXIT_INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; the process's own if not given.

    Returns:
        0 done, 1 the doctor found a fault, 2 something that the user can mend, 130 interrupted.
    """
    if argv is None:
        argv = sys.argv[1:]
        manage_heap()
    return guarded("hires", lambda: _run(argv))


def guarded(prog: str, action: Callable[[], int]) -> int:
    """Run an action; what the user can mend becomes one line on stderr instead of a traceback."""
    try:
        with _terminable(), _warnings_in_one_line(prog):
            return action()
    except KeyboardInterrupt:
        tell(prog, "interrupted: nothing is saved")
        return EXIT_INTERRUPTED
    except Exception as error:
        problem = _mendable(error)
        if problem is None:
            raise
        tell(prog, problem)
        return EXIT_MENDABLE


def tell(prog: str, message: str) -> None:
    """Print one line on stderr."""
    print(f"{prog}: {' '.join(message.split())}", file=sys.stderr, flush=True)


def _mendable(error: Exception) -> str | None:
    """Say in a line what a user can mend about an error; None for what only a bug can cause."""
    text = str(error)
    # Torch raises a RuntimeError of its own when a GPU is full and a bare one when the host is.
    full = isinstance(error, RuntimeError) and "memory" in text and "alloc" in text.lower()
    if isinstance(error, MemoryError) or full:
        return "out of memory: give a smaller --memory or a smaller --size"
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
    def show(message: Warning | str, *_: object, **__: object) -> None:
        tell(prog, f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _run(argv: Sequence[str]) -> int:
    if list(argv) == ["--version"]:
        print(f"hires {__version__}")
        return 0
    try:
        command: Stylize | Plan | Doctor | Bench = parse(COMMANDS, argv, description=DESCRIPTION)
    except SystemExit:  # --help
        return 0
    if isinstance(command, Doctor):
        return _doctor(command)
    if isinstance(command, Bench):
        return _bench(command)
    return _stylize(command) if isinstance(command, Stylize) else _plan(command)


def _stylize(job: Stylize) -> int:
    from hires.display import open_display

    easel = _set_up(job)
    started = time.monotonic()
    try:
        with open_display(quiet=job.quiet) as display:
            _paint(easel, display, job.output)
        easel.save(job.output)
    except KeyboardInterrupt:
        return _save_interrupted(easel, job.output)
    if not job.quiet:
        height, width = easel.rungs[-1].size
        print(f"{job.output}: {width}x{height}, painted in {time.monotonic() - started:.1f} s")
    return 0


def _set_up(job: Plan) -> Easel:
    from hires.easel import Easel

    easel = Easel(job)
    for warning in easel.warnings:
        tell("hires", f"warning: {warning}")
    return easel


def _paint(easel: Easel, display: Display, output: str) -> None:
    """Paint to the end. Whatever ends the painting early, the picture so far is saved beside it."""
    from hires.easel import partial_path
    from hires.engine import StylizeError
    from hires.images import ImageError

    display.begin(easel.rungs)
    try:
        for progress in easel.steps():
            display.update(progress)
    except Exception as error:
        picture = error.picture if isinstance(error, StylizeError) else None
        if _mendable(error) is None or (picture is None and easel.last is None):
            raise
        path = partial_path(output)
        try:
            easel.save(path, picture)
        except ImageError as failure:
            raise ValueError(f"{_mendable(error)}; nothing is saved: {failure}") from error
        raise ValueError(f"{_mendable(error)}; the last good picture is saved as {path}") from error


def _save_interrupted(easel: Easel, output: str) -> int:
    if easel.last is None:
        tell("hires", "interrupted before the first step: nothing is saved")
        return EXIT_INTERRUPTED
    tell("hires", f"interrupted at {easel.where()}: saving {output} (Ctrl-C again gives that up)")
    try:
        easel.save(output)
    except KeyboardInterrupt:
        tell("hires", "interrupted again: nothing is saved")
        return EXIT_INTERRUPTED
    height, width = easel.last.rung.size
    tell("hires", f"{output} holds the picture so far, {width}x{height}")
    return EXIT_INTERRUPTED


def _plan(job: Plan) -> int:
    from rich.console import Console

    from hires.engine import check_ladder, open_studio
    from hires.forecast import forecast

    easel = _set_up(job)
    studio = open_studio(job.config)
    check_ladder(studio, job.config, easel.rungs, easel.content_size)
    found = forecast(job.config, studio, easel.rungs, num_input_pixels=easel.num_input_pixels)
    if not job.quiet:
        console = Console(highlight=False)
        console.print(_ladder_table(found))
        steps = sum(rung.num_iterations for rung in easel.rungs)
        peak = format_bytes(max(rung.peak_bytes for rung in found))
        console.print(
            f"{steps} steps on {studio.device} in {studio.precision.name},"
            f" at most about {peak} of memory",
            soft_wrap=True,
        )
    return 0


def _ladder_table(found: Sequence[Forecast]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("rung", "size", "steps", "tiles", "tile size", "graphs kept", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in found:
        height, width = max(tile.core.size for tile in line.tiles.tiles)
        table.add_row(
            str(line.rung.index + 1),
            f"{line.rung.size[1]}x{line.rung.size[0]}",
            str(line.rung.num_iterations),
            str(len(line.tiles.tiles)),
            f"{width}x{height}",
            str(line.tiles.num_kept),
            format_bytes(line.peak_bytes),
        )
    return table


def _doctor(command: Doctor) -> int:
    from rich.console import Console

    from hires import doctor

    report = doctor.examine()
    if command.json:
        print(json.dumps(report, indent=2))
    else:
        Console(highlight=False).print(doctor.tables(report))
    if report["passed"]:
        return 0
    tell(
        "hires", "tiled painting is not exact on this machine: try another --device or --precision"
    )
    return EXIT_FAULT


def _bench(command: Bench) -> int:
    from hires.bench import outputs, report, runs
    from hires.bench.cases import cases_of

    if command.compare:
        before, after = (report.load(Path(path)) for path in command.compare)
        print(report.compare(before, after), end="")
        return 0
    if command.output is not None:
        outputs.check_output(Path(command.output))
    wanted = asdict(command)
    cases = cases_of(**{name: wanted[name] for name in wanted if name not in ("output", "compare")})
    found = runs.run_cases(cases, on_result=lambda result: tell("hires", report.line(result)))
    print(report.markdown(found), end="")
    if command.output is not None:
        paths, notice = outputs.write(found, Path(command.output))
        tell("hires", f"saved {', '.join(map(str, paths))}. {notice}".removesuffix(". "))
    failed = any(result["status"] == "error" for result in found["results"])
    return EXIT_MENDABLE if failed else 0
