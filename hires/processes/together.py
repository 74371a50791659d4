"""Stages of a step that processes enter and leave together."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TypeVar

import torch
from torch import Tensor

from hires.errors import ConfigError, ProcessLostError
from hires.processes.group import Group
from hires.utils.memory import is_out_of_memory

Key = TypeVar("Key", bound=Hashable)


class _State(IntEnum):
    """How a process has left a stage; of several, the gravest counts."""

    WELL = 0
    INTERRUPTED = 1
    OUT_OF_MEMORY = 2
    FAILED = 3


class ProcessFailedError(ConfigError):
    """Another process has failed, and said why."""


class Together:
    """One process, which has nobody to wait for."""

    @contextmanager
    def stage(self, *, interruptible: bool = False) -> Iterator[None]:  # noqa: ARG002
        """A part of a step that all processes leave alike: what one raises, all raise.

        Args:
            interruptible: whether all are interrupted here if one of them was.
        """
        yield

    def sums(self, sums: dict[Key, Tensor]) -> dict[Key, Tensor]:
        """Sums over the parts of all processes, whose keys are the same."""
        return sums

    def total(self, amount: Tensor) -> Tensor:
        """A sum over the parts of all processes."""
        return amount

    def least(self, amount: float) -> float:
        """The least of all processes."""
        return amount


class Alone(Together):
    """One process that does something for all, while the others wait.

    Args:
        group: they.
    """

    def __init__(self, group: Group) -> None:
        self.group = group

    @contextmanager
    def stage(self, *, interruptible: bool = False) -> Iterator[None]:
        """See `Together.stage`: a signal that was noted is acted upon."""
        if interruptible and self.group.is_interrupted:
            raise KeyboardInterrupt
        yield


class SeveralTogether(Together):
    """Several processes.

    Args:
        group: they.
    """

    def __init__(self, group: Group) -> None:
        self.group = group

    @contextmanager
    def stage(self, *, interruptible: bool = False) -> Iterator[None]:
        """See `Together.stage`."""
        error: BaseException | None = None
        is_outer = not self.group.is_computing
        self.group.is_computing = True
        try:
            yield
        except ProcessLostError:
            raise
        except BaseException as found:
            if getattr(found, "is_shared", False):
                raise  # All have raised it already.
            error = found
        finally:
            self.group.is_computing = not is_outer
        self._leave(error, interruptible)

    def _leave(self, error: BaseException | None, interruptible: bool) -> None:
        group, state = self.group, _state(error)
        if state == _State.WELL and interruptible and group.is_interrupted:
            state = _State.INTERRUPTED
        if state == _State.FAILED:
            group.tell(f"{type(error).__name__}: {error}")
        told = group.gather([state, *group.spent])
        states = [int(one[0]) for one in told]
        group.shares = tuple((seconds, int(memory)) for _, seconds, memory in told)
        worst = max(states)
        if worst == _State.WELL:
            return
        raise _shared(worst, states.index(worst), error, group) from error

    def sums(self, sums: dict[Key, Tensor]) -> dict[Key, Tensor]:
        """See `Together.sums`."""
        keys = sorted(sums, key=repr)
        if not keys:
            return sums
        flat = torch.cat([sums[key].detach().reshape(-1).double() for key in keys])
        sizes = [sums[key].numel() for key in keys]
        parts = torch.split(self.group.add(flat), sizes)
        return {
            key: part.reshape(sums[key].shape).to(sums[key].dtype)
            for key, part in zip(keys, parts, strict=True)
        }

    def total(self, amount: Tensor) -> Tensor:
        """See `Together.total`."""
        with self.stage():
            pass
        return self.sums({"": amount})[""]

    def least(self, amount: float) -> float:
        """See `Together.least`."""
        with self.stage():
            pass
        return min(one[0] for one in self.group.gather([amount]))


def _state(error: BaseException | None) -> _State:
    if error is None:
        return _State.WELL
    if isinstance(error, KeyboardInterrupt):
        return _State.INTERRUPTED
    return _State.OUT_OF_MEMORY if is_out_of_memory(error) else _State.FAILED


def _shared(worst: int, rank: int, own: BaseException | None, group: Group) -> BaseException:
    """What all raise: a process that has failed itself raises that."""
    found: BaseException
    if worst == _State.FAILED:
        if own is not None and _state(own) == _State.FAILED:
            found = own
        else:
            found = ProcessFailedError(f"process {rank} of {group.size}: {group.told(rank)}")
    elif worst == _State.OUT_OF_MEMORY:
        found = MemoryError(f"out of memory in process {rank}")
    else:
        found = KeyboardInterrupt()
    found.is_shared = True  # type: ignore[attr-defined]
    return found
