"""Pictures that all processes of a machine look at, once in its memory."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from hires.processes.group import Group
from hires.processes.together import SeveralTogether

# Smaller ones are not worth it, in bytes.
_LEAST = 2**20


def mapped(planes: Sequence[Tensor | None], group: Group) -> list[Tensor | None]:
    """The same pictures (1, C, H, W), read from a file that the processes of a machine share.

    Of the file, which has no name any more, a process has in memory what it has looked at since
    `Group.forget`; the system drops that, too, where memory is short. Where there is no room for
    the file each process keeps its own.

    Args:
        planes: the same in all processes.
        group: they.
    """
    together = SeveralTogether(group)
    given = {id(one): _dense(one) for one in planes if one is not None}
    large = {key: dense for key, dense in given.items() if dense is not None}
    leader = group.rank - int(os.environ.get("LOCAL_RANK", group.rank))
    path = None
    try:
        with together.stage():
            if group.rank == leader:
                path = _written([*large.values()])
                group.tell("" if path is None else str(path))
        with together.stage():
            told = group.told(leader)
            found = _read(told, large, group) if told and large else {}
    finally:
        if path is not None:
            path.unlink(missing_ok=True)
    return [None if one is None else found.get(id(one), one).expand_as(one) for one in planes]


def _dense(plane: Tensor) -> Tensor | None:
    """What of a picture lies in memory, of one channel where all are the same; None if small."""
    own = plane[:, :1] if plane.stride(1) == 0 else plane
    return own if own.is_contiguous() and own.nbytes >= _LEAST else None


def _written(planes: Sequence[Tensor]) -> Path | None:
    """A file of them, one after the other; None if there is no room for it."""
    path = None
    try:
        handle, name = tempfile.mkstemp(prefix="hires-")
        path = Path(name)
        with os.fdopen(handle, "wb") as file:
            for plane in planes:
                file.write(plane.numpy().data)
    except OSError:
        if path is not None:
            with suppress(OSError):
                path.unlink()
        return None
    return path


def _read(name: str, planes: Mapping[int, Tensor], group: Group) -> dict[int, Tensor]:
    found, offset = {}, 0
    with open(name, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    group.mappings.append(memory)
    for key, plane in planes.items():
        count = math.prod(plane.shape)
        part = torch.frombuffer(memory, dtype=plane.dtype, count=count, offset=offset)
        found[key] = part.view(plane.shape)
        offset += plane.nbytes
    return found
