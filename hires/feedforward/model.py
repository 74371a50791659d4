"""Trained image-to-image networks on disk: safetensors with JSON metadata, and every check.

Tensors are named as `Design.tensors` says and stored in fp16. The metadata holds ``format``,
``version``, ``task``, ``design``, ``sha256`` (of the tensors and the design), the training's
``settings`` and whatever else its writer adds: the style's name and hash, how many photographs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from hires.config.feedforward import MODEL_ENDING as ENDING
from hires.config.feedforward import MODEL_FORMAT as FORMAT
from hires.features.checkpoints import FORMAT as FEATURES_FORMAT
from hires.features.checkpoints import digest, read_tensors
from hires.feedforward.design import TASKS, Design, ModelError, Task, check_tensors
from hires.feedforward.models import built_in_models
from hires.utils.files import is_writable, replacing

VERSION = "1"


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A trained network.

    Attributes:
        design: its architecture.
        weights: its tensors, float32 on the CPU.
        metadata: how it was trained.
        name: what it was asked for by.
    """

    design: Design
    weights: dict[str, Tensor]
    metadata: dict[str, str]
    name: str

    @property
    def trained_grain(self) -> float:
        """Noise on the photographs of its training, 0 to 1; 0 if it does not tell."""
        try:
            return float(json.loads(self.metadata.get("settings", "{}")).get("grain", 0))
        except (AttributeError, TypeError, ValueError):
            return 0.0


def load_model(name: str, *, task: Task | None = None) -> Model:
    """Load a model by its path, or by the name of one that comes with the package.

    Args:
        name: a path, or a name such as ``impasto``.
        task: what it must have been trained for; anything if None.

    Raises:
        ModelError: if there is no such model, it is for another task, or its file cannot be
            trusted: truncated, damaged, of another version or architecture.
    """
    if name in built_in_models() and not Path(name).is_file():
        with resources.as_file(
            resources.files("hires.feedforward") / "models" / f"{name}{ENDING}"
        ) as path:
            model = read_model(path, name=name)
    else:
        model = read_model(Path(name))
    if task is not None and model.design.task != task:
        raise ModelError(
            f"model '{name}' is for {model.design.task}: give one that was trained for {task}"
        )
    return model


def read_model(path: Path, *, name: str = "") -> Model:
    """Read and verify a model file; see `load_model` for the errors."""
    name = name or str(path)
    if not path.is_file():
        known = ", ".join(built_in_models())
        raise ModelError(f"model '{name}': no such file; give a model's path, or one of: {known}")
    try:
        metadata, tensors = read_tensors(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"model '{name}': truncated or not safetensors ({error}); fetch or train it anew"
        ) from None
    _check_format(name, metadata)
    try:
        design = _design_of(metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"model '{name}': its architecture is unknown ({error})") from None
    if digest(design, tensors) != metadata.get("sha256"):
        raise ModelError(f"model '{name}': damaged, its SHA-256 is not the one that it states")
    weights = {key: tensor.float() for key, tensor in tensors.items()}
    try:
        check_tensors(design, weights)
    except ModelError as error:
        raise ModelError(f"model '{name}': {error}") from None
    return Model(design, weights, metadata, name)


def _check_format(name: str, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") == FEATURES_FORMAT:
        raise ModelError(
            f"model '{name}' is a feature network: it goes to `features`; train makes models"
        )
    if metadata.get("format") != FORMAT:
        raise ModelError(f"model '{name}': not a {FORMAT} file; hires train makes them")
    if metadata.get("version") != VERSION:
        raise ModelError(
            f"model '{name}' has version {metadata.get('version')}, this program reads"
            f" {VERSION}: update hires, or train the model anew"
        )
    if metadata.get("task") not in TASKS:
        raise ModelError(
            f"model '{name}' is for the task '{metadata.get('task')}', this program knows"
            f" {' and '.join(TASKS)}"
        )


def _design_of(metadata: Mapping[str, str]) -> Design:
    fields: dict[str, Any] = json.loads(metadata["design"])
    fields["widths"] = tuple(fields["widths"])
    return Design(**fields)


def write_model(
    path: Path, design: Design, weights: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a model in fp16, whole or not at all.

    Raises:
        ModelError: if the tensors are not those of the design, or do not fit fp16.
        SaveError: if the system refuses.
    """
    stored = {key: value.detach().cpu().half().contiguous() for key, value in weights.items()}
    check_tensors(design, stored)  # Refuses what `read_model` would refuse.
    complete = {
        **metadata,
        "format": FORMAT,
        "version": VERSION,
        "task": design.task,
        "design": json.dumps(asdict(design)),
        "sha256": digest(design, stored),
    }
    with replacing(path) as temporary:
        # `save_file` would make a file that only its owner can read.
        temporary.write_bytes(save(stored, metadata=complete))


def check_model_output(path: Path, ending: str = ENDING) -> None:
    """Refuse before any work a path at which a file with this ending cannot be written."""
    if path.suffix != ending:
        raise ModelError(f"cannot save {path}: give a name that ends in {ending}")
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise ModelError(f"cannot save {path}: there is no folder {target.parent}; create it first")
    if target.exists() and not target.is_file():
        raise ModelError(f"cannot save {path}: it is not a regular file; choose another name")
    if not is_writable(target):
        raise ModelError(f"cannot save {path}: no permission to write there; choose another folder")


def prepared(
    model: Model, device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format
) -> dict[str, Tensor]:
    """The weights on a device, convolutions cast and laid out; everything else stays wide.

    The last stage stays in (at least) float32: its output is the picture, for which half
    precision's steps would be wider than those of 8 bits.
    """
    wide = torch.promote_types(dtype, torch.float32)
    found = {}
    for name, tensor in model.weights.items():
        is_kernel = name.endswith(".weight")
        narrow = is_kernel and not name.startswith("last.")
        tensor = tensor.to(device, dtype if narrow else wide)
        found[name] = tensor.contiguous(memory_format=memory_format) if is_kernel else tensor
    return found
