"""The machine check: it passes here, and it fails when tiles do not add up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from hires.cli.commands.doctor import tables
from hires.engine import self_check as doctor
from hires.features.network import Network
from hires.kernels.precision import Precision
from hires.tiling.seams import TileSeams


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return doctor.examine()


def test_this_machine_passes(report: dict[str, Any]) -> None:
    assert report["passed"] is True
    checks = report["tiled_vs_whole"]
    assert checks["loss_rel"] == checks["float64"]["loss_rel"] <= 1e-12
    assert checks["gradient_rel_l2"] == checks["float64"]["gradient_rel_l2"] <= 1e-12
    assert set(checks) == {"loss_rel", "gradient_rel_l2", "float64", report["device"]["precision"]}


def test_the_report_is_json_and_names_versions(report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(report)) == report
    assert report["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"hires", "python", "pyvips", "pillow"} <= set(report["versions"])


def test_the_table_says_everything(report: dict[str, Any]) -> None:
    console = Console(width=70)
    with console.capture() as captured:
        console.print(tables(report))
    text = captured.get()
    assert "float64" in text
    assert "ok" in text
    assert "FAILED" not in text
    assert "torch" in text
    assert "Painting in tiles against painting at once" in text


def test_extras_are_told_with_what_they_are_for(
    report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(package: str) -> str:
        if package == "pillow-heif":
            raise metadata.PackageNotFoundError
        return "1.2"

    monkeypatch.setattr(metadata, "version", version)
    assert doctor.extras() == {"heic": "not installed", "onnx": "1.2", "bench": "1.2"}
    console = Console(width=90)
    with console.capture() as captured:
        console.print(tables({**report, "extras": doctor.extras()}))
    lines = [" ".join(line.split()) for line in captured.get().splitlines()]
    assert "extra heic not installed: pip install pillow-heif (reads HEIC)" in lines
    assert "extra onnx onnxscript 1.2 (hires export)" in lines


def test_a_machine_on_which_tiles_come_out_differently_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = Network.forward

    def inexact(
        self: Network, image: Tensor, names: Sequence[str], *, seams: TileSeams | None
    ) -> dict[str, Tensor]:
        found = forward(self, image, names, seams=seams)
        error = 1.0 if seams is None else 1 + 1e-9
        return {name: features * error for name, features in found.items()}

    monkeypatch.setattr(Network, "forward", inexact)
    found = doctor.tiled_against_whole(torch.device("cpu"), Precision(torch.float64))
    assert 1e-12 < found["gradient_rel_l2"] < 1e-6
    assert not doctor.within_tolerance("float64", found)


def test_nan_is_never_within_tolerance() -> None:
    assert not doctor.within_tolerance("fp32", {"loss_rel": 0.0, "gradient_rel_l2": float("nan")})
