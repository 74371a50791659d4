"""The ``hires`` command: finds the module of what was typed, and answers with its exit code.

Commands are imported when they are run: help and mistakes must not wait for torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from hires.cli.arguments.table import COMMANDS, DESCRIPTION
from hires.cli.exits import guarded
from hires.cli.help import ASK, ASK_ALL, show_commands
from hires.cli.options import UsageError
from hires.cli.parsing import Given, parse
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
    name = next(iter(argv), "")
    if name.startswith("-"):
        return _tell(name, argv[1:])
    if name not in COMMANDS:
        problem = f"unknown argument '{name}'" if name else "missing command"
        raise UsageError(f"{problem}: choose one of {', '.join(COMMANDS)}")
    recorded = partial(_recorded, name)
    try:
        job: Any = parse(COMMANDS[name], argv[1:], prog=f"hires {name}", recorded=recorded)
    except SystemExit:  # --help
        return 0
    run: Callable[[Any], int] = import_module(f"hires.cli.commands.{name}").run
    return run(job)


def _tell(flag: str, rest: Sequence[str]) -> int:
    """What is asked of the program itself."""
    if flag in (*ASK, ASK_ALL):
        show_commands("hires", COMMANDS, DESCRIPTION, in_full=ASK_ALL in (flag, *rest))
    elif flag == "--version":
        print(f"hires {__version__}")
    elif flag.partition("=")[0] == "--print-completion":
        from hires.cli.completion import completion

        print(completion(*[*flag.split("=")[1:], *rest]))
    else:
        raise UsageError(f"unknown argument '{flag}': choose one of {', '.join(COMMANDS)}")
    return 0


def _recorded(command: str, given: Given) -> Any:
    """The run that ``--from`` names; it takes the place of the defaults, but for its output."""
    source = given.get(("", "source"))
    if source is None:
        return None
    from hires.runs.rerun import recorded_job

    job = recorded_job(source)
    painted_by = "texture" if job.content is None else "stylize"
    if command != painted_by:
        raise UsageError(f"{source} was painted by hires {painted_by}: give --from to that")
    return job
