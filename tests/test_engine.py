"""Whole runs, tiny ones: what goes in, what comes out, and what is refused before any work."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import weakref
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, REFLECT_SHAPE, random_image, random_weights
from convolutions import CUDNN, Convolutions
from torch import Tensor

import hires
from hires.config.run import Config
from hires.engine import ladder
from hires.engine.canvas import WholeCanvas, first_canvas
from hires.engine.objective import Objective
from hires.engine.progress import Progress
from hires.engine.replay import Evaluation
from hires.engine.run import Run
from hires.engine.setup import open_setup
from hires.engine.stylize import iter_stylize, stylize
from hires.errors import ConfigError, ImageError, StylizeError
from hires.features.architecture import FeaturesError
from hires.features.checkpoints import load_features, write_checkpoint
from hires.features.network import Network
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image
from hires.image.originals import original, originals
from hires.image.resample import fill, resize

CONTENT = random_image(60, 80, seed=1).float()
STYLE = random_image(72, 64, seed=2).float()
SIZE = (60, 80)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("features") / "tiny.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    return str(path)


def config(default_features: str, **settings: Any) -> Config:
    defaults: dict[str, Any] = {
        "features": default_features,
        "sizes": (48, 80),
        "iterations": (4, 3),
        "margin": 0,
        "precision": "fp32",
        "device": "cpu",
    }
    return Config(**{**defaults, **settings})


def total(picture: Tensor, settings: Config) -> float:
    """Loss of a picture at the only rung."""
    setup = open_setup(settings)
    rungs = ladder.plan(settings, SIZE, [(72, 64)])
    run = Run(setup, settings, rungs, original(CONTENT), originals(STYLE))
    run.begin(rungs[0])
    objective = run._objective
    assert objective is not None
    return float(objective(picture).loss)


@pytest.mark.parametrize("fail", [{1}, {2}, {1, 2}, {1, 4}])
def test_measuring_targets_survives_a_lack_of_memory(
    fail: set[int], features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(features, sizes=(128,), iterations=(3,))
    content, style = random_image(96, 128, seed=1).float(), random_image(128, 100, seed=2).float()
    undisturbed = stylize(content, style, settings)
    forward, calls = Network.forward, itertools.count(1)

    def failing(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
        if next(calls) in fail:
            raise torch.OutOfMemoryError("injected")
        return forward(*args, **kwargs)

    monkeypatch.setattr(Network, "forward", failing)
    steps = []
    for progress in iter_stylize(content, style, settings):
        steps.append(progress.iteration)
        if len(steps) == 1:
            snapshot = progress.snapshot().copy()
    painted = progress.picture()
    assert next(calls) > max(fail)
    assert min(snapshot.measured) < 128
    torch.testing.assert_close(painted, undisturbed, rtol=0, atol=1e-3)
    # Nothing fails any more, yet the run goes on with the sums that it had.
    monkeypatch.setattr(Network, "forward", forward)
    for progress in iter_stylize(content, style, settings, resume=snapshot):
        assert progress.snapshot().measured == snapshot.measured
    assert torch.equal(progress.picture(), painted)


def test_every_convolution_of_a_run_is_in_its_precision(
    features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There and back, which are both convolutions of ours; not between two steps."""
    before = CUDNN.conv.fp32_precision
    with Convolutions(monkeypatch) as convolutions:
        for _ in iter_stylize(CONTENT, STYLE, config(features, iterations=(1,))):
            assert CUDNN.conv.fp32_precision == before
    assert convolutions.seen == {("aten::convolution", "ieee")}


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "lbfgs-wolfe"])
def test_a_rung_begins_despite_a_lack_of_memory(
    optimizer: Any, features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(features, sizes=(48, 80), iterations=(2,), optimizer=optimizer)
    undisturbed = stylize(CONTENT, STYLE, settings)
    from_below, calls = WholeCanvas.from_below, itertools.count(1)

    def failing(canvas: WholeCanvas, image: Tensor) -> Tensor:
        found = from_below(canvas, image)
        if next(calls) == 1:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")
        return found

    monkeypatch.setattr(WholeCanvas, "from_below", failing)
    assert torch.equal(stylize(CONTENT, STYLE, settings), undisturbed)
    assert next(calls) > 2


def test_a_rung_that_the_memory_does_not_hold_is_told(
    features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(WholeCanvas, "from_below", failing)
    with pytest.raises(ConfigError, match=r"^out of memory with a canvas of .*: give a smaller `s"):
        stylize(CONTENT, STYLE, config(features, iterations=(1,)))


def test_a_run_from_tensors(features: str) -> None:
    picture = stylize(CONTENT, STYLE, config(features))
    assert picture.shape == (1, 3, *SIZE)
    assert picture.dtype == torch.float32
    assert float(picture.min()) >= 0
    assert float(picture.max()) <= 1
    assert not torch.allclose(picture, CONTENT, atol=0.01)


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_run_from_files(as_path: type, features: str, tmp_path: Path) -> None:
    save_image(CONTENT, tmp_path / "content.png")
    save_image(STYLE, tmp_path / "style.png", bit_depth=16)
    content, style = (as_path(tmp_path / name) for name in ("content.png", "style.png"))
    wanted = stylize(load_image(content), load_image(style), config(features))
    assert torch.equal(hires.stylize(content, [style], config(features)), wanted)
    assert torch.equal(hires.stylize(content, style, config(features)), wanted)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("style_loss", ["gram", "meanstd", "wasserstein"])
def test_the_loss_falls(optimizer: str, style_loss: str, features: str) -> None:
    settings = config(
        features, optimizer=optimizer, style_loss=style_loss, sizes=(80,), iterations=(12,)
    )
    before, after = total(CONTENT, settings), total(stylize(CONTENT, STYLE, settings), settings)
    assert after < 0.8 * before


def test_progress_tells_where_the_run_stands(features: str) -> None:
    steps = list(iter_stylize(CONTENT, STYLE, config(features)))
    assert [step.iteration for step in steps] == [1, 2, 3, 4, 1, 2, 3]
    assert [step.rung.index for step in steps] == [0] * 4 + [1] * 3
    assert [step.rung.size for step in steps][3:5] == [(36, 48), (60, 80)]
    assert [step.ends_rung for step in steps] == [False] * 3 + [True, False, False, True]
    assert [step.is_last for step in steps] == [False] * 6 + [True]
    assert {step.num_rungs for step in steps} == {2}
    assert {step.warnings for step in steps} == {()}
    fractions, seconds = [step.fraction for step in steps], [step.seconds for step in steps]
    assert fractions == sorted(fractions)
    small = 36 * 48 + 2**16
    assert fractions[0] == pytest.approx(small / (4 * small + 3 * (60 * 80 + 2**16)))
    assert fractions[-1] == pytest.approx(1)
    assert 0 < seconds[0] <= seconds[-1]


def test_losses_are_the_weighted_sum_of_the_terms(features: str) -> None:
    settings = config(
        features, content_weight=2.0, style_weight=5.0, patch_weight=4.0, tv_weight=3.0
    )
    step = next(iter_stylize(CONTENT, STYLE, settings))
    terms = step.terms
    assert list(terms) == ["style", "content", "patch", "tv"]
    weights = {"style": 5, "content": 2, "patch": 4, "tv": 3}
    assert step.loss == pytest.approx(
        sum(weight * terms[name] for name, weight in weights.items()), rel=1e-6
    )
    # The first canvas is the content itself.
    assert terms["content"] < 1e-6
    assert terms["style"] > 0.01


@pytest.mark.parametrize("margin", [0, 7])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_larger_size_begins_with_detail_of_the_content(
    features: str, share: float, margin: int
) -> None:
    settings = config(features, margin=margin, content_detail=share, learning_rate=1e-6, average=0)
    steps = list(iter_stylize(CONTENT, STYLE, settings))
    last = next(i for i, step in enumerate(steps) if step.rung.index == 1)
    pictures = []
    for i, step in enumerate(iter_stylize(CONTENT, STYLE, settings)):
        if i in (last - 1, last):
            pictures.append(step.picture())
    below, above = (step.rung.size for step in (steps[last - 1], steps[last]))
    content = CONTENT.float()
    detail = resize(content, above) - resize(resize(content, below), above)
    wanted = (resize(pictures[0], above).clamp(0, 1) + share * detail).clamp(0, 1)
    torch.testing.assert_close(pictures[1], wanted, rtol=0, atol=1e-4)
    assert share == 0 or float((share * detail).abs().max()) > 1e-2


def test_a_picture_on_the_way_is_a_copy(features: str) -> None:
    pictures = []
    for step in iter_stylize(CONTENT, STYLE, config(features)):
        pictures.append(step.picture())
        step.picture().zero_()
    assert [tuple(picture.shape[2:]) for picture in pictures][3:5] == [(36, 48), (60, 80)]
    assert all(picture.any() for picture in pictures)
    assert torch.equal(pictures[-1], stylize(CONTENT, STYLE, config(features)))


def test_a_small_style_is_warned_about(features: str) -> None:
    step = next(iter_stylize(CONTENT, resize(STYLE, (36, 32)), config(features)))
    (warning,) = step.warnings
    assert "style 1 is 32x36" in warning
    with pytest.warns(UserWarning, match="style 1 is 32x36"):
        stylize(CONTENT, resize(STYLE, (36, 32)), config(features))


@pytest.mark.filterwarnings("ignore:style 1 is 64x72")
def test_every_style_scale_paints_another_picture(features: str) -> None:
    # The style is no larger than the canvas: above 1, it is enlarged.
    pictures = [
        stylize(CONTENT, STYLE, config(features, style_scale=scale))
        for scale in (0.6, 1.0, 1.5, 1.9, 3.0)
    ]
    assert all(float((a - b).abs().mean()) > 1e-3 for a, b in pairwise(pictures))


def test_a_start_between_photograph_and_noise(features: str) -> None:
    def start(init: str) -> Tensor:
        return first_canvas(config(features, init=init, seed=3), SIZE, CONTENT)

    content, noise = start("content"), start("noise")
    assert torch.equal(start("blend:0"), content)
    assert torch.equal(start("blend:1"), noise)
    assert torch.allclose(start("blend:0.3"), 0.7 * content + 0.3 * noise, atol=1e-6)
    rows = slice(7, 20)
    for init in ("content", "noise", "blend:0.3"):
        some = first_canvas(config(features, init=init, seed=3), SIZE, CONTENT, rows)
        torch.testing.assert_close(some, start(init)[..., rows, :], rtol=0, atol=1e-6)


@pytest.mark.parametrize("init", ["content", "noise", "blend:0.5"])
def test_the_same_seed_paints_the_same_bytes(init: str, features: str) -> None:
    settings = config(features, init=init, seed=5, precision="bf16")
    first, second = (stylize(CONTENT, STYLE, settings) for _ in range(2))
    assert torch.equal(first, second)


def test_a_first_picture_of_another_shape_is_cut_not_stretched(
    features: str, tmp_path: Path
) -> None:
    height, width = CONTENT.shape[2:]
    margin = torch.zeros(1, 3, height, width)
    save_image(torch.cat([margin, CONTENT, margin], 3), tmp_path / "wide.png")
    save_image(CONTENT, tmp_path / "same.png")
    wide, same = (
        first_canvas(config(features, init=str(tmp_path / name)), (height, width), CONTENT)
        for name in ("wide.png", "same.png")
    )
    assert torch.equal(wide, same)
    torch.testing.assert_close(same, CONTENT, rtol=0, atol=1 / 255)


def test_a_run_neither_reads_nor_moves_the_global_seed(features: str) -> None:
    torch.manual_seed(1)
    first = stylize(CONTENT, STYLE, config(features, init="noise"))
    state = torch.random.get_rng_state()
    second = stylize(CONTENT, STYLE, config(features, init="noise"))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, second)


def test_another_seed_is_another_noise(features: str) -> None:
    first, second = (
        stylize(CONTENT, STYLE, config(features, init="noise", seed=seed)) for seed in (1, 2)
    )
    assert not torch.allclose(first, second, atol=0.05)


def test_a_run_can_start_from_a_picture(features: str, tmp_path: Path) -> None:
    save_image(STYLE, tmp_path / "start.png")
    settings = config(features, init=str(tmp_path / "start.png"), learning_rate=1e-6)
    step = next(iter_stylize(CONTENT, STYLE, settings))
    wanted = fill(STYLE, (36, 48)).clamp(0, 1)
    assert float((step.picture() - wanted).abs().max()) < 0.01


def test_a_start_that_does_not_exist_is_refused(features: str) -> None:
    with pytest.raises(ImageError, match=r"nowhere\.png"):
        stylize(CONTENT, STYLE, config(features, init="nowhere.png"))


def test_styles_are_blended_by_weight(features: str) -> None:
    other = random_image(64, 80, seed=7).float()

    def loss(styles: Sequence[Tensor], *weights: float) -> float:
        settings = config(features, style_weights=weights, style_loss="meanstd")
        return next(iter_stylize(CONTENT, styles, settings)).terms["style"]

    one, both = loss([STYLE]), loss([STYLE, other])
    assert loss([STYLE, other], 2, 0) == pytest.approx(one, rel=1e-9)
    assert loss([other, STYLE], 0, 7) == pytest.approx(one, rel=1e-9)
    assert loss([STYLE, other], 3, 3) == pytest.approx(both, rel=1e-9)
    assert loss([STYLE, STYLE], 1, 5) == pytest.approx(one, rel=1e-9)
    assert abs(both - one) > 0.01 * one


def test_weights_that_do_not_match_the_styles(features: str) -> None:
    with pytest.raises(ConfigError, match="has 2 numbers for 1 style picture"):
        stylize(CONTENT, STYLE, config(features, style_weights=(1.0, 2.0)))


def test_no_style_at_all(features: str) -> None:
    with pytest.raises(ConfigError, match="no style picture: give at least one"):
        stylize(CONTENT, [], config(features))


@pytest.mark.parametrize("weights", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_each_term_works_alone(weights: tuple[int, int, int], features: str) -> None:
    names = ("content_weight", "style_weight", "tv_weight")
    settings = config(features, **dict(zip(names, weights, strict=True)), init="noise")
    *_, last = iter_stylize(CONTENT, STYLE, settings)
    assert math.isfinite(last.loss)
    assert torch.isfinite(last.picture()).all()


@pytest.mark.parametrize("layers", [{"style_layers": ()}, {"content_layers": ()}])
def test_a_run_without_style_or_content_layers(layers: dict[str, Any], features: str) -> None:
    *_, last = iter_stylize(CONTENT, STYLE, config(features, init="noise", **layers))
    assert last.terms[next(iter(layers)).removesuffix("_layers")] == 0
    assert last.loss > 0


BAD_TENSORS: Sequence[tuple[Tensor, str]] = (
    (torch.zeros(3, 60, 80), r"\(1, 3, H, W\) float, not \(3, 60, 80\) float32"),
    (torch.zeros(2, 3, 60, 80), r"not \(2, 3, 60, 80\)"),
    (torch.zeros(1, 4, 60, 80), r"not \(1, 4, 60, 80\)"),
    (torch.zeros(1, 3, 0, 80), r"not \(1, 3, 0, 80\)"),
    (torch.zeros(1, 3, 60, 80, dtype=torch.uint8), r"float, not \(1, 3, 60, 80\) uint8"),
    (torch.full((1, 3, 60, 80), torch.nan), "values that are not finite"),
)


@pytest.mark.parametrize(("picture", "message"), BAD_TENSORS)
def test_tensors_that_are_no_pictures(picture: Tensor, message: str, features: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stylize(picture, STYLE, config(features))
    with pytest.raises(ConfigError, match=message):
        stylize(CONTENT, [STYLE, picture], config(features))


def test_float64_and_gradients_are_left_outside(features: str) -> None:
    content = CONTENT.double().requires_grad_()
    picture = stylize(content, STYLE, config(features))
    assert picture.dtype == torch.float32
    assert not picture.requires_grad
    assert content.grad is None


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"style_layers": ("relu9_1",)}, FeaturesError, "unknown layer 'relu9_1'"),
        ({"features": "nowhere.safetensors"}, FeaturesError, "no such file"),
        ({"precision": "fp16"}, ValueError, "needs a GPU"),
        ({"device": "cuda:99"}, ValueError, "not available on this machine"),
        ({"iterations": (3, 2, 1)}, ConfigError, "has 3 numbers for a ladder of 2 rungs"),
    ],
)
def test_settings_that_this_run_cannot_have(
    settings: dict[str, Any], error: type[Exception], message: str, features: str
) -> None:
    with pytest.raises(error, match=message):
        next(iter_stylize(CONTENT, STYLE, config(features, **settings)))


@pytest.mark.filterwarnings("ignore:style 1 is 64x72", "ignore:--min-size 64 is too small")
def test_an_extreme_aspect_ratio(features: str) -> None:
    content = random_image(20, 390).float()
    settings = config(features, sizes=(390,), iterations=(2,))
    picture = stylize(content, STYLE, settings)
    assert picture.shape == (1, 3, 20, 390)
    assert torch.isfinite(picture).all()
    with pytest.raises(ConfigError, match=r"20\.5 times longer than wide"):
        stylize(random_image(20, 410).float(), STYLE, settings)


@pytest.mark.parametrize("size", [(3, 4), (15, 200)])
def test_a_content_smaller_than_the_network_can_see_is_refused(
    size: tuple[int, int], features: str
) -> None:
    with pytest.raises(ConfigError, match=r"smaller than the network can see: .* at least 16 px"):
        stylize(random_image(*size).float(), STYLE, config(features))


@pytest.mark.parametrize(("content", "style"), [((20, 200), (64, 64)), ((64, 64), (18, 180))])
def test_what_the_network_cannot_see_is_refused(
    content: tuple[int, int], style: tuple[int, int], features: str
) -> None:
    pictures = random_image(*content).float(), random_image(*style).float()
    with pytest.raises(ConfigError, match=r"would be \w+ at .*80x8.* needs 16 px"):
        stylize(*pictures, config(features, sizes=(80,), iterations=(2,)))


def test_reflection_needs_a_neighbour(tmp_path: Path) -> None:
    path = tmp_path / "reflect.safetensors"
    write_checkpoint(path, REFLECT_SHAPE, random_weights(REFLECT_SHAPE), {})
    layers = {"style_layers": ("relu1_1", "relu3_1"), "content_layers": ("relu2_2",)}
    settings = config(str(path), sizes=(32,), iterations=(2,), **layers)
    assert stylize(random_image(8, 32).float(), STYLE, settings).shape == (1, 3, 8, 32)
    with pytest.raises(ConfigError, match="at least 8 px"):
        stylize(random_image(7, 32).float(), STYLE, settings)


def needed_memory(content: Tensor, style: Tensor, settings: Config) -> str:
    with pytest.raises(ConfigError, match="is too small for tiles of") as caught:
        stylize(content, style, settings)
    found = re.search(r"give at least (\d+MiB)", str(caught.value))
    assert found
    return found[1]


@pytest.mark.filterwarnings("ignore:style 1 is 64x64")
@pytest.mark.parametrize("style", [(64, 64), (400, 120), (330, 330)])
def test_too_little_memory_names_what_is_enough(style: tuple[int, int], features: str) -> None:
    # Rungs and style of very different sizes: the amount named must be enough for all of them.
    content = random_image(300, 400).float()
    settings = config(features, sizes=(60, 400), iterations=(1,), memory="100KiB")
    picture = random_image(*style).float()
    enough = needed_memory(content, picture, settings)
    found = stylize(content, picture, config(features, **{**SHORT, "memory": enough}))
    assert found.shape == (1, 3, 300, 400)
    one_less = f"{int(enough.removesuffix('MiB')) - 1}MiB"
    if one_less != "0MiB":
        again = needed_memory(content, picture, config(features, **{**SHORT, "memory": one_less}))
        assert again == enough


SHORT: dict[str, Any] = {"sizes": (60, 400), "iterations": (1,)}


def test_a_tile_too_large_for_the_memory(features: str) -> None:
    content = random_image(300, 400).float()
    with pytest.raises(ConfigError, match=r"for tiles of 256 px: .* or leave out `tile`"):
        stylize(content, STYLE, config(features, **SHORT, memory="2MiB", tile=256))


@pytest.mark.filterwarnings("ignore:style 1 is 64x72")
def test_little_memory_paints_the_same_picture(features: str) -> None:
    content = random_image(300, 400).float()
    settings = {"sizes": (400,), "iterations": (2,)}
    whole = stylize(content, STYLE, config(features, **settings))
    tiled = stylize(content, STYLE, config(features, **settings, tile=64))
    assert float((whole - tiled).abs().mean()) < 1e-4


def broken(calls: int, value: float) -> Any:
    """An objective's call that breaks down after some good ones."""
    evaluate, count = Objective.__call__, iter(range(10**6))

    def call(self: Objective, canvas: Tensor) -> Evaluation:
        found = evaluate(self, canvas)
        if next(count) < calls:
            return found
        return Evaluation(found.loss * value, found.terms, found.gradient * value)

    return call


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_breakdown_keeps_the_last_good_picture(
    value: float, optimizer: str, features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Objective, "__call__", broken(5, value))
    steps: list[Progress] = []
    run = iter_stylize(CONTENT, STYLE, config(features, optimizer=optimizer))
    with pytest.raises(StylizeError, match=r"at rung 2 \(80x60\), iteration 2: try ") as caught:
        steps.extend(run)
    assert len(steps) == 5
    assert caught.value.picture.shape == (1, 3, *SIZE)
    assert torch.isfinite(caught.value.picture).all()
    assert torch.equal(caught.value.picture, steps[-1].picture())


def test_a_breakdown_at_the_very_first_step(features: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Objective, "__call__", broken(0, math.nan))
    with pytest.raises(StylizeError, match=r"the loss is nan at rung 1 \(48x36\), it") as caught:
        stylize(CONTENT, STYLE, config(features))
    assert torch.equal(caught.value.picture, resize(CONTENT, (36, 48)).clamp(0, 1))


def test_bf16_paints_as_well_as_fp32(features: str) -> None:
    settings = config(features, sizes=(80,), iterations=(25,))
    wide = stylize(CONTENT, STYLE, settings)
    narrow = stylize(CONTENT, STYLE, dataclasses.replace(settings, precision="bf16"))
    assert not torch.equal(wide, narrow)
    # Both are judged in fp32.
    assert total(narrow, settings) == pytest.approx(total(wide, settings), rel=0.05)


def test_the_package_offers_what_it_says() -> None:
    assert {name for name in hires.__all__ if getattr(hires, name, None) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'daub'"):
        hires.daub  # noqa: B018


def test_networks_and_devices_are_taken_as_objects(features: str) -> None:
    settings = config(features)
    network = load_features(features)
    weights = {name: buffer.clone() for name, buffer in network.named_buffers()}
    picture = stylize(
        CONTENT, STYLE, config("compact"), network=network, device=torch.device("cpu")
    )
    assert torch.equal(picture, stylize(CONTENT, STYLE, settings))
    # The run has worked on a copy.
    assert all(torch.equal(buffer, weights[name]) for name, buffer in network.named_buffers())


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_device_is_in_place_of_the_configurations(
    device: Any, features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all that is settled by it, such as the size of a preset without a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    settings = Config(features=features, size=80, cpu_size=64, min_size=64, iterations=(1,))
    progress = next(iter_stylize(CONTENT, STYLE, settings, device=device))
    assert progress.rung.size == (48, 64)


@pytest.mark.parametrize("ended", [False, True])
def test_what_a_run_needs_to_paint_ends_with_it(
    ended: bool, features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of graphs and network is the encoder's, while a step still shows the painting."""
    alive: list[weakref.ref[Any]] = []
    build = Objective.__init__

    def noted(self: Objective, network: Network, *args: Any, **options: Any) -> None:
        alive.extend([weakref.ref(self), weakref.ref(network)])
        build(self, network, *args, **options)

    monkeypatch.setattr(Objective, "__init__", noted)
    for progress in iter_stylize(CONTENT, STYLE, config(features)):
        if not ended and progress.rung.index:
            break
    assert progress.picture().shape == (1, 3, *SIZE)
    assert [reference() for reference in alive] == [None] * 4
