#!/usr/bin/env python3
"""Turn a VGG-shaped PyTorch state dict into a hires feature checkpoint (safetensors with metadata).

Understands torchvision's VGG files (`features.0.weight`, ...) and Collaborative Distillation's
encoders (`conv11.weight`, ..., with a 1x1 `conv0` in front and reflection padding). VGG's first
weights, which Caffe and Keras had, come under torchvision's names too, but take blue, green and red
from 0 to 255 minus their means: say `--pixels caffe` for them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hires.config.pixels import CAFFE_MEAN
from hires.features.architecture import VGG16, VGG19, Architecture, FeaturesError
from hires.features.checkpoints import from_torchvision, write_checkpoint

# Blue, green, red from 0 to 255, minus the means that VGG was first trained with.
CAFFE_MATRIX = ((0.0, 0.0, 255.0), (0.0, 255.0, 0.0), (255.0, 0.0, 0.0))


def convert(
    state: Mapping[str, Tensor], pixels: str = "imagenet"
) -> tuple[Architecture, dict[str, Tensor]]:
    """Recognise a state dict by the names of its tensors.

    Args:
        state: tensors by name.
        pixels: what a VGG was trained on, ``imagenet`` or ``caffe``.

    Raises:
        FeaturesError: if the names are those of no known family.
    """
    if "features.0.weight" in state:
        convolutions = sum(key.startswith("features.") for key in state) // 2
        families = {13: VGG16, 16: VGG19}
        if convolutions not in families:
            raise FeaturesError(f"{convolutions} convolutions: only VGG-16 and VGG-19 are known")
        architecture = families[convolutions]
        if pixels == "caffe":
            shift = tuple(-mean for mean in reversed(CAFFE_MEAN))
            architecture = replace(architecture, matrix=CAFFE_MATRIX, shift=shift)
        return architecture, from_torchvision(architecture, state)
    if "conv0.weight" in state and "conv11.weight" in state:
        return from_collaborative_distillation(state)
    raise FeaturesError("unknown state dict: neither torchvision's VGG nor conv0, conv11, ...")


def from_collaborative_distillation(
    state: Mapping[str, Tensor],
) -> tuple[Architecture, dict[str, Tensor]]:
    """`conv0` becomes the input normalisation, `conv42` is `conv4_2`, auxiliary maps are left."""
    weights: dict[str, Tensor] = {}
    blocks: dict[int, list[int]] = {}
    for key in sorted(state):
        found = re.fullmatch(r"conv([1-9])([1-9])\.(weight|bias)", key)
        if found:
            weights[f"conv{found[1]}_{found[2]}.{found[3]}"] = state[key]
            if found[3] == "bias":
                blocks.setdefault(int(found[1]), []).append(state[key].shape[0])
    matrix = state["conv0.weight"].double().flatten(1).tolist()
    architecture = Architecture(
        blocks=tuple(tuple(widths) for _, widths in sorted(blocks.items())),
        padding="reflect",
        input_padding="reflect",
        matrix=tuple(tuple(row) for row in matrix),
        shift=tuple(state["conv0.bias"].double().tolist()),
    )
    return architecture, weights


def main() -> int:
    """Convert one file; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("state_dict", type=Path, help=".pth file with a state dict")
    parser.add_argument("output", type=Path, help=".safetensors file to write")
    parser.add_argument(
        "--pixels",
        choices=("imagenet", "caffe"),
        default="imagenet",
        help="what a VGG was trained on: standardised RGB (torchvision), or BGR 0-255 minus means",
    )
    parser.add_argument("--licence", default="unknown", help="licence of the weights")
    parser.add_argument("--attribution", default="unknown", help="whose work the weights are")
    options = parser.parse_args()
    try:
        state = torch.load(options.state_dict, map_location="cpu", weights_only=True)
        # Collaborative Distillation's files wrap the state dict.
        architecture, weights = convert(state.get("model", state), options.pixels)
        metadata = {"licence": options.licence, "attribution": options.attribution}
        write_checkpoint(options.output, architecture, weights, metadata)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"convert_features: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    deepest = list(architecture.layers().values())[-1]
    print(
        f"{options.output}: {len(weights) // 2} convolutions,"
        f" {deepest.multiply_adds:,.0f} multiply-adds per pixel, halo {deepest.halo} px"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
