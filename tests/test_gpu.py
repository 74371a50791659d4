"""All that runs on a CUDA device: every loss, precision, lack of memory, apply, training, resume.

With ``-m gpu`` on a card; without, on the CPU, so that nothing here goes stale.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, REFLECT_SHAPE, random_image, random_weights
from forward_models import STYLE, plain, random_model
from objectives import objective_of, setup_of
from torch import Tensor

from hires.bench.checks import CheckExercise
from hires.bench.kernels import MASKS, POOLINGS
from hires.config.feedforward import ApplyConfig, TrainConfig
from hires.config.run import Config
from hires.engine.objective import Objective
from hires.engine.progress import Progress
from hires.engine.self_check import TOLERANCES, difference, evaluated
from hires.engine.setup import Setup, terms_of
from hires.engine.snapshot import read_snapshot, write_snapshot
from hires.engine.stylize import iter_stylize
from hires.features.architecture import Architecture
from hires.features.checkpoints import load_features, write_checkpoint
from hires.features.network import Network
from hires.feedforward import training as forward_training
from hires.feedforward.apply import Inference
from hires.feedforward.design import Design
from hires.feedforward.perceptual_loss import PerceptualLoss
from hires.feedforward.training import Trainer
from hires.kernels.gradient_masks import max_pool_2x2, pack_positive, pass_positive, unpool_2x2
from hires.kernels.matrix_roots import CrossTrace, roots_unseen
from hires.kernels.precision import Precision

CPU = torch.device("cpu")
FP64 = Precision(torch.float64)
PRECISIONS = {
    "fp32": Precision(torch.float32),
    "tf32": Precision(torch.float32, tf32=True),
    "bf16": Precision(torch.bfloat16),
    "fp16": Precision(torch.float16),
}
# Relative errors of loss and gradient: few bits turn ReLUs and maxima another way.
ROUNDING = {"fp32": (1e-5, 1e-4), "tf32": (5e-3, 0.3), "fp16": (5e-3, 0.3), "bf16": (2e-2, 0.6)}
# Two rows of tiles and three columns.
SIZE, TILE = (131, 203), 64
LOSSES: dict[str, dict[str, Any]] = {
    "gram": {"style_loss": "gram"},
    "meanstd": {"style_loss": "meanstd"},
    "wasserstein": {"style_loss": "wasserstein"},
    "tutorial": {
        "style_loss": "gram-mse",
        "content_loss": "mse",
        "layer_reduction": "sum",
        "style_weight": 1e6,
        "content_weight": 1.0,
        "patch_weight": 0.0,
    },
    "d2l": {"style_loss": "gram-mse", "tv_loss": "absolute", "style_layers": ("conv3_1",)},
    "keras": {"style_loss": "gram-sum", "content_loss": "sum", "tv_loss": "power"},
    "average pooling": {"pooling": "average"},
    "l2 pooling": {"pooling": "l2"},
}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return CPU if request.param == "cpu" else found_cuda()


@pytest.fixture
def cuda() -> torch.device:
    return found_cuda()


def found_cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("features") / "tiny.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    return str(path)


# ---- loss and gradient


def build(
    device: torch.device,
    precision: Precision = FP64,
    *,
    tile: int | None = None,
    shape: Architecture = COMPACT_SHAPE,
    masked: bool = False,
    **settings: Any,
) -> tuple[Objective, Tensor]:
    """An objective as a configuration has it, and a canvas."""
    config = Config(**settings)
    network = Network(shape, random_weights(shape), pooling=config.pooling)
    network.prepare(device, precision.dtype, precision.memory_format)
    setup = setup_of(network, terms_of(config), precision.dtype, tile)
    wide = torch.promote_types(precision.dtype, torch.float32)
    content, style, canvas = (
        random_image(*size, seed=seed).to(wide)
        for seed, size in enumerate((SIZE, (75, 101), SIZE), start=1)
    )
    masks = [_spots(image) if masked else None for image in (content, style)]
    setup = replace(setup, precision=precision)
    return objective_of(setup, content, style, masks=masks, num_kept=2), canvas.to(device)


def _spots(image: Tensor) -> Tensor:
    """Weights with a corner of nothing and a corner of all."""
    mask = random_image(image.shape[2], image.shape[3], seed=4)[:, :1].to(image.dtype)
    mask[..., :40, :40] = 0
    mask[..., 50:, 50:] = 1
    return mask


def check(found: dict[str, float], loss: float, gradient: float) -> None:
    assert found["loss_rel"] <= loss, found
    assert found["gradient_rel_l2"] <= gradient, found


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_that_of_a_cpu_and_its_tiles_that_of_the_whole(
    name: str, masked: bool, device: torch.device
) -> None:
    on_cpu = evaluated(*build(CPU, masked=masked, **LOSSES[name]))
    whole = on_cpu if device == CPU else evaluated(*build(device, masked=masked, **LOSSES[name]))
    tiled = evaluated(*build(device, tile=TILE, masked=masked, **LOSSES[name]))
    check(difference(whole, on_cpu), 1e-9, 1e-9)
    # A GPU takes matrix roots in another way, which has fewer digits to spare.
    limit = 1e-12 if device == CPU else 1e-10
    check(difference(tiled, whole), limit, limit)


def test_reflected_borders(device: torch.device) -> None:
    settings: dict[str, Any] = {
        "shape": REFLECT_SHAPE,
        "style_layers": ("relu1_1", "relu2_1", "relu3_1"),
        "content_layers": ("relu2_2",),
    }
    whole = evaluated(*build(CPU, **settings))
    check(difference(evaluated(*build(device, tile=44, **settings)), whole), 1e-9, 1e-9)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["gram", "wasserstein"])
def test_every_precision_is_near_float64_and_its_tiles_near_the_whole(
    name: str, precision: str, device: torch.device
) -> None:
    exact = evaluated(*build(CPU, **LOSSES[name]))
    whole = evaluated(*build(device, PRECISIONS[precision], **LOSSES[name]))
    tiled = evaluated(*build(device, PRECISIONS[precision], tile=TILE, **LOSSES[name]))
    loss, gradient = ROUNDING[precision]
    check(difference(whole, exact), loss, gradient)
    check(difference(tiled, whole), loss / 4, gradient / 4)


@pytest.mark.gpu
def test_fp32_is_not_tf32(cuda: torch.device) -> None:
    exact = evaluated(*build(CPU))
    errors = {
        name: difference(evaluated(*build(cuda, PRECISIONS[name])), exact)["gradient_rel_l2"]
        for name in ("fp32", "tf32")
    }
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("no TF32")
    assert 10 * errors["fp32"] < errors["tf32"]


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_leaves_the_range_of_fp16(name: str, device: torch.device) -> None:
    loss, gradient = evaluated(*build(device, PRECISIONS["fp16"], tile=TILE, **LOSSES[name]))
    assert loss > 0
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.norm()) > 0


# ---- kernels


def test_roots_on_a_device_are_those_of_a_cpu(device: torch.device) -> None:
    factors = [random_image(24, 60, seed=seed)[0, 0] - 0.5 for seed in (1, 2)]
    covariance, root = (factor @ factor.T for factor in factors)
    found = []
    for where in (CPU, device):
        matrix = covariance.to(where).requires_grad_()
        with roots_unseen():
            trace: Tensor = CrossTrace.apply(matrix, root.to(where))
        (slope,) = torch.autograd.grad(trace, [matrix])
        found.append((trace.detach().cpu(), slope.cpu()))
    for mine, wanted in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-6, atol=1e-9)


def test_sums_of_rows_are_those_of_float64(device: torch.device) -> None:
    found = CheckExercise(str(device), small=True).sums()
    assert found["passed"], found


def maps(device: torch.device) -> Iterator[Tensor]:
    """Feature maps with ties, zeros and odd sides."""
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        for channels, height, width in ((64, 32, 48), (10, 31, 45), (3, 2, 3), (16, 64, 17)):
            x = (random_image(channels, height * width)[0, 0] * 16 - 8).round() / 8
            shaped = x.view(1, channels, height, width).to(device, dtype)
            yield shaped.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("way", [way for way in MASKS if way != "eager"])
def test_fused_masks_are_the_eager_ones_bit_by_bit(way: str, device: torch.device) -> None:
    pack, through = MASKS[way]
    for x in maps(device):
        packed, gradient = pack_positive(x), torch.randn_like(x)
        assert torch.equal(pack(x), packed)
        assert torch.equal(through(gradient, packed), pass_positive(gradient, packed))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("way", [way for way in POOLINGS if way != "eager"])
def test_fused_poolings_are_the_eager_ones_bit_by_bit(
    way: str, relu: bool, device: torch.device
) -> None:
    pool, unpool = POOLINGS[way]
    for x in maps(device):
        pooled, switches = max_pool_2x2(x, relu=relu, switched=True)
        mine = pool(x, relu=relu, switched=True)
        assert switches is not None
        assert mine[1] is not None
        assert torch.equal(mine[0], pooled)
        assert torch.equal(mine[1], switches)
        gradient, size = torch.randn_like(pooled), (x.shape[2], x.shape[3])
        assert torch.equal(unpool(gradient, switches, size), unpool_2x2(gradient, switches, size))


# ---- lack of memory


def allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


# Six tiles are measured, of two the graphs are kept, and four run a second time.
@pytest.mark.parametrize("failing_call", [1, 3, 6, 8, 11])
def test_a_lack_of_memory_at_any_call_leaves_the_result_exact_and_nothing_else(
    failing_call: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluated(*build(device, style_loss="gram", patch_weight=0.0))
    objective, canvas = build(device, tile=96, style_loss="gram", patch_weight=0.0)
    evaluated(objective, canvas)
    before, produce, calls = allocated(device), Network.produce, itertools.count(1)

    def failing(*args: Any, **options: Any) -> Iterator[tuple[str, Tensor]]:
        if next(calls) == failing_call:
            raise torch.OutOfMemoryError("injected")
        return produce(*args, **options)

    monkeypatch.setattr(Network, "produce", failing)
    found = evaluated(objective, canvas)
    assert next(calls) > failing_call
    check(difference(found, whole), *TOLERANCES["float64"])
    assert allocated(device) < before + 2**20


@pytest.fixture
def small_card(cuda: torch.device) -> Iterator[torch.device]:
    """A card on which this process may take two GiB more than it has."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    most = torch.cuda.memory_reserved() + 2**31
    torch.cuda.set_per_process_memory_fraction(min(most / total, 1.0))
    yield cuda
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def large(device: torch.device) -> tuple[Setup, Tensor, Tensor]:
    """Some seven GiB of feature maps, as one tile."""
    network = load_features("compact").prepare(device, torch.float32, torch.channels_last)
    # Smaller tiles do not help terms of pixels.
    setup = setup_of(network, terms_of(Config(patch_weight=0.0)), torch.float32)
    return setup, random_image(3072, 4096, seed=1).float(), random_image(256, 300, seed=2).float()


@pytest.mark.gpu
def test_a_card_that_is_too_small_gets_smaller_tiles(small_card: torch.device) -> None:
    setup, content, style = large(small_card)
    objective = objective_of(setup, content, style)
    assert len(objective.plan.tiles) == 1
    canvas = content.flip(3).to(small_card)
    found = evaluated(objective, canvas)
    assert len(objective.plan.tiles) > 1
    torch.cuda.set_per_process_memory_fraction(1.0)
    whole = evaluated(objective_of(setup, content, style), canvas)
    check(difference(found, whole), 1e-4, 1e-3)


# ---- whole runs

RUNS: dict[str, dict[str, Any]] = {
    "adam": {"init": "noise"},
    "bf16": {"precision": "bf16", "average": 0.0},
    "tiled": {"tile": 32, "sizes": (48, 96)},
    "lbfgs": {"optimizer": "lbfgs"},
    "wolfe": {"optimizer": "lbfgs-wolfe", "tile": 32},
    "keras": {"preset": "keras", "sizes": (48, 64), "iterations": (5, 3), "restart": 4},
}


def steps(device: torch.device, features: str, name: str, **more: Any) -> Iterator[Progress]:
    settings: dict[str, Any] = {"sizes": (48, 80), "iterations": (3,), "precision": "fp32"}
    config = Config(device=str(device), features=features, **{**settings, **RUNS[name]})
    content, style = random_image(60, 80, seed=1).float(), random_image(72, 64, seed=2).float()
    return iter_stylize(content, style, config, **more)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_bit_by_bit(
    name: str, features: str, device: torch.device, tmp_path: Path
) -> None:
    whole, pictures = [], []
    for number, step in enumerate(steps(device, features, name)):
        whole.append((step.rung.index, step.iteration, step.loss, step.terms))
        write_snapshot(step.snapshot(), tmp_path / f"{number}")
        pictures.append(step.picture().cpu())
    # Within a rung, at its end, and after it; elsewhere tests/test_snapshots.py does it all.
    for number in (0, 2, 3) if device.type == "cuda" else (2,):
        resume = read_snapshot(tmp_path / f"{number}")
        rest = []
        for step in steps(device, features, name, resume=resume):
            rest.append((step.rung.index, step.iteration, step.loss, step.terms))
        assert rest == whole[number:]
        assert torch.equal(step.picture().cpu(), pictures[-1])


@pytest.mark.parametrize("name", RUNS)
def test_a_run_begins_as_on_a_cpu(name: str, features: str, device: torch.device) -> None:
    found, wanted = (next(steps(where, features, name)).loss for where in (device, CPU))
    assert found == pytest.approx(wanted, rel=1e-2 if name == "bf16" else 1e-4)


# ---- networks that paint in one pass


@pytest.mark.parametrize("tile", [None, 40])
@pytest.mark.parametrize("precision", ["fp64", *PRECISIONS])
def test_a_network_is_applied_as_on_a_cpu(
    precision: str, tile: int | None, device: torch.device
) -> None:
    model, image = random_model(STYLE), random_image(93, 118)
    config = ApplyConfig(device=str(device), tile=tile)
    inference = Inference(model, config, precision=PRECISIONS.get(precision, FP64))
    found = inference.apply(image if precision == "fp64" else image.float())
    error = (found.double() - plain(STYLE, model.weights, image)).abs()
    if precision in ("fp64", "fp32"):
        assert float(error.max()) <= (1e-9 if precision == "fp64" else 1e-4)
    else:
        assert float(error.mean()) <= 0.03


class _Photographs:
    """Photographs that are made up."""

    paths: tuple[Path, ...] = ()

    def batch(self, number: int, side: int) -> Tensor:
        return torch.cat([random_image(side, side, seed=seed).float() for seed in range(number)])


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("task", ["style", "super-resolution"])
def test_a_training_has_the_losses_of_a_cpu(
    task: Any,
    precision: Any,
    features: str,
    device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if device.type == "cpu" and precision == "tf32":
        pytest.skip("a CPU has none")
    design = (
        Design(widths=(4, 6, 8), num_blocks=1, kernel=3)
        if task == "style"
        else Design(task=task, factor=4, widths=(6,), num_blocks=1, kernel=3)
    )
    monkeypatch.setattr(forward_training, "design_of", lambda _: design)
    style = random_image(100, 90, seed=9).float() if task == "style" else None
    photographs: Any = _Photographs()
    losses = []
    ways: list[tuple[torch.device, Any]] = [(CPU, "fp32"), (device, precision)]
    for where, how in ways:
        options: dict[str, Any] = {"style_size": 100} if task == "style" else {"factor": 4}
        config = TrainConfig(
            task=task,
            features=features,
            precision=how,
            steps=3,
            batch_size=2,
            crop=64,
            **options,
        )
        trainer = Trainer(config, photographs, PerceptualLoss(config, style, where), where)
        losses.append([report.loss for report in trainer.steps()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3 if precision == "fp32" else 0.1)
