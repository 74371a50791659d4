"""Brush sizes: how large styles are looked at, so that their broadest strokes have a width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hires.config.brush import brush_pixels, told_width
from hires.config.run import Config
from hires.engine.ladder import MOST_ENLARGED, Rung, Size
from hires.errors import ConfigError
from hires.image.originals import Original
from hires.image.strokes import stroke_width

# An enlarged style is told to be soft from this factor on.
_SOFT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Brush:
    """A width that the broadest strokes of all styles shall have.

    Attributes:
        width: in pixels of the last rung.
        dpi: pixels per inch there; None if nobody knows.
        strokes: width of the broadest strokes of each style, in its own pixels.
        scales: of each style, in place of ``style_scale``.
    """

    width: float
    dpi: float | None
    strokes: tuple[float, ...]
    scales: tuple[float, ...]

    def told(self, pixels: float) -> str:
        """A width for people."""
        return told_width(pixels, self.dpi)


def brush_of(
    config: Config,
    styles: Sequence[Original],
    last: Size,
    *,
    dpi: float | None = None,
    enlarged: float = 1.0,
) -> Brush | None:
    """What ``config.brush_size`` asks of the styles; None if it asks nothing.

    Args:
        config: how to paint.
        styles: as they are looked at.
        last: ``(height, width)`` of the last rung.
        dpi: pixels per inch there; None if nobody knows.
        enlarged: how many times the painting is enlarged when it is finished.

    Raises:
        ConfigError: for a brush that is wider than the painting, a length without a resolution,
            or a style without strokes.
    """
    if config.brush_size is None:
        return None
    width = brush_pixels(config.brush_size, dpi, enlarged=enlarged)
    if width > min(last):
        sides = " x ".join(told_width(side, dpi) for side in (last[1], last[0]))
        raise ConfigError(
            f"`brush_size={config.brush_size}` is wider than the painting of {sides}: give a"
            " smaller one"
        )
    strokes = []
    for i, style in enumerate(styles, start=1):
        found = stroke_width(style.pixels, style.mask)
        if found is None:
            raise ConfigError(
                f"style {i} has no strokes that could be measured: leave `brush_size` out"
            )
        strokes.append(found)
    scales = tuple(
        width / max(last) * max(style.size) / stroke
        for style, stroke in zip(styles, strokes, strict=True)
    )
    return Brush(width=width, dpi=dpi, strokes=tuple(strokes), scales=scales)


def about_brush(brush: Brush | None, styles: Sequence[Size], rungs: Sequence[Rung]) -> list[str]:
    """What to tell of styles that have too few pixels for a brush.

    Args:
        brush: what they are asked for; None for nothing.
        styles: ``(height, width)`` of each.
        rungs: the ladder.

    Raises:
        ConfigError: for a style that could have such strokes at no size of the ladder.
    """
    if brush is None:
        return []
    told, (first, last) = [], (max(rungs[i].size) for i in (0, -1))
    for i, (style, stroke) in enumerate(zip(styles, brush.strokes, strict=True), start=1):
        what = (
            f"style {i} is {style[1]}x{style[0]} and its broadest strokes are {stroke:.3g} px wide:"
        )
        most = stroke * MOST_ENLARGED
        wanted, enough = brush.told(brush.width), brush.told(most)
        if brush.width > most * last / first:
            raise ConfigError(
                f"{what} it cannot give a brush of {wanted}; give `brush_size` as at most"
                f" {brush.told(most * last / first)}, or a larger scan of it"
            )
        if brush.width > most:
            told.append(
                f"{what} at the last size it can give a brush of at most {enough}; strokes of"
                f" {wanted} are laid at smaller sizes only, and finer ones over them; a larger"
                " scan of it helps"
            )
        elif brush.width > stroke * _SOFT:
            told.append(
                f"{what} its own pixels give a brush of {brush.told(stroke)}; for {wanted} it is"
                f" enlarged {brush.width / stroke:.1f} times, and strokes will look soft; a larger"
                " scan of it helps"
            )
    return told
