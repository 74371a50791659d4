"""Tiles are chosen well, fit the memory, and what is counted for their graphs is enough."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from conftest import COMPACT_SHAPE, REFLECT_SHAPE, VGG_SHAPE, random_image, random_weights
from objectives import objective_of, setup_of, terms_of
from torch import Tensor

from hires.engine.objective import Objective
from hires.engine.replay import Evaluation
from hires.errors import ConfigError
from hires.features.architecture import VGG19, Architecture, Pooling
from hires.features.checkpoints import architecture_of
from hires.features.costs import costs_of
from hires.features.network import Network, random_network
from hires.kernels.activation_buffer import ActivationBuffer
from hires.losses.style import STYLE_LOSSES
from hires.tiling.geometry import Tile, grid, round_up
from hires.tiling.planning import (
    MIN_TILE,
    Costs,
    TileMemoryError,
    TilePlan,
    plan_tiles,
    replan,
    smaller_plan,
)

CPU = torch.device("cpu")
NAMES = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
SIZE = (131, 283)

Layers = tuple[tuple[str, ...], tuple[str, ...]]


def network_of(
    architecture: Architecture, *, pooling: Pooling = "max", dtype: torch.dtype = torch.float32
) -> Network:
    network = Network(architecture, random_weights(architecture), pooling=pooling)
    return network.prepare(CPU, dtype, torch.channels_last)


def planned(
    size: tuple[int, int], memory: int, names: tuple[str, ...] = NAMES, tile: int | None = None
) -> TilePlan:
    return plan_tiles(costs(names), size, memory=memory, tile=tile)


def costs(names: tuple[str, ...] = NAMES) -> Costs:
    return costs_of(network_of(COMPACT_SHAPE), names, torch.float32)


def needed_for(tiles: tuple[Tile, ...], num_kept: int, names: tuple[str, ...] = NAMES) -> int:
    """Graphs, the widest point of a pass, and the lines that wait at seams or cross them."""
    remakes = len(tiles) > 1
    plan = TilePlan(tiles, 0, num_kept, 0, remakes)
    graphs = costs(names).kept_bytes(plan)
    besides = costs(names).besides[remakes]
    largest = max(tile.region.num_pixels for tile in tiles)
    waiting = sum(incoming(tile) for tile in tiles[: len(tiles) - num_kept])
    crossing = 0
    if len(tiles) > 1:
        width = max(tile.region.columns.stop for tile in tiles)
        crossing = width + max(tile.region.rows.length for tile in tiles)
    return math.ceil(graphs + largest * besides + (waiting + crossing) * SEAM_BYTES)


def incoming(tile: Tile) -> int:
    """Pixels along the sides at which a tile takes over what others left."""
    (above, _), (left, _) = tile.goes_on
    height, width = tile.region.size
    return above * width + left * height


# Two lines of what every convolution of COMPACT_SHAPE up to relu4_1 sees, but for the pixels.
SEAM_BYTES = 2 * 4 * (4 + (4 + 6) / 2 + (8 + 8 + 8) / 4 + 10 / 8) * 2.25


def work_of(tiles: tuple[Tile, ...], num_kept: int) -> float:
    """Passes over pixels, of which a seam and a tile cost some more."""
    pixels = [tile.region.num_pixels for tile in tiles]
    per_tile = 7.6e8 / network_of(COMPACT_SHAPE).layers["relu4_1"].multiply_adds
    extra = 6 * sum(incoming(tile) for tile in tiles) + per_tile * len(tiles)
    return 2 * (sum(pixels) + extra) + sum(pixels[: len(tiles) - num_kept])


def least_work(size: tuple[int, int], memory: int) -> float:
    """Of all sides and all numbers of kept graphs that fit a memory."""
    halo, alignment = network_of(COMPACT_SHAPE).reach(NAMES)
    found = []
    for side in range(round_up(MIN_TILE, alignment), round_up(max(size), alignment) + 1, alignment):
        tiles = grid(size, side, halo=halo, alignment=alignment)
        fitting = (n for n in range(len(tiles), 0, -1) if needed_for(tiles, n) <= memory)
        found += [work_of(tiles, num_kept) for num_kept in itertools.islice(fitting, 1)]
    return min(found)


def test_a_canvas_that_fits_is_one_tile() -> None:
    (whole,) = grid(SIZE, 1024, halo=1, alignment=8)
    memory = needed_for((whole,), 1)
    plan = planned(SIZE, memory)
    assert plan == TilePlan((whole,), round_up(max(SIZE), 8), 1, memory, remakes=False)
    assert len(planned(SIZE, memory - 1).tiles) > 1


@pytest.mark.parametrize("size", [(300, 420), (640, 200), (511, 769)])
@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.8, 0.95, 1.0])
def test_no_other_side_has_clearly_less_work(size: tuple[int, int], share: float) -> None:
    (whole,) = grid(size, 1024, halo=1, alignment=8)
    memory = int(needed_for((whole,), 1) * share)
    plan = planned(size, memory)
    # Not every side is tried, only one in steps of six percent; and memory is worth two percent.
    assert work_of(plan.tiles, plan.num_kept) <= 1.04 * least_work(size, memory)
    assert plan.bytes_needed == needed_for(plan.tiles, plan.num_kept)
    assert plan.bytes_needed <= memory
    assert plan.remakes == (len(plan.tiles) > 1)


def test_all_graphs_are_kept_where_the_memory_allows_it() -> None:
    tiles = planned(SIZE, 2**40, tile=64).tiles
    memory = needed_for(tiles, len(tiles))
    assert planned(SIZE, memory, tile=64) == TilePlan(tiles, 64, len(tiles), memory, remakes=True)
    fewer = planned(SIZE, memory - 1, tile=64)
    assert (fewer.tiles, fewer.num_kept) == (tiles, len(tiles) - 1)


A0 = (14043, 9933)
COMPACT, VGG = architecture_of("compact"), VGG19


@pytest.mark.parametrize(
    ("architecture", "memory", "tile"),
    [(COMPACT, 24, None), (COMPACT, 180, None), (VGG, 80, None), (VGG, 180, 14043)],
)
def test_no_map_of_a_tile_has_more_values_than_a_gpu_counts(
    architecture: Architecture, memory: int, tile: int | None
) -> None:
    """cuDNN's numbers have 32 bits; A0 at 300 dpi has 139.5 megapixels."""
    # A device without memory stands for one: there is nothing to compute here.
    network = random_network(architecture).to(torch.device("meta"))
    costs = costs_of(network, (*NAMES, "relu5_1", "relu4_2"), torch.bfloat16)
    plan = plan_tiles(costs, A0, memory=memory * 2**30, tile=tile)
    borrowed = 3  # two lines before a tile and a row of padding after it
    for layer, _ in costs.graphs[0]:
        for one in plan.tiles:
            sides = (-(-side // layer.stride) + borrowed for side in one.region.size)
            assert layer.channels * math.prod(sides) < 2**31
    assert sum(one.region.num_pixels for one in plan.tiles) == math.prod(A0)
    uncapped = plan_tiles(
        replace(costs, most_pixels=math.inf), A0, memory=memory * 2**30, tile=tile
    )
    assert len(uncapped.tiles) == 1 < len(plan.tiles)


def test_a_cpu_counts_on() -> None:
    costs = costs_of(random_network(VGG), (*NAMES, "relu5_1"), torch.bfloat16)
    assert len(plan_tiles(costs, A0, memory=2**40).tiles) == 1


def test_a_budget_too_small_for_a_tile_is_refused_with_one_that_is_enough() -> None:
    with pytest.raises(TileMemoryError, match="`memory=1 B` is too small") as error:
        planned((511, 769), 1)
    needed = error.value.needed
    assert planned((511, 769), needed).bytes_needed == needed
    with pytest.raises(TileMemoryError):
        planned((511, 769), needed - 1)


def test_a_picture_that_the_deepest_layer_cannot_see_is_refused() -> None:
    with pytest.raises(ConfigError, match="too small for the layers at 283x7"):
        planned((7, 283), 2**40)


def test_the_tiles_of_an_earlier_run() -> None:
    plan = planned(SIZE, 2**40, tile=64)
    assert replan(costs(), SIZE, plan, side=64, num_kept=plan.num_kept) is plan
    smaller = replan(costs(), SIZE, plan, side=32, num_kept=2)
    wanted = planned(SIZE, 2**40, tile=32)
    assert (smaller.tiles, smaller.side, smaller.num_kept) == (wanted.tiles, 32, 2)
    assert smaller.remakes


@pytest.mark.parametrize("size", [(131, 283), (511, 769)])
def test_a_smaller_plan_takes_less_memory_until_there_is_none(size: tuple[int, int]) -> None:
    plan = planned(size, 2**40, tile=128)
    needed = []
    with contextlib.suppress(TileMemoryError):
        for _ in range(100):
            needed.append(costs().bytes_needed(plan))
            plan = smaller_plan(costs(), size, plan)
    assert 4 < len(needed) < 100
    assert all(less < more for more, less in itertools.pairwise(needed))


LAYERS: list[Layers] = [
    (("relu1_1", "relu2_1", "relu3_1"), ("relu2_2",)),
    (("relu1_1", "relu2_1"), ("relu1_1",)),
    (("relu2_1", "relu3_1"), ("relu2_2",)),
    (("conv1_1", "conv2_1", "conv3_1"), ("conv2_2",)),
    (("conv1_1", "relu1_1", "conv2_2"), ("relu2_2",)),
    (("relu1_1", "relu3_1"), ("pool1", "pool2")),
    ((), ("relu2_2",)),
]
SHAPES = {"vgg19": VGG_SHAPE, "compact": COMPACT_SHAPE, "reflect": REFLECT_SHAPE}
CASES = [
    *itertools.product(["vgg19", "compact"], LAYERS, ["max"]),
    *itertools.product(["reflect"], [LAYERS[0], LAYERS[3], LAYERS[5]], ["max", "average", "l2"]),
    *itertools.product(["compact"], [LAYERS[0], LAYERS[3], LAYERS[5]], ["average", "l2"]),
]


def objective_with(
    shape: str,
    layers: Layers,
    pooling: Pooling,
    *,
    style_loss: str = "gram",
    dtype: torch.dtype = torch.float32,
    tile: int | None = 64,
) -> Objective:
    style, content = (dict.fromkeys(names, 1.0) for names in layers)
    terms = terms_of(style_loss, (style, content), (3, 2, 1))
    network = network_of(SHAPES[shape], pooling=pooling, dtype=dtype)
    picture, target = (random_image(*SIZE, seed=seed).float() for seed in (1, 2))
    return objective_of(setup_of(network, terms, dtype, tile), picture, target)


def evaluate(objective: Objective) -> Evaluation:
    found = objective(random_image(*SIZE, seed=3).float())
    return replace(found, gradient=found.gradient.clone())


@pytest.fixture
def left_outside(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Shapes of what graphs saved and the buffer did not take."""
    found: list[torch.Size] = []
    keep = ActivationBuffer.save

    def watched(buffer: ActivationBuffer, tensor: Tensor) -> Tensor:
        kept = keep(buffer, tensor)
        if kept is tensor and not buffer.lasts(tensor):
            found.append(tensor.shape)
        return kept

    monkeypatch.setattr(ActivationBuffer, "save", watched)
    return found


@pytest.mark.parametrize(("shape", "layers", "pooling"), CASES, ids=str)
def test_the_buffer_holds_all_that_graphs_keep_and_remaking_changes_nothing(
    shape: str, layers: Layers, pooling: Pooling, left_outside: list[torch.Size]
) -> None:
    objective = objective_with(shape, layers, pooling)
    plan, found = objective.plan, []
    for remakes, num_kept in itertools.product((False, True), (0, 2, len(plan.tiles))):
        objective.plan = replace(plan, remakes=remakes, num_kept=num_kept)
        found.append(evaluate(objective))
        assert not left_outside
    for kept, remade in zip(found[:3], found[3:], strict=True):
        assert torch.equal(kept.loss, remade.loss)
        assert torch.equal(kept.gradient, remade.gradient)


@pytest.mark.parametrize("style_loss", STYLE_LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_buffer_is_large_enough_for_every_loss(
    style_loss: str, dtype: torch.dtype, left_outside: list[torch.Size]
) -> None:
    objective = objective_with("compact", LAYERS[0], "max", style_loss=style_loss, dtype=dtype)
    evaluate(objective)
    objective.plan = replace(objective.plan, remakes=False)
    evaluate(objective)
    assert not left_outside


def test_the_buffer_is_not_much_larger_than_it_need_be() -> None:
    objective = objective_with("compact", LAYERS[0], "max", tile=None)
    evaluate(objective)
    buffer = objective._buffer
    assert buffer is not None
    assert buffer.num_bytes == objective._costs.kept_bytes(objective.plan)
    assert 0.8 * buffer.num_bytes < buffer.used_bytes < buffer.num_bytes


@pytest.mark.parametrize("num_kept", [0, 2, 100])
def test_an_evaluation_again_is_the_same(num_kept: int) -> None:
    objective = objective_with("compact", LAYERS[0], "max")
    objective.plan = replace(objective.plan, num_kept=min(num_kept, len(objective.plan.tiles)))
    first, second = evaluate(objective), evaluate(objective)
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(first.gradient, second.gradient)


def test_an_evaluation_that_broke_off_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objective = objective_with("compact", LAYERS[0], "max")
    wanted = evaluate(objective)
    produce, calls = Network.produce, itertools.count(1)

    def interrupted(
        network: Network, image: Tensor, names: tuple[str, ...], **arguments: object
    ) -> Iterator[tuple[str, Tensor]]:
        stops = next(calls) == 3
        for name, features in produce(network, image, names, **arguments):  # type: ignore[arg-type]
            if stops and name == "relu2_1":
                raise KeyboardInterrupt
            yield name, features

    with monkeypatch.context() as patch:
        patch.setattr(Network, "produce", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(objective)
    assert torch.is_grad_enabled()
    found = evaluate(objective)
    assert torch.equal(found.gradient, wanted.gradient)
    # No hook is left over either.
    x = torch.ones(3).requires_grad_()
    y = x.exp()
    kept: Tensor = y.grad_fn._saved_result  # type: ignore[union-attr]
    assert kept.data_ptr() == y.data_ptr()
