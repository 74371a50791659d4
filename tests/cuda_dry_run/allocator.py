"""PyTorch's caching allocator (c10/cuda/CUDACachingAllocator.cpp) as arithmetic."""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass, field

import torch

# Sizes are rounded up to this; up to _SMALL they come from segments of their own kind.
_ROUND = 512
_SMALL, _SMALL_SEGMENT = 2**20, 2 * 2**20
# Up to _LARGE several blocks share a segment; beyond, segments are rounded up.
_LARGE, _LARGE_SEGMENT, _ROUND_SEGMENT = 10 * 2**20, 20 * 2**20, 2 * 2**20


@dataclass(eq=False)
class Block:
    """Part of a segment; neighbours in it are linked."""

    size: int
    is_small: bool
    is_used: bool = False
    number: int = 0
    before: Block | None = field(default=None, repr=False)
    after: Block | None = field(default=None, repr=False)


class CachingAllocator:
    """Best fit, with blocks that are split and merged; segments are kept until memory runs out.

    Args:
        limit: bytes that the card has; None for no limit.

    Attributes:
        allocated: bytes in use now.
        reserved: bytes of all segments now.
        peak_allocated, peak_reserved: the same at most, since `restart_peak`.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.allocated = self.reserved = 0
        self.peak_allocated = self.peak_reserved = 0
        self._numbers = itertools.count(1)
        self._free: dict[bool, list[tuple[int, int, Block]]] = {True: [], False: []}

    def allocate(self, num_bytes: int) -> Block:
        """A block for a tensor of so many bytes, one at least."""
        size = -(-num_bytes // _ROUND) * _ROUND
        is_small = size <= _SMALL
        pool = self._free[is_small]
        place = bisect.bisect_left(pool, (size, 0))
        block = pool.pop(place)[2] if place < len(pool) else self._segment(size, is_small)
        rest = block.size - size
        if rest >= _ROUND if is_small else rest > _SMALL:
            self._split(block, size)
        block.is_used = True
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return block

    def free(self, block: Block) -> None:
        """Take a block back, and merge it with free neighbours."""
        self.allocated -= block.size
        block.is_used = False
        for other in (block.before, block.after):
            if other is None or other.is_used:
                continue
            self._free[other.is_small].remove((other.size, other.number, other))
            first, second = (other, block) if other is block.before else (block, other)
            first.size += second.size
            first.after = second.after
            if second.after is not None:
                second.after.before = first
            block = first
        self._put(block)

    def restart_peak(self) -> None:
        """Count peaks anew."""
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def _segment(self, size: int, is_small: bool) -> Block:
        if is_small:
            num_bytes = _SMALL_SEGMENT
        elif size < _LARGE:
            num_bytes = _LARGE_SEGMENT
        else:
            num_bytes = -(-size // _ROUND_SEGMENT) * _ROUND_SEGMENT
        if self.limit is not None and self.reserved + num_bytes > self.limit:
            self._release()
        if self.limit is not None and self.reserved + num_bytes > self.limit:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory (model): {num_bytes} bytes wanted, {self.allocated} allocated,"
                f" {self.reserved} reserved, of {self.limit}"
            )
        self.reserved += num_bytes
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return Block(num_bytes, is_small)

    def _split(self, block: Block, size: int) -> None:
        rest = Block(block.size - size, block.is_small, before=block, after=block.after)
        if block.after is not None:
            block.after.before = rest
        block.after, block.size = rest, size
        self._put(rest)

    def _put(self, block: Block) -> None:
        block.number = next(self._numbers)
        bisect.insort(self._free[block.is_small], (block.size, block.number, block))

    def _release(self) -> None:
        """Return segments that are free as a whole to the card."""
        for is_small, pool in self._free.items():
            whole = [b for _, _, b in pool if b.before is None and b.after is None]
            self.reserved -= sum(block.size for block in whole)
            self._free[is_small] = [item for item in pool if item[2] not in whole]
