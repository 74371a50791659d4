"""What a child process is asked to do, and what it measures with: clocks and memory gauges."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import record_function

from hires.bench.profile import STAGE, Profile
from hires.kernels.precision import resolve_device, synchronize
from hires.utils.memory import peak_resident_bytes


class Exercise:
    """Built from a case, then stepped, or asked for what else it has methods for.

    Args:
        device: as ``--device``.

    Attributes:
        facts: what can be said before the first step.
    """

    def __init__(self, device: str) -> None:
        self.device = resolve_device(device)
        self.gauge = Gauge(self.device)
        self.facts: dict[str, Any] = {}

    def step(self) -> dict[str, Any]:
        """Do one step, if there are any; ``seconds`` and whatever else is known of it."""
        return {"seconds": 0.0}

    def stages(self) -> dict[str, Any]:
        """Do one step and say where its seconds went, if that is known."""
        return {}

    def profile(self) -> dict[str, Any]:
        """Do two steps and say what the device did meanwhile; see `hires.bench.profile`."""
        with Profile(self.device) as whole:
            self.step()
        with Profile(self.device) as parts:
            self.stages()
        return {**whole.found(), "stages": parts.stages()}

    def memory(self) -> dict[str, Any]:
        """Peak memory so far, in bytes."""
        return self.gauge.peaks()


class StageTimer:
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
        with record_function(STAGE + name):
            started = time.perf_counter()
            try:
                yield
            finally:
                synchronize(self.device)
                self.seconds[name] += time.perf_counter() - started


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
