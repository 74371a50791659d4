"""What runs in low precision, on which device, and what must not.

The network's weights are cast and laid out once (`Precision.dtype`, channels-last), so no autocast
is needed inside it. Moments, losses, canvas and optimizer never run in half precision:
`fp32_island` marks the places where a caller's own autocast must not reach in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

PRECISIONS = ("auto", "fp32", "tf32", "bf16", "fp16")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Compute capability of the first GPUs that multiply in TF32.
_TF32_SINCE = (8, 0)


@dataclass(frozen=True, slots=True)
class Precision:
    """The arithmetic of the feature network and of the sums made from it.

    Attributes:
        dtype: type of the network's weights and features.
        sum_dtype: type in which moments and losses are added up across tiles.
        memory_format: layout of weights and features.
        tf32: whether a GPU's convolutions round what they multiply to TF32's 10 bits of mantissa.
    """

    dtype: torch.dtype
    sum_dtype: torch.dtype = torch.float64
    memory_format: torch.memory_format = torch.channels_last
    tf32: bool = False

    @property
    def name(self) -> str:
        """``fp64``, ``fp32``, ``tf32``, ``bf16`` or ``fp16``."""
        if self.tf32:
            return "tf32"
        names = {value: key for key, value in _DTYPES.items()}
        return names.get(self.dtype, "fp64")


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device that exists here.

    Raises:
        ValueError: for an unknown name or a device that this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and (kind != "cuda" or not index.isdigit())):
        raise ValueError(f"unknown device '{name}': choose auto, cpu, cuda, cuda:N or mps")
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and int(index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available[kind]:
        raise ValueError(f"device '{name}' is not available on this machine: try `device=auto`")
    return torch.device(name)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Turn ``auto``, ``fp32``, ``tf32``, ``bf16`` or ``fp16`` into the arithmetic for a device.

    ``auto`` is bf16 where the hardware multiplies it faster than fp32 (AVX512-BF16 or AMX, CUDA
    compute capability 8.0 and later), fp16 on older CUDA cards with tensor cores, fp32 elsewhere.

    Raises:
        ValueError: for an unknown name, fp16 on a CPU (its range is too small for VGG features), or
            tf32 on a device that has none.
    """
    if name not in PRECISIONS:
        raise ValueError(f"unknown precision '{name}': choose one of {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise ValueError("precision 'fp16' needs a GPU: choose auto, fp32 or bf16 on a CPU")
    if name == "tf32":
        if device.type != "cuda" or torch.cuda.get_device_capability(device) < _TF32_SINCE:
            raise ValueError(
                "precision 'tf32' needs an NVIDIA GPU of compute capability 8.0 or later:"
                " choose auto or fp32"
            )
        return Precision(torch.float32, tf32=True)
    dtype = _auto_dtype(device) if name == "auto" else _DTYPES[name]
    # Apple's GPUs have no float64 at all.
    sum_dtype = torch.float32 if device.type == "mps" else torch.float64
    return Precision(dtype, sum_dtype)


def _auto_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        if major >= 8:
            return torch.bfloat16
        return torch.float16 if major == 7 else torch.float32
    if device.type == "cpu" and fast_bf16_cpu():
        return torch.bfloat16
    return torch.float32


def fast_bf16_cpu() -> bool:
    """Whether this processor has bf16 matrix instructions that oneDNN uses."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)


@contextmanager
def fp32_island(device: torch.device) -> Iterator[None]:
    """Switch a caller's autocast off. Inputs must still be cast by hand: ``.float()``."""
    with torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def float32_products(precision: Precision, device: torch.device) -> Iterator[None]:
    """Let a GPU compute what is float32 as a precision says, whatever the process has it do.

    cuDNN's convolutions are in TF32 unless they are told otherwise. Here they are where that is
    asked for; matrix products, which sums are made of, never are. PyTorch's flags belong to the
    whole process: the threads that autograd goes back on heed them, and so does every other thread
    until the end of this ``with``, which leaves the flags as it found them.
    """
    if not _has_flags(device):
        yield
        return
    convolution = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolution.fp32_precision
    convolution.fp32_precision = "tf32" if precision.tf32 else "ieee"
    try:
        with _float32_matrices():
            yield
    finally:
        convolution.fp32_precision = before


def _has_flags(device: torch.device) -> bool:
    return device.type == "cuda"


@contextmanager
def _float32_matrices() -> Iterator[None]:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    if before != "tf32":
        yield
        return
    # Of PyTorch's two ways to say it, the one that was used: it refuses to read a mixture.
    try:
        level = torch.get_float32_matmul_precision()
    except RuntimeError:
        level = None
    if level is None:
        matmul.fp32_precision = "ieee"
    else:
        torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if level is None:
            matmul.fp32_precision = before
        else:
            torch.set_float32_matmul_precision(level)
