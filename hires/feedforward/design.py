"""The architectures of image-to-image networks (Johnson et al. 2016): chains of stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from hires.feedforward.stages import Stage
from hires.tiling.geometry import Span

Task = Literal["style", "super-resolution"]
TASKS: tuple[Task, ...] = ("style", "super-resolution")
FACTORS = (4, 8)


class ModelError(ValueError):
    """A trained model, or a picture for it, that cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The architecture of an image-to-image network.

    ``style`` is c9s1-32, d64, d128, five residual blocks, u64, u32, c9s1-3 with instance
    normalisation; ``super-resolution`` is c9s1-64, four residual blocks, a u64 for every doubling
    and c9s1-3, trained with batch normalisation, which is folded into the convolutions afterwards,
    and added to the bicubically enlarged input (the document has no such shortcut; with it a
    network is useful after minutes). Up-convolutions repeat positions and convolve (Odena et al.
    2016), so that no checkerboard appears. Everything is padded by reflection.

    Attributes:
        task: ``style`` or ``super-resolution``.
        factor: how many times larger the output is than the input: 1, or 4 or 8.
        widths: channels from the first stage down to the residual blocks, halving the size each.
        num_blocks: residual blocks.
        kernel: side of the first and the last kernel.
    """

    task: Task = "style"
    factor: int = 1
    widths: tuple[int, ...] = (32, 64, 128)
    num_blocks: int = 5
    kernel: int = 9

    def __post_init__(self) -> None:
        """Refuse what cannot be a network, in words that name the fault."""
        if self.task not in TASKS:
            raise ModelError(f"unknown task '{self.task}': choose one of {', '.join(TASKS)}")
        factors = (1,) if self.task == "style" else FACTORS
        if self.factor not in factors:
            allowed = " or ".join(map(str, factors))
            raise ModelError(f"factor {self.factor} does not suit {self.task}: give {allowed}")
        if not self.widths or min(self.widths) < 1 or self.num_blocks < 1:
            raise ModelError("a network needs at least one width and one residual block")
        if self.task == "super-resolution" and len(self.widths) != 1:
            raise ModelError("a super-resolution network has one width")
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise ModelError(f"kernel {self.kernel}: give an odd number of at least 3")

    @property
    def shortcut(self) -> bool:
        """Whether the enlarged input is added to the output."""
        return self.task == "super-resolution"

    def stages(self, *, normalised: bool) -> tuple[Stage, ...]:
        """The chain of stages.

        Args:
            normalised: whether stages but the last have a normalisation: always for style, for
                super-resolution only in training.
        """
        first, wide = self.widths[0], self.widths[-1]
        found = [Stage("first", 3, first, self.kernel, norm=normalised)]
        for i, (before, after) in enumerate(pairwise(self.widths), 1):
            found.append(Stage(f"down{i}", before, after, stride=2, norm=normalised))
        for i in range(1, self.num_blocks + 1):
            found.append(Stage(f"block{i}_1", wide, wide, opens=True, norm=normalised))
            found.append(Stage(f"block{i}_2", wide, wide, relu=False, closes=True, norm=normalised))
        ups = self.widths[::-1] if self.task == "style" else (wide,) * (_doublings(self.factor) + 1)
        for i, (before, after) in enumerate(pairwise(ups), 1):
            found.append(Stage(f"up{i}", before, after, enlarge=2, norm=normalised))
        found.append(Stage("last", ups[-1], 3, self.kernel, norm=False, relu=False))
        return tuple(found)

    @property
    def normalised(self) -> bool:
        """Whether a finished network normalises: its statistics are then those of the picture."""
        return self.task == "style"

    def tensors(self, *, normalised: bool) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of the network."""
        shapes: dict[str, tuple[int, ...]] = {}
        for stage in self.stages(normalised=normalised):
            shape = (stage.after, stage.before, stage.kernel, stage.kernel)
            shapes[f"{stage.name}.weight"] = shape
            for part in ("scale", "shift") if stage.norm else ("bias",):
                shapes[f"{stage.name}.{part}"] = (stage.after,)
        return shapes

    @property
    def receptive_field(self) -> int:
        """How many pixels of the input, along an axis, an output pixel depends on at most."""
        stages = self.stages(normalised=self.normalised)
        far = 2**20  # The middle of a picture without end.
        lengths = [2 * far]
        for stage in stages:
            lengths.append(stage.length(lengths[-1]))
        widest = 0
        for offset in range(4 * self.factor):
            start = far * self.factor + offset
            span = Span(start, start + 1)
            for stage, before in zip(reversed(stages), reversed(lengths[:-1]), strict=True):
                span = stage.input_span(span, before).span
            widest = max(widest, span.length)
        return widest


def _doublings(factor: int) -> int:
    return round(math.log2(factor))


def check_tensors(design: Design, weights: Mapping[str, Tensor]) -> None:
    """Raise `ModelError` unless the tensors are finite and those of a finished network."""
    expected = design.tensors(normalised=design.normalised)
    for name, shape in expected.items():
        if name not in weights:
            raise ModelError(f"it has no tensor '{name}'")
        if tuple(weights[name].shape) != shape:
            found = tuple(weights[name].shape)
            raise ModelError(f"tensor '{name}' is {found}, the architecture says {shape}")
        if not bool(torch.isfinite(weights[name]).all()):
            raise ModelError(f"tensor '{name}' has values that are not finite")
    unknown = sorted(set(weights) - set(expected))
    if unknown:
        raise ModelError(f"it has a tensor '{unknown[0]}' that does not belong")
