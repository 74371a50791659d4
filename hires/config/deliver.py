"""A finished painting for another purpose: which, where to, and how it is handed over. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hires.config.checks import check_fields
from hires.config.output import Delivery
from hires.config.paper import Print


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverJob:
    """Hand a finished painting over once more, for a lab or to keep: nothing is painted again."""

    painting: str
    """The painting's file, or the run directory that it was painted in."""

    output: str
    """Where to save, as .jpg .png .tif .webp or .pdf."""

    bit_depth: Literal[8, 16] = 8
    """Bits per channel of the file; 16 for PNG and TIFF only, and for a painting that has them."""

    quiet: bool = False
    """Print nothing but warnings and errors."""

    print: Print = field(default_factory=Print)
    """What to lay it out for. Without a paper it keeps its own, and dpi; nothing is enlarged."""

    delivery: Delivery = field(default_factory=Delivery)
    """How to hand it over."""

    def __post_init__(self) -> None:
        """Refuse options that contradict each other."""
        check_fields(self)
        self.delivery.depth(self.bit_depth)
