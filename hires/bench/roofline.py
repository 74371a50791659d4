"""What this machine can do at best: matrix products and copies, measured, not looked up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from hires.bench.stopwatch import Gauge
from hires.kernels.precision import resolve_device, resolve_precision, synchronize

# Large enough to leave every cache, small enough to take well under a second.
_SIDE = {"cpu": 2048, "cuda": 8192, "mps": 4096}
_COPY_BYTES = {"cpu": 2**28, "cuda": 2**31, "mps": 2**29}
_REPEATS = 12


def best_seconds(
    work: Callable[[], object], device: torch.device, repeats: int = _REPEATS
) -> float:
    """The shortest of several synchronised runs: a roof is what can be reached, not the usual."""
    found = []
    for _ in range(repeats):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        found.append(time.perf_counter() - started)
    return min(found[1:] or found)


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of a large square matrix product."""
    side = _SIDE[device.type]
    a = torch.randn(side, side, device=device).to(dtype)
    b = torch.randn(side, side, device=device).to(dtype)
    out = torch.empty_like(a)
    return 2.0 * side**3 / best_seconds(lambda: torch.mm(a, b, out=out), device)


def copy_rate(device: torch.device) -> float:
    """Bytes per second of a large copy, read and written bytes both counted."""
    source = torch.ones(_COPY_BYTES[device.type] // 4, device=device)
    target = torch.empty_like(source)
    return 2.0 * _COPY_BYTES[device.type] / best_seconds(lambda: target.copy_(source), device)


class RooflineExercise:
    """Measures when it is built; its facts are the rates.

    Args:
        device: as ``--device``.
        precisions: as ``--precision``, one or several.
    """

    def __init__(self, device: str, precisions: list[str]) -> None:
        place = resolve_device(device)
        self._gauge = Gauge(place)
        resolved = {resolve_precision(name, place).name for name in precisions}
        dtypes = {name: resolve_precision(name, place).dtype for name in sorted(resolved)}
        self.facts: dict[str, Any] = {
            "device": str(place),
            "copy_bytes_per_second": copy_rate(place),
            "matrix_flops_per_second": {
                name: matrix_rate(dtype, place) for name, dtype in dtypes.items()
            },
        }

    def step(self) -> dict[str, Any]:
        """Nothing is left to do."""
        return {"seconds": 0.0}

    def stages(self) -> dict[str, Any]:
        """No stages."""
        return {}

    def memory(self) -> dict[str, Any]:
        """Peak memory so far."""
        return self._gauge.peaks()
