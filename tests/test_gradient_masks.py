"""Gradients go the way that PyTorch's ReLU and pooling send them, to the bit."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hires.kernels import gradient_masks as switches
from hires.kernels.gradient_masks import max_pool_2x2, pack_positive, pass_positive, unpool_2x2

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
SHAPES = [(1, 3, 4, 6), (2, 5, 7, 9), (2, 8, 3, 2), (1, 1, 2, 2), (1, 13, 12, 5)]

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def rough(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Many ties, zeros of both signs, some infinities."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=generator) * 2).round() / 2
    chance = torch.rand(shape, generator=generator)
    x[chance < 0.05] = torch.inf
    x[chance > 0.95] = -torch.inf
    return x.to(dtype)


def slope_of(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(9)).to(dtype)


@dtypes
@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 1, 1), (1, 8, 1, 1)], ids=str)
def test_a_gradient_passes_where_the_packed_was_positive(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x, gradient = rough(shape, dtype), slope_of(shape, dtype)
    for before, after in itertools.product(LAYOUTS, LAYOUTS):
        packed = pack_positive(x.contiguous(memory_format=before))
        assert packed.dtype == torch.uint8
        assert packed.shape == (-(-x.numel() // 8),)
        found = pass_positive(gradient.contiguous(memory_format=after), packed)
        assert torch.equal(found, torch.where(x > 0, gradient, 0))


@dtypes
def test_what_does_not_pass_is_zero_whatever_it_was(dtype: torch.dtype) -> None:
    x = torch.tensor([0.0, -0.0, -1.0, -torch.inf, 1.0, torch.inf], dtype=dtype).view(1, 6, 1, 1)
    gradient = torch.tensor([torch.inf, torch.nan, -1.0, 1.0, -torch.inf, 2.0], dtype=dtype)
    found = pass_positive(gradient.view(1, 6, 1, 1), pack_positive(x))
    assert found.flatten().tolist() == [0, 0, 0, 0, -torch.inf, 2]


@pytest.fixture(params=[1, 40, 2**19], ids=["row by row", "few rows", "whole"])
def _band(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "_BAND", request.param)


@dtypes
@shapes
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.usefixtures("_band")
def test_pooling_there_and_back_is_pytorchs(
    shape: tuple[int, int, int, int], dtype: torch.dtype, relu: bool
) -> None:
    # A ReLU lets neither zero pass; without one it matters which of two zeros is the maximum.
    x = rough(shape, dtype) if relu else rough(shape, dtype) + 0.0
    leaf = x.clone().requires_grad_()
    wanted = F.max_pool2d(F.relu(leaf) if relu else leaf, 2)
    gradient = slope_of(wanted.shape, dtype)
    (slope,) = torch.autograd.grad(wanted, leaf, gradient)
    for before, after in itertools.product(LAYOUTS, LAYOUTS):
        pooled, places = max_pool_2x2(x.contiguous(memory_format=before), relu=relu, switched=True)
        assert places is not None
        assert (places.dtype, places.shape) == (torch.uint8, pooled.shape)
        assert pooled.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(pooled, wanted)
        back = unpool_2x2(gradient.contiguous(memory_format=after), places, shape[2:])
        assert torch.equal(back, slope)


@dtypes
def test_the_first_maximum_of_a_window_wins(dtype: torch.dtype) -> None:
    windows = list(itertools.product((1.0, 2.0), repeat=4))
    x = torch.tensor(windows, dtype=dtype).view(1, len(windows), 2, 2)
    for relu in (True, False):
        _, places = max_pool_2x2(x, relu=relu, switched=True)
        assert places is not None
        assert places.flatten().tolist() == [window.index(max(window)) + 1 for window in windows]


@dtypes
def test_nothing_passes_a_window_without_a_positive_value(dtype: torch.dtype) -> None:
    windows = [[-1.0, -2.0, -3.0, -1.0], [-0.0] * 4, [0.0] * 4, [-torch.inf] * 4, [-0.0, 0.0] * 2]
    x = torch.tensor(windows, dtype=dtype).view(1, len(windows), 2, 2)
    pooled, places = max_pool_2x2(x, relu=True, switched=True)
    assert places is not None
    assert not pooled.any()
    assert not places.any()
    gradient = torch.full_like(pooled, torch.inf)
    assert not unpool_2x2(gradient, places, (2, 2)).any()


@dtypes
def test_a_maximum_of_two_zeros_lies_at_one_of_them(dtype: torch.dtype) -> None:
    x = torch.tensor([-1.0, -0.0, 0.0, -2.0], dtype=dtype).view(1, 1, 2, 2)
    _, places = max_pool_2x2(x, relu=False, switched=True)
    assert places is not None
    assert places.item() in (2, 3)


@dtypes
@shapes
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.usefixtures("_band")
def test_no_switches_unless_they_are_wanted(
    shape: tuple[int, int, int, int], dtype: torch.dtype, relu: bool
) -> None:
    x = rough(shape, dtype)
    before = x.clone()
    pooled, places = max_pool_2x2(x, relu=relu, switched=False)
    assert places is None
    assert torch.equal(pooled, F.max_pool2d(F.relu(x) if relu else x, 2))
    assert torch.equal(x, before)
