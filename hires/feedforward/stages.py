"""The stages of an image-to-image network: a convolution each, of a whole picture or of a tile."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.kernels.convolution import convolve_quads, quad_kernel
from hires.tiling.geometry import Span

# Pictures are in [0, 1]; networks see them around zero, where half precision is finest.
CENTRE = 0.5
# Fewer output channels than this are computed for several positions at once.
_FEW_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class InputSpan:
    """What a span of a stage's output reads along one axis.

    Attributes:
        span: positions of the stage's input.
        skip: positions of the enlarged input to drop at its start.
        length: positions of the enlarged input to use from there.
        pads: positions to reflect before and after it, at the picture's own border only.
    """

    span: Span
    skip: int
    length: int
    pads: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Stage:
    """A convolution, the normalisation of its output, a residual connection and a ReLU, as told.

    Attributes:
        name: what its tensors are called.
        before: input channels.
        after: output channels.
        kernel: side of the kernel, odd.
        stride: step of the convolution.
        enlarge: the input is first enlarged by this factor, each position repeated.
        norm: whether the output is normalised; only then there is no bias.
        relu: whether negative values become zero at the end.
        opens: whether the stage's input is remembered ...
        closes: ... and added to the (normalised) output of this stage.
    """

    name: str
    before: int
    after: int
    kernel: int = 3
    stride: int = 1
    enlarge: int = 1
    norm: bool = True
    relu: bool = True
    opens: bool = False
    closes: bool = False

    def length(self, before: int) -> int:
        """Positions along an axis after this stage."""
        return -(-before * self.enlarge // self.stride)

    def input_span(self, out: Span, before: int) -> InputSpan:
        """What a span of the output reads of an input of ``before`` positions."""
        margin, end = self.kernel // 2, before * self.enlarge
        first, last = out.start * self.stride - margin, (out.stop - 1) * self.stride + margin + 1
        start, stop = max(first, 0), min(last, end)
        span = Span(start // self.enlarge, -(-stop // self.enlarge))
        skip = start - span.start * self.enlarge
        return InputSpan(span, skip, stop - start, (max(-first, 0), max(last - end, 0)))

    def whole(self, size: tuple[int, int]) -> tuple[InputSpan, InputSpan]:
        """What the rows and columns of the whole output read of ``(height, width)``."""
        rows, columns = (self.input_span(Span(0, self.length(side)), side) for side in size)
        return rows, columns

    @property
    def multiply_adds(self) -> int:
        """Cost of one position of the output."""
        return self.kernel**2 * self.before * self.after


def convolve(
    stage: Stage, weight: Tensor, bias: Tensor | None, x: Tensor, spans: tuple[InputSpan, InputSpan]
) -> Tensor:
    """The convolution of a stage, on the part of its input that `Stage.input_span` asked for.

    Args:
        stage: what to compute.
        weight: (after, before, kernel, kernel), in the type of ``x``.
        bias: (after,), or None.
        x: (B, before, h, w), the rows and columns of ``spans``.
        spans: what the rows and the columns of the output read.

    Returns:
        (B, after, h', w').
    """
    rows, columns = spans
    if stage.enlarge > 1:
        x = F.interpolate(x, scale_factor=stage.enlarge, mode="nearest")
        x = x.narrow(2, rows.skip, rows.length).narrow(3, columns.skip, columns.length)
    if any(rows.pads + columns.pads):
        x = F.pad(x, (*columns.pads, *rows.pads), mode="reflect")
    if stage.after < _FEW_CHANNELS and stage.stride == 1:
        quads = quad_kernel(weight).contiguous(memory_format=torch.channels_last)
        return convolve_quads(x, quads, bias=bias)
    return F.conv2d(x, weight, bias, stride=stage.stride)


def enlarged(image: Tensor, factor: int) -> Tensor:
    """Bicubic enlargement of (B, 3, h, w) by a whole factor; the border repeats beyond itself."""
    return F.interpolate(image, scale_factor=factor, mode="bicubic", align_corners=False)
