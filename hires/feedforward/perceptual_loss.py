"""The perceptual losses of a feed-forward training (Johnson et al. 2016).

They are those of painting, relative and so of the same size for every layer: distance of moments to
the style's, of features and of 3x3 patches of pixels; squared error of features to the
photograph's; total variation. A super-resolution network is asked for the features of the
photograph that its input was made from, and for that input, when its result is made small again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hires.config.feedforward import TrainConfig
from hires.engine.canvas import WholeCanvas
from hires.engine.ladder import scale_to
from hires.engine.measuring import Measuring
from hires.engine.references import References
from hires.engine.setup import Setup
from hires.errors import ConfigError
from hires.features.checkpoints import load_features
from hires.image.originals import Original, PictureLike, about_hidden, original
from hires.kernels.matrix_roots import roots_unseen
from hires.kernels.precision import Precision, resolve_precision
from hires.losses.patches import Patches
from hires.losses.positions import PIXELS, Positions, View
from hires.losses.style import STYLE_LOSSES, Style, shares_of
from hires.losses.terms import Term
from hires.losses.variation import total_variation
from hires.tiling.geometry import Region, Span, Tile

# Budget for the style picture's feature maps while it is measured, once.
_STYLE_MEMORY = 2**30


class PerceptualLoss:
    """What a network's pictures are compared to: the frozen features and what is asked of them.

    Args:
        config: layers and weights.
        style: as `hires.stylize` takes it; None for super-resolution.
        device: where to compute.

    Attributes:
        warnings: what the user should know before the training.

    Raises:
        ValueError: for an unknown network or layer, or a crop or style too small for it.
    """

    def __init__(
        self, config: TrainConfig, style: PictureLike | None, device: torch.device
    ) -> None:
        self.config = config
        self.precision = training_precision(config, device)
        self.network = load_features(config.features)
        self.network.prepare(device, self.precision.dtype, self.precision.memory_format)
        self.style_layers = config.chosen_style_layers
        self.content_layers = config.chosen_content_layers
        self.names = tuple(dict.fromkeys([*self.style_layers, *self.content_layers]))
        self.network.check_layers(self.names)
        least = self.network.least_side(self.names)
        if config.crop < least:
            raise ConfigError(f"`crop` is {config.crop}: these layers need at least {least}")
        styles = [] if style is None else [original(style)]
        self.warnings = tuple(about_hidden(styles))
        self.terms: tuple[Term, ...] = self._terms_of(styles[0]) if styles else ()
        region = Region(Span(0, config.crop), Span(0, config.crop))
        layers = {name: self.network.layers[name] for name in self.style_layers}
        dtype = self.precision.sum_dtype
        positions = Positions(region.size, layers, device=device, sum_dtype=dtype)
        self._views = {name: positions.of_tile(name, Tile(region))[0] for name in layers}
        self._views[PIXELS] = View(PIXELS, region.index, region.size, None, dtype)

    def _terms_of(self, style: Original) -> tuple[Term, ...]:
        """Those that compare to the style picture at the size at which it is looked at."""
        size = scale_to(style.size, min(self.config.style_size, max(style.size)))
        least = self.network.least_side(list(self.style_layers))
        if min(size) < least:
            raise ConfigError(
                f"the style is {size[1]}x{size[0]} at this `style_size`, but the network needs"
                f" {least} px on the short side: give a larger `style_size`, or crop it"
            )
        image = style.resized(size)
        image = replace(image, pixels=image.pixels.clamp(0, 1))
        term = Style(
            losses={STYLE_LOSSES[self.config.style_loss]: 1.0},
            layers=shares_of(self.style_layers, "mean"),
        )
        terms = (term, Patches()) if self.config.patch_weight else (term,)
        setup = Setup(
            network=self.network, precision=self.precision, terms=terms, memory=_STYLE_MEMORY
        )
        crop = (self.config.crop, self.config.crop)
        references = References(
            setup=setup,
            canvas=WholeCanvas(setup, crop),
            content=Original(torch.zeros(1, 3, *crop)),  # These terms do not look at it.
            styles=[image],
            style_sizes=[size],
            shares=[1.0],
            measuring=Measuring(setup),
        )
        return tuple(term.at(references) for term in terms)

    def __call__(self, pictures: Tensor, photographs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and terms of (B, 3, crop, crop) pictures made of as many photographs."""
        layers = list(self.content_layers)
        with torch.no_grad():
            wanted = self.network(photographs, layers)
        found = self.network(pictures, self.names)
        looked_at = {**found, PIXELS: pictures}
        terms = {
            **self._compared(looked_at),
            "content": _content_error(found, wanted, self.content_layers),
            "tv": _variation(pictures),
        }
        if self.config.task != "style":
            terms["consistency"] = _inconsistency(pictures, photographs, self.config.factor)
        weighted = [getattr(self.config, f"{name}_weight") * terms[name].float() for name in terms]
        return torch.stack(weighted).sum(), {name: term.detach() for name, term in terms.items()}

    def _compared(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The means of all terms that compare to the style. A GPU is waited for once."""
        if self.terms and found[PIXELS].is_cuda:
            with roots_unseen():
                means = {term.name: self._mean(term, found) for term in self.terms}
            if torch.isfinite(torch.stack([*means.values()]).sum()):
                return means
        return {term.name: self._mean(term, found) for term in self.terms}

    def _mean(self, term: Term, found: Mapping[str, Tensor]) -> Tensor:
        """A term's mean over the pictures of a batch, of which these are features and pixels."""
        losses = []
        for i in range(len(found[PIXELS])):
            parts = {name: found[name][i : i + 1] for name in term.layers}
            sums = {name: term.measure(self._views[name], part) for name, part in parts.items()}
            losses.append(term.judge(sums))
        return torch.stack(losses).mean()


def training_precision(config: TrainConfig, device: torch.device) -> Precision:
    """The arithmetic of a training: gradients of half-precision weights do not fit fp16."""
    precision = resolve_precision(config.precision, device)
    if precision.dtype != torch.float16:
        return precision
    if config.precision == "fp16":
        raise ConfigError("`precision=fp16` cannot train: choose auto, bf16 or fp32")
    return resolve_precision("fp32", device)


def _content_error(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], weights: Mapping[str, float]
) -> Tensor:
    """Squared error of features over their power, both of the whole batch: a blank crop is safe."""
    parts = []
    for name, weight in weights.items():
        target = wanted[name].float()
        error = (found[name].float() - target).square().sum()
        parts.append(weight / sum(weights.values()) * error / (target.square().sum() + 1e-12))
    return torch.stack(parts).sum()


def _inconsistency(pictures: Tensor, photographs: Tensor, factor: int) -> Tensor:
    """Mean difference of both, made small: features alone do not hold the colours.

    The document matches the histogram of every result to its input instead.
    """
    size = [side // factor for side in photographs.shape[2:]]
    difference = pictures.float() - photographs.float()
    return interpolate(difference, size=size, mode="bicubic", antialias=True).abs().mean()


def _variation(pictures: Tensor) -> Tensor:
    value, _ = total_variation(pictures, (1, 1, 1, 1))
    return value.float() / (pictures.numel() / pictures.shape[1])
