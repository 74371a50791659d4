"""`gradient_masks` on whatever device: in one pass over memory on a GPU, where Triton is.

Bias, ReLU and packed bits, or pooling and switches, in a kernel each (`triton_kernels`): ten passes
over a map become one. What comes out is the same to the bit. Where there is no Triton, or a kernel
of it does not compile, PyTorch's operations do the same.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from hires.kernels import gradient_masks
from hires.utils.memory import is_out_of_memory

_DTYPES = {torch.bfloat16, torch.float16, torch.float32, torch.float64}
_LANES = 8
_Found = TypeVar("_Found")


class _State:
    is_on = True


def activate_(x: Tensor, bias: Tensor | None, *, packed: bool) -> Tensor | None:
    """Add a bias (C,) to (B, C, H, W), if there is one, and rectify it, in place.

    Returns:
        `gradient_masks.pack_positive` of the result if it is wanted.
    """

    def eager() -> Tensor | None:
        if bias is not None:
            x.add_(bias.view(-1, 1, 1))
        x.relu_()
        return gradient_masks.pack_positive(x) if packed else None

    def fused(kernels: Any) -> Tensor | None:
        bits: Tensor = kernels.activate_(x, bias, True, packed)
        return bits if packed else None

    return _either(_is_served(x) and _is_dense(x), fused, eager)


def pack_positive(x: Tensor) -> Tensor:
    """See `gradient_masks.pack_positive`."""
    return _either(
        _is_served(x) and _is_dense(x),
        lambda kernels: kernels.pack_positive(x),
        lambda: gradient_masks.pack_positive(x),
    )


def pass_positive(gradient: Tensor, packed: Tensor) -> Tensor:
    """See `gradient_masks.pass_positive`."""
    return _either(
        _is_served(gradient),
        lambda kernels: kernels.pass_positive(_in_rows(gradient), packed),
        lambda: gradient_masks.pass_positive(gradient, packed),
    )


def max_pool_2x2(
    x: Tensor, *, relu: bool, switched: bool, bias: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """See `gradient_masks.max_pool_2x2`; a bias (C,) is added to ``x`` first, maybe in place."""

    def eager() -> tuple[Tensor, Tensor | None]:
        if bias is not None:
            x.add_(bias.view(-1, 1, 1))
        return gradient_masks.max_pool_2x2(x, relu=relu, switched=switched)

    def fused(kernels: Any) -> tuple[Tensor, Tensor | None]:
        pooled, switches = kernels.max_pool_2x2(x, bias, relu, switched)
        return pooled, switches if switched else None

    return _either(_is_served(x) and _is_dense(x), fused, eager)


def unpool_2x2(gradient: Tensor, switches: Tensor, size: tuple[int, int]) -> Tensor:
    """See `gradient_masks.unpool_2x2`."""
    return _either(
        _is_served(gradient),
        lambda kernels: kernels.unpool_2x2(_in_rows(gradient), switches, *size),
        lambda: gradient_masks.unpool_2x2(gradient, switches, size),
    )


@contextmanager
def unfused() -> Iterator[None]:
    """Inside, PyTorch's operations do it all, for comparisons."""
    before, _State.is_on = _State.is_on, False
    try:
        yield
    finally:
        _State.is_on = before


def _either(is_served: bool, fused: Callable[[Any], Any], eager: Callable[[], _Found]) -> _Found:
    """What the kernels compute, or PyTorch where they cannot."""
    if not is_served:
        return eager()
    try:
        found: _Found = fused(_kernels())
        return found
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Nothing is written before a kernel has compiled.
        _State.is_on = False
        warnings.warn(
            "Triton's kernels do not work here; PyTorch's operations, several times slower, take"
            f" their place: {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=3,
        )
    return eager()


def _is_served(x: Tensor) -> bool:
    """Whether there are kernels for a tensor."""
    if not (x.is_cuda and _State.is_on):
        return False
    return x.dtype in _DTYPES and x.shape[1] % _LANES == 0 and _has_triton()


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def _kernels() -> Any:
    """``torch.ops.hires``. Importing Triton takes a second, so this waits for a GPU's tensor."""
    importlib.import_module("hires.kernels.triton_kernels")
    return torch.ops.hires


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def _in_rows(gradient: Tensor) -> Tensor:
    """The same, with nothing between the positions of a row, nor within a group of a row."""
    channels, strides = gradient.shape[1], gradient.stride()
    in_groups = strides[0] % _LANES == 0 and strides[2] % _LANES == 0
    if in_groups and strides[1] == 1 and strides[3] == channels:
        return gradient
    return gradient.contiguous(memory_format=torch.channels_last)
