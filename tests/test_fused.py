"""Fused kernels compute what PyTorch's operations do, compile for GPUs, and can be done without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hires.kernels import fused, gradient_masks
from hires.kernels.convolution import Convolution, convolve_back

TESTS = Path(__file__).parent
# Pointers of kernels, T for the type of the map.
KERNELS = {
    "_activate": {"x": "*T", "bias": "*T", "packed": "*u8"},
    "_pass_positive": {"gradient": "*T", "packed": "*u8", "passed": "*T"},
    "_max_pool": {"x": "*T", "bias": "*T", "pooled": "*T", "switches": "*u8"},
    "_unpool": {"gradient": "*T", "switches": "*u8", "spread": "*T"},
}


def test_kernels_equal_pytorchs_operations() -> None:
    pytest.importorskip("triton")
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS / "fused_cases.py"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-4000:]
    assert int(re.findall(r"(\d+) passed", told.stdout)[0]) > 100


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "capability"), [("fp16", 75), ("bf16", 80), ("bf16", 90)])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_to_wide_accesses(name: str, dtype: str, capability: int) -> None:
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from hires.kernels import triton_kernels

    function = getattr(triton_kernels, name)
    constants = {key: True for key in function.arg_names if key.isupper()} | {"BLOCK": 256}
    pointers = {key: kind.replace("T", dtype) for key, kind in KERNELS[name].items()}
    types = dict.fromkeys(function.arg_names, "i32") | pointers
    types |= dict.fromkeys(constants, "constexpr")
    places = {key: (i,) for i, key in enumerate(function.arg_names)}
    aligned = {places[key]: [["tt.divisibility", 16]] for key in pointers}
    values = {places[key]: value for key, value in constants.items()}
    source = ASTSource(function, types, values, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    accesses = re.findall(r"\b((?:ld|st)\.global\S*)", compiled.asm["ptx"])
    # Maps go by 16 bytes, switches by 8, packed bits by one.
    assert set(accesses) <= {
        f"{way}.global.{width}" for way in ("ld", "st") for width in ("v4.b32", "v2.b32", "b8")
    }


def rough() -> Tensor:
    x = torch.randn(1, 8, 5, 6, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=torch.channels_last)


def serve(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Take a CPU for a GPU whose kernels fail."""

    def kernels() -> Any:
        raise error

    monkeypatch.setattr(fused, "_kernels", kernels)
    monkeypatch.setattr(fused, "_is_served", lambda _: fused._State.is_on)
    monkeypatch.setattr(fused._State, "is_on", True)


def test_where_kernels_do_not_compile_pytorch_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, RuntimeError("Failed to find C compiler"))
    x, bias = rough(), torch.randn(8)
    found = x.clone()
    with pytest.warns(RuntimeWarning, match="Failed to find C compiler"):
        bits = fused.activate_(found, bias, packed=True)
    wanted = (x + bias.view(-1, 1, 1)).relu()
    assert torch.equal(found, wanted)
    assert bits is not None
    assert torch.equal(bits, gradient_masks.pack_positive(wanted))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pooled, switches = fused.max_pool_2x2(x.clone(), relu=True, switched=True, bias=bias)
    expected = gradient_masks.max_pool_2x2(x + bias.view(-1, 1, 1), relu=True, switched=True)
    assert torch.equal(pooled, expected[0])
    assert switches is not None
    assert expected[1] is not None
    assert torch.equal(switches, expected[1])


def test_a_lack_of_memory_is_not_taken_for_a_lack_of_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        fused.pack_positive(rough())
    assert fused._State.is_on


def test_a_cpu_does_not_import_triton() -> None:
    code = (
        "import sys, torch, hires\n"
        "from hires.kernels import layers\n"
        "x = torch.randn(1, 8, 4, 4).requires_grad_()\n"
        "layers.max_pool(layers.relu(x), relu=True).sum().backward()\n"
        "assert x.grad is not None\n"
        "print('hires.kernels.triton_kernels' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_channels_of_zeros_on_the_way_back_change_nothing() -> None:
    weight, bias = torch.randn(8, 3, 3, 3).double(), torch.randn(8).double()
    turned = weight.flip(2, 3).transpose(0, 1)
    more = torch.cat([turned, turned.new_zeros(5, 8, 3, 3)])
    gradient = torch.randn(1, 8, 7, 6).double()
    found, wanted = (
        convolve_back(gradient, Convolution(weight, bias, kernel), (1, 1))
        for kernel in (more, turned)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)
