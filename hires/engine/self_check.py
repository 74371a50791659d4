"""A check of the machine: what is installed, what computes, and whether tiles add up to the whole.

Every exactness promise rests on convolutions giving the same numbers in a tile as in the whole
picture; here that is measured on the machine at hand, loss and gradient.
"""

from __future__ import annotations

import copy
import os
import platform
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from hires.engine.canvas import WholeCanvas
from hires.engine.measuring import Measuring
from hires.engine.objective import Objective
from hires.engine.references import References
from hires.engine.setup import Setup
from hires.features.architecture import Architecture
from hires.features.network import Network, random_network
from hires.image.originals import Original
from hires.kernels.precision import Precision, resolve_device, resolve_precision
from hires.losses.content import Content
from hires.losses.style import STYLE_LOSSES, Style, shares_of
from hires.losses.variation import TotalVariation
from hires.version import __version__

_PACKAGES = (
    "torch",
    "torchvision",
    "kornia",
    "numpy",
    "pillow",
    "pyvips",
    "pikepdf",
    "safetensors",
    "rich",
)
# What an extra brings, and what for.
EXTRAS = {
    "heic": ("pillow-heif", "reads HEIC"),
    "onnx": ("onnxscript", "hires export"),
    "bench": ("matplotlib", "plots of hires bench"),
}
MISSING = "not installed"
# Depth, strides and halo of VGG-19 up to its fourth block, at widths that take a second.
_ARCHITECTURE = Architecture(
    blocks=((8, 8), (12, 12), (16, 16, 16, 16), (16, 16)),
    matrix=((4.4, 0.0, 0.0), (0.0, 4.4, 0.0), (0.0, 0.0, 4.4)),
    shift=(-2.1, -2.0, -1.8),
)
_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
_CONTENT_LAYER = "relu4_2"
_SIZE, _STYLE_SIZE = (251, 307), (123, 175)
_TILE = 96
# Loss and gradient: in float64 and fp32 what the project promises, in half precision what rounding
# every feature to 8 or 11 bits leaves, with a margin.
TOLERANCES = {
    "float64": (1e-12, 1e-12),
    "fp32": (1e-5, 1e-5),
    "tf32": (2e-4, 4e-3),
    "bf16": (1e-3, 2e-2),
    "fp16": (2e-4, 4e-3),
}


def examine() -> dict[str, Any]:
    """Examine this machine.

    Returns:
        ``versions``, ``extras``, ``device`` and ``tiled_vs_whole``, all of it JSON: relative
        difference of the loss (``loss_rel``) and relative L2 difference of the gradient
        (``gradient_rel_l2``), for ``float64`` (also at the top level) and for the precision that
        ``auto`` picks; ``passed``.
    """
    device = resolve_device("auto")
    picked = resolve_precision("auto", device)
    # Apple's GPUs have no float64.
    exact = torch.device("cpu") if device.type == "mps" else device
    differences = {
        "float64": tiled_against_whole(exact, Precision(torch.float64)),
        picked.name: tiled_against_whole(device, picked),
    }
    return {
        "versions": versions(),
        "extras": extras(),
        "device": describe(device, picked),
        "tiled_vs_whole": {**differences["float64"], **differences},
        "passed": all(within_tolerance(name, found) for name, found in differences.items()),
    }


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of everything that it computes with."""
    found = {"hires": __version__, "python": platform.python_version()}
    return found | {package: metadata.version(package) for package in _PACKAGES}


def extras() -> dict[str, str]:
    """Version of the package that each of our extras brings, or ``not installed``."""
    found = dict.fromkeys(EXTRAS, MISSING)
    for extra, (package, _) in EXTRAS.items():
        with suppress(metadata.PackageNotFoundError):
            found[extra] = metadata.version(package)
    return found


def describe(device: torch.device, precision: Precision) -> dict[str, Any]:
    """The device that ``auto`` picks, its precision, and what else there is."""
    found: dict[str, Any] = {"name": str(device), "precision": precision.name}
    found["system"] = f"{platform.system()} {platform.machine()}"
    found["cpu_cores"] = os.cpu_count()
    found["cpu_threads"] = torch.get_num_threads()
    found["gpus"] = [
        {
            "name": torch.cuda.get_device_name(index),
            "memory_gib": round(torch.cuda.get_device_properties(index).total_memory / 2**30, 1),
        }
        for index in range(torch.cuda.device_count())
    ]
    return found


def within_tolerance(name: str, found: dict[str, float]) -> bool:
    """Whether differences are as small as they must be in a precision; NaN never is."""
    loss, gradient = TOLERANCES[name]
    return found["loss_rel"] <= loss and found["gradient_rel_l2"] <= gradient


def tiled_against_whole(
    device: torch.device, precision: Precision, style_loss: str = "gram"
) -> dict[str, float]:
    """Evaluate one canvas whole and in tiles; returns ``loss_rel`` and ``gradient_rel_l2``."""
    whole, tiled = (
        evaluated(*scene(device, precision, style_loss, tile=tile)) for tile in (None, _TILE)
    )
    return difference(tiled, whole)


def evaluated(objective: Objective, canvas: Tensor) -> tuple[float, Tensor]:
    """Loss and gradient of a canvas, the latter in float64 and on the CPU."""
    found = objective(canvas)
    return float(found.loss), found.gradient.double().cpu()


def difference(found: tuple[float, Tensor], wanted: tuple[float, Tensor]) -> dict[str, float]:
    """``loss_rel`` and ``gradient_rel_l2`` of what `evaluated` returns."""
    return {
        "loss_rel": abs(found[0] - wanted[0]) / abs(wanted[0]),
        "gradient_rel_l2": float((found[1] - wanted[1]).norm() / wanted[1].norm()),
    }


def scene(
    device: torch.device,
    precision: Precision,
    style_loss: str = "gram",
    *,
    tile: int | None = None,
    network: Network | None = None,
) -> tuple[Objective, Tensor]:
    """An objective, and a canvas (1, 3, H, W) to evaluate; the same on every machine.

    Args:
        device: where tiles are computed.
        precision: the arithmetic.
        style_loss: as the field of `Config`.
        tile: largest side of a tile in pixels; None for one tile.
        network: with four blocks at least; None for a small one with random weights.
    """
    network = random_network(_ARCHITECTURE) if network is None else copy.deepcopy(network)
    network.prepare(device, precision.dtype, precision.memory_format)
    style_layers, content_layers = dict.fromkeys(_STYLE_LAYERS, 1.0), {_CONTENT_LAYER: 1.0}
    setup = Setup(
        network=network,
        precision=precision,
        terms=(
            Style(losses={STYLE_LOSSES[style_loss]: 1.0}, layers=shares_of(style_layers, "mean")),
            Content(layers=content_layers),
            TotalVariation(),
        ),
        memory=2**40,
        tile=tile,
    )
    wide = torch.promote_types(precision.dtype, torch.float32)
    canvas, content, style = (
        _shapes(size, seed).to(device, wide)
        for seed, size in enumerate((_SIZE, _SIZE, _STYLE_SIZE))
    )
    references = References(
        setup=setup,
        canvas=WholeCanvas(setup, _SIZE),
        content=Original(content),
        styles=[Original(style)],
        style_sizes=[_STYLE_SIZE],
        shares=[1.0],
        measuring=Measuring(setup),
    )
    # One graph is kept: both ways of painting a tile are tried.
    return setup.objective(references, replace(setup.plan_tiles(_SIZE), num_kept=1)), canvas


def _shapes(size: tuple[int, int], seed: int) -> Tensor:
    """Soft shapes with some noise on them, (1, 3, H, W) in [0, 1], the same on every machine."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator, dtype=torch.float64)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    return 0.7 * smooth + 0.3 * torch.rand(1, 3, *size, generator=generator, dtype=torch.float64)
