"""What the nodes ask of ComfyUI: its folders, its device, progress, and whether to go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import folder_paths
import torch
from comfy import model_management, utils
from torch import Tensor

from hires.config.feedforward import MODEL_ENDING
from hires.feedforward.models import built_in_models
from hires.image.pillow import to_pillow

MODELS = "hires"  # folder of trained models, within ComfyUI's folder of models
_PREVIEW_SIDE, _PREVIEW_SECONDS = 1024, 1.0
_WHOLE = 1000  # steps of the progress bar


class Watch:
    """Tells ComfyUI how far a node is, and ends it if the user has interrupted.

    Args:
        node_id: of the node.
        count: pictures that it makes, one after the other.
    """

    def __init__(self, node_id: str, count: int = 1) -> None:
        self._bar, self._count = utils.ProgressBar(_WHOLE, node_id=node_id), count
        self._shown = float("-inf")
        self.done = 0

    def __call__(self, fraction: float, thumbnail: Callable[[int], Tensor] | None = None) -> None:
        """Tell the share of the present picture that is done, 0 to 1, now and then with a preview.

        Raises:
            InterruptProcessingException: ComfyUI's, if the user has interrupted.
        """
        model_management.throw_exception_if_processing_interrupted()
        preview, now = None, time.monotonic()
        # The last one is shown for good: ComfyUI's page puts it before the file.
        is_due = now >= self._shown + _PREVIEW_SECONDS or fraction >= 1
        if thumbnail is not None and is_due:
            picture = to_pillow(thumbnail(_PREVIEW_SIDE))
            # ComfyUI brings it to the side that it is told, also a smaller one.
            preview, self._shown = ("JPEG", picture, max(picture.size)), now
        value = round((self.done + fraction) / self._count * _WHOLE)
        self._bar.update_absolute(value, preview=preview)


@contextmanager
def gradients() -> Iterator[None]:
    """Let gradients be computed, which ComfyUI switches off around all nodes."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def device() -> str:
    """ComfyUI's device, with the memory that its own models take given back."""
    found: torch.device = model_management.get_torch_device()
    if found.type != "cpu":
        model_management.unload_all_models()
        model_management.soft_empty_cache()
    return str(found)


def output_folder(prefix: str) -> tuple[Path, str, str]:
    """Where a file goes: a folder within ComfyUI's output, its name there, and how files begin.

    Args:
        prefix: such as ``hires/painting``. ComfyUI refuses what leads out of its output folder.
    """
    root = folder_paths.get_output_directory()
    folder, name, _, inner, _ = folder_paths.get_save_image_path(prefix, root)
    return Path(folder), inner, name


def scratch_folder() -> Path:
    """A folder that ComfyUI empties when it starts."""
    return Path(folder_paths.get_temp_directory()) / "hires"


def add_model_folder() -> None:
    """Let ComfyUI know of ``models/hires``."""
    folder_paths.add_model_folder_path(MODELS, str(Path(folder_paths.models_dir) / MODELS))


def model_names() -> list[str]:
    """Trained models: those that come with hires, then those in ``models/hires``."""
    files = folder_paths.get_filename_list(MODELS)
    return [*built_in_models(), *(name for name in files if name.endswith(MODEL_ENDING))]


def model_path(name: str) -> str:
    """What `load_model` takes for one of `model_names`."""
    if name in built_in_models():
        return name
    return str(folder_paths.get_full_path_or_raise(MODELS, name))
