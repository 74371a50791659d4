"""What a device does during some code, kernel by kernel, as PyTorch's profiler sees it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity

from hires.kernels.precision import synchronize

# Before the names of stages, to know them among other ranges.
STAGE = "hires stage: "
_MICROSECOND = 1e-6
_NUM_NAMED, _LONGEST_NAME = 12, 90


class Profile:
    """Watches the inside of a ``with``: kernels and copies of a GPU, operations of a CPU.

    It slows the host down, so that a GPU idles more than it would: what is to be trusted is how
    long it is busy.

    Args:
        device: to watch.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        activities = [ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._profiler: Any = torch.profiler.profile(activities=activities)
        self._type = device.type.upper()
        self._seconds = 0.0

    def __enter__(self) -> Self:
        synchronize(self.device)
        self._profiler.__enter__()
        self._started = time.perf_counter()
        return self

    def __exit__(self, *error: Any) -> None:
        synchronize(self.device)
        self._seconds = time.perf_counter() - self._started
        self._profiler.__exit__(*error)
        events = self._profiler.events() or ()
        self._ranges = [
            event
            for event in events
            if event.name.startswith(STAGE) and event.device_type.name == "CPU"
        ]
        self._work = [
            event
            for event in events
            if event.device_type.name == self._type
            and not event.is_user_annotation
            and not event.name.startswith(STAGE)
        ]

    def found(self) -> dict[str, Any]:
        """``seconds`` in all, ``busy_seconds`` of the device, ``num_kernels``, and the longest."""
        return {
            "seconds": self._seconds,
            "busy_seconds": busy_seconds(self._work),
            "num_kernels": len(self._work),
            "kernels": self._longest(),
        }

    def _longest(self) -> list[dict[str, Any]]:
        """Kernels by name, those first that took longest in all."""
        seconds: defaultdict[str, list[float]] = defaultdict(list)
        for event in self._work:
            span = event.time_range
            seconds[event.name[:_LONGEST_NAME]].append((span.end - span.start) * _MICROSECOND)
        most = sorted(seconds.items(), key=lambda item: -sum(item[1]))[:_NUM_NAMED]
        return [{"name": name, "seconds": sum(spans), "count": len(spans)} for name, spans in most]

    def stages(self) -> dict[str, dict[str, Any]]:
        """``seconds``, ``busy_seconds`` and ``num_kernels`` of each stage of a `StageTimer`.

        A kernel belongs to the stage in which it begins: the timer waits for the device between
        stages.
        """
        found: dict[str, dict[str, Any]] = {}
        for stage in self._ranges:
            start, end = stage.time_range.start, stage.time_range.end
            inside = [event for event in self._work if start <= event.time_range.start < end]
            name = stage.name.removeprefix(STAGE)
            before = found.setdefault(name, dict.fromkeys(_PARTS, 0))
            parts = ((end - start) * _MICROSECOND, busy_seconds(inside), len(inside))
            found[name] = {key: before[key] + part for key, part in zip(_PARTS, parts, strict=True)}
        return found


_PARTS = ("seconds", "busy_seconds", "num_kernels")


def busy_seconds(events: Iterable[FunctionEvent]) -> float:
    """Seconds in which at least one of some events was going on."""
    total = last = 0.0
    spans = sorted((event.time_range.start, event.time_range.end) for event in events)
    for start, end in spans:
        total += max(end - max(start, last), 0.0)
        last = max(last, end)
    return total * _MICROSECOND
