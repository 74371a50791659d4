"""Presets against their documents: loss and gradient, sizes, schedules; and what may override."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reference_presets as documents
import torch
from conftest import COMPACT_SHAPE, VGG_SHAPE, random_image, random_weights
from objectives import objective_of, setup_of
from torch import Tensor

from hires.config.job import PaintJob
from hires.config.presets import PRESETS
from hires.config.run import Config
from hires.config.settings import job_of, settings_of
from hires.engine import ladder
from hires.engine.budget import state_bytes
from hires.engine.ladder import plan
from hires.engine.objective import Objective
from hires.engine.progress import Progress
from hires.engine.resolve import fit, stand_in
from hires.engine.setup import open_setup, terms_of
from hires.engine.stylize import iter_stylize
from hires.errors import ConfigError
from hires.features.architecture import VGG19, FeaturesError, full_range
from hires.features.checkpoints import load_features, write_checkpoint
from hires.features.network import Network
from hires.optim.adam import Adam
from hires.optim.create import optimizer_of
from hires.optim.lbfgs import LBFGS
from hires.optim.lbfgs_wolfe import WolfeLBFGS
from hires.optim.scaled import ScaledOptimizer

CPU = torch.device("cpu")
DOCUMENTS: dict[str, Callable[..., Tensor]] = {
    "tutorial": documents.tutorial,
    "d2l": documents.d2l,
    "keras": documents.keras,
}
IMAGENET_SHAPE = dataclasses.replace(VGG_SHAPE, matrix=VGG19.matrix, shift=VGG19.shift)
# VGG's first weights took blue, green, red.
CAFFE_SHAPE = dataclasses.replace(
    VGG_SHAPE,
    matrix=((0.0, 0.0, 255.0), (0.0, 255.0, 0.0), (255.0, 0.0, 0.0)),
    shift=(-103.939, -116.779, -123.68),
)
SHAPES = {"tutorial": IMAGENET_SHAPE, "d2l": IMAGENET_SHAPE, "keras": CAFFE_SHAPE}
# Odd sides; columns long enough for tiles that meet no border.
SIZE = (93, 283)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feature networks with random weights: full.safetensors, caffe..., short... ."""
    made = tmp_path_factory.mktemp("features")
    shapes = {"full": IMAGENET_SHAPE, "caffe": CAFFE_SHAPE, "short": COMPACT_SHAPE}
    for name, shape in shapes.items():
        write_checkpoint(made / f"{name}.safetensors", shape, random_weights(shape), {})
    return made


def preset(name: str, **given: Any) -> Config:
    return Config(preset=name, device="cpu", **given)  # type: ignore[arg-type]


def pictures(size: tuple[int, int] = SIZE) -> tuple[Tensor, Tensor, Tensor]:
    canvas, content, style = (random_image(*size, seed=seed) for seed in (3, 1, 2))
    return 1.3 * canvas - 0.1, content, style  # Beyond [0, 1] too: not all documents clamp.


def objective_with(config: Config, tile: int | None) -> Objective:
    """The objective of a configuration, in float64."""
    network = load_features(config.features, pixels=config.pixels)
    network.prepare(CPU, torch.float64, torch.channels_last)
    _, content, style = pictures()
    return objective_of(setup_of(network, terms_of(config), torch.float64, tile), content, style)


@pytest.mark.parametrize("tile", [None, 64])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_loss_and_gradient_are_the_documents(name: str, tile: int | None, folder: Path) -> None:
    shape = SHAPES[name]
    file = "caffe" if shape is CAFFE_SHAPE else "full"
    objective = objective_with(preset(name, features=str(folder / f"{file}.safetensors")), tile)
    assert (len(objective.plan.tiles) >= 4) == (tile is not None)
    canvas, content, style = pictures()
    found = objective(canvas)
    canvas.requires_grad_()
    loss = DOCUMENTS[name](documents.vgg(shape, random_weights(shape)), canvas, content, style)
    (gradient,) = torch.autograd.grad(loss, canvas)
    assert float(found.loss) == pytest.approx(float(loss.detach()), rel=1e-10)
    assert float((found.gradient - gradient).norm() / gradient.norm()) < 1e-10
    # No term hides behind a larger one: each is there.
    terms = {term for term, value in found.terms.items() if float(value) > 0}
    assert terms == ({"style", "content"} if name == "tutorial" else {"style", "content", "tv"})


@pytest.mark.parametrize("tile", [None, 64])
def test_nnst_is_its_formula(tile: int | None, folder: Path) -> None:
    layers = ("relu3_1", "relu4_3")
    config = preset("nnst", features=str(folder / "full.safetensors"), style_layers=layers)
    objective = objective_with(config, tile)
    canvas, _, style = pictures()
    objective.at_step(10)  # The first matching looks for the photograph.
    found = objective(canvas)
    canvas.requires_grad_()
    network = documents.vgg(IMAGENET_SHAPE, random_weights(IMAGENET_SHAPE))
    loss = documents.nnst(network, canvas, style, layers)
    (gradient,) = torch.autograd.grad(loss, canvas)
    assert float(found.loss) == pytest.approx(float(loss.detach()), rel=1e-9)
    assert float((found.gradient - gradient).norm() / gradient.norm()) < 1e-9


@pytest.mark.parametrize("tile", [None, 64])
def test_strotss_is_its_formula(tile: int | None, folder: Path) -> None:
    """Of layers that have no more positions than a step looks at."""
    layers = ("relu4_3", "relu5_1")
    features = str(folder / "full.safetensors")
    config = preset("strotss", features=features, style_layers=layers, content_layers=layers)
    objective = objective_with(config, tile)
    canvas, content, style = pictures()
    found = objective(canvas)
    canvas.requires_grad_()
    network = documents.vgg(IMAGENET_SHAPE, random_weights(IMAGENET_SHAPE))
    similarity, transport = documents.strotss(network, canvas, content, style, layers)
    assert float(found.terms["content"]) == pytest.approx(float(similarity.detach()), rel=1e-6)
    assert float(found.terms["transport"]) == pytest.approx(float(transport.detach()), rel=1e-6)
    weighted = config.content_weight * found.terms["content"] + found.terms["transport"]
    rest = found.terms["wasserstein"] + config.patch_weight * found.terms.get("patch", 0)
    rest = rest + config.tv_weight * found.terms["tv"]
    assert float(found.loss) == pytest.approx(float(weighted + rest), rel=1e-9)


def gradient_in(preset: str, dtype: torch.dtype) -> Tensor:
    """The gradient of a picture by a preset's terms, with random weights."""
    config = Config(preset=preset)  # type: ignore[arg-type]
    shape = full_range(VGG_SHAPE) if config.pixels == "caffe" else VGG_SHAPE
    network = Network(shape, random_weights(VGG_SHAPE))
    network.prepare("cpu", dtype, torch.channels_last)
    content, style, canvas = (random_image(64, 80, seed=i).float() for i in range(3))
    objective = objective_of(setup_of(network, terms_of(config), dtype), content, style)
    return objective(canvas).gradient


@pytest.mark.parametrize("name", PRESETS)
def test_fp16_holds_the_gradient_of_every_preset(name: str) -> None:
    wanted = gradient_in(name, torch.float32)
    found = gradient_in(name, torch.float16)
    assert torch.isfinite(found).all()
    # Of neighbours that are nearly as near, another is taken, and of bins.
    exchanging = ("calm", "lively", "nnst", "strotss")
    assert (found - wanted).norm() < (0.2 if name in exchanging else 0.1) * wanted.norm()


def test_gradients_that_leave_the_range_of_fp16_are_made_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = gradient_in("tutorial", torch.float32)
    scale_of, scales = Objective._scale_of, []

    def too_large(*args: Any) -> float:
        scales.append(2.0**14 * scale_of(*args))
        return scales[-1]

    monkeypatch.setattr(Objective, "_scale_of", too_large)
    found = gradient_in("tutorial", torch.float16)
    assert (found - wanted).norm() < 0.1 * wanted.norm()
    assert 1 < len(scales) < 5
    assert scales == sorted(scales, reverse=True)


def test_keras_keeps_the_channel_order_of_other_weights(folder: Path) -> None:
    """Weights for red, green, blue see the document's range, but in their own order."""
    architecture = full_range(IMAGENET_SHAPE)
    assert architecture.matrix == ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    assert architecture.shift == (-123.68, -116.779, -103.939)
    assert full_range(CAFFE_SHAPE) == CAFFE_SHAPE
    objective = objective_with(preset("keras", features=str(folder / "full.safetensors")), None)
    swapped = {
        key: value.flip(1) if key == "conv1_1.weight" else value
        for key, value in random_weights(IMAGENET_SHAPE).items()
    }
    canvas, content, style = pictures()
    loss = documents.keras(documents.vgg(IMAGENET_SHAPE, swapped), canvas, content, style)
    assert float(objective(canvas).loss) == pytest.approx(float(loss), rel=1e-10)


def test_a_network_that_mixes_channels_has_no_order() -> None:
    mixed = dataclasses.replace(VGG_SHAPE, matrix=((1.0, 0, 0), (0.9, 0.1, 0), (0, 0, 1.0)))
    with pytest.raises(FeaturesError, match="input channels are red, green, blue"):
        full_range(mixed)


def test_the_house_is_its_own_preset() -> None:
    assert Config(preset="hires") == Config()
    assert PRESETS["hires"].settings == {}
    assert set(PRESETS) == {
        "hires",
        "calm",
        "lively",
        "tutorial",
        "d2l",
        "keras",
        "nnst",
        "strotss",
    }


SIZES = {
    "tutorial": [((768, 1152), 300, (768, 1152))],
    "d2l": [((150, 225), 500, (150, 225)), ((300, 450), 300, (300, 450))],
    "keras": [((400, 600), 400, (400, 600))],
}
# 64 to 512 px; here 64 of the short side.
FROM_64 = [((64, 96), 200), ((112, 168), 200), ((195, 293), 200), ((341, 512), 200)]


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_evaluations_are_the_documents(name: str) -> None:
    rungs = plan(preset(name), (400, 600), [(90, 70)])
    assert [(rung.size, rung.num_iterations, rung.style_sizes[0]) for rung in rungs] == SIZES[name]


@pytest.mark.parametrize("name", ["nnst", "strotss"])
def test_four_sizes_to_512(name: str) -> None:
    rungs = plan(preset(name), (400, 600), [(90, 70)])
    assert [(rung.size, rung.num_iterations) for rung in rungs] == FROM_64
    assert max(plan(preset(name, size=1024), (400, 600), [(90, 70)])[-1].size) == 1024


def test_other_sides_are_truncated_as_in_the_documents() -> None:
    (tutorial,) = plan(preset("tutorial", size=100), (301, 200), [(90, 70)])
    (keras,) = plan(preset("keras"), (333, 500), [(90, 70)])
    assert tutorial.size == (150, 100)
    assert keras.size == (400, int(500 * 400 / 333))


def test_the_ladder_of_d2l_goes_on_by_twos() -> None:
    rungs = plan(preset("d2l", size=1800), (100, 150), [(90, 70)])
    assert [max(rung.size) for rung in rungs] == [225, 450, 900, 1800]
    assert [rung.num_iterations for rung in rungs] == [500, 300, 300, 300]


def test_the_step_size_of_d2l_falls_in_steps() -> None:
    first, second = plan(preset("d2l"), (100, 150), [(90, 70)])
    rates = [first.learning_rate_at(i) for i in (1, 200, 201, 400, 401, 500)]
    assert rates == pytest.approx([0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4])
    assert [second.learning_rate_at(i) for i in (100, 101, 201)] == pytest.approx(
        [0.01, 1e-3, 1e-4]
    )


def test_the_tutorial_is_smaller_without_a_gpu() -> None:
    assert fit(preset("tutorial", features="compact")).config.size == 128
    assert fit(preset("tutorial", features="compact", size=96)).config.size == 96
    assert preset("tutorial", sizes=(64, 96)).cpu_size is None


def test_what_is_given_overrides() -> None:
    config = preset("d2l", content_weight=0.025, tv_weight=1.0, style_layers=("relu1_1:2",))
    assert (config.content_weight, config.tv_weight) == (0.025, 1.0)
    assert config.style_layers == ("relu1_1:2",)
    assert (config.style_weight, config.pixels) == (1e3, "imagenet")


def test_another_optimizer_leaves_the_presets_own_settings_behind() -> None:
    config = preset("d2l", optimizer="lbfgs")
    assert (config.learning_rate, config.average, config.decay_every) == (None, None, ())
    assert config.learning_rate_for(100) == 1.0
    assert preset("keras", optimizer="adam").averaging == 0.8
    assert preset("d2l", optimizer="adam").learning_rate == 0.01


def test_replacing_keeps_what_was_given() -> None:
    config = preset("keras", size=64, tv_weight=0.0)
    larger = dataclasses.replace(config, size=128)
    assert larger == preset("keras", size=128, tv_weight=0.0)
    job = PaintJob(content="a.jpg", styles=("b.jpg",), output="c.jpg", config=larger)
    assert job_of(json.loads(json.dumps(settings_of(job)))) == job


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"preset": "neural"},
        "`preset` is 'neural': choose one of hires, calm, lively, tutorial, d2l, keras",
    ),
    ({"rungs": 0}, "`rungs` is 0"),
    ({"rungs": 2, "sizes": (64, 128)}, "`sizes` names every size: leave `rungs` out"),
    ({"rungs": 1, "min_size": 64}, "`rungs=1` paints at one size: leave `min_size` out"),
    ({"cpu_size": 8}, "`cpu_size` is 8"),
    ({"beta2": 1.0}, "`beta2` is 1: give"),
    ({"beta2": 0.9, "optimizer": "lbfgs"}, "`beta2` applies to `optimizer=adam` only"),
    ({"epsilon": -1.0}, "`epsilon` is -1"),
    ({"history": 5}, "`history` applies to `optimizer=lbfgs or lbfgs-wolfe` only"),
    ({"history": 0, "optimizer": "lbfgs"}, "`history` is 0"),
    ({"restart": 20, "optimizer": "lbfgs"}, "`restart` applies to `optimizer=lbfgs-wolfe` only"),
    ({"learning_rate": 1.0, "optimizer": "lbfgs-wolfe"}, "`learning_rate` applies to"),
    ({"optimizer_state": "fresh", "optimizer": "lbfgs"}, "`optimizer_state` applies to"),
    ({"decay_every": (5,)}, "need each other: give both"),
    ({"learning_rate_decay": 0.1}, "need each other: give both"),
    ({"decay_every": (0,), "learning_rate_decay": 0.1}, "`decay_every` is 0"),
    ({"clamp": "steps", "optimizer": "lbfgs-wolfe"}, "`clamp=steps` would mislead"),
    ({"clamp": "blind"}, "`clamp=blind` applies to `optimizer=lbfgs` only"),
    ({"measured_side": "width"}, "`measured_side` is 'width': choose one of long, short, height"),
    ({"content_loss": "l1"}, "`content_loss` is 'l1'"),
    ({"pixels": "bgr"}, "`pixels` is 'bgr': choose one of unit, imagenet, caffe"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=[str(case[0]) for case in REFUSED])
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config(**settings)


def test_a_ladder_that_does_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"`rungs=5` do not fit between 256 and 258 px"):
        plan(Config(size=258, rungs=5), (100, 100), [])
    rungs = plan(Config(size=900, min_size=100, rungs=3), (100, 100), [])
    assert [rung.size[0] for rung in rungs] == [100, 300, 900]


def test_too_many_decays_are_refused() -> None:
    config = Config(size=64, min_size=64, decay_every=(1, 2), learning_rate_decay=0.5)
    with pytest.raises(ConfigError, match="`decay_every` has 2 numbers for a ladder of 1 rung:"):
        plan(config, (64, 64), [])


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("conv4_4", "conv4_3"),
        ("relu5_2", "relu5_1"),
        ("conv1_2", "conv1_2"),
        ("relu9_9", "relu5_1"),
    ],
)
def test_the_nearest_layer_stands_in(wanted: str, found: str) -> None:
    assert stand_in(wanted, COMPACT_SHAPE) == found


def test_a_stand_in_is_told(folder: Path) -> None:
    features = str(folder / "short.safetensors")
    fitted = fit(preset("d2l", features=features))
    (warning,) = fitted.warnings
    assert "(conv4_3 in place of conv4_4): the result is no longer that of" in warning
    assert fitted.config.content_layers == ("conv4_3",)
    assert fit(fitted.config).config == fitted.config
    open_setup(fitted.config)


def test_another_network_is_told_even_if_it_lacks_nothing(folder: Path) -> None:
    given = preset("d2l", features=str(folder / "full.safetensors"))
    fitted = fit(given)
    assert fitted.config == given
    assert fitted.warnings[0].endswith(
        "are not the VGG-19 of the preset d2l: the result is no longer that of its document"
    )
    assert fit(preset("d2l")).warnings == ()
    # These two have another network of their own; VGG-16 would be their document's.
    for name in ("nnst", "strotss"):
        assert fit(preset(name)).warnings == ()
        (warning,) = fit(preset(name, features=str(folder / "full.safetensors"))).warnings
        assert f"are not the VGG-16 of the preset {name}" in warning
    assert fit(Config()).warnings == ()


def test_layers_that_share_a_stand_in_count_twice(folder: Path) -> None:
    narrow = dataclasses.replace(COMPACT_SHAPE, blocks=((4,), (6,), (8,)))
    path = folder / "narrow.safetensors"
    write_checkpoint(path, narrow, random_weights(narrow), {})
    fitted = fit(preset("tutorial", features=str(path)))
    assert fitted.config.style_layers == ("conv1_1:2.0", "conv2_1:2.0", "conv3_1")


def test_a_layer_of_the_users_own_has_no_stand_in(folder: Path) -> None:
    config = preset("d2l", features=str(folder / "short.safetensors"), style_layers=("relu7_1",))
    with pytest.raises(FeaturesError, match="unknown layer 'relu7_1'"):
        open_setup(fit(config).config)


def test_the_documents_optimizers() -> None:
    canvas = torch.rand(1, 3, 8, 8)
    tutorial = optimizer_of(preset("tutorial"), canvas, 1.0)
    assert isinstance(tutorial, LBFGS)
    assert (tutorial.history_size, tutorial.clamp, tutorial.blind) == (100, True, True)
    d2l = optimizer_of(preset("d2l"), canvas, 0.01)
    assert isinstance(d2l, ScaledOptimizer)
    assert isinstance(d2l.inner, Adam)
    assert (d2l.inner.learning_rate, d2l.inner.beta2, d2l.inner.epsilon) == (0.01, 0.999, 1e-8)
    assert (d2l.inner.clamp, d2l.inner.average, d2l.inner.carry) == (False, None, False)
    torch.testing.assert_close(
        d2l.inner.canvas, canvas / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    )
    keras = optimizer_of(preset("keras"), canvas, 1.0)
    assert isinstance(keras, ScaledOptimizer)
    assert isinstance(keras.inner, WolfeLBFGS)
    assert (keras.inner.history_size, keras.inner.restart) == (10, 20)
    torch.testing.assert_close(keras.inner.canvas, 255 * canvas)


def test_the_forecast_counts_what_the_optimizers_keep() -> None:
    assert state_bytes(preset("tutorial"), 0) == 12 * (2 * 100 + 6)
    assert state_bytes(preset("keras"), 0) == 12 * (2 * 10 + 7)
    assert state_bytes(preset("d2l"), 0) == 12 * (4 + 1)
    assert state_bytes(Config(), 0) == 12 * 5


SHORT: dict[str, dict[str, Any]] = {
    "tutorial": {"size": 64, "iterations": (12,)},
    "d2l": {"size": 160, "min_size": 80, "iterations": (12, 8)},
    "keras": {"size": 64, "iterations": (12,)},
    "nnst": {"size": 96, "iterations": (12,)},
    "strotss": {
        "size": 96,
        "iterations": (12,),
        "init": "noise",
    },  # A photograph has no content loss.
}


def run(name: str, features: Path, **given: Any) -> list[Progress]:
    config = preset(name, features=str(features), **{**SHORT[name], **given})
    content, style = random_image(64, 80, seed=1).float(), random_image(50, 70, seed=2).float()
    return list(iter_stylize(content, style, config))


@pytest.mark.parametrize("name", SHORT)
def test_every_preset_paints(name: str, folder: Path) -> None:
    steps = run(name, folder / "full.safetensors")
    picture = steps[-1].picture()
    assert picture.shape == (1, 3, *steps[-1].rung.size)
    assert 0 <= float(picture.min()) < float(picture.max()) <= 1
    last = [step.loss for step in steps if step.rung.index == steps[-1].rung.index]
    assert min(last[2:]) < 0.9 * last[0]
    assert len(steps) == sum(SHORT[name]["iterations"])


def test_a_round_of_keras_starts_anew_from_what_was_accepted(folder: Path) -> None:
    losses = [step.loss for step in run("keras", folder / "full.safetensors", restart=5)]
    # The first evaluation of a round is that of a point already seen.
    assert any(losses[5] == pytest.approx(loss, rel=1e-6) for loss in losses[:5])
    assert losses[10] <= losses[5]


def test_the_canvas_of_d2l_leaves_its_box_and_the_picture_does_not(folder: Path) -> None:
    config = preset("d2l", features=str(folder / "full.safetensors"), **SHORT["d2l"])
    content = random_image(64, 80, seed=1).float().round()
    (step,) = [s for s in iter_stylize(content, content, config) if s.is_last]
    state = step._run.snapshot(0).state
    canvas = state["inner"]["canvas"] / state["scale"]
    assert float(canvas.max()) > 1 or float(canvas.min()) < 0
    assert float(step.picture().max()) <= 1


def test_ladders_count_the_measured_side() -> None:
    assert ladder.scale_side((200, 300), 100, "long") == (67, 100)
    assert ladder.scale_side((200, 300), 100, "short") == (100, 150)
    assert ladder.scale_side((300, 200), 100, "height") == (100, 66)
