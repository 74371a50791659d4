"""How the processes that torchrun, or a scheduler, has started find each other."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

import torch

from hires.errors import ConfigError
from hires.processes.group import Group

# What torchrun tells a process.
_TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# How long the first waits for the last.
_JOINING = timedelta(minutes=10)
# How long a process may let others wait: rank 0 saves a picture meanwhile. One that dies is noticed
# sooner (`hires.processes.pulse`).
_PATIENCE = timedelta(days=1)


def join() -> Group | None:
    """Meet the other processes that torchrun has started; None if there are none.

    On a machine with GPUs each process takes its own.

    Raises:
        ConfigError: if others do not come.
    """
    if not all(name in os.environ for name in _TOLD) or int(os.environ["WORLD_SIZE"]) == 1:
        return None
    import torch.distributed as distributed  # Only where there are several processes.

    has_cuda = torch.cuda.is_available()
    if has_cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    store, rank, size = _meet(distributed)
    hosts = [store.get(f"host/{other}").decode() for other in range(size)]
    keeps_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    # It has said its first word before any of them is listened to.
    group = Group(rank, size, hosts, store, keeps_store)
    backend = "cpu:gloo,cuda:nccl" if has_cuda else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE
    )
    distributed.barrier()
    group.pulse.start()
    return group


def _meet(distributed: Any) -> tuple[Any, int, int]:
    """The store that all share, once all are there; rank and size."""
    from torch.distributed.rendezvous import rendezvous

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        store, rank, size = next(rendezvous("env://", timeout=_JOINING))
        store.set(f"host/{rank}", f"{socket.gethostname()}, pid {os.getpid()}")
        store.wait([f"host/{other}" for other in range(size)], _JOINING)
    except (distributed.DistError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise ConfigError(
            f"process {rank} has not met all of {size} at {where} in"
            f" {_JOINING.seconds // 60} minutes: {str(error).splitlines()[0]}"
        ) from error
    return store, rank, size


def neighbours() -> int:
    """How many processes share the memory of this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
