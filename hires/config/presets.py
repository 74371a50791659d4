"""Published systems as tables of settings: what each asks for, term by term. No torch.

``hires`` is the default. Each of the others reproduces one document; its formulas are stated
here, and every departure from it is listed under `Preset.notes`. In all of them ``F`` are a layer's
features (C, N) at ``N`` positions, ``Δ`` is the difference between the canvas's and the target's,
and content and style pictures are both stretched to the size of the canvas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A published system.

    Attributes:
        title: what it is.
        source: who published it.
        loss: its loss in a line.
        settings: fields of `hires.config.run.Config` that differ from their defaults.
        notes: where it departs from its document, and why.
        network: the document's; None for one that is made for any.
    """

    title: str
    source: str
    loss: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    network: str | None = "VGG-19"


_ONE_SIZE = {"rungs": 1, "style_fit": "stretch"}
_VGG = {"features": "vgg19", "precision": "fp32"}
# Of both papers by Kolkin et al.: 64 to 512 px by factors of 2, so many steps at each.
_KOLKIN = {"size": 512, "min_size": 64, "iterations": (200,)}

PRESETS: dict[str, Preset] = {
    "hires": Preset(
        title="the default: a ladder of sizes, relative losses, Adam with a running average",
        source="this project",
        loss=(
            "W2/tr G + 0.025 Σ Δ² / Σ F² + 0.05 · W2 of whitened 3x3 patches"
            " + 0.02 · squared total variation per pixel"
        ),
        network=None,
    ),
    "calm": Preset(
        title="each stroke in its place, quiet skies and faces; up to a third slower",
        source="this project, after N. Kolkin et al. 2022",
        loss=(
            "W2/tr G + 0.3 mean_positions (1 - cos(F - μ, nearest of the style's - μ))"
            " + 0.025 Σ Δ² / Σ F² + patches and total variation as by default"
        ),
        settings={"style_loss": ("wasserstein", "neighbours:0.3")},
        network=None,
    ),
    "lively": Preset(
        title="strokes everywhere; up to two fifths slower",
        source="this project, after E. Heitz et al. 2021",
        loss="2 · sliced W2 + 0.025 Σ Δ² / Σ F² + patches and total variation as by default",
        settings={"style_loss": ("sliced:2",)},
        network=None,
    ),
    "tutorial": Preset(
        title="Neural Transfer Using PyTorch: L-BFGS at one size",
        source="A. Jacq, PyTorch tutorial, as edited by W. Herring and J. Liu 2019",
        loss="1e6 Σ_layers mean(Δ(F Fᵀ / (C N))²) + 1 · mean(ΔF²)",
        settings={
            **_VGG,
            **_ONE_SIZE,
            "measured_side": "short",
            "size": 768,
            "cpu_size": 128,
            "iterations": (300,),
            "content_layers": ("conv2_2",),
            "style_layers": ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"),
            "content_loss": "mse",
            "style_loss": ("gram-mse",),
            "layer_reduction": "sum",
            "content_weight": 1.0,
            "style_weight": 1e6,
            "margin": 0,
            "content_detail": 0.0,
            "patch_weight": 0.0,
            "tv_weight": 0.0,
            "optimizer": "lbfgs",
            "history": 100,
            "clamp": "blind",
        },
        notes=(
            "torch.optim.LBFGS with its default settings. One evaluation a step makes the very same"
            " moves as the document's 20 a call: between calls it forgets nothing.",
            "The document's loop looks at its count of 300 only between calls of 20 evaluations"
            " and stops after 320; here it is 300 (--iterations 320 for the other).",
            "The stopping tolerances are left out: the document's loop would call again anyway.",
            "The document refuses a style of another size than the content; here it is stretched.",
        ),
    ),
    "d2l": Preset(
        title="Dive into Deep Learning, Neural Style Transfer: Adam on a ladder of two sizes",
        source="A. Zhang, Z. C. Lipton, M. Li, A. J. Smola, first edition, notes by Hichens 2020",
        loss=(
            "1e3 Σ_layers mean(Δ(F Fᵀ / (C N))²) + 1 · mean(ΔF²)"
            " + 10 · ½ (mean|∂y| + mean|∂x|) of the standardised picture"
        ),
        settings={
            **_VGG,
            "style_fit": "stretch",
            "size": 450,
            "min_size": 225,
            "iterations": (500, 300),
            "content_layers": ("conv4_4",),
            "style_layers": ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
            "content_loss": "mse",
            "style_loss": ("gram-mse",),
            "tv_loss": "absolute",
            "layer_reduction": "sum",
            "content_weight": 1.0,
            "style_weight": 1e3,
            "margin": 0,
            "content_detail": 0.0,
            "patch_weight": 0.0,
            "tv_weight": 10.0,
            "pixels": "imagenet",
            "optimizer": "adam",
            "learning_rate": 0.01,
            "learning_rate_decay": 0.1,
            "decay_every": (200, 100),
            "average": 0.0,
            "beta2": 0.999,
            "epsilon": 1e-8,
            "optimizer_state": "fresh",
            "clamp": "result",
        },
        notes=(
            "Sizes are those of a 3:2 landscape, 150x225 and 300x450; other pictures keep their"
            " shape, with the long side of these. Above 450 px the ladder goes on by factors of 2"
            " or less.",
            "The enlarged result reaches the second size as floats, not through 8 bits.",
            "Layers are tapped before the ReLU, as the document says; a network with in-place"
            " ReLUs, like torchvision's, would overwrite such taps.",
        ),
    ),
    "keras": Preset(
        title="Neural style transfer with Keras: sums, L-BFGS in rounds of 20 evaluations",
        source="F. Chollet, Deep Learning with Python, as told by ysugyl 2018",
        loss=(
            "1 · mean_layers Σ(Δ(F Fᵀ)²) / (4 · 3² · (H W)²) + 0.025 Σ ΔF²"
            " + 1e-4 Σ((∂y)² + (∂x)²)^1.25 of the picture in 0 to 255"
        ),
        settings={
            **_VGG,
            **_ONE_SIZE,
            "measured_side": "height",
            "size": 400,
            "iterations": (400,),
            "content_layers": ("relu5_2",),
            "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
            "content_loss": "sum",
            "style_loss": ("gram-sum",),
            "tv_loss": "power",
            "content_weight": 0.025,
            "style_weight": 1.0,
            "margin": 0,
            "content_detail": 0.0,
            "patch_weight": 0.0,
            "tv_weight": 1e-4,
            "pixels": "caffe",
            "optimizer": "lbfgs-wolfe",
            "history": 10,
            "restart": 20,
        },
        notes=(
            "The document calls SciPy's L-BFGS-B without bounds. lbfgs-wolfe takes the same steps"
            " (line search of Moré and Thuente, 10 pairs), on the device and in its number format;"
            " PyTorch's L-BFGS searches its lines in another way.",
            "A round is 20 evaluations and then drops a step that is not accepted yet; SciPy looks"
            " at its count only after a step and makes 21 or a few more.",
            "The document's total variation takes its vertical differences from one row"
            " (`img_height-1` where `:img_height-1` is meant); here it is what is meant.",
            "The network gets 0 to 255 minus the means in the channel order that its own weights"
            " were trained for: BGR for VGG's first weights, which Keras ships, RGB for"
            " torchvision's. scripts/convert_features.py --pixels caffe converts the former.",
            "Pictures are resampled with a filter; Keras takes the nearest pixel.",
        ),
    ),
    "nnst": Preset(
        title="Neural Neighbor Style Transfer: every place like the most similar one of the style",
        source="N. Kolkin, M. Kucera, S. Paris, D. Sykora, E. Shechtman, G. Shakhnarovich 2022",
        loss="mean_layers mean_positions (1 - cos(F - μ, nearest of the style's - μ))",
        settings={
            **_KOLKIN,
            "patch_weight": 0.0,
            "tv_weight": 0.0,
            "content_weight": 0.0,
            "content_detail": 0.0,
            "style_loss": ("neighbours",),
            "style_layers": ("relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2", "relu4_3"),
            "style_turns": True,
            "color": "palette",
        },
        notes=(
            "The network is the built-in one unless --features vgg16 names the paper's; layers that"
            " it lacks have the nearest of their block in their place.",
            "Layers are matched one by one at every size (the paper's final pass) and looked for by"
            " 0.75 of the photograph's features, where the paper first matches all layers joined;"
            " blocks 1 and 2, which add cost and little else, are left out.",
            "A size has one matching by the photograph and then one every ten steps by the painting"
            " (the paper: once a size, then at every step of its final pass); the dictionary holds"
            " 8192 of the style's features and of those of its quarter turns.",
            "Pixels are optimised, by Adam at hires' own step, not the coefficients of a Laplacian"
            " pyramid at 0.002; the first size is 64 px on its short side.",
            "The palette is laid out with a guided filter in place of a bilateral one.",
        ),
        network="VGG-16",
    ),
    "strotss": Preset(
        title="Style Transfer by Relaxed Optimal Transport and Self-Similarity",
        source="N. Kolkin, J. Salavon, G. Shakhnarovich 2019",
        loss=(
            "2 · self-similarity of 1024 positions + relaxed earth mover's distance of as many"
            " + W2/tr G, each the mean of its layers, + 0.05 · W2 of whitened 3x3 patches"
            " + 0.02 · squared total variation per pixel"
        ),
        settings={
            **_KOLKIN,
            "content_layers": ("relu4_3",),
            "content_loss": "self-similarity",
            "content_weight": 2.0,
            "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu3_3", "relu4_3", "relu5_1"),
            "style_loss": ("transport", "wasserstein"),
            "learning_rate": 0.01,
            "average": 0.95,
        },
        notes=(
            "The network is the built-in one unless --features vgg16 names the paper's; layers that"
            " it lacks have the nearest of their block in their place.",
            "Layers are compared one by one, where the paper joins nine of them and the colours to"
            " one vector at each position. That vector's self-similarity is mostly that of deep"
            " layers; fine ones by themselves would keep the photograph as it is, so the content"
            " is relu4_3 alone.",
            "The content weighs 2 at every size, as it does at the paper's largest; the paper"
            " begins with 16 and halves it from size to size.",
            "Moments are compared as the Wasserstein distance of Gaussians, not by absolute"
            " differences; those of patches stand in for the paper's transport of the palette.",
            "Pixels are optimised, by Adam at 0.01 with a running average of 0.95 and total"
            " variation against the noise of random positions, not the coefficients of a Laplacian"
            " pyramid by RMSprop; the canvas begins as the photograph, not as its fine detail on"
            " the style's mean colour; the first size is 64 px on its short side.",
        ),
        network="VGG-16",
    ),
}

# Optimizers that have a use for an option, where not all of them have.
APPLIES = {
    "learning_rate": ("adam", "lbfgs"),
    "learning_rate_decay": ("adam", "lbfgs"),
    "decay_every": ("adam", "lbfgs"),
    "average": ("adam",),
    "beta2": ("adam",),
    "epsilon": ("adam",),
    "optimizer_state": ("adam",),
    "history": ("lbfgs", "lbfgs-wolfe"),
    "restart": ("lbfgs-wolfe",),
}
# What gives way when a size is asked for.
_YIELDING = {
    "size": ("cpu_size",),
    "min_size": ("rungs",),
    "sizes": ("size", "min_size", "rungs", "cpu_size"),
}


def yielding(preset: str, given: Mapping[str, Any]) -> set[str]:
    """The preset's settings that give way to options that were given.

    Another optimizer than the preset's does not inherit its step size, schedule or memory.

    Args:
        preset: a key of `PRESETS`.
        given: fields that were given, by name.
    """
    settings = PRESETS[preset].settings
    names = {name for option in given for name in _YIELDING.get(option, ())}
    own = settings.get("optimizer", "adam")
    if given.get("optimizer", own) != own:
        names.update((*APPLIES, "clamp"))
    return names & set(settings)
