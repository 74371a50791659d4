"""A canvas that does not move is an error that names the weights, not the photograph, exit 0."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights

from hires.config.run import Config
from hires.engine.stylize import iter_stylize, stylize
from hires.errors import StylizeError
from hires.features.checkpoints import write_checkpoint
from hires.optim.canvas_optimizer import NonFiniteError, require_finite
from hires.optim.stall import StalledError, blamed, require_motion, sampled

CONTENT = random_image(60, 80, seed=1).float()
STYLE = random_image(72, 64, seed=2).float()
TOO_LITTLE = "pull too little: give larger ones"


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("features") / "tiny.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    return str(path)


def painted(features: str, **settings: Any) -> torch.Tensor:
    house: dict[str, Any] = {"sizes": (48,), "iterations": (3,), "precision": "fp32"}
    config = Config(features=features, device="cpu", **{**house, **settings})
    return stylize(CONTENT, STYLE, config)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "lbfgs-wolfe"])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"style_weight": 1e30}, "`style_weight=1e+30` is too much: only the weights' ratios"),
        ({"style_weight": 1e38}, "`style_weight=1e+38` is too much"),
        ({"content_weight": 1e32, "init": "noise"}, "`content_weight=1e+32` is too much"),
        ({"tv_weight": 1e30}, "`tv_weight=1e+30` is too much"),
        (
            {"style_weight": 1e-30, "content_weight": 0.0, "patch_weight": 0.0, "tv_weight": 1e-30},
            TOO_LITTLE,
        ),
    ],
)
def test_weights_that_stop_the_canvas_are_named(
    settings: dict[str, Any], words: str, optimizer: str, features: str
) -> None:
    with pytest.raises(StylizeError, match=r"at rung 1 \(48x36\), iteration 1: ") as caught:
        painted(features, optimizer=optimizer, **settings)
    assert words in str(caught.value)
    assert "precision" not in str(caught.value)
    # What is saved is where the run started.
    assert caught.value.picture.shape == (1, 3, 36, 48)


@pytest.mark.parametrize("pixels", ["unit", "imagenet", "caffe"])
@pytest.mark.parametrize("weight", [1e-6, 1.0, 1e12])
def test_weights_of_any_sensible_size_move_it(weight: float, pixels: str, features: str) -> None:
    weights = {
        f"{term}_weight": weight * getattr(Config(), f"{term}_weight")
        for term in ("style", "content", "patch", "tv")
    }
    rate = {"unit": 0.02, "imagenet": 0.09, "caffe": 5.1}[pixels]
    picture = painted(features, pixels=pixels, learning_rate=rate, **weights)
    usual = painted(features, pixels=pixels, learning_rate=rate)
    assert float((picture - usual).abs().mean()) < 0.005


def test_an_epsilon_that_drowns_every_gradient(features: str) -> None:
    with pytest.raises(StylizeError, match="a smaller `epsilon`"):
        painted(features, epsilon=1e3)


def test_every_rung_is_looked_at(features: str) -> None:
    config = Config(
        features=features, sizes=(48, 64), iterations=(2,), precision="fp32", device="cpu"
    )
    run = iter_stylize(CONTENT, STYLE, config)
    for progress in run:
        if progress.ends_rung:
            # As if it had grown so far that nothing is left of its gradient.
            progress._run.now.optimizer.epsilon = 1e3  # type: ignore[attr-defined]
            break
    with pytest.raises(StylizeError, match=r"does not move.* at rung 2 \(64x48\), iteration 1"):
        next(run)


def test_what_is_held_at_its_bounds_need_not_move() -> None:
    white = torch.ones(1, 3, 4, 4)
    require_motion(sampled(white), sampled(white), -white, least=0.0)
    with pytest.raises(StalledError, match="the canvas does not move, its gradient is 1"):
        require_motion(sampled(white), sampled(white), white, least=0.0)
    require_motion(sampled(white), sampled(white - 0.1), white, least=0.05)
    with pytest.raises(StalledError):
        require_motion(sampled(white), sampled(white - 0.1), white, least=0.2)


@pytest.mark.parametrize(
    ("gradient", "words"),
    [(1e19, "too large"), (float("inf"), "not finite"), (float("nan"), "not finite")],
)
def test_a_gradient_whose_squares_are_no_numbers(gradient: float, words: str) -> None:
    loss = torch.ones(())
    with pytest.raises(NonFiniteError, match=f"the gradient is {words}"):
        require_finite(loss, torch.full((1, 3, 8, 8), gradient))
    require_finite(loss, torch.full((1, 3, 8, 8), 1e17))


def test_weights_are_not_blamed_for_what_arithmetic_did() -> None:
    weights = {"style": 1e6, "content": 1.0, "tv": 0.0}
    assert blamed(weights, NonFiniteError("")).startswith("try `precision=fp32`")
