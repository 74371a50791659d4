"""Clocks and memory gauges for one device."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch

from hires.kernels.precision import synchronize
from hires.utils.memory import peak_resident_bytes

P = ParamSpec("P")
R = TypeVar("R")


class Stopwatch:
    """Adds up synchronised seconds by stage.

    Args:
        device: what to wait for before the clock is read.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge the time inside to a stage."""
        synchronize(self.device)
        started = time.perf_counter()
        try:
            yield
        finally:
            synchronize(self.device)
            self.seconds[name] += time.perf_counter() - started

    def timed(self, name: str, function: Callable[P, R]) -> Callable[P, R]:
        """The same function, charged to a stage."""

        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.stage(name):
                return function(*args, **kwargs)

        return wrapped


class Gauge:
    """Peak memory of this process and, on a GPU, of the whole device.

    Args:
        device: where the feature maps live.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.baseline = peak_resident_bytes()
        self._device_wide = 0

    def sample(self) -> None:
        """Look at what only shows at the moment of looking: memory used on the whole device."""
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            self._device_wide = max(self._device_wide, total - free)

    def peaks(self) -> dict[str, int]:
        """Bytes: ``resident`` and ``baseline`` (resident when the gauge was made), and on a GPU
        ``allocated``, ``reserved`` and ``device_wide`` (all processes, as sampled).
        """
        peaks = {"resident": peak_resident_bytes(), "baseline": self.baseline}
        if self.device.type == "cuda":
            peaks["allocated"] = torch.cuda.max_memory_allocated(self.device)
            peaks["reserved"] = torch.cuda.max_memory_reserved(self.device)
            peaks["device_wide"] = self._device_wide
        elif self.device.type == "mps":
            peaks["allocated"] = torch.mps.driver_allocated_memory()
        return peaks
