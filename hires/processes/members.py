"""The processes that paint one picture: who they are, who is gone, who was told to stop."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from types import FrameType
from typing import Any, TypeVar, cast

import torch

from hires.errors import ProcessLostError
from hires.processes.pulse import Pulse
from hires.utils.memory import is_out_of_memory, peak_resident_bytes

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A process that is told to give up what it waits for does so within this many seconds.
_GRACE = 15.0
_GIVEN_UP = 2  # exit code


Call = TypeVar("Call", bound=Callable[..., Any])


def watched(call: Call) -> Call:
    """A method in which a connection may break, or memory may run out while others wait."""

    @wraps(call)
    def watching(members: Members, *arguments: Any) -> Any:
        with members._watching():
            return call(members, *arguments)

    return cast(Call, watching)


@dataclass(eq=False)
class Members:
    """All processes that paint one picture.

    Attributes:
        rank: number of this one, from 0.
        size: how many there are.
        hosts: machine and number of each process, by its rank.
        store: where lines are left for others.
        pulse: who lives.
        keeps_store: whether the store is in process 0, and not in torchrun.
        is_interrupted: whether it was sent Ctrl-C or SIGTERM.
        is_broken: whether one of them is gone.
        is_computing: whether this one is in a stage, which is left undone once one of them is gone.
        is_over: whether this one has taken leave.
        last_words: who is told what if this process has to be ended from without.
        waited: seconds that it has spent on what others say.
        shares: what each has spent so far, by its rank: seconds, without those in which it waited
            for others; most bytes of memory (on a GPU, of that).
    """

    rank: int
    size: int
    hosts: Sequence[str]
    store: Any
    keeps_store: bool
    is_interrupted: bool = False
    is_broken: bool = False
    is_computing: bool = False
    is_over: bool = False
    last_words: Callable[[str], object] = lambda _: None
    waited: float = 0.0
    shares: Sequence[tuple[float, int]] = ()

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self.pulse = Pulse(self.store.clone(), self.rank, self.size, self._alarmed)

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
            distributed().destroy_process_group()

    @property
    def spent(self) -> tuple[float, int]:
        """What this process has spent so far; see `shares`."""
        seconds = time.monotonic() - self._began - self.waited
        on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return seconds, on_gpu or peak_resident_bytes()

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
        """Say who is gone if a connection breaks; see that others hear of it if it is this one."""
        since = time.monotonic()
        try:
            yield
        except ProcessLostError:
            raise
        except (RuntimeError, MemoryError) as error:
            reason = ""
            if is_out_of_memory(error):
                reason = "ran out of memory while it heard of others: give a smaller `memory`"
                _break_connections(self.rank)
            raise ProcessLostError(self._lost(reason)) from error
        finally:
            self.waited += time.monotonic() - since

    def _lost(self, reason: str = "") -> str:
        """Who is gone, or why this process is, in a line."""
        self.is_broken = True
        how = "does not answer" if self._is_alone else "died"
        self.pulse.call_roll(reason)
        reasons = {**self.pulse.reasons, **({self.rank: reason} if reason else {})}
        if missing := self._missing():
            return f"{self._named(missing)} {how}"
        if reasons:
            rank = min(reasons)
            return f"{self._named([rank])} {reasons[rank]}"
        if self.pulse.is_cut_off:
            return f"the machine of {self._named([0])} cannot be reached"
        if ended := self.pulse.ended:
            return f"{self._named(ended)} ended before the others"
        return "the connection to another process is lost"

    def _named(self, ranks: Sequence[int]) -> str:
        names = ", ".join(f"{rank} ({self.hosts[rank]})" for rank in ranks)
        return f"process{'es' if len(ranks) > 1 else ''} {names} of {self.size}"

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
    there = distributed()
    with suppress(RuntimeError, AttributeError):
        group = there.distributed_c10d._get_default_group()
        # gloo has no other way: one that has waited too long closes its connections.
        word = torch.zeros(1)
        work = there.irecv(word, 0 if rank else 1, tag=_NO_TAG)
        work.wait(timedelta(milliseconds=1))
    if torch.cuda.is_available():
        with suppress(RuntimeError, AttributeError):
            group._get_backend(torch.device("cuda")).abort()


def _machine(host: str) -> str:
    return host.split(",")[0]


# Of a message that nobody sends.
_NO_TAG = 2**20


def distributed() -> Any:
    """`torch.distributed`, imported only where there are several processes."""
    import torch.distributed

    return torch.distributed
