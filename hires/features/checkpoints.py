"""Feature networks on disk: safetensors with JSON metadata, read with every check that can be made.

Tensors are named ``conv1_1.weight`` and ``conv1_1.bias``. The metadata holds ``format``,
``version``, ``architecture``, ``sha256`` (of the tensors and the architecture), ``licence``,
``attribution`` and whatever the writer adds.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hires.features.architecture import (
    VGG16,
    VGG19,
    Architecture,
    FeaturesError,
    Pooling,
    check_weights,
    full_range,
)
from hires.features.network import Network
from hires.utils.files import replacing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMAT = "hires-features"
VERSION = "1"
_TORCHVISION = {"vgg16": VGG16, "vgg19": VGG19}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint file holds."""

    architecture: Architecture
    weights: dict[str, Tensor]
    metadata: dict[str, str]


def load_features(name: str, *, pooling: Pooling = "max", pixels: str = "unit") -> Network:
    """Load a feature network.

    Args:
        name: ``compact`` (inside the package), ``vgg19`` or ``vgg16`` (torchvision's weights,
            downloaded on first use), or the path of a checkpoint.
        pooling: ``max``, ``average`` or ``l2``.
        pixels: ``caffe`` lets the network see 0 to 255, see `hires.features.network.full_range`.

    Returns:
        The network in float64 on the CPU; `Network.prepare` moves and casts it.

    Raises:
        FeaturesError: if there is no such network or the file cannot be trusted.
    """
    if name in _TORCHVISION:
        architecture = _TORCHVISION[name]
        weights = from_torchvision(architecture, _torchvision_state(name))
    else:
        checkpoint = _read_named(name)
        architecture, weights = checkpoint.architecture, checkpoint.weights
    if pixels == "caffe":
        architecture = full_range(architecture)
    return Network(architecture, weights, pooling=pooling, name=name)


def architecture_of(name: str) -> Architecture:
    """What the network of `load_features` is; nothing is downloaded for it.

    Raises:
        FeaturesError: if there is no such network or the file cannot be trusted.
    """
    return _TORCHVISION[name] if name in _TORCHVISION else _read_named(name).architecture


def _read_named(name: str) -> Checkpoint:
    if name != "compact":
        return read_checkpoint(Path(name))
    with resources.as_file(
        resources.files("hires.features") / "weights/compact.safetensors"
    ) as path:
        return read_checkpoint(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        FeaturesError: if the file is missing, truncated, of another format or architecture, or if
            its contents do not have the hash that it states.
    """
    if not path.is_file():
        raise FeaturesError(
            f"features '{path}': no such file; choose compact, vgg19, vgg16 or a checkpoint's path"
        )
    try:
        metadata, weights = read_tensors(path)
    except (SafetensorError, OSError) as error:
        raise FeaturesError(f"features '{path}': truncated or not safetensors ({error})") from None
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise FeaturesError(
            f"features '{path}': not a {FORMAT} checkpoint of version {VERSION};"
            " scripts/convert_features.py makes one from a state dict"
        )
    try:
        architecture = architecture_from_json(metadata["architecture"])
    except (KeyError, TypeError, json.JSONDecodeError, FeaturesError) as error:
        raise FeaturesError(f"features '{path}': bad architecture ({error})") from None
    if digest(architecture, weights) != metadata.get("sha256"):
        raise FeaturesError(
            f"features '{path}': damaged, its SHA-256 is not the one that it states"
        )
    try:
        check_weights(architecture, weights)
    except FeaturesError as error:
        raise FeaturesError(f"features '{path}': {error}") from None
    return Checkpoint(architecture, weights, metadata)


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file; raises `SafetensorError` or OSError."""
    with safe_open(path, framework="pt") as file:
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return file.metadata() or {}, weights


def write_checkpoint(
    path: Path,
    architecture: Architecture,
    weights: Mapping[str, Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write a checkpoint atomically; ``metadata`` should name licence and attribution."""
    check_weights(architecture, weights)  # Refuses what `load_features` would refuse.
    stored = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    complete = {
        **metadata,
        "format": FORMAT,
        "version": VERSION,
        "architecture": json.dumps(asdict(architecture)),
        "sha256": digest(architecture, stored),
    }
    with replacing(path) as temporary:
        save_file(stored, temporary, metadata=complete)


def digest(architecture: DataclassInstance, weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over the architecture and every tensor's name, type, shape and bytes."""
    found = hashlib.sha256(json.dumps(asdict(architecture), sort_keys=True).encode())
    for key in sorted(weights):
        tensor = weights[key].detach().cpu().contiguous()
        found.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def architecture_from_json(text: str) -> Architecture:
    """Rebuild an `Architecture` from the JSON in a checkpoint's metadata."""
    fields: dict[str, Any] = json.loads(text)
    for key in ("blocks", "matrix"):
        fields[key] = tuple(tuple(row) for row in fields[key])
    fields["shift"] = tuple(fields["shift"])
    return Architecture(**fields)


def from_torchvision(architecture: Architecture, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the convolutions of a torchvision VGG's state dict (``features.0.weight`` ...)."""
    numbers = sorted({int(key.split(".")[1]) for key in state if key.startswith("features.")})
    names = [key for key, _, _ in architecture.convolutions()]
    if len(numbers) != len(names):
        raise FeaturesError(
            f"the state dict has {len(numbers)} convolutions, the architecture {len(names)}"
        )
    return {
        f"conv{name}.{part}": state[f"features.{number}.{part}"]
        for name, number in zip(names, numbers, strict=True)
        for part in ("weight", "bias")
    }


def _torchvision_state(name: str) -> Mapping[str, Tensor]:
    from torchvision.models import (  # type: ignore[import-untyped]
        VGG16_Weights,
        VGG19_Weights,
    )

    weights = {"vgg16": VGG16_Weights, "vgg19": VGG19_Weights}[name].IMAGENET1K_V1
    file = weights.url.rsplit("/", 1)[-1]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(check_hash=True, progress=False)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FeaturesError(
            f"features '{name}': cannot load {file} ({reason});"
            f" download {weights.url} to {folder} or use `features=compact`"
        ) from None
    return state
