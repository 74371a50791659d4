"""Training of image-to-image networks: losses fall, a resumed training is the same training."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from convolutions import Convolutions
from torch import Tensor

from hires.config.feedforward import TrainConfig
from hires.engine.objective import Objective
from hires.engine.setup import Setup
from hires.errors import ConfigError, ImageError
from hires.features.checkpoints import write_checkpoint
from hires.features.network import Network
from hires.feedforward import training as forward_training
from hires.feedforward.design import Design, ModelError
from hires.feedforward.model import read_model
from hires.feedforward.perceptual_loss import PerceptualLoss
from hires.feedforward.photographs import Photographs
from hires.feedforward.training import TrainingError, open_trainer, reduced, schedule
from hires.feedforward.training_job import TrainingJob
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image
from hires.losses.patches import Patches
from hires.losses.style import Style
from hires.losses.variation import TotalVariation

WEIGHTS = ("style_weight", "patch_weight", "content_weight", "tv_weight")
SMALL = Design(widths=(4, 6, 8), num_blocks=1, kernel=3)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs of several sizes, a style and a tiny feature network."""
    folder = tmp_path_factory.mktemp("studio")
    (folder / "photos" / "more").mkdir(parents=True)
    for i, size in enumerate([(96, 140), (200, 90), (64, 64), (40, 50)]):
        name = f"photos/more/{i}.png" if i % 2 else f"photos/{i}.png"
        save_image(random_image(*size, seed=i), folder / name)
    save_image(random_image(120, 100, seed=9), folder / "style.png")
    write_checkpoint(
        folder / "tiny.safetensors",
        COMPACT_SHAPE,
        random_weights(COMPACT_SHAPE),
        {"licence": "none"},
    )
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that a test can afford."""
    narrow = Design(task="super-resolution", factor=4, widths=(6,), num_blocks=1, kernel=3)

    def design_of(config: TrainConfig) -> Design:
        return SMALL if config.task == "style" else narrow

    monkeypatch.setattr(forward_training, "design_of", design_of)


def config_of(studio: Path, **options: Any) -> TrainConfig:
    given = {"steps": 6, "batch_size": 2, "crop": 64, "precision": "fp32", "style_size": 100}
    given |= {"features": str(studio / "tiny.safetensors")}
    return TrainConfig(**{**given, **options})


def training(studio: Path, output: Path, *, resume: bool = False, **options: Any) -> TrainingJob:
    config = config_of(studio, **options)
    style = studio / "style.png" if config.task == "style" else None
    folders = [studio / "photos"]
    return TrainingJob(
        config, style=style, folders=folders, output=output, samples=[], resume=resume
    )


def test_a_narrow_style_is_told_by_options_of_train(studio: Path) -> None:
    style = random_image(100, 9, seed=9).float()
    with pytest.raises(
        ConfigError, match=r"the style is 9x100 at this `style_size`, .*: give a larger `style_size"
    ):
        open_trainer(config_of(studio), Photographs([studio / "photos"], seed=0), style)


def test_training_lowers_the_loss(studio: Path) -> None:
    config = config_of(studio, steps=30, learning_rate=3e-3)
    style = random_image(100, 90, seed=9).float()
    trainer = open_trainer(config, Photographs([studio / "photos"], seed=0), style)
    reports = list(trainer.steps())
    assert [report.step for report in reports] == list(range(1, 31))
    assert set(reports[0].terms) == {"style", "patch", "content", "tv"}
    first, last = (sum(r.loss for r in part) for part in (reports[:8], reports[-8:]))
    assert last < 0.7 * first


def test_every_convolution_of_a_training_is_in_its_precision(
    studio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = random_image(100, 90, seed=9).float()
    with Convolutions(monkeypatch) as convolutions:
        supply = Photographs([studio / "photos"], seed=0)
        list(open_trainer(config_of(studio, steps=1), supply, style).steps())
    names = ("aten::convolution", "aten::convolution_backward")
    assert convolutions.seen == {(name, "ieee") for name in names}


def test_super_resolution_lowers_the_feature_loss(studio: Path) -> None:
    config = config_of(studio, task="super-resolution", factor=4, steps=40, style_size=512)
    trainer = open_trainer(config, Photographs([studio / "photos"], seed=0), None)
    reports = list(trainer.steps())
    assert set(reports[0].terms) == {"content", "tv", "consistency"}
    first, last = (sum(r.terms["content"] for r in part) for part in (reports[:8], reports[-8:]))
    assert last < 0.97 * first


@pytest.mark.parametrize("task", ["style", "super-resolution"])
def test_a_resumed_training_is_the_same_training(studio: Path, tmp_path: Path, task: str) -> None:
    options: dict[str, Any] = {"task": task}
    if task != "style":
        options |= {"factor": 4, "style_size": 512}
    straight = training(studio, tmp_path / "a.safetensors", **options)
    list(straight.train(save_every=100))
    broken = training(studio, tmp_path / "b.safetensors", **options)
    # Two more steps than are saved: as after a kill, they are done again.
    steps = broken.train(save_every=3)
    list(islice(steps, 3))
    next(steps)
    broken.save = lambda: None  # type: ignore[method-assign]
    steps.close()  # type: ignore[attr-defined]
    resumed = training(studio, tmp_path / "b.safetensors", resume=True, **options)
    assert [report.step for report in resumed.train(save_every=3)] == [4, 5, 6]
    one, other = (read_model(tmp_path / f"{name}.safetensors") for name in "ab")
    for name, value in one.weights.items():
        assert torch.equal(value, other.weights[name]), name
    lines = [json.loads(line) for line in resumed.log_path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_the_model_tells_how_it_was_trained(studio: Path, tmp_path: Path) -> None:
    made = training(studio, tmp_path / "a.safetensors", steps=2)
    list(made.train(save_every=1))
    metadata = read_model(tmp_path / "a.safetensors").metadata
    assert metadata["style"] == "style.png"
    assert len(metadata["style_sha256"]) == 64
    assert json.loads(metadata["settings"])["content_weight"] == 0.1
    assert (metadata["steps"], metadata["photographs"]) == ("2", "4")
    assert sorted(file.name for file in made.samples_path.iterdir()) == [
        "step-000001.jpg",
        "step-000002.jpg",
    ]


def test_a_training_goes_on_from_a_model(studio: Path, tmp_path: Path) -> None:
    first, path = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    list(training(studio, first, steps=2).train(save_every=9))
    before = read_model(first)
    begun = training(studio, path, steps=2, start=str(first), learning_rate=1e-7)
    assert begun.trainer.done == 0
    for name, value in begun.trainer.model.finished().items():
        assert torch.equal(value, before.weights[name]), name
    list(begun.train(save_every=9))
    for name, value in begun.trainer.model.finished().items():
        torch.testing.assert_close(value, before.weights[name], rtol=0, atol=1e-6)
    resumed = training(studio, path, steps=3, start=str(first), learning_rate=1e-7, resume=True)
    list(resumed.train(save_every=9))
    metadata = read_model(path).metadata
    assert (metadata["steps"], json.loads(metadata["settings"])["start"]) == ("3", str(first))
    assert metadata["start_sha256"] == before.metadata["sha256"]
    assert "start_sha256" not in before.metadata


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("impasto", "model 'impasto' has another architecture than the one to train: give `start`"),
        ("absent", "model 'absent': no such file; give a model's path, or one of"),
    ],
)
def test_what_no_training_can_start_from(
    studio: Path, tmp_path: Path, start: str, message: str
) -> None:
    with pytest.raises((TrainingError, ModelError), match=message):
        training(studio, tmp_path / "a.safetensors", start=start)


def test_an_enlarging_model_is_no_start_for_a_style(studio: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    options: dict[str, Any] = {"task": "super-resolution", "factor": 4, "style_size": 512}
    list(training(studio, path, steps=1, **options).train(save_every=9))
    with pytest.raises(ModelError, match="is for super-resolution: give one that was trained"):
        training(studio, tmp_path / "b.safetensors", start=str(path))


def test_an_interrupted_training_is_saved(studio: Path, tmp_path: Path) -> None:
    made = training(studio, tmp_path / "a.safetensors")
    steps = made.train(save_every=100)
    next(steps)
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
    assert read_model(tmp_path / "a.safetensors").metadata["steps"] == "1"
    assert made.state_path.is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content_weight": 3.0}, r"had `content_weight=0\.1`, not 3\.0"),
        ({"seed": 1}, "had `seed=0`, not 1"),
        ({"steps": 2}, "has done 2 steps: give more `steps`"),
    ],
)
def test_another_training_is_not_resumed(
    studio: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "a.safetensors"
    list(islice(training(studio, path, steps=2).train(save_every=2), 2))
    with pytest.raises(TrainingError, match=message):
        training(studio, path, resume=True, **{"steps": 4, **options})


@pytest.mark.parametrize("contents", [None, b"", b"no state"])
def test_nothing_to_resume_from(studio: Path, tmp_path: Path, contents: bytes | None) -> None:
    if contents is not None:
        (tmp_path / "a.state").write_bytes(contents)
    with pytest.raises(TrainingError, match="leave `resume` out"):
        training(studio, tmp_path / "a.safetensors", resume=True)


def test_a_loss_that_is_not_finite_stops_before_the_weights(studio: Path) -> None:
    config = config_of(studio)
    trainer = open_trainer(
        config, Photographs([studio / "photos"], seed=0), random_image(99, 90).float()
    )
    trainer.model.tensors["last_bias"].data[0] = torch.inf
    before = trainer.model.tensors["first_weight"].detach().clone()
    with pytest.raises(TrainingError, match="not finite at step 1"):
        next(trainer.steps())
    assert torch.equal(before, trainer.model.tensors["first_weight"])


def test_a_weight_that_no_gradient_can_hold_is_named(studio: Path) -> None:
    trainer = open_trainer(
        config_of(studio, style_weight=1e30),
        Photographs([studio / "photos"], seed=0),
        random_image(99, 90).float(),
    )
    with pytest.raises(TrainingError, match=r"at step 1: `style_weight=1e\+30` is too much"):
        next(trainer.steps())


def test_a_training_without_a_step_leaves_nothing(studio: Path, tmp_path: Path) -> None:
    begun = training(studio, tmp_path / "a.safetensors", style_weight=1e30)
    with pytest.raises(TrainingError, match="at step 1"):
        next(begun.train(10))
    assert not [*tmp_path.iterdir()]


def style_of(loss: PerceptualLoss) -> Style:
    style = loss.terms[0]
    assert isinstance(style, Style)
    return style


def patches_of(loss: PerceptualLoss) -> Patches:
    patches = loss.terms[1]
    assert isinstance(patches, Patches)
    return patches


def test_each_picture_of_a_batch_is_judged_as_a_painting_is(studio: Path) -> None:
    """By the objective of painting: value and gradient of its terms, picture by picture."""
    config = config_of(studio, crop=72, style_size=100, content_weight=0.0, patch_weight=0.3)
    loss = PerceptualLoss(config, random_image(100, 90, seed=9).float(), torch.device("cpu"))
    pictures = torch.cat([random_image(72, 72, seed=seed) for seed in (1, 2)]).float()
    pictures.requires_grad_()
    total, terms = loss(pictures, pictures.detach())
    (gradient,) = torch.autograd.grad(total, [pictures])
    setup = Setup(network=loss.network, precision=loss.precision, terms=loss.terms, memory=2**30)
    shared = (replace(style_of(loss), weight=1.0), replace(patches_of(loss), weight=0.3))
    variation = TotalVariation(weight=config.tv_weight, num_pixels=72 * 72)
    evaluations = []
    for picture in torch.split(pictures.detach(), 1):
        objective = Objective(
            loss.network,
            [*shared, variation],
            positions=setup.positions((72, 72)),
            plan=setup.plan_tiles((72, 72)),
            precision=loss.precision,
        )
        evaluations.append(objective(picture))
    for name in ("style", "patch", "tv"):
        wanted = torch.stack([one.terms[name] for one in evaluations]).mean()
        torch.testing.assert_close(terms[name].double(), wanted.double(), rtol=1e-5, atol=0)
    wanted = torch.cat([one.gradient for one in evaluations]) / 2
    assert float((gradient - wanted).norm() / wanted.norm()) < 1e-4


def test_patches_without_a_weight_are_not_looked_at(studio: Path) -> None:
    style, device = random_image(99, 90).float(), torch.device("cpu")
    loss = PerceptualLoss(config_of(studio, patch_weight=0.0), style, device)
    assert [term.name for term in loss.terms] == ["style"]


def test_what_is_hidden_of_a_style_is_not_learnt(studio: Path, tmp_path: Path) -> None:
    picture, alpha = random_image(120, 100, seed=9), torch.ones(1, 1, 120, 100)
    alpha[..., 60:] = 0
    losses = []
    for i, hidden in enumerate((0.0, 1.0)):
        picture[..., 60:] = hidden
        save_image(picture, tmp_path / f"{i}.png", alpha=alpha)
        losses.append(PerceptualLoss(config_of(studio), tmp_path / f"{i}.png", torch.device("cpu")))
        told = f"{tmp_path / f'{i}.png'}: 40% of it is transparent and does not count"
        assert losses[-1].warnings == (told,)
    filled = PerceptualLoss(config_of(studio), load_image(tmp_path / "0.png"), torch.device("cpu"))
    assert filled.warnings == ()
    for name, (moments,) in style_of(losses[0]).targets.items():
        assert torch.equal(moments.product, style_of(losses[1]).targets[name][0].product)
        assert not torch.equal(moments.product, style_of(filled).targets[name][0].product)
    whitenings = [patches_of(loss).whitenings[0][0] for loss in (*losses, filled)]
    assert torch.equal(whitenings[0], whitenings[1])
    assert not torch.equal(whitenings[0], whitenings[2])


def test_measuring_the_style_survives_a_lack_of_memory(
    studio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style, device = random_image(250, 300).float(), torch.device("cpu")
    undisturbed = PerceptualLoss(config_of(studio, style_size=300), style, device)
    forward, sizes = Network.forward, []

    def failing(self: Network, pixels: Tensor, *args: Any, **options: Any) -> dict[str, Tensor]:
        sizes.append(pixels.shape[3])
        if len(sizes) in (1, 3):
            raise torch.OutOfMemoryError("injected")
        return forward(self, pixels, *args, **options)

    monkeypatch.setattr(Network, "forward", failing)
    found = PerceptualLoss(config_of(studio, style_size=300), style, device)
    assert sizes[0] == 300 > sizes[-1]
    for name, (moments,) in style_of(undisturbed).targets.items():
        (again,) = style_of(found).targets[name]
        torch.testing.assert_close(again.product, moments.product, rtol=1e-4, atol=0)


class TestPhotographs:
    def test_every_picture_comes_before_any_again(self, studio: Path) -> None:
        supply = Photographs([studio / "photos"], seed=0)
        assert [path.name for path in supply.paths] == ["0.png", "2.png", "1.png", "3.png"]
        batch = supply.batch(4, 64)
        assert batch.shape == (4, 3, 64, 64)
        assert 0 <= float(batch.min()) < float(batch.max()) <= 1
        assert supply.state()["queue"] == []

    def test_what_cannot_be_read_is_skipped_and_counted(self, tmp_path: Path) -> None:
        save_image(random_image(80, 70), tmp_path / "good.png")
        (tmp_path / "bad.jpg").write_bytes(b"no picture")
        (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:300])
        nothing = torch.zeros(1, 1, 80, 70)
        save_image(random_image(80, 70), tmp_path / "nothing.png", alpha=nothing)
        (tmp_path / "notes.txt").write_bytes(b"no picture")
        (tmp_path / ".deep").mkdir()
        for name in ("._good.png", ".deep/good.png"):  # as macOS and trash cans leave them
            (tmp_path / name).write_bytes(b"no picture")
        supply = Photographs([tmp_path], seed=0)
        supply.batch(5, 64)
        assert len(supply.paths) == 4
        assert supply.passed_over == "1 file of other kinds skipped (1 .txt)"
        assert {path.name for path in supply.skipped} == {"bad.jpg", "cut.png", "nothing.png"}

    def test_nothing_readable_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "bad.jpg").write_bytes(b"no picture")
        with pytest.raises(ImageError, match=r"none of the 1 pictures can be read, bad\.jpg"):
            Photographs([tmp_path], seed=0).batch(1, 64)

    def test_an_empty_folder_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="no pictures in this folder"):
            Photographs([tmp_path], seed=0)
        with pytest.raises(ImageError, match="no such folder"):
            Photographs([tmp_path / "absent"], seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "super-resolution"}, "needs `factor=4` or `factor=8`"),
        ({"factor": 4}, "`factor` is for `task=super-resolution`"),
        (
            dict.fromkeys(WEIGHTS, 0.0),
            "`style_weight`, `patch_weight`, `content_weight`, `tv_weight` are all 0: give one",
        ),
        (
            {"style_weight": 0.0, "patch_weight": 0.0, "style_size": 256},
            "`style_size` does nothing where `style_weight` and `patch_weight` are 0",
        ),
        (
            {"content_weight": 0.0, "content_layers": ("relu2_1",)},
            "`content_layers` does nothing where",
        ),
        ({"task": "super-resolution", "factor": 8, "crop": 100}, "multiple of `factor=8`"),
        ({"task": "super-resolution", "factor": 4, "style_weight": 2.0}, "`style_weight` is for"),
        ({"task": "super-resolution", "factor": 4, "patch_weight": 0.1}, "`patch_weight` is for"),
        ({"task": "super-resolution", "factor": 4, "start": "impasto"}, "`start` is for"),
        ({"consistency_weight": 2.0}, "`consistency_weight` is for `task=super-resolution`"),
        ({"grain": 0.7}, "`grain` is 0.7: give a number from 0 to 0.5"),
        ({"task": "super-resolution", "factor": 4, "grain": 0.1}, "`grain` is for `task=style`"),
        ({"crop": 32}, "`crop` is 32: give a whole number of at least 64"),
        ({"steps": 0}, "`steps` is 0"),
        ({"learning_rate": 0.0}, "`learning_rate` is 0"),
        ({"style_layers": ("relu1_1:x",)}, "NAME or NAME:WEIGHT"),
        ({"device": "tpu"}, "`device` is 'tpu'"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**options)


def test_layers_follow_from_the_features() -> None:
    paper = TrainConfig(features="vgg16")
    assert list(paper.chosen_style_layers) == ["relu1_2", "relu2_2", "relu3_3", "relu4_3"]
    assert paper.chosen_content_layers == {"relu2_2": 1.0}
    assert "relu5_1" in TrainConfig().chosen_style_layers
    enlarge = TrainConfig(task="super-resolution", factor=4, features="vgg16")
    assert (enlarge.chosen_style_layers, enlarge.chosen_content_layers) == ({}, {"relu2_2": 1.0})
    # The compact network has been taught the first layer of each block only.
    compact = TrainConfig(task="super-resolution", factor=4)
    assert list(compact.chosen_content_layers) == ["relu1_1", "relu2_1"]


def test_the_step_size_rises_and_falls() -> None:
    rates = [schedule(done, 1000) for done in range(1000)]
    assert rates[0] < rates[10] < rates[20]
    assert rates[20] > 0.99
    assert rates[-1] < 0.03
    assert sorted(rates[20:], reverse=True) == rates[20:]


def test_an_enlargement_is_held_to_its_colours(studio: Path) -> None:
    config = config_of(studio, task="super-resolution", factor=4, style_size=512)
    loss = open_trainer(config, Photographs([studio / "photos"], seed=0), None).perceptual_loss
    photograph = random_image(64, 64).float() * 0.8
    assert float(loss(photograph, photograph)[1]["consistency"]) == 0
    assert float(loss(photograph + 0.1, photograph)[1]["consistency"]) == pytest.approx(0.1, 1e-3)


def test_inputs_of_super_resolution_are_eight_bit() -> None:
    small = reduced(random_image(64, 48).float(), 4)
    assert small.shape == (1, 3, 16, 12)
    torch.testing.assert_close(small * 255, (small * 255).round())
