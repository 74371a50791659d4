"""In which arithmetic a GPU would compute the float32 convolutions of some code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hires.kernels import precision

CUDNN: Any = torch.backends.cudnn


class Convolutions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes each of them inside of a ``with``, there and back, as a GPU would find it.

    Attributes:
        seen: pairs of an operation's name and cuDNN's setting.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        monkeypatch.setattr(precision, "_has_flags", lambda _: True)
        self.seen: set[tuple[str, str]] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        if "convolution" in str(func):
            self.seen.add((func.name(), CUDNN.conv.fp32_precision))
        return func(*args, **(kwargs or {}))
