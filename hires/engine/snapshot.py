"""Where a run stands, and the file that holds it: safetensors, streamed, with its own hash.

Random numbers are drawn only for a canvas that begins as noise, from the seed, before the first
step. So no generator has a state to keep: canvas, optimizer, position, and what terms of
the loss have found out on the way are everything.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from hires.processes.bands import rows_of_layer, stride_of
from hires.tiling.geometry import Span
from hires.utils.files import replacing

FORMAT = "hires-snapshot"
VERSION = "1"
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_CHUNK = 2**24  # bytes on their way to or from the disk
_LONGEST_HEADER = 2**26
_NO_HASH = "0" * 64
# Fields of a snapshot that hold tensors.
_WITH_TENSORS = ("state", "of_terms")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """A tensor (1, C, H, W), see `is_map`, of which each of several processes has some rows.

    Attributes:
        own: those of this one.
        shape: of all of it.
        parts: fetches it, channel by channel, from the first row to the last.
    """

    own: Tensor
    shape: tuple[int, ...]
    parts: Callable[[], Iterator[Tensor]]

    @property
    def dtype(self) -> torch.dtype:
        """Of its values."""
        return self.own.dtype

    @property
    def nbytes(self) -> int:
        """Of all of it."""
        return math.prod(self.shape) * self.own.itemsize


class SnapshotError(ValueError):
    """A file that holds no complete, undamaged snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that the rest of a run depends on, besides its pictures and settings.

    The tensors are those of the run, not copies: use a snapshot before the next step, or `copy` it.

    Attributes:
        rung: index of the rung being painted, from 0.
        iteration: steps done at this rung.
        seconds: time that the run had taken.
        loss: the weighted sum of the terms before the last step.
        terms: ``style``, ``content`` and ``tv`` before the last step, before their weights.
        tiles: largest side of a tile, and how many graphs are kept. A run that was short of
            memory may have made them smaller than planned, and sums depend on them in their last
            bits.
        measured: largest sides of the tiles with which the styles and the content were measured
            for this rung, for the same reason.
        memory: what the budgets of all rungs follow from (`Budget.fixed`, `Budget.card`); None for
            those of the machine as it is.
        state: the optimizer's, with the canvas: tensors, numbers and strings in dicts and lists.
        of_terms: what terms of the loss have found out at this rung (`Term.state`), by their names.
    """

    rung: int
    iteration: int
    seconds: float
    loss: float
    terms: Mapping[str, float]
    tiles: tuple[int, int]
    measured: tuple[int, ...] = ()
    memory: tuple[int | None, int | None] | None = None
    state: Mapping[str, Any]
    of_terms: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self._all_tensors())

    def copy(self) -> Snapshot:
        """A snapshot that later steps leave alone."""
        parts = {name: mapped(getattr(self, name), Tensor.clone) for name in _WITH_TENSORS}
        return replace(self, **parts)

    def gathered(self) -> Snapshot:
        """A snapshot whose tensors are all in this process; others send what they have of them."""
        parts = {name: mapped(getattr(self, name), _gathered, of=Spread) for name in _WITH_TENSORS}
        return replace(self, **parts)

    def _all_tensors(self) -> list[Any]:
        return [tensor for name in _WITH_TENSORS for tensor in tensors_of(getattr(self, name))]


def mapped(state: Any, change: Callable[[Any], Any], *, of: type = Tensor) -> Any:
    """The same dicts and lists with every tensor, or whatever is of a type, changed."""
    if isinstance(state, of):
        return change(state)
    if isinstance(state, Mapping):
        return {name: mapped(value, change, of=of) for name, value in state.items()}
    return [mapped(value, change, of=of) for value in state] if isinstance(state, list) else state


def is_map(shape: Sequence[int]) -> bool:
    """Whether a tensor of such a shape is a canvas, or a map of what a layer has of one."""
    return len(shape) == 4 and tuple(shape[2:]) != (1, 1)


def _gathered(spread: Spread) -> Tensor:
    return torch.cat([part.reshape(-1) for part in spread.parts()]).reshape(spread.shape)


def tensors_of(state: Any) -> list[Any]:
    """All tensors of a state in order, also those that are spread over processes."""
    if isinstance(state, Tensor | Spread):
        return [state]
    parts = state.values() if isinstance(state, Mapping) else state
    nested = isinstance(state, Mapping | list)
    return [tensor for part in parts for tensor in tensors_of(part)] if nested else []


def write_snapshot(snapshot: Snapshot, path: Path, *, owner: str = "") -> None:
    """Write a snapshot, whole or not at all, without a second copy in memory.

    Args:
        snapshot: what to write.
        path: the file; it is flushed to the disk before it takes its place.
        owner: name of the run that it belongs to; `read_snapshot` asks for it.

    Raises:
        OSError: if it cannot be written; what stood there before is untouched.
    """
    tensors = snapshot._all_tensors()
    header = _header(snapshot, tensors, owner)
    with replacing(path) as temporary, temporary.open("rb+") as file:
        _reserve(file, 8 + len(header) + sum(tensor.nbytes for tensor in tensors))
        file.write(len(header).to_bytes(8, "little") + header)
        found = hashlib.sha256(header)
        for chunk in _chunks(tensors):
            file.write(chunk)
            found.update(chunk)
        file.seek(8 + header.index(_NO_HASH.encode()))
        file.write(found.hexdigest().encode())


def _reserve(file: BinaryIO, size: int) -> None:
    """Find out that the disk is too full before filling it."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            # Some file systems cannot reserve; writing then finds out by itself.
            if error.errno in _FULL:
                raise


def _header(snapshot: Snapshot, tensors: list[Any], owner: str) -> bytes:
    numbers = iter(range(len(tensors)))
    values = {each.name: getattr(snapshot, each.name) for each in fields(snapshot)}
    values |= {name: _described(values[name], numbers) for name in _WITH_TENSORS}
    metadata = {
        "sha256": _NO_HASH,
        "format": FORMAT,
        "version": VERSION,
        "owner": owner,
        "snapshot": json.dumps(values),
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for number, tensor in enumerate(tensors):
        start, end = end, end + tensor.nbytes
        header[str(number)] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    return text + b" " * (-len(text) % 8)


def _described(state: Any, numbers: Iterator[int]) -> Any:
    """The state as JSON, with the number of each tensor in its place."""
    if isinstance(state, Tensor | Spread):
        return {"tensor": next(numbers)}
    if isinstance(state, Mapping):
        return {"items": {name: _described(value, numbers) for name, value in state.items()}}
    return [_described(value, numbers) for value in state] if isinstance(state, list) else state


def _restored(description: Any, tensors: list[Tensor]) -> Any:
    if isinstance(description, list):
        return [_restored(value, tensors) for value in description]
    if not isinstance(description, dict):
        return description
    if "tensor" in description:
        return tensors[description["tensor"]]
    return {name: _restored(value, tensors) for name, value in description["items"].items()}


def _chunks(tensors: list[Any]) -> Iterator[memoryview]:
    for tensor in tensors:
        for whole in [tensor] if isinstance(tensor, Tensor) else tensor.parts():
            for part in _parts(whole.detach().contiguous()):
                yield part.cpu().numpy().data


def _parts(tensor: Tensor) -> Sequence[Tensor]:
    """The bytes of a contiguous tensor, in order, sharing its memory."""
    return torch.split(tensor.view(-1).view(torch.uint8), _CHUNK)


def read_snapshot(
    path: Path, *, owner: str = "", rows_of: Callable[[int], Span] | None = None
) -> Snapshot:
    """Read a snapshot into memory of its own, and make sure that it is what was written.

    Args:
        path: the file.
        owner: name of the run that it belongs to.
        rows_of: which rows of a canvas of so many are kept, with maps of them; None for all.

    Raises:
        SnapshotError: if the file is missing, cut off, damaged, or belongs to another run.
    """
    try:
        with path.open("rb") as file:
            return _read(file, owner, rows_of)
    except OSError as error:
        raise SnapshotError(f"{path}: {error.strerror or error}") from None
    except (SnapshotError, ValueError, KeyError, TypeError, IndexError) as error:
        reason = str(error) if isinstance(error, SnapshotError) else "damaged"
        raise SnapshotError(f"{path}: {reason}") from None


def _read(file: BinaryIO, owner: str, rows_of: Callable[[int], Span] | None) -> Snapshot:
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= _LONGEST_HEADER:
        raise SnapshotError("not a snapshot")
    text = file.read(length)
    header = json.loads(text)
    metadata = header.pop("__metadata__")
    if (metadata["format"], metadata["version"]) != (FORMAT, VERSION):
        raise SnapshotError(f"not a snapshot of version {VERSION}")
    if metadata["owner"] != owner:
        raise SnapshotError("it belongs to another run")
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if os.fstat(file.fileno()).st_size != 8 + length + end:
        raise SnapshotError("cut off")
    found = hashlib.sha256(text.replace(metadata["sha256"].encode(), _NO_HASH.encode(), 1))
    read = _tensor
    if rows_of is not None:
        height = max(each["shape"][2] for each in header.values() if is_map(each["shape"]))
        read = partial(_some_rows, height, rows_of(height))
    tensors = [read(file, header[str(number)], found) for number in range(len(header))]
    if found.hexdigest() != metadata["sha256"]:
        raise SnapshotError("damaged")
    values = json.loads(metadata["snapshot"])
    values |= {name: _restored(values.get(name, {"items": {}}), tensors) for name in _WITH_TENSORS}
    pairs = ("tiles", "measured", "memory")
    tuples = {name: tuple(values[name]) for name in pairs if values.get(name) is not None}
    return Snapshot(**{**values, **tuples})


def _tensor(file: BinaryIO, entry: Mapping[str, Any], found: hashlib._Hash) -> Tensor:
    """The next tensor of the file, in memory that is aligned like that of any other tensor."""
    tensor = torch.empty(entry["shape"], dtype=_TYPES[entry["dtype"]])
    for part in _parts(tensor):
        chunk = part.numpy().data
        if file.readinto(chunk) != len(chunk):  # type: ignore[attr-defined]
            raise SnapshotError("cut off")
        found.update(chunk)
    return tensor


def _some_rows(
    height: int, own: Span, file: BinaryIO, entry: Mapping[str, Any], found: hashlib._Hash
) -> Tensor:
    """Of a canvas, some of its rows; the others are looked at, a few at a time, and forgotten."""
    shape = entry["shape"]
    if not is_map(shape):
        return _tensor(file, entry, found)
    rows, planes = rows_of_layer(own, stride_of(height, shape[2])), []
    for _ in range(shape[1]):
        parts = []
        for start, stop in ((0, rows.start), (rows.start, rows.stop), (rows.stop, shape[2])):
            is_kept = start == rows.start and stop == rows.stop
            step = stop - start if is_kept else max(_CHUNK // (4 * shape[3]), 1)
            for first in range(start, stop, max(step, 1)):
                some = [1, 1, min(step, stop - first), shape[3]]
                part = _tensor(file, {**entry, "shape": some}, found)
                parts += [part] if is_kept else []
        planes += parts
    return torch.cat(planes, 1)
