"""How wide the broadest strokes of a painting are to be, as it is typed. No torch."""

from __future__ import annotations

import re

from hires.config.paper import MM_PER_INCH, parse_length
from hires.errors import ConfigError

Brush = float | str


def brush_pixels(brush: Brush, dpi: float | None = None, *, enlarged: float = 1.0) -> float:
    """Width of a brush in pixels of what is painted.

    Args:
        brush: pixels of the finished picture, as a number or as ``24px``; or a length on paper
            such as ``8mm``.
        dpi: pixels per inch of what is painted; None if nobody knows.
        enlarged: how many times the painting is enlarged when it is finished.

    Raises:
        ConfigError: for what is no width above 0, or a length where there is no resolution.
    """
    check_brush(brush)
    pixels = _pixels(brush)
    if pixels is not None:
        return pixels / enlarged
    if dpi is None:
        raise ConfigError(
            f"`brush_size={brush}` is a length on paper: give `paper` or `dpi`, or pixels such as"
            " 24px"
        )
    return parse_length(str(brush)) / MM_PER_INCH * dpi


def _pixels(brush: Brush) -> float | None:
    """The number of pixels; None for a length."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(?:px)?\s*", str(brush), re.IGNORECASE)
    return None if match is None else float(match[1])


def check_brush(brush: Brush) -> None:
    """Refuse what is no width.

    Raises:
        ConfigError: with what to write.
    """
    try:
        width = _pixels(brush)
        width = parse_length(str(brush)) if width is None else width
    except ConfigError:
        width = 0.0
    if not width:
        raise ConfigError(
            f"`brush_size` is {brush}: give a width above 0, such as 8mm on paper or 24px"
        )


def told_width(pixels: float, dpi: float | None) -> str:
    """``8.1 mm``, or ``24 px`` where there is no resolution."""
    if dpi is None:
        return f"{pixels:.2g} px" if pixels < 10 else f"{pixels:.0f} px"
    length = pixels / dpi * MM_PER_INCH
    return f"{length:.1f} mm" if length < 10 else f"{length:.0f} mm"
