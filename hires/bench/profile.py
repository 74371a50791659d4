"""What a device does during some code, kernel by kernel, as PyTorch's profiler sees it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import torch
from torch.profiler import ProfilerActivity

from hires.kernels.precision import synchronize

# Before the names of stages, to know them among other ranges.
STAGE = "hires stage: "
_NANOSECOND = 1e-9
_NUM_NAMED, _LONGEST_NAME = 12, 90


class Span(NamedTuple):
    """Something that a device did, by the profiler's clock in nanoseconds."""

    name: str
    start: int
    end: int


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
        self._ranges: list[Span] = []
        self._work: list[Span] = []
        # Not `events()`: it makes a tree of them, which takes longer than a large step.
        for event in self._profiler.profiler.kineto_results.events():
            start, kind = event.start_ns(), event.device_type().name
            span = Span(event.name(), start, start + event.duration_ns())
            if span.name.startswith(STAGE):
                self._ranges += [span] if kind == "CPU" else []
            elif kind == self._type and not event.is_user_annotation():
                self._work.append(span)

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
        for span in self._work:
            seconds[span.name[:_LONGEST_NAME]].append((span.end - span.start) * _NANOSECOND)
        most = sorted(seconds.items(), key=lambda item: -sum(item[1]))[:_NUM_NAMED]
        return [{"name": name, "seconds": sum(spans), "count": len(spans)} for name, spans in most]

    def stages(self) -> dict[str, dict[str, Any]]:
        """``seconds``, ``busy_seconds`` and ``num_kernels`` of each stage of a `StageTimer`.

        A kernel belongs to the stage in which it begins: the timer waits for the device between
        stages.
        """
        found: dict[str, dict[str, Any]] = {}
        for stage in self._ranges:
            inside = [span for span in self._work if stage.start <= span.start < stage.end]
            name = stage.name.removeprefix(STAGE)
            before = found.setdefault(name, dict.fromkeys(_PARTS, 0))
            parts = ((stage.end - stage.start) * _NANOSECOND, busy_seconds(inside), len(inside))
            found[name] = {key: before[key] + part for key, part in zip(_PARTS, parts, strict=True)}
        return found


_PARTS = ("seconds", "busy_seconds", "num_kernels")


def busy_seconds(spans: Iterable[Span]) -> float:
    """Seconds in which at least one of some things was going on."""
    total = last = 0
    for _, start, end in sorted(spans, key=lambda span: span.start):
        total += max(end - max(start, last), 0)
        last = max(last, end)
    return total * _NANOSECOND
