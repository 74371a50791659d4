"""Terms of the loss for what a configuration asks of the style."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hires.config.run import Config
from hires.config.values import matched_layers
from hires.losses.central import Central
from hires.losses.gathered import RelaxedTransport
from hires.losses.neighbours import CONTENT_SHARE, MATCHED_EVERY, Neighbours
from hires.losses.sliced import Sliced
from hires.losses.style import STYLE_LOSSES, Style
from hires.losses.terms import Term

# Losses that draw directions, positions or dictionaries from the seed.
_RANDOM = ("sliced", "transport", "neighbours")


def style_terms(
    config: Config, layers: Mapping[str, float], styles: Mapping[str, int]
) -> list[Term]:
    """A term for each of the style losses, but one for all that are functions of moments.

    A single term is called ``style``, several by their losses: ``gram+wasserstein``.

    Args:
        config: how to paint.
        layers: what each layer's loss counts.
        styles: the style that a layer takes, by its place from 0; all where none is named.
    """
    factors = config.style_losses
    of_moments = {name: factor for name, factor in factors.items() if name in STYLE_LOSSES}
    found: dict[str, Term] = {}
    if of_moments:
        total = sum(of_moments.values())
        name = "+".join(of_moments) if len(of_moments) < len(factors) else "style"
        found[name] = Style(
            name=name,
            losses={STYLE_LOSSES[loss]: factor / total for loss, factor in of_moments.items()},
            layers=layers,
            styles=styles,
            weight=config.style_weight * total,
        )

    def named(loss: str) -> dict[str, Any]:
        name = loss if len(factors) > 1 else "style"
        weight = config.style_weight * factors[loss]
        return {"name": name, "layers": layers, "styles": styles, "weight": weight}

    changes = redraws(config)
    drawn: dict[str, Any] = {"seed": config.seed, "redraws": changes}
    if "central" in factors:
        found["central"] = Central(**named("central"))
    if "sliced" in factors:
        found["sliced"] = Sliced(**named("sliced"), **drawn)
    if "transport" in factors:
        found["transport"] = RelaxedTransport(**named("transport"), **drawn)
    if "neighbours" in factors:
        found["neighbours"] = Neighbours(
            **{**named("neighbours"), "layers": matched_layers(layers)},
            # A texture has none.
            content_share=CONTENT_SHARE if config.content_layers else 0.0,
            every=MATCHED_EVERY if changes else 0,
            seed=config.seed,
            num_turns=4 if config.style_turns else 1,
        )
    return [*found.values()]


def are_random(config: Config) -> bool:
    """Whether a style loss depends on the seed."""
    return bool(config.style_weight) and any(loss in _RANDOM for loss in config.style_losses)


def redraws(config: Config) -> bool:
    """Whether random terms are others at every step.

    L-BFGS compares the slopes of a step with those of the last, of the same loss.
    """
    return config.optimizer == "adam"


def option_weights(config: Config, terms: Iterable[Term]) -> dict[str, float]:
    """What was given as weight of each term, by its option's name without ``_weight``."""
    of_style = {term.name for term in style_terms(config, {}, {})}
    return dict(
        ("style", config.style_weight) if term.name in of_style else (term.name, term.weight)
        for term in terms
    )
