"""As much of ComfyUI as the nodes ask of it: its modules, with nothing behind them but a folder."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

NODE_ID = "7"
_COMMON = {"display_name", "optional", "tooltip", "lazy"}
_WIDGET = _COMMON | {"default", "socketless", "force_input"}
_NUMBER = _WIDGET | {"min", "max", "step", "control_after_generate", "display_mode"}
# What inputs of each kind may be told, by the name of their type.
KNOWN = {
    "IMAGE": _COMMON,
    "MASK": _COMMON,
    "BOOLEAN": _WIDGET | {"label_on", "label_off"},
    "COMBO": _WIDGET | {"options", "control_after_generate"},
    "STRING": _WIDGET | {"multiline", "placeholder"},
    "INT": _NUMBER,
    "FLOAT": (_NUMBER - {"control_after_generate"}) | {"round"},
}


class InterruptProcessingException(Exception):  # noqa: N818  # as ComfyUI calls it
    """What ComfyUI raises in a node that is to end."""


class FolderType(enum.Enum):
    output = "output"
    temp = "temp"


class Entry:
    """An input or output."""

    def __init__(self, kind: str, name: str, allowed: set[str], told: dict[str, Any]) -> None:
        unknown = set(told) - allowed
        assert not unknown, f"{kind} inputs and outputs know no {unknown}"
        self.kind, self.id, self.told = kind, name, told


def _type(kind: str) -> SimpleNamespace:
    outputs = {"display_name", "tooltip", "is_output_list"}
    return SimpleNamespace(
        Input=lambda name, **told: Entry(kind, name, KNOWN[kind], told),
        Output=lambda name, **told: Entry(kind, name, outputs, told),
    )


class Schema(SimpleNamespace):
    """What a node shows."""

    def __init__(self, **told: Any) -> None:
        super().__init__(**({"is_input_list": False, "is_output_node": False} | told))
        names = [entry.id for entry in (*self.inputs, *self.outputs)]
        assert len({*names}) == len(names), "ids are unique among inputs and outputs"


class ComfyNode:
    hidden = SimpleNamespace(unique_id=NODE_ID)


class ComfyExtension:
    pass


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args, self.ui = args, ui


class PreviewImage:
    def __init__(self, image: torch.Tensor, cls: type) -> None:
        assert issubclass(cls, ComfyNode)
        self.image = image

    def as_dict(self) -> dict[str, Any]:
        return {"images": [{"filename": "preview.png", "subfolder": "", "type": "temp"}]}


class PreviewText:
    def __init__(self, value: str) -> None:
        self.value = value


class Host:
    """What is asked of ComfyUI, and what it was told.

    Args:
        folder: its own.

    Attributes:
        told: values of the progress bar.
        previews: pictures that came with them.
        interrupt: whether the user has interrupted, asked before each step.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[int] = []
        self.previews: list[Any] = []
        self.interrupt: Callable[[], bool] = lambda: False
        self.models: dict[str, list[str]] = {}

    def modules(self) -> dict[str, ModuleType]:
        """By their names."""
        return {
            "comfy": _module("comfy", model_management=self._management(), utils=self._utils()),
            "comfy_api": _module("comfy_api"),
            "comfy_api.latest": _module(
                "comfy_api.latest", ComfyExtension=ComfyExtension, io=_io(), ui=_ui()
            ),
            "folder_paths": self._folder_paths(),
        }

    def _management(self) -> ModuleType:
        def check() -> None:
            if self.interrupt():
                raise InterruptProcessingException

        return _module(
            "comfy.model_management",
            throw_exception_if_processing_interrupted=check,
            get_torch_device=lambda: torch.device("cpu"),
        )

    def _utils(self) -> ModuleType:
        host = self

        class ProgressBar:
            def __init__(self, total: int, node_id: str) -> None:
                assert (total, node_id) == (1000, NODE_ID)

            def update_absolute(self, value: int, preview: Any = None) -> None:
                host.told.append(value)
                host.previews += [] if preview is None else [preview]

        return _module("comfy.utils", ProgressBar=ProgressBar)

    def _folder_paths(self) -> ModuleType:
        output = self.folder / "output"

        def save_path(prefix: str, root: str) -> tuple[str, str, int, str, str]:
            inner, name = str(Path(prefix).parent), Path(prefix).name
            (Path(root) / inner).mkdir(parents=True, exist_ok=True)
            return str(Path(root) / inner), name, 1, inner, prefix

        return _module(
            "folder_paths",
            models_dir=str(self.folder / "models"),
            add_model_folder_path=lambda name, path: self.models.setdefault(name, []).append(path),
            get_filename_list=lambda name: [
                file.name for folder in self.models[name] for file in Path(folder).glob("*")
            ],
            get_full_path_or_raise=lambda name, file: str(Path(self.models[name][0]) / file),
            get_output_directory=lambda: str(output),
            get_temp_directory=lambda: str(self.folder / "temp"),
            get_save_image_path=save_path,
        )


def _io() -> SimpleNamespace:
    types = {name.capitalize(): _type(name) for name in KNOWN}
    return SimpleNamespace(
        **types,
        Schema=Schema,
        ComfyNode=ComfyNode,
        NodeOutput=NodeOutput,
        FolderType=FolderType,
        Hidden=SimpleNamespace(unique_id="UNIQUE_ID"),
    )


def _ui() -> SimpleNamespace:
    def saved(filename: str, subfolder: str, type: FolderType) -> dict[str, str]:  # noqa: A002
        return {"filename": filename, "subfolder": subfolder, "type": type.value}

    return SimpleNamespace(SavedResult=saved, PreviewImage=PreviewImage, PreviewText=PreviewText)


def _module(name: str, **inner: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(inner)
    return made
