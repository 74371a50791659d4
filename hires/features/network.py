"""Frozen VGG-shaped networks: an image in, ``{layer: features}`` out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hires.features.architecture import (
    POOLINGS,
    Architecture,
    FeaturesError,
    PaddingMode,
    Pooling,
    check_weights,
)
from hires.kernels.convolution import Borders, Convolution, border_kernels, quad_kernel
from hires.kernels.layers import conv_relu, looked_at, max_pool, reflect_pad, relu
from hires.tiling.seams import TileSeams

# Average pooling halves, and L2 pooling slightly raises, the spread of features compared to the max
# pooling that the weights were trained with; these factors restore it (K. Crowson,
# style-transfer-pytorch, found them by measurement).
_POOL_SCALE: dict[Pooling, float] = {"max": 1.0, "average": 2.0, "l2": 0.78}


class Network(nn.Module):
    """A frozen feature network, in float64 until `prepare` casts it once for the run.

    Args:
        architecture: what the network is.
        weights: ``conv1_1.weight`` (C, 3, 3, 3), ``conv1_1.bias`` (C,), and so on, any float dtype.
        pooling: ``max``, ``average`` or ``l2``.

    Raises:
        FeaturesError: if the weights are not those of the architecture.
    """

    origin: Tensor

    def __init__(
        self,
        architecture: Architecture,
        weights: Mapping[str, Tensor],
        *,
        pooling: Pooling = "max",
        name: str = "custom",
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise FeaturesError(f"unknown pooling '{pooling}': choose one of {', '.join(POOLINGS)}")
        check_weights(architecture, weights)
        self.architecture = architecture
        self.name = name
        self.pooling: Pooling = pooling
        self.layers = architecture.layers()
        for key, _, _ in architecture.convolutions():
            weight = weights[f"conv{key}.weight"].detach().double()
            bias = weights[f"conv{key}.bias"].detach().double()
            if key == "1_1":
                weight = torch.einsum("oiyx,ij->ojyx", weight, self._matrix())
            self.register_buffer(f"weight{key}", weight)
            # Backward of a convolution is a convolution with the kernel turned round.
            self.register_buffer(f"turned{key}", weight.flip(2, 3).transpose(0, 1))
            self.register_buffer(f"bias{key}", bias)
            if self._padding_mode(key) == "replicate":
                for name, part in border_kernels(weight)._asdict().items():
                    self.register_buffer(f"{name}{key}", part)
        self.register_buffer("quads", quad_kernel(self.get_buffer("turned1_1")))
        # Folded into weights: A·x + b = A·(x - origin). Zero padding then pads with the origin.
        self.register_buffer("origin", self._origin())

    def _matrix(self) -> Tensor:
        return torch.tensor(self.architecture.matrix, dtype=torch.float64)

    def _origin(self) -> Tensor:
        shift = torch.tensor(self.architecture.shift, dtype=torch.float64)
        origin: Tensor = -torch.linalg.solve(self._matrix(), shift)
        return origin.view(1, 3, 1, 1)

    def _padding_mode(self, key: str) -> PaddingMode:
        first = key == "1_1"
        return self.architecture.input_padding if first else self.architecture.padding

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights, and so of the features."""
        return self.get_buffer("bias1_1").dtype

    def prepare(
        self, device: torch.device | str, dtype: torch.dtype, memory_format: torch.memory_format
    ) -> Network:
        """Cast, lay out and move the weights once, before the first step; returns the network."""
        origin = self.origin
        self.to(device=device, dtype=dtype)
        self.to(memory_format=memory_format)
        # The image meets the network in at least float32: 8 bits of mantissa are not enough for it.
        wide = torch.promote_types(dtype, torch.float32)
        self.origin = origin.to(device=device, dtype=wide)
        if self.origin.is_cuda:
            # cuDNN is slow where half precision has a number of channels that is no multiple of 8.
            turned = F.pad(self.get_buffer("turned1_1"), (0, 0, 0, 0, 0, 0, 0, 5))
            self.turned1_1 = turned.contiguous(memory_format=memory_format)
        return self

    def check_layers(self, names: Sequence[str]) -> None:
        """Raise `FeaturesError` naming the first layer that this network does not have."""
        for name in names:
            if name not in self.layers:
                known = ", ".join(layer for layer in self.layers if layer.startswith("relu"))
                raise FeaturesError(
                    f"unknown layer '{name}' for features '{self.name}': choose from {known}"
                    " (or conv... for the values before the ReLU)"
                )

    def reach(self, names: Sequence[str]) -> tuple[int, int]:
        """``(halo, stride)`` in pixels of the deepest of the named layers."""
        self.check_layers(names)
        return (
            max(self.layers[name].halo for name in names),
            max(self.layers[name].stride for name in names),
        )

    def least_side(self, names: Sequence[str]) -> int:
        """The shortest side of an image, in pixels, that every named layer can work with."""
        paddings = (self.architecture.padding, self.architecture.input_padding)
        # Reflection needs a neighbour to reflect.
        return self.reach(names)[1] * (2 if "reflect" in paddings else 1)

    def forward(
        self, image: Tensor, names: Sequence[str], *, seams: TileSeams | None = None
    ) -> dict[str, Tensor]:
        """Compute the named layers.

        Args:
            image: (B, 3, H, W) float, sRGB in [0, 1]; of a tile what it reads.
            names: layers wanted; nothing beyond the last of them is computed.
            seams: what it exchanges with its neighbours, if it is one tile (B = 1) of several.

        Returns:
            The features (B, C, about H/stride, about W/stride) in the network's dtype.

        Raises:
            FeaturesError: for an unknown layer.
        """
        found = dict(self.produce(image, names, seams=seams))
        return {name: found[name] for name in names}

    def produce(
        self,
        image: Tensor,
        names: Sequence[str],
        *,
        seams: TileSeams | None = None,
        around: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext(),
        rows_of: Callable[[str], slice | None] = lambda _: None,
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the named layers as soon as they are computed; see `forward`.

        Whoever uses a layer before asking for the next frees its memory early, and its share of a
        backward pass comes late: autograd goes back in the order in which things were done.

        Args:
            image: see `forward`.
            names: see `forward`.
            seams: see `forward`.
            around: a context for the name of each layer, entered while the layer is computed.
            rows_of: which rows of a layer, by its name, are wanted; None for all.
        """
        self.check_layers(names)
        missing = set(names)
        wide = torch.promote_types(image.dtype, torch.float32)
        x = image.to(wide) - self.origin.to(wide)
        x = x.to(self.dtype, memory_format=torch.channels_last)
        del image  # Whoever else holds no reference to it gets its memory back.
        for layer, operation in self._operations(set(names), seams):
            with around(layer):
                x = operation(x)
            if layer in missing:
                missing.remove(layer)
                x, found = looked_at(x, rows_of(layer))
                yield layer, found
                del found
            if not missing:
                return

    def _operations(
        self, wanted: set[str], seams: TileSeams | None
    ) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
        for b, block in enumerate(self.architecture.blocks, start=1):
            # What nobody looks at between a convolution and a max pooling needs no ReLU of its own.
            merged = self.pooling == "max" and f"relu{b}_{len(block)}" not in wanted
            for i in range(1, len(block) + 1):
                key = f"{b}_{i}"
                joins = seams is not None and seams.has_neighbours
                if seams is not None and joins:
                    padding = self._padding_mode(key)
                    yield f"join{key}", partial(seams.join, key=key, padding=padding)
                pooled_next = merged and i == len(block)
                fused = f"conv{key}" not in wanted and not pooled_next
                cut = seams.tile.is_cut if seams is not None and joins else (False, False)
                is_open = (False, False) if seams is None or joins else seams.tile.is_open
                # On a GPU a bias is a pass over memory, unless the pooling adds it.
                bias = self.get_buffer(f"bias{key}")
                late = pooled_next and bias.is_cuda and f"conv{key}" not in wanted
                seen = f"relu{key}" in wanted
                convolution = self._convolution(key, cut, is_open)
                operation = partial(convolution, relu=fused, seen=seen, biased=not late)
                yield (f"relu{key}" if fused else f"conv{key}"), operation
                if not (fused or pooled_next):
                    yield f"relu{key}", partial(relu, seen=f"relu{key}" in wanted)
            pool = partial(max_pool, relu=True, bias=bias if late else None)
            yield f"pool{b}", pool if merged else self._pool

    def _convolution(
        self, key: str, cut: tuple[bool, bool], is_open: tuple[bool, bool]
    ) -> Callable[..., Tensor]:
        """A convolution as `conv_relu` of an input and how to go on from there.

        Along axes that are cut, its input has been extended already.
        """
        mode, (rows, columns) = self._padding_mode(key), (int(not is_cut) for is_cut in cut)
        convolution = self._laid_out(key)

        def apply(x: Tensor, **how: Any) -> Tensor:
            padding = (rows, columns)
            if mode == "reflect":
                x = reflect_pad(x, padding, is_open=is_open) if rows or columns else x
                return conv_relu(x, convolution, (0, 0), **how)
            return conv_relu(x, convolution, padding, is_open=is_open, **how)

        return apply

    def _laid_out(self, key: str) -> Convolution:
        """A convolution's weights, as `prepare` left them."""
        get = self.get_buffer
        borders = None
        if self._padding_mode(key) == "replicate":
            borders = Borders(*(get(f"{name}{key}") for name in Borders._fields))
        bias = get(f"bias{key}")
        quads = get("quads") if key == "1_1" and bias.is_cpu else None
        return Convolution(get(f"weight{key}"), bias, get(f"turned{key}"), borders, quads)

    def _pool(self, x: Tensor) -> Tensor:
        if self.pooling == "max":
            return max_pool(x)
        scale = _POOL_SCALE[self.pooling]
        if self.pooling == "average":
            return F.avg_pool2d(x, 2) * scale
        # Of fp16 both squares and the floor would leave the range.
        wide = x.float() if x.dtype == torch.float16 else x
        # The square root has no slope at zero; the floor keeps its gradient finite.
        return ((F.avg_pool2d(wide * wide, 2) * 4 + 1e-8).sqrt() * scale).to(x.dtype)


def random_network(architecture: Architecture, *, seed: int = 0) -> Network:
    """A network with He-initialised random weights, for tests and comparisons."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    for key, before, after in architecture.convolutions():
        std = (2 / (9 * before)) ** 0.5
        weights[f"conv{key}.weight"] = torch.randn(after, before, 3, 3, generator=generator) * std
        weights[f"conv{key}.bias"] = torch.randn(after, generator=generator) * 0.1
    return Network(architecture, weights, name="random")
