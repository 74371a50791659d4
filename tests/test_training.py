"""Distillation: targets, errors, optimizer and the three phases, on toys."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hires.distill.crops import Crops
from hires.distill.phases import distill
from hires.distill.shampoo import Soap
from hires.distill.teaching import (
    TAPS,
    Student,
    Teacher,
    behind_map,
    feature_error,
    gradient_error,
    gram_error,
    grouping,
    isometry,
    make_teacher,
    whitening,
)
from hires.distill.trainer import Recipe, Trainer
from hires.errors import ImageError
from hires.features.architecture import Architecture
from hires.features.checkpoints import read_checkpoint
from hires.features.network import Network
from hires.image.encode.save import save_image

SCRIPTS = Path(__file__).parent.parent / "scripts"
SHAPE = Architecture(
    blocks=((4,), (4,), (6,), (6, 6), (6,)), input_padding="replicate", shift=(-0.5, -0.5, -0.5)
)
WIDER = Architecture(
    blocks=((4,), (8,), (9,), (9, 9), (9,)), padding="reflect", input_padding="reflect"
)
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    generator = torch.Generator().manual_seed(0)
    for i in range(3):
        coarse = torch.rand(1, 3, 12, 16, generator=generator)
        picture = nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")
        save_image(picture, pictures / f"{i}.png")
    return pictures


def make_network(architecture: Architecture, seed: int) -> Network:
    network = Network(architecture, Student(architecture, seed=seed).weights())
    return network.prepare(CPU, torch.float32, torch.channels_last)


def make_trainer(folder: Path, architecture: Architecture = SHAPE) -> Trainer:
    network = make_network(architecture, 5)
    crops = Crops([folder], seed=1)
    teacher = make_teacher(network, SHAPE, [crops.batch(4, 64)])
    recipe = Recipe(steps=(12, 6, 4), batch=2, size=64, num_canvases=3)
    return Trainer(Student(SHAPE, seed=2), teacher, crops, recipe, CPU)


def random_moment(channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(channels)
    features = torch.rand(500, channels, generator=generator, dtype=torch.float64) ** 3
    return features.T @ features / len(features)


def test_student_computes_what_its_checkpoint_will() -> None:
    student = Student(SHAPE, seed=3)
    network = make_network(SHAPE, 3)
    image = torch.rand(2, 3, 33, 48)
    expected = network(image, TAPS)
    for tap, found in student(image).items():
        # The student runs in bf16.
        assert torch.allclose(found.float(), expected[tap], atol=0.03 * float(expected[tap].max()))


def test_weights_survive_a_round_trip() -> None:
    one, other = Student(SHAPE, seed=0), Student(SHAPE, seed=1)
    other.load_weights(one.weights())
    assert all(torch.equal(one.weights()[key], value) for key, value in other.weights().items())


def test_isometry_keeps_the_inner_product_behind_a_head() -> None:
    gram = random_moment(5)
    head = torch.randn(11, 6, dtype=torch.float64)
    root, shift = isometry(gram, head, 1.0)
    inner = head[:, :-1].T @ head[:, :-1]
    assert torch.allclose(root @ root * (inner * gram).sum(), inner)
    # The cross term of the bias is kept as well: M b = Wᵀ (head's bias), in the same units.
    assert torch.allclose(root @ shift * (inner * gram).sum(), head[:, :-1].T @ head[:, -1])


def test_isometry_without_a_head_changes_only_the_scale() -> None:
    root, shift = isometry(random_moment(4), None, 0.5)
    assert torch.allclose(root, root[0, 0] * torch.eye(4, dtype=torch.float64))
    assert not shift.any()


def test_full_whitening_leaves_unit_moments() -> None:
    gram = random_moment(4)
    matrix = whitening(gram, 1.0)
    assert torch.allclose(matrix @ gram @ matrix, torch.eye(4, dtype=torch.float64), atol=0.05)


def test_grouping_is_non_negative_and_orthonormal() -> None:
    matrix = grouping(random_moment(9), 4)
    assert (matrix >= 0).all()
    assert torch.allclose(matrix @ matrix.T, torch.eye(4, dtype=torch.float64), atol=1e-8)
    assert ((matrix > 0).sum(0) <= 1).all()


def test_targets_have_unit_power(folder: Path) -> None:
    network = make_network(WIDER, 5)
    image = Crops([folder], seed=1).batch(4, 64)
    teacher = make_teacher(network, SHAPE, [image])
    for tap, found in teacher(image).items():
        assert found.shape[1] == SHAPE.layers()[tap].channels
        assert 0.5 < float(found.square().mean()) <= 1.01


def test_errors_are_zero_at_the_target_and_relative_elsewhere() -> None:
    target = torch.rand(2, 3, 8, 8)
    assert not feature_error(target, target).any()
    assert not gram_error(target, target).any()
    assert torch.allclose(gram_error(2 * target, target), torch.full((2,), 9.0))
    mean = target.mean((2, 3), keepdim=True).expand_as(target)
    assert 0.5 < float(feature_error(mean, target).mean()) < 1.5


def test_gram_error_behind_a_head_is_that_of_the_richer_features() -> None:
    target, student = torch.rand(2, 4, 8, 8), torch.rand(2, 4, 8, 8)
    head = torch.randn(9, 5)
    richer = [
        nn.functional.conv2d(x, head[:, :-1, None, None], head[:, -1]) for x in (student, target)
    ]
    expected = 0.5 * gram_error(student, target) + 0.5 * gram_error(*richer)
    assert torch.allclose(gram_error(student, target, head), expected, rtol=1e-3)


def test_head_behind_a_map_gives_the_same_richer_features_up_to_scale() -> None:
    features, head = torch.rand(50, 4).double(), torch.randn(9, 5).double()
    extended = torch.cat([features, torch.ones(50, 1)], 1)
    matrix, shift = torch.randn(4, 4).double(), torch.randn(4).double()
    mapped = torch.cat([features @ matrix.T + shift, torch.ones(50, 1)], 1)
    found = mapped @ behind_map(head, extended.T @ extended / 50, matrix, shift).T
    wanted = extended @ head.T
    assert torch.allclose(found / found.norm(), wanted / wanted.norm())
    assert float(found.var(0, unbiased=False).sum()) == pytest.approx(1)


def test_gradient_error_is_zero_for_equals_and_one_for_nothing() -> None:
    gradient = torch.randn(2, 3, 16, 16)
    assert gradient_error(gradient, gradient) == 0
    assert float(gradient_error(torch.zeros_like(gradient), gradient)) == pytest.approx(1)


def test_soap_solves_a_badly_conditioned_regression() -> None:
    torch.manual_seed(0)
    image = torch.randn(8, 4, 6, 6) * torch.tensor([10.0, 1, 0.1, 0.1])[:, None, None] + 1
    truth = nn.Conv2d(4, 5, 3)
    target = truth(image).detach()
    losses = []
    model = nn.Conv2d(4, 5, 3)
    optimizer = Soap(model.parameters(), learning_rate=0.02, weight_decay=0)
    for _ in range(200):
        loss = (model(image) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 1e-3 * losses[0]


def test_crops_are_seeded(folder: Path) -> None:
    batches = [Crops([folder], seed=7).batch(6, 48) for _ in range(2)]
    assert torch.equal(batches[0], batches[1])
    assert batches[0].shape == (6, 3, 48, 48)
    assert torch.isfinite(batches[0]).all()


def test_crops_larger_than_the_pictures(folder: Path) -> None:
    crop = Crops([folder], seed=0).crop(200)
    assert crop.shape == (1, 3, 200, 200)
    assert 0 <= float(crop.min()) <= float(crop.max()) <= 1


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no pictures"):
        Crops([tmp_path], seed=0)


def test_three_phases_run_and_learn(folder: Path) -> None:
    trainer = make_trainer(folder)
    before = trainer.student.weights()
    reports = list(distill(trainer))
    assert [r.phase for r in reports] == ["blocks"] * 12 + ["joint"] * 6 + ["painting"] * 4
    assert reports[11].errors["features relu4_1"] < reports[0].errors["features relu4_1"]
    assert "gradient" in reports[-1].errors
    assert "gradient" not in reports[-2].errors
    assert all(torch.isfinite(value).all() for value in trainer.average.values())
    assert any(not torch.equal(before[key], value) for key, value in trainer.average.items())


def test_a_wider_teacher_is_regrouped(folder: Path) -> None:
    trainer = make_trainer(folder, WIDER)
    assert isinstance(trainer.teacher, Teacher)
    assert len(list(distill(trainer))) == 22


def test_a_resumed_run_is_the_same_run(folder: Path, tmp_path: Path) -> None:
    whole, first = make_trainer(folder), make_trainer(folder)
    expected = [report.errors for _, report in zip(range(16), distill(whole), strict=False)]
    found = [report.errors for _, report in zip(range(9), distill(first), strict=False)]
    torch.save(first.state(), tmp_path / "state")
    second = make_trainer(folder)
    second.load_state(torch.load(tmp_path / "state", weights_only=True))
    found += [report.errors for _, report in zip(range(7), distill(second), strict=False)]
    assert found == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_command_writes_a_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import train_compact

    state = {"conv0.weight": 2 * torch.eye(3)[:, :, None, None], "conv0.bias": torch.zeros(3)}
    widths = {"11": (3, 4), "21": (4, 5), "31": (5, 6), "41": (6, 6), "42": (6, 6), "51": (6, 6)}
    for key, (before, after) in widths.items():
        state[f"conv{key}.weight"] = torch.randn(after, before, 3, 3) / (3 * before**0.5)
        state[f"conv{key}.bias"] = torch.zeros(after)
        state[f"conv{key}_aux.weight"] = torch.randn(7, after, 1, 1)
        state[f"conv{key}_aux.bias"] = torch.randn(7)
    torch.save(state, tmp_path / "teacher.pth")
    monkeypatch.setattr(train_compact, "COMPACT", SHAPE)
    out = tmp_path / "out.safetensors"
    arguments = f"--teacher {tmp_path}/teacher.pth --images {folder} --out {out} --steps 5"
    options = "--crop 64 --batch 2 --device cpu --save-every 1 --log-every 1"
    assert train_compact.main(f"{arguments} {options}".split()) == 0
    assert read_checkpoint(out).architecture == SHAPE
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 5
    assert train_compact.main(f"{arguments} {options} --resume".split()) == 0
    assert sys.modules["train_compact"] is train_compact
