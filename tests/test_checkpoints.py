"""Feature networks on disk: what is written comes back, and what is damaged is refused, and why."""

from __future__ import annotations

import json
import pickle
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, REFLECT_SHAPE, loaded, random_image, random_weights
from safetensors.torch import load_file, save_file
from torch import Tensor

from hires.config.run import Config
from hires.config.values import parse_layer
from hires.features import checkpoints
from hires.features.architecture import VGG16, VGG19, Architecture, FeaturesError
from hires.features.checkpoints import (
    digest,
    from_torchvision,
    load_features,
    read_checkpoint,
    write_checkpoint,
)
from hires.features.network import Network

WEIGHTS = random_weights(COMPACT_SHAPE)
METADATA = {"licence": "CC0", "attribution": "nobody"}
State = dict[str, Tensor]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, WEIGHTS, METADATA)
    return path


def rewrite(path: Path, change: Callable[[State, dict[str, str]], None]) -> None:
    """Change a checkpoint's tensors and metadata."""
    checkpoint = read_checkpoint(path)
    weights, metadata = checkpoint.weights, dict(checkpoint.metadata)
    change(weights, metadata)
    save_file(weights, path, metadata=metadata)


def restate(architecture: Architecture, weights: State, metadata: dict[str, str]) -> None:
    """State a hash that fits, as a careless writer would."""
    metadata["architecture"] = json.dumps(asdict(architecture))
    metadata["sha256"] = digest(architecture, weights)


def test_round_trip(path: Path) -> None:
    found = read_checkpoint(path)
    assert found.architecture == COMPACT_SHAPE
    assert METADATA.items() <= found.metadata.items()
    assert found.weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(found.weights[name], WEIGHTS[name]) for name in WEIGHTS)
    network, image = load_features(str(path), pooling="average"), random_image(32, 32)
    assert (network.pooling, network.name) == ("average", str(path))
    wanted = Network(COMPACT_SHAPE, WEIGHTS, pooling="average")(image, ["relu5_1"])["relu5_1"]
    assert torch.equal(network(image, ["relu5_1"])["relu5_1"], wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_keep_their_type(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {name: value.to(dtype) for name, value in WEIGHTS.items()}
    write_checkpoint(tmp_path / "net.safetensors", COMPACT_SHAPE, weights, METADATA)
    found = read_checkpoint(tmp_path / "net.safetensors").weights
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_nothing_is_left_beside_a_checkpoint(path: Path) -> None:
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full(_: State, filename: Path, **__: Any) -> None:
        Path(filename).write_bytes(before[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE, 1), METADATA)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(FeaturesError, match=r"no tensor 'conv1_1\.weight'"):
        write_checkpoint(tmp_path / "net.safetensors", COMPACT_SHAPE, {}, METADATA)
    assert not list(tmp_path.iterdir())


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def not_safetensors(path: Path) -> None:
    torch.save(WEIGHTS, path)


def missing(path: Path) -> None:
    path.unlink()


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_another_format(path: Path) -> None:
    save_file(WEIGHTS, path)


def of_another_version(path: Path) -> None:
    rewrite(path, lambda _, metadata: metadata.update(version="2"))


def with_another_hash(path: Path) -> None:
    rewrite(path, lambda _, metadata: metadata.update(sha256="0" * 64))


def with_a_changed_tensor(path: Path) -> None:
    rewrite(path, lambda weights, _: weights.update({"conv2_1.bias": torch.zeros(6)}))


def with_another_architecture(path: Path) -> None:
    text = json.dumps(asdict(REFLECT_SHAPE))
    rewrite(path, lambda _, metadata: metadata.update(architecture=text))


def with_another_architecture_and_its_hash(path: Path) -> None:
    rewrite(path, lambda weights, metadata: restate(REFLECT_SHAPE, weights, metadata))


def without_an_architecture(path: Path) -> None:
    def change(_: State, metadata: dict[str, str]) -> None:
        del metadata["architecture"]

    rewrite(path, change)


def with_an_architecture_of_nonsense(path: Path) -> None:
    rewrite(path, lambda _, metadata: metadata.update(architecture="[1, 2]"))


def with_an_architecture_that_is_no_json(path: Path) -> None:
    rewrite(path, lambda _, metadata: metadata.update(architecture="{"))


def with_an_unknown_padding(path: Path) -> None:
    text = json.dumps({**asdict(COMPACT_SHAPE), "padding": "circular"})
    rewrite(path, lambda _, metadata: metadata.update(architecture=text))


def without_a_tensor(path: Path) -> None:
    def change(weights: State, metadata: dict[str, str]) -> None:
        del weights["conv3_2.bias"]
        restate(COMPACT_SHAPE, weights, metadata)

    rewrite(path, change)


def with_values_that_are_not_finite(path: Path) -> None:
    def change(weights: State, metadata: dict[str, str]) -> None:
        weights["conv3_2.bias"][0] = torch.nan
        restate(COMPACT_SHAPE, weights, metadata)

    rewrite(path, change)


DAMAGES: dict[Callable[[Path], None], str] = {
    truncated: "truncated or not safetensors",
    empty: "truncated or not safetensors",
    not_safetensors: "truncated or not safetensors",
    missing: "no such file; choose compact, vgg19, vgg16 or a checkpoint's path",
    directory: "no such file",
    of_another_format: "not a hires-features checkpoint of version 1",
    of_another_version: "not a hires-features checkpoint of version 1",
    with_another_hash: "damaged, its SHA-256 is not the one that it states",
    with_a_changed_tensor: "damaged, its SHA-256 is not the one that it states",
    with_another_architecture: "damaged, its SHA-256 is not the one that it states",
    with_another_architecture_and_its_hash: "no tensor 'conv2_2.weight'|the architecture says",
    without_an_architecture: "bad architecture",
    with_an_architecture_of_nonsense: "bad architecture",
    with_an_architecture_that_is_no_json: "bad architecture",
    with_an_unknown_padding: "bad architecture.*choose one of zeros, reflect, replicate",
    without_a_tensor: "the checkpoint has no tensor 'conv3_2.bias'",
    with_values_that_are_not_finite: "'conv3_2.bias' has values that are not finite",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_refused_and_why(damage: Callable[[Path], None], path: Path) -> None:
    damage(path)
    with pytest.raises(FeaturesError, match=DAMAGES[damage]) as caught:
        load_features(str(path))
    message = str(caught.value)
    assert message.startswith(f"features '{path}': ")
    assert "\n" not in message


def test_the_embedded_network_has_the_default_layers() -> None:
    network, config = load_features("compact"), Config()
    layers = [parse_layer(text)[0] for text in config.style_layers + config.content_layers]
    network.check_layers(layers)
    features = network(random_image(32, 32), layers)
    assert all(torch.isfinite(value).all() and value.any() for value in features.values())


def vgg_state(architecture: Architecture) -> State:
    """A state dict named as torchvision names it, classifier included."""
    state, number = {}, 0
    for block in architecture.blocks:
        for _ in block:
            state[f"features.{number}.weight"] = torch.zeros(0)
            number += 2
        number += 1
    names = [key for key, _, _ in architecture.convolutions()]
    values = random_weights(architecture)
    for key, name in zip(list(state), names, strict=True):
        state[key] = values[f"conv{name}.weight"]
        state[key.replace("weight", "bias")] = values[f"conv{name}.bias"]
    return state | {"classifier.0.weight": torch.zeros(2, 2)}


# The family's shape at widths that a test can afford.
SLIM = {
    "vgg16": Architecture(blocks=((2, 2), (2, 2), (2,) * 3, (2,) * 3, (2,) * 3)),
    "vgg19": Architecture(blocks=((2, 2), (2, 2), (2,) * 4, (2,) * 4, (2,) * 4)),
}


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_torchvisions_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(url: str, **options: Any) -> State:
        asked.update(options, url=url)
        return vgg_state(SLIM[name])

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    monkeypatch.setitem(checkpoints._TORCHVISION, name, SLIM[name])
    network = load_features(name)
    assert asked["check_hash"] is True
    assert f"/{name}-" in asked["url"]
    wanted = Network(SLIM[name], random_weights(SLIM[name]))
    image = random_image(32, 32)
    assert torch.equal(
        network(image, ["relu5_3"])["relu5_3"], wanted(image, ["relu5_3"])["relu5_3"]
    )


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("no route to host"),
        RuntimeError("invalid hash value (expected dcbb9e9d)\nmore"),
        pickle.UnpicklingError("invalid load key"),
        EOFError(),
    ],
)
def test_offline_says_which_file_goes_where(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: Any, **__: Any) -> State:
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(FeaturesError) as caught:
        load_features("vgg19")
    message = str(caught.value)
    assert "cannot load vgg19-dcbb9e9d.pth" in message
    assert f"to {tmp_path / 'hub' / 'checkpoints'} or use `features=compact`" in message
    assert "\n" not in message


def test_a_state_dict_of_another_depth_is_refused() -> None:
    with pytest.raises(FeaturesError, match="has 13 convolutions, the architecture 16"):
        from_torchvision(VGG19, vgg_state(SLIM["vgg16"]))


@pytest.fixture(scope="module")
def converter() -> Iterator[ModuleType]:
    with loaded(Path(__file__).parents[1] / "scripts" / "convert_features.py") as module:
        yield module


def convert(
    converter: ModuleType, state: Mapping[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, Path]:
    """Run the script's `main` on a state dict."""
    torch.save(state, folder / "state.pth")
    output = folder / "net.safetensors"
    arguments = ["convert", str(folder / "state.pth"), str(output), "--licence", "MIT"]
    monkeypatch.setattr("sys.argv", arguments)
    return converter.main(), output


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_converting_torchvisions_family(
    name: str, converter: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter, "VGG16", SLIM["vgg16"])
    monkeypatch.setattr(converter, "VGG19", SLIM["vgg19"])
    code, output = convert(converter, vgg_state(SLIM[name]), tmp_path, monkeypatch)
    assert code == 0
    found = read_checkpoint(output)
    assert found.architecture == SLIM[name]
    assert found.metadata["licence"] == "MIT"
    assert found.weights.keys() == random_weights(SLIM[name]).keys()
    assert torch.equal(found.weights["conv4_1.bias"], random_weights(SLIM[name])["conv4_1.bias"])


def test_the_normalisation_of_torchvision_is_known() -> None:
    for architecture in (VGG16, VGG19):
        matrix = torch.tensor(architecture.matrix)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        rgb = torch.tensor([0.2, 0.5, 0.9])
        torch.testing.assert_close(
            matrix @ rgb + torch.tensor(architecture.shift), (rgb - mean) / std
        )


def test_converting_collaborative_distillations_family(
    converter: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = random_weights(REFLECT_SHAPE)
    state = {name.replace("_", ""): value for name, value in weights.items()}
    matrix, shift = torch.tensor(REFLECT_SHAPE.matrix), torch.tensor([0.5, 0.25, -1.0])
    state |= {"conv0.weight": matrix.view(3, 3, 1, 1), "conv0.bias": shift}
    state |= {"conv11_aux.weight": torch.zeros(1), "conv11_aux.bias": torch.zeros(1)}
    code, output = convert(converter, {"model": state}, tmp_path, monkeypatch)
    assert code == 0
    found = read_checkpoint(output)
    assert found.architecture.blocks == REFLECT_SHAPE.blocks
    assert (found.architecture.padding, found.architecture.input_padding) == ("reflect", "reflect")
    assert found.architecture.shift == (0.5, 0.25, -1.0)
    torch.testing.assert_close(torch.tensor(found.architecture.matrix), matrix)
    assert all(torch.equal(found.weights[name], weights[name]) for name in weights)
    assert load_file(output).keys() == weights.keys()


def test_an_unknown_family_is_one_line_and_exit_code_2(
    converter: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, output = convert(converter, {"layer1.weight": torch.zeros(1)}, tmp_path, monkeypatch)
    assert code == 2
    assert not output.exists()
    said = capsys.readouterr().err
    assert said.startswith("convert_features: unknown state dict")
    assert said.count("\n") == 1
