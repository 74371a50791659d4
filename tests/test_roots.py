"""Square roots of covariances, well and ill conditioned, and what rounding makes of them."""

from __future__ import annotations

import math

import pytest
import reference
import torch
from torch import Tensor

from hires.kernels.matrix_roots import (
    CrossTrace,
    _from_roots,
    _from_singular_values,
    newton_schulz,
    polar_roots,
    square_roots,
)


def spd(condition: float, size: int, dtype: torch.dtype) -> Tensor:
    """A symmetric positive definite matrix whose eigenvalues span ``condition`` evenly in log."""
    generator = torch.Generator().manual_seed(size)
    noise = torch.randn(size, size, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(noise).Q
    values = torch.logspace(0, -math.log10(condition), size, dtype=torch.float64)
    matrix: Tensor = (basis * values) @ basis.T
    return matrix.to(dtype)


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_newton_schulz_on_ill_conditioned_matrices(condition: float, scale: float) -> None:
    matrix = scale * spd(condition, 24, torch.float64)
    root, inverse = newton_schulz(matrix)
    identity = torch.eye(24, dtype=torch.float64)
    assert float((root @ root - matrix).norm() / matrix.norm()) < 1e-9
    assert float((root @ inverse - identity).abs().max()) < 1e-5
    torch.testing.assert_close(root, reference.matrix_root(matrix), rtol=0, atol=1e-7 * scale**0.5)


def test_square_roots_of_what_rounding_made_indefinite() -> None:
    values = torch.tensor([1.0, 0.5, 0.0, -1e-4], dtype=torch.float64)
    basis = torch.linalg.qr(spd(10, 4, torch.float64)).Q
    root, inverse = square_roots((basis * values) @ basis.T)
    positive = (basis * values.clamp_min(1e-6)) @ basis.T
    torch.testing.assert_close(root @ root, positive, rtol=0, atol=1e-9)
    identity = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(inverse @ positive @ inverse, identity, rtol=0, atol=1e-5)
    assert all(torch.isfinite(part).all() for part in square_roots(torch.zeros(3, 3)))


def test_square_roots_do_not_hide_a_breakdown() -> None:
    assert torch.isnan(square_roots(torch.full((3, 3), torch.nan))[0]).all()


def test_newton_schulz_in_float32() -> None:
    matrix = spd(1e4, 24, torch.float32)
    root, inverse = newton_schulz(matrix)
    assert float((root @ root - matrix).norm() / matrix.norm()) < 1e-4
    assert torch.isfinite(inverse).all()


def test_newton_schulz_with_one_dominant_direction() -> None:
    # Features after ReLU: one direction holds nearly all of the power.
    direction = torch.ones(64, 1, dtype=torch.float64) / 8
    matrix = direction @ direction.T + 1e-6 * torch.eye(64, dtype=torch.float64)
    root, _ = newton_schulz(matrix)
    torch.testing.assert_close(root, reference.matrix_root(matrix), rtol=0, atol=1e-8)


@pytest.mark.parametrize("condition", [1.0, 1e4, 1e7])
def test_both_ways_to_the_cross_term_agree(condition: float) -> None:
    covariance = spd(condition, 24, torch.float64)
    root = reference.matrix_root(3 * spd(100, 24, torch.float64).flip(0, 1))
    found = _from_singular_values(covariance, root)
    assert found is not None
    wanted = _from_roots(covariance, root)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-6, atol=1e-6)
    cross = reference.matrix_root(root @ covariance @ root)
    torch.testing.assert_close(found[0], cross.diagonal().sum(), rtol=1e-7, atol=0)


def test_cross_trace_gradcheck() -> None:
    root = reference.matrix_root(spd(10, 5, torch.float64).flip(0, 1))

    def trace(covariance: Tensor) -> Tensor:
        found: Tensor = CrossTrace.apply((covariance + covariance.T) / 2, root)
        return found

    assert torch.autograd.gradcheck(trace, (spd(100, 5, torch.float64).requires_grad_(),))


def test_an_indefinite_covariance_goes_the_other_way() -> None:
    covariance = torch.diag(torch.tensor([1.0, 0.5, -1e-6], dtype=torch.float64))
    root = torch.eye(3, dtype=torch.float64)
    assert _from_singular_values(covariance, root) is None
    trace = CrossTrace.apply(covariance.requires_grad_(), root)
    (slope,) = torch.autograd.grad(trace, covariance)
    assert float(trace.detach()) == pytest.approx(1 + 0.5**0.5, rel=2e-3)
    assert torch.isfinite(slope).all()


def test_a_breakdown_is_not_hidden_by_the_cross_term_either() -> None:
    covariance = torch.full((3, 3), torch.nan, dtype=torch.float64)
    assert torch.isnan(CrossTrace.apply(covariance, torch.eye(3, dtype=torch.float64)))


@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_roots_in_a_fixed_number_of_products(condition: float, scale: float) -> None:
    matrix = scale * spd(condition, 24, torch.float64)
    root, inverse = polar_roots(matrix)
    wanted = reference.matrix_root(matrix)
    torch.testing.assert_close(root, wanted, rtol=0, atol=1e-10 * scale**0.5)
    # As far as the condition lets anybody know it.
    residual = (root @ inverse - torch.eye(24, dtype=torch.float64)).abs().max()
    assert float(residual) < 1e-11 + 1e-15 * condition


def test_a_zero_eigenvalue_does_not_hurt_the_others() -> None:
    basis = torch.linalg.qr(spd(10, 24, torch.float64)).Q
    values = torch.linspace(0, 1, 24, dtype=torch.float64)
    root, inverse = polar_roots((basis * values) @ basis.T)
    wanted = (basis * values.sqrt()) @ basis.T
    torch.testing.assert_close(root, wanted, rtol=0, atol=1e-7)
    assert torch.isfinite(inverse).all()


@pytest.mark.parametrize("negative", [-1.0, -1e-4, -1e-8, -1e-11])
def test_a_fixed_number_of_products_tells_of_an_indefinite_matrix(negative: float) -> None:
    basis = torch.linalg.qr(spd(10, 24, torch.float64)).Q
    values = torch.linspace(0.1, 1, 24, dtype=torch.float64)
    values[7] = negative
    root, inverse = polar_roots((basis * values) @ basis.T)
    assert torch.isnan(root).all()
    assert torch.isnan(inverse).all()
    assert torch.isnan(polar_roots(torch.zeros(3, 3, dtype=torch.float64))[0]).all()
