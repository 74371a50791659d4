"""The nodes for ComfyUI, with a stand-in for it; scripts/try_comfyui.py asks the real one."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from comfy_stand_in import Host, InterruptProcessingException
from conftest import random_image
from torch import Tensor

from hires.cli import main as cli
from hires.config.feedforward import ApplyConfig
from hires.config.run import Config
from hires.feedforward.apply import Inference
from hires.feedforward.model import load_model
from hires.image.decode.read import load_image, read_picture
from hires.image.encode.save import save_image

ROOT = Path(__file__).parents[1]
SIZE = {"size": ["80"], "iterations": ["2"], "no_metadata": [True]}
WORDS = ("--size", "80", "--iterations", "2", "--no-metadata", "--quiet")
# Python's types of values that the page stores.
KINDS: dict[str, Any] = {
    "STRING": str,
    "COMBO": str,
    "BOOLEAN": bool,
    "INT": int,
    "FLOAT": (int, float),
}
MODULES = ("", ".nodes", ".host", ".options", ".pictures", ".schema")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A ComfyUI in whose folder everything lies."""
    monkeypatch.chdir(tmp_path)
    host = Host(tmp_path)
    for name, module in host.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    _forget()
    yield host
    _forget()


def _forget() -> None:
    for name in MODULES:
        sys.modules.pop(f"hires.comfyui{name}", None)


@pytest.fixture
def nodes(host: Host) -> ModuleType:
    """The nodes, as ComfyUI has loaded them."""
    extension = asyncio.run(importlib.import_module("hires.comfyui").comfy_entrypoint())
    found = importlib.import_module("hires.comfyui.nodes")
    listed = asyncio.run(extension.get_node_list())
    assert listed == [found.HiresStylize, found.HiresApply, found.HiresPlan]
    assert host.models["hires"] == [str(host.folder / "models" / "hires")]
    return found


def image(height: int, width: int, seed: int) -> Tensor:
    """IMAGE of an 8-bit file, as ComfyUI's LoadImage makes it: (1, H, W, 3)."""
    levels = (random_image(height, width, seed=seed) * 255).round()
    return (levels / 255).movedim(1, -1)


def run(node: Any, **given: Any) -> Any:
    """Execute a node as ComfyUI does: without gradients, and with lists where they are declared."""
    as_lists = node.define_schema().is_input_list
    assert not as_lists or all(isinstance(value, list) for value in given.values())
    with torch.inference_mode():
        return node.execute(**given)


CONTENT, STYLE = {"content": [image(64, 80, 1)]}, {"style": [image(72, 64, 2)]}


@pytest.fixture(scope="module")
def by_command(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the command paints of the same pictures."""
    content, style, painted = (
        str(tmp_path_factory.mktemp("command") / f"{name}.png")
        for name in ("content", "style", "painted")
    )
    save_image(CONTENT["content"][0].movedim(-1, 1), content)
    save_image(STYLE["style"][0].movedim(-1, 1), style)
    assert cli.main(["stylize", content, style, *WORDS, "-o", painted, "--no-run-dir"]) == 0
    return Path(painted).read_bytes()


class TestPictures:
    def test_8_bit_images_come_back_exactly(self, nodes: ModuleType, tmp_path: Path) -> None:
        whole = (torch.arange(256) / 255).reshape(1, 16, 16, 1).expand(-1, -1, -1, 3)
        (picture,) = nodes.pictures_of([whole])
        path = nodes.keep(picture, tmp_path / "inputs")
        assert read_picture(path).bit_depth == 8
        assert torch.equal(nodes.to_image(load_image(path)), whole)

    def test_16_bit_images_come_back_exactly_and_others_to_nearest(
        self, nodes: ModuleType, tmp_path: Path
    ) -> None:
        deep = (torch.arange(65536).float() / 65535).reshape(1, 1, 256, 256).expand(-1, 3, -1, -1)
        assert torch.equal(load_image(nodes.keep(deep.contiguous(), tmp_path)), deep)
        any_ = random_image(16, 24, seed=3)
        assert (load_image(nodes.keep(any_, tmp_path)) - any_).abs().max() <= 0.5 / 65535 + 1e-7

    def test_same_pixels_same_path(self, nodes: ModuleType, tmp_path: Path) -> None:
        one, other = random_image(16, 24, seed=3), random_image(16, 24, seed=4)
        paths = [nodes.keep(picture, tmp_path) for picture in (one, one.clone(), other)]
        assert paths[0] == paths[1] != paths[2]
        assert nodes.keep(one.reshape(1, 3, 24, 16), tmp_path) not in paths

    def test_batches_are_taken_apart(self, nodes: ModuleType) -> None:
        lists = [torch.rand(2, 8, 9, 3), torch.rand(1, 5, 4, 3)]
        shapes = [tuple(picture.shape) for picture in nodes.pictures_of(lists)]
        assert shapes == [(1, 3, 8, 9), (1, 3, 8, 9), (1, 3, 5, 4)]
        masks = [torch.rand(8, 9), torch.rand(2, 5, 4)]
        shapes = [tuple(mask.shape) for mask in nodes.masks_of(masks)]
        assert shapes == [(1, 1, 8, 9), (1, 1, 5, 4), (1, 1, 5, 4)]

    def test_alpha_and_grey(self, nodes: ModuleType, tmp_path: Path) -> None:
        levels = (torch.rand(1, 4, 8, 9) * 127).round().add(128) / 255  # nothing is hidden
        read = read_picture(nodes.keep(levels, tmp_path))
        assert read.alpha is not None
        assert torch.equal(torch.cat([read.pixels, read.alpha], 1), levels)
        grey = levels[:, :1].contiguous()
        assert torch.equal(load_image(nodes.keep(grey, tmp_path)), grey.expand(-1, 3, -1, -1))
        with pytest.raises(ValueError, match="got 2: convert it to RGB"):
            nodes.keep(levels[:, :2].contiguous(), tmp_path)


class TestOptions:
    def test_inputs_as_they_are_give_nothing(self, nodes: ModuleType) -> None:
        options = nodes.painting_options()
        inputs = {entry.id: entry.told for entry in nodes.HiresStylize.define_schema().inputs}
        shown = {option.field.name: inputs[option.field.name] for option in options}
        assert all(told["optional"] and told["tooltip"] for told in shown.values())
        defaults = {name: told["default"] for name, told in shown.items()}
        found = nodes.read_given(options, defaults)
        assert set(found) == {"config", "print", "delivery", ""}
        assert not any(found.values())
        assert nodes.read_given(options, {}) == found

    def test_no_workflow_names_a_path_or_a_device(self, nodes: ModuleType) -> None:
        names = {option.field.name for option in nodes.painting_options()}
        assert not names & {"features", "init", "icc", "finish", "run_dir", "output", "device"}

    def test_values_are_read_as_they_are_typed(self, nodes: ModuleType) -> None:
        given = {
            "size": "50%",
            "iterations": "20 10",
            "brush_size": "8mm",
            "style_weights": "1 3",
            "style_loss": "wasserstein neighbours:0.3",
            "rungs": 3,
            "color": "match",
            "paper": "A2",
            "dpi": 150.0,
            "landscape": True,
            "bit_depth": "16",
            "other": "x",
        }
        found = nodes.read_given(nodes.painting_options(), given)
        assert found["config"] == {
            "size": "50%",
            "iterations": (20, 10),
            "brush_size": "8mm",
            "style_weights": (1.0, 3.0),
            "rungs": 3,
            "color": "match",
            "style_loss": ("wasserstein", "neighbours:0.3"),
        }
        assert found["print"] == {"paper": "A2", "dpi": 150.0, "landscape": True}
        assert found[""] == {"bit_depth": 16}

    def test_a_number_that_is_chosen_is_none_that_can_be_given(self, nodes: ModuleType) -> None:
        (grain,) = [one for one in nodes.applying_options() if one.field.name == "grain"]
        read = [nodes.read_given([grain], {"grain": value})[""] for value in (-1, 0, 0.1)]
        assert read == [{}, {"grain": 0}, {"grain": 0.1}]

    def test_a_preset_keeps_its_values(self, nodes: ModuleType) -> None:
        given = {"preset": "calm", "style_loss": "wasserstein", "size": "1024"}
        found = nodes.read_given(nodes.painting_options(), given)
        assert Config(**found["config"]) == Config(preset="calm")

    def test_what_cannot_be_read_is_told_by_its_name(self, nodes: ModuleType) -> None:
        with pytest.raises(ValueError, match=r"^`iterations`: 'many' is not a whole number$"):
            run(nodes.HiresStylize, **CONTENT, **STYLE, iterations=["many"])
        with pytest.raises(ValueError, match="`landscape` applies to `paper` only"):
            run(nodes.HiresStylize, **CONTENT, **STYLE, landscape=[True])

    def test_masks_say_which_style_paints(self, nodes: ModuleType, tmp_path: Path) -> None:
        mask, styles = torch.ones(1, 64, 80), {**STYLE, "style_2": [image(64, 64, 3)]}
        (alone,) = nodes.jobs(
            nodes.PaintJob, {**CONTENT, **styles, "mask": [mask]}, tmp_path, output="x.png"
        )
        assert [text[-8:] for text in alone.guides.mask] == [".png:1+2"]
        both = {**CONTENT, **styles, "mask": [mask], "mask_2": [mask * 0]}
        (job,) = nodes.jobs(nodes.PaintJob, both, tmp_path, output="x.png")
        first, second = job.guides.mask
        assert [float(load_image(path).mean()) for path in (first, second)] == [1, 0]


class TestStylize:
    def test_paints_the_bytes_of_the_command(
        self, host: Host, nodes: ModuleType, by_command: bytes
    ) -> None:
        done = run(nodes.HiresStylize, **CONTENT, **STYLE, **SIZE)
        ((painting,), (path,)) = done.args
        assert Path(path).parent == host.folder / "output" / "hires"
        assert Path(path).read_bytes() == by_command
        assert painting.shape == (1, 64, 80, 3)
        assert (painting - load_image(path).movedim(1, -1)).abs().max() <= 0.501 / 255
        saved = {"filename": Path(path).name, "subfolder": "hires", "type": "output"}
        assert done.ui == {"images": [saved], "files": [saved]}
        assert host.told == sorted(host.told)
        assert host.told[-1] == 1000
        assert [(kind, image.size, side) for kind, image, side in host.previews] == [
            ("JPEG", (80, 64), 80)
        ] * len(host.previews)
        last = torch.from_numpy(np.array(host.previews[-1][1]))
        assert torch.equal(last / 255, load_image(path)[0].movedim(0, -1))

    def test_an_interrupted_painting_is_gone_on_with(
        self, host: Host, nodes: ModuleType, by_command: bytes
    ) -> None:
        checks = iter([False, True])
        host.interrupt = lambda: next(checks)
        with pytest.raises(InterruptProcessingException):
            run(nodes.HiresStylize, **CONTENT, **STYLE, **SIZE)
        folder = host.folder / "output" / "hires"
        assert [*folder.glob("*.png")] == []
        assert len([*folder.glob("painting-*.run/checkpoint-*")]) == 1
        host.interrupt, host.told = lambda: False, []
        _, (path,) = run(nodes.HiresStylize, **CONTENT, **STYLE, **SIZE).args
        assert Path(path).read_bytes() == by_command
        assert host.told[0] > 0
        assert len(host.told) < 1 + 2, "it began anew"

    def test_several_contents_are_painted_in_turn(
        self, host: Host, nodes: ModuleType, by_command: bytes
    ) -> None:
        contents = [image(64, 80, 1), image(80, 64, 4)]
        images, paths = run(nodes.HiresStylize, content=contents, **STYLE, **SIZE).args
        assert [tuple(one.shape[1:3]) for one in images] == [(64, 80), (80, 64)]
        assert len({*paths}) == 2
        assert Path(paths[0]).read_bytes() == by_command
        assert host.told == sorted(host.told)

    def test_a_print_is_whole_in_its_file_and_small_as_image(self, nodes: ModuleType) -> None:
        given = {"paper": ["A6"], "dpi": [20.0], "iterations": ["1"], "format": ["tif"]}
        done = run(nodes.HiresStylize, **CONTENT, **STYLE, **given, image_side=[64])
        (painting,), (path,) = done.args
        assert tuple(load_image(path).shape[2:]) == (83, 117)
        assert tuple(painting.shape[1:3]) == (45, 64)
        assert done.ui["images"][0]["type"] == "temp"  # Browsers show no TIFF.
        assert done.ui["files"][0]["filename"] == Path(path).name


def test_apply_is_the_model_applied(host: Host, nodes: ModuleType) -> None:
    batch = torch.cat([image(112, 128, 1), image(112, 128, 2)])
    (painted,) = run(nodes.HiresApply, content=batch, model="impasto", grain=0).args
    inference = Inference(load_model("impasto"), ApplyConfig(grain=0, device="cpu"))
    assert host.told[-1] == 1000
    for given, found in zip(batch, painted, strict=True):
        wanted = inference.apply(given.movedim(-1, 0)[None].contiguous())
        assert torch.equal(found.movedim(-1, 0)[None], wanted)


def test_models_of_the_user_are_offered(host: Host, nodes: ModuleType) -> None:
    folder = host.folder / "models" / "hires"
    folder.mkdir(parents=True)
    (folder / "mine.safetensors").write_bytes(b"no model")
    inputs = {entry.id: entry.told for entry in nodes.HiresApply.define_schema().inputs}
    assert inputs["model"]["options"] == ["impasto", "mine.safetensors"]
    with pytest.raises(ValueError, match="truncated or not safetensors"):
        run(nodes.HiresApply, content=image(64, 64, 1), model="mine.safetensors")


def test_plan_tells_what_the_command_tells(
    nodes: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(nodes.HiresPlan, **CONTENT, **STYLE, **SIZE, probe=[False])
    save_image(CONTENT["content"][0].movedim(-1, 1), "content.png")
    save_image(STYLE["style"][0].movedim(-1, 1), "style.png")
    command = [
        "plan",
        "content.png",
        "style.png",
        "--size",
        "80",
        "--iterations",
        "2",
        "--no-probe",
    ]
    assert cli.main([*command, "--device", "cpu"]) == 0
    wanted = capsys.readouterr().out.splitlines()
    found = done.args[0].splitlines()
    assert len(found) == len(wanted)
    # What is free changes by the moment.
    fixed = [line for line in wanted if "free" not in line and "largest" not in line]
    assert [line.rstrip() for line in fixed if line not in found] == []
    assert done.ui.value == done.args[0]


WORKFLOWS = sorted((ROOT / "hires" / "comfyui" / "example_workflows").glob("*.json"))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_examples_are_of_these_nodes(file: Path, nodes: ModuleType) -> None:
    """A value that is stored for a widget stands at its place: an option more moves all."""
    known = {
        node.define_schema().node_id: node.define_schema().inputs
        for node in (nodes.HiresStylize, nodes.HiresApply, nodes.HiresPlan)
    }
    ours = [one for one in json.loads(file.read_text("utf-8"))["nodes"] if one["type"] in known]
    assert ours
    for one in ours:
        inputs = {entry.id: entry for entry in known[one["type"]]}
        assert {slot["name"] for slot in one["inputs"]} == set(inputs)
        widgets = [entry for entry in inputs.values() if entry.kind not in ("IMAGE", "MASK")]
        for entry, value in zip(widgets, one["widgets_values"], strict=True):
            assert isinstance(value, KINDS[entry.kind]), f"{entry.id} is {value!r}"
            assert value in entry.told.get("options", [value])
    assert file.with_suffix(".jpg").is_file()


def test_there_are_examples() -> None:
    assert [file.stem for file in WORKFLOWS] == ["apply", "poster", "stylize", "two_styles"]


def test_metadata_for_comfyuis_registry() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["comfy"]["DisplayName"]
    inside = settings["tool"]["setuptools"]["package-data"]["hires.comfyui"]
    assert inside == ["example_workflows/*"]
