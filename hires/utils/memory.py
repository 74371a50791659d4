"""How this process gets, keeps and counts memory. No torch."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress

if sys.platform != "win32":
    import resource

# Parameters of mallopt(3) in glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4

# How PyTorch's allocator on a GPU is set; the second is the older name.
_GPU_CHOICES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")

# Larger blocks come from the kernel, in huge pages, and go back to it when they are freed.
_MMAP_THRESHOLD = 2**20
_manages_heap = False
# What PyTorch, its backends, the C++ library and decoders of pictures say when there is no more.
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate",
    "cannot allocate",
    "not enough memory",
    "bad_alloc",
    "unable to allocate",
    "failed to allocate",
    "memory allocation",
    "insufficient memory",
    "creating thread",  # Its stack had no room.
    "alloc_failed",  # cuBLAS, cuDNN, cuSOLVER and cuFFT, as in CUBLAS_STATUS_ALLOC_FAILED.
    # Of cuDNN: for lack of room for its workspace, it refuses every algorithm.
    "unable to find an engine",
    "unable to find a valid cudnn algorithm",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on whatever device."""
    # PyTorch has a class for GPUs; where the host is full, it raises a bare RuntimeError.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and speaks_of_memory(str(error))


def speaks_of_memory(text: str) -> bool:
    """Whether a message says that memory ran out."""
    return any(words in text.lower() for words in _OUT_OF_MEMORY)


def manage_heap() -> bool:
    """Let this module decide, from now on, whether the process keeps the memory that it frees.

    By default every feature map is fresh memory from the kernel, which clears it page by page;
    that costs more than computing it (a step of the compact network takes 1.5 to 2 times as long).
    Kept memory fragments, though, where what lasts lies between what comes and goes: so whatever
    lasts is allocated while freed memory is returned, which puts it outside of the heap. It changes
    the whole process, so only a program's own entry point should call it, and before torch is
    imported.

    On a GPU, PyTorch keeps what is freed anyway, in segments that never grow: the lines at the
    seams of tiles, which last, keep it from using them for the maps of the next tile, so that 27
    GiB were taken where 16 were in use. With expandable segments it is 17. A user who has set
    PyTorch's allocator keeps what was set.

    Returns:
        Whether the C library could be told (glibc on Linux).
    """
    global _manages_heap
    # PyTorch reads them once, at its first allocations.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if sys.platform == "linux" and not any(name in os.environ for name in _GPU_CHOICES):
        os.environ[_GPU_CHOICES[0]] = "expandable_segments:True"
    _manages_heap = True
    _manages_heap = keep_freed_memory(True)
    return _manages_heap


def keep_freed_memory(keep: bool) -> bool:
    """Keep what is freed for the next allocation, or return it; returns whether it was done.

    Nothing happens in a process that has not called `manage_heap`.
    """
    mallopt = _c_function("mallopt")
    if not _manages_heap or mallopt is None:
        return False
    if keep:
        return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
    told = bool(mallopt(_M_MMAP_MAX, 2**16)) and bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD))
    return told and bool(mallopt(_M_TRIM_THRESHOLD, _MMAP_THRESHOLD))


def return_freed_memory() -> None:
    """Give freed memory back once, in a process that manages its heap; for between two rungs."""
    malloc_trim = _c_function("malloc_trim")
    if _manages_heap and malloc_trim is not None:
        malloc_trim(0)


def _c_function(name: str) -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
    return found


def peak_resident_bytes() -> int:
    """The most memory that this process has had in RAM so far, in bytes; 0 on Windows (unknown)."""
    if sys.platform == "win32":
        return 0
    if sys.platform.startswith("linux"):
        # ru_maxrss is handed down by the process that started this one; VmHWM is this one's own.
        found = _status_bytes("VmHWM")
        if found:
            return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """What this process has in RAM at this moment, in bytes; 0 where nobody tells (not Linux)."""
    return _status_bytes("VmRSS")


def restart_peak() -> bool:
    """Count `peak_resident_bytes` anew from now on; returns whether the system lets us (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def available_bytes() -> int | None:
    """RAM that this process may still take without swapping, in bytes; None if nobody tells.

    The least of what the machine has and what a container (cgroup v2) allows.
    """
    machine = _field("/proc/meminfo", "MemAvailable")
    limits = [machine] if machine else []
    with suppress(OSError, ValueError):
        group = "/sys/fs/cgroup/memory."
        limit, current = (int(_text(group + name)) for name in ("max", "current"))
        # Cached files count as used there, but make room when it is needed.
        cached = _field(group + "stat", "inactive_file", unit=1)
        limits.append(max(limit - current + cached, 0))
    return min(limits, default=None)


def _status_bytes(name: str) -> int:
    return _field("/proc/self/status", name)


def _field(path: str, name: str, unit: int = 1024) -> int:
    """A number in a file of lines such as ``VmRSS: 12 kB``; 0 if it is not there."""
    with suppress(OSError):
        for line in _text(path).splitlines():
            key, *values = line.replace(":", " ").split()
            if key == name:
                return int(values[0]) * unit
    return 0


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()
