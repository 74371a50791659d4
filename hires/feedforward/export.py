"""A trained network as an ONNX graph, for pictures of any height and width, by ``torch.onnx``.

Needs the packages ``onnx`` and ``onnxscript`` (the extra ``onnx``).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hires.errors import ConfigError
from hires.feedforward.model import Model
from hires.feedforward.normalisation import EPSILON
from hires.feedforward.stages import CENTRE, enlarged
from hires.utils.files import replacing
from hires.version import __version__

ENDING = ".onnx"
# Everything used here is in these versions, which runtimes of 2023 and later know.
_OPSET, _IR_VERSION = 18, 8


def export(model: Model, path: Path) -> None:
    """Write a model as ONNX: ``picture`` (B, 3, H, W) float32 sRGB in [0, 1] in, ``result`` out.

    The graph adds no grain, for runtimes would draw different noise: whoever runs it does, see
    `grain_to_add`. The metadata tells how much, as ``grain``.

    Raises:
        ConfigError: if a package is missing.
        SaveError: if the system refuses to write.
    """
    if not (find_spec("onnx") and find_spec("onnxscript")):
        raise ConfigError(
            "export needs the packages onnx and onnxscript: pip install onnx onnxscript"
        )
    graph = _traced(model)
    with replacing(path) as temporary:
        temporary.write_bytes(graph.SerializeToString())


def grain_to_add(model: Model) -> str | None:
    """What must be added to a picture before an exported model sees it; None if nothing."""
    if not model.trained_grain:
        return None
    return (
        "the graph adds no grain, which the model needs for strokes in flat areas: add Gaussian"
        f" noise of mean 0 and standard deviation {model.trained_grain:g} to the picture (sRGB in"
        " [0, 1]), drawn anew for every pixel and channel, and do not clamp the sum"
    )


class _WholePicture(nn.Module):
    """The network as one expression without a branch that depends on the size of a picture."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.design = model.design
        self.stages = model.design.stages(normalised=model.design.normalised)
        for name, value in model.weights.items():
            self.register_buffer(name.replace(".", "_"), value)

    def forward(self, picture: Tensor) -> Tensor:
        x = block_input = picture - CENTRE
        for stage in self.stages:
            block_input = x if stage.opens else block_input
            if stage.enlarge > 1:
                x = F.interpolate(x, scale_factor=float(stage.enlarge), mode="nearest")
            x = F.pad(x, [stage.kernel // 2] * 4, mode="reflect")
            bias = None if stage.norm else self._tensor(stage.name, "bias")
            x = F.conv2d(x, self._tensor(stage.name, "weight"), bias, stride=stage.stride)
            if stage.norm:
                scale, shift = (self._tensor(stage.name, part) for part in ("scale", "shift"))
                x = F.instance_norm(x, weight=scale, bias=shift, eps=EPSILON)
            x = x + block_input if stage.closes else x
            x = x.relu() if stage.relu else x
        height, width = (side * self.design.factor for side in picture.shape[2:])
        base = enlarged(picture, self.design.factor) if self.design.shortcut else CENTRE
        return (x[..., :height, :width] + base).clamp(0, 1)

    def _tensor(self, stage: str, part: str) -> Tensor:
        return self.get_buffer(f"{stage}_{part}")


def _traced(model: Model) -> Any:
    """The checked graph, with what is told of the model."""
    import onnx

    side = 4 * model.design.receptive_field
    program = torch.onnx.export(
        _WholePicture(model).eval(),
        (torch.zeros(2, 3, side, side + 4),),
        input_names=["picture"],
        output_names=["result"],
        dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
        opset_version=_OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    found = program.model_proto
    found.producer_name, found.producer_version = "hires", __version__
    found.ir_version = _IR_VERSION
    for name, dim in zip(
        ("height", "width"), found.graph.output[0].type.tensor_type.shape.dim[2:], strict=True
    ):
        dim.dim_param = f"result_{name}"
    # They hold lines and paths of this program.
    for part in (found.graph, *found.graph.node, *found.graph.value_info):
        del part.metadata_props[:]
    found.graph.doc_string = grain_to_add(model) or ""
    keys = ("task", "design", "style", "sha256", "settings")
    told = {key: model.metadata[key] for key in keys if key in model.metadata}
    onnx.helper.set_model_props(found, {**told, "grain": f"{model.trained_grain:g}"})
    onnx.checker.check_model(found, full_check=True)
    return found
