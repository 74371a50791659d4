"""The autograd nodes: right slopes, equal to PyTorch's own modules, exact enough in bf16."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hires.kernels import sums
from hires.kernels.convolution import Convolution, border_kernels, quad_kernel
from hires.kernels.layers import conv_relu, max_pool
from hires.kernels.sums import moment_sums, row_sums, squared_error


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def distinct(*shape: int, seed: int = 0) -> Tensor:
    """Values at least 0.1 apart and away from zero: no ties and no kinks nearby."""
    generator = torch.Generator().manual_seed(seed)
    count = torch.Size(shape).numel()
    order = torch.randperm(count, generator=generator).double()
    return ((order - count / 2) * 0.1 + 0.05).view(shape)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("padding", list(itertools.product((0, 1), (0, 1))))
def test_conv_relu_equals_torch(padding: tuple[int, int], relu: bool) -> None:
    x, weight, bias = random(2, 3, 7, 6), random(4, 3, 3, 3, seed=1), random(4, seed=2)
    turned = weight.flip(2, 3).transpose(0, 1)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = conv_relu(mine, Convolution(weight, bias, turned), padding, relu=relu)
    wanted = F.conv2d(theirs, weight, bias, padding=padding)
    wanted = F.relu(wanted) if relu else wanted
    torch.testing.assert_close(y, wanted, rtol=1e-12, atol=1e-12)
    slope = random(*y.shape, seed=3)
    (found,) = torch.autograd.grad(y, mine, slope)
    (expected,) = torch.autograd.grad(wanted, theirs, slope)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(7, 6), (1, 5), (2, 2)])
@pytest.mark.parametrize("padding", [(1, 1), (0, 1), (1, 0), (0, 0)])
def test_a_replicated_border_equals_a_padded_copy(
    padding: tuple[int, int], size: tuple[int, int]
) -> None:
    if any(not pad and length < 3 for pad, length in zip(padding, size, strict=True)):
        pytest.skip("nothing is left of an unpadded axis that short")
    x, weight, bias = random(2, 3, *size), random(4, 3, 3, 3, seed=1), random(4, seed=2)
    turned = weight.flip(2, 3).transpose(0, 1)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = conv_relu(mine, Convolution(weight, bias, turned, border_kernels(weight)), padding)
    rows, columns = padding
    copy = F.pad(theirs, (columns, columns, rows, rows), mode="replicate")
    wanted = F.relu(F.conv2d(copy, weight, bias))
    torch.testing.assert_close(y, wanted, rtol=1e-12, atol=1e-12)
    slope = random(*y.shape, seed=3)
    (found,) = torch.autograd.grad(y, mine, slope)
    (expected,) = torch.autograd.grad(wanted, theirs, slope)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 6), (7, 6), (8, 5), (7, 5), (4, 4)])
@pytest.mark.parametrize("padding", list(itertools.product((0, 1), (0, 1))))
def test_four_pixels_at_a_time_are_the_same_pixels(
    padding: tuple[int, int], size: tuple[int, int]
) -> None:
    x, weight, bias = random(2, 3, *size), random(8, 3, 3, 3, seed=1), random(8, seed=2)
    turned = weight.flip(2, 3).transpose(0, 1)
    x.requires_grad_()
    plain = conv_relu(x, Convolution(weight, bias, turned), padding)
    quick = conv_relu(x, Convolution(weight, bias, turned, quads=quad_kernel(turned)), padding)
    slope = random(*plain.shape, seed=3)
    found, expected = (torch.autograd.grad(y, x, slope)[0] for y in (quick, plain))
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding", [(1, 1), (0, 1), (0, 0)])
def test_conv_relu_gradcheck(padding: tuple[int, int]) -> None:
    x = random(1, 2, 5, 4).requires_grad_()
    # Every channel is well on one side of the kink.
    weight, bias = 0.01 * random(3, 2, 3, 3, seed=1), torch.tensor([2.0, -2.0, 3.0]).double()
    turned = weight.flip(2, 3).transpose(0, 1)
    assert torch.autograd.gradcheck(
        lambda x: conv_relu(x, Convolution(weight, bias, turned), padding), (x,)
    )


@pytest.mark.parametrize("size", [(6, 8), (7, 8), (6, 9), (7, 9), (2, 3)])
def test_max_pool_equals_torch(size: tuple[int, int]) -> None:
    x = random(2, 3, *size).contiguous(memory_format=torch.channels_last)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, wanted = max_pool(mine), F.max_pool2d(theirs, 2)
    assert torch.equal(y, wanted)
    slope = random(*y.shape, seed=3)
    (found,) = torch.autograd.grad(y, mine, slope)
    (expected,) = torch.autograd.grad(wanted, theirs, slope)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_max_pool_takes_the_relu_along(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, wanted = max_pool(mine, relu=True), F.max_pool2d(F.relu(theirs), 2)
    assert torch.equal(y, wanted)
    slope = random(*y.shape, seed=3)
    (found,) = torch.autograd.grad(y, mine, slope)
    (expected,) = torch.autograd.grad(wanted, theirs, slope)
    assert torch.equal(found, expected)


def test_max_pool_gradcheck() -> None:
    assert torch.autograd.gradcheck(max_pool, (distinct(1, 2, 5, 6).requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ties_send_the_gradient_to_the_first_maximum(dtype: torch.dtype) -> None:
    x = torch.zeros(1, 2, 4, 4, dtype=dtype).requires_grad_()
    (found,) = torch.autograd.grad(max_pool(x).sum(), x)
    wanted = torch.zeros(4, 4, dtype=dtype)
    wanted[::2, ::2] = 1
    assert torch.equal(found, wanted.expand(1, 2, 4, 4))


def test_moment_sums_are_the_formula() -> None:
    features = random(1, 3, 5, 4)
    total, product = moment_sums(features[..., 1:4, 0:3], torch.float64, exact=True)
    f = features[0, :, 1:4, 0:3].flatten(1)
    torch.testing.assert_close(total, f.sum(1))
    torch.testing.assert_close(product, f @ f.T)


def test_moment_sums_gradcheck() -> None:
    features = random(1, 3, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f: moment_sums(f, torch.float64, exact=True), (features,)
    )


def test_squared_error_is_the_formula() -> None:
    features = torch.zeros(1, 2, 3, 3).double()
    target = torch.full((1, 2, 3, 3), 2.0).double()
    assert float(squared_error(features, target, torch.float64)) == 18 * 4
    features[:] = 2
    assert float(squared_error(features, target, torch.float64)) == 0


def test_squared_error_gradcheck() -> None:
    features, target = random(1, 3, 5, 4).requires_grad_(), random(1, 3, 5, 4, seed=1)
    assert torch.autograd.gradcheck(lambda f: squared_error(f, target, torch.float64), (features,))


@pytest.mark.parametrize("num_channels", [8, 64, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_row_sums_against_float64(
    dtype: torch.dtype, num_channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "_BLOCK", 2**14)  # several blocks, the last one shorter
    rows = (random(3001, num_channels).abs() + 1).to(dtype)
    total, product = row_sums(rows, torch.float64, exact=True)
    wide = rows.double()
    torch.testing.assert_close(total, wide.sum(0), rtol=1e-5, atol=0)
    torch.testing.assert_close(product, wide.T @ wide, rtol=1e-5, atol=0)
    assert total.dtype == product.dtype == torch.float64


@pytest.mark.parametrize("num_channels", [8, 200])
def test_inexact_row_sums_are_rounded_no_more_than_bf16(num_channels: int) -> None:
    rows = (random(3001, num_channels).abs() + 1).bfloat16()
    total, product = row_sums(rows, torch.float64, exact=False)
    wide = rows.double()
    torch.testing.assert_close(total, wide.sum(0), rtol=2**-7, atol=0)
    torch.testing.assert_close(product, wide.T @ wide, rtol=2**-7, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("num_rows", [5, 16384, 3 * 16384 + 7, 2**20])
def test_chains_of_rows_as_a_gpu_sums_them(num_rows: int, dtype: torch.dtype) -> None:
    """A blank sky: all rows are alike, and what rounding takes it takes every time."""
    row = torch.tensor([0.1, 3.3, 0.0, 0.7]).to(dtype)
    rows = row.expand(num_rows, 4).contiguous()
    total = sums._chains(rows, sums._column_chains, torch.float64)
    product = sums._chains(rows, sums._product_chains, torch.float64)
    assert total.dtype == product.dtype == torch.float64
    wide = row.double()
    # The error of one chain at most, however many there are.
    torch.testing.assert_close(total, num_rows * wide, rtol=5e-6, atol=0)
    torch.testing.assert_close(product, num_rows * torch.outer(wide, wide), rtol=5e-6, atol=0)


def test_squares_as_a_gpu_sums_them() -> None:
    """All alike: in one chain, what rounding takes it would take every time."""
    flat = torch.full((3 * 2**20 + 7,), 0.7)
    total = sums._chained_squares(flat.clone(), torch.float64)
    assert (total.dtype, total.shape) == (torch.float64, ())
    torch.testing.assert_close(total, flat.double().square().sum(), rtol=5e-6, atol=0)


def test_chains_end_where_they_should() -> None:
    rows = torch.randn(2 * sums._CHAIN + 3, 6, generator=torch.Generator().manual_seed(1)).double()
    product = sums._chains(rows, sums._product_chains, torch.float64)
    torch.testing.assert_close(product, rows.T @ rows, rtol=1e-12, atol=1e-9)
    total = sums._chains(rows, sums._column_chains, torch.float64)
    torch.testing.assert_close(total, rows.sum(0), rtol=1e-12, atol=1e-9)


def test_sums_of_a_blank_picture_do_not_drift() -> None:
    # A chain of 65,536 equal float32 values drifts by 6e-4, all in one direction.
    rows = torch.full((2**17, 16), 0.7)
    total, _ = row_sums(rows, torch.float64, exact=True)
    torch.testing.assert_close(total, rows.double().sum(0), rtol=2e-6, atol=0)
