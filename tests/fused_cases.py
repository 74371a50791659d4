"""Triton's kernels against PyTorch's operations, to the bit.

`test_fused` runs these in a process of its own, where Triton interprets kernels on the CPU. The
interpreter cuts sums off where it should round them to bf16: biases are multiples of a half there.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import random_image
from torch import Tensor

from hires.features.architecture import Architecture
from hires.features.network import random_network
from hires.kernels import fused, gradient_masks, triton_kernels

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
SHAPE = Architecture(blocks=((8, 16), (16, 16), (24, 8)), input_padding="replicate")
SHAPES = [(1, 8, 4, 6), (2, 24, 3, 5), (1, 8, 2, 2), (1, 40, 1, 5), (1, 520, 3, 9)]

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def rough(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Many ties, some infinities, in channels-last; no zero is negative."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=generator) * 2).round() / 2 + 0.0
    chance = torch.rand(shape, generator=generator)
    x[chance < 0.05] = torch.inf
    x[chance > 0.95] = -torch.inf
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def bias_of(channels: int, dtype: torch.dtype) -> Tensor:
    bias = torch.randn(channels, generator=torch.Generator().manual_seed(7))
    return ((bias * 2).round() / 2 if dtype == torch.bfloat16 else bias).to(dtype)


def same_bits(found: Tensor, wanted: Tensor) -> bool:
    """Whether a map in channels-last has the very values of another."""
    assert found.is_contiguous(memory_format=torch.channels_last)
    found, wanted = found.contiguous(), wanted.contiguous()
    if found.dtype == torch.uint8:
        return torch.equal(found, wanted)
    return torch.equal(gradient_masks.bits_of(found), gradient_masks.bits_of(wanted))


@dtypes
@shapes
@pytest.mark.parametrize("biased", [True, False])
def test_bias_relu_and_bits(
    shape: tuple[int, int, int, int], dtype: torch.dtype, biased: bool
) -> None:
    x, bias = rough(shape, dtype), bias_of(shape[1], dtype) if biased else None
    wanted = (x if bias is None else x + bias.view(-1, 1, 1)).relu() + 0.0
    packed = gradient_masks.pack_positive(wanted)
    assert torch.equal(triton_kernels.pack_positive(wanted), packed)
    for is_packed in (True, False):
        found = x.clone()
        bits = triton_kernels.activate_(found, bias, relu=True, packed=is_packed)
        assert same_bits(found, wanted)
        assert torch.equal(bits, packed) if is_packed else not len(bits)


@dtypes
@shapes
def test_a_gradient_passes_bits(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    packed = gradient_masks.pack_positive(rough(shape, dtype))
    batch, channels, height, width = shape
    # Of a map with more lines, as seams leave it; what does not pass may be infinite.
    whole = rough((batch, channels, height + 3, width + 2), dtype, seed=1)
    part = whole[:, :, 2:-1, 1:-1]
    for gradient in (part, part.contiguous(memory_format=torch.channels_last), part.contiguous()):
        with pytest.MonkeyPatch.context() as patch:
            interpret(patch)
            found = fused.pass_positive(gradient, packed)
        assert same_bits(found, gradient_masks.pass_positive(gradient, packed))


@dtypes
@shapes
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_pooling(
    shape: tuple[int, int, int, int], dtype: torch.dtype, relu: bool, biased: bool
) -> None:
    x, bias = rough(shape, dtype), bias_of(shape[1], dtype) if biased else None
    seen = x if bias is None else x + bias.view(-1, 1, 1)
    wanted, places = gradient_masks.max_pool_2x2(seen, relu=relu, switched=True)
    assert places is not None
    before = x.clone()
    for switched in (True, False):
        pooled, switches = triton_kernels.max_pool_2x2(x, bias, relu, switched)
        assert same_bits(pooled + 0.0, wanted + 0.0)
        assert same_bits(switches, places) if switched else not switches.numel()
    assert torch.equal(x, before)
    slope = torch.full_like(wanted, -torch.inf)
    slope.copy_(torch.randn(wanted.shape, generator=torch.Generator().manual_seed(9)))
    found = triton_kernels.unpool_2x2(slope, places, *shape[2:])
    assert same_bits(found, gradient_masks.unpool_2x2(slope, places, shape[2:]))


@dtypes
def test_nan_passes_and_the_first_maximum_wins(dtype: torch.dtype) -> None:
    windows = [[1.0, 3, 3, 2], [2, 2, 2, 2], [-1, 0, -0.0, -2], [torch.nan, 1, 2, 3]]
    windows += [[1, 2, 3, torch.nan], [1, torch.nan, torch.nan, 2], [-0.0, 0.0, -1, -1]]
    x = torch.tensor(windows, dtype=dtype).view(1, -1, 2, 2).repeat(8, 1, 1, 1).transpose(0, 1)
    x = x.contiguous(memory_format=torch.channels_last)
    pooled, switches = triton_kernels.max_pool_2x2(x, None, False, True)
    assert switches[:, 0].flatten().tolist() == [2, 1, 2, 1, 4, 2, 2]
    assert same_bits(pooled[2:3], torch.zeros(1, 8, 1, 1, dtype=dtype))
    assert pooled.isnan()[:, 0].flatten().tolist() == [False] * 3 + [True] * 3 + [False]
    rectified = x.clone()
    triton_kernels.activate_(rectified, None, True, False)
    assert torch.equal(rectified.isnan(), x.isnan())


def interpret(patch: pytest.MonkeyPatch) -> None:
    """Let `fused` take Triton's kernels on a CPU."""
    kernels = SimpleNamespace(**vars(triton_kernels))
    patch.setattr(fused, "_kernels", lambda: kernels)
    patch.setattr(fused, "_is_served", lambda x: x.shape[1] % 8 == 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("names", [("relu1_1", "relu3_1"), ("conv2_1", "relu2_2", "relu3_1")])
def test_a_network_there_and_back(
    names: tuple[str, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_network(SHAPE).prepare("cpu", dtype, torch.channels_last)
    image = random_image(19, 22, seed=3).float()

    def evaluated() -> list[Tensor]:
        leaf = image.clone().requires_grad_()
        found = list(network(leaf, names).values())
        total = torch.stack([f.float().square().sum() for f in found]).sum()
        return [*found, *torch.autograd.grad(total, leaf)]

    wanted = evaluated()
    calls: list[str] = []
    interpret(monkeypatch)
    kernels = fused._kernels()
    for name in ("activate_", "max_pool_2x2", "unpool_2x2", "pass_positive"):
        monkeypatch.setattr(kernels, name, counted(getattr(kernels, name), calls))
    assert all(map(torch.equal, evaluated(), wanted))
    assert set(calls) == {"activate_", "max_pool_2x2", "unpool_2x2", "pass_positive"}


def counted(kernel: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        calls.append(kernel.__name__)
        return kernel(*args)

    return call
