"""What processes tell each other: whether all is well, sums, rows of pictures, what to do next.

`torch.distributed` does it, under torchrun: gloo for what lies in the host's memory, NCCL for what
lies on a GPU. Sums are added in the order of the processes, so that the same run has the same bits.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from hires.errors import ProcessLostError
from hires.processes.bands import overlap
from hires.processes.pulse import Pulse
from hires.tiling.geometry import Span

# A process that is told to give up what it waits for does so within this many seconds.
_GRACE = 15.0
_GIVEN_UP = 2  # exit code


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
        hosts: machine and number of each process, by its rank.
        store: where lines are left for others.
        pulse: who lives.
        keeps_store: whether the store is in process 0, and not in torchrun.
        is_interrupted: whether it was sent Ctrl-C or SIGTERM.
        is_broken: whether one of them is gone.
        is_computing: whether this one is in a stage, which is left undone once one of them is gone.
        is_over: whether rank 0 has given the last order.
        last_words: who is told what if this process has to be ended from without.
    """

    rank: int
    size: int
    hosts: Sequence[str]
    store: Any
    keeps_store: bool
    traffic: Traffic = field(default_factory=Traffic)
    is_interrupted: bool = False
    is_broken: bool = False
    is_computing: bool = False
    is_over: bool = False
    last_words: Callable[[str], object] = lambda _: None

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.store.clone(), self.rank, self.size, self._alarmed)

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
        with self._watching():
            self.store.set(f"told/{self.rank}", text)

    def told(self, rank: int) -> str:
        """The line that a process has left."""
        with self._watching():
            return str(self.store.get(f"told/{rank}").decode())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note Ctrl-C and SIGTERM until the end of the block: all processes stop together.

        Whichever is sent to one of them is acted upon in the next step; see `Together`.
        """

        def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            if self._is_alone and self.is_computing:
                raise ProcessLostError(self._lost())
            self.is_interrupted = True

        before = {number: signal.signal(number, note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def leave(self) -> None:
        """Take leave of the others; rank 0, which may keep the store, after them."""
        self.is_over = True
        self.pulse.end(is_last=self.rank == 0 and not self.is_broken)
        with suppress(RuntimeError):
            _distributed().destroy_process_group()

    @property
    def speaks(self) -> bool:
        """Whether this process is the one that tells the user: rank 0, or who is left of them."""
        if not self.is_broken:
            return self.rank == 0
        lost = self._missing()
        alive = [rank for rank in range(self.size) if rank not in lost]
        if self.pulse.is_cut_off:  # Nobody can be asked: one speaks on each machine.
            here = _machine(self.hosts[self.rank])
            alive = [rank for rank in alive if _machine(self.hosts[rank]) == here]
        return self.rank == min([*alive, self.size])

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Say who is gone if a connection breaks."""
        try:
            yield
        except RuntimeError as error:
            raise ProcessLostError(self._lost()) from error

    def _lost(self) -> str:
        """Who is gone, in a line."""
        self.is_broken = True
        self.pulse.call_roll()
        missing = self._missing()
        names = [f"{rank} ({self.hosts[rank]})" for rank in missing]
        word = "process" if len(names) == 1 else "processes"
        if names:
            return f"{word} {', '.join(names)} of {self.size} died"
        if self.pulse.is_cut_off:
            return f"torchrun at the machine of process 0 ({self.hosts[0]}) cannot be reached"
        if ended := [f"{rank} ({self.hosts[rank]})" for rank in self.pulse.ended]:
            return f"process {', '.join(ended)} of {self.size} ended before the others"
        return "the connection to another process is lost"

    def _missing(self) -> list[int]:
        """Those that are gone; with the store, the process that kept it."""
        gone = self.pulse.is_cut_off and self.keeps_store and self.rank
        return self.pulse.lost or ([0] if gone else [])

    @property
    def _is_alone(self) -> bool:
        return bool(self.pulse.lost) or self.pulse.is_cut_off

    def _alarmed(self) -> None:
        """Have this process stop waiting for one that will not answer; called in a thread.

        What it computes is interrupted, but not what it saves.
        """
        if self.is_over:
            return
        _break_connections(self.rank)
        if self.is_computing:
            _thread.interrupt_main(signal.SIGTERM)
        given = threading.Event()
        given.wait(_GRACE)
        if self.is_computing and not (self.is_broken or self.is_over):
            text = self._lost()
            if self.speaks:
                self.last_words(text)
            os._exit(_GIVEN_UP)


def _break_connections(rank: int) -> None:
    """Make whatever waits for another process fail, now and from now on."""
    distributed = _distributed()
    with suppress(RuntimeError, AttributeError):
        group = distributed.distributed_c10d._get_default_group()
        # gloo has no other way: one that has waited too long closes its connections.
        word = torch.zeros(1)
        work = distributed.irecv(word, 0 if rank else 1, tag=_NO_TAG)
        work.wait(timedelta(milliseconds=1))
    if torch.cuda.is_available():
        with suppress(RuntimeError, AttributeError):
            group._get_backend(torch.device("cuda")).abort()


def _machine(host: str) -> str:
    return host.split(",")[0]


# Of a message that nobody sends.
_NO_TAG = 2**20
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _rows(picture: Tensor, rows: Span, of: Span) -> Tensor:
    """Rows of a canvas in a picture that shows the rows ``of`` it; a view."""
    return picture[..., rows.start - of.start : rows.stop - of.start, :]


def _distributed() -> Any:
    """Imported only where there are several processes."""
    import torch.distributed

    return torch.distributed
