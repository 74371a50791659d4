"""``hires apply``: a trained model over one picture, or folders of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from hires.cli.arguments.networks import NOT_OF_THE_APPLIED, Apply
from hires.cli.display import Display, open_display
from hires.cli.exits import EXIT_MENDABLE, mendable, tell
from hires.config.settings import settings_of
from hires.feedforward.apply import Inference
from hires.feedforward.batch import Batch, Item, SaveOptions, plan_batch
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
    inference = Inference(load_model(job.model), job.config)
    batch = plan_batch(
        job.contents,
        job.output,
        overwrite=job.overwrite,
        model=job.model,
        options=_options(job),
        recursive=job.recursive,
    )
    if batch.skipped and not job.quiet:
        count = len(batch.skipped)
        tell("hires", f"{count} in {job.output} already: skipped (--overwrite makes them anew)")
    with open_display(quiet=job.quiet) as display:
        failures, lines = _work(job, inference, batch, display)
    if not job.quiet:
        print("".join(f"{line}\n" for line in lines), end="")
    if batch.passed_over:
        tell("hires", f"warning: {batch.passed_over}")
    if len(batch.items) == 1 and failures:
        raise failures[0]
    if failures:
        tell("hires", f"{len(failures)} of {len(batch.items)} pictures could not be made")
        return EXIT_MENDABLE
    return 0


def _work(
    job: Apply, inference: Inference, batch: Batch, display: Display
) -> tuple[list[Exception], list[str]]:
    failures: list[Exception] = []
    lines: list[str] = []
    for index, item in enumerate(batch.items):

        def report(fraction: float, index: int = index, item: Item = item) -> None:
            display.tell((index + fraction) / len(batch.items), str(item.target))

        try:
            lines.append(_one(job, inference, item, report))
        except Exception as error:
            problem = mendable(error, "apply")
            if problem is None:
                raise
            failures.append(error)
            if len(batch.items) > 1:
                named = str(item.source) in problem
                tell("hires", problem if named else f"{item.source}: {problem}")
    return failures, lines


def _one(job: Apply, inference: Inference, item: Item, report: Callable[[float], None]) -> str:
    started = time.monotonic()
    picture = read_picture(item.source)
    height, width = (side * inference.factor for side in picture.pixels.shape[2:])
    _options(job).check(item.target, size=(height, width))
    xmp = _provenance(job, item)
    author = NOBODY if job.delivery.no_metadata else read_authorship(item.source)
    try:
        result = inference.apply(picture.pixels, report, mask=mask_of(picture.alpha))
    except ValueError as error:
        raise ValueError(f"{item.source}: {error}") from error
    return_freed_memory()  # The feature maps' memory is the encoder's now.
    alpha = picture.alpha
    if alpha is not None:
        alpha = resize(alpha, (height, width), clamp=True)
    ink = save_image(
        result,
        item.target,
        bit_depth=job.bit_depth,
        alpha=alpha,
        dpi=job.dpi,
        delivery=job.delivery,
        xmp=xmp,
        author=author,
    )
    told = "" if ink is None else f", {ink}"
    return f"{item.target}: {width}x{height}{told} in {time.monotonic() - started:.1f} s"


def _options(job: Apply) -> SaveOptions:
    return SaveOptions(bit_depth=job.bit_depth, dpi=job.dpi, delivery=job.delivery)


def _provenance(job: Apply, item: Item) -> bytes | None:
    """How the picture is made, as metadata; files are hashed now, before they can change."""
    if job.delivery.no_metadata:
        return None
    settings = {
        name: value for name, value in settings_of(job).items() if name not in NOT_OF_THE_APPLIED
    }
    inputs = [hashed("content", item.source)]
    for role, path in (("model", job.model), ("profile", job.delivery.icc)):
        if Path(path).is_file():
            inputs.append(hashed(role, path))
    return to_xmp(Provenance(seed=0, settings=settings, inputs=tuple(inputs)))
