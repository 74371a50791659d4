"""Loss and exact gradient of a canvas of any size, tile by tile.

Three stages (see docs/architecture.md): *measure* adds up every tile's moments, *judge* evaluates
the losses on them and yields one cotangent per sum, *paint* sends the cotangents back through every
tile. The graphs of as many tiles as the memory budget holds are kept from the first stage to the
third; the others run forward twice. A canvas that fits is one tile with its graph kept: one
ordinary pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.autograd.graph import GradientEdge, get_gradient_edge

from hires.kernels.activation_buffer import Arena
from hires.features.network import Network
from hires.kernels.operations import moment_sums, squared_error
from hires.losses.moments import CENTRED_LOSSES, SUMMED_LOSSES, Moments, StyleLoss
from hires.losses.masks import LayerMasks
from hires.kernels.precision import Precision, fp32_island
from hires.tiling.seams import Seams, TileSeams
from hires.engine.targets import power
from hires.tiling.geometry import Region, Tile, bands
from hires.losses.variation import VARIATIONS
from hires.tiling.planning import TilePlan, canvas_window, kept_bytes, remade_layer, within_memory

# Rows of the total-variation pass are taken in bands of about this many pixels.
_TV_BAND = 2**17


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What is asked of the canvas, and how strongly.

    Attributes:
        style_loss: distance of moments to a target's.
        style_layers: weight of each layer that carries style.
        content_layers: weight of each layer that carries content.
        style: weight of the style loss of all layers.
        content: weight of the content loss of all layers.
        tv: weight of the total variation.
        content_loss: squared error over the target's squared size (``relative``), over the number
            of features (``mse``), or as it is (``sum``).
        tv_loss: a key of `VARIATIONS`.
        layer_reduction: whether layers are averaged (``mean``: only ratios of their weights matter)
            or added up (``sum``).
        pixel_scale: what a channel's 1 is in the pixels that the total variation looks at.
    """

    style_loss: StyleLoss
    style_layers: Mapping[str, float]
    content_layers: Mapping[str, float]
    style: float
    content: float
    tv: float
    content_loss: str = "relative"
    tv_loss: str = "squared"
    layer_reduction: str = "mean"
    pixel_scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def shares(self, layers: Mapping[str, float]) -> dict[str, float]:
        """What each layer's loss counts in its term."""
        total = sum(layers.values()) if self.layer_reduction == "mean" else 1.0
        return {name: weight / total for name, weight in layers.items()}

    def content_divisor(self, target: Tensor, mask: Tensor | None) -> float:
        """What a layer's squared error is divided by."""
        if self.content_loss == "relative":
            return power(target, mask)
        num_positions = target[0, 0].numel() if mask is None else float(mask.double().sum())
        return target.shape[1] * num_positions if self.content_loss == "mse" else 1.0

    def style_divisor(self, num_pixels: float) -> float:
        """What a style loss is divided by."""
        return float(num_pixels) ** 2 if self.style_loss in SUMMED_LOSSES else 1.0

    @property
    def of_terms(self) -> dict[str, float]:
        """The weight of each term."""
        return {"style": self.style, "content": self.content, "tv": self.tv}

    @property
    def names(self) -> tuple[str, ...]:
        """All layers that are looked at, each once."""
        return tuple(dict.fromkeys([*self.style_layers, *self.content_layers]))

    @property
    def is_centred(self) -> bool:
        """Whether the style loss subtracts means, and so needs unrounded moments."""
        return self.style_loss in CENTRED_LOSSES


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Loss and gradient of one canvas.

    Attributes:
        loss: 0-d, the weighted sum of the terms.
        terms: ``style``, ``content`` and ``tv``, 0-d each, before their weights.
        gradient: (1, 3, H, W) float, of the loss; reused by the next evaluation.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    gradient: Tensor


class Objective:
    """Loss and exact gradient of a canvas: call it with one.

    Args:
        network: prepared feature network on the device where tiles are computed.
        weights: what is asked of the canvas.
        style: target moments of every style layer.
        content: target features of every content layer over the whole canvas, any device.
        plan: the tiles.
        precision: types of features and sums.
        mask: (1, 1, H, W) in [0, 1], how much each pixel of the canvas counts in style and content;
            None for all alike. The total variation holds everywhere.
        reduce: adds moments and sums up across processes; nothing to do on one.

    Raises:
        ConfigError: for a mask in which nothing counts.
    """

    def __init__(
        self,
        network: Network,
        weights: Weights,
        *,
        style: Mapping[str, Moments],
        content: Mapping[str, Tensor],
        plan: TilePlan,
        precision: Precision,
        mask: Tensor | None = None,
        reduce: Callable[[Tensor], Tensor] = lambda sums: sums,
    ) -> None:
        self.network = network
        self.weights = weights
        self.style = style
        self.content = content
        self.plan = plan
        self.precision = precision
        self.reduce = reduce
        self._masks = LayerMasks(mask, network, weights.names)
        self._divisors = {
            name: weights.content_divisor(part, self._masks.whole(name))
            for name, part in content.items()
        }
        self._gradient: Tensor | None = None
        self._arena: Arena | None = None
        self._seams = Seams()
        self._anchor = torch.zeros((), requires_grad=True)

    def __call__(self, canvas: Tensor) -> Evaluation:
        """Evaluate a canvas (1, 3, H, W) in [0, 1].

        A pass that runs out of memory is repeated from its start with smaller tiles.
        """

        def attempt(plan: TilePlan) -> Evaluation:
            self.plan = plan
            return self._evaluate(canvas)

        size = (canvas.shape[2], canvas.shape[3])
        names, dtype = self.weights.names, self.precision.dtype
        found, _ = within_memory(attempt, self.network, names, size, self.plan, dtype)
        return found

    def _evaluate(self, canvas: Tensor) -> Evaluation:
        gradient, variation = self._total_variation(canvas)
        try:
            sums, kept = self._measure(canvas)
            with fp32_island(canvas.device):
                loss, terms, cotangents = self._judge(sums, canvas)
            self._paint(canvas, cotangents, kept)
        finally:
            # A complete pass leaves nothing at the seams; one that broke off does.
            self._seams.clear()
        loss = loss + self.weights.tv * variation
        return Evaluation(loss, {**terms, "tv": variation}, gradient)

    def _total_variation(self, canvas: Tensor) -> tuple[Tensor, Tensor]:
        """Start the gradient with that of the total variation; also return its mean per pixel."""
        if self._gradient is None or self._gradient.shape != canvas.shape:
            self._gradient = torch.empty_like(canvas)
        gradient, (height, width) = self._gradient, canvas.shape[2:]
        total = torch.zeros((), dtype=self.precision.sum_dtype, device=canvas.device)
        if not self.weights.tv:
            gradient.zero_()
            return gradient, total
        variation = VARIATIONS[self.weights.tv_loss]
        divisor = self._masks.num_pixels((height, width)) if variation.per_pixel else 1
        scale = self._pixel_scale(canvas)
        for band in bands((height, width), _TV_BAND):
            top, bottom = int(band.rows.start == 0), int(band.rows.stop == height)
            rows = slice(band.rows.start - 1 + top, band.rows.stop + 1 - bottom)
            window = canvas[..., rows, :] if scale is None else canvas[..., rows, :] * scale
            value, slope = variation.measure(window, (top, bottom, 1, 1), (height, width))
            slope = slope.mul_(self.weights.tv / divisor)
            gradient[..., *band.index] = slope if scale is None else slope.mul_(scale)
            total = total + value.to(total.dtype) / divisor
        return gradient, total

    def _pixel_scale(self, canvas: Tensor) -> Tensor | None:
        """(1, 3, 1, 1), or None where pixels are those of the canvas."""
        if self.weights.pixel_scale == (1.0, 1.0, 1.0):
            return None
        scale = torch.tensor(self.weights.pixel_scale, dtype=canvas.dtype, device=canvas.device)
        return scale.view(1, 3, 1, 1)

    def _forward(
        self, canvas: Tensor, tile: Tile, arena: Arena, seams: TileSeams | None
    ) -> dict[str, Tensor]:
        """Run one tile; returns its sums by name.

        Their backward adds the gradient of the tile's pixels to that of the canvas.
        """
        assert self._gradient is not None
        network, weights, dtype = self.network, self.weights, self.precision.sum_dtype
        device = network.origin.device
        # The widest map of all is the cheapest: where a loss looks at it, it is made again. Where
        # none does, its ReLU saves bits, which a layer made again cannot stand in for.
        first = remade_layer(weights.names)
        kept_as: dict[str, AbstractContextManager[object]] = {}
        if self.plan.remakes and first in weights.names:
            kept_as[first] = arena.remaking(lambda: self._remake(first, canvas, tile, seams))
        sums: dict[str, Tensor] = {}
        for name, features in network.produce(
            _Pixels.apply(
                self._anchor, canvas, tile.read, device, self._gradient, _scale(canvas, weights)
            ),
            weights.names,
            seams=seams,
            around=lambda layer: kept_as.get(layer, nullcontext()),
        ):
            with kept_as.get(name, nullcontext()):
                if name in weights.style_layers:
                    sums[f"total {name}"], sums[f"product {name}"] = moment_sums(
                        features, dtype, exact=weights.is_centred, mask=self._masks.part(name, tile)
                    )
                if name in weights.content_layers:
                    target = self.content[name][..., *canvas_window(network.layers[name], tile)]
                    target = target.to(features.device, non_blocking=True)
                    sums[f"content {name}"] = squared_error(
                        features, target, dtype, mask=self._masks.part(name, tile)
                    )
            del features  # Or it would live on while the next layer is computed.
        return sums

    def _remake(self, layer: str, canvas: Tensor, tile: Tile, seams: TileSeams | None) -> Tensor:
        """The first layer of a tile, computed once more."""
        pixels = canvas[..., *tile.read.index].to(self.network.origin.device)
        made: Tensor = self.network(pixels, [layer], seams=seams)[layer]
        return made

    def _room(self) -> Arena:
        """Where graphs keep what they keep; on a GPU, whose allocator does not scatter, nowhere."""
        device = self.network.origin.device
        num_bytes = 0
        if device.type == "cpu":
            num_bytes = kept_bytes(
                self.network, self.weights.names, self.precision.dtype, self.plan
            )
        if self._arena is None or self._arena.num_bytes != num_bytes:
            self._arena = None  # The old one makes room.
            lasting = [*self.network.buffers(), *self.content.values()]
            self._arena = Arena(num_bytes, device, lasting)
        return self._arena

    def _measure(self, canvas: Tensor) -> tuple[dict[str, Tensor], list[dict[str, GradientEdge]]]:
        """Add up the sums of all tiles; also return the graphs of the last few, by those names."""
        sums: dict[str, Tensor] = {}
        kept: list[dict[str, GradientEdge]] = []
        arena = self._room()
        arena.clear()
        for i, tile in enumerate(self.plan.tiles):
            keep = i >= len(self.plan.tiles) - self.plan.num_kept
            seams = self._seams.of(tile, last=keep)
            with torch.set_grad_enabled(keep), arena.keeping():
                parts = self._forward(canvas, tile, arena, seams)
            if keep:
                # Of a tile's sums, only where they come from is needed again.
                kept.append({name: get_gradient_edge(part) for name, part in parts.items()})
            for name, part in parts.items():
                sums[name] = sums[name].add_(part.detach()) if name in sums else part.detach()
        return {name: self.reduce(total) for name, total in sums.items()}, kept

    def _judge(
        self, sums: dict[str, Tensor], canvas: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Losses of the finished sums, and the slope of the loss along each of them."""
        leaves = {name: value.detach().requires_grad_() for name, value in sums.items()}
        zero = torch.zeros((), dtype=self.precision.sum_dtype, device=canvas.device)
        size = (canvas.shape[2], canvas.shape[3])
        style, content = zero, zero
        weights = self.weights
        with torch.enable_grad():
            for name, share in weights.shares(weights.style_layers).items():
                moments = Moments(
                    self._masks.count(name, size),
                    leaves[f"total {name}"],
                    leaves[f"product {name}"],
                )
                style = style + share * weights.style_loss(moments, self.style[name])
            style = style / weights.style_divisor(self._masks.num_pixels(size))
            for name, share in weights.shares(weights.content_layers).items():
                content = content + share * leaves[f"content {name}"] / self._divisors[name]
            loss = weights.style * style + weights.content * content
            slopes = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        cotangents = dict(zip(leaves, slopes, strict=True))
        terms = {"style": style.detach(), "content": content.detach()}
        return loss.detach(), terms, cotangents

    def _paint(
        self, canvas: Tensor, cotangents: dict[str, Tensor], kept: list[dict[str, GradientEdge]]
    ) -> None:
        """Send the cotangents back through every tile, the last one first."""
        scale = _scale(canvas, self.weights)
        slopes = [slope * scale for slope in cotangents.values()]
        repainted = self.plan.tiles[: len(self.plan.tiles) - len(kept)]
        arena = self._room()
        while kept:
            graph = kept.pop()
            torch.autograd.backward([graph[name] for name in cotangents], slopes)
        for tile in reversed(repainted):
            arena.clear()
            seams = self._seams.of(tile, first=False)
            with torch.enable_grad(), arena.keeping():
                sums = self._forward(canvas, tile, arena, seams)
            torch.autograd.backward([sums[name] for name in cotangents], slopes)


class _Pixels(Function):
    """A tile of a canvas, whose gradient is added to the canvas's own as soon as it is known.

    No tile's pixels stay in memory until then, as those of a leaf would.
    """

    @staticmethod
    def forward(
        ctx: Any,
        anchor: Tensor,  # noqa: ARG004 - what makes the output part of a graph
        canvas: Tensor,
        region: Region,
        device: torch.device,
        gradient: Tensor,
        scale: float,
    ) -> Tensor:
        """Copy a region of a canvas to a device; ``anchor`` is any leaf."""
        ctx.gradient, ctx.region, ctx.scale = gradient, region, scale
        pixels: Tensor = canvas[..., *region.index].to(
            device, memory_format=torch.contiguous_format, copy=True
        )
        return pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        """Add the gradient, which was made ``scale`` times larger."""
        part = gradients[0].to(ctx.gradient.device)
        ctx.gradient[..., *ctx.region.index].add_(part, alpha=1 / ctx.scale)
        return None, None, None, None, None, None


def _scale(canvas: Tensor, weights: Weights) -> float:
    """How much larger gradients are inside of the network.

    That of a mean falls with the number of pixels; scaled to be of order one it is safe from
    underflow in half precision. That of a sum would overflow instead.
    """
    return canvas.shape[2] * canvas.shape[3] if weights.content_loss != "sum" else 1
