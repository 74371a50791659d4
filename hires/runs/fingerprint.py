"""What the last bits of a painting depend on, besides its pictures and settings."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import torch

from hires.config.run import Config
from hires.kernels.precision import resolve_device, resolve_precision

# Those that compute, read or write pictures; a missing one is no difference.
_PACKAGES = ("torch", "numpy", "pyvips", "pyvips-binary", "pillow")


def fingerprint(config: Config) -> dict[str, str]:
    """Name everything that two machines must have in common to paint the same bits.

    The number of threads matters as well, but can be set: see `num_threads`.
    """
    device = resolve_device(config.device)
    found = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "instructions": _instructions(),
        "device": device.type,
        "precision": resolve_precision(config.precision, device).name,
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = str(torch.version.cuda)
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def num_threads() -> int:
    """How many threads compute: sums are cut among them, and so rounded differently."""
    return torch.get_num_threads()


def use_threads(number: int) -> None:
    """Compute with as many threads as an earlier run."""
    if number != torch.get_num_threads():
        torch.set_num_threads(number)


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Say in a few words what is not as it was; None if nothing is."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not names:
        return None
    said = [f"{name} {before.get(name, 'none')}, here {now.get(name, 'none')}" for name in names]
    return "; ".join(said)


def processor() -> str:
    """Name of this machine's processor, with family, model and stepping where Linux tells them."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        first = text.partition("\n\n")[0]
        found = dict(re.findall(r"^(.+?)\s*:\s*(.*)$", first, re.MULTILINE))
        if "model name" in found:
            numbers = [found.get(name, "?") for name in ("cpu family", "model", "stepping")]
            return f"{found['model name']} ({'/'.join(numbers)})"
    return platform.processor() or platform.machine()


def _instructions() -> str:
    """What PyTorch and oneDNN choose their kernels by."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    names = [name.removeprefix("_is_").removesuffix("_supported") for name in probes]
    extra = [
        name
        for name, probe in zip(names, probes, strict=True)
        if getattr(torch.cpu, probe, lambda: False)()
    ]
    return " ".join([torch.backends.cpu.get_cpu_capability(), *extra])
