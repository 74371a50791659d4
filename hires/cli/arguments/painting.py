"""What can be typed for commands that paint. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partial
from typing import Annotated, Literal

from hires.cli.options import Typed
from hires.config.batch import TABLES, shard_of
from hires.config.checks import bounded, check_fields, given, leave_out
from hires.config.job import Job, PaintJob
from hires.config.output import Delivery
from hires.config.paper import Print
from hires.config.run import Config
from hires.config.values import LEAST_SIZE, parse_bytes, parse_rate
from hires.config.variations import variations
from hires.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Texture(PaintJob):
    """Paint a texture from noise: the strokes and colours of one or more paintings, no scene."""

    content: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variations(PaintJob):
    """Paint a contact sheet of small paintings that differ, to choose from, or the one chosen."""

    output: Annotated[str, Typed(short="-o", metavar="PATH")] = "variations.jpg"
    """Where to save the sheet, or the painting that --pick names."""

    pick: int | None = bounded(None, 1)
    """Paint the variation of this number, as large as --size or --print says. auto: the sheet."""

    side: int = bounded(512, LEAST_SIZE)
    """Long side of the sheet's pictures in pixels, at most: each stands at such a rung."""

    pictures: Annotated[str | None, Typed(metavar="DIR")] = None
    """Also save the sheet's pictures in this folder, each once it is painted, as 1.jpg, 2.jpg."""

    fixed: tuple[str, ...] = ()
    """What is the same in all variations because it was typed."""

    def __post_init__(self) -> None:
        """Refuse options of the painting for a sheet, and numbers that no variation has."""
        super(Variations, self).__post_init__()
        count = len(variations(self, self.fixed))
        if self.pick is None:
            of_painting = given(self, _OF_PAINTING) + given(self.delivery, _OF_DELIVERY)
            leave_out(of_painting, "is for the painting that `pick` names")
        elif not given(self, ["output"]):
            raise ConfigError("`pick` paints a picture: say where to save it with `output`")
        elif self.pick > count:
            raise ConfigError(f"`pick` is {self.pick}: there are {count} variations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Paint many pictures, one after the other; the same again goes on where it was stopped."""

    jobs: Annotated[str, Typed(positional=True)]
    """A folder of photographs, or a table of jobs (.csv, .jsonl) with a column for each option."""

    styles: Annotated[tuple[str, ...], Typed(metavar="STYLE [STYLE ...]")] = ()
    """Paintings, or folders of them: each photograph is painted in the style of each."""

    output: Annotated[str, Typed(short="-o", metavar="DIR")]
    """Folder for the paintings, summary.csv and a contact sheet; made if it is missing."""

    pattern: str = "{content}-{style}.jpg"
    """Names of the paintings, where the table has none; {number} is the job's."""

    recursive: bool = False
    """Search folders with all that lie in them."""

    shard: str | None = None
    """Which part of the jobs to paint, as 3/16. auto: that of Slurm's array or torchrun, or all."""

    no_sheet: bool = False
    """Make no contact sheet."""

    bit_depth: Literal[8, 16] = 8
    """Bits per channel of the saved pictures; 16 for PNG and TIFF only."""

    no_run_dir: bool = False
    """Keep no run directories; a painting that is cut short begins anew."""

    quiet: bool = False
    """Print nothing but warnings and errors. Else progress goes to stderr, results to stdout."""

    config: Config = field(default_factory=Config)
    """How to paint."""

    print: Print = field(default_factory=Print)
    """What to paint for."""

    delivery: Delivery = field(default_factory=Delivery)
    """How to hand it over."""

    def __post_init__(self) -> None:
        """Refuse what would paint everything anew each time, and photographs without a style."""
        check_fields(self)
        self.delivery.depth(self.bit_depth)
        shard_of(self.shard, {})
        if self.delivery.no_metadata:
            raise ConfigError("`no_metadata` leaves no trace of what is done: leave it out")
        if not self.is_table and not self.styles:
            raise ConfigError("missing `styles`: give paintings, or a folder of them")

    @property
    def is_table(self) -> bool:
        """Whether the jobs are those of a table."""
        return self.jobs.lower().endswith(TABLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Job):
    """Tell what stylize would take, rung by rung: steps, tiles, memory and time. Paints nothing."""

    output: str | None = None
    """If given, also check that a picture can be saved there, and how long that takes."""

    no_probe: bool = False
    """Measure nothing on this machine: memory by arithmetic, no times."""

    json: bool = False
    """Print JSON instead of a table."""

    texture: bool = False
    """Tell what hires texture would take: there is no CONTENT, all pictures are styles."""

    processes: int = 1
    """Also tell what each of so many processes would take of the last rung (docs/clusters.md)."""

    device_memory: str | None = None
    """Memory of the device of each process, such as 80GiB; without it, that of this machine."""

    link: str | None = None
    """What a process sends in a second, such as 400GB/s; without it, links take no time."""

    flops: str | None = None
    """What a device reaches in whole steps, such as 300TFLOP/s, in place of a measurement here; to
    that come 2 ms a step for messages and roots of covariances."""

    def __post_init__(self) -> None:
        """Refuse what a run refuses."""
        if self.processes < 1:
            raise ConfigError(f"`processes` must be at least 1, got {self.processes}")
        for text, parse in (
            (self.device_memory, parse_bytes),
            (self.link, partial(parse_rate, unit="B")),
            (self.flops, partial(parse_rate, unit="FLOP")),
        ):
            if text is not None:
                parse(text)
        if self.texture and self.content is not None:
            object.__setattr__(self, "styles", (self.content, *self.styles))
            object.__setattr__(self, "content", None)
        super(Plan, self).__post_init__()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Go on with a run that was cut short; it ends with the same bytes as if it had not been."""

    directory: Annotated[str, Typed(positional=True)]
    """Its run directory, such as painted.run."""

    anyway: bool = False
    """Continue on another machine or version too; the last bits may differ then."""

    quiet: bool = False
    """Print nothing but warnings and errors. Else progress goes to stderr, results to stdout."""


# Options of `Variations` that change a painting's file, but no picture of a sheet.
_OF_PAINTING = (
    *("bit_depth", "save_every", "run_dir", "no_run_dir", "checkpoint_every", "preview"),
)
_OF_DELIVERY = tuple(field.name for field in fields(Delivery) if field.name != "no_metadata")
