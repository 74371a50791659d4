"""One block of memory for all activations that graphs save for their backward.

Between a tile's forward and its backward lie those of all other tiles. Left to a heap, what lasts
so long lies scattered between what does not, and pins the holes in between; taken from the system
each time, every page is cleared anew, which costs more than the arithmetic. In one block it lies
side by side, in the same pages at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

# Of every map's first byte; vector instructions like it.
_ALIGNMENT = 64


class ActivationBuffer:
    """Holds what graphs save for their backward, one after the other, until it is cleared.

    Args:
        num_bytes: how much it holds; what does not fit any more stays where it is.
        device: where its memory is.
        lasting: tensors that graphs may save as they are, because they outlive every graph.

    Attributes:
        memory: its bytes.
        used_bytes: how many are in use, from the start.
    """

    def __init__(self, num_bytes: int, device: torch.device, lasting: Iterable[Tensor]) -> None:
        self.memory = torch.empty(num_bytes, dtype=torch.uint8, device=device)
        self._lasting = {tensor.untyped_storage().data_ptr() for tensor in lasting}
        self.used_bytes = 0
        # By the storage of what was copied: whether it is gone, its place there, and the copy.
        self._copies: dict[int, tuple[Callable[[], bool], int, Tensor]] = {}

    @property
    def num_bytes(self) -> int:
        """How much it holds."""
        return len(self.memory)

    def clear(self) -> None:
        """Begin at the start again. No graph may be alive that saved something here."""
        self.used_bytes = 0
        self._copies.clear()

    def saving(self) -> AbstractContextManager[object]:
        """Graphs built inside of this ``with`` save into the buffer."""
        return saved_tensors_hooks(self.save, lambda saved: saved)

    def recomputing(
        self, again: Recomputed, found: Tensor | None = None, rows: slice | None = None
    ) -> AbstractContextManager[object]:
        """Graphs built inside of this ``with`` do not save one tensor: it is made again.

        Args:
            again: that tensor.
            found: the same as it was computed, where graphs save others too: those are kept. None
                where it is the only one that they save.
            rows: of ``again`` that ``found`` is; None for all.
        """
        key = None if found is None else (found.data_ptr(), _layout(found))

        def pack(tensor: Tensor) -> Tensor | Recomputed:
            if self.lasts(tensor):
                return tensor
            is_it = key is None or key == (tensor.data_ptr(), _layout(tensor))
            return again.wanted() if is_it else self.save(tensor)

        def unpack(saved: Tensor | Recomputed) -> Tensor:
            if not isinstance(saved, Recomputed):
                return saved
            whole = saved.get()
            return whole if rows is None else whole[..., rows, :]

        return saved_tensors_hooks(pack, unpack)

    def lasts(self, tensor: Tensor) -> bool:
        """Whether graphs may save a tensor as it is."""
        return tensor.untyped_storage().data_ptr() in self._lasting

    def save(self, tensor: Tensor) -> Tensor:
        """What a graph saves in place of a tensor: its copy here, one for all who save it.

        What has no copy is detached: an output that its own node held would hold that node, a cycle
        that Python's collector does not see, and a graph that never runs back would stay for ever.
        """
        if self.lasts(tensor) or not _is_dense(tensor):
            return tensor.detach()
        key = tensor.untyped_storage().data_ptr()
        if key in self._copies:
            is_gone, before, copy = self._copies[key]
            # Another tensor may lie in the place of one that is gone.
            if not is_gone():
                part = _part(copy, tensor, int(tensor.storage_offset()) - before)
                if part is not None:
                    return part
        stop = self.used_bytes + tensor.nbytes
        if stop > self.num_bytes:
            return tensor.detach()
        place = self.memory[self.used_bytes : stop].view(tensor.dtype)
        with torch.no_grad():
            copy = place.as_strided(tensor.shape, tensor.stride()).copy_(tensor)
        self.used_bytes = -(-stop // _ALIGNMENT) * _ALIGNMENT
        owner: Any = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        self._copies[key] = owner.expired, int(tensor.storage_offset()), copy
        return copy


class Recomputed:
    """A tensor that is made when it is first asked for, and forgotten when it was last.

    Args:
        compute: computes it, bit by bit as it was.
    """

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        self._compute = compute
        self._num_wanted = 0
        self._found: Tensor | None = None

    def wanted(self) -> Recomputed:
        """Count one more who will `get` it."""
        self._num_wanted += 1
        return self

    def get(self) -> Tensor:
        """Compute it, unless it is there still."""
        if self._found is None:
            with torch.no_grad():
                self._found = self._compute()
        found = self._found
        self._num_wanted -= 1
        if not self._num_wanted:
            self._found = None
        return found


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (
        tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    )


def _part(copy: Tensor, tensor: Tensor, first: int) -> Tensor | None:
    """What the copy of a map has of a tensor in the same memory, or of some rows of it.

    Args:
        copy: (1, C, H, W) or any other shape.
        tensor: the same shape, or (1, C, h, W).
        first: how many values lie between their beginnings.
    """
    if _layout(copy) == _layout(tensor):
        return copy if not first else None
    if copy.ndim != 4 or tensor.ndim != 4 or first < 0 or copy.dtype != tensor.dtype:
        return None
    row, rest = divmod(first, copy.stride(2))
    height = tensor.shape[2]
    if rest or row + height > copy.shape[2]:
        return None
    part = copy.narrow(2, row, height)
    return part if _layout(part) == _layout(tensor) else None


def _layout(tensor: Tensor) -> tuple[torch.Size, tuple[int, ...], torch.dtype]:
    return tensor.shape, tensor.stride(), tensor.dtype
