"""Sums over the positions of feature maps, in wide types, as autograd nodes that save little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# Elements per partial sum. A float32 sum over a million positions loses three digits; partial sums
# added up in a wider type keep the error of the whole at that of one part. This many also stay in a
# processor's cache while they are cast, summed and multiplied.
_BLOCK = 2**20
# A GPU wants more of it in one go.
GPU_BLOCK = 64 * _BLOCK
# Elements of the rows that are summed side by side.
_ABREAST = 2**13
# Rows whose products a GPU adds up in float32: a chain of a million may drift.
_CHAIN = 2**14
# Up to this many channels a float32 product costs no more than the memory traffic around it.
_NARROW = 32


def moment_sums(
    features: Tensor, dtype: torch.dtype, *, exact: bool, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``Σ m f`` (C,) and ``Σ m f fᵀ`` (C, C) of features (1, C, H, W), in ``dtype``.

    Args:
        features: what to sum.
        dtype: type of the sums.
        exact: see `row_sums`.
        mask: (1, 1, H, W), how much each position counts; None for all alike.
    """
    sums: tuple[Tensor, Tensor] = _MomentSums.apply(features, dtype, exact, mask)
    return sums


def nothing(features: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A sum of a shape over features (1, C, H, W) none of which count: zeros, also for a slope.

    They are sent back all the same: a tile waits for what its neighbour has for their seam.
    """
    found: Tensor = _Nothing.apply(features, shape, dtype)
    return found


def squared_error(
    features: Tensor, target: Tensor, dtype: torch.dtype, *, mask: Tensor | None = None
) -> Tensor:
    """``Σ m (f - target)²`` (0-d, ``dtype``) of features (1, C, H, W); ``mask`` (1, 1, H, W)."""
    total: Tensor = _SquaredError.apply(features, target, dtype, mask)
    return total


class _MomentSums(Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, dtype: torch.dtype, exact: bool, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(features)
        ctx.mask = mask
        rows = as_rows(features)
        if mask is None:
            return row_sums(rows, dtype, exact=exact)
        return weighted_row_sums(rows, as_rows(mask), dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``m (f (Ḡ + Ḡᵀ) + ḡ)``."""
        total, product = gradients
        (features,) = ctx.saved_tensors
        # The matrix is symmetric, so it does not matter that `linear` transposes it.
        matrix, shift = (product + product.T).to(features.dtype), total.to(features.dtype)
        slope = F.linear(as_rows(features), matrix, shift)
        if ctx.mask is not None:
            slope.mul_(as_rows(ctx.mask).to(slope.dtype))
        height, width = features.shape[2:]
        return slope.view(1, height, width, -1).permute(0, 3, 1, 2), None, None, None


class _Nothing(Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(features)
        return torch.zeros(*shape, dtype=dtype, device=features.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ARG004
        (features,) = ctx.saved_tensors
        return torch.zeros_like(features), None, None


class _SquaredError(Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, target: Tensor, dtype: torch.dtype, mask: Tensor | None
    ) -> Tensor:
        wide = torch.promote_types(features.dtype, torch.float32)
        target = target.to(features.dtype)
        # Both are kept by others: their difference is made again rather than kept as well.
        ctx.save_for_backward(features)
        ctx.target, ctx.mask = target, mask
        difference = (features - target).to(wide)
        if mask is not None:
            difference.mul_(mask.to(wide).sqrt())
        flat = difference.flatten()
        return _chained_squares(flat, dtype) if flat.is_cuda else torch.dot(flat, flat).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``2 m (f - target)``."""
        (gradient,) = gradients
        (features,) = ctx.saved_tensors
        slope = torch.sub(features, ctx.target, out=torch.empty_like(features))
        if ctx.mask is not None:
            slope.mul_(ctx.mask.to(slope.dtype))
        return slope.mul_((2 * gradient).to(features.dtype)), None, None, None


def as_rows(features: Tensor) -> Tensor:
    """View (or copy) (1, C, H, W) features as (N, C), one row per position."""
    return features[0].permute(1, 2, 0).reshape(-1, features.shape[1])


def blocks(rows: Tensor) -> tuple[Tensor, ...]:
    """Cut (N, ...) rows into what is summed in one go."""
    size = _BLOCK if rows.device.type == "cpu" else GPU_BLOCK
    return torch.split(rows, max(size // rows.shape[1], 1))


def column_sums(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum of the rows of (N, C), in ``dtype``.

    A product with ones: on a CPU it is many times faster than a sum over the outer dimension. It
    adds up every column in one chain, and a long one drifts in float32 (by 6e-4 for 65,536 equal
    values, a blank sky); so several rows are laid side by side, which makes the chains short.
    """
    num_rows, num_channels = rows.shape
    abreast = max(_ABREAST // num_channels, 1)
    whole = num_rows // abreast * abreast
    wide = rows[:whole].reshape(-1, abreast * num_channels)
    sums = torch.ones(1, len(wide), dtype=rows.dtype, device=rows.device) @ wide
    rest = rows[whole:].sum(0, dtype=dtype)
    return rest + sums.view(abreast, num_channels).sum(0, dtype=dtype)


def block_sums(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum of the rows of (N, C), to be added to one in ``dtype``; so few that a cache holds them.

    A CPU adds them up in a cascade of short chains, and does so fast within a cache.
    """
    return _chains(rows, _column_chains, dtype) if rows.is_cuda else rows.sum(0)


def row_sums(rows: Tensor, dtype: torch.dtype, *, exact: bool) -> tuple[Tensor, Tensor]:
    """``Σ row`` (C,) and ``Σ rowᵀ row`` (C, C) of an (N, C) matrix, added up in ``dtype``.

    With ``exact`` the products of half-precision rows are not rounded to half precision on their
    way out, which a covariance (the difference of two large numbers) cannot bear.
    """
    num_channels = rows.shape[1]
    cast = _is_half(rows) and (exact or num_channels <= _NARROW)
    total, product = _zeros(rows, dtype)
    for block in blocks(rows):
        if rows.is_cuda:
            total += _chains(block, _column_chains, dtype)
            product += _chains(block, _product_chains, dtype)
            continue
        wide = block.float() if cast else block
        total += column_sums(wide, dtype)
        product += wide.T @ wide
    return total, product


def weighted_row_sums(rows: Tensor, mask: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """``Σ m row`` (C,) and ``Σ m rowᵀ row`` (C, C) of (N, C) rows, weighted by (N, 1).

    Products are never rounded to half precision, and the matrix is that of rows times ``√m``:
    symmetric and positive, whatever rounding does.
    """
    wide = torch.promote_types(rows.dtype, torch.float32)
    total, product = _zeros(rows, dtype)
    start = 0
    for block in blocks(rows):
        roots = mask[start : start + len(block)].to(wide).sqrt()
        weighted = block.to(wide) * roots
        if rows.is_cuda:
            product += _chains(weighted, _product_chains, dtype)
        else:
            product += weighted.T @ weighted
        total += column_sums(weighted.mul_(roots), dtype)
        start += len(block)
    return total, product


def _chains(rows: Tensor, sums: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Tensor:
    """Sums over all rows of (N, C), in ``dtype``, of those that a function finds of each chain.

    The function takes (B, n, C), B chains of n rows, and returns their sums (B, ...).
    """
    whole = len(rows) // _CHAIN * _CHAIN
    parts = (rows[:whole].reshape(-1, _CHAIN, rows.shape[1]), rows[whole:].unsqueeze(0))
    found = [sums(part).sum(0, dtype=dtype) for part in parts if part.numel()]
    return reduce(torch.add, found)


def _chained_squares(flat: Tensor, dtype: torch.dtype) -> Tensor:
    """``Σ x²`` (0-d, ``dtype``) of (N,) values in at least float32, which are changed."""
    return _chains(flat.square_().unsqueeze(1), _column_chains, dtype)[0]


def _column_chains(chains: Tensor) -> Tensor:
    """``Σ row`` of each chain, (B, C) in at least float32."""
    return chains.sum(1, dtype=torch.promote_types(chains.dtype, torch.float32))


def _product_chains(chains: Tensor) -> Tensor:
    """``Σ rowᵀ row`` of each chain, (B, C, C) in at least float32."""
    if not _is_half(chains):
        return torch.bmm(chains.mT, chains)
    if chains.is_cuda:
        return torch.bmm(chains.mT, chains, out_dtype=torch.float32)
    return _product_chains(chains.float())


def _is_half(rows: Tensor) -> bool:
    return rows.dtype in (torch.bfloat16, torch.float16)


def _zeros(rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    num_channels = rows.shape[1]
    product = torch.zeros(num_channels, num_channels, dtype=dtype, device=rows.device)
    return torch.zeros(num_channels, dtype=dtype, device=rows.device), product
