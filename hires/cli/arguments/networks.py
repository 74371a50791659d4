"""What can be typed for commands of networks that paint in one pass. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from hires.cli.options import Typed
from hires.config.checks import bounded, check_fields
from hires.config.feedforward import ApplyConfig, TrainConfig
from hires.config.output import Delivery
from hires.config.paper import DPI_RANGE
from hires.errors import ConfigError


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
