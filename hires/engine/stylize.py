"""Painting from Python: pictures and a configuration in, a painting or its steps out."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from hires.config.guides import Guides
from hires.config.run import Config
from hires.config.texture import texture_config
from hires.config.together import check_guides
from hires.engine.planned import plan_run
from hires.engine.progress import Progress
from hires.engine.resolve import fit
from hires.engine.snapshot import Snapshot
from hires.errors import ConfigError
from hires.features.network import Network
from hires.image.guides import UNGUIDED, Guided, guided
from hires.image.originals import Original, PictureLike, original, originals
from hires.losses.terms import Term


def stylize(
    content: PictureLike | None,
    styles: PictureLike | Sequence[PictureLike],
    config: Config,
    *,
    guides: Guides | Guided = UNGUIDED,
    size: tuple[int, int] | None = None,
    tileable: bool = False,
    terms: Iterable[Term] = (),
    network: Network | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Paint a content picture in the style of one or more others.

    What the user should know is a warning, after the run that its tones are far from the style's.

    Args:
        content: a path, what `hires.read_picture` returned, or (1, 3, H, W) float, sRGB in [0, 1].
            What is transparent in a file counts neither for content nor for style. None for a
            texture, which is painted from noise; square unless there is an exact size.
        styles: the same, one or several.
        config: how to paint.
        guides: which part of the content is painted how: `Guides`, or what `read_guides` returned.
        size: exact ``(height, width)`` in place of ``config.size``; the content has its shape.
        tileable: let the borders of a texture meet, so that it can be repeated side by side.
        terms: of the loss, beside those of the configuration (`hires.losses`).
        network: features to look at, in place of ``config.features``.
        device: where to compute, in place of ``config.device``.

    Returns:
        The painting, (1, 3, H, W) float32 in [0, 1], its long side ``config.size`` unless there is
        an exact size.

    Raises:
        ValueError: for settings or pictures that cannot be painted.
        StylizeError: if the optimisation breaks down.
    """
    start = partial(iter_stylize, content, styles, config, guides=guides, size=size)
    run = start(tileable=tileable, terms=terms, network=network, device=device)
    progress = next(run)
    for note in progress.warnings:
        warnings.warn(note, stacklevel=2)
    deque(run, maxlen=0)  # To the end: `progress` shows the run wherever it stands.
    if (told := progress.about_tones()) is not None:
        warnings.warn(told, stacklevel=2)
    return progress.picture()


def iter_stylize(
    content: PictureLike | None,
    styles: PictureLike | Sequence[PictureLike],
    config: Config,
    *,
    guides: Guides | Guided = UNGUIDED,
    size: tuple[int, int] | None = None,
    tileable: bool = False,
    resume: Snapshot | None = None,
    terms: Iterable[Term] = (),
    network: Network | None = None,
    device: torch.device | str | None = None,
) -> Iterator[Progress]:
    """Paint, and yield after every step. See `stylize` for arguments and errors.

    Args:
        content: see `stylize`.
        styles: see `stylize`.
        config: how to paint.
        guides: see `stylize`.
        size: see `stylize`.
        tileable: see `stylize`.
        resume: where an earlier run with the same pictures and settings stood. The run takes its
            tensors over; first it yields the step that the other had done.
        terms: see `stylize`.
        network: see `stylize`.
        device: see `stylize`.

    Raises:
        SnapshotError: if the snapshot is that of a run with another ladder.
    """
    config = _resolved(config, content is None, tileable=tileable, device=device)
    photograph, paintings = None if content is None else original(content), originals(styles)
    planned = plan_run(
        fit(config),
        photograph,
        paintings,
        guides=_read(guides, config, photograph, paintings),
        size=size,
        tileable=tileable,
        terms=terms,
        network=network,
    )
    run = planned.start(resume)
    del resume  # Its tensors are the run's now, and go with it.
    yield from run


def _read(
    guides: Guides | Guided,
    config: Config,
    content: Original | None,
    styles: Sequence[Original],
) -> Guided:
    """Guides, read if they are files."""
    if isinstance(guides, Guided):
        return guides
    check_guides(guides, config, content, styles)
    whole = (1, 1) if content is None else content.size
    return guided(whole, styles, guides, style_weights=config.style_weights)


def _resolved(
    config: Config, is_texture: bool, *, tileable: bool, device: torch.device | str | None
) -> Config:
    """The settings, as a texture and a device have them."""
    if device is not None:
        config = replace(config, device=str(device))
    if is_texture:
        return texture_config(config, tileable=tileable)
    if tileable:
        raise ConfigError("`tileable` is for textures: give no content, or leave it out")
    return config
