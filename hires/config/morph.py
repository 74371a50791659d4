"""A strip of paintings from one style to another. No torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from hires.config.checks import bounded, given, leave_out
from hires.config.job import PaintJob
from hires.config.run import changed
from hires.config.values import LEAST_SIZE, parse_style_layer
from hires.errors import ConfigError

# Options of a single painting: its run is kept, and may be large.
_OF_PAINTING = (
    *("source", "save_every", "run_dir", "no_run_dir", "checkpoint_every", "preview"),
    *("finish", "tileable"),
)
_OF_SIZE = ("sizes", "cpu_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class MorphJob(PaintJob):
    """Paint a strip from one style to another: textures, or a photograph, in equal steps."""

    content: str | None = None
    """The photograph that is painted each time. Without it a texture is."""

    styles: tuple[str, ...]
    """Two paintings: the strip goes from the first to the second."""

    steps: int = bounded(7, 2, 99)
    """Number of pictures, side by side; the first and the last are those of one style alone."""

    size: int = bounded(512, LEAST_SIZE)
    """Long side of each picture in pixels."""

    frames: bool = False
    """Also save each picture by itself, as strip-1.jpg beside strip.jpg."""

    def __post_init__(self) -> None:
        """Refuse what is for a single painting, and settle the size."""
        if len(self.styles) != 2:
            raise ConfigError("a strip goes from one style to another: give two style pictures")
        unused = given(self, _OF_PAINTING) + given(self.guides, ("mask", "labels"))
        leave_out([*unused, *given(self.print, _fields(self.print))], "is for a single painting")
        config = self.config
        if not config.is_default("style_weights"):
            raise ConfigError("`style_weights` are what changes along the strip: leave it out")
        for text in config.style_layers:
            if parse_style_layer(text).number is not None:
                raise ConfigError(
                    f"layer '{text}': along the strip styles share all layers: leave @"
                )
        leave_out((name for name in _OF_SIZE if not config.is_default(name)), "is not for strips")
        object.__setattr__(self, "config", changed(config, size=self.size))
        super(MorphJob, self).__post_init__()

    def frame(self, number: int) -> PaintJob:
        """The painting of a number, from 1."""
        share = (number - 1) / (self.steps - 1)
        values = {field.name: getattr(self, field.name) for field in fields(PaintJob)}
        values["config"] = changed(self.config, style_weights=(1 - share, share))
        values["output"] = str(self.frame_path(number))
        return PaintJob(**values)

    def frame_path(self, number: int) -> Path:
        """``strip-2.jpg`` for ``strip.jpg``; as many digits as the last one has."""
        path, width = Path(self.output), len(str(self.steps))
        return path.with_name(f"{path.stem}-{number:0{width}}{path.suffix}")


def _fields(part: object) -> list[str]:
    return [field.name for field in fields(part)]  # type: ignore[arg-type]
