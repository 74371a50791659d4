"""The ``hires`` command: finds the module of what was typed, and answers with its exit code.

Commands are imported when they are run: help and mistakes must not wait for torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from hires.arguments import COMMANDS, DESCRIPTION
from hires.exits import guarded
from hires.memory import manage_heap
from hires.parsing import parse
from hires.version import __version__


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


def _run(argv: Sequence[str]) -> int:
    if list(argv) == ["--version"]:
        print(f"hires {__version__}")
        return 0
    try:
        command: Any = parse(COMMANDS, argv, description=DESCRIPTION)
    except SystemExit:  # --help
        return 0
    # A command's class is called like its module: Stylize lives in commands/stylize.py.
    module = import_module(f"hires.commands.{type(command).__name__.lower()}")
    run: Callable[[Any], int] = module.run
    return run(command)
