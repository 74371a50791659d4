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

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Precision:
    """The arithmetic of the feature network and of the sums made from it.

    Attributes:
        dtype: type of the network's weights and features.
        sum_dtype: type in which moments and losses are added up across tiles.
        memory_format: layout of weights and features.
    """

    dtype: torch.dtype
    sum_dtype: torch.dtype = torch.float64
    memory_format: torch.memory_format = torch.channels_last

    @property
    def name(self) -> str:
        """``fp64``, ``fp32``, ``bf16`` or ``fp16``."""
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
    """Turn ``auto``, ``fp32``, ``bf16`` or ``fp16`` into the arithmetic for a device.

    ``auto`` is bf16 where the hardware multiplies it faster than fp32 (AVX512-BF16 or AMX, CUDA
    compute capability 8.0 and later), fp16 on older CUDA cards with tensor cores, fp32 elsewhere.

    Raises:
        ValueError: for an unknown name, or fp16 on a CPU (its range is too small for VGG features).
    """
    if name not in PRECISIONS:
        raise ValueError(f"unknown precision '{name}': choose one of {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise ValueError("precision 'fp16' needs a GPU: choose auto, fp32 or bf16 on a CPU")
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
