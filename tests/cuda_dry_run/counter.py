"""Counts what Python launches on fake CUDA tensors, and what they take of the card's memory."""

from __future__ import annotations

import math
import os
import sys
import weakref
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cuda_dry_run.allocator import Block, CachingAllocator, ExpandableAllocator
from hires import version

_PACKAGE = f"{Path(version.__file__).parent}{os.sep}"
# What launches nothing, besides views.
_NO_KERNEL = {
    *("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted"),
    *("set_", "resize_", "detach", "alias", "lift", "lift_fresh", "_unsafe_view"),
    *("_reshape_alias", "device", "_local_scalar_dense"),
}
# What waits for the card, whatever its arguments.
_WAITS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal"),
    *("unique_consecutive", "bincount", "is_nonzero", "repeat_interleave", "_linalg_check_errors"),
    *("_linalg_svd", "_linalg_eigh"),
}
# What they write they do not read.
_OVERWRITES = {"copy_", "fill_", "zero_", "normal_", "uniform_", "random_", "bernoulli_"}
# Kernels of operations that launch more than one.
KERNELS: Mapping[str, Callable[[Sequence[Any]], int]] = {
    # The product, then the bias.
    "convolution": lambda args: 1 + (args[2] is not None),
    # Its multi-tensor launches take 320 chunks of 65,536 values each.
    "_fused_adam_": lambda args: max(-(-args[0][0].numel() // (65536 * 320)), 1),
    "linalg_vector_norm": lambda _: 2,
    "dist": lambda _: 2,
}


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts launches on CUDA; to be entered inside of a fake tensor mode.

    Args:
        limit: bytes that the card has; None for no limit.
        expandable: whether the allocator has expandable segments.

    Attributes:
        allocator: what PyTorch's would hold.
        kernels: launches, by operation.
        num_bytes: read and written, by operation.
        line_bytes: the same by line, as ``lines``.
        bus_bytes: copied between the card and the host.
        waits: synchronisations, by the line of hires that asks for them.
        num_copies: copies between host and card, awaited or not.
        lines: launches, by the line of hires that they come from.
        seen: every operation with the types of its CUDA tensors, since the beginning.
    """

    def __init__(self, limit: int | None = None, *, expandable: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.allocator = (ExpandableAllocator if expandable else CachingAllocator)(limit)
        self.seen: set[tuple[Any, frozenset[torch.dtype]]] = set()
        self._blocks: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self.restart()

    def restart(self, *, peaks: bool = True) -> None:
        """Count anew, peaks of memory too if asked; what is allocated stays."""
        self.kernels: Tally[str] = Tally()
        self.num_bytes: Tally[str] = Tally()
        self.line_bytes: Tally[str] = Tally()
        self.waits: Tally[str] = Tally()
        self.lines: Tally[str] = Tally()
        self.num_copies = 0
        self.bus_bytes = 0
        if peaks:
            self.allocator.restart_peak()

    @property
    def num_kernels(self) -> int:
        """Launches since `restart`."""
        return self.kernels.total()

    @property
    def num_waits(self) -> int:
        """Synchronisations since `restart`."""
        return self.waits.total()

    def answer(self, asked: Tensor) -> bool | int | float:
        """What a tensor's value is taken for: all is well."""
        if asked.dtype == torch.bool:
            return True
        return 1.0 if asked.is_floating_point() else 1

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation on its fakes, and count it."""
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[1]
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name == "_local_scalar_dense":
            out: Any = self.answer(given[0])
        else:
            out = func(*args, **kwargs)
        if name == "convolution":
            out = _as_cudnn(out, args)
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        tensors = [*given, *made]
        on_card = [tensor for tensor in tensors if tensor.device.type == "cuda"]
        if on_card:
            line = _line()
            if len({tensor.device for tensor in tensors}) > 1 and name in ("_to_copy", "copy_"):
                self.bus_bytes += made[0].nbytes
            if _waits(name, args, kwargs, tensors):
                self.waits[line] += 1
            self.num_copies += _crosses(name, tensors)
            if not (func.is_view or name in _NO_KERNEL):
                self.seen.add((func, frozenset(tensor.dtype for tensor in on_card)))
                self._launched(name, args, line, _traffic(func, name, args, kwargs, made))
            for tensor in on_card:
                self._hold(tensor)
        return out

    def _launched(self, name: str, args: Sequence[Any], line: str, num_bytes: int) -> None:
        launched = KERNELS[name](args) if name in KERNELS else 1
        self.kernels[name] += launched
        self.lines[line] += launched
        self.num_bytes[name] += num_bytes
        self.line_bytes[line] += num_bytes

    def _hold(self, tensor: Tensor) -> None:
        """Allocate a storage that is new, until it is gone."""
        key = _key(tensor)
        if key in self._blocks:
            return
        storage = tensor.untyped_storage()
        if not storage.nbytes():
            return
        block = self.allocator.allocate(storage.nbytes())

        def gone(_: object, key: int = key, block: Block = block) -> None:
            del self._blocks[key]
            self.allocator.free(block)

        self._blocks[key] = weakref.ref(storage, gone)


def _as_cudnn(out: Tensor, args: Sequence[Any]) -> Tensor:
    """A convolution's output in the layout that it has on a card; that of fakes is another."""
    if any(x.is_contiguous(memory_format=torch.channels_last) for x in args[:2]):
        return out.contiguous(memory_format=torch.channels_last)
    return out


def _traffic(
    func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], made: Sequence[Tensor]
) -> int:
    """Bytes of the card's memory that an operation reads and writes."""
    read, written = [], [*made]
    arguments = func._schema.arguments
    positional = [argument for argument in arguments if not argument.kwarg_only]
    given = [*zip(positional, args, strict=False)]
    given += [
        (argument, kwargs[argument.name]) for argument in arguments if argument.name in kwargs
    ]
    for argument, value in given:
        tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
        is_written = argument.alias_info is not None and argument.alias_info.is_write
        if is_written:
            written += tensors
        if not (is_written and (argument.is_out or name in _OVERWRITES)):
            read += tensors
    found = sum(_unique_bytes(tensors) for tensors in (read, written))
    if name == "convolution" and args[2] is not None:
        found += 2 * _unique_bytes(made)  # The bias is added afterwards.
    return found


def _unique_bytes(tensors: Sequence[Tensor]) -> int:
    """Bytes on the card of different tensors; what is expanded is read once."""
    parts = {}
    for t in tensors:
        if t.device.type == "cuda":
            spread = zip(t.shape, t.stride(), strict=True)
            num_values = math.prod(size for size, stride in spread if stride or not size)
            parts[_key(t), t.storage_offset(), tuple(t.shape), t.dtype] = num_values * t.itemsize
    return sum(parts.values())


def _waits(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], tensors: Sequence[Tensor]
) -> bool:
    """Whether the host waits for the card: it looks at a value, or for a copy between the two."""
    if name in ("_to_copy", "copy_"):
        is_async = kwargs.get("non_blocking") or True in args[2:]
        return _crosses(name, tensors) and not is_async
    by_mask = name.startswith("index") and any(tensor.dtype == torch.bool for tensor in tensors)
    return name in _WAITS or by_mask


def _crosses(name: str, tensors: Sequence[Tensor]) -> bool:
    """Whether an operation copies between host and card."""
    return name in ("_to_copy", "copy_") and len({tensor.device for tensor in tensors}) > 1


def _key(tensor: Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key


def _line() -> str:
    """The innermost line of hires that is running, such as ``engine/objective.py:120``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_PACKAGE):
            return f"{path.removeprefix(_PACKAGE)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
