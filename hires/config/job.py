"""What is painted, from what, and for what: files in, a file out. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hires.config.checks import bounded, check_fields, given, leave_out
from hires.config.guides import Guides
from hires.config.output import Delivery
from hires.config.paper import Print
from hires.config.run import Config
from hires.config.texture import parse_aspect, texture_config
from hires.config.together import check_guides
from hires.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is painted, from what, and for what."""

    content: str | None
    """The photograph: its scene is kept. A texture has none."""

    styles: tuple[str, ...]
    """One or more paintings: their strokes and colours are taken."""

    aspect: str = "1:1"
    """Shape of a texture as WIDTH:HEIGHT; --size is its long side."""

    tileable: bool = False
    """Let the borders of a texture meet, so that it can be repeated side by side."""

    output: str | None = None
    """Where a picture would be saved."""

    bit_depth: Literal[8, 16] = 8
    """Bits per channel of the saved picture; 16 for PNG and TIFF only."""

    finish: str | None = None
    """A super-resolution model for the last rung: paint at a fraction of --size, then enlarge."""

    quiet: bool = False
    """Print nothing but warnings and errors. Else progress goes to stderr, results to stdout."""

    config: Config = field(default_factory=Config)
    """How to paint."""

    guides: Guides = field(default_factory=Guides)
    """Which part to paint how."""

    print: Print = field(default_factory=Print)
    """What to paint for."""

    delivery: Delivery = field(default_factory=Delivery)
    """How to hand it over."""

    def __post_init__(self) -> None:
        """Refuse a run without a style, and options that contradict each other."""
        if not self.styles:
            after = " after CONTENT" if self.content is not None else ""
            raise ConfigError(f"missing STYLE: give at least one style picture{after}")
        check_fields(self)
        if self.content is None:
            self._check_texture()
            of_texture = texture_config(self.config, tileable=self.tileable)
            object.__setattr__(self, "config", of_texture)
        else:
            leave_out(given(self, ("aspect", "tileable")), "is for textures, without a content")
        check_guides(self.guides, self.config, self.content, self.styles)
        self.delivery.depth(self.bit_depth)
        for option in ("size", "sizes", "cpu_size"):
            if self.print.paper is not None and not self.config.is_default(option):
                raise ConfigError(
                    f"`paper={self.print.paper}` and `dpi` say how large the painting is:"
                    f" leave `{option}` out"
                )

    def _check_texture(self) -> None:
        """Refuse what a texture has no use for."""
        parse_aspect(self.aspect)
        if self.print.paper is not None:
            leave_out(given(self, ("aspect",)), f"is that of `paper={self.print.paper}`")
            leave_out(given(self.print, ("fit", "gravity")), "does nothing: a texture has no scene")
        if self.tileable and self.print.paper is not None:
            raise ConfigError(
                "`tileable` needs sides that a paper does not have: give `size` (and `dpi`) in"
                " place of `paper`"
            )
        if self.tileable and self.finish is not None:
            raise ConfigError("`finish` knows no wrapping: leave it or `tileable` out")

    def files(self) -> tuple[tuple[str, str], ...]:
        """Role and path of every file that the run reads."""
        optional = (
            ("init", self.config.init),
            ("features", self.config.features),
            ("finish", self.finish or ""),
            ("profile", self.delivery.icc),
        )
        return (
            *(() if self.content is None else (("content", self.content),)),
            *(("style", style) for style in self.styles),
            *self.guides.files(),
            *((role, path) for role, path in optional if Path(path).is_file()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintJob(Job):
    """Paint a photograph in the style of one or more paintings."""

    output: str
    """Where to save, as .jpg .png .tif .webp or .pdf. Ctrl-C saves what is painted by then."""

    source: str | None = None
    """Repeat the run that painted FILE, with its pictures and options but for those given here."""

    save_every: int | None = bounded(None, 1)
    """Also save the picture every so many steps, as out-0020.jpg beside out.jpg. auto: never."""

    run_dir: str | None = None
    """Folder for checkpoints, losses and previews of the run. auto: beside the output, as .run."""

    no_run_dir: bool = False
    """Keep no run directory; a run that is cut short cannot be resumed then."""

    checkpoint_every: float | None = bounded(None, 0, math.inf, "seconds")
    """Seconds between checkpoints. auto: as often as 2% of the time allows."""

    preview: bool = False
    """Stop at about one megapixel and show on a 1:1 crop how the final strokes will look."""

    def __post_init__(self) -> None:
        """Refuse a run without a style, options of a run directory that is not kept, and such."""
        super(PaintJob, self).__post_init__()
        for name in ("run_dir", "checkpoint_every"):
            if self.no_run_dir and getattr(self, name) is not None:
                raise ConfigError(f"`no_run_dir` keeps no checkpoints: leave `{name}` out")


# Fields of `PaintJob` that do not change the picture: they are not recorded in its file, so that
# the same run gives the same file wherever it is saved.
NOT_OF_THE_PICTURE = (
    "output",
    "quiet",
    "source",
    "save_every",
    "run_dir",
    "no_run_dir",
    "checkpoint_every",
    "preview",
)
