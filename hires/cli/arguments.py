"""The commands as dataclasses: what can be typed for each. No torch.

Options that are settings come from the dataclasses of `hires.config`, so that each exists once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from hires.cli.options import AUTO, Typed
from hires.config.batch import TABLES, shard_of
from hires.config.checks import bounded, check_fields
from hires.config.feedforward import ApplyConfig, TrainConfig
from hires.config.job import Job, PaintJob
from hires.config.output import Delivery
from hires.config.paper import DPI_RANGE, Print
from hires.config.presets import PRESETS
from hires.config.run import Config
from hires.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Texture(PaintJob):
    """Paint a texture from noise: the strokes and colours of one or more paintings, no scene."""

    content: None = None


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
    """Of hires texture: there is no CONTENT, all pictures are styles."""

    def __post_init__(self) -> None:
        """Refuse what a run refuses."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Presets:
    """List the published systems that --preset knows, with their settings."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train a network once, to paint any photograph in one style in seconds, or to enlarge."""

    style: Annotated[str | None, Typed(positional=True)] = None
    """The painting to learn; none for --task super-resolution."""

    images: Annotated[tuple[str, ...], Typed(metavar="DIR [DIR ...]")]
    """Folders of photographs to practise on, with all below them; unreadable files are skipped."""

    output: Annotated[str, Typed(short="-o", metavar="NAME.safetensors")]
    """Where the model goes. Beside it: NAME.state, NAME.jsonl (losses) and NAME-samples."""

    resume: bool = False
    """Go on from NAME.state, where an earlier training stopped."""

    samples: Annotated[tuple[str, ...], Typed(metavar="PICTURE [PICTURE ...]")] = ()
    """Photographs for the sample pictures. Else some of the practice ones."""

    save_every: int = bounded(250, 1)
    """Steps between two saves of the model, the state and the sample pictures."""

    quiet: bool = False
    """Print nothing but warnings and errors. Else progress goes to stderr, results to stdout."""

    config: TrainConfig = field(default_factory=TrainConfig)
    """How to train."""

    def __post_init__(self) -> None:
        """Refuse a training without its pictures."""
        check_fields(self)
        if not self.images:
            raise ConfigError("--images is empty: give at least one folder of photographs")
        if self.config.task == "style" and self.style is None:
            raise ConfigError("missing STYLE: give the painting to learn after train")
        if self.config.task != "style" and self.style is not None:
            raise ConfigError(f"--task {self.config.task} learns no style: leave {self.style} out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Apply a trained model to photographs of any size, in seconds."""

    model: Annotated[str, Typed(positional=True)]
    """A model's path, or the name of one that comes with hires: impasto."""

    contents: Annotated[tuple[str, ...], Typed(positional=True, metavar="CONTENT [CONTENT ...]")]
    """Photographs: files, folders of them, or patterns such as 'holiday/*.jpg'."""

    recursive: bool = False
    """Search folders with all that lie in them; what is made lies in folders of the same names."""

    output: Annotated[str, Typed(short="-o", metavar="PATH|DIR")]
    """Where to save: a file for one photograph, else a folder, made if it is missing."""

    overwrite: bool = False
    """Make pictures anew that are in the folder already; else they are skipped."""

    bit_depth: Literal[8, 16] = 8
    """Bits per channel of the saved pictures; 16 for PNG and TIFF only."""

    dpi: float | None = bounded(None, *DPI_RANGE)
    """Pixels per inch, recorded in the file; a PDF needs it."""

    quiet: bool = False
    """Print nothing but warnings and errors. Else progress goes to stderr, results to stdout."""

    config: ApplyConfig = field(default_factory=ApplyConfig)
    """How to apply."""

    delivery: Delivery = field(default_factory=Delivery)
    """How to hand it over."""

    def __post_init__(self) -> None:
        """Refuse a call without a photograph, and options that contradict each other."""
        if not self.contents:
            raise ConfigError("missing CONTENT: give at least one photograph after MODEL")
        check_fields(self)
        self.delivery.depth(self.bit_depth)


# Options of `Apply` that do not change a picture: they are not recorded in its file.
NOT_OF_THE_APPLIED = ("contents", "recursive", "output", "overwrite", "quiet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Write a trained model as ONNX, for pictures of any size; tells what grain they need first."""

    model: Annotated[str, Typed(positional=True)]
    """A model's path, or the name of one that comes with hires: impasto."""

    output: Annotated[str, Typed(positional=True)]
    """Where to save, as .onnx."""


COMMANDS: dict[str, type] = {
    "stylize": PaintJob,
    "texture": Texture,
    "batch": Batch,
    "resume": Resume,
    "plan": Plan,
    "papers": Papers,
    "inspect": Inspect,
    "compare": Compare,
    "doctor": Doctor,
    "bench": Bench,
    "presets": Presets,
    "train": Train,
    "apply": Apply,
    "export": Export,
}

DESCRIPTION = """\
Paint a photograph in the style of a painting, at any size.

hires COMMAND --help lists the options of a command, hires --version tells the version.

Exit codes: 0 done, 1 the doctor found a fault, 2 something to mend, 130 interrupted,
141 nobody reads the output.
"""
