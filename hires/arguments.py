"""What can be typed: the commands as dataclasses.

Options come from the fields of `hires.config.Config`, so that each exists once. No torch here: help
and mistakes must not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Union

from tyro.conf import OmitArgPrefixes, Positional, arg, subcommand

from hires.config import Config, ConfigError
from hires.forward_arguments import Apply, Export, Train
from hires.parsing import AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Show the sizes, steps, tiles and memory that stylize would take, and stop."""

    content: Positional[str]
    """The photograph: its scene is kept."""

    styles: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="STYLE [STYLE ...]", help_behavior_hint="(required)"),
    ]
    """One or more paintings: their strokes and colours are taken."""

    output: Annotated[str | None, arg(aliases=["-o"], metavar="PATH")] = None
    """If given, also check that a picture can be saved there."""

    bit_depth: Literal[8, 16] = 8
    """Bits per channel of the saved picture; 16 for PNG and TIFF only."""

    finish: Annotated[str | None, arg(metavar="MODEL")] = None
    """A super-resolution model for the last rung: paint at a fraction of --size, then enlarge."""

    quiet: bool = False
    """Print nothing but warnings and errors. Else progress goes to stderr, results to stdout."""

    config: OmitArgPrefixes[Config] = field(default_factory=Config)
    """How to paint."""

    def __post_init__(self) -> None:
        """Refuse a run without a style."""
        if not self.styles:
            raise ConfigError("missing STYLE: give at least one style picture after CONTENT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stylize(Plan):
    """Paint a photograph in the style of one or more paintings."""

    output: Annotated[str, arg(aliases=["-o"], metavar="PATH")]
    """Where to save, as .jpg .png .tif or .webp. Ctrl-C saves what is painted by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """Check this machine: versions, devices, and whether tiled painting is exact on it."""

    json: bool = False
    """Print JSON instead of a table."""


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


# What tyro reads; the type checkers' name for it is ``Stylize | Plan | Doctor | Bench``.
COMMANDS: Any = Union[  # noqa: UP007
    Annotated[Stylize, subcommand("stylize")],
    Annotated[Plan, subcommand("plan")],
    Annotated[Doctor, subcommand("doctor")],
    Annotated[Bench, subcommand("bench")],
    Annotated[Train, subcommand("train")],
    Annotated[Apply, subcommand("apply")],
    Annotated[Export, subcommand("export")],
]

DESCRIPTION = """\
Paint a photograph in the style of a painting, at any size.

hires COMMAND --help lists the options of a command, hires --version tells the version.

Exit codes: 0 done, 1 the doctor found a fault, 2 something to mend, 130 interrupted.
"""
