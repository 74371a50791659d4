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
# Of an expandable segment: more than any card has.
_ADDRESSES = 2**41


@dataclass(eq=False)
class Block:
    """Part of a segment; neighbours in it are linked."""

    size: int
    is_small: bool
    is_used: bool = False
    is_mapped: bool = True
    start: int = 0
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
        size = _rounded(num_bytes, _ROUND)
        is_small = size <= _SMALL
        block = self._fitting(self._free[is_small], size) or self._segment(size, is_small)
        if self._is_worth_keeping(block.size - size, is_small):
            self._put(self._split(block, size))
        block.is_used = True
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return block

    def free(self, block: Block) -> None:
        """Take a block back, and merge it with free neighbours."""
        self.allocated -= block.size
        block.is_used = False
        for other in (block.before, block.after):
            if other is None or other.is_used or not other.is_mapped:
                continue
            self._take(other)
            block = _merged(other, block) if other is block.before else _merged(block, other)
        self._put(block)

    def restart_peak(self) -> None:
        """Count peaks anew."""
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def empty_cache(self) -> None:
        """Give back to the card what is free, as ``torch.cuda.empty_cache``."""
        self._release()

    def _fitting(self, pool: list[tuple[int, int, Block]], size: int) -> Block | None:
        """The smallest free block that is large enough."""
        place = bisect.bisect_left(pool, (size, 0))
        return pool.pop(place)[2] if place < len(pool) else None

    def _is_worth_keeping(self, rest: int, is_small: bool) -> bool:
        """Whether what a block has too much becomes a block of its own."""
        return rest >= _ROUND if is_small else rest > _SMALL

    def _segment(self, size: int, is_small: bool) -> Block:
        if is_small:
            num_bytes = _SMALL_SEGMENT
        elif size < _LARGE:
            num_bytes = _LARGE_SEGMENT
        else:
            num_bytes = _rounded(size, _ROUND_SEGMENT)
        if not self._has_room(num_bytes):
            self._release()
        self._reserve(num_bytes)
        return Block(num_bytes, is_small)

    def _has_room(self, num_bytes: int) -> bool:
        return self.limit is None or self.reserved + num_bytes <= self.limit

    def _reserve(self, num_bytes: int) -> None:
        if not self._has_room(num_bytes):
            raise torch.OutOfMemoryError(
                f"CUDA out of memory (model): {num_bytes} bytes wanted, {self.allocated} allocated,"
                f" {self.reserved} reserved, of {self.limit}"
            )
        self.reserved += num_bytes
        self.peak_reserved = max(self.peak_reserved, self.reserved)

    def _split(self, block: Block, size: int) -> Block:
        """Cut a block; returns what comes after."""
        rest = Block(block.size - size, block.is_small, is_mapped=block.is_mapped)
        rest.start, rest.before, rest.after = block.start + size, block, block.after
        if block.after is not None:
            block.after.before = rest
        block.after, block.size = rest, size
        return rest

    def _put(self, block: Block) -> None:
        block.number = next(self._numbers)
        bisect.insort(self._free[block.is_small], (block.size, block.number, block))

    def _take(self, block: Block) -> None:
        self._free[block.is_small].remove((block.size, block.number, block))

    def _release(self) -> None:
        """Return segments that are free as a whole to the card."""
        for is_small, pool in self._free.items():
            whole = [b for _, _, b in pool if b.before is None and b.after is None]
            self.reserved -= sum(block.size for block in whole)
            self._free[is_small] = [item for item in pool if item[2] not in whole]


class ExpandableAllocator(CachingAllocator):
    """The same with ``expandable_segments:True``: one segment of each kind, which grows by pages.

    Addresses are given pages where nothing that is free is large enough. When memory runs out,
    whole pages that are free go back to the card, and serve other addresses.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__(limit)
        self._first = {
            is_small: Block(_ADDRESSES, is_small, is_mapped=False) for is_small in (True, False)
        }

    def _fitting(self, pool: list[tuple[int, int, Block]], size: int) -> Block | None:
        place = bisect.bisect_left(pool, (size, 0))
        if place == len(pool):
            return None
        # One that can grow is left for what is larger.
        while place + 1 < len(pool) and _grown(pool[place + 1][2]) < _grown(pool[place][2]):
            place += 1
        return pool.pop(place)[2]

    def _is_worth_keeping(self, rest: int, is_small: bool) -> bool:  # noqa: ARG002
        return rest >= _ROUND

    def _segment(self, size: int, is_small: bool) -> Block:
        try:
            return self._mapped(size, is_small)
        except torch.OutOfMemoryError:
            self._release()
            return self._mapped(size, is_small)

    def _mapped(self, size: int, is_small: bool) -> Block:
        """The first addresses with room for a block, with pages as far as they lack them."""
        block = self._first[is_small]
        while block.is_mapped or _room(block) < size:
            assert block.after is not None
            block = block.after
        before = block.before
        if before is not None and not before.is_used:
            block = before
            self._take(block)
        else:
            self._map(block, size)
        while block.size < size:
            after = block.after
            assert after is not None
            if after.is_mapped:
                self._take(after)
            else:
                try:
                    self._map(after, size - block.size)
                except torch.OutOfMemoryError:
                    self._put(block)
                    raise
            _merged(block, after)
        return block

    def _map(self, block: Block, size: int) -> None:
        """Give pages to the first bytes of a block, and cut off the others."""
        num_bytes = min(_rounded(size, _page(block)), block.size)
        self._reserve(num_bytes)
        if num_bytes < block.size:
            self._split(block, num_bytes)
        block.is_mapped = True

    def _release(self) -> None:
        for pool in self._free.values():
            for _, _, block in [*pool]:
                page = _page(block)
                start = _rounded(block.start, page)
                stop = (block.start + block.size) // page * page
                if start < stop:
                    self._unmap(block, start, stop)

    def _unmap(self, block: Block, start: int, stop: int) -> None:
        self._take(block)
        if block.start < start:
            rest = self._split(block, start - block.start)
            self._put(block)
            block = rest
        if block.start + block.size > stop:
            self._put(self._split(block, stop - block.start))
        block.is_mapped = False
        self.reserved -= block.size
        for other in (block.before, block.after):
            if other is not None and not other.is_mapped:
                block = _merged(other, block) if other is block.before else _merged(block, other)


def _rounded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _page(block: Block) -> int:
    return _SMALL_SEGMENT if block.is_small else _LARGE_SEGMENT


def _merged(first: Block, second: Block) -> Block:
    """A block and the one after it."""
    first.size += second.size
    first.after = second.after
    if second.after is not None:
        second.after.before = first
    return first


def _grown(block: Block) -> int:
    """What a block can grow to."""
    after = block.after
    return block.size + (after.size if after is not None and not after.is_mapped else 0)


def _room(block: Block) -> int:
    """Bytes from a block without pages to the next that is in use, and of what is free before."""
    start = block.before if block.before is not None and not block.before.is_used else block
    found = 0
    place: Block | None = start
    while place is not None and not place.is_used:
        found += place.size
        place = place.after
    return found
