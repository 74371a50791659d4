"""What the user should know of a ladder before it is climbed. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from hires.config.run import Config
from hires.config.values import counted
from hires.engine.ladder import Rung, Size, least_first, measured, style_size
from hires.errors import ConfigError

# A picture is told to be small where it is to be larger than this many times its own size.
_FEW_PIXELS = 2


def about_ladder(
    config: Config,
    rungs: Sequence[Rung],
    content: Size,
    styles: Sequence[Size],
    *,
    dpi: float | None = None,
    is_part: bool = False,
    has_brush: bool = False,
) -> tuple[str, ...]:
    """What the user should know before the run starts.

    Args:
        config: how to paint.
        rungs: the ladder.
        content: ``(height, width)`` of the content picture.
        styles: ``(height, width)`` of each style.
        dpi: pixels per inch of the print, if it is one.
        is_part: whether the content is what lies on a paper of a larger picture.
        has_brush: whether the sizes of styles follow from a brush, of which others tell.
    """
    found = idle(config, rungs)
    height, width = rungs[-1].size
    if max(content) * _FEW_PIXELS < max(height, width):
        times = max(height, width) / max(content)
        what = "the part of the content that lies on the paper" if is_part else "the content"
        found.append(
            f"{what} is {content[1]}x{content[0]} and is painted at {width}x{height}: its"
            f" scene will be {times:.1f} times coarser than the painting; a larger photograph helps"
        )
    for i, style in enumerate(() if has_brush else styles, start=1):
        found += _about_style(f"style {i} is {style[1]}x{style[0]}", style, config, rungs[-1], dpi)
    return tuple(found)


def about_rounding(last: Rung, asked: Size, unit: int, *, is_exact: bool) -> list[str]:
    """What to tell of a canvas that wraps and has another size than was asked for.

    Args:
        last: the last rung.
        asked: ``(height, width)``.
        unit: what its sides are multiples of.
        is_exact: whether nothing but that size will do.

    Raises:
        ConfigError: if so.
    """
    height, width = last.size
    if last.size == asked or not last.wrap:
        return []
    told = f"{asked[1]}x{asked[0]} px cannot wrap, sides have to be multiples of {unit} px"
    if is_exact:
        raise ConfigError(f"{told}: give {width}x{height}")
    return [f"{told}: {width}x{height} is painted"]


def idle(config: Config, rungs: Sequence[Rung]) -> list[str]:
    """Options that were given and do nothing on this ladder."""
    found = []
    last, steps = rungs[-1].size, max(rung.num_iterations for rung in rungs)

    def is_given(name: str) -> bool:
        return not config.is_default(name)

    least = min(least_first(config, last), measured(config, last))
    first = config.min_size if is_given("min_size") else None
    if first is not None and first < least:
        found.append(
            f"`min_size={first}` is too small for the shape of the content:"
            f" the ladder begins at {measured(config, rungs[0].size)} px"
        )
    elif first is not None and first < measured(config, last) and len(rungs) == 1:
        found.append(
            f"`min_size={first}` does nothing: the last size is so close to it that"
            " it is painted at once"
        )
    late = [every for every in config.decay_every if every >= steps]
    if is_given("decay_every") and late and len(late) == len(config.decay_every):
        found.append(
            f"`decay_every={late[0]}` does nothing: no size takes more than"
            f" {counted(steps, 'step')}"
        )
    if config.restart is not None and is_given("restart") and config.restart >= steps:
        found.append(
            f"`restart={config.restart}` does nothing: no size takes more than"
            f" {counted(steps, 'evaluation')}"
        )
    if is_given("optimizer_state") and config.optimizer_state == "fresh" and len(rungs) == 1:
        found.append("`optimizer_state=fresh` does nothing where there is one size only")
    return found


def _about_style(
    what: str, style: Size, config: Config, last: Rung, dpi: float | None
) -> tuple[str, ...]:
    """Whether it has too few pixels for the last rung: too fine strokes then, or soft ones."""
    wanted = max(last.size) * config.style_scale
    found = max(style_size(config, style, last.size))
    if found * _FEW_PIXELS < wanted:
        return (
            f"{what} and is measured at {found} px, not at {wanted:.0f}: the last strokes will be"
            f" {wanted / found:.1f} times finer than the painting's own"
            f"{_on_paper(found, config, dpi)}; a larger scan of it helps",
        )
    if found > max(style) * _FEW_PIXELS:
        return (
            f"{what} and is enlarged to {found} px: the last strokes will look soft;"
            " a larger scan of it helps",
        )
    return ()


def _on_paper(side: int, config: Config, dpi: float | None) -> str:
    """How large the painting would have to hang for its strokes to be as fine as the print's."""
    if dpi is None:
        return ""
    centimetres = side / config.style_scale / dpi * 2.54
    return f", as if it were {centimetres:.0f} cm large"
