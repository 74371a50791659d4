"""The last rung of a ladder by a trained network: paint small, then enlarge to the size wanted."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from hires.config.feedforward import ApplyConfig
from hires.config.run import Config
from hires.engine.budget import CANVAS_BYTES
from hires.engine.ladder import final_side, scale_side
from hires.errors import ConfigError
from hires.feedforward.apply import Inference
from hires.feedforward.model import load_model

# A painting is a whole number of pixels: on fewer than this, the photograph would lose its shape.
_LEAST_SIDE = 128
# Short side of the picture that is enlarged to see how long it takes.
_SAMPLE_SIDE = 192


class Finish:
    """A super-resolution model that takes a painting to its size.

    What is painted is a little larger than a fraction of that size, where it is not a multiple of
    the model's factor; the rest is cut away, because resampling would blur.

    Args:
        model: path of the model.
        config: how to paint; its size is that of the finished picture.
        content: ``(height, width)`` of the content picture.
        exact: ``(height, width)`` that the finished picture must have, such as that of a print.

    Attributes:
        factor: how many times it enlarges.
        painted: ``(height, width)`` to paint.
        size: ``(height, width)`` of the finished picture.
        bytes_needed: what the enlargement takes, with the picture after it.

    Raises:
        ValueError: for a model of another task, or sizes that do not go with it.
    """

    def __init__(
        self,
        model: str,
        config: Config,
        content: tuple[int, int],
        *,
        exact: tuple[int, int] | None = None,
    ) -> None:
        if config.sizes:
            raise ConfigError(
                "`finish` enlarges to `size`: leave `sizes`, or a preset that has its own, out"
            )
        apply_config = ApplyConfig(precision=config.precision, device=config.device)
        if config.memory_bytes is not None:
            apply_config = replace(apply_config, memory=config.memory)
        self._inference = Inference(load_model(model, task="super-resolution"), apply_config)
        side = final_side(config, content)
        self.size = scale_side(content, side, config.measured_side) if exact is None else exact
        self.factor = factor = self._inference.factor
        self.painted = -(-self.size[0] // factor), -(-self.size[1] // factor)
        if min(self.painted) < _LEAST_SIDE:
            raise ConfigError(
                f"`finish` would paint {self.painted[1]}x{self.painted[0]}, 1/{factor} of the size:"
                f" give a size of at least {_LEAST_SIDE * factor} px on the short side"
            )
        pictures = self.painted[0] * self.painted[1] * factor**2 * CANVAS_BYTES
        self.bytes_needed = self._inference.check(self.painted) + pictures

    def __call__(self, picture: Tensor) -> Tensor:
        """Enlarge a painting (1, 3, H, W) in [0, 1] to (1, 3, *size)."""
        enlarged = self._inference.apply(picture.cpu())
        height, width = self.size
        top, left = (enlarged.shape[2] - height) // 2, (enlarged.shape[3] - width) // 2
        return enlarged[..., top : top + height, left : left + width]

    def measure_seconds(self) -> float:
        """How long it will take on this machine, going by a small picture of the same shape."""
        height, width = self.painted
        scale = min(_SAMPLE_SIDE / min(height, width), 1)
        size = round(height * scale), round(width * scale)
        sample = torch.full((1, 3, *size), 0.5)
        self._inference.apply(sample)  # The first takes longer: nothing is in the caches.
        started = time.perf_counter()
        self._inference.apply(sample)
        seconds = time.perf_counter() - started
        return seconds * self._inference.work(self.painted) / self._inference.work(size)

    def __str__(self) -> str:
        """``enlarged 4 times to 4096x3072 by sharp.safetensors``."""
        height, width = self.size
        return f"enlarged {self.factor} times to {width}x{height} by {self._inference.model.name}"
