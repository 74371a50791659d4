"""A trained network as an ONNX graph, for pictures of any height and width.

The graph is written from the network's stages, node by node: what a tracer would make of reflection
and cropping depends on the size that it has seen. Needs the package ``onnx`` (the extra ``onnx``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from hires.errors import ConfigError
from hires.feedforward.model import Model
from hires.feedforward.normalisation import EPSILON
from hires.feedforward.stages import CENTRE, Stage
from hires.utils.files import replacing
from hires.version import __version__

ENDING = ".onnx"
# Everything used here is in this version of the operators, which runtimes of 2021 and later know.
_OPSET = 18
_IR_VERSION = 8
# PyTorch's cubic kernel.
_CUBIC = -0.75


def export(model: Model, path: Path) -> None:
    """Write a model as ONNX: ``picture`` (B, 3, H, W) float32 sRGB in [0, 1] in, ``result`` out.

    The graph adds no grain, for runtimes would draw different noise: whoever runs it does, see
    `grain_to_add`. The metadata tells how much, as ``grain``.

    Raises:
        ConfigError: if the package ``onnx`` is missing.
        SaveError: if the system refuses to write.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise ConfigError(
            "export needs the package onnx: pip install onnx, or pip install hires[onnx]"
        ) from None
    found = _Graph(onnx.helper, onnx.numpy_helper).build(model)
    onnx.checker.check_model(found, full_check=True)
    with replacing(path) as temporary:
        temporary.write_bytes(found.SerializeToString())


def grain_to_add(model: Model) -> str | None:
    """What must be added to a picture before an exported model sees it; None if nothing."""
    if not model.trained_grain:
        return None
    return (
        "the graph adds no grain, which the model needs for strokes in flat areas: add Gaussian"
        f" noise of mean 0 and standard deviation {model.trained_grain:g} to the picture (sRGB in"
        " [0, 1]), drawn anew for every pixel and channel, and do not clamp the sum"
    )


class _Graph:
    """Nodes and tensors while a graph is written.

    Args:
        helper: the module ``onnx.helper``.
        numpy_helper: the module ``onnx.numpy_helper``.
    """

    def __init__(self, helper: Any, numpy_helper: Any) -> None:
        self._helper, self._numpy_helper = helper, numpy_helper
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []

    def build(self, model: Model) -> Any:
        """The whole model."""
        design, remembered = model.design, "picture"
        x = self._node("Sub", "picture", self._scalar("centre", CENTRE))
        for stage in design.stages(normalised=design.normalised):
            remembered = x if stage.opens else remembered
            x = self._stage(stage, model.weights, x)
            x = self._node("Add", x, remembered) if stage.closes else x
            x = self._node("Relu", x) if stage.relu else x
        x = self._cropped(x, design.factor)
        x = self._node("Add", x, self._base(design.factor) if design.shortcut else "centre")
        limits = (self._scalar("black", 0.0), self._scalar("white", 1.0))
        self._nodes.append(self._helper.make_node("Clip", [x, *limits], ["result"], name="result"))
        return self._model(model)

    def _model(self, model: Model) -> Any:
        helper = self._helper
        sides = [(name, ["batch", 3, f"{name}_height", f"{name}_width"]) for name in _PORTS]
        ports = [helper.make_tensor_value_info(name, 1, shape) for name, shape in sides]
        note = grain_to_add(model) or ""
        graph = helper.make_graph(
            self._nodes, "hires", ports[:1], ports[1:], self._tensors, doc_string=note
        )
        found = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            producer_name="hires",
            producer_version=__version__,
            ir_version=_IR_VERSION,
        )
        keys = ("task", "design", "style", "sha256", "settings")
        told = {key: model.metadata[key] for key in keys if key in model.metadata}
        helper.set_model_props(found, {**told, "grain": f"{model.trained_grain:g}"})
        return found

    def _stage(self, stage: Stage, weights: dict[str, Tensor], x: str) -> str:
        if stage.enlarge > 1:
            x = self._resized(x, stage.enlarge, mode="nearest")
        margin = stage.kernel // 2
        pads = self._whole(f"margin{margin}", [0, 0, margin, margin, 0, 0, margin, margin])
        x = self._node("Pad", x, pads, mode="reflect")
        parts = [self._tensor(f"{stage.name}.weight", weights)]
        parts += [] if stage.norm else [self._tensor(f"{stage.name}.bias", weights)]
        x = self._node("Conv", x, *parts, strides=[stage.stride] * 2)
        if not stage.norm:
            return x
        scale, shift = (self._tensor(f"{stage.name}.{part}", weights) for part in _AFFINE)
        return self._node("InstanceNormalization", x, scale, shift, epsilon=EPSILON)

    def _resized(self, x: str, factor: int, **attributes: Any) -> str:
        values = np.array([1, 1, factor, factor], dtype=np.float32)
        scales = self._add_tensor(f"times{factor}", values)
        return self._node("Resize", x, "", scales, **{**_RESIZE[attributes["mode"]], **attributes})

    def _base(self, factor: int) -> str:
        return self._resized("picture", factor, mode="cubic", cubic_coeff_a=_CUBIC)

    def _cropped(self, x: str, factor: int) -> str:
        """As many rows and columns as the picture has, times the factor."""
        sides = self._node("Shape", "picture", start=2, end=4)
        if factor > 1:
            sides = self._node("Mul", sides, self._whole("factor", [factor]))
        start, axes = self._whole("start", [0, 0]), self._whole("axes", [2, 3])
        return self._node("Slice", x, start, sides, axes)

    def _node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self._nodes)}"
        node = self._helper.make_node(kind, list(inputs), [name], name=name, **attributes)
        self._nodes.append(node)
        return name

    def _tensor(self, name: str, weights: dict[str, Tensor]) -> str:
        return self._add_tensor(name, weights[name].float().numpy())

    def _scalar(self, name: str, value: float) -> str:
        return self._add_tensor(name, np.float32(value).reshape(()))

    def _whole(self, name: str, values: list[int]) -> str:
        return self._add_tensor(name, np.array(values, dtype=np.int64))

    def _add_tensor(self, name: str, values: Any) -> str:
        if name not in {tensor.name for tensor in self._tensors}:
            array = np.ascontiguousarray(values).reshape(np.shape(values))
            self._tensors.append(self._numpy_helper.from_array(array, name))
        return name


_PORTS = ("picture", "result")
_AFFINE = ("scale", "shift")
_RESIZE: dict[str, dict[str, str]] = {
    "nearest": {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    "cubic": {"coordinate_transformation_mode": "half_pixel"},
}
