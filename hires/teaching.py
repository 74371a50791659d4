"""What is compared in distillation: a trainable student, a frozen teacher, and how far they are apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hires.crops import Crops
from hires.features import Architecture, Network

STYLE_TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_TAP = "relu4_2"
TAPS = (*STYLE_TAPS, CONTENT_TAP)


class Student(nn.Module):
    """The trainable twin of `hires.features.Network`: same architecture, same names, same arithmetic.

    Args:
        architecture: what to train.
        seed: seed of the He-initialised weights.
    """

    def __init__(self, architecture: Architecture, *, seed: int) -> None:
        super().__init__()
        self.architecture = architecture
        self.convolutions = nn.ModuleDict()
        generator = torch.Generator().manual_seed(seed)
        for key, before, after in architecture.convolutions():
            convolution = nn.Conv2d(before, after, 3)
            spread = math.sqrt(2 / (9 * before))
            nn.init.normal_(convolution.weight, std=spread, generator=generator)
            nn.init.zeros_(convolution.bias)
            self.convolutions[key] = convolution
        self.register_buffer("matrix", torch.tensor(architecture.matrix)[:, :, None, None])
        self.register_buffer("shift", torch.tensor(architecture.shift))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features of (B, 3, H, W) sRGB in [0, 1] at all `TAPS`, in bf16 on every device."""
        found: dict[str, Tensor] = {}
        x = self.normalised(image)
        for key in self.convolutions:
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
        convolution = self.convolutions[key]
        if mode == "zeros":
            return F.conv2d(x, convolution.weight, convolution.bias, padding=1)
        x = F.pad(x, (1, 1, 1, 1), mode=mode)
        return F.conv2d(x, convolution.weight, convolution.bias)

    def standardise(self, key: str, x: Tensor) -> None:
        """Give every channel of a convolution zero mean and unit variance before the ReLU."""
        before = self.before_relu(key, x.float())
        mean, deviation = before.mean((0, 2, 3)), before.std((0, 2, 3)).clamp_min(1e-6)
        convolution = self.convolutions[key]
        convolution.weight.data /= deviation[:, None, None, None]
        convolution.bias.data.sub_(mean).div_(deviation)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights under the names that a checkpoint uses."""
        return {
            f"conv{key}.{part}": getattr(convolution, part).detach().clone()
            for key, convolution in self.convolutions.items()
            for part in ("weight", "bias")
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Set the weights from a dictionary as `weights` gives it."""
        for key, convolution in self.convolutions.items():
            for part in ("weight", "bias"):
                getattr(convolution, part).data.copy_(weights[f"conv{key}.{part}"])


@dataclass(frozen=True, slots=True)
class Teacher:
    """A frozen network and, if it is itself an imitation, linear maps to the features that it imitates.

    Attributes:
        network: prepared network that has all `TAPS`.
        heads: layer to (K, C + 1): the map of ``[features, 1]`` to K richer features. Without heads,
            errors are measured on the network's own features alone.
    """

    network: Network
    heads: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Features of (B, 3, H, W) sRGB in [0, 1] at all `TAPS`."""
        return self.network(image, TAPS)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """How errors at one layer are measured: half on the teacher's features, half behind its head.

    Attributes:
        scale: root mean square of the teacher's features; the student's are in units of it.
        root: (C, C), error times this has unit variance over the calibration pictures.
        metric: (C + 1, C + 1), inner product of ``[features, 1]`` behind the head; None without one.
    """

    scale: float
    root: Tensor
    metric: Tensor | None

    def feature_error(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Squared error of (B, C, h, w) over its variance, (B,).

        The variance is half the picture's and half that of all pictures: flat pictures count less.
        """
        difference = (student.float() * self.scale - teacher.float()).permute(0, 2, 3, 1)
        error = (difference @ self.root).square().sum(-1) * _inner_weight(difference)
        centred = teacher.float() - teacher.float().mean((2, 3), keepdim=True)
        spread = (centred.permute(0, 2, 3, 1) @ self.root).square().sum(-1).mean((1, 2))
        return error.mean((1, 2)) / (0.5 + 0.5 * spread)

    def gram_error(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Squared distance of Gram matrices over the square of the teacher's, (B,)."""
        wanted = gram_with_mean(teacher)
        difference = gram_with_mean(student.float() * self.scale) - wanted
        own = relative_size(difference[:, :-1, :-1], wanted[:, :-1, :-1])
        if self.metric is None:
            return own
        return 0.5 * own + 0.5 * relative_size(self.metric @ difference, self.metric @ wanted)


def relative_size(difference: Tensor, wanted: Tensor) -> Tensor:
    """``tr(D D) / tr(G G)`` of (B, C, C) matrices that are, or are similar to, symmetric ones."""
    return (difference * difference.mT).sum((1, 2)) / (wanted * wanted.mT).sum((1, 2))


def gram_with_mean(features: Tensor) -> Tensor:
    """Gram matrix of ``[features, 1]`` of (B, C, h, w), divided by h*w: (B, C + 1, C + 1) float32."""
    rows = F.pad(features.float().flatten(2).mT, (0, 1), value=1.0)
    return rows.mT @ rows / rows.shape[1]


def _inner_weight(features: Tensor) -> Tensor:
    """(h, w), mean 1: the outermost two rows and columns count a third, a crop has too many of them."""
    weight = features.new_full(features.shape[1:3], 0.35)
    weight[2:-2, 2:-2] = 1
    return weight / weight.mean()


def calibrate(
    teacher: Teacher, crops: Crops, device: torch.device, *, size: int
) -> dict[str, Yardstick]:
    """Measure scale and covariance of the teacher's features on 64 training crops."""
    sums: dict[str, Tensor] = {}
    for _ in range(8):
        features = teacher(crops.batch(8, size).to(device))
        for tap, found in features.items():
            sums[tap] = sums.get(tap, 0) + gram_with_mean(found).double().mean(0) / 8
    return {tap: _yardstick(moment, teacher.heads.get(tap)) for tap, moment in sums.items()}


def _yardstick(moment: Tensor, head: Tensor | None) -> Yardstick:
    mean, gram = moment[:-1, -1], moment[:-1, :-1]
    covariance = gram - torch.outer(mean, mean)
    precision = torch.eye(len(mean), dtype=moment.dtype, device=moment.device) / covariance.trace()
    metric = None
    if head is not None:
        metric = head.to(moment).mT @ head.to(moment)
        inner = metric[:-1, :-1]
        precision = (precision + inner / (inner * covariance).sum()) / 2
        metric = metric.float()
    scale = float(gram.diagonal().mean().sqrt())
    return Yardstick(scale, torch.linalg.cholesky(precision).float(), metric)
