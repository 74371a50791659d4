"""What one benchmark case is: plain data that travels to a child process and into the JSON."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hires.config.run import Config
from hires.config.values import parse_bytes
from hires.errors import ConfigError

Kind = Literal["step", "ladder"]
VGG19_SHAPE = "vgg19-shape"
_DEFAULTS = Config()
# For feature maps, the same on every machine.
MEMORY = "2GiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement, made in a process of its own.

    Attributes:
        size: ``(height, width)`` of the canvas in pixels.
        features: ``vgg19-shape`` (VGG-19 to relu5_1 with random weights: no download), or what
            ``--features`` takes.
        style_loss: as ``--style-loss``.
        precision: as ``--precision``.
        device: as ``--device``.
        memory: budget for feature maps, as ``--memory``.
        tile: largest side of a tile in pixels; None for what the memory allows.
        num_kept: how many tiles keep their graphs; None for as many as the memory holds.
        kind: ``step`` times single steps at one size; ``ladder`` paints a whole picture.
        min_size: long side of the ladder's first rung in pixels (``ladder`` only).
        iterations: steps per rung (``ladder`` only); empty for the default schedule.
        warmup: steps before the timing starts (``step`` only).
        repeats: timed steps (``step`` only).
        learning_rate_decay: factor on the step size ... (``step`` only)
        decay_every: ... every so many steps; 0 for never.
    """

    size: tuple[int, int]
    features: str = _DEFAULTS.features
    style_loss: str = " ".join(_DEFAULTS.style_loss)
    precision: str = _DEFAULTS.precision
    device: str = _DEFAULTS.device
    memory: str = MEMORY
    tile: int | None = None
    num_kept: int | None = None
    kind: Kind = "step"
    min_size: int = 256
    iterations: tuple[int, ...] = ()
    warmup: int = 2
    repeats: int = 5
    learning_rate_decay: float = 1.0
    decay_every: int = 0

    @property
    def megapixels(self) -> float:
        """Size of the canvas in millions of pixels."""
        return self.size[0] * self.size[1] / 1e6

    @property
    def label(self) -> str:
        """Name for people: ``compact 1024x768 bf16``, and what departs from the defaults."""
        height, width = self.size
        parts = [Path(self.features).stem, f"{width}x{height}", self.precision]
        parts += [f"tile {self.tile}"] if self.tile else []
        parts += [f"{self.num_kept} kept"] if self.num_kept is not None else []
        parts += [self.memory] if self.memory != MEMORY else []
        parts += [self.style_loss] if self.style_loss != " ".join(_DEFAULTS.style_loss) else []
        decay = f"lr x{self.learning_rate_decay} every {self.decay_every}"
        parts += [decay] if self.decay_every else []
        parts += ["ladder"] if self.kind == "ladder" else []
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as it comes back from JSON."""
        return {**asdict(self), "size": list(self.size), "iterations": list(self.iterations)}

    def published(self) -> dict[str, Any]:
        """Plain data for a report: as `to_json`, but a checkpoint by its name, not by its path."""
        return {**self.to_json(), "features": Path(self.features).stem}


def case_from_json(fields: dict[str, Any]) -> Case:
    """Rebuild a case from what `Case.to_json` or `Case.published` gave."""
    height, width = fields["size"]
    return Case(
        **{**fields, "size": (height, width), "iterations": tuple(fields.get("iterations", ()))}
    )


def parse_size(text: str) -> tuple[int, int]:
    """Turn ``1024x768`` (width x height) or ``1024`` (a square) into ``(height, width)``.

    Raises:
        ConfigError: if the text is neither, or a side is shorter than 32 px.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower().replace("×", "x"))
    sides = [int(side) for side in match.groups() if side] if match else []
    if not sides or min(sides) < 32:
        raise ConfigError(
            f"size '{text}': write WIDTHxHEIGHT or one side of a square, at least 32 px"
        )
    return sides[-1], sides[0]


def parse_tile(text: str) -> int | None:
    """Turn ``auto`` into None and ``512`` into a number of pixels.

    Raises:
        ConfigError: if the text is neither.
    """
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 32:
        raise ConfigError(f"tile '{text}': write auto or a number of pixels of at least 32")
    return int(text)


def cases_of(
    *,
    features: Sequence[str] = ("compact",),
    sizes: Sequence[str] = ("512", "1024", "2048"),
    precisions: Sequence[str] = ("auto",),
    tiles: Sequence[str] = ("auto",),
    device: str = "auto",
    memory: str = MEMORY,
    repeats: int = 5,
    ladder: bool = False,
) -> list[Case]:
    """Every combination, small sizes first; with ``ladder`` whole pictures of those sizes as well.

    Raises:
        ConfigError: for a size, tile or memory that cannot be read, an empty list, or fewer than
            one repeat.
    """
    parse_bytes(memory)
    if not (features and sizes and precisions and tiles):
        raise ConfigError("nothing to measure: name at least one of each")
    if repeats < 1:
        raise ConfigError(f"`repeats` is {repeats}: give a whole number of at least 1")
    kinds: tuple[Kind, ...] = ("step", "ladder") if ladder else ("step",)
    parsed = sorted(map(parse_size, sizes), key=math.prod)
    combinations = itertools.product(kinds, features, precisions, map(parse_tile, tiles), parsed)
    same: dict[str, Any] = {"device": device, "memory": memory, "repeats": repeats}
    names = ("kind", "features", "precision", "tile", "size")
    fields: list[dict[str, Any]] = [dict(zip(names, one, strict=True)) for one in combinations]
    return [Case(**one, **same) for one in fields]
