"""``hires stylize --preview``: the painting at about a megapixel, and a close-up of its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from hires.cli.display import open_display
from hires.cli.exits import EXIT_INTERRUPTED, mendable, tell
from hires.config.paper import MM_PER_INCH
from hires.engine.preview import CloseUp, preview_rung
from hires.engine.progress import Progress
from hires.errors import ConfigError
from hires.image.encode.save import check_output, save_image
from hires.runs.painting import Easel


def check(easel: Easel, output: str) -> None:
    """Refuse a preview that shows nothing of the finished painting, and files not to be written.

    Raises:
        ValueError: with what to do instead.
    """
    if easel.finish is not None:
        raise ConfigError("--preview shows strokes as they are painted: leave --finish out for it")
    if preview_rung(easel.rungs) is None:
        height, width = easel.rungs[-1].size
        raise ConfigError(
            f"the painting is {width}x{height}, no larger than its preview: leave --preview out"
        )
    if easel.finish is not None:
        raise ConfigError(
            "--preview shows what the ladder paints, not what --finish makes of it:"
            " leave one of them out"
        )
    for path in paths(output):
        check_output(path, bit_depth=8, inputs=easel.inputs)


def is_reached(easel: Easel, progress: Progress) -> bool:
    """Whether a run stands where its preview is taken, or beyond it."""
    stop = preview_rung(easel.rungs)
    assert stop is not None
    return (progress.rung.index, progress.ends_rung) >= (stop.index, True)


def until_stop(easel: Easel, progress: Progress) -> Progress:
    """A step with its share of what is painted before the preview is taken, for a display."""
    stop = preview_rung(easel.rungs)
    assert stop is not None
    work = [rung.work for rung in easel.rungs]
    share = sum(work[: stop.index + 1]) / sum(work)
    return replace(progress, fraction=min(progress.fraction / share, 1.0))


def paths(output: str) -> tuple[Path, Path]:
    """``out-preview.png`` and ``out-closeup.png`` for ``out.tif``."""
    path = Path(output)
    whole, part = (path.with_name(f"{path.stem}-{what}.png") for what in ("preview", "closeup"))
    return whole, part


def show(easel: Easel, output: str, advice: str, *, quiet: bool) -> int:
    """Save the painting as it stands and paint the close-up.

    Args:
        easel: a run that has reached its preview.
        output: where the finished painting is to go.
        advice: how the run can be gone on with, to end a line with.
        quiet: print nothing but errors.
    """
    assert easel.last is not None
    whole, part = paths(output)
    rung, dpi = easel.last.rung, _dpi(easel)
    if rung.index == len(easel.rungs) - 1:
        raise ConfigError("the run is beyond its preview already: leave --preview out")
    save_image(easel.last.picture(), whole, author=easel.author)
    saved = f"{whole} is saved, the close-up is not{advice}"
    try:
        shown = _close_up(easel, quiet=quiet)
    except KeyboardInterrupt:
        tell("hires", f"interrupted: {saved}")
        return EXIT_INTERRUPTED
    except Exception as error:
        problem = mendable(error, "stylize")
        if problem is None:
            raise
        raise ValueError(f"{problem}; {saved}") from error
    save_image(shown, part, dpi=dpi, author=easel.author)
    if not quiet:
        print(f"{whole}: {rung.size[1]}x{rung.size[0]}, the painting so far{advice}")
        print(f"{part}: {_told(shown, easel, dpi)}")
    return 0


def _close_up(easel: Easel, *, quiet: bool) -> Tensor:
    assert easel.last is not None
    rungs = easel.rungs
    close_up = CloseUp(easel.last, easel.content, easel.styles, easel.config, rungs)
    with open_display(quiet=quiet) as display:
        display.begin(rungs, first=easel.last.rung.index + 1)
        for progress in close_up:
            display.update(progress)
    return close_up.picture()


def _dpi(easel: Easel) -> float | None:
    return easel.job.print.dpi_of_file


def _told(shown: Tensor, easel: Easel, dpi: float | None) -> str:
    height, width = shown.shape[2:]
    last = easel.rungs[-1].size
    text = f"{width}x{height}, pixel for pixel how the strokes of {last[1]}x{last[0]} will look"
    if dpi is None:
        return text
    sides = (f"{side / dpi * MM_PER_INCH:.0f}" for side in (width, height))
    return f"{text}; {' x '.join(sides)} mm when printed"
