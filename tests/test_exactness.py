"""Tiled equals whole, loss and gradient; and whole equals a plain transcription of the formulas."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
import reference
import torch
from conftest import COMPACT_SHAPE, MATRIX, REFLECT_SHAPE, VGG_SHAPE, random_image, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from objectives import objective_of, setup_of, terms_of
from torch import Tensor
from torch.multiprocessing import reductions

from hires.config.run import Config
from hires.engine.objective import Objective
from hires.engine.replay import Evaluation
from hires.engine.style_terms import style_terms
from hires.features.architecture import Architecture, Pooling
from hires.features.network import Network
from hires.kernels import layers
from hires.kernels.activation_buffer import ActivationBuffer
from hires.losses.style import STYLE_LOSSES
from hires.losses.terms import layers_of as names_of
from hires.tiling.seams import TileSeams

SHAPES = {"vgg19": VGG_SHAPE, "compact": COMPACT_SHAPE, "reflect": REFLECT_SHAPE}
FACTORS = (7.0, 2.0, 3.0)
CPU = torch.device("cpu")
weak_storage: Any = reductions.StorageWeakRef


def layers_of(architecture: Architecture) -> tuple[dict[str, float], dict[str, float]]:
    num_blocks = len(architecture.blocks)
    style = {f"relu{b}_1": 1.0 / b for b in range(1, num_blocks + 1)}
    return style, {f"relu{num_blocks - 1}_2": 1.0}


def build(
    architecture: Architecture,
    style_loss: str,
    size: tuple[int, int],
    *,
    dtype: torch.dtype = torch.float64,
    tile: int | None = None,
    num_kept: int = 1,
    pooling: Pooling = "max",
    device: torch.device = CPU,
    masked: bool = False,
    content_loss: str = "relative",
) -> Objective:
    terms = terms_of(style_loss, layers_of(architecture), FACTORS, content_loss=content_loss)
    network = Network(architecture, random_weights(architecture), pooling=pooling)
    network.prepare(device, dtype, torch.channels_last)
    content, style = random_image(*size, seed=1).to(dtype), random_image(75, 101, seed=2).to(dtype)
    masks = [random_mask(image).to(dtype) if masked else None for image in (content, style)]
    setup = setup_of(network, terms, dtype, tile)
    return objective_of(setup, content, style, masks=masks, num_kept=num_kept)


def random_mask(image: Tensor) -> Tensor:
    """Weights from 0 to 1, with a corner of nothing and a corner of all."""
    height, width = image.shape[2:]
    mask = random_image(height, width, seed=4)[:, :1]
    mask[..., : height // 3, : width // 3] = 0
    mask[..., height // 2 :, width // 2 :] = 1
    return mask


def evaluate(objective: Objective, size: tuple[int, int], device: torch.device = CPU) -> Evaluation:
    canvas = random_image(*size, seed=3).to(device, objective.precision.dtype)
    evaluation = objective(canvas)
    return Evaluation(evaluation.loss, evaluation.terms, evaluation.gradient.clone())


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("style_loss", reference.STYLE)
@pytest.mark.parametrize("shape", SHAPES)
def test_whole_equals_the_formulas(shape: str, style_loss: str) -> None:
    architecture, size = SHAPES[shape], (70, 83)
    objective = build(architecture, style_loss, size)
    found = evaluate(objective, size)
    canvas = random_image(*size, seed=3).requires_grad_()
    style_layers, content_layers = layers_of(architecture)
    loss = reference.objective(
        architecture,
        random_weights(architecture),
        style_loss,
        canvas=canvas,
        content=random_image(*size, seed=1),
        style=random_image(75, 101, seed=2),
        style_layers=style_layers,
        content_layers=content_layers,
        factors=FACTORS,
    )
    (gradient,) = torch.autograd.grad(loss, canvas)
    assert float(found.loss) == pytest.approx(float(loss.detach()), rel=1e-10)
    assert relative(found.gradient, gradient) < 1e-9


CASES: list[tuple[str, str, int]] = [
    *itertools.product(("vgg19", "compact"), (*reference.STYLE, "sliced"), (48, 96)),
    ("reflect", "wasserstein sliced:0.5 central:2", 44),
    ("vgg19", "transport", 48),
    ("reflect", "gram", 44),
    ("reflect", "wasserstein", 44),
]
# Two rows of tiles, and columns enough for tiles that meet no border on either side.
SIZE = (131, 283)


@pytest.mark.parametrize(("shape", "style_loss", "tile"), CASES)
def test_tiled_equals_whole_float64(shape: str, style_loss: str, tile: int) -> None:
    whole = evaluate(build(SHAPES[shape], style_loss, SIZE), SIZE)
    tiled = evaluate(build(SHAPES[shape], style_loss, SIZE, tile=tile, num_kept=2), SIZE)
    assert float(tiled.loss) == pytest.approx(float(whole.loss), rel=1e-12)
    assert relative(tiled.gradient, whole.gradient) <= 1e-12


@pytest.mark.parametrize("style_loss", reference.STYLE)
@pytest.mark.parametrize("shape", ["vgg19", "compact"])
def test_tiled_equals_whole_float32(shape: str, style_loss: str) -> None:
    arguments: dict[str, Any] = {"dtype": torch.float32}
    whole = evaluate(build(SHAPES[shape], style_loss, SIZE, **arguments), SIZE)
    tiled = evaluate(build(SHAPES[shape], style_loss, SIZE, tile=64, **arguments), SIZE)
    assert float(tiled.loss) == pytest.approx(float(whole.loss), rel=1e-5)
    assert relative(tiled.gradient, whole.gradient) <= 1e-5


def test_losses_of_the_same_moments_add_up() -> None:
    """They are measured once."""
    alone = [evaluate(build(COMPACT_SHAPE, name, SIZE), SIZE) for name in ("gram", "wasserstein")]
    style, *others = terms_of("gram", layers_of(COMPACT_SHAPE), FACTORS)
    config = Config(style_loss=("gram:0.5", "wasserstein:2"), style_weight=FACTORS[0])
    (mixed,) = style_terms(config, style.layers, {})  # type: ignore[arg-type]
    assert (mixed.name, mixed.weight) == ("style", 2.5 * FACTORS[0])
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, torch.float64, torch.channels_last)
    content, target = random_image(*SIZE, seed=1), random_image(75, 101, seed=2)
    setup = setup_of(network, (mixed, *others), torch.float64, 64)
    found = evaluate(objective_of(setup, content, target), SIZE)
    gram, wasserstein = (float(one.terms["style"]) for one in alone)
    assert float(found.terms["style"]) == pytest.approx(0.2 * gram + 0.8 * wasserstein, rel=1e-12)


@pytest.mark.parametrize("pooling", ["average", "l2"])
def test_other_poolings_are_exact(pooling: Pooling) -> None:
    whole = evaluate(build(COMPACT_SHAPE, "gram", SIZE, pooling=pooling), SIZE)
    tiled = evaluate(build(COMPACT_SHAPE, "gram", SIZE, pooling=pooling, tile=64), SIZE)
    assert relative(tiled.gradient, whole.gradient) <= 1e-12


@pytest.mark.parametrize("size", [(220, 237), (33, 250), (64, 64), (257, 33)])
def test_borders_and_tiles_inside(size: tuple[int, int]) -> None:
    whole = evaluate(build(COMPACT_SHAPE, "gram", size), size)
    tiled = evaluate(build(COMPACT_SHAPE, "gram", size, tile=32), size)
    assert relative(tiled.gradient, whole.gradient) <= 1e-12


def test_the_number_of_kept_graphs_changes_nothing() -> None:
    losses = []
    for num_kept in (0, 1, 3, 100):
        objective = build(COMPACT_SHAPE, "gram", SIZE, tile=64, num_kept=num_kept)
        losses.append(evaluate(objective, SIZE))
    for other in losses[1:]:
        assert float(other.loss) == pytest.approx(float(losses[0].loss), rel=1e-13)
        assert relative(other.gradient, losses[0].gradient) < 1e-13


# Six tiles are measured; of two whose graphs are kept the first layer is made again, and four run
# a second time and have theirs made again as well.
@pytest.mark.parametrize("failing_call", range(1, 17))
def test_out_of_memory_at_any_call_leaves_the_result_exact(
    failing_call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (131, 283)
    whole = evaluate(build(COMPACT_SHAPE, "gram", size), size)
    objective = build(COMPACT_SHAPE, "gram", size, tile=128, num_kept=2)
    produce, calls = Network.produce, itertools.count(1)

    def failing(*args: Any, **kwargs: Any) -> Iterator[tuple[str, Tensor]]:
        if next(calls) == failing_call:
            raise torch.OutOfMemoryError("injected")
        return produce(*args, **kwargs)

    monkeypatch.setattr(Network, "produce", failing)
    found = evaluate(objective, size)
    assert next(calls) > failing_call
    assert relative(found.gradient, whole.gradient) <= 1e-12


def test_after_a_lack_of_memory_nothing_stays_of_the_pass_that_broke_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU, where graphs keep their maps themselves and not in a buffer."""
    objective = build(COMPACT_SHAPE, "gram", SIZE, tile=96, num_kept=4)
    buffer = ActivationBuffer(0, CPU, objective.network.buffers())
    monkeypatch.setattr(Objective, "_room", lambda _: buffer)
    monkeypatch.setattr(Objective, "_paint", failing_once(Objective._paint))
    made: list[Any] = []
    save, evaluate_once = layers._save_switches, Objective._evaluate

    def noted(ctx: Any, y: Tensor, seen: bool) -> None:
        made.append(weak_storage(y.untyped_storage()))
        save(ctx, y, seen)

    alive: list[int] = []

    def counted(objective: Objective, canvas: Tensor) -> Evaluation:
        gc.collect()
        alive.append(sum(not one.expired() for one in made))
        return evaluate_once(objective, canvas)

    monkeypatch.setattr(layers, "_save_switches", noted)
    monkeypatch.setattr(Objective, "_evaluate", counted)
    evaluate(objective, SIZE)
    assert made
    assert alive == [0, 0]


def failing_once(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method whose first call runs out of memory."""
    calls = itertools.count()

    def failing(*args: Any) -> Any:
        if not next(calls):
            raise torch.OutOfMemoryError("injected")
        return method(*args)

    return failing


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")],
)
def test_a_full_host_is_out_of_memory_as_well(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(build(COMPACT_SHAPE, "gram", SIZE), SIZE)
    objective = build(COMPACT_SHAPE, "gram", SIZE)
    produce, failures = Network.produce, iter([error])

    def failing(*args: Any, **kwargs: Any) -> Iterator[tuple[str, Tensor]]:
        for failure in failures:
            raise failure
        return produce(*args, **kwargs)

    monkeypatch.setattr(Network, "produce", failing)
    found = evaluate(objective, SIZE)
    assert len(objective.plan.tiles) > 1
    assert relative(found.gradient, whole.gradient) <= 1e-12


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = build(COMPACT_SHAPE, "gram", SIZE)

    def failing(*_: Any, **__: Any) -> Iterator[tuple[str, Tensor]]:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Network, "produce", failing)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        evaluate(objective, SIZE)


@pytest.mark.parametrize("method", ["fill", "fold"])
@pytest.mark.parametrize("failing_call", [1, 7, 40, 90, 130])
def test_out_of_memory_at_a_seam_leaves_the_result_exact(
    failing_call: int, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(build(COMPACT_SHAPE, "gram", SIZE), SIZE)
    objective = build(COMPACT_SHAPE, "gram", SIZE, tile=96, num_kept=2)
    real, calls = getattr(TileSeams, method), itertools.count(1)

    def failing(*args: Any) -> Any:
        if next(calls) == failing_call:
            raise torch.OutOfMemoryError("injected")
        return real(*args)

    monkeypatch.setattr(TileSeams, method, failing)
    found = evaluate(objective, SIZE)
    assert next(calls) > failing_call
    assert relative(found.gradient, whole.gradient) <= 1e-12


@pytest.mark.parametrize("style_loss", [*STYLE_LOSSES, "central", "sliced", "transport"])
@pytest.mark.parametrize("shape", SHAPES)
def test_masks_are_exact_in_tiles(shape: str, style_loss: str) -> None:
    size = (150, 203)
    whole = evaluate(build(SHAPES[shape], style_loss, size, masked=True), size)
    tiled = evaluate(build(SHAPES[shape], style_loss, size, masked=True, tile=32, num_kept=3), size)
    plain = evaluate(build(SHAPES[shape], style_loss, size), size)
    assert float(tiled.loss) == pytest.approx(float(whole.loss), rel=1e-12)
    assert relative(tiled.gradient, whole.gradient) <= 1e-12
    assert relative(plain.gradient, whole.gradient) > 0.01


@pytest.mark.parametrize("shape", SHAPES)
def test_self_similarity_is_exact_in_tiles(shape: str) -> None:
    size = (150, 203)
    options: dict[str, Any] = {"masked": True, "content_loss": "self-similarity"}
    whole = evaluate(build(SHAPES[shape], "gram", size, **options), size)
    tiled = evaluate(build(SHAPES[shape], "gram", size, tile=32, num_kept=3, **options), size)
    plain = evaluate(build(SHAPES[shape], "gram", size, masked=True), size)
    assert float(tiled.loss) == pytest.approx(float(whole.loss), rel=1e-12)
    assert relative(tiled.gradient, whole.gradient) <= 1e-12
    assert relative(plain.gradient, whole.gradient) > 0.01


@settings(max_examples=60)
@given(
    st.sampled_from(["zeros", "reflect", "replicate"]),
    st.tuples(st.integers(16, 150), st.integers(16, 150)),
    st.integers(8, 96),
    st.integers(0, 40),
)
def test_any_size_any_tile_any_padding(
    padding: Literal["zeros", "reflect", "replicate"], size: tuple[int, int], tile: int, kept: int
) -> None:
    shape = Architecture(
        blocks=((3, 4), (4,), (5, 5), (4,)), padding=padding, input_padding=padding, matrix=MATRIX
    )
    whole = evaluate(build(shape, "wasserstein", size), size)
    tiled = evaluate(build(shape, "wasserstein", size, tile=tile, num_kept=kept), size)
    assert float(tiled.loss) == pytest.approx(float(whole.loss), rel=1e-12)
    assert relative(tiled.gradient, whole.gradient) <= 1e-11


def test_what_does_not_cross_a_seam_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (64, 640)
    objective = build(VGG_SHAPE, "gram", size, tile=320)
    assert objective.network.reach(names_of(objective.terms)) == (70, 16)
    assert len(objective.plan.tiles) == 2
    wanted = evaluate(objective, size)
    fold = TileSeams.fold

    def forgetful(seams: TileSeams, slope: Tensor, key: str, *others: Any) -> Tensor:
        if key == "3_2":
            for gradient in seams.seams._gradients.values():
                gradient.zero_()
        return fold(seams, slope, key, *others)

    monkeypatch.setattr(TileSeams, "fold", forgetful)
    assert relative(evaluate(objective, size).gradient, wanted.gradient) > 1e-3
