"""One block of memory for everything that the graphs of a walk keep.

Between a tile's forward and its backward lie the maps of all other kept tiles. Left to a heap, these
long-lived maps lie scattered between short-lived ones and pin the holes in between, up to twice what
is needed; taken from the kernel each time, every page is cleared anew, which costs more than the
arithmetic. In an arena they lie side by side, in the same pages at every step.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

# Of every map's first byte; vector instructions like it.
_ALIGNMENT = 64


class Arena:
    """Holds what graphs save for their backward, from its start to its end, until it is cleared.

    Args:
        num_bytes: how much it holds; what does not fit any more stays where it is.
        device: where its memory is.
        lasting: tensors that graphs may save as they are, because they outlive every graph.
    """

    def __init__(self, num_bytes: int, device: torch.device, lasting: Iterable[Tensor]) -> None:
        self._memory = torch.empty(num_bytes, dtype=torch.uint8, device=device)
        self._lasting = {tensor.untyped_storage().data_ptr() for tensor in lasting}
        self._used = 0
        self._copies: dict[int, tuple[StorageWeakRef, Tensor]] = {}

    @property
    def num_bytes(self) -> int:
        """How much it holds."""
        return len(self._memory)

    def clear(self) -> None:
        """Begin at the start again. No graph may be alive that saved something here."""
        self._used = 0
        self._copies.clear()

    def keeping(self) -> AbstractContextManager[object]:
        """Graphs built inside of this ``with`` save into the arena."""
        return saved_tensors_hooks(self._keep, _itself)

    def _keep(self, tensor: Tensor) -> Tensor:
        """What a graph saves in place of a tensor: its copy here, one for all who save it."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() in self._lasting or not _is_dense(tensor):
            return tensor
        key = tensor.data_ptr()
        if key in self._copies:
            owner, copy = self._copies[key]
            # Once the storage is gone another tensor may lie in its place.
            if not owner.expired() and _layout(copy) == _layout(tensor):
                return copy
        stop = self._used + tensor.nbytes
        if stop > self.num_bytes:
            return tensor
        place = self._memory[self._used : stop].view(tensor.dtype)
        with torch.no_grad():
            copy = place.as_strided(tensor.shape, tensor.stride()).copy_(tensor)
        self._used = -(-stop // _ALIGNMENT) * _ALIGNMENT
        self._copies[key] = StorageWeakRef(storage), copy
        return copy


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (
        tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    )


def _layout(tensor: Tensor) -> tuple[torch.Size, tuple[int, ...], torch.dtype]:
    return tensor.shape, tensor.stride(), tensor.dtype
