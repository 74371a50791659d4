"""The last rung of a ladder by a trained network: paint small, then enlarge to the size wanted."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from hires.apply import Press
from hires.config import Config, ConfigError
from hires.feedforward import load_model
from hires.forward_config import ApplyConfig
from hires.images import resize
from hires.ladder import scale_to


class Finish:
    """A super-resolution model that takes a painting to its size.

    Args:
        model: path of the model.
        config: how to paint; its size is that of the finished picture.
        content: ``(height, width)`` of the content picture.

    Attributes:
        config: how to paint before the enlargement.
        size: ``(height, width)`` of the finished picture.

    Raises:
        ValueError: for a model of another task, or sizes that do not go with it.
    """

    def __init__(self, model: str, config: Config, content: tuple[int, int]) -> None:
        if config.sizes:
            raise ConfigError("--finish enlarges to --size: leave --sizes out")
        apply_config = ApplyConfig(
            memory=config.memory, precision=config.precision, device=config.device
        )
        self._press = Press(load_model(model, task="super-resolution"), apply_config)
        factor = self._press.factor
        painted = -(-config.size // factor)
        try:
            self.config = replace(config, size=painted)
        except ConfigError as error:
            raise ConfigError(f"--finish paints at 1/{factor} of --size: {error}") from None
        self.size = scale_to(content, config.size)
        self._press.check(scale_to(content, painted))

    def __call__(self, picture: Tensor) -> Tensor:
        """Enlarge a painting (1, 3, H, W) in [0, 1]; a rest below the factor is resampled away."""
        return resize(self._press.apply(picture.cpu()), self.size, clamp=True)
