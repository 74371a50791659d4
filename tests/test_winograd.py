"""Winograd's convolution is PyTorch's convolution, whatever the size, the padding and the band."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hires.kernels import winograd
from hires.kernels.winograd import winograd_conv, winograd_kernel, winograd_pays

CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def assert_equal(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> None:
    found = winograd_conv(x, winograd_kernel(weight), bias, padding)
    wanted = F.conv2d(x, weight, bias, padding=padding)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("band", [1, 5000, 2**30])
@pytest.mark.parametrize("padding", list(itertools.product((0, 1, 2), (0, 1, 2))))
def test_it_equals_a_direct_convolution(
    monkeypatch: pytest.MonkeyPatch, padding: tuple[int, int], band: int
) -> None:
    monkeypatch.setattr(winograd, "_BAND", band)
    weight, bias = random(5, 3, 3, 3, seed=1), random(5, seed=2)
    for size in itertools.product((1, 2, 3, 4, 9, 14), (1, 2, 3, 6, 7)):
        if all(length + 2 * pad >= 3 for length, pad in zip(size, padding, strict=True)):
            assert_equal(random(2, 3, *size), weight, bias, padding)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 7), (7, 1), (16, 40), (40, 16)])
def test_any_number_of_channels(before: int, after: int) -> None:
    assert_equal(random(1, before, 6, 5), random(after, before, 3, 3, seed=1), None, (1, 1))


def test_one_row_of_tiles_at_a_time_where_the_kernel_is_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heights = []
    multiply = torch.bmm

    def recorded(tiles: Tensor, kernel: Tensor, *, out: Tensor) -> Tensor:
        heights.append(tiles.shape[1] // 64)
        return multiply(tiles, kernel, out=out)

    monkeypatch.setattr(winograd, "_BAND", 1)
    monkeypatch.setattr(torch, "bmm", recorded)
    assert_equal(random(1, 2, 9, 128), random(2, 2, 3, 3, seed=1), None, (1, 1))
    assert heights == [1] * 5


def test_the_layout_of_the_input_does_not_matter() -> None:
    x = random(2, 4, 7, 8)
    kernel = winograd_kernel(random(3, 4, 3, 3, seed=1))
    found = winograd_conv(x.contiguous(memory_format=torch.channels_last), kernel, None, (1, 1))
    assert torch.equal(found, winograd_conv(x, kernel, None, (1, 1)))


def test_the_input_stays_as_it_is() -> None:
    x, bias = random(1, 4, 6, 6), random(3, seed=2)
    kernel = winograd_kernel(random(3, 4, 3, 3, seed=1))
    copies = [x.clone(), bias.clone(), kernel.clone()]
    winograd_conv(x, kernel, bias, (1, 1))
    assert all(torch.equal(one, two) for one, two in zip(copies, (x, bias, kernel), strict=True))


def test_the_way_back_is_the_turned_kernel() -> None:
    x, weight = random(1, 4, 7, 6).requires_grad_(), random(5, 4, 3, 3, seed=1)
    y = F.conv2d(x, weight, padding=(1, 0))
    slope = random(*y.shape, seed=2)
    (wanted,) = torch.autograd.grad(y, x, slope)
    turned = weight.flip(2, 3).transpose(0, 1)
    found = winograd_conv(slope, winograd_kernel(turned), None, (1, 2))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 8e-3)], ids=["fp32", "bf16"]
)
def test_low_precision_costs_little(dtype: torch.dtype, bound: float) -> None:
    x = random(1, 64, 24, 23).relu().to(dtype)
    weight, bias = random(48, 64, 3, 3, seed=1) * (2 / 9 / 64) ** 0.5, random(48, seed=2)
    found = winograd_conv(x, winograd_kernel(weight).to(dtype), bias.to(dtype), (1, 1))
    wanted = F.conv2d(x.double(), weight, bias, padding=1)
    assert found.dtype == dtype
    assert (found - wanted).norm() < bound * wanted.norm()


def test_channels_that_do_not_match_are_refused() -> None:
    kernel = winograd_kernel(random(5, 4, 3, 3))
    for channels in (1, 3):
        with pytest.raises(RuntimeError):
            winograd_conv(random(1, channels, 6, 6), kernel, None, (1, 1))


def test_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_multiplies_slowly", lambda: True)
    assert winograd_pays(512, 512, torch.bfloat16, CPU)
    assert winograd_pays(128, 128, torch.bfloat16, CPU)
    assert not winograd_pays(512, 64, torch.bfloat16, CPU)
    assert not winograd_pays(64, 512, torch.bfloat16, CPU)
    assert not winograd_pays(512, 512, torch.bfloat16, torch.device("cuda"))
    # Exactness comes before speed.
    assert not winograd_pays(512, 512, torch.float32, CPU)
    assert not winograd_pays(512, 512, torch.float64, CPU)


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("capability", ["AVX512", "AVX2", "NEON"])
def test_matrix_units_are_faster(
    monkeypatch: pytest.MonkeyPatch, capability: str, amx: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    wanted = capability != "NEON" and not amx
    assert winograd_pays(512, 512, torch.bfloat16, CPU) is wanted
