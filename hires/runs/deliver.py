"""A finished painting handed over once more, for another purpose; nothing is painted again.

A run keeps no second copy of what it painted: at A0 that would be most of a gigabyte beside every
run. Its file is what is delivered from. One of 16 bit, such as a master, gives what the run itself
would have written: sRGB of 8 bit to the last one, for levels of 16 bit are 257 to each of 8, an odd
number, so that rounding twice is rounding once; dithered or converted files to one level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from hires.config.deliver import DeliverJob
from hires.config.paper import Layout, Print, Window
from hires.config.settings import settings_of
from hires.engine.ladder import Size
from hires.errors import ConfigError, ImageError
from hires.image.colour.inks import TotalInk
from hires.image.decode.attribution import read_authorship
from hires.image.decode.headers import Header, read_header
from hires.image.decode.read import read_picture
from hires.image.decode.stored import picture_size
from hires.image.encode.save import check_output, save_image
from hires.image.metadata.authorship import NOBODY
from hires.image.metadata.provenance import Provenance, ProvenanceError, from_xmp, hashed, to_xmp
from hires.image.resample import resize
from hires.runs.record import RunDirectoryError, is_finished, read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What was saved.

    Attributes:
        path: the file.
        size: its ``(height, width)`` in pixels.
        layout: where the painting lies on its paper, None without one.
        ink: the total ink of a file in CMYK, else None.
    """

    path: Path
    size: Size
    layout: Layout | None
    ink: TotalInk | None


def deliver(job: DeliverJob) -> Delivered:
    """Save a finished painting as it is asked for.

    Paper and dpi are those that it was painted for, unless others are given. Another paper is laid
    on it as it is laid on a photograph (`Print`), with as many dpi as that gives; with a dpi it is
    reduced to that. How it was painted, author and rights go with it.

    Args:
        job: which painting, where to, and how.

    Warns:
        UserWarning: see `read_picture` and `save_image`.

    Raises:
        ConfigError: for a paper that the painting is too small for.
        ImageError: for a painting that cannot be read, or has not what is asked for.
        RunDirectoryError: for a run that is not finished, or whose painting is gone.
    """
    source = painting_of(Path(job.painting))
    header = read_header(source)
    bit_depth = job.delivery.depth(job.bit_depth)
    _require_source(source, header, bit_depth)
    made, shape = _provenance(header), picture_size(source)
    layout = _layout(job.print, _recorded_print(made), shape)
    window = Window(0, 0, *shape) if layout is None else layout.window
    size = _painted_size(job.print, layout, window, source)
    layout = None if layout is None else layout.at(size)
    dpi = None if layout is not None else job.print.dpi or header.dpi
    check_output(
        job.output,
        bit_depth=job.bit_depth,
        inputs=[source],
        size=size if layout is None else layout.size,
        dpi=dpi if layout is None else layout.dpi,
        delivery=job.delivery,
    )
    part = _Part(source, window, size)
    ink = _save(job, part, made, dpi, layout)
    whole = size if layout is None else layout.size
    return Delivered(path=Path(job.output), size=whole, layout=layout, ink=ink)


@dataclass(frozen=True, slots=True)
class _Part:
    """What of a file is delivered, and its ``(height, width)`` then."""

    source: Path
    window: Window
    size: Size

    def of(self, plane: Tensor) -> Tensor:
        """The part of the whole picture's planes."""
        rows = slice(self.window.top, self.window.top + self.window.height)
        part = plane[:, :, rows, self.window.left : self.window.left + self.window.width]
        return part if part.shape[2:] == self.size else resize(part, self.size, clamp=True)


def _save(
    job: DeliverJob, part: _Part, made: Provenance | None, dpi: float | None, layout: Layout | None
) -> TotalInk | None:
    picture, is_told = read_picture(part.source), not job.delivery.no_metadata
    return save_image(
        part.of(picture.pixels),
        job.output,
        bit_depth=job.bit_depth,
        alpha=None if picture.alpha is None else part.of(picture.alpha),
        dpi=dpi,
        layout=layout,
        delivery=job.delivery,
        xmp=to_xmp(_as_delivered(made, job)) if made and is_told else None,
        author=read_authorship(part.source) if is_told else NOBODY,
        seed=_seed(job, made, picture.bit_depth),
    )


def painting_of(path: Path) -> Path:
    """The file of a painting: itself, or what the run of a run directory saved.

    Raises:
        RunDirectoryError: if the run is not finished, or its painting is gone.
    """
    if not path.is_dir():
        return path
    record = read_record(path)
    if not is_finished(path, record):
        raise RunDirectoryError(f"{path} is not finished: hires resume {path} paints the rest")
    painting = record.folder_of(path) / str(record.settings.get("output"))
    if not painting.is_file():
        raise RunDirectoryError(f"{path}: its painting {painting} is gone; name the file itself")
    return painting


def _require_source(source: Path, header: Header, bit_depth: int) -> None:
    """Refuse what cannot be delivered without loss from such a file."""
    if header.kind == "PDF" or header.space == "CMYK":
        what = "a PDF" if header.kind == "PDF" else "in CMYK"
        raise ImageError(f"cannot deliver from {source}: it is {what}; name a file in RGB")
    if header.bit_depth < bit_depth:
        raise ImageError(
            f"{source} has {header.bit_depth} bit, and a file of {bit_depth} made of it would hold"
            " no more: paint it with `deliver=master`, from which all else can be delivered"
        )


def _provenance(header: Header) -> Provenance | None:
    try:
        return from_xmp(header.xmp)
    except ProvenanceError:
        return None


def _recorded_print(made: Provenance | None) -> Print:
    """What a painting was painted for."""
    settings = {} if made is None else made.settings.get("print", {})
    try:
        return Print(**settings)
    except (TypeError, ConfigError):
        return Print()  # Of another version.


def _layout(asked: Print, recorded: Print, size: Size) -> Layout | None:
    """Where a painting of ``(height, width)`` lies on its paper, None without one."""
    if asked.paper is not None:
        return asked.layout(size)
    if recorded.paper is None:
        return None
    # The file is the sheet already, with the bleed and what pad left white.
    sheet = replace(recorded, dpi=asked.dpi or recorded.dpi).layout(size)
    return replace(sheet, painted=sheet.size, offset=(0, 0), window=Window(0, 0, *size))


def _painted_size(asked: Print, layout: Layout | None, window: Window, source: Path) -> Size:
    """What the painting is resampled to: its own pixels, unless a paper and fewer are asked for."""
    own = window.height, window.width
    if layout is None or asked.dpi is None:
        return own
    if max(layout.painted) > max(own):
        most = layout.dpi * max(own) / max(layout.painted)
        raise ConfigError(
            f"{source} has {most:.0f} dpi on {layout.paper.name}: give a `dpi` up to that or leave"
            f" it out, or paint it anew, larger"
        )
    return layout.painted


def _as_delivered(made: Provenance, job: DeliverJob) -> Provenance:
    """How the painting was made, and handed over."""
    asked = {name: settings_of(job)[name] for name in ("bit_depth", "delivery")}
    settings = {name: asked.get(name, value) for name, value in made.settings.items()}
    inputs = [one for one in made.inputs if one.role != "profile"]
    if Path(job.delivery.icc).is_file():
        inputs.append(hashed("profile", job.delivery.icc))
    return replace(made, settings=settings, inputs=tuple(inputs))


def _seed(job: DeliverJob, made: Provenance | None, bit_depth: int) -> int | None:
    """Of the dither for a lab. Levels that are kept as they are have nothing to be dithered."""
    if bit_depth == 8 and job.delivery.icc == "srgb":
        return None
    return made.seed if made is not None else 0
