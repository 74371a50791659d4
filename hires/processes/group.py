"""What processes tell each other: whether all is well, sums, rows of pictures, what to do next.

`torch.distributed` does it, under torchrun: gloo for what lies in the host's memory, NCCL for what
lies on a GPU. Sums are added in the order of the processes, so that the same run has the same bits.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from hires.errors import ProcessLostError
from hires.processes.bands import overlap
from hires.tiling.geometry import Span

# What torchrun tells a process.
_TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# How long a process may let others wait: rank 0 saves a picture meanwhile. One that dies is noticed
# at once, for its connections break.
_PATIENCE = timedelta(hours=2)
# Within this many seconds whoever is alive says so.
_ROLL_CALL = 10.0


@dataclass(slots=True)
class Traffic:
    """What this process has sent to others, in bytes."""

    rows: int = 0
    sums: int = 0
    told: int = 0


@dataclass(eq=False)
class Group:
    """All processes that paint one picture.

    Attributes:
        rank: number of this one, from 0.
        size: how many there are.
        traffic: what this one has sent.
        is_interrupted: whether it was sent Ctrl-C or SIGTERM.
        is_broken: whether one of them is gone.
        alive: those that answered when the roll was called; rank 0 as long as nobody is gone.
        mappings: files whose pages are read as tensors; see `hires.processes.mapped`.
    """

    rank: int
    size: int
    traffic: Traffic = field(default_factory=Traffic)
    is_interrupted: bool = False
    is_broken: bool = False
    alive: list[int] = field(default_factory=lambda: [0])
    mappings: list[mmap.mmap] = field(default_factory=list)

    def forget(self) -> None:
        """Have no pages of mapped files in memory until they are looked at again."""
        for memory in self.mappings:
            if hasattr(memory, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
                memory.madvise(mmap.MADV_DONTNEED)

    def gather(self, values: Sequence[float]) -> list[list[float]]:
        """Some numbers of every process, by its rank."""
        own = torch.tensor(values, dtype=torch.float64)
        found = [torch.empty_like(own) for _ in range(self.size)]
        with self._watching():
            _distributed().all_gather(found, own)
        self.traffic.told += own.nbytes * (self.size - 1)
        return [one.tolist() for one in found]

    def add(self, values: Tensor) -> Tensor:
        """The sum of (N,) over all processes, added in their order.

        Each adds up a part of it, and hands that to the others.
        """
        length = -(-len(values) // self.size)
        padded = values.new_zeros(length * self.size)
        padded[: len(values)] = values
        parts = torch.empty_like(padded)
        with self._watching():
            _distributed().all_to_all_single(parts, padded)
            total = parts[:length].clone()
            for rank in range(1, self.size):
                total += parts[rank * length : (rank + 1) * length]
            found = [torch.empty_like(total) for _ in range(self.size)]
            _distributed().all_gather(found, total)
        self.traffic.sums += 2 * total.nbytes * (self.size - 1)
        return torch.cat(found)[: len(values)]

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
        distributed = _distributed()
        operations = [distributed.P2POp(distributed.isend, part, rank) for rank, part in leaving]
        operations += [distributed.P2POp(distributed.irecv, part, rank) for rank, part in coming]
        with self._watching():
            for work in distributed.batch_isend_irecv(operations) if operations else ():
                work.wait()
        self.traffic.rows += sum(part.nbytes for _, part in leaving)

    def send(self, tensor: Tensor) -> None:
        """Send a contiguous tensor to rank 0."""
        with self._watching():
            _distributed().send(tensor, 0)
        self.traffic.rows += tensor.nbytes

    def receive(self, tensor: Tensor, rank: int) -> Tensor:
        """Fill a contiguous tensor with what a process sends to rank 0."""
        with self._watching():
            _distributed().recv(tensor, rank)
        return tensor

    def order(self, *numbers: int) -> list[int]:
        """What rank 0 wants done, three numbers at most; the others call it to be told."""
        order = torch.tensor([*numbers, 0, 0, 0][:3], dtype=torch.int64)
        with self._watching():
            _distributed().broadcast(order, 0)
        self.traffic.told += order.nbytes * (self.rank == 0)
        return order.tolist()

    def end(self, order: int) -> None:
        """Give the last order; whoever is gone does not hear it."""
        if not self.is_broken:
            with suppress(ProcessLostError):
                self.order(order)

    def tell(self, text: str) -> None:
        """Leave a line for the others, in case that they ask this process what has happened."""
        self._store().set(f"told/{self.rank}", text)

    def told(self, rank: int) -> str:
        """The line that a process has left."""
        return str(self._store().get(f"told/{rank}").decode())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note Ctrl-C and SIGTERM until the end of the block: all processes stop together.

        Whichever is sent to one of them is acted upon in the next step; see `Together`.
        """

        def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            self.is_interrupted = True

        before = {number: signal.signal(number, note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def leave(self) -> None:
        """Take leave of the others."""
        with suppress(RuntimeError):
            _distributed().destroy_process_group()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Say who is gone if a connection breaks."""
        try:
            yield
        except RuntimeError as error:
            self.is_broken = True
            raise ProcessLostError(self._lost()) from error

    def _lost(self) -> str:
        """Call the roll: whoever does not answer is gone."""
        missing = [*range(self.size)]
        with suppress(RuntimeError):
            store, until = self._store(), time.monotonic() + _ROLL_CALL
            store.set(f"alive/{self.rank}", "yes")
            while missing and time.monotonic() < until:
                missing = [rank for rank in missing if not store.check([f"alive/{rank}"])]
                time.sleep(0.1)
        self.alive = [rank for rank in range(self.size) if rank not in missing]
        if not missing or len(missing) == self.size:
            return "the connection to another process is lost"
        names = [f"{rank} ({self._host(rank)})" for rank in missing]
        word = "process" if len(names) == 1 else "processes"
        return f"{word} {', '.join(names)} of {self.size} died"

    @property
    def speaks(self) -> bool:
        """Whether this process is the one that tells the user: rank 0, or who is left of them."""
        return self.rank == min([*self.alive, self.size])

    def _host(self, rank: int) -> str:
        with suppress(RuntimeError):
            return str(self._store().get(f"host/{rank}").decode())
        return "unknown"

    @staticmethod
    def _store() -> Any:
        return _distributed().distributed_c10d._get_default_store()


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def join() -> Group | None:
    """Meet the other processes that torchrun has started; None if there are none.

    On a machine with GPUs each process takes its own.
    """
    if not all(name in os.environ for name in _TOLD) or int(os.environ["WORLD_SIZE"]) == 1:
        return None
    distributed, has_cuda = _distributed(), torch.cuda.is_available()
    if has_cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if not distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if has_cuda else "gloo"
        distributed.init_process_group(backend, timeout=_PATIENCE)
    group = Group(distributed.get_rank(), distributed.get_world_size())
    Group._store().set(f"host/{group.rank}", f"{socket.gethostname()}, pid {os.getpid()}")
    return group


def neighbours() -> int:
    """How many processes share the memory of this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))


def _rows(picture: Tensor, rows: Span, of: Span) -> Tensor:
    """Rows of a canvas in a picture that shows the rows ``of`` it; a view."""
    return picture[..., rows.start - of.start : rows.stop - of.start, :]


def _distributed() -> Any:
    """Imported only where there are several processes."""
    import torch.distributed

    return torch.distributed
