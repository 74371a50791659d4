"""Small pieces of a step, each in all the ways in which it can be computed, timed alone.

To compare a new way to mask or to pool, add it to `MASKS` or `POOLINGS`: it is timed here, and
`tests/test_gpu.py` holds it to the bits of the eager one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.bench.exercise import Exercise
from hires.bench.roofline import best_seconds
from hires.kernels import fused
from hires.kernels.gradient_masks import max_pool_2x2, pack_positive, pass_positive, unpool_2x2
from hires.kernels.matrix_roots import newton_schulz, polar_roots
from hires.kernels.precision import resolve_precision, synchronize

KERNELS = ("convolutions", "channels", "roots", "masks", "pooling")
# Signatures of `pack_positive` and `pass_positive`.
MASKS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "eager": (pack_positive, pass_positive),
    "fused": (fused.pack_positive, fused.pass_positive),
}
# Signatures of `max_pool_2x2` and `unpool_2x2`.
POOLINGS: dict[
    str,
    tuple[
        Callable[..., tuple[Tensor, Tensor | None]],
        Callable[[Tensor, Tensor, tuple[int, int]], Tensor],
    ],
] = {
    "eager": (max_pool_2x2, unpool_2x2),
    "fused": (fused.max_pool_2x2, fused.unpool_2x2),
}
# Channels, and the side of a map in pixels: VGG-19's blocks at 2048 px, and narrow ones.
_MAPS = ((64, 2048), (128, 1024), (256, 512), (512, 256), (16, 2048), (32, 1024))
_ROOT_CHANNELS = (16, 64, 128, 256, 512)
# What cuDNN likes numbers of channels to be multiples of.
_PADDED_CHANNELS = 8
_REPEATS, _LONGEST_ERROR = 8, 120

Ways = Mapping[str, Callable[[], object]]
Rows = list[dict[str, Any]]


class KernelExercise(Exercise):
    """Pieces of a step on a device, one method each.

    Every method returns ``rows``: ``what`` is computed, the ``way``, and the best ``seconds`` of
    several, or the ``error`` in a line.

    Args:
        device: as ``--device``.
        small: less of everything, for a rehearsal on a CPU.
    """

    def __init__(self, device: str, *, small: bool = False) -> None:
        super().__init__(device)
        self.dtype = resolve_precision("auto", self.device).dtype
        self.maps = ((8, 64),) if small else _MAPS
        self.root_channels = (8,) if small else _ROOT_CHANNELS
        self._generator = torch.Generator(self.device).manual_seed(0)

    def convolutions(self) -> dict[str, Rows]:
        """Convolution, bias and ReLU: one after the other, by cuDNN in one, and with its search."""
        rows: Rows = []
        for channels, side in self.maps:
            x, weight = self._map(channels, side), self._kernel(channels)
            bias = self._random(channels).to(self.dtype)

            ways: Ways = {
                "conv2d, relu_": partial(_convolved_relu, x, weight, bias),
                "cudnn_convolution_relu": partial(_cudnn_convolved_relu, x, weight, bias),
            }
            rows += self._timed(f"{channels} channels at {side} px", ways)
            with _searching():
                searched = {f"{way}, cudnn.benchmark": act for way, act in ways.items()}
                rows += self._timed(f"{channels} channels at {side} px", searched)
        return {"rows": rows}

    def channels(self) -> dict[str, Rows]:
        """The convolutions from and to three channels, and from and to eight."""
        rows: Rows = []
        channels, side = self.maps[0]
        for few in (3, _PADDED_CHANNELS):
            x, y = self._map(few, side), self._map(channels, side)
            there, back = self._kernel(channels, few), self._kernel(few, channels)
            for what, one, weight in (("there", x, there), ("back", y, back)):
                convolve = partial(F.conv2d, one, weight, padding=1)
                ways = {f"{few} channels": convolve}
                rows += self._timed(f"first convolution, {what}, at {side} px", ways)
                with _searching():
                    ways = {f"{few} channels, cudnn.benchmark": convolve}
                    rows += self._timed(f"first convolution, {what}, at {side} px", ways)
        return {"rows": rows}

    def roots(self) -> dict[str, Rows]:
        """Roots of covariances, in float64 and float32."""
        rows: Rows = []
        for channels in self.root_channels:
            for dtype in (torch.float64, torch.float32):
                features = self._random(4 * channels, channels).to(dtype)
                matrix = features.T @ features
                ways: dict[str, Callable[[], object]] = {
                    "eigh": partial(torch.linalg.eigh, matrix),
                    "newton_schulz": partial(newton_schulz, matrix),
                }
                if dtype == torch.float64:
                    ways["polar_roots"] = partial(polar_roots, matrix)
                rows += self._timed(f"{channels} channels, {str(dtype)[6:]}", ways)
        return {"rows": rows}

    def masks(self) -> dict[str, Rows]:
        """Bits of a ReLU and a gradient sent through them: `MASKS`."""
        rows: Rows = []
        for channels, side in self.maps:
            x = self._map(channels, side)
            packed = pack_positive(x)
            for way, (pack, through) in MASKS.items():
                ways: Ways = {
                    f"{way}, pack": partial(pack, x),
                    f"{way}, pass": partial(through, x, packed),
                }
                rows += self._timed(f"{channels} channels at {side} px", ways)
        return {"rows": rows}

    def pooling(self) -> dict[str, Rows]:
        """Pooling with a ReLU and its way back: `POOLINGS`; and PyTorch's, without a ReLU."""
        rows: Rows = []
        for channels, side in self.maps:
            x = self._map(channels, side)
            pooled, switches = max_pool_2x2(x, relu=True, switched=True)
            assert switches is not None
            ways: dict[str, Callable[[], object]] = {
                "max_pool2d": partial(F.max_pool2d, x, 2, return_indices=True)
            }
            for way, (pool, unpool) in POOLINGS.items():
                ways[f"{way}, pool"] = partial(pool, x, relu=True, switched=True)
                ways[f"{way}, unpool"] = partial(unpool, pooled, switches, (side, side))
            rows += self._timed(f"{channels} channels at {side} px", ways)
        return {"rows": rows}

    def _timed(self, what: str, ways: Ways) -> Rows:
        """Time each way; what fails is told in a line, unless the device is lost with it."""
        rows = []
        for way, act in ways.items():
            row: dict[str, Any] = {"what": what, "way": way}
            try:
                row["seconds"] = best_seconds(act, self.device, _REPEATS)
            except Exception as error:
                synchronize(self.device)
                text = str(error).strip().splitlines() or [""]
                row["error"] = f"{type(error).__name__}: {text[0][:_LONGEST_ERROR]}"
            rows.append(row)
        return rows

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self.device)

    def _map(self, channels: int, side: int) -> Tensor:
        return self._laid_out(self._random(1, channels, side, side))

    def _kernel(self, after: int, before: int | None = None) -> Tensor:
        return self._laid_out(self._random(after, before or after, 3, 3))

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.to(self.dtype, memory_format=torch.channels_last)


def _convolved_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, padding=1).relu_()


def _cudnn_convolved_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    ones = [1, 1]
    return torch.cudnn_convolution_relu(x, weight, bias, ones, ones, ones, 1)


@contextmanager
def _searching() -> Iterator[None]:
    """Let cuDNN try all of its algorithms the first time that it meets a shape."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
