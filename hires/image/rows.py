"""Pictures that nobody holds whole: their rows are made when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from hires.image.resample import resize_rows, rows_seen

# Rows that are made at a time where all of them are wanted.
_ROWS = 64


class Rows:
    """A picture whose rows are made from the first to the last, some at a time.

    Args:
        size: ``(height, width)`` in pixels.
        make: some rows of it, (1, 3, h, width) in [0, 1], on the host.
    """

    def __init__(self, size: tuple[int, int], make: Callable[[slice], Tensor]) -> None:
        self.shape = (1, 3, *size)
        self._make = make

    def __getitem__(self, rows: slice) -> Tensor:
        return self._make(rows)

    def whole(self) -> Tensor:
        """All of it."""
        return torch.cat([self[rows] for rows in _parts(self.shape[2])], 2)

    def resized(self, size: tuple[int, int]) -> Tensor:
        """(1, 3, *size), as `hires.image.resample.resize` has it, in [0, 1]."""
        height, found = self.shape[2], torch.empty(1, 3, *size)
        for rows in _parts(size[0]):
            seen = rows_seen(height, size[0], rows)
            part = resize_rows(self[seen], size, rows, height=height, first=seen.start)
            found[..., rows, :] = part.clamp_(0, 1)
        return found


Picture = TypeVar("Picture", Tensor, Rows)
Shown = Tensor | Rows


def rows_of(picture: Tensor | Rows, rows: slice) -> Tensor:
    """Some rows of a picture (1, C, H, W)."""
    return picture[rows] if isinstance(picture, Rows) else picture[..., rows, :]


def _parts(height: int) -> Iterator[slice]:
    for top in range(0, height, _ROWS):
        yield slice(top, min(top + _ROWS, height))
