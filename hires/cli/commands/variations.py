"""``hires variations``: a contact sheet to choose from, or the variation that was chosen."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from statistics import median

from hires.cli.arguments.painting import Variations
from hires.cli.commands import stylize
from hires.cli.display import Display, open_display
from hires.cli.exits import EXIT_INTERRUPTED, mendable, tell
from hires.cli.typed import command_typed
from hires.config.values import counted
from hires.config.variations import variations
from hires.runs.page import duration
from hires.runs.variations import Sheet, SheetProgress

# Steps at the beginning that say nothing of the others, and those from which the time is reckoned.
_WARM_STEPS, _TIMED_STEPS = 3, 12


def run(job: Variations) -> int:
    """Paint the sheet and save it, or paint the variation that was picked."""
    found = variations(job, job.fixed)
    if job.pick is not None:
        variation = found[job.pick - 1]
        if not job.quiet:
            tell("hires", f"variation {job.pick}: {variation.name}")
        return stylize.run(replace(variation.job, output=job.output))
    sheet = Sheet(
        job, found, [command_typed(one.job) for one in found], side=job.side, pictures=job.pictures
    )
    started = time.monotonic()
    try:
        _paint(sheet)
        height, width = sheet.save(_about(sheet))
    except KeyboardInterrupt:
        return _save_interrupted(sheet)
    if not job.quiet:
        seconds = time.monotonic() - started
        told = f"{counted(sheet.num_done, 'variation')}, painted in {seconds:.1f} s"
        print(f"{job.output}: {width}x{height}, {told}")
        for number, variation in enumerate(found, start=1):
            print(f"{number:2}  {command_typed(variation.job)}")
    return 0


def _paint(sheet: Sheet) -> None:
    """Paint all variations. Whatever ends that early, those that are done are saved."""
    told: set[str] = set()
    with open_display(quiet=sheet.job.quiet) as display:
        times = _Times(sheet, display)
        try:
            for step in sheet:
                # Mostly the same of every variation.
                stylize.tell_warnings(one for one in sheet.warnings if one not in told)
                told.update(sheet.warnings)
                times.update(step)
        except Exception as error:
            problem = mendable(error, "variations")
            if problem is None or not sheet.num_done:
                raise
            sheet.save(_about(sheet))
            raise ValueError(f"{problem}; {_saved(sheet)}") from error


class _Times:
    """Tells how long it will take as soon as it can be known, then how far it is."""

    def __init__(self, sheet: Sheet, display: Display) -> None:
        self._sheet, self._display = sheet, display
        self._steps: list[tuple[float, float]] = []

    def update(self, step: SheetProgress) -> None:
        """Take a step."""
        sheet = self._sheet
        name = sheet.variations[step.number - 1].name
        if step.number == 1 and step.progress.rung.index == 0 and not sheet.job.quiet:
            self._note(step)
        self._display.tell(
            step.fraction, f"variation {step.number}/{len(sheet.variations)}  {name}"
        )

    def _note(self, step: SheetProgress) -> None:
        """Reckon with the median of some steps, not the first: they warm up."""
        self._steps.append((time.monotonic(), step.fraction))
        if len(self._steps) == _WARM_STEPS + _TIMED_STEPS:
            pairs = pairwise(self._steps[_WARM_STEPS - 1 :])
            rates = [(after[0] - now[0]) / (after[1] - now[1]) for now, after in pairs]
            height, width = self._sheet.size
            told = f"{counted(len(self._sheet.variations), 'variation')} of {width}x{height} px"
            tell("hires", f"{told}: about {duration(median(rates))}")


def _about(sheet: Sheet) -> list[str]:
    """What is said beside the photograph and the styles."""
    height, width = sheet.size
    return [
        f"Each is {width}x{height}, the beginning of the painting that the command below it paints"
        " to its end.",
        "",
        "To paint number 7, add --pick 7 and another -o to the command of this sheet; --size or"
        " --print says how large.",
    ]


def _saved(sheet: Sheet) -> str:
    num_variations = len(sheet.variations)
    return f"{sheet.job.output} holds {sheet.num_done} of {counted(num_variations, 'variation')}"


def _save_interrupted(sheet: Sheet) -> int:
    if not sheet.num_done:
        tell("hires", "interrupted before the first variation was done: nothing is saved")
        return EXIT_INTERRUPTED
    try:
        sheet.save(_about(sheet))
    except KeyboardInterrupt:
        tell("hires", "interrupted again: nothing is saved")
        return EXIT_INTERRUPTED
    tell("hires", f"interrupted: {_saved(sheet)}")
    return EXIT_INTERRUPTED
