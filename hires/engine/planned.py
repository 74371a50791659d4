"""All that is decided of a run before its first step: settings, ladder, network, warnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hires.config.run import Config
from hires.engine import ladder
from hires.engine.brush import Brush, about_brush, brush_of
from hires.engine.colours import Chroma, recoloured
from hires.engine.ladder import Rung, Size
from hires.engine.ladder_check import check_ladder
from hires.engine.ladder_warnings import about_ladder, about_rounding
from hires.engine.resolve import Fitted
from hires.engine.run import Run
from hires.engine.setup import Setup, open_setup
from hires.engine.shared import check_device, check_shared, shared_setup
from hires.engine.snapshot import Snapshot
from hires.features.network import Network
from hires.image.guides import UNGUIDED, Guided
from hires.image.originals import Original, about_hidden, blank
from hires.image.strokes import stroke_width
from hires.losses.terms import Term
from hires.processes.group import Group
from hires.processes.mapped import mapped
from hires.processes.together import Alone


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PlannedRun:
    """A run of which everything is decided, and nothing painted yet.

    Attributes:
        setup: network, arithmetic and terms of the loss.
        config: how to paint, as it is on this machine.
        content: the content picture, in the colours that are looked at.
        styles: the styles, likewise.
        chroma: what the painting gets in the end, if anything.
        guides: which part of the content is painted how.
        rungs: the ladder.
        brush: what the styles' sizes follow from, if they do.
        warnings: what the user should know.
        group: the processes that paint together; None for this one alone.
    """

    setup: Setup
    config: Config
    content: Original
    styles: tuple[Original, ...]
    chroma: Chroma | None
    guides: Guided
    rungs: tuple[Rung, ...]
    brush: Brush | None
    warnings: tuple[str, ...]
    group: Group | None = None

    @property
    def photograph(self) -> Original:
        """The content picture in its own colours."""
        return self.content if self.chroma is None else self.chroma.content

    @property
    def style_sizes(self) -> list[Size]:
        """``(height, width)`` of each style."""
        return [style.size for style in self.styles]

    def broadest_strokes(self) -> tuple[float | None, ...]:
        """How wide those of each style are, in pixels of the last rung; None where it has none."""
        strokes: Sequence[float | None]
        if self.brush is None:
            strokes = [stroke_width(style.pixels, style.mask) for style in self.styles]
        else:
            strokes = self.brush.strokes
        sizes = self.rungs[-1].style_sizes
        return tuple(
            None if stroke is None else stroke * max(size) / max(style.size)
            for stroke, size, style in zip(strokes, sizes, self.styles, strict=True)
        )

    def start(self, resume: Snapshot | None = None) -> Run:
        """The run, from its beginning or from a snapshot, whose tensors it takes over."""
        return Run(
            self.setup,
            self.config,
            self.rungs,
            self.content,
            self.styles,
            chroma=self.chroma,
            guides=self.guides,
            warnings=self.warnings,
            resume=resume,
            group=self.group,
        )

    def shared(self, group: Group) -> PlannedRun:
        """The same, painted by several processes, with the memory of the one that has least.

        Raises:
            ConfigError: for what several processes cannot paint.
        """
        check_device(self.setup.device)
        check_shared(self.config, self.setup.terms, self.rungs, group.size)
        setup = shared_setup(self.setup, group)
        found = replace(self, setup=setup, group=group)
        return replace(found, **_mapped(found, group))

    def alone(self) -> PlannedRun:
        """The same, of which something is painted by this process while the others wait."""
        if self.group is None:
            return self
        setup = replace(self.setup, together=Alone(self.group), num_bands=1)
        return replace(self, setup=setup, group=None)


def _mapped(planned: PlannedRun, group: Group) -> dict[str, Any]:
    """Pictures as large as the photograph, in memory once for all processes of a machine."""
    content, chroma, guides = planned.content, planned.chroma, planned.guides
    colours = content if chroma is None else chroma.content
    seen = [content.pixels, content.mask, colours.pixels, guides.kept, guides.strictness]
    pixels, mask, others, kept, strictness = mapped(seen, group)
    assert pixels is not None
    assert others is not None
    found: dict[str, Any] = {"content": replace(content, pixels=pixels, mask=mask)}
    if chroma is not None:
        found["chroma"] = replace(chroma, content=replace(colours, pixels=others))
    return {**found, "guides": replace(guides, kept=kept, strictness=strictness)}


def plan_run(
    fitted: Fitted,
    content: Original | None,
    styles: Sequence[Original],
    *,
    guides: Guided = UNGUIDED,
    size: Size | None = None,
    dpi: float | None = None,
    enlarged: float = 1.0,
    is_part: bool = False,
    aspect: str = "1:1",
    tileable: bool = False,
    terms: Iterable[Term] = (),
    network: Network | None = None,
) -> PlannedRun:
    """Lay out the ladder, open the network, and see that every picture can be painted.

    Args:
        fitted: how to paint on this machine; a texture as `hires.config.texture` has it.
        content: the content picture; None for a texture.
        styles: the styles.
        guides: which part of the content is painted how.
        size: exact ``(height, width)`` of the painting, in place of the configuration's size.
        dpi: pixels per inch of the print, if it is one.
        enlarged: how many times the painting is enlarged when it is finished.
        is_part: whether the content is what lies on a paper of a larger picture.
        aspect: shape of a texture, as WIDTH:HEIGHT, unless ``size`` says it.
        tileable: whether the canvas of a texture wraps.
        terms: of the loss, beside those of the configuration.
        network: in place of the configuration's.

    Raises:
        ValueError: for settings or pictures that cannot be painted.
    """
    config, style_sizes = fitted.config, [style.size for style in styles]
    config.style_shares(len(styles))
    config.check_style_layers(len(styles))
    what = "the texture" if content is None else "the content"
    content = content or blank(size or ladder.texture_size(config, aspect))
    setup = _opened(config, guides, terms, network)
    rungs, brush = _ladder(config, content, styles, size, dpi=dpi, enlarged=enlarged)
    rungs = ladder.wrapping(rungs, *setup.wrap) if tileable else rungs
    names = [picture.name for picture in (content, *styles)]
    check_ladder(setup, config, rungs, content.size, style_sizes, names=names, what=what)
    told: dict[str, Any] = {"dpi": dpi, "is_part": is_part, "has_brush": brush is not None}
    rounded = about_rounding(rungs[-1], content.size, setup.wrap[1], is_exact=size is not None)
    notes = *rounded, *about_ladder(config, rungs, content.size, style_sizes, **told)
    notes = *about_brush(brush, style_sizes, rungs), *_about_home(setup, rungs), *notes
    how: dict[str, Any] = {"setup": setup, "config": config, "rungs": rungs, "brush": brush}
    return _recoloured(how, content, styles, guides, (*fitted.warnings, *notes))


def _recoloured(
    how: Mapping[str, Any],
    content: Original,
    styles: Sequence[Original],
    guides: Guided,
    warnings: tuple[str, ...],
) -> PlannedRun:
    """The run with its pictures in the colours that are looked at."""
    warnings = (*warnings, *about_hidden([content, *styles]), *guides.notes)
    content, styles, chroma = recoloured(how["config"], content, styles)
    return PlannedRun(
        content=content, styles=styles, chroma=chroma, guides=guides, warnings=warnings, **how
    )


def _ladder(
    config: Config,
    content: Original,
    styles: Sequence[Original],
    size: Size | None,
    **resolution: Any,
) -> tuple[tuple[Rung, ...], Brush | None]:
    """The rungs, and the brush that their styles are scaled for."""
    sizes = [style.size for style in styles]
    rungs = ladder.plan(config, content.size, sizes, size=size)
    brush = brush_of(config, styles, rungs[-1].size, **resolution)
    if brush is not None:
        asked: dict[str, Any] = {"brush": brush.width, "scales": brush.scales}
        rungs = ladder.plan(config, content.size, sizes, size=size, **asked)
    return rungs, brush


def _opened(
    config: Config, guides: Guided, terms: Iterable[Term], network: Network | None
) -> Setup:
    """Network, arithmetic and terms of the loss, and room for the regions' guides."""
    setup = open_setup(config, terms=terms, network=network)
    return replace(setup, num_regions=len(guides.regions))


def _about_home(setup: Setup, rungs: Sequence[Rung]) -> Iterator[str]:
    """From which size on the canvas lies in the host's memory, if at all."""
    for rung in rungs:
        if setup.beside(rung).is_hosted:
            height, width = rung.size
            yield (
                f"the GPU has too little memory for a canvas of {width}x{height}: from there on it"
                " lies in the host's memory, and steps take longer (hires plan tells what they"
                " send)"
            )
            return
