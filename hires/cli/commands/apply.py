"""``hires apply``: a trained model over one picture, or folders of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from hires.cli.arguments import NOT_OF_THE_APPLIED, Apply
from hires.cli.display import Display, open_display
from hires.cli.exits import EXIT_MENDABLE, mendable, tell
from hires.config.settings import settings_of
from hires.feedforward.apply import Press
from hires.feedforward.batch import Errand, Errands, Outcome, plan_errands
from hires.feedforward.model import load_model
from hires.image.decode.attribution import read_authorship
from hires.image.decode.read import read_picture
from hires.image.encode.save import save_image
from hires.image.metadata.authorship import NOBODY
from hires.image.metadata.provenance import Provenance, hashed, to_xmp
from hires.image.resample import resize
from hires.image.transparency import mask_of
from hires.utils.memory import return_freed_memory


def run(job: Apply) -> int:
    """Apply the model to every picture; one that fails does not stop the others."""
    press = Press(load_model(job.model), job.config)
    errands = plan_errands(
        job.contents,
        job.output,
        overwrite=job.overwrite,
        model=job.model,
        outcome=_outcome(job),
        recursive=job.recursive,
    )
    if errands.skipped and not job.quiet:
        count = len(errands.skipped)
        tell("hires", f"{count} in {job.output} already: skipped (--overwrite makes them anew)")
    with open_display(quiet=job.quiet) as display:
        failures, lines = _work(job, press, errands, display)
    if not job.quiet:
        print("".join(f"{line}\n" for line in lines), end="")
    if errands.passed_over:
        tell("hires", f"warning: {errands.passed_over}")
    if len(errands.todo) == 1 and failures:
        raise failures[0]
    if failures:
        tell("hires", f"{len(failures)} of {len(errands.todo)} pictures could not be made")
        return EXIT_MENDABLE
    return 0


def _work(
    job: Apply, press: Press, errands: Errands, display: Display
) -> tuple[list[Exception], list[str]]:
    failures: list[Exception] = []
    lines: list[str] = []
    for index, errand in enumerate(errands.todo):

        def report(fraction: float, index: int = index, errand: Errand = errand) -> None:
            display.tell((index + fraction) / len(errands.todo), str(errand.target))

        try:
            lines.append(_one(job, press, errand, report))
        except Exception as error:
            problem = mendable(error, "apply")
            if problem is None:
                raise
            failures.append(error)
            if len(errands.todo) > 1:
                named = str(errand.source) in problem
                tell("hires", problem if named else f"{errand.source}: {problem}")
    return failures, lines


def _one(job: Apply, press: Press, errand: Errand, report: Callable[[float], None]) -> str:
    started = time.monotonic()
    picture = read_picture(errand.source)
    height, width = (side * press.factor for side in picture.pixels.shape[2:])
    _outcome(job).check(errand.target, size=(height, width))
    xmp = _provenance(job, errand)
    author = NOBODY if job.delivery.no_metadata else read_authorship(errand.source)
    try:
        result = press.apply(picture.pixels, report, mask=mask_of(picture.alpha))
    except ValueError as error:
        raise ValueError(f"{errand.source}: {error}") from error
    return_freed_memory()  # The feature maps' memory is the encoder's now.
    alpha = picture.alpha
    if alpha is not None:
        alpha = resize(alpha, (height, width), clamp=True)
    ink = save_image(
        result,
        errand.target,
        bit_depth=job.bit_depth,
        alpha=alpha,
        dpi=job.dpi,
        delivery=job.delivery,
        xmp=xmp,
        author=author,
    )
    told = "" if ink is None else f", {ink}"
    return f"{errand.target}: {width}x{height}{told} in {time.monotonic() - started:.1f} s"


def _outcome(job: Apply) -> Outcome:
    return Outcome(bit_depth=job.bit_depth, dpi=job.dpi, delivery=job.delivery)


def _provenance(job: Apply, errand: Errand) -> bytes | None:
    """How the picture is made, as metadata; files are hashed now, before they can change."""
    if job.delivery.no_metadata:
        return None
    settings = {
        name: value for name, value in settings_of(job).items() if name not in NOT_OF_THE_APPLIED
    }
    inputs = [hashed("content", errand.source)]
    for role, path in (("model", job.model), ("profile", job.delivery.icc)):
        if Path(path).is_file():
            inputs.append(hashed(role, path))
    return to_xmp(Provenance(seed=0, settings=settings, inputs=tuple(inputs)))
