"""What processes tell each other: whether all is well, sums, rows of pictures, what to do next.

`torch.distributed` does it, under torchrun: gloo for what lies in the host's memory, NCCL for what
lies on a GPU. Sums are added in the order of the processes, so that the same run has the same bits.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hires.errors import ProcessLostError
from hires.processes.bands import overlap
from hires.processes.members import Members, distributed, watched
from hires.tiling.geometry import Span


@dataclass(slots=True)
class Traffic:
    """What this process has sent to others, in bytes."""

    rows: int = 0
    sums: int = 0
    told: int = 0


@dataclass(eq=False)
class Group(Members):
    """All processes that paint one picture.

    Attributes:
        traffic: what this one has sent.
        mappings: files whose pages are read as tensors; see `hires.processes.mapped`.
    """

    traffic: Traffic = field(default_factory=Traffic)
    mappings: list[mmap.mmap] = field(default_factory=list)

    def forget(self) -> None:
        """Have no pages of mapped files in memory until they are looked at again."""
        for memory in self.mappings:
            if hasattr(memory, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
                memory.madvise(mmap.MADV_DONTNEED)

    @watched
    def gather(self, values: Sequence[float]) -> list[list[float]]:
        """Some numbers of every process, by its rank."""
        own = torch.tensor(values, dtype=torch.float64)
        found = [torch.empty_like(own) for _ in range(self.size)]
        distributed().all_gather(found, own)
        self.traffic.told += own.nbytes * (self.size - 1)
        return [one.tolist() for one in found]

    @watched
    def add(self, values: Tensor) -> Tensor:
        """The sum of (N,) over all processes, added in their order.

        Each adds up a part of it, and hands that to the others.
        """
        length = -(-len(values) // self.size)
        padded = values.new_zeros(length * self.size)
        padded[: len(values)] = values
        parts = torch.empty_like(padded)
        distributed().all_to_all_single(parts, padded)
        total = parts[:length].clone()
        for rank in range(1, self.size):
            total += parts[rank * length : (rank + 1) * length]
        found = [torch.empty_like(total) for _ in range(self.size)]
        distributed().all_gather(found, total)
        self.traffic.sums += 2 * total.nbytes * (self.size - 1)
        return torch.cat(found)[: len(values)]

    @watched
    def fetch(self, own: Tensor, bands: Sequence[Span], wanted: Sequence[Span]) -> Tensor:
        """Rows of a picture of which every process has some.

        Args:
            own: (1, C, h, W), the rows ``bands[rank]``.
            bands: the rows that each process has, in order.
            wanted: the rows that each process asks for.

        Returns:
            The rows ``wanted[rank]``.
        """
        mine, asked = bands[self.rank], wanted[self.rank]
        found = own.new_empty((*own.shape[:2], asked.length, own.shape[3]))
        arriving: list[tuple[Span, Tensor]] = []
        leaving: list[tuple[int, Tensor]] = []
        coming: list[tuple[int, Tensor]] = []
        for rank in range(self.size):
            rows = overlap(bands[rank], asked)
            if rows is not None and rank == self.rank:
                _rows(found, rows, asked)[...] = _rows(own, rows, mine)
            elif rows is not None:
                arriving.append((rows, _rows(found, rows, asked).contiguous()))
                coming.append((rank, arriving[-1][1]))
            rows = overlap(mine, wanted[rank])
            if rows is not None and rank != self.rank:
                leaving.append((rank, _rows(own, rows, mine).contiguous()))
        self._exchange(leaving, coming)
        for rows, part in arriving:
            _rows(found, rows, asked)[...] = part
        return found

    @watched
    def give_back(self, slope: Tensor, bands: Sequence[Span], seen: Sequence[Span]) -> Tensor:
        """The gradient of what each process has, from those of what `fetch` gave to all.

        Args:
            slope: (1, C, h, W), of the rows ``seen[rank]``.
            bands: the rows that each process has, in order.
            seen: the rows that each process had fetched.

        Returns:
            That of the rows ``bands[rank]``: every process's part, added in their order.
        """
        mine, here = bands[self.rank], seen[self.rank]
        total = slope.new_zeros((*slope.shape[:2], mine.length, slope.shape[3]))
        parts: list[tuple[Span, Tensor]] = []
        leaving: list[tuple[int, Tensor]] = []
        coming: list[tuple[int, Tensor]] = []
        for rank in range(self.size):
            rows = overlap(mine, seen[rank])
            if rows is not None and rank == self.rank:
                parts.append((rows, _rows(slope, rows, here)))
            elif rows is not None:
                parts.append((rows, torch.empty_like(_rows(total, rows, mine).contiguous())))
                coming.append((rank, parts[-1][1]))
            rows = overlap(bands[rank], here)
            if rows is not None and rank != self.rank:
                leaving.append((rank, _rows(slope, rows, here).contiguous()))
        self._exchange(leaving, coming)
        for rows, part in parts:
            _rows(total, rows, mine).add_(part)
        return total

    def _exchange(
        self, leaving: Sequence[tuple[int, Tensor]], coming: Sequence[tuple[int, Tensor]]
    ) -> None:
        there = distributed()
        operations = [there.P2POp(there.isend, part, rank) for rank, part in leaving]
        operations += [there.P2POp(there.irecv, part, rank) for rank, part in coming]
        for work in there.batch_isend_irecv(operations) if operations else ():
            work.wait()
        self.traffic.rows += sum(part.nbytes for _, part in leaving)

    @watched
    def send(self, tensor: Tensor) -> None:
        """Send a contiguous tensor to rank 0."""
        distributed().send(tensor, 0)
        self.traffic.rows += tensor.nbytes

    @watched
    def receive(self, tensor: Tensor, rank: int) -> Tensor:
        """Fill a contiguous tensor with what a process sends to rank 0."""
        distributed().recv(tensor, rank)
        return tensor

    @watched
    def order(self, *numbers: int) -> list[int]:
        """What rank 0 wants done, three numbers at most; the others call it to be told."""
        order = torch.tensor([*numbers, 0, 0, 0][:3], dtype=torch.int64)
        distributed().broadcast(order, 0)
        self.traffic.told += order.nbytes * (self.rank == 0)
        return order.tolist()

    def end(self, order: int) -> None:
        """Give the last order; whoever is gone does not hear it."""
        if not self.is_broken:
            with suppress(ProcessLostError):
                self.order(order)

    @watched
    def tell(self, text: str) -> None:
        """Leave a line for the others, in case that they ask this process what has happened."""
        self.store.set(f"told/{self.rank}", text)

    @watched
    def told(self, rank: int) -> str:
        """The line that a process has left."""
        return str(self.store.get(f"told/{rank}").decode())


def _rows(picture: Tensor, rows: Span, of: Span) -> Tensor:
    """Rows of a canvas in a picture that shows the rows ``of`` it; a view."""
    return picture[..., rows.start - of.start : rows.stop - of.start, :]
