"""What training and application of feed-forward networks are asked for. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from hires.config.checks import bounded, check_device, check_fields, given, leave_out
from hires.config.values import parse_bytes, parse_layer
from hires.errors import ConfigError

# A model on disk, as its own metadata and its name tell.
MODEL_FORMAT, MODEL_ENDING = "hires-model", ".safetensors"
_STYLE_ONLY = (
    "style_weight",
    "style_loss",
    "style_layers",
    "style_size",
    "patch_weight",
    "grain",
    "start",
)
_SUPER_RESOLUTION_ONLY = ("consistency_weight",)
# Noise on photographs beyond which little of them is left.
_MAX_GRAIN = 0.5

# The document's layers (Johnson et al. 2016) suit VGG-16. The compact network has been taught the
# first layer of each block, so there these stand in.
_STYLE_LAYERS = {
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
    "": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
}
_CONTENT_LAYERS = {"vgg16": ("relu2_2",), "": ("relu3_1",)}
_SUPER_RESOLUTION_LAYERS = {
    "vgg16": ("relu2_2",),
    "vgg19": ("relu2_2",),
    "": ("relu1_1", "relu2_1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How to train. Validates itself; every error is a `ConfigError` that says what is allowed."""

    task: Literal["style", "super-resolution"] = "style"
    """What the model shall do: paint in one style, or enlarge with sharp edges."""

    factor: Literal[1, 4, 8] = 1
    """How many times super-resolution enlarges, 4 or 8, which must be said; 1 for styles."""

    steps: int = bounded(2000, 1)
    """Training steps. The more, the better: the document takes 40000."""

    batch_size: int = bounded(4, 1)
    """Photographs a step."""

    crop: int = bounded(256, 64)
    """Side of the training crops in pixels."""

    content_weight: float = 0.1
    """How strongly the scene of the photograph is kept."""

    style_weight: float = 1.0
    """How strongly the style's textures and strokes are asked for."""

    patch_weight: float = 0.05
    """How strongly grain and edges, as patches of 3x3 pixels have them, shall be the style's."""

    consistency_weight: float = 1.0
    """How strongly an enlargement, made small again, must be what it was enlarged from."""

    tv_weight: float = 0.1
    """How strongly pixel noise is smoothed away (total variation)."""

    style_loss: Literal["gram", "meanstd", "wasserstein"] = "wasserstein"
    """Which statistic of the style is matched."""

    style_layers: tuple[str, ...] = ()
    """Layers that carry the style, as NAME or NAME:WEIGHT. auto: as suits the features."""

    content_layers: tuple[str, ...] = ()
    """Layers that carry the content, as NAME or NAME:WEIGHT. auto: as suits the features."""

    style_size: int = bounded(512, 64)
    """Long side in pixels at which the painting is looked at; smaller gives finer strokes."""

    grain: float = bounded(0.06, 0, _MAX_GRAIN)
    """Noise added to the photographs, so that flat areas get strokes, too; 0 for none."""

    features: str = "compact"
    """Feature network: compact (built in), vgg16 (the document's), vgg19, or a checkpoint."""

    start: str | None = None
    """Style model to train further: its path, or the name of one that comes with hires."""

    learning_rate: float = bounded(1e-3, 1e-7)
    """Step size of Adam; falls along a cosine to a fiftieth at the end."""

    seed: int = 0
    """Seed of everything random."""

    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """Arithmetic of both networks' feature maps; auto is bf16 where fast, tf32 for NVIDIA GPUs."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N or mps."""

    def __post_init__(self) -> None:
        """Check every field on its own; what depends on files or machine is checked later."""
        check_fields(self)
        check_device(self.device)
        for layer in (*self.style_layers, *self.content_layers):
            parse_layer(layer)
        self._check_task()
        self._check_terms()

    def _check_terms(self) -> None:
        """Refuse options of a style without a weight, and a training without any."""
        of_style = ("style_weight", "patch_weight")
        own = of_style if self.task == "style" else ("consistency_weight",)
        names = (*own, "content_weight", "tv_weight")
        if not any(getattr(self, name) for name in names):
            told = ", ".join(f"`{name}`" for name in names)
            raise ConfigError(f"{told} are all 0: give one some weight")
        if not self.style_weight:
            idle = given(self, ("style_loss", "style_layers"))
            leave_out(idle, "does nothing where `style_weight` is 0")
        if not any(getattr(self, name) for name in of_style):
            idle = given(self, ("style_size",))
            leave_out(idle, "does nothing where `style_weight` and `patch_weight` are 0")
        if not self.content_weight:
            idle = given(self, ("content_layers",))
            leave_out(idle, "does nothing where `content_weight` is 0")

    def _check_task(self) -> None:
        if self.task == "style":
            idle = given(self, ("factor", *_SUPER_RESOLUTION_ONLY))
            leave_out(idle, "is for `task=super-resolution`")
            return
        if self.factor == 1:
            raise ConfigError("`task=super-resolution` needs `factor=4` or `factor=8`")
        if self.crop % self.factor:
            raise ConfigError(f"`crop` is {self.crop}: give a multiple of `factor={self.factor}`")
        leave_out(given(self, _STYLE_ONLY), "is for `task=style`")

    @property
    def chosen_style_layers(self) -> dict[str, float]:
        """Style layers and their weights; none for super-resolution."""
        if self.task != "style":
            return {}
        given = self.style_layers or _STYLE_LAYERS.get(self.features, _STYLE_LAYERS[""])
        return dict(parse_layer(layer) for layer in given)

    @property
    def chosen_content_layers(self) -> dict[str, float]:
        """Content layers and their weights."""
        known = _CONTENT_LAYERS if self.task == "style" else _SUPER_RESOLUTION_LAYERS
        auto = known.get(self.features, known[""])
        return dict(parse_layer(layer) for layer in self.content_layers or auto)

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result; what a resumed training must agree on."""
        found = asdict(self)
        del found["device"]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyConfig:
    """How to apply a trained model. Validates itself."""

    mode: Literal["exact", "thumbnail"] = "exact"
    """exact: as if the whole picture ran at once; thumbnail: statistics of a small copy, faster."""

    thumbnail: int = bounded(1024, 64)
    """Long side in pixels of the copy that --mode thumbnail looks at."""

    grain: float | None = bounded(None, 0, _MAX_GRAIN)
    """Noise added to the photograph, for strokes in flat areas. auto: as the model was trained."""

    memory: str = "2GiB"
    """Memory for feature maps. The picture itself, before and after, comes on top."""

    tile: int | None = bounded(None, 32)
    """Largest side of a tile in pixels. auto: as the memory allows."""

    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """Arithmetic of the network; auto is bf16 where that is fast, tf32 is for NVIDIA GPUs."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:N or mps."""

    def __post_init__(self) -> None:
        """Check every field on its own; what depends on files or machine is checked later."""
        check_fields(self)
        check_device(self.device)
        if self.mode == "exact":
            leave_out(given(self, ("thumbnail",)), "is for `mode=thumbnail`")
        parse_bytes(self.memory)

    @property
    def memory_bytes(self) -> int:
        """The memory budget in bytes."""
        return parse_bytes(self.memory)
