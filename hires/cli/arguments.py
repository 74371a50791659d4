"""What can be typed: the commands as dataclasses.

Options come from the fields of `hires.config.run.Config`, so that each exists once. No torch here:
help and mistakes must not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Union

from tyro.conf import OmitArgPrefixes, Positional, arg, subcommand

from hires.cli.forward_arguments import Apply, Export, Train
from hires.cli.parsing import AUTO, starting_config
from hires.config.job import Job, PaintJob
from hires.config.output import Delivery
from hires.config.paper import Print
from hires.config.presets import PRESETS
from hires.config.run import Config
from hires.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedJob(Job):
    """How the fields of a job are typed."""

    content: Positional[str]
    """The photograph: its scene is kept."""

    styles: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="STYLE [STYLE ...]", help_behavior_hint="(required)"),
    ]
    """One or more paintings: their strokes and colours are taken."""

    output: Annotated[str | None, arg(aliases=["-o"], metavar="PATH")] = None
    """Where a picture would be saved."""

    finish: Annotated[str | None, arg(metavar="MODEL")] = None
    """A super-resolution model for the last rung: paint at a fraction of --size, then enlarge."""

    config: OmitArgPrefixes[Config] = field(default_factory=starting_config)
    """How to paint."""

    print: OmitArgPrefixes[Print] = field(default_factory=Print)
    """What to paint for."""

    delivery: OmitArgPrefixes[Delivery] = field(default_factory=Delivery)
    """How to hand it over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(TypedJob):
    """Tell what stylize would take, rung by rung: steps, tiles, memory and time. Paints nothing."""

    output: Annotated[str | None, arg(aliases=["-o"], metavar="PATH")] = None
    """If given, also check that a picture can be saved there, and how long that takes."""

    no_probe: bool = False
    """Measure nothing on this machine: memory by arithmetic, no times."""

    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stylize(TypedJob, PaintJob):
    """Paint a photograph in the style of one or more paintings."""

    output: Annotated[str, arg(aliases=["-o"], metavar="PATH")]
    """Where to save, as .jpg .png .tif .webp or .pdf. Ctrl-C saves what is painted by then."""

    source: Annotated[str | None, arg(name="from", metavar="FILE")] = None
    """Repeat the run that painted FILE, with its pictures and options but for those given here."""

    run_dir: Annotated[str | None, arg(metavar="DIR")] = None
    """Folder for checkpoints, losses and previews of the run. auto: beside the output, as .run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Go on with a run that was cut short; it ends with the same bytes as if it had not been."""

    directory: Positional[str]
    """Its run directory, such as painted.run."""

    anyway: bool = False
    """Continue on another machine or version too; the last bits may differ then."""

    quiet: bool = False
    """Print nothing but warnings and errors. Else progress goes to stderr, results to stdout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presets:
    """List the published systems that --preset knows, with their settings."""

    name: Positional[str | None] = None
    """Tell all about one of them."""

    json: bool = False
    """Print every setting in effect, as JSON."""

    def __post_init__(self) -> None:
        """Refuse what is no preset."""
        if self.name is not None and self.name not in PRESETS:
            raise ConfigError(f"preset '{self.name}': choose one of {', '.join(PRESETS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """Check this machine: versions, devices, and whether tiled painting is exact on it."""

    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """List the papers that --print knows, in millimetres, inches and pixels."""

    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """Tell what a finished file is, and how it was painted."""

    file: Positional[str]
    """A picture or PDF that hires saved."""

    json: bool = False
    """Print JSON, with every option of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Measure speed and memory of painting on this machine, each case in a process of its own."""

    features: tuple[str, ...] = ("compact",)
    """Feature networks: vgg19-shape (VGG-19 with random weights) or what stylize takes."""

    sizes: tuple[str, ...] = ("512", "1024", "2048")
    """Canvas sizes as WIDTHxHEIGHT, or one side of a square."""

    precisions: tuple[Literal["auto", "fp32", "bf16", "fp16"], ...] = ("auto",)
    """Arithmetics of the feature network."""

    tiles: tuple[str, ...] = (AUTO,)
    """Largest sides of a tile in pixels; auto: as the memory allows."""

    memory: str = Config().memory
    """Memory for feature maps."""

    device: str = Config().device
    """auto, cpu, cuda, cuda:N or mps."""

    repeats: int = 5
    """Timed steps of every case."""

    ladder: bool = False
    """Also paint whole pictures of these sizes, with the default settings."""

    output: Annotated[str | None, arg(aliases=["-o"], metavar="PATH")] = None
    """Where to save: NAME.json, or a folder for JSON, Markdown and plots."""

    compare: Annotated[tuple[str, ...], arg(metavar="BEFORE.json AFTER.json")] = ()
    """Measure nothing; print the ratios of two saved runs."""

    def __post_init__(self) -> None:
        """Refuse options that a comparison would ignore."""
        if self.compare and (len(self.compare) != 2 or replace(self, compare=()) != Bench()):
            raise ConfigError("--compare takes two files, BEFORE.json AFTER.json, and nothing else")


# What tyro reads; the type checkers' name for it is ``Stylize | Resume | Plan | ... | Presets``.
COMMANDS: Any = Union[  # noqa: UP007
    Annotated[Stylize, subcommand("stylize")],
    Annotated[Resume, subcommand("resume")],
    Annotated[Plan, subcommand("plan")],
    Annotated[Papers, subcommand("papers")],
    Annotated[Inspect, subcommand("inspect")],
    Annotated[Doctor, subcommand("doctor")],
    Annotated[Bench, subcommand("bench")],
    Annotated[Presets, subcommand("presets")],
    Annotated[Train, subcommand("train")],
    Annotated[Apply, subcommand("apply")],
    Annotated[Export, subcommand("export")],
]

DESCRIPTION = """\
Paint a photograph in the style of a painting, at any size.

hires COMMAND --help lists the options of a command, hires --version tells the version.

Exit codes: 0 done, 1 the doctor found a fault, 2 something to mend, 130 interrupted,
141 nobody reads the output.
"""
