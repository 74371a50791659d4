"""What stands in for the autograd engine, which needs a CUDA context."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.graph import GradientEdge, saved_tensors_hooks

from hires.kernels import activation_buffer


class _Saved:
    """What a graph saves, until it is used: the engine frees it then."""

    def __init__(self, saved: Any) -> None:
        self.saved = saved


_used: list[_Saved] = []


def _freeing(pack: Callable[[Tensor], Any], unpack: Callable[[Any], Tensor]) -> Any:
    """Hooks whose graphs can be freed node by node."""

    def unpacked(saved: _Saved) -> Tensor:
        _used.append(saved)
        return unpack(saved.saved)

    return saved_tensors_hooks(lambda tensor: _Saved(pack(tensor)), unpacked)


@contextmanager
def stand_in() -> Iterator[None]:
    """Inside, ``torch.autograd.backward`` and ``grad`` are those of this module."""
    with (
        mock.patch.object(torch.autograd, "backward", backward),
        mock.patch.object(torch.autograd, "grad", grad),
        mock.patch.object(activation_buffer, "saved_tensors_hooks", _freeing),
        _freeing(lambda tensor: tensor, lambda tensor: tensor),
    ):
        yield


@contextmanager
def autograd_on_fakes() -> Iterator[None]:
    """Inside, graphs of fake CUDA tensors can be walked."""
    with (
        stand_in(),
        # Addresses tell tensors apart; fakes have none.
        mock.patch.object(FakeTensor, "data_ptr", _address),
        mock.patch.object(torch.UntypedStorage, "data_ptr", lambda storage: storage._cdata),
        mock.patch.object(torch.cuda, "Event", mock.Mock),
    ):
        yield


def _address(tensor: Tensor) -> int:
    start: int = tensor.untyped_storage()._cdata
    return start + int(tensor.storage_offset()) * tensor.element_size()


def grad(
    loss: Tensor, leaves: Sequence[Tensor], *, materialize_grads: bool = False
) -> tuple[Tensor | None, ...]:
    """``torch.autograd.grad`` of a number."""
    found: dict[Tensor, Tensor] = {}
    _walk([_edge(loss)], [torch.ones_like(loss)], lambda leaf, g: found.update({leaf: g}))
    return tuple(
        found.get(leaf, torch.zeros_like(leaf) if materialize_grads else None) for leaf in leaves
    )


def backward(roots: Any, gradients: Sequence[Tensor] | None = None) -> None:
    """``torch.autograd.backward``; leaves get their gradients."""

    def accumulate(leaf: Tensor, gradient: Tensor) -> None:
        leaf.grad = gradient if leaf.grad is None else leaf.grad.add_(gradient)

    roots = [roots] if isinstance(roots, Tensor) else roots
    seeds = [torch.ones_like(roots[0])] if gradients is None else gradients
    _walk([_edge(root) for root in roots], seeds, accumulate)


def _edge(root: Tensor | GradientEdge) -> tuple[Any, int]:
    return (
        (root.grad_fn, root.output_nr) if isinstance(root, Tensor) else (root.node, root.output_nr)
    )


def _walk(
    roots: Sequence[tuple[Any, int]],
    gradients: Sequence[Tensor],
    give: Callable[[Tensor, Tensor], object],
) -> None:
    """Run the nodes of a graph as the engine does: the latest of those that are ready first."""
    waiting = _dependencies([node for node, _ in roots])
    slots: dict[Any, dict[int, Tensor]] = {}
    for (node, number), gradient in zip(roots, gradients, strict=True):
        _add(slots, node, number, gradient)
    order = itertools.count()
    ready: list[tuple[int, int, Any]] = []

    def is_ready(node: Any) -> None:
        heapq.heappush(ready, (-node._sequence_nr(), next(order), node))

    for node in dict.fromkeys(node for node, _ in roots):
        if not waiting[node]:
            is_ready(node)
    del roots, gradients, gradient
    while ready:
        _, _, node = heapq.heappop(ready)
        slot = slots.pop(node, {})
        if hasattr(node, "variable"):
            if 0 in slot:
                give(node.variable, slot[0])
            continue
        found = _run(node, slot)
        for (after, number), part in zip(node.next_functions, found, strict=False):
            if after is None:
                continue
            if part is not None:
                _add(slots, after, number, _fitted(part, after._input_metadata[number]))
            waiting[after] -= 1
            if not waiting[after]:
                is_ready(after)
        del found, node, slot
        part = None


def _dependencies(roots: Sequence[Any]) -> Tally[Any]:
    """How many nodes hand something to each."""
    found: Tally[Any] = Tally()
    todo = list(dict.fromkeys(roots))
    seen = set(todo)
    while todo:
        for after, _ in todo.pop().next_functions:
            if after is None:
                continue
            found[after] += 1
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return found


def _run(node: Any, slot: dict[int, Tensor]) -> tuple[Tensor | None, ...]:
    """A node's gradients for what it was made from; then what it saved is freed."""
    given = [slot.get(i) for i in range(len(node._input_metadata))]
    slot.clear()
    with torch.no_grad():
        found = node.apply(*given) if hasattr(node, "apply") else node(*given)
    for saved in _used:
        saved.saved = None
    _used.clear()
    return found if isinstance(found, tuple) else (found,)


def _add(slots: dict[Any, dict[int, Tensor]], node: Any, number: int, gradient: Tensor) -> None:
    slot = slots.setdefault(node, {})
    slot[number] = slot[number] + gradient if number in slot else gradient


def _fitted(gradient: Tensor, expected: Any) -> Tensor:
    """Summed over what was broadcast, and cast, as the engine does."""
    if tuple(gradient.shape) != tuple(expected.shape):
        gradient = gradient.sum_to_size(expected.shape)
    return gradient if gradient.dtype == expected.dtype else gradient.to(expected.dtype)
