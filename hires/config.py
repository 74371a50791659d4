"""Frozen dataclasses that describe a run: every default, allowed value and help, once. No torch.

The command line is generated from these fields; the string under a field is its help text, in which
``auto`` stands for the default of a field that may be None or empty.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Literal

BINARY_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class ConfigError(ValueError):
    """A setting that the user can mend; the message names it and what is allowed."""


def parse_bytes(text: str) -> int:
    """Turn ``2GiB``, ``512M`` or ``1000000`` into bytes (units are powers of 1024).

    Raises:
        ConfigError: if the text is not a positive amount of memory.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([KMGT]?)(i?B)?\s*", text, re.IGNORECASE)
    amount = float(match[1]) * BINARY_UNITS[match[2].upper()] if match else 0
    if amount < 1:
        raise ConfigError(f"memory '{text}' is not an amount: write for example 2GiB or 512MiB")
    return int(amount)


def format_bytes(amount: float) -> str:
    """Write an amount of memory for people: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.2f} GiB"


def parse_layer(text: str) -> tuple[str, float]:
    """Turn ``relu4_1`` or ``relu4_1:0.5`` into a name and a weight (1 if not given).

    Raises:
        ConfigError: if the weight is not a finite number of at least zero.
    """
    name, _, weight = text.partition(":")
    try:
        value = float(weight or 1)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0 and name):
        raise ConfigError(f"layer '{text}': write NAME or NAME:WEIGHT with a weight of 0 or more")
    return name, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How to paint. Validates itself; every error is a `ConfigError` that says what is allowed."""

    size: int = 1024
    """Long side of the painting in pixels."""

    min_size: int = 256
    """Long side of the first rung of the ladder in pixels."""

    sizes: tuple[int, ...] = ()
    """Long sides of all rungs, from small to large, in place of --size and --min-size."""

    iterations: tuple[int, ...] = ()
    """Steps per rung, from small to large; the last number repeats. auto: fewer as rungs grow."""

    style_weights: tuple[float, ...] = ()
    """Share of each style picture when there are several. auto: equal shares."""

    content_weight: float = 0.025
    """How strongly the scene of the content picture is kept."""

    style_weight: float = 1.0
    """How strongly the style's textures and strokes are asked for."""

    tv_weight: float = 1.0
    """How strongly pixel noise is smoothed away (total variation)."""

    style_loss: Literal["gram", "meanstd", "wasserstein"] = "wasserstein"
    """Which statistic of the style is matched."""

    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """Layers that carry the style, as NAME or NAME:WEIGHT."""

    content_layers: tuple[str, ...] = ("relu4_2",)
    """Layers that carry the content, as NAME or NAME:WEIGHT."""

    features: str = "compact"
    """Feature network: compact (built in), vgg19, vgg16, or the path of a checkpoint."""

    pooling: Literal["max", "average", "l2"] = "max"
    """Pooling of the feature network."""

    optimizer: Literal["adam", "lbfgs"] = "adam"
    """Adam is lean and robust; L-BFGS needs fewer steps but several canvases of memory."""

    learning_rate: float | None = None
    """Step size. auto: 0.02 for Adam, 1 for L-BFGS."""

    average: float | None = None
    """Decay of the running average that Adam's result is; 0 switches it off. auto: 0.9."""

    style_scale: float = 1.0
    """Size of the style picture relative to the painting; smaller gives finer strokes."""

    init: str = "content"
    """What the first rung starts from: content, noise, or the path of a picture."""

    seed: int = 0
    """Seed of everything random."""

    memory: str = "2GiB"
    """Memory for feature maps; the tile size follows from it. The canvas itself comes on top."""

    tile: int | None = None
    """Largest side of a tile in pixels. auto: as large as the memory allows."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the feature network; auto is bf16 where that is fast."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N or mps."""

    def __post_init__(self) -> None:
        """Check every field on its own; what depends on pictures or machine is checked later."""
        _check_choices(self)
        _check_whole("size", self.size, 32)
        _check_whole("min_size", self.min_size, 32)
        self._check_sizes()
        for count in self.iterations:
            _check_whole("iterations", count, 1)
        _check_whole("seed", self.seed, 0)
        if self.tile is not None:
            _check_whole("tile", self.tile, 32)
        for name in ("content_weight", "style_weight", "tv_weight"):
            _check_number(name, getattr(self, name), least=0)
        for weight in self.style_weights:
            _check_number("style_weights", weight, least=0)
        if self.style_weights and not sum(self.style_weights):
            raise ConfigError("--style-weights are all 0: give at least one style some weight")
        _check_number("style_scale", self.style_scale, least=0.01)
        if self.learning_rate is not None:
            _check_number("learning_rate", self.learning_rate, least=1e-6)
        self._check_average()
        self._check_layers()
        parse_bytes(self.memory)

    def _check_sizes(self) -> None:
        for size in self.sizes:
            _check_whole("sizes", size, 32)
        if any(small >= large for small, large in pairwise(self.sizes)):
            given = " ".join(map(str, self.sizes))
            raise ConfigError(f"--sizes is {given}: give sizes that grow, each once")
        defaults = {field.name: field.default for field in fields(self)}
        for name in ("size", "min_size"):
            if self.sizes and getattr(self, name) != defaults[name]:
                raise ConfigError(f"--sizes names every size: leave {_flag(name)} out")

    def _check_average(self) -> None:
        if self.average is None:
            return
        _check_number("average", self.average, least=0)
        if self.average >= 1:
            raise ConfigError(f"--average is {self.average:g}: give a number from 0 up to 0.9999")
        if self.optimizer != "adam":
            raise ConfigError("--average applies to --optimizer adam only: leave it out")

    def _check_layers(self) -> None:
        if not (self.style_layers or self.content_layers):
            raise ConfigError("--style-layers and --content-layers are both empty: name a layer")
        for layers in (self.style_layers, self.content_layers):
            names = [parse_layer(layer)[0] for layer in layers]
            if len(set(names)) != len(names):
                raise ConfigError(f"a layer is named twice: {' '.join(layers)}")
            if layers and not any(parse_layer(layer)[1] for layer in layers):
                raise ConfigError(f"layers {' '.join(layers)} all weigh 0: give one some weight")

    @property
    def memory_bytes(self) -> int:
        """The memory budget in bytes."""
        return parse_bytes(self.memory)

    @property
    def schedule(self) -> tuple[int, float, int]:
        """Default steps: those of the first rung, the factor from rung to rung, the least."""
        return (300, 0.55, 50) if self.optimizer == "adam" else (200, 0.55, 30)

    @property
    def averaging(self) -> float:
        """Decay of the running average; 0 for none."""
        if self.optimizer != "adam":
            return 0.0
        return 0.9 if self.average is None else self.average

    @property
    def min_short_side(self) -> int:
        """Least short side of the first rung, in pixels: four positions of a stride-16 layer."""
        return 64

    def learning_rate_at(self, rung: int) -> float:  # noqa: ARG002
        """Step size at a rung, from 0; so far every rung has the same."""
        default = 0.02 if self.optimizer == "adam" else 1.0
        return default if self.learning_rate is None else self.learning_rate

    def style_shares(self, num_styles: int) -> tuple[float, ...]:
        """Weight of each style, summing to 1.

        Raises:
            ConfigError: if the number of weights is not that of the styles.
        """
        weights = self.style_weights or (1.0,) * num_styles
        if len(weights) != num_styles:
            raise ConfigError(
                f"--style-weights has {len(weights)} numbers for {num_styles} style pictures:"
                " give one for each"
            )
        return tuple(weight / sum(weights) for weight in weights)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


_CHOICES = {
    "style_loss": ("gram", "meanstd", "wasserstein"),
    "pooling": ("max", "average", "l2"),
    "optimizer": ("adam", "lbfgs"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
}


def _check_choices(config: Config) -> None:
    for name, allowed in _CHOICES.items():
        value = getattr(config, name)
        if value not in allowed:
            raise ConfigError(f"{_flag(name)} is '{value}': choose one of {', '.join(allowed)}")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        raise ConfigError(f"--device is '{config.device}': choose auto, cpu, cuda, cuda:N or mps")


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{_flag(name)} is {value}: give a whole number of at least {least}")


def _check_number(name: str, value: float, *, least: float) -> None:
    if not math.isfinite(value) or value < least:
        raise ConfigError(f"{_flag(name)} is {value:g}: give a number of at least {least:g}")
