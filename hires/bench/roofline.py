"""What this machine can do at best: matrix products and copies, measured, not looked up."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from hires.bench.exercise import Exercise
from hires.kernels.precision import resolve_precision, synchronize

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
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2.0 * side**3 / best_seconds(lambda: torch.mm(a, b, out=out), device)


def copy_rate(device: torch.device) -> float:
    """Bytes per second of a large copy, read and written bytes both counted."""
    source = torch.ones(_COPY_BYTES[device.type] // 4, device=device)
    target = torch.empty_like(source)
    return 2.0 * _COPY_BYTES[device.type] / best_seconds(lambda: target.copy_(source), device)


class RooflineExercise(Exercise):
    """Measures when it is built; its facts are the rates.

    Args:
        device: as ``--device``.
        precisions: as ``--precision``, one or several.
    """

    def __init__(self, device: str, precisions: list[str]) -> None:
        super().__init__(device)
        resolved = {name: resolve_precision(name, self.device) for name in precisions}
        dtypes = {precision.name: precision.dtype for precision in resolved.values()}
        self.facts = {
            "device": str(self.device),
            "copy_bytes_per_second": copy_rate(self.device),
            "matrix_flops_per_second": {
                name: matrix_rate(dtypes[name], self.device) for name in sorted(dtypes)
            },
        }
