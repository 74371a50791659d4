"""Nearest rows by the cosine, and the loss of the cosine to rows that are given, as a node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.kernels.sums import as_rows

# Products that are alive at once: what a processor's cache holds, and what keeps a GPU busy.
_PRODUCTS = 2**21
_GPU_PRODUCTS = 2**28
# Values of features that are looked at in one go.
_VALUES = 2**18
_GPU_VALUES = 2**26
# Parts that a row of products is cut into: the largest of each column first, which is a vector
# instruction; the place of the largest of a long row is not.
_PARTS = 32


def nearest(
    rows: Tensor,
    directions: Tensor,
    centre: Tensor,
    *,
    others: Tensor | None = None,
    share: float = 0.0,
) -> Tensor:
    """Of each row the number of the direction with the largest cosine, (N,) int32.

    All pairs are looked at, in blocks, so that memory does not grow with their number.

    Args:
        rows: (N, C), any float dtype.
        directions: (M, C) of length one, in the type in which products are taken; shorter ones are
            less near.
        centre: (C,), what rows are taken about, in the type in which that is done.
        others: (N, C), rows that each is mixed with first; None for none.
        share: of them, 0 to 1.
    """
    found = torch.empty(len(rows), dtype=torch.int32, device=rows.device)
    products = _GPU_PRODUCTS if rows.is_cuda else _PRODUCTS
    for start in range(0, len(rows), size := max(products // len(directions), 1)):
        block = rows[start : start + size].to(centre.dtype)
        if others is not None:
            block = block.lerp(others[start : start + size].to(block), share)
        block = block - centre
        # How long a row is does not matter to which direction is nearest.
        found[start : start + size] = _largest(block.to(directions.dtype) @ directions.T)
    return found


def _largest(products: Tensor) -> Tensor:
    """Number of the largest value of each row of (N, M)."""
    num_rows, num_columns = products.shape
    if num_columns % _PARTS:
        return products.argmax(1)
    parts = products.view(num_rows, _PARTS, -1)
    column = parts.amax(1).argmax(1, keepdim=True)
    part = parts.gather(2, column[:, None].expand(-1, _PARTS, -1))[..., 0].argmax(1)
    return part * parts.shape[2] + column[:, 0]


def cosine_error(
    features: Tensor,
    directions: Tensor,
    numbers: Tensor,
    centre: Tensor,
    *,
    least: float,
    dtype: torch.dtype,
    mask: Tensor | None = None,
) -> Tensor:
    """``Σ m (1 - cos(f - centre, directions[number]))``, 0-d, of features (1, C, H, W).

    Args:
        features: any float dtype; a graph saves them and nothing else.
        directions: (M, C) of length one.
        numbers: (H, W) int32, the direction of each position.
        centre: (C,), in the type in which cosines are taken.
        least: length below which a feature counts as if it had that length, so that the slope stays
            finite where a feature is the centre.
        dtype: type of the sum.
        mask: (1, 1, H, W), how much each position counts; None for all alike.
    """
    total: Tensor = _CosineError.apply(features, directions, numbers, centre, (least, dtype, mask))
    return total


class _CosineError(Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        directions: Tensor,
        numbers: Tensor,
        centre: Tensor,
        how: tuple[float, torch.dtype, Tensor | None],
    ) -> Tensor:
        ctx.save_for_backward(features)
        ctx.asked = directions, numbers, centre, how
        least, dtype, mask = how
        total = torch.zeros((), dtype=dtype, device=features.device)
        for _, block, wanted, weights in _blocks(features, directions, numbers, centre, mask):
            length = torch.linalg.vector_norm(block, dim=1).clamp_min_(least)
            error = 1 - torch.linalg.vecdot(block, wanted) / length
            total += (error if weights is None else error * weights).sum(dtype=dtype)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """``m (f cos / |f| - direction) / |f|``, the first part only where ``|f|`` is not least."""
        (features,), (gradient,) = ctx.saved_tensors, gradients
        directions, numbers, centre, (least, _, mask) = ctx.asked
        height, width = features.shape[2:]
        slopes = features.new_empty(height * width, features.shape[1])
        scale = gradient.to(centre.dtype)
        for rows, block, wanted, weights in _blocks(features, directions, numbers, centre, mask):
            length = torch.linalg.vector_norm(block, dim=1)
            along = torch.linalg.vecdot(block, wanted) / length.square()
            along = torch.where(length > least, along, 0)
            outer = scale / length.clamp_min_(least)
            outer = outer if weights is None else outer * weights
            slopes[rows] = (block * along[:, None]).sub_(wanted).mul_(outer[:, None])
        slope = slopes.view(1, height, width, -1).permute(0, 3, 1, 2)
        return slope, None, None, None, None


def _blocks(
    features: Tensor, directions: Tensor, numbers: Tensor, centre: Tensor, mask: Tensor | None
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor | None]]:
    """Which rows they are, their features about the centre, their directions, their weights."""
    rows, wanted = as_rows(features), numbers.reshape(-1)
    weights = None if mask is None else mask.reshape(-1)
    values = _GPU_VALUES if features.is_cuda else _VALUES
    size = max(values // rows.shape[1], 1)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        yield (
            part,
            rows[part].to(centre.dtype) - centre,
            F.embedding(wanted[part], directions).to(centre.dtype),
            None if weights is None else weights[part].to(centre.dtype),
        )
