"""A trained network applied to a picture of any size, tile by tile, with the result of one pass.

Thumbnail statistics (Chen et al. 2022, "Towards ultra-resolution neural style transfer") are the
fast approximation: one pass, with the sums of a small copy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.config.feedforward import ApplyConfig
from hires.engine.ladder import scale_to
from hires.errors import ConfigError
from hires.feedforward.design import ModelError
from hires.feedforward.model import Model, prepared
from hires.feedforward.normalisation import Statistics
from hires.feedforward.plan import Geometry, Plan, plan_passes
from hires.feedforward.tiled import Network, Report, TiledPicture
from hires.image.resample import resize
from hires.kernels.precision import Precision, float32_products, resolve_device, resolve_precision


class Inference:
    """A model made ready for a device.

    Args:
        model: what to apply.
        config: how.
        precision: the arithmetic, if not the one that ``config`` names.

    Raises:
        ValueError: for a device or precision that this machine does not have.
    """

    def __init__(
        self, model: Model, config: ApplyConfig, *, precision: Precision | None = None
    ) -> None:
        self.model, self.config = model, config
        self.device = resolve_device(config.device)
        self.precision = precision or resolve_precision(config.precision, self.device)
        self.least_side = model.design.receptive_field
        self.network = Network(
            design=model.design,
            stages=model.design.stages(normalised=model.design.normalised),
            weights=prepared(
                model, self.device, self.precision.dtype, self.precision.memory_format
            ),
            precision=self.precision,
            device=self.device,
            grain=_grain(model, config),
        )

    @property
    def factor(self) -> int:
        """How many times larger the result is."""
        return self.model.design.factor

    def check(self, size: tuple[int, int]) -> int:
        """Refuse a picture that is smaller than what one pixel of the result depends on.

        Returns:
            Bytes that feature maps will take, besides the picture before and after.

        Raises:
            ModelError: if it is; `ConfigError` if the memory does not hold a tile of it.
        """
        if min(size) < self.least_side:
            raise ModelError(
                f"the picture is {size[1]}x{size[0]}, smaller than the network's view: give one of"
                f" at least {self.least_side} px on its short side"
            )
        return self.plan(size, known=self._has_thumbnail(size)).num_bytes

    def work(self, size: tuple[int, int]) -> float:
        """Multiply-adds that a picture of ``(height, width)`` takes; not those of its thumbnail."""
        return self.plan(size, known=self._has_thumbnail(size)).work

    def apply(
        self, image: Tensor, report: Report = lambda _: None, *, mask: Tensor | None = None
    ) -> Tensor:
        """Apply the model.

        Args:
            image: (1, 3, H, W) float32 sRGB in [0, 1], on the CPU.
            report: told the share of the work done, 0 to 1, now and then.
            mask: (1, 1, H, W) float32 in [0, 1], how much each pixel counts in the statistics of
                a normalisation; None for all alike.

        Returns:
            (1, 3, H·factor, W·factor) in [0, 1], float32 (float64 if that is the arithmetic).

        Raises:
            ModelError: if the picture is too small, or nothing of it counts; `ConfigError` if the
                memory is too small.
        """
        size = (image.shape[2], image.shape[3])
        self.check(size)
        if mask is not None and not bool(mask.any()):
            raise ModelError("all of the picture is transparent; choose another")
        with torch.no_grad(), float32_products(self.precision, self.device):
            return self._apply(image, report, mask)

    def _apply(self, image: Tensor, report: Report, mask: Tensor | None) -> Tensor:
        size = (image.shape[2], image.shape[3])
        known: dict[int, Statistics] = {}
        if self._has_thumbnail(size):
            less = scale_to(size, self._thumbnail_side(size))
            small = resize(image, less, clamp=True)
            # Means over pixels: whatever counts at all still does.
            seen = None if mask is None else F.adaptive_avg_pool2d(mask, less)
            known = TiledPicture(self.network, self.plan(less), small, seen).measure()
        plan = self.plan(size, known=bool(known))
        return TiledPicture(self.network, plan, image, mask, known).run(report)

    def _has_thumbnail(self, size: tuple[int, int]) -> bool:
        return self.config.mode == "thumbnail" and max(size) > self._thumbnail_side(size)

    def _thumbnail_side(self, size: tuple[int, int]) -> int:
        """Long side of the thumbnail: its short side must not be too small either."""
        least = -(-self.least_side * max(size) // min(size))
        return max(self.config.thumbnail, least)

    def plan(self, size: tuple[int, int], *, known: bool = False) -> Plan:
        """The passes of a picture of ``(height, width)``, whose statistics may be known."""
        return plan_passes(
            Geometry(self.network.stages, size, self.factor),
            itemsize=self.precision.dtype.itemsize,
            memory=self.config.memory_bytes,
            tile=self.config.tile,
            known=known,
            on_cpu=self.device.type == "cpu",
        )


def _grain(model: Model, config: ApplyConfig) -> float:
    """The noise to add: what is asked for, or what the model knows from its training."""
    if model.design.task != "style":
        if config.grain is not None:
            raise ConfigError(f"`grain` is for style models, {model.name} enlarges: leave it out")
        return 0.0
    return model.trained_grain if config.grain is None else config.grain
