"""What a configuration becomes on this machine and with this network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hires.config.presets import PRESETS
from hires.config.run import Config
from hires.config.values import StyleLayer, parse_style_layer
from hires.errors import ConfigError
from hires.features.architecture import VGG16, VGG19, Architecture
from hires.features.checkpoints import architecture_of
from hires.kernels.precision import resolve_device

_NETWORKS = {"VGG-16": VGG16, "VGG-19": VGG19}
# Features of presets that name none.
_OWN = "compact"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A configuration that can be painted as it stands.

    Attributes:
        config: every size settled, every layer of the preset one that the network has.
        warnings: what had to be changed.
    """

    config: Config
    warnings: tuple[str, ...]


def fit(config: Config) -> Fitted:
    """Settle what depends on the machine and on the network; fitting twice changes nothing.

    Raises:
        ValueError: for an unknown device, or features that cannot be read.
    """
    if config.cpu_size is not None:
        on_cpu = resolve_device(config.device).type == "cpu"
        size = config.cpu_size if on_cpu else config.size
        config = replace(config, size=size, cpu_size=None)
    if not PRESETS[config.preset].settings:
        return Fitted(config, ())
    return _with_stand_ins(config, architecture_of(config.features))


def _with_stand_ins(config: Config, architecture: Architecture) -> Fitted:
    """Let the nearest layer of a block stand in for a layer of the preset that is missing."""
    preset = PRESETS[config.preset]
    if architecture.blocks == _NETWORKS[preset.network].blocks:
        return Fitted(config, ())
    content, missing = _replaced(config.preset, config.content_layers, architecture)
    style, others = _replaced(config.preset, config.style_layers, architecture)
    pairs = ", ".join(f"{found} in place of {name}" for name, found in (missing | others).items())
    lacking = f" and lack layers of it ({pairs})" if pairs else ""
    warning = (
        f"features '{config.features}' are not the {preset.network} of the preset"
        f" {config.preset}{lacking}:"
        " the result is no longer that of its document"
    )
    fitted = replace(config, content_layers=content, style_layers=style)
    # That of the preset itself is told by its notes.
    is_own = config.features == preset.settings.get("features", _OWN)
    return Fitted(fitted, () if is_own else (warning,))


def _replaced(
    preset: str, texts: Iterable[str], architecture: Architecture
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The layers with their weights, and what stands in for what."""
    layers = architecture.layers()
    settings = PRESETS[preset].settings
    own = {*settings.get("content_layers", ()), *settings["style_layers"]}
    named: dict[str, StyleLayer] = {}
    missing: dict[str, str] = {}
    for layer in map(parse_style_layer, texts):
        if layer.name not in layers and layer.name in own:
            missing[layer.name] = stand_in(layer.name, architecture)
        found = replace(layer, name=missing.get(layer.name, layer.name))
        before = named.get(found.name, replace(found, weight=0.0))
        if before.number != found.number:
            raise ConfigError(
                f"{found.name} stands in for two layers that take different styles: name"
                " `style_layers` that the network has"
            )
        # Two layers may share a stand-in: it counts twice.
        named[found.name] = replace(found, weight=before.weight + found.weight)
    return tuple(map(str, named.values())), missing


def stand_in(name: str, architecture: Architecture) -> str:
    """The layer of the same kind and block, or else of the deepest block, nearest to ``name``."""
    kind, block, index = name[:4], int(name[4]), int(name[6:])
    block = min(block, len(architecture.blocks))
    return f"{kind}{block}_{min(index, len(architecture.blocks[block - 1]))}"
