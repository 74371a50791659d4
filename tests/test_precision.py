"""Devices and arithmetic: what auto picks, and what is refused with what is allowed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import torch
from convolutions import CUDNN

from hires.kernels import precision
from hires.kernels.precision import (
    Precision,
    fast_bf16_cpu,
    float32_products,
    fp32_island,
    resolve_device,
    resolve_precision,
)

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False) -> None:
    """Pretend to be a machine with so many CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "wanted"), [(0, False, "cpu"), (0, True, "mps"), (2, False, "cuda")]
)
def test_auto_device(cuda: int, mps: bool, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device("auto") == torch.device(wanted)


def test_named_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=2)
    assert resolve_device("cpu") == CPU
    assert resolve_device("cuda") == CUDA
    assert resolve_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["cuda:2", "mps"])
def test_a_device_that_is_not_here(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=2)
    with pytest.raises(ValueError, match=f"device '{name}' is not available on this machine"):
        resolve_device(name)


def test_cuda_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    with pytest.raises(ValueError, match="not available on this machine: try `device=auto`"):
        resolve_device("cuda")


@pytest.mark.parametrize("name", ["tpu", "cpu:1", "cuda:x", "", "mps:0"])
def test_an_unknown_device(name: str) -> None:
    with pytest.raises(ValueError, match="choose auto, cpu, cuda, cuda:N or mps"):
        resolve_device(name)


@pytest.mark.parametrize(
    ("major", "dtype"), [(6, torch.float32), (7, torch.float16), (9, torch.bfloat16)]
)
def test_auto_precision_on_cuda(
    major: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (major, 0))
    assert resolve_precision("auto", CUDA).dtype == dtype


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_precision_on_a_cpu(
    fast: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "fast_bf16_cpu", lambda: fast)
    assert resolve_precision("auto", CPU).dtype == dtype


def test_the_probe_answers() -> None:
    assert isinstance(fast_bf16_cpu(), bool)


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_a_named_precision_is_taken(name: str) -> None:
    found = resolve_precision(name, CPU)
    assert found.name == name
    assert found.sum_dtype == torch.float64
    assert found.memory_format == torch.channels_last


def test_sums_on_mps_are_float32() -> None:
    assert resolve_precision("auto", MPS) == Precision(torch.float32, torch.float32)


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(ValueError, match="'fp16' needs a GPU: choose auto, fp32 or bf16"):
        resolve_precision("fp16", CPU)


def test_an_unknown_precision() -> None:
    with pytest.raises(ValueError, match="choose one of auto, fp32, tf32, bf16, fp16"):
        resolve_precision("fp8", CPU)


def test_an_island_keeps_a_callers_autocast_out() -> None:
    a = torch.ones(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with fp32_island(CPU):
            assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize("device", [CPU, MPS, CUDA])
def test_tf32_is_refused_where_there_is_none(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(ValueError, match=r"'tf32' needs an NVIDIA GPU .*: choose auto or fp32"):
        resolve_precision("tf32", device)


def test_tf32_is_a_precision_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    found = resolve_precision("tf32", CUDA)
    assert found == Precision(torch.float32, tf32=True)
    assert found.name == "tf32"
    assert resolve_precision("fp32", CUDA).name == "fp32"


def flags() -> tuple[str, str]:
    """How cuDNN convolves what is float32, and cuBLAS multiplies it."""
    return CUDNN.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def by_default() -> None:
    pass


def by_level() -> None:
    torch.set_float32_matmul_precision("high")


def by_hand() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    CUDNN.conv.fp32_precision = "ieee"


@pytest.fixture
def own_flags() -> Iterator[None]:
    convolution, matrices = flags()
    level = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(level)
    CUDNN.conv.fp32_precision = convolution
    torch.backends.cuda.matmul.fp32_precision = matrices


@pytest.mark.usefixtures("own_flags")
@pytest.mark.parametrize("chosen", [by_default, by_level, by_hand])
@pytest.mark.parametrize("tf32", [False, True])
def test_float32_is_what_a_precision_says_for_a_while(
    tf32: bool, chosen: Callable[[], None]
) -> None:
    chosen()
    before = flags()
    seen: list[tuple[str, str]] = []
    with suppress(KeyError), float32_products(Precision(torch.float32, tf32=tf32), CUDA):
        # Autograd goes back on threads of its own.
        thread = threading.Thread(target=lambda: seen.append(flags()))
        thread.start()
        thread.join()
        raise KeyError
    assert seen[0][0] == ("tf32" if tf32 else "ieee")
    assert seen[0][1] != "tf32"
    assert flags() == before


def test_a_cpu_leaves_the_flags_alone() -> None:
    before = flags()
    with float32_products(Precision(torch.float32), CPU):
        assert flags() == before


def test_names() -> None:
    assert Precision(torch.float64).name == "fp64"
