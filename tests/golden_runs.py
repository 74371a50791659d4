"""Small runs of every kind, and their losses as text."""

from __future__ import annotations

from collections.abc import Iterator

from conftest import random_image
from torch import Tensor

from hires.config.feedforward import ApplyConfig
from hires.config.run import Config
from hires.engine.stylize import iter_stylize
from hires.feedforward.apply import Inference
from hires.feedforward.model import load_model

SIZES = (64, 80, 112)
_SMALL = {"sizes": SIZES, "iterations": (3,), "precision": "fp32", "device": "cpu"}
# What each run is asked for beside that; all with the compact network.
RUNS: dict[str, dict[str, object]] = {
    "default": {},
    "tutorial": {"preset": "tutorial"},
    "d2l": {"preset": "d2l"},
    "keras": {"preset": "keras"},
    "gram": {"style_loss": "gram"},
    "meanstd": {"style_loss": "meanstd"},
    "lbfgs": {"optimizer": "lbfgs"},
    "lbfgs-wolfe": {"optimizer": "lbfgs-wolfe"},
    "tiled": {"tile": 64},
    "two-styles": {"style_weights": (0.3, 0.7)},
    "noise": {"init": "noise", "seed": 1},
}


def content() -> Tensor:
    """(1, 3, 84, 112) float32."""
    return random_image(84, 112, seed=1).float()


def styles(name: str) -> list[Tensor]:
    """One picture, or two if the run is one of two."""
    pictures = [random_image(96, 90, seed=2).float(), 1 - random_image(80, 110, seed=3).float()]
    return pictures if name == "two-styles" else pictures[:1]


def losses(name: str) -> Iterator[str]:
    """A line for each step: rung, step, loss and its terms."""
    settings = {**_SMALL, "features": "compact", **RUNS[name]}
    config = Config(**settings)  # type: ignore[arg-type]
    yield "rung step loss style content tv"
    for progress in iter_stylize(content(), styles(name), config):
        terms = [progress.terms[term] for term in ("style", "content", "tv")]
        numbers = " ".join(f"{value:.12g}" for value in (progress.loss, *terms))
        yield f"{progress.rung.index + 1} {progress.iteration} {numbers}"


def applied() -> Iterator[str]:
    """Mean, deviation and one pixel of each channel of a picture made by the built-in model."""
    inference = Inference(load_model("impasto"), ApplyConfig(precision="fp32", device="cpu"))
    result = inference.apply(random_image(128, 160, seed=1).float()).double()
    yield "channel mean deviation pixel"
    for channel, plane in zip("rgb", result[0], strict=True):
        numbers = (plane.mean(), plane.std(), plane[40, 50])
        yield " ".join([channel, *(f"{float(value):.12g}" for value in numbers)])
