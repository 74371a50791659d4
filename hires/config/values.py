"""Values that can be typed as text: amounts, sizes, layers, starts. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hires.errors import ConfigError

# The least side of a painting in pixels.
LEAST_SIZE = 32
# What a style can be asked for; `hires.engine.style_terms` makes terms of it.
STYLE_LOSSES = (
    "gram",
    "meanstd",
    "wasserstein",
    "central",
    "sliced",
    "neighbours",
    "transport",
    "gram-mse",
    "gram-sum",
)
# Blocks of a network whose style layers are matched to their nearest neighbours, at a quarter and
# an eighth of the canvas's size. What finer ones see, colour and edges, is much the same all over a
# style; deeper ones see whole objects, which are not to be taken over.
_MATCHED_BLOCKS = ("3", "4")
BINARY_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def counted(number: int, noun: str) -> str:
    """``1 step``, ``2 steps``."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun}" if number == 1 else f"{number} {plural}"


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


def parse_rate(text: str, unit: str) -> float:
    """Turn ``400GB/s`` or ``300TFLOP/s`` into a number per second (units are powers of 1000).

    Args:
        text: what was typed.
        unit: what is counted, ``B`` or ``FLOP``.

    Raises:
        ConfigError: if the text is no positive rate.
    """
    match = re.fullmatch(rf"\s*([0-9]*\.?[0-9]+)\s*([KMGTP]?){unit}/s\s*", text, re.IGNORECASE)
    amount = float(match[1]) * 1000 ** " KMGTP".index(match[2].upper() or " ") if match else 0.0
    if amount <= 0:
        raise ConfigError(f"'{text}' is not a rate: write for example 400G{unit}/s")
    return amount


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
    if not (math.isfinite(value) and value >= 0 and name) or "@" in name:
        raise ConfigError(f"layer '{text}': write NAME or NAME:WEIGHT with a weight of 0 or more")
    return name, value


def parse_loss(text: str) -> tuple[str, float]:
    """Turn ``gram`` or ``gram:0.5`` into the name of a style loss and its factor (1 if not given).

    Raises:
        ConfigError: if there is no such loss, or its factor is not a finite number above 0.
    """
    name, colon, factor = text.partition(":")
    if name not in STYLE_LOSSES:
        raise ConfigError(f"`style_loss` is '{name}': choose one of {', '.join(STYLE_LOSSES)}")
    try:
        value = float(factor) if colon else 1.0
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"`style_loss={text}`: write NAME or NAME:WEIGHT with a weight above 0")
    return name, value


@dataclass(frozen=True, slots=True)
class StyleLayer:
    """A layer that carries the style.

    Attributes:
        name: of the layer.
        weight: of its loss.
        number: of the style that it takes, from 1; None for all by their shares.
    """

    name: str
    weight: float
    number: int | None

    @property
    def depth(self) -> tuple[float, ...]:
        """Its block and its place there: of two layers the nearer to the pixels has the smaller."""
        return (*map(float, re.findall(r"\d+", self.name)), math.inf)

    def __str__(self) -> str:
        """As it is typed."""
        number = "" if self.number is None else f"@{self.number}"
        return self.name + number + ("" if self.weight == 1 else f":{self.weight!r}")


def parse_style_layer(text: str) -> StyleLayer:
    """Turn ``NAME[@NUMBER][:WEIGHT]``, such as ``relu4_1@2:0.5``, into a layer.

    Raises:
        ConfigError: if it cannot be read so.
    """
    match = re.fullmatch(r"([^@:]+)@([1-9][0-9]*)(:[^@]*)?", text)
    if match is None and "@" in text:
        raise ConfigError(f"layer '{text}': write NAME@NUMBER or NAME@NUMBER:WEIGHT, as relu1_1@2")
    name, weight = parse_layer(text if match is None else match[1] + (match[3] or ""))
    return StyleLayer(name, weight, None if match is None else int(match[2]))


def matched_layers(layers: Mapping[str, float]) -> dict[str, float]:
    """The style layers that are matched to their nearest neighbours, in place of all.

    Args:
        layers: what each counts, by names such as ``relu3_1``.
    """
    found = {name: weight for name, weight in layers.items() if name[4:5] in _MATCHED_BLOCKS}
    scale = sum(layers.values()) / (sum(found.values()) or 1.0)
    return {name: scale * weight for name, weight in found.items()}


def size_share(text: str) -> float:
    """Turn a size of ``content`` or ``50%`` into a share of the content picture's side.

    Raises:
        ConfigError: if it is neither.
    """
    if text == "content":
        return 1.0
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)%", text)
    if match is None:
        raise ConfigError(
            f"`size` is '{text}': give a whole number of pixels, content, or a share of it like 50%"
        )
    return float(match[1]) / 100


def parse_blend(init: str) -> float | None:
    """The share of noise in ``blend:0.3``; None for what is no blend.

    Raises:
        ConfigError: if the share is not a number from 0 to 1.
    """
    kind, _, text = init.partition(":")
    if kind != "blend":
        return None
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ConfigError(f"`init` is '{init}': write blend:0.3 for 0.3 of noise, from 0 to 1")
    return share
