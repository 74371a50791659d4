"""What can be typed for commands that look, tell and measure. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from hires.cli.options import AUTO, Typed
from hires.config.checks import bounded
from hires.config.presets import PRESETS
from hires.config.run import Config
from hires.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Presets:
    """List the looks and published systems that --preset knows, with their settings."""

    name: Annotated[str | None, Typed(positional=True)] = None
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

    file: Annotated[str, Typed(positional=True)]
    """A picture or PDF that hires saved."""

    json: bool = False
    """Print JSON, with every option of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Measure paintings of one photograph in one style side by side, by what no loss asks for."""

    content: Annotated[str, Typed(positional=True)]
    """The photograph."""

    style: Annotated[str, Typed(positional=True)]
    """The painting whose style they have."""

    results: Annotated[tuple[str, ...], Typed(positional=True, metavar="RESULT [RESULT ...]")]
    """What was painted, by hires or anything else."""

    output: Annotated[str | None, Typed(short="-o", metavar="PATH")] = None
    """Where to save a sheet: all of them whole, and pixel by pixel."""

    choose: Annotated[str | None, Typed(metavar="PAGE.html")] = None
    """Where to save a page on which people choose the better of two without knowing which it is."""

    features: tuple[str, ...] = ("compact",)
    """Networks that look at the scene: compact, vgg19, vgg16, or paths of checkpoints."""

    json: bool = False
    """Print JSON instead of a table."""

    def __post_init__(self) -> None:
        """Refuse a comparison of nothing."""
        if not self.results:
            raise ConfigError("missing RESULT: give at least one painting after STYLE")
        if self.choose is not None and len(self.results) < 2:
            raise ConfigError("`choose` needs two paintings or more")


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

    memory: str = "2GiB"
    """Memory for feature maps."""

    device: str = Config().device
    """auto, cpu, cuda, cuda:N or mps."""

    repeats: int = bounded(5, 1)
    """Timed steps of every case."""

    ladder: bool = False
    """Also paint whole pictures of these sizes, with the default settings."""

    output: Annotated[str | None, Typed(short="-o", metavar="PATH")] = None
    """Where to save: NAME.json, or a folder for JSON, Markdown and plots."""

    compare: Annotated[tuple[str, ...], Typed(metavar="BEFORE.json AFTER.json")] = ()
    """Measure nothing; print the ratios of two saved runs."""

    def __post_init__(self) -> None:
        """Refuse options that a comparison would ignore."""
        if self.compare and (len(self.compare) != 2 or replace(self, compare=()) != Bench()):
            raise ConfigError("--compare takes two files, BEFORE.json AFTER.json, and nothing else")
