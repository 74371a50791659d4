"""The ``hires`` command: finds the module of what was typed, and answers with its exit code.

Commands are imported when they are run: help and mistakes must not wait for torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from importlib import import_module
from typing import Any

from hires.cli.arguments import COMMANDS, DESCRIPTION, Stylize
from hires.cli.exits import guarded
from hires.cli.parsing import MISSING, parse
from hires.utils.memory import manage_heap
from hires.utils.openmp import bound_waiting
from hires.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; the process's own if not given.

    Returns:
        0 done, 1 the doctor found a fault, 2 something that the user can mend, 130 interrupted,
        141 nobody reads what is printed.
    """
    if argv is None:
        argv = sys.argv[1:]
        manage_heap()
        bound_waiting()
    return guarded("hires", lambda: _run(argv), command=next(iter(argv), ""))


def _run(argv: Sequence[str]) -> int:
    if list(argv) == ["--version"]:
        print(f"hires {__version__}")
        return 0
    try:
        command = _parsed(argv)
    except SystemExit:  # --help
        return 0
    # A command's class is called like its module: Stylize lives in commands/stylize.py.
    module = import_module(f"hires.cli.commands.{type(command).__name__.lower()}")
    run: Callable[[Any], int] = module.run
    return run(command)


def _parsed(argv: Sequence[str]) -> Any:
    source = _source_in(argv)
    if source is None:
        return parse(COMMANDS, argv, description=DESCRIPTION)
    from hires.runs.rerun import recorded_job

    # The recorded run takes the place of the defaults; only where to save is asked for anew.
    recorded = recorded_job(source)
    before = Stylize(**{field.name: getattr(recorded, field.name) for field in fields(recorded)})
    before = replace(before, output=MISSING)
    return parse(Stylize, argv[1:], prog="hires stylize", default=before)


def _source_in(argv: Sequence[str]) -> str | None:
    """The file after ``--from`` of a ``stylize``; None if there is none, or help is asked for."""
    if list(argv[:1]) != ["stylize"] or {"-h", "--help"} & set(argv):
        return None
    for word, following in zip(argv, [*argv[1:], None], strict=True):
        if word == "--from":
            return following
        if word.startswith("--from="):
            return word.removeprefix("--from=")
    return None
