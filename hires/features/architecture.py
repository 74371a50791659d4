"""What a VGG-shaped network is: its layers' names, strides, halos and cost. No pixels yet.

Layers are named ``conv4_2`` (before the ReLU), ``relu4_2`` and ``pool4``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from hires.config.pixels import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD
from hires.tiling.geometry import Layer

PaddingMode = Literal["zeros", "reflect", "replicate"]
Pooling = Literal["max", "average", "l2"]
POOLINGS: tuple[Pooling, ...] = ("max", "average", "l2")
PADDINGS: tuple[PaddingMode, ...] = ("zeros", "reflect", "replicate")


class FeaturesError(ValueError):
    """A checkpoint, a layer name or an image that a feature network cannot work with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A VGG-shaped network: blocks of 3×3 convolutions with ReLU, 2×2 pooling between the blocks.

    Attributes:
        blocks: output channels of every convolution, block by block.
        padding: how every convolution but the first extends its input by one pixel.
        input_padding: how the image itself is extended for the first convolution.
        matrix: 3×3, turns an RGB pixel in [0, 1] into what the first convolution expects ...
        shift: ... after which this is added: ``matrix @ rgb + shift``.
    """

    blocks: tuple[tuple[int, ...], ...]
    padding: PaddingMode = "zeros"
    input_padding: PaddingMode = "zeros"
    matrix: tuple[tuple[float, ...], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    shift: tuple[float, ...] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        """Refuse what cannot be a network, in words that name the fault."""
        if not self.blocks or not all(self.blocks):
            raise FeaturesError("an architecture needs at least one convolution in every block")
        if any(width < 1 for block in self.blocks for width in block):
            raise FeaturesError("every convolution needs at least one output channel")
        if self.padding not in PADDINGS or self.input_padding not in PADDINGS:
            raise FeaturesError(f"unknown padding: choose one of {', '.join(PADDINGS)}")
        if [len(row) for row in self.matrix] != [3, 3, 3] or len(self.shift) != 3:
            raise FeaturesError("input normalisation needs a 3x3 matrix and a shift of 3 numbers")

    def convolutions(self) -> Iterator[tuple[str, int, int]]:
        """Yield ``("4_2", input channels, output channels)`` of every convolution, in order."""
        previous = 3
        for b, block in enumerate(self.blocks, start=1):
            for i, width in enumerate(block, start=1):
                yield f"{b}_{i}", previous, width
                previous = width

    def layers(self) -> dict[str, Layer]:
        """Every layer by name, in the order in which the network computes them."""
        layers: dict[str, Layer] = {}
        stride, halo, work = 1, 0, 0.0
        widths = {key: (before, after) for key, before, after in self.convolutions()}
        for b, block in enumerate(self.blocks, start=1):
            for i in range(1, len(block) + 1):
                before, after = widths[f"{b}_{i}"]
                halo += stride
                work += 9 * before * after / stride**2
                layers[f"conv{b}_{i}"] = Layer(stride, halo, after, work)
                layers[f"relu{b}_{i}"] = Layer(stride, halo, after, work)
            stride *= 2
            layers[f"pool{b}"] = Layer(stride, halo, block[-1], work)
        return layers


def full_range(architecture: Architecture) -> Architecture:
    """Let a network see 0 to 255 minus VGG's means, in the channel order of its own weights.

    That is the input of VGG's first weights (BGR, as Caffe had it), and at this scale the losses
    written for them keep their balance. Weights trained on another scale give features that are so
    much larger; biases, which are not scaled, then weigh less.

    Raises:
        FeaturesError: if the network's own normalisation mixes the channels.
    """
    order = [max(range(3), key=lambda c: abs(row[c])) for row in architecture.matrix]
    if sorted(order) != [0, 1, 2]:
        raise FeaturesError(
            "pixels 'caffe' need a network whose input channels are red, green, blue"
        )
    return replace(
        architecture,
        matrix=tuple(tuple(255.0 * (c == own) for c in range(3)) for own in order),
        shift=tuple(-CAFFE_MEAN[own] for own in order),
    )


VGG16 = Architecture(
    blocks=((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    matrix=tuple(
        tuple(1 / std if i == j else 0 for j in range(3)) for i, std in enumerate(IMAGENET_STD)
    ),
    shift=tuple(-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)),
)
VGG19 = Architecture(
    blocks=((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
    matrix=VGG16.matrix,
    shift=VGG16.shift,
)


def check_weights(architecture: Architecture, weights: Mapping[str, Tensor]) -> None:
    """Raise `FeaturesError` unless the weights are finite and shaped as the architecture says."""
    expected: dict[str, tuple[int, ...]] = {}
    for key, before, after in architecture.convolutions():
        expected[f"conv{key}.weight"] = (after, before, 3, 3)
        expected[f"conv{key}.bias"] = (after,)
    for name, shape in expected.items():
        if name not in weights:
            raise FeaturesError(f"the checkpoint has no tensor '{name}'")
        if tuple(weights[name].shape) != shape:
            raise FeaturesError(
                f"tensor '{name}' is {tuple(weights[name].shape)}, the architecture says {shape}"
            )
        if not torch.isfinite(weights[name]).all():
            raise FeaturesError(f"tensor '{name}' has values that are not finite")
    unknown = sorted(set(weights) - set(expected))
    if unknown:
        raise FeaturesError(f"the checkpoint has a tensor '{unknown[0]}' that does not belong")
