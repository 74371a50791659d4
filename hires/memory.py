"""How this process gets, keeps and counts memory. No torch."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress

if sys.platform != "win32":
    import resource

# Parameters of mallopt(3) in glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


# A heap that keeps what is freed fragments: over a long run feature maps take up to 2.75 times their size.
_HEAP_SLACK = 2.75
_keeps_freed_memory = False


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for the next allocation instead of returning it.

    By default every feature map is fresh memory from the kernel, which clears it page by page; that
    costs more than computing it (a step of the compact network at 1024×1024 takes 1.5 times as
    long). It changes the whole process, so only a program's own entry point should call it.

    Returns:
        Whether the C library could be told (glibc on Linux).
    """
    global _keeps_freed_memory
    mallopt = _c_function("mallopt")
    if mallopt is not None:
        told = bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
        _keeps_freed_memory = told
    return _keeps_freed_memory


def return_freed_memory() -> None:
    """Give freed memory back once, where `keep_freed_memory` holds it; for between two rungs."""
    malloc_trim = _c_function("malloc_trim")
    if _keeps_freed_memory and malloc_trim is not None:
        malloc_trim(0)


def heap_slack() -> float:
    """How many bytes the process takes for a byte of feature maps, on a CPU."""
    return _HEAP_SLACK if _keeps_freed_memory else 1.0


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
        with (
            suppress(OSError),
            open("/proc/self/status", encoding="ascii", errors="replace") as file,
        ):
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
