"""SOAP: Adam in the slowly turning eigenbasis of Shampoo's second moments (Vyas et al. 2024).

Distillation is a chain of badly conditioned regressions (features are positive and correlated), on
which Adam crawls; SOAP reaches the same errors in a fraction of the steps. The bases are at most as
wide as a layer, so a step costs little beside its convolutions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Steps between two power iterations on every basis.
_REFRESH = 10
# Of the running first and second moments and of Shampoo's matrices.
_DECAY = 0.95


class Soap(torch.optim.Optimizer):
    """SOAP for convolution weights (one basis each for outputs, inputs and taps) and biases (Adam).

    Args:
        parameters: what to train, or groups of it.
        learning_rate: step size, in the units of Adam's.
        weight_decay: decoupled weight decay.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        *,
        learning_rate: float,
        weight_decay: float = 1e-4,
    ) -> None:
        defaults = {"lr": learning_rate, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update every parameter that has a gradient; the first call only looks at it."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, _modes(parameter.grad), group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            _begin(state, gradient)
        for mode, matrix in enumerate(state["matrices"]):
            if matrix is not None:
                rows = gradient.movedim(mode, 0).flatten(1)
                matrix.lerp_(rows @ rows.T, 1 - _DECAY)
        if state["bases"] is None:
            state["bases"] = [None if m is None else _eigenbasis(m) for m in state["matrices"]]
            return
        state["step"] += 1
        state["first"].lerp_(gradient, 1 - _DECAY)
        turned = _turned(gradient, state["bases"])
        state["second"].mul_(_DECAY).addcmul_(turned, turned, value=1 - _DECAY)
        unbias = 1 - _DECAY ** state["step"]
        direction = _turned(state["first"] / unbias, state["bases"])
        direction = direction / ((state["second"] / unbias).sqrt() + 1e-8)
        update = _turned(direction, state["bases"], back=True)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"])
        if state["step"] % _REFRESH == 0:
            _refresh(state)


def _modes(gradient: Tensor) -> Tensor:
    """View a gradient as (outputs, inputs, taps); a bias as (outputs, 1, 1)."""
    shape = (*gradient.shape[:2], -1) if gradient.ndim == 4 else (-1, 1, 1)
    return gradient.contiguous().reshape(shape)


def _begin(state: dict[str, Any], gradient: Tensor) -> None:
    sides = gradient.shape if gradient[0].numel() > 1 else ()  # Biases keep plain Adam.
    state["step"] = 0
    state["first"] = torch.zeros_like(gradient)
    state["second"] = torch.zeros_like(gradient)
    state["matrices"] = [gradient.new_zeros(n, n) if n > 1 else None for n in sides] or [None] * 3
    state["bases"] = None


def _eigenbasis(matrix: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.eigh(matrix).eigenvectors
    return basis.flip(1)


def _turned(tensor: Tensor, bases: list[Tensor | None], *, back: bool = False) -> Tensor:
    """Express a (outputs, inputs, taps) tensor in the bases, or back in the original axes."""
    for basis in bases:
        # Every round takes the front axis and puts it last: after three, all are in place again.
        if basis is None:
            tensor = tensor.movedim(0, -1)
        else:
            tensor = torch.tensordot(tensor, basis, ([0], [1 if back else 0]))
    return tensor


def _refresh(state: dict[str, Any]) -> None:
    """One power iteration per basis, its directions kept in order of their eigenvalues."""
    for mode, (matrix, basis) in enumerate(zip(state["matrices"], state["bases"], strict=True)):
        if matrix is None:
            continue
        order = (basis * (matrix @ basis)).sum(0).argsort(descending=True)
        state["second"] = state["second"].index_select(mode, order)
        state["bases"][mode] = torch.linalg.qr(matrix @ basis[:, order]).Q
