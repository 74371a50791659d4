"""Pictures and networks that several tests share."""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from hires.cli import main as cli
from hires.features.architecture import Architecture

# A shell that starts the tests in the background has Ctrl-C ignored, by what they start as well.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Tests run tiny tensors: threads cost more than they bring, and runners are often crowded.
torch.set_num_threads(1)
# The same examples in every run, however slow the machine.
settings.register_profile("hires", deadline=None, derandomize=True)
settings.load_profile("hires")

MATRIX = ((4.3, 0.1, 0.0), (0.0, 4.4, 0.0), (0.2, 0.0, 4.5))
SHIFT = (-2.1, -2.0, -1.8)

# VGG-19's depth, and the compact network's, at widths that a test can afford in float64.
VGG_SHAPE = Architecture(
    blocks=((4, 4), (6, 6), (8,) * 4, (8,) * 4, (8,) * 4), matrix=MATRIX, shift=SHIFT
)
COMPACT_SHAPE = Architecture(
    blocks=((4, 4), (6, 8), (8, 8, 10), (10, 10, 12), (10,)),
    padding="replicate",
    input_padding="replicate",
    matrix=MATRIX,
    shift=SHIFT,
)
REFLECT_SHAPE = Architecture(
    blocks=((3,), (4, 4), (6,)), padding="reflect", input_padding="reflect", matrix=MATRIX
)


def random_weights(architecture: Architecture, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, before, after in architecture.convolutions():
        spread = (2 / (9 * before)) ** 0.5
        kernels = torch.randn(after, before, 3, 3, generator=generator)
        weights[f"conv{key}.weight"] = kernels * spread
        weights[f"conv{key}.bias"] = torch.randn(after, generator=generator) * 0.1
    return weights


def random_image(height: int, width: int, seed: int = 0) -> Tensor:
    """(1, 3, H, W) float64 in [0, 1]: soft shapes with some noise on them."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 5, generator=generator, dtype=torch.float64)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noise = torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)
    return 0.7 * smooth + 0.3 * noise


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run what must be refused; returns the one line that says why."""
    capsys.readouterr()
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("hires: ")
    return captured.err


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Refuse larger files inside, as a full disk would."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def image() -> Callable[..., Tensor]:
    return random_image


@contextmanager
def loaded(path: Path) -> Iterator[ModuleType]:
    """A program that is no part of a package, as a module of its name for as long as it lasts."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[path.stem]


def end_runs(folder: Path) -> None:
    """End what the page has started in a folder: it outlives the server, and would a test."""
    from hires.serve.processes import Known

    for path in folder.glob(".hires-serve/*/*/*.json"):
        note = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(note.get("pid"), int):
            Known(note["pid"], str(note.get("began", ""))).terminate()
