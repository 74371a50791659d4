"""Frozen dataclasses that describe a run: every default, allowed value and help, once. No torch.

The command line is generated from these fields; the string under a field is its help text, in which
``auto`` stands for the default of a field that may be None or empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, cast

from hires.config.brush import check_brush
from hires.config.checks import LARGEST, bounds, check_device, check_fields
from hires.config.presets import PRESETS, yielding
from hires.config.together import check_together
from hires.config.values import (
    LEAST_SIZE,
    counted,
    parse_blend,
    parse_bytes,
    parse_loss,
    parse_style_layer,
    size_share,
)
from hires.errors import ConfigError

Value = TypeVar("Value")


def option(default: Value, least: float = 0, most: float = LARGEST) -> Value:
    """A field that has this default where neither the caller nor the preset gives a value.

    It is ``...`` to the dataclass: `Config` fills in what was left out.
    """
    made: Any = field(default=..., metadata={"default": default, **bounds(least, most)})
    return cast(Value, made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How to paint. Validates itself; every error is a `ConfigError` that says what is allowed.

    Fields that are not given have the values of the preset: ``Config(preset="d2l", size=900)``.
    """

    preset: Literal["hires", "calm", "lively", "tutorial", "d2l", "keras", "nnst", "strotss"] = (
        "hires"
    )
    """What other options start from: a look of hires or a published system. See hires presets."""

    size: int | str = option(1024, LEAST_SIZE)
    """Long side of the painting in pixels; content: as large as the photograph; or 50% of it."""

    min_size: int | None = option(None, LEAST_SIZE)
    """Long side of the first rung in pixels. auto: 256, or what suits --brush-size."""

    sizes: tuple[int, ...] = option((), LEAST_SIZE)
    """Long sides of all rungs, from small to large, in place of --size and --min-size."""

    rungs: int | None = option(None, 1)
    """Number of sizes in the ladder. auto: as few as keep each at most twice the one before."""

    measured_side: Literal["long", "short", "height"] = option("long")
    """Which side of the painting --size, --min-size and --sizes measure."""

    cpu_size: int | None = option(None, LEAST_SIZE)
    """Size where there is no GPU, in place of --size. auto: the same."""

    iterations: tuple[int, ...] = option((), 1)
    """Steps per rung, from small to large; the last number repeats. auto: fewer as rungs grow."""

    style_weights: tuple[float, ...] = option(())
    """Share of each style picture when there are several. auto: equal shares."""

    margin: int = option(16, 0, 1024)
    """Pixels that are painted beyond every border and cut off again: borders look like the rest."""

    content_detail: float = option(1.0, 0, 1)
    """Share of the photograph's own fine detail that each larger size begins with, 0 to 1."""

    content_weight: float = option(0.025)
    """How strongly the scene of the content picture is kept."""

    detail_weight: float = option(0.0)
    """How strongly fine drawing, as of faces, is the photograph's: 0.1 is seen, 1 is strict."""

    style_weight: float = option(1.0)
    """How strongly the style's textures and strokes are asked for."""

    patch_weight: float = option(0.05)
    """How strongly grain and edges, as patches of 3x3 pixels have them, shall be the style's."""

    tv_weight: float = option(0.02)
    """How strongly pixel noise is smoothed away (total variation)."""

    style_loss: Sequence[str] = option(("wasserstein",))
    """Which statistics of the style are matched, each a factor on --style-weight: gram, meanstd,
    wasserstein, central, sliced; neighbours asks each place to be like the most similar one of the
    style, best beside wasserstein (--preset calm; lively is sliced:2); transport, gram-mse and
    gram-sum are those of the presets."""

    content_loss: Literal["relative", "mse", "sum", "self-similarity"] = option("relative")
    """Squared error of the content's features: over their squared size, its mean, or its sum; or
    whether what is alike in the photograph is alike, whatever its colours (self-similarity)."""

    tv_loss: Literal["squared", "absolute", "power"] = option("squared")
    """Form of the total variation; absolute is that of d2l, power that of keras."""

    layer_reduction: Literal["mean", "sum"] = option("mean")
    """Whether the losses of several layers are averaged or added up."""

    style_layers: tuple[str, ...] = option(("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"))
    """Layers that carry the style, as NAME[@NUMBER][:WEIGHT]; NUMBER: of the one style it takes."""

    content_layers: tuple[str, ...] = option(("relu4_2",))
    """Layers that carry the content, as NAME or NAME:WEIGHT."""

    features: str = option("compact")
    """Feature network: compact (built in), vgg19, vgg16, or the path of a checkpoint."""

    pooling: Literal["max", "average", "l2"] = option("max")
    """Pooling of the feature network."""

    pixels: Literal["unit", "imagenet", "caffe"] = option("unit")
    """Units that are optimised: 0 to 1, standard deviations, or 0 to 255 (the network's too)."""

    optimizer: Literal["adam", "lbfgs", "lbfgs-wolfe"] = option("adam")
    """Adam is lean and robust; L-BFGS needs fewer steps but several canvases of memory."""

    learning_rate: float | None = option(None, 1e-6)
    """Step size, in units of --pixels. auto: 1 for L-BFGS; for Adam 0.02, 0.03 for few steps."""

    learning_rate_decay: float | None = option(None, 1e-6)
    """Factor on the step size every --decay-every steps. auto: it stays."""

    decay_every: tuple[int, ...] = option((), 1)
    """Steps between two decays, per rung; the last number repeats. auto: never."""

    average: float | None = option(None, 0, 0.9999)
    """Decay of the running average that Adam's result is; 0 switches it off. auto: 0.8."""

    beta2: float | None = option(None, 0, 0.9999)
    """Decay of Adam's second moment. auto: 0.95."""

    epsilon: float | None = option(None)
    """Adam's epsilon. auto: 1e-8 over the number of the canvas's values, as gradients of means."""

    optimizer_state: Literal["carry", "fresh"] = option("carry")
    """Whether Adam's moments are carried from rung to rung or start afresh."""

    history: int | None = option(None, 1)
    """Steps that L-BFGS remembers, halved from rung to rung down to 3. auto: 20."""

    restart: int | None = option(None, 2)
    """Evaluations after which lbfgs-wolfe forgets its past: a round. auto: never."""

    clamp: Literal["auto", "steps", "blind", "result"] = option("auto")
    """Hold the canvas in [0, 1] at all steps (blind: L-BFGS is not told) or its result only. auto:
    steps, if no line search."""

    style_scale: float = option(1.0, 0.01, 16.0)
    """Size of the style picture relative to the painting: finer strokes below 1, coarser above."""

    brush_size: float | str | None = option(None)
    """Width of the broadest strokes, in place of --style-scale: 8mm on paper (with --print or
    --dpi), or 24px. auto: as wide as --style-scale makes them."""

    style_fit: Literal["aspect", "stretch"] = option("aspect")
    """Whether a style keeps its shape or is stretched to the canvas's."""

    style_turns: bool = option(False)
    """Whether neighbours are looked for in the style's quarter turns, too: strokes of all ways."""

    color: Literal["style", "content", "luminance", "match", "palette"] = option("style")
    """Whose colours: the style's; the photograph's, put back in the end (content), kept while light
    and dark are painted (luminance), or given to the style first (match); or the style's, laid out
    as the photograph's are (palette)."""

    color_match: Literal["symmetric", "pca", "cholesky"] = option("symmetric")
    """Root of the covariance by which match and palette change colours."""

    init: str = option("content")
    """Start of the first rung: content, noise, blend:0.3 (0.3 of noise), or a picture's path."""

    seed: int = option(0)
    """Seed of everything random."""

    memory: str = option("auto")
    """Memory for feature maps, on top of the canvas. auto: what a GPU has left; else up to 2GiB."""

    tile: int | None = option(None, 32)
    """Largest side of a tile in pixels. auto: what is fast and fits the memory."""

    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = option("auto")
    """Arithmetic of the feature network; auto is bf16 where that is fast, tf32 for NVIDIA GPUs."""

    device: str = option("auto")
    """Where to compute: auto, cpu, cuda, cuda:N or mps."""

    def __post_init__(self) -> None:
        """Check every field on its own; what depends on pictures or machine is checked later."""
        self._fill_in()
        # One name may be given as it is, and was recorded so once.
        losses = self.style_loss
        losses = (losses,) if isinstance(losses, str) else tuple(losses)
        object.__setattr__(self, "style_loss", losses)
        check_fields(self)
        check_device(self.device)
        if isinstance(self.size, str):
            size_share(self.size)
        if self.style_weights and not sum(self.style_weights):
            raise ConfigError("`style_weights` are all 0: give at least one style some weight")
        check_together(self, _DEFAULTS)
        parse_blend(self.init)
        if self.brush_size is not None:
            check_brush(self.brush_size)
        _ = self.memory_bytes

    def _fill_in(self) -> None:
        """Give what was left out the value of the preset, or else its default."""
        if self.preset not in PRESETS:
            raise ConfigError(f"`preset` is '{self.preset}': choose one of {', '.join(PRESETS)}")
        given = {name: getattr(self, name) for name in _DEFAULTS if getattr(self, name) is not ...}
        settings = {**PRESETS[self.preset].settings}
        for name in yielding(self.preset, given):
            del settings[name]
        for name, value in (_DEFAULTS | settings).items():
            if name not in given:
                object.__setattr__(self, name, value)

    @property
    def memory_bytes(self) -> int | None:
        """The memory budget in bytes; None for what suits the machine."""
        return None if self.memory == "auto" else parse_bytes(self.memory)

    @property
    def style_losses(self) -> dict[str, float]:
        """Names of the style losses, and what each counts in the style's weight."""
        return dict(map(parse_loss, self.style_loss))

    @property
    def schedule(self) -> tuple[int, float, int]:
        """Default steps: those of the first rung, the factor from rung to rung, the least."""
        return (100, 0.57, 20) if self.optimizer == "adam" else (200, 0.55, 30)

    @property
    def averaging(self) -> float:
        """Decay of the running average; 0 for none."""
        if self.optimizer != "adam":
            return 0.0
        return 0.8 if self.average is None else self.average

    @property
    def min_short_side(self) -> int:
        """Least short side of the first rung, in pixels: four positions of a stride-16 layer."""
        return 64

    @property
    def clamps_steps(self) -> bool:
        """Whether the canvas is held in [0, 1] after every step, not only in the result."""
        if self.clamp == "auto":
            return self.optimizer != "lbfgs-wolfe"
        return self.clamp != "result"

    def history_at(self, rung: int) -> int:
        """Steps that L-BFGS remembers at a rung, from 0: its memory shrinks as canvases grow."""
        history = 20 if self.history is None else self.history
        return max(history >> rung, min(history, 3))

    def is_default(self, name: str) -> bool:
        """Whether a field has the value that it has when it is not given."""
        return getattr(self, name) in (PRESETS[self.preset].settings.get(name), _DEFAULTS[name])

    def learning_rate_for(self, num_steps: int) -> float:
        """Step size at a rung of so many steps: where they are few, each goes further."""
        if self.learning_rate is not None:
            return self.learning_rate
        return min(max(3 / num_steps, 0.02), 0.03) if self.optimizer == "adam" else 1.0

    def style_shares(self, num_styles: int) -> tuple[float, ...]:
        """Weight of each style, summing to 1.

        Raises:
            ConfigError: if the number of weights is not that of the styles.
        """
        weights = self.style_weights or (1.0,) * num_styles
        if len(weights) != num_styles:
            raise ConfigError(
                f"`style_weights` has {counted(len(weights), 'number')} for"
                f" {counted(num_styles, 'style picture')}:"
                " give one for each"
            )
        if num_styles == 1 and weights != (1.0,):
            raise ConfigError(
                "`style_weights` does nothing with one style picture: leave it out, or give"
                " `style_weight`"
            )
        return tuple(weight / sum(weights) for weight in weights)

    def check_style_layers(self, num_styles: int) -> None:
        """Hold the styles that layers name to the number of styles.

        Raises:
            ConfigError: for a style that is not there, and for the only one.
        """
        for text in self.style_layers:
            number = parse_style_layer(text).number
            if number is not None and num_styles == 1:
                raise ConfigError(
                    f"layer '{text}': there is one style picture: leave @{number} out"
                )
            if number is not None and number > num_styles:
                raise ConfigError(
                    f"layer '{text}' names style {number}, but there are {num_styles}: give a"
                    f" number from 1 to {num_styles}"
                )


def changed(config: Config, **given: Any) -> Config:
    """A recorded run's settings with options given anew; what gives way has its default.

    Raises:
        ConfigError: also for another preset, to which the other settings would not belong.
    """
    preset = given.get("preset", config.preset)
    if preset != config.preset:
        raise ConfigError(
            f"the recorded run has the preset {config.preset}, and its options with it:"
            f" leave `preset` out, or paint anew with `preset={preset}`"
        )
    left_out = yielding(preset, given)
    return replace(config, **{name: _DEFAULTS[name] for name in left_out} | given)


# What options have where no preset says otherwise.
_DEFAULTS: dict[str, Any] = {
    field.name: field.metadata.get("default", field.default) for field in fields(Config)
}
