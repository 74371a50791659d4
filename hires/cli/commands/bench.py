"""``hires bench``: measure, print, save; or compare two saved runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from hires.bench import outputs, report, runs
from hires.bench.cases import cases_of
from hires.cli.arguments.looking import Bench
from hires.cli.exits import EXIT_MENDABLE, tell


def run(command: Bench) -> int:
    """Measure the cases that were asked for."""
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
