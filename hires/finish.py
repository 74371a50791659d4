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
        exact: ``(height, width)`` that the finished picture must have, such as that of a print.

    Attributes:
        config: how to paint before the enlargement.
        painted: ``(height, width)`` to paint exactly before it, None for what ``config`` says.
        size: ``(height, width)`` of the finished picture.

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
            raise ConfigError("--finish enlarges to --size: leave --sizes out")
        apply_config = ApplyConfig(
            memory=config.memory, precision=config.precision, device=config.device
        )
        self._press = Press(load_model(model, task="super-resolution"), apply_config)
        self.size = scale_to(content, config.size) if exact is None else exact
        factor = self._press.factor
        self.painted, self.config = None, config
        if exact is None:
            self.config = _reduced(config, factor)
            before = scale_to(content, self.config.size)
        else:
            self.painted = before = -(-exact[0] // factor), -(-exact[1] // factor)
        self._press.check(before)

    def __call__(self, picture: Tensor) -> Tensor:
        """Enlarge a painting (1, 3, H, W) in [0, 1]; a rest below the factor is resampled away."""
        return resize(self._press.apply(picture.cpu()), self.size, clamp=True)


def _reduced(config: Config, factor: int) -> Config:
    try:
        return replace(config, size=-(-config.size // factor))
    except ConfigError as error:
        raise ConfigError(f"--finish paints at 1/{factor} of --size: {error}") from None
