"""Roots of covariances, which the Wasserstein distance of two Gaussians needs, and their gradient.

A CPU takes singular values: LAPACK finds them in a third of the time that an iteration takes, and
to more digits. A GPU takes an iteration of a fixed number of steps, which is nothing but matrix
products and waits for no result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_TINY = 1e-12  # Keeps the root of a matrix of zeros finite.
_is_unseen = ContextVar("_is_unseen", default=False)


@contextmanager
def roots_unseen() -> Iterator[None]:
    """Inside, a GPU's roots are not looked at, which would wait for them.

    Those that have no root, because rounding has made a covariance indefinite, are NaN: whoever
    finds that takes them again outside.
    """
    token = _is_unseen.set(True)
    try:
        yield
    finally:
        _is_unseen.reset(token)


class CrossTrace(Function):
    """``tr((R Σ R)^½)`` of a covariance Σ and a symmetric R, both (C, C) positive definite.

    Its gradient for Σ is ``½ R (R Σ R)^-½ R``; R gets none.
    """

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, root: Tensor) -> Tensor:
        """Take both roots at once: the inverse one is the backward pass."""
        found = _from_singular_values(covariance, root) if covariance.is_cpu else None
        trace, slope = found or _from_roots(covariance, root)
        ctx.save_for_backward(slope)
        return trace

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The derivative of the trace of a square root."""
        slope: Tensor = ctx.saved_tensors[0]
        return gradients[0] * slope, None


def _from_singular_values(covariance: Tensor, root: Tensor) -> tuple[Tensor, Tensor] | None:
    """`CrossTrace` and its gradient; None where rounding has made the covariance indefinite.

    With ``Σ = L Lᵀ`` and ``R L = U S Vᵀ``, ``R Σ R`` is ``U S² Uᵀ``. It is never formed: its
    condition is the square of that of ``R L``.
    """
    factor, is_indefinite = torch.linalg.cholesky_ex(covariance)
    if is_indefinite:
        return None
    left, values, _ = torch.linalg.svd(root @ factor)
    half = root @ (left / values.sqrt())
    slope = half @ half.T / 2
    return (values.sum(), slope) if bool(torch.isfinite(slope).all()) else None


def _from_roots(covariance: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    matrix = root @ covariance @ root
    is_unseen = matrix.is_cuda and _is_unseen.get()
    cross, inverse = polar_roots(matrix) if is_unseen else square_roots(matrix)
    return cross.diagonal().sum(), root @ inverse @ root / 2


def square_roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """``M^½`` and ``M^-½`` of a covariance (C, C), whatever rounding has done to it.

    The covariance of a blank picture is the rounding error of its sums and may have eigenvalues
    below zero, from which iterations run away. Then, and only then, eigenvalues are taken, and
    raised to at least a millionth of the largest.
    """
    root, inverse = polar_roots(matrix) if matrix.is_cuda else newton_schulz(matrix)
    if bool(torch.isfinite(inverse).all()) or not bool(torch.isfinite(matrix).all()):
        return root, inverse
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp_min(1e-6 * float(values.abs().max()) + _TINY)
    return (vectors * values.sqrt()) @ vectors.T, (vectors * values.rsqrt()) @ vectors.T


# A quintic whose slope at zero is 3.44 instead of Newton-Schulz's 1.5: it does not converge, but
# carries every singular value from 1e-5 to around one in a few products (coefficients of
# K. Jordan's Muon optimizer).
_LIFT = (3.4445, -4.7750, 2.0315)
_NUM_LIFTS = 9
# Up to a condition number of 1e10 about 6 steps are taken, until nothing changes by more than the
# tolerance. They converge quadratically, so the error is then about the square of it.
_MAX_STEPS, _TOLERANCE = 60, 1e-7


def newton_schulz(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Square root and inverse square root by a coupled iteration (Higham 2008, eq. 6.35).

    A few steps of a steeper polynomial first bring small eigenvalues up, which takes half of the
    products that Newton-Schulz alone needs; nothing but matrix products, so it suits any device.

    Args:
        matrix: (C, C), symmetric positive definite, float32 or float64.

    Returns:
        ``M^½`` and ``M^-½``, both symmetric.
    """
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    scale = torch.linalg.matrix_norm(matrix)
    y, z = matrix / scale, identity
    constant = _LIFT[0] * identity
    for _ in range(_NUM_LIFTS):
        x = z @ y
        step = torch.addmm(constant, x, torch.add(_LIFT[1] * identity, x, alpha=_LIFT[2]))
        y, z = y @ step, step @ z
    constant = 1.5 * identity
    tolerance = max(_TOLERANCE, 4 * torch.finfo(matrix.dtype).eps)
    for _ in range(_MAX_STEPS):
        step = torch.addmm(constant, z, y, alpha=-0.5)
        y, z = y @ step, step @ z
        if torch.dist(step, identity, p=math.inf) < tolerance:
            break
    y, z = (y + y.T) / 2, (z + z.T) / 2
    return y * scale.sqrt(), z / scale.sqrt()


# Each carries singular values from where the one before has left them closest to one that an odd
# quintic can: from 1e-6 to 1 they all get there, up to 1e-12 (Amsel et al. 2025, "The Polar
# Express", algorithm 1).
_QUINTICS = (
    (8.514258082455061, -25.281575954766762, 18.767309358053616),
    (4.257075196727443, -3.160166288472385, 0.5864767658688962),
    (4.256827871287449, -3.159995222216546, 0.5864572527839935),
    (4.255775367659367, -3.1592672143845126, 0.5863742109078712),
    (4.251301905827495, -3.1561724466233616, 0.5860212008399817),
    (4.232387470106781, -3.143078118361268, 0.5845276048318979),
    (4.1541563805752215, -3.088757958066139, 0.5783322356155877),
    (3.858359158845006, -2.8808253054211685, 0.5546316341261242),
    (3.049598399522745, -2.2849888038567885, 0.48706082742570245),
    (2.112055937418367, -1.4938364726662927, 0.4001025026375726),
    (1.878383656950684, -1.2537545015171163, 0.3753756481422589),
    (1.875000017094175, -1.2500000221640861, 0.37500000506991105),
)


def polar_roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The roots of `newton_schulz` in a fixed number of products, by polynomials of degree five.

    Args:
        matrix: (C, C), symmetric positive definite, float64. Of eigenvalues below 1e-12 of the
            largest the inverse roots come out too small.

    Returns:
        ``M^½`` and ``M^-½``, both symmetric; NaN where the matrix is not positive definite.
    """
    scale = torch.linalg.matrix_norm(matrix)
    y, z = matrix / scale, torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for a, b, c in _QUINTICS:
        x = z @ y
        rest = torch.addmm(x, x, x, beta=b, alpha=c)
        # In another order of these products rounding errors would grow (Higham 2008, section 6.4).
        y, z = torch.addmm(y, y, rest, beta=a), torch.addmm(z, rest, z, beta=a)
    # All of its eigenvalues are in [0, 1], but for those that began below zero.
    x = z @ y
    is_sound = torch.linalg.matrix_norm(x) < 1.01 * len(matrix) ** 0.5
    scale = scale.sqrt().masked_fill(~is_sound, math.nan)
    return (y + y.T) / 2 * scale, (z + z.T) / 2 / scale
