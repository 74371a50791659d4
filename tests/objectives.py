"""Objectives for tests: a network, terms, and the pictures that a canvas is compared to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from hires.config.run import Config
from hires.engine.canvas import WholeCanvas
from hires.engine.measuring import Measuring
from hires.engine.objective import Objective
from hires.engine.references import References
from hires.engine.setup import Setup, content_term
from hires.engine.style_terms import style_terms
from hires.features.network import Network
from hires.image.originals import Original
from hires.kernels.precision import Precision
from hires.losses.style import shares_of
from hires.losses.terms import Term
from hires.losses.variation import TotalVariation

Layers = Mapping[str, float]


def terms_of(
    style_loss: str,
    layers: tuple[Layers, Layers],
    weights: tuple[float, float, float],
    *,
    content_loss: Any = "relative",
    styles: Mapping[str, int] = MappingProxyType({}),
) -> tuple[Term, ...]:
    """Style, content and total variation, with the layers of the first two and all weights."""
    style, content = (shares_of(part, "mean") for part in layers)
    return (
        *style_terms(Config(style_loss=style_loss.split(), style_weight=weights[0]), style, styles),
        content_term(Config(content_loss=content_loss, content_weight=weights[1]), content),
        TotalVariation(weight=weights[2]),
    )


def setup_of(
    network: Network, terms: Sequence[Term], dtype: torch.dtype, tile: int | None = None
) -> Setup:
    """With all the memory that there could be."""
    precision = Precision(dtype)
    return Setup(network=network, precision=precision, terms=tuple(terms), memory=2**40, tile=tile)


def objective_of(
    setup: Setup,
    content: Tensor,
    style: Tensor,
    *,
    masks: Sequence[Tensor | None] = (None, None),
    num_kept: int | None = None,
) -> Objective:
    """The objective of a canvas of the content's size."""
    size = content.shape[2], content.shape[3]
    references = References(
        setup=setup,
        canvas=WholeCanvas(setup, size),
        content=Original(content, masks[0]),
        styles=[Original(style, masks[1])],
        style_sizes=[(style.shape[2], style.shape[3])],
        shares=[1.0],
        measuring=Measuring(setup),
    )
    plan = setup.plan_tiles(size)
    if num_kept is not None:
        plan = replace(plan, num_kept=min(num_kept, len(plan.tiles)))
    return setup.objective(references, plan)
