"""What is compared in distillation: a trainable student, and what it shall see at every tap.

A student much narrower than its teacher cannot copy the teacher's features. Style transfer needs
less of it: Gram matrices that are as far apart as the teacher's. So its targets are a short,
non-negative re-expression of the teacher's features that keeps their inner products.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hires.features.architecture import Architecture
from hires.features.network import Network

STYLE_TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_TAP = "relu4_2"
TAPS = (*STYLE_TAPS, CONTENT_TAP)

# How much of the inner product is that behind the teacher's heads; the rest is the teacher's own.
# The first layer has no room for it; the deepest, which the content loss does not balance, would
# otherwise outweigh the others. Chosen so that painting on the targets themselves keeps as much
# content as painting on the teacher does.
_HEAD_SHARES = {"relu1_1": 0.0, "relu2_1": 0.4, "relu3_1": 0.5, "relu4_1": 0.6, "relu5_1": 0.3}
# Content features are partly whitened: their power to this is divided out. Else a few strong
# directions, which hardly change, make every relative error look small.
_CONTENT_WHITENING = 0.5

# Relative errors beyond this pull less and less.
_LARGE_ERROR = 4.0


class Student(nn.Module):
    """The trainable twin of a feature network: same architecture, names and arithmetic."""

    def __init__(self, architecture: Architecture, *, seed: int) -> None:
        super().__init__()
        self.architecture = architecture
        self.keys = [key for key, _, _ in architecture.convolutions()]
        self.weight, self.bias = nn.ParameterDict(), nn.ParameterDict()
        generator = torch.Generator().manual_seed(seed)
        for key, before, after in architecture.convolutions():
            spread = math.sqrt(2 / (9 * before))
            weight = torch.randn(after, before, 3, 3, generator=generator) * spread
            self.weight[key] = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
            self.bias[key] = nn.Parameter(torch.zeros(after))
        self.register_buffer("matrix", torch.tensor(architecture.matrix)[:, :, None, None])
        self.register_buffer("shift", torch.tensor(architecture.shift))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features of (B, 3, H, W) sRGB in [0, 1] at all `TAPS`, in bf16 on every device."""
        found: dict[str, Tensor] = {}
        x = self.normalised(image)
        for key in self.keys:
            x = found[f"relu{key}"] = self.layer(key, x)
        return {tap: found[tap] for tap in TAPS if tap in found}

    def normalised(self, image: Tensor) -> Tensor:
        """What the first convolution expects."""
        x = F.conv2d(image, self.get_buffer("matrix"), self.get_buffer("shift"))
        return x.contiguous(memory_format=torch.channels_last)

    def layer(self, key: str, x: Tensor) -> Tensor:
        """One convolution with ReLU, pooling first where a block begins."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return F.relu(self.before_relu(key, x))

    def before_relu(self, key: str, x: Tensor) -> Tensor:
        """One convolution, pooling first where a block begins."""
        if key.endswith("_1") and key != "1_1":
            x = F.max_pool2d(x, 2)
        architecture = self.architecture
        mode = architecture.input_padding if key == "1_1" else architecture.padding
        if mode == "zeros":
            return F.conv2d(x, self.weight[key], self.bias[key], padding=1)
        x = F.pad(x, (1, 1, 1, 1), mode=mode)
        return F.conv2d(x, self.weight[key], self.bias[key])

    def standardise(self, key: str, x: Tensor) -> None:
        """Give every channel of a convolution zero mean and unit variance before the ReLU."""
        before = self.before_relu(key, x.float())
        mean, deviation = before.mean((0, 2, 3)), before.std((0, 2, 3)).clamp_min(1e-6)
        self.weight[key].data /= deviation[:, None, None, None]
        self.bias[key].data.sub_(mean).div_(deviation)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights under the names that a checkpoint uses."""
        parts = (("weight", self.weight), ("bias", self.bias))
        return {
            f"conv{key}.{name}": values[key].detach().clone()
            for key in self.keys
            for name, values in parts
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Set the weights from a dictionary as `weights` gives it."""
        for key in self.keys:
            self.weight[key].data.copy_(weights[f"conv{key}.weight"])
            self.bias[key].data.copy_(weights[f"conv{key}.bias"])


@dataclass(frozen=True, slots=True)
class Teacher:
    """What the student shall see at every tap: ``relu(M f + b)`` of a frozen network's features f.

    Attributes:
        network: prepared network that has all `TAPS`.
        maps: by tap, M (student's channels, network's channels) and b (student's channels,), such
            that the mean power of a target's channel is 1.
        heads: by tap, maps (K, C + 1) of ``[target, 1]`` to the richer features that the network
            itself imitates, of about unit variance in sum; may be empty.
    """

    network: Network
    maps: Mapping[str, tuple[Tensor, Tensor]]
    heads: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Targets of (B, 3, H, W) sRGB in [0, 1] at all `TAPS`."""
        found = self.network(image, TAPS)
        for tap, (matrix, shift) in self.maps.items():
            x = found[tap]
            found[tap] = F.relu(F.conv2d(x, matrix.to(x)[:, :, None, None], shift.to(x)))
        return cast("dict[str, Tensor]", found)


def make_teacher(
    network: Network,
    architecture: Architecture,
    images: Iterable[Tensor],
    heads: Mapping[str, Tensor] | None = None,
) -> Teacher:
    """Choose what the student shall see, from the moments of a network's features on some images.

    Args:
        network: prepared network that has all `TAPS`.
        architecture: the student's.
        images: (B, 3, H, W) batches on the network's device.
        heads: a network that itself imitates a richer one comes with linear maps (K, C + 1) of its
            ``[features, 1]`` to the richer features, by tap.
    """
    layers, maps, target_heads = architecture.layers(), {}, {}
    for tap, moment in mean_moments(network, images).items():
        gram, channels = moment[:-1, :-1], layers[tap].channels
        head = (heads or {}).get(tap)
        if len(gram) != channels:
            matrix, shift = grouping(gram, channels), gram.new_zeros(channels)
        elif tap == CONTENT_TAP:
            matrix, shift = whitening(gram, _CONTENT_WHITENING), gram.new_zeros(channels)
        else:
            matrix, shift = isometry(gram, head, _HEAD_SHARES[tap])
        full = torch.cat([matrix, shift[:, None]], 1)
        power = (((full @ moment) * full).sum() / channels).sqrt()
        maps[tap] = (matrix / power).float(), (shift / power).float()
        if head is not None and len(gram) == channels:
            target_heads[tap] = behind_map(head.to(gram), moment, *maps[tap]).float()
    return Teacher(network, maps, target_heads)


def behind_map(head: Tensor, moment: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """A head (K, C + 1) for ``matrix f + shift`` instead of f, scaled to a total variance of 1."""
    inverse = torch.linalg.inv(matrix.to(head))
    weight = head[:, :-1] @ inverse
    bias = head[:, -1] - weight @ shift.to(head)
    covariance = moment[:-1, :-1] - torch.outer(moment[:-1, -1], moment[:-1, -1])
    variance = ((head[:, :-1] @ covariance) * head[:, :-1]).sum()
    return torch.cat([weight, bias[:, None]], 1) / variance.sqrt()


def mean_moments(network: Network, images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Mean over images of `gram_with_mean` at all `TAPS`, float64."""
    sums: dict[str, list[Tensor]] = {tap: [] for tap in TAPS}
    for image in images:
        for tap, found in network(image, TAPS).items():
            sums[tap].append(gram_with_mean(found).double().mean(0))
    return {tap: torch.stack(parts).mean(0) for tap, parts in sums.items()}


def isometry(gram: Tensor, head: Tensor | None, share: float) -> tuple[Tensor, Tensor]:
    """M and b so that inner products of ``M f + b`` are those of f, or partly those behind a head.

    Args:
        gram: (C, C), second moment of the features.
        head: (K, C + 1), map of ``[f, 1]`` to richer features.
        share: how much of the inner product is that behind the head, 0 to 1.

    Returns:
        The symmetric root of the mixed inner product, which keeps non-negative features as
        non-negative as a root can, (C, C), and the shift that the head's own bias asks for, (C,).
    """
    own = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) / gram.trace()
    if head is None or not share:
        return symmetric_power(own, 0.5), gram.new_zeros(len(gram))
    weight, bias = head.to(gram)[:, :-1], head.to(gram)[:, -1]
    inner = weight.mT @ weight
    part = share / (inner * gram).sum()
    root = symmetric_power(part * inner + (1 - share) * own, 0.5)
    return root, torch.linalg.solve(root, part * (weight.mT @ bias))


def whitening(gram: Tensor, power: float) -> Tensor:
    """Divide out a power of the second moment: 0 leaves features as they are, 1 whitens them."""
    ridge = 1e-3 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype).to(gram)
    return symmetric_power(gram + ridge, -power / 2)


def grouping(gram: Tensor, channels: int) -> Tensor:
    """Join similar channels: a (channels, C) non-negative map with orthonormal rows.

    Spherical k-means on the channels' correlations; the map of a group is the leading eigenvector
    of its part of the second moment, non-negative by Perron and Frobenius.
    """
    scale = gram.diagonal().clamp_min(1e-12).rsqrt()
    similar = gram * scale[:, None] * scale
    strongest = gram.diagonal().argsort(descending=True)[:channels]
    label = similar[strongest].argmax(0)
    for _ in range(20):
        member = F.one_hot(label, channels).to(gram)
        centre = member.mT @ similar
        norm = (centre @ member).diagonal().clamp_min(1e-12).sqrt()
        label = (centre / norm[:, None]).argmax(0)
    result = gram.new_zeros(channels, len(gram))
    for group in range(channels):
        index = (label == group).nonzero()[:, 0]
        if len(index):
            vector = torch.linalg.eigh(gram[index][:, index]).eigenvectors[:, -1]
            result[group, index] = vector.abs()
    return result


def symmetric_power(matrix: Tensor, power: float) -> Tensor:
    """A power of a symmetric positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    result: Tensor = (vectors * values.clamp_min(1e-9 * values.max()).pow(power)) @ vectors.mT
    return result


def feature_error(student: Tensor, target: Tensor, head: Tensor | None = None) -> Tensor:
    """Squared error of (B, C, h, w) over the target's variance, (B,); with a head, half behind it.

    The variance is half the picture's and half the batch's: nearly flat pictures count less. The
    outermost two rows and columns count a third, for a crop has too many of them.
    """
    difference, target = (student.float() - target.float()), target.float()
    centred = target - target.mean((2, 3), keepdim=True)
    own = _relative_variance(difference, centred)
    if head is None:
        return own
    # The inner product of the head's columns, as a root: far cheaper than the head.
    root = symmetric_power(head[:, :-1].mT @ head[:, :-1], 0.5)
    pair = (torch.einsum("bchw,cd->bdhw", x, root) for x in (difference, centred))
    return 0.5 * own + 0.5 * _relative_variance(*pair)


def _relative_variance(difference: Tensor, centred: Tensor) -> Tensor:
    error, spread = difference.square().mean(1), centred.square().mean((1, 2, 3))
    weight = torch.full_like(error[0], 0.35)
    weight[2:-2, 2:-2] = 1
    error = (error * weight).mean((1, 2)) / weight.mean()
    return error / (0.5 * spread + 0.5 * spread.mean() + 1e-9)


def gram_error(student: Tensor, target: Tensor, head: Tensor | None = None) -> Tensor:
    """Squared distance of Gram matrices of (B, C, h, w) over the square of the target's, (B,).

    With a head (K, C + 1), half of it is the same behind the head: ``|H D Hᵀ|² / |H G Hᵀ|²``,
    computed as ``tr(M D M D) / tr(M G M G)`` with ``M = Hᵀ H``.
    """
    wanted = gram_with_mean(target)
    difference = gram_with_mean(student) - wanted
    own = _relative_trace(difference[:, :-1, :-1], wanted[:, :-1, :-1])
    if head is None:
        return own
    inner = head.mT @ head
    return 0.5 * own + 0.5 * _relative_trace(inner @ difference, inner @ wanted)


def _relative_trace(difference: Tensor, wanted: Tensor) -> Tensor:
    error = (difference * difference.mT).sum((1, 2))
    return error / ((wanted * wanted.mT).sum((1, 2)) + 1e-12)


def gram_with_mean(features: Tensor) -> Tensor:
    """Gram matrix of ``[features, 1]`` of (B, C, h, w) over h*w: (B, C + 1, C + 1) float32."""
    rows = F.pad(features.float().flatten(2).mT, (0, 1), value=1.0)
    return rows.mT @ rows / rows.shape[1]


def gradient_error(gradient: Tensor, wanted: Tensor) -> Tensor:
    """Relative squared error of (B, 3, H, W) gradients, averaged over four scales; at most 3.

    At full size it decides about grain, blurred by up to 8 pixels about the larger swirls.
    """
    errors = []
    for window in (1, 2, 4, 8):
        one, other = F.avg_pool2d(gradient, window), F.avg_pool2d(wanted, window)
        errors.append((one - other).square().mean((1, 2, 3)) / other.square().mean((1, 2, 3)))
    return torch.stack(errors).clamp_max(3).mean()


def saturated(error: Tensor) -> Tensor:
    """Let large errors grow like a logarithm: a hopeless picture must not drown the others."""
    excess = error.clamp_min(_LARGE_ERROR) / _LARGE_ERROR
    return error.clamp_max(_LARGE_ERROR) + _LARGE_ERROR * excess.log()
