"""Which options of a run contradict each other, or do nothing beside others. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hires.config.checks import leave_out
from hires.config.presets import APPLIES
from hires.config.values import matched_layers, parse_layer, parse_loss, parse_style_layer
from hires.errors import ConfigError

if TYPE_CHECKING:
    from hires.config.guides import Guides
    from hires.config.run import Config

# Options that do nothing where their term of the loss has no weight.
_OF_TERM = {
    "style": ("style_loss", "style_weights", "style_scale", "brush_size", "style_fit"),
    "content": ("content_loss",),
    "tv": ("tv_loss",),
}


def check_together(config: Config, defaults: Mapping[str, Any]) -> None:
    """Hold the fields of a run, each of which is allowed, to each other.

    Args:
        config: the run.
        defaults: what fields have where no preset says otherwise.

    Raises:
        ConfigError: with the fields, and which to leave out or change.
    """
    _check_sizes(config, defaults)
    _check_optimizer(config, defaults)
    _check_layers(config)
    _check_losses(config)
    _check_terms(config)
    _check_colours(config)
    if config.brush_size is not None:
        if not config.is_default("style_scale"):
            raise ConfigError("`brush_size` and `style_scale` say the same: leave one of them out")
        if config.style_fit == "stretch":
            raise ConfigError(
                "`brush_size` needs styles that keep their shape: give `style_fit=aspect`, or"
                " leave it out"
            )


def check_guides(
    guides: Guides, config: Config, content: object | None, styles: Sequence[object]
) -> None:
    """Hold guides to the pictures of a run, and to its weights.

    Args:
        guides: of the content.
        config: how to paint.
        content: the photograph; None for a texture.
        styles: the style pictures.

    Raises:
        ConfigError: with what to leave out or change.
    """
    names = ("mask", "labels", "content_map")
    if content is None:
        leave_out((name for name in names if getattr(guides, name)), "is for photographs")
    guides.check(len(styles), config.style_weights)
    is_shared = guides.mask or guides.labels or config.color == "palette"
    layers = [parse_style_layer(layer) for layer in config.style_layers]
    if config.style_weights and not is_shared and layers and all(one.number for one in layers):
        leave_out(["style_weights"], "does nothing where each of `style_layers` names its style")
    pairs = {"style": ("mask", "labels"), "content": ("content_map",)}
    for term, named in pairs.items():
        weighs = getattr(config, f"{term}_weight") and getattr(config, f"{term}_layers")
        if not (weighs or (term == "content" and config.detail_weight)):
            idle = (name for name in named if getattr(guides, name))
            leave_out(idle, f"does nothing where `{term}_weight` is 0 or there are no layers of it")


def _check_sizes(config: Config, defaults: Mapping[str, Any]) -> None:
    if any(small >= large for small, large in pairwise(config.sizes)):
        told = " ".join(map(str, config.sizes))
        raise ConfigError(f"`sizes` is {told}: give sizes that grow, each once")
    for name in ("size", "min_size", "rungs", "cpu_size"):
        if config.sizes and getattr(config, name) != defaults[name]:
            raise ConfigError(f"`sizes` names every size: leave `{name}` out")
    if config.rungs == 1 and config.min_size != defaults["min_size"]:
        raise ConfigError("`rungs=1` paints at one size: leave `min_size` out")


def _check_optimizer(config: Config, defaults: Mapping[str, Any]) -> None:
    if (config.learning_rate_decay is None) != (not config.decay_every):
        raise ConfigError("`learning_rate_decay` and `decay_every` need each other: give both")
    for name, allowed in APPLIES.items():
        if config.optimizer not in allowed and getattr(config, name) != defaults[name]:
            leave_out([name], f"applies to `optimizer={' or '.join(allowed)}` only")
    if config.optimizer == "lbfgs-wolfe" and config.clamp in ("steps", "blind"):
        raise ConfigError(f"`clamp={config.clamp}` would mislead lbfgs-wolfe: leave it out")
    if config.clamp == "blind" and config.optimizer != "lbfgs":
        raise ConfigError("`clamp=blind` applies to `optimizer=lbfgs` only: leave it out")


def _check_layers(config: Config) -> None:
    if not (config.style_layers or config.content_layers):
        raise ConfigError("`style_layers` and `content_layers` are both empty: name a layer")
    style = [(layer.name, layer.weight) for layer in map(parse_style_layer, config.style_layers)]
    content = [*map(parse_layer, config.content_layers)]
    for texts, layers in ((config.style_layers, style), (config.content_layers, content)):
        if len(dict(layers)) != len(layers):
            raise ConfigError(f"a layer is named twice: {' '.join(texts)}")
        if layers and not any(weight for _, weight in layers):
            raise ConfigError(f"layers {' '.join(texts)} all weigh 0: give one some weight")


def _check_losses(config: Config) -> None:
    losses = [parse_loss(text) for text in config.style_loss]
    if not losses:
        raise ConfigError("`style_loss` is empty: name one, or give `style_weight=0`")
    if len(config.style_losses) != len(losses):
        raise ConfigError(f"a style loss is named twice: {' '.join(config.style_loss)}")
    if len(losses) == 1 and losses[0][1] != 1:
        raise ConfigError(
            f"the weight of {config.style_loss[0]} does nothing, for it is the only style loss:"
            " give `style_weight`"
        )
    if "neighbours" not in config.style_losses and not config.is_default("style_turns"):
        leave_out(["style_turns"], "is for `style_loss=neighbours`")
    layers = {one.name: one.weight for one in map(parse_style_layer, config.style_layers)}
    if "neighbours" in config.style_losses and layers and not any(matched_layers(layers).values()):
        raise ConfigError(
            "`style_loss=neighbours` looks at `style_layers` of blocks 3 and 4: name one, such as"
            " relu3_1"
        )


def _check_terms(config: Config) -> None:
    """Refuse options of a term of the loss that has no weight, and weights of no term."""
    names = ("style_weight", "content_weight", "detail_weight", "patch_weight", "tv_weight")
    if not any(getattr(config, name) for name in names):
        *others, last = (f"`{name}`" for name in names)
        raise ConfigError(f"{', '.join(others)} and {last} are all 0: give one some weight")
    for term, options in _OF_TERM.items():
        if not getattr(config, f"{term}_weight"):
            given = (name for name in options if not config.is_default(name))
            leave_out(given, f"does nothing where `{term}_weight` is 0")
    for term, layers in (("style", config.style_layers), ("content", config.content_layers)):
        weight = f"{term}_weight"
        if not layers and getattr(config, weight) and not config.is_default(weight):
            raise ConfigError(f"`{weight}` does nothing without `{term}_layers`: name one")
        # Stand-ins for the layers of a preset may count twice.
        alone = len(layers) == 1 and config.preset == "hires" and config.layer_reduction == "mean"
        if alone and parse_style_layer(layers[0]).weight != 1:
            raise ConfigError(
                f"the weight of {layers[0]} does nothing, for it is the only one of"
                f" `{term}_layers`: give `{weight}`"
            )


def _check_colours(config: Config) -> None:
    if config.color not in ("match", "palette") and not config.is_default("color_match"):
        leave_out(["color_match"], "is for `color=match` and `color=palette`")
    if config.color == "match" and not (config.style_weight or config.patch_weight):
        raise ConfigError(
            "`color=match` does nothing where `style_weight` and `patch_weight` are 0: leave it out"
        )
