"""Where what a term says of a part's slope (`Term.local`) joins the graph of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hires.losses.positions import View
from hires.losses.terms import Term, Verdict

Verdicts = Mapping[tuple[int, str], Verdict]
"""By the number of the term and the layer."""


def awaiting(features: Tensor, view: View, term: Term, verdicts: Verdicts, number: int) -> Tensor:
    """A number (0-d) to go back from once there is a verdict: ``local`` is not asked before.

    A graph keeps the features and nothing else, so it can be kept from the first walk over the
    tiles, in which nothing is judged yet.

    Args:
        features: (1, C, h, w) of a part.
        view: where it lies.
        term: what looks at it.
        verdicts: filled in when backward begins.
        number: of the term.
    """
    found: Tensor = _Awaiting.apply(features, view, term, verdicts, number)
    return found


class _Awaiting(Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, view: View, term: Term, verdicts: Verdicts, number: int
    ) -> Tensor:
        ctx.save_for_backward(features)
        ctx.asked = view, term, verdicts, number
        return torch.zeros((), dtype=view.sum_dtype, device=features.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The slope of `Term.local`; it comes scaled as features in half precision need it."""
        (features,), (scale,) = ctx.saved_tensors, gradients
        view, term, verdicts, number = ctx.asked
        leaf = features.detach().requires_grad_()
        with torch.enable_grad():
            value = term.local(view, leaf, verdicts[number, view.layer])
            if not value.requires_grad:  # It says nothing of this part.
                return torch.zeros_like(features), None, None, None, None
            (slope,) = torch.autograd.grad(value, [leaf], [scale.to(value.dtype)])
        return slope, None, None, None, None
