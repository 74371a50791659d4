"""The finished sums of all terms judged at once: the loss, and its slope along each sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hires.kernels.matrix_roots import roots_unseen
from hires.losses.terms import Term, Verdict

Key = tuple[int, str, str]
"""Which term, which layer, which of its statistics."""
Judged = tuple[Tensor, dict[str, Tensor], dict[tuple[int, str], Verdict]]


def judge(
    terms: Sequence[Term],
    sums: Mapping[Key, Tensor],
    values: Mapping[int, Tensor],
    zero: Tensor,
    *,
    looks: bool = True,
) -> Judged:
    """Losses of the finished sums, and the slope of the loss along each of them.

    Args:
        terms: of the loss.
        sums: of all terms that are still to be judged.
        values: losses of the others, by the number of the term.
        zero: 0-d, in the type and on the device of the loss.
        looks: whether a loss on a GPU that is not finite, for lack of a root, is judged again by
            eigenvalues. Who does not want to wait for it looks later.

    Returns:
        The weighted sum of the terms, each of them by name, and the verdicts by term and layer.
    """
    if zero.is_cuda:
        # Who looks waits: once for the loss, not for every root that it is made of.
        with roots_unseen():
            found = _judge(terms, sums, values, zero)
        if not looks or torch.isfinite(found[0]):
            return found
    return _judge(terms, sums, values, zero)


def _judge(
    terms: Sequence[Term], sums: Mapping[Key, Tensor], values: Mapping[int, Tensor], zero: Tensor
) -> Judged:
    leaves = {key: _leaf(value) for key, value in sums.items()}
    free = {key: leaf for key, leaf in leaves.items() if leaf.requires_grad}
    loss, losses = zero, dict[str, Tensor]()
    slopes = {key: torch.zeros_like(leaf) for key, leaf in leaves.items()}
    with torch.enable_grad():
        for i, term in enumerate(terms):
            value = values[i] if i in values else _judged(term, i, leaves, zero)
            losses[term.name] = value.detach()
            loss = loss + term.weight * value
        if loss.requires_grad:
            found = torch.autograd.grad(loss, list(free.values()), materialize_grads=True)
            slopes.update(zip(free, found, strict=True))
    verdicts = {
        (i, layer): Verdict(_of(sums, i, layer), _of(slopes, i, layer)) for i, layer, _ in leaves
    }
    return loss.detach(), losses, verdicts


def _leaf(total: Tensor) -> Tensor:
    """A finished sum, to be judged."""
    leaf = total.detach()
    return leaf.requires_grad_() if leaf.is_floating_point() else leaf


def _of(found: Mapping[Key, Tensor], term: int, layer: str) -> dict[str, Tensor]:
    """A term's own of a layer, by name."""
    return {name: part for (i, at, name), part in found.items() if (i, at) == (term, layer)}


def _judged(term: Term, i: int, leaves: Mapping[Key, Tensor], zero: Tensor) -> Tensor:
    """A term's loss; nothing for one that looks at no layer."""
    if not term.layers:
        return torch.zeros_like(zero)
    return term.judge({layer: _of(leaves, i, layer) for layer in term.layers})
