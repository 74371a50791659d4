"""What a canvas is asked for: terms of the loss. docs/add_a_loss.md shows how to write one."""

from __future__ import annotations

from hires.losses.central import Central
from hires.losses.content import Content
from hires.losses.moments import Moments
from hires.losses.positions import PIXELS, Positions, View
from hires.losses.sliced import Sliced
from hires.losses.style import STYLE_LOSSES, Style
from hires.losses.terms import Measured, References, Statistics, Term, Verdict
from hires.losses.variation import TotalVariation

__all__ = [
    "PIXELS",
    "STYLE_LOSSES",
    "Central",
    "Content",
    "Measured",
    "Moments",
    "Positions",
    "References",
    "Sliced",
    "Statistics",
    "Style",
    "Term",
    "TotalVariation",
    "Verdict",
    "View",
]
