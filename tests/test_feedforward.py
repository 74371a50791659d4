"""Model files: what is written is read, and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from forward_models import ENLARGE, STYLE, random_tensors, write_random_model
from safetensors.torch import load_file, save_file

from hires.features.checkpoints import digest, read_tensors
from hires.feedforward.design import Design, ModelError
from hires.feedforward.model import (
    check_model_output,
    load_model,
    read_model,
    write_model,
)
from hires.feedforward.models import built_in_models


def rewritten(path: Path, **changes: str) -> Path:
    """The same file with other metadata."""
    metadata, tensors = read_tensors(path)
    save_file(tensors, path, metadata={**metadata, **changes})
    return path


def test_a_model_comes_back(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "model.safetensors", style="waves.jpg")
    model = load_model(str(path), task="style")
    assert model.design == STYLE
    assert model.metadata["style"] == "waves.jpg"
    for name, value in random_tensors(STYLE).items():
        assert torch.equal(model.weights[name], value.half().float())
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


def test_a_model_can_be_read_by_others(tmp_path: Path) -> None:
    path, plain = write_random_model(tmp_path / "model.safetensors"), tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("name", built_in_models())
def test_what_comes_with_the_package_is_whole_and_small(name: str) -> None:
    model = load_model(name)
    assert model.design in (
        Design(),
        Design(task=model.design.task, factor=model.design.factor, widths=(64,), num_blocks=4),
    )
    assert json.loads(model.metadata["settings"])["task"] == model.design.task
    file = Path(__file__).parents[1] / "hires" / "feedforward" / "models" / f"{name}.safetensors"
    assert file.stat().st_size < 4_000_000


def test_a_model_for_another_task_is_refused(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "model.safetensors", "super-resolution")
    with pytest.raises(ModelError, match="is for super-resolution: give one"):
        load_model(str(path), task="style")


def test_a_missing_model_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such file; give a model's path, or one of"):
        load_model(str(tmp_path / "absent.safetensors"))


@pytest.mark.parametrize("length", [0, 7, 200, 5000])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    path = write_random_model(tmp_path / "model.safetensors")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelError, match="truncated or not safetensors"):
        read_model(path)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "model.safetensors")
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        read_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "not a hires-model file"),
        ({"format": "hires-features"}, "a feature network: it goes to `features`"),
        ({"version": "2"}, "has version 2, this program reads 1: update hires"),
        ({"task": "colouring"}, "for the task 'colouring', this program knows style and super"),
        ({"design": "{"}, "its architecture is unknown"),
        ({"design": '{"widths": [4], "depth": 3}'}, "its architecture is unknown"),
        ({"design": json.dumps({**asdict(STYLE), "num_blocks": 0})}, "architecture is unknown"),
        ({"design": json.dumps({**asdict(STYLE), "num_blocks": 3})}, "damaged"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    path = rewritten(write_random_model(tmp_path / "model.safetensors"), **changes)
    with pytest.raises(ModelError, match=message) as refused:
        read_model(path)
    assert "\n" not in str(refused.value)


def test_tensors_of_another_architecture_are_refused(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "model.safetensors")
    other = Design(widths=(4, 6, 9), num_blocks=2, kernel=5)
    _, tensors = read_tensors(path)
    design = json.dumps(asdict(other))
    rewritten(path, design=design, sha256=digest(other, tensors))
    with pytest.raises(ModelError, match=r"tensor 'down2\.weight' is \(8, 6, 3, 3\)"):
        read_model(path)


def test_weights_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    tensors = random_tensors(ENLARGE)
    tensors["first.bias"][0] = 1e6
    path = tmp_path / "model.safetensors"
    with pytest.raises(ModelError, match="not finite"):
        write_model(path, ENLARGE, tensors, {})
    del tensors["first.bias"]
    with pytest.raises(ModelError, match=r"no tensor 'first\.bias'"):
        write_model(path, ENLARGE, tensors, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.pth", "ends in .safetensors"),
        ("absent/model.safetensors", "no folder"),
        ("folder.safetensors", "not a regular file"),
    ],
)
def test_a_place_that_cannot_hold_a_model_is_refused(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ModelError, match=message):
        check_model_output(tmp_path / name)
