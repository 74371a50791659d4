"""What hires asks of a GPU, counted without one: kernels, synchronisations, memory.

Budgets are what is needed today, rounded up by a few percent: who needs more should know why.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from cuda_dry_run import (
    CUDA,
    CachingAllocator,
    Counter,
    ExpandableAllocator,
    applied,
    dry_run,
    ladder_on_card,
    network_of,
    painting,
    stand_in,
    trainer,
)
from objectives import objective_of, setup_of, terms_of
from torch import Tensor

from hires.bench.exercises import VGG19_TO_RELU5_1
from hires.config.run import Config
from hires.config.values import parse_bytes
from hires.engine.budget import LIBRARY_BYTES
from hires.engine.estimate import CONTEXT_BYTES
from hires.engine.setup import Setup
from hires.engine.setup import terms_of as terms_of_config
from hires.features.checkpoints import load_features
from hires.features.network import Network
from hires.kernels import fused
from hires.kernels.precision import Precision
from hires.tiling.planning import TileMemoryError, TilePlan, smaller_plan

MIB, GIB = 2**20, 2**30
A0 = (9933, 14043)
# Of a network that paints in one pass.
WEIGHTS = 16 * MIB

# Read where tensors are real.
SHAPES = {"vgg": VGG19_TO_RELU5_1, "compact": load_features("compact").architecture}


@pytest.fixture
def counter() -> Iterator[Counter]:
    with dry_run() as counter:
        yield counter


def check_step(
    name: str, size: tuple[int, int], *, kernels: int, **options: Any
) -> tuple[TilePlan, Counter]:
    """The second step of a rung stays within its budgets."""
    with dry_run() as counter:
        begun = painting(SHAPES[name], size, **options)
        begun.run.step()
        counter.restart()
        before = counter.allocator.allocated
        begun.run.step()
    assert counter.num_kernels <= kernels, counter.lines.most_common(8)
    assert counter.num_waits <= 2, counter.waits
    assert counter.allocator.allocated == before
    assert counter.allocator.peak_allocated <= begun.num_bytes - CONTEXT_BYTES
    return begun.plan, counter


@pytest.fixture(scope="module")
def one_tile() -> tuple[TilePlan, Counter]:
    return check_step("compact", (512, 512), kernels=2050)


def test_blocks_are_split_merged_and_used_again() -> None:
    allocator = CachingAllocator()
    first = allocator.allocate(12 * MIB)
    assert (allocator.allocated, allocator.reserved) == (12 * MIB, 12 * MIB)
    allocator.free(first)
    parts = [allocator.allocate(5 * MIB) for _ in range(2)]
    assert (allocator.allocated, allocator.reserved) == (10 * MIB, 12 * MIB)
    for part in parts:
        allocator.free(part)
    allocator.allocate(12 * MIB - 1)
    assert (allocator.allocated, allocator.reserved) == (12 * MIB, 12 * MIB)
    allocator.allocate(1)  # Small ones lie elsewhere.
    assert (allocator.allocated, allocator.reserved) == (12 * MIB + 512, 14 * MIB)
    assert allocator.peak_allocated == 12 * MIB + 512


def test_a_card_that_is_full_releases_what_is_free_and_says_so_when_nothing_is() -> None:
    allocator = CachingAllocator(limit=30 * MIB)
    allocator.free(allocator.allocate(20 * MIB))
    allocator.allocate(28 * MIB)
    assert allocator.reserved == 28 * MIB
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        allocator.allocate(12 * MIB)


def test_kernels_bytes_waits_and_memory_of_a_few_lines(counter: Counter) -> None:
    one = torch.zeros(1000, device=CUDA)
    assert counter.num_kernels == 1
    both = one[:500] + one[500:]
    assert counter.kernels == {"zeros": 1, "add": 1}
    assert counter.num_bytes == {"zeros": 4000, "add": 6000}
    assert counter.allocator.allocated == 4096 + 2048
    del one
    assert counter.allocator.allocated == 2048
    assert not counter.waits
    assert float(both.sum()) == 1.0
    both.cpu()
    both.to("cpu", non_blocking=True)
    assert counter.num_waits == 2
    both[torch.zeros(500, dtype=torch.bool, device=CUDA)] = 1
    assert counter.num_waits == 3


def test_the_stand_in_for_autograd_computes_what_autograd_does() -> None:
    layers = dict.fromkeys(("relu1_1", "relu2_1", "relu3_1"), 1.0), {"relu2_2": 1.0}
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE)).prepare(
        "cpu", torch.float32, torch.channels_last
    )
    setup = setup_of(network, terms_of("wasserstein", layers, (3, 2, 1)), torch.float32, tile=64)
    content, style, canvas = (random_image(131, 150, seed=seed).float() for seed in range(3))

    def evaluated() -> tuple[Tensor, Tensor]:
        found = objective_of(setup, content, style, num_kept=2)(canvas)
        return found.loss, found.gradient

    wanted = evaluated()
    with stand_in():
        found = evaluated()
    assert torch.equal(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-6, atol=1e-12)


def test_a_step_of_one_tile(one_tile: tuple[TilePlan, Counter]) -> None:
    plan, counter = one_tile
    assert len(plan.tiles) == 1
    assert counter.num_kernels > 1000
    assert "dot" not in counter.kernels  # In float32, in one chain.


def test_a_step_of_two_tiles_of_which_one_runs_twice() -> None:
    plan, _ = check_step("vgg", (512, 1024), memory="170MiB", tile=512, kernels=2200)
    assert (len(plan.tiles), plan.num_kept) == (2, 1)


def bit_tricks(counter: Counter) -> int:
    """Bytes moved for biases, ReLUs, pooling and their way back."""
    files = ("kernels/fused", "kernels/gradient_masks", "kernels/layers")
    return sum(n for line, n in counter.line_bytes.items() if line.startswith(files))


def test_fused_kernels_move_a_quarter_of_the_bytes(one_tile: tuple[TilePlan, Counter]) -> None:
    pytest.importorskip("triton")
    _, counter = one_tile
    assert counter.kernels["max_pool_2x2"] == counter.kernels["unpool_2x2"] == 4
    assert counter.kernels["activate_"] > counter.kernels["pass_positive"] > 0
    with fused.unfused():
        _, eager = check_step("compact", (512, 512), kernels=2050)
    assert not eager.kernels["max_pool_2x2"]
    assert 0 < bit_tricks(counter) <= 0.26 * bit_tricks(eager)
    assert counter.num_kernels < eager.num_kernels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "eager", "fewer"), [("vgg", 66e9, 35e9), ("compact", 20.5e9, 13e9)]
)
def test_bytes_of_a_step_at_2048_pixels(name: str, eager: float, fewer: float) -> None:
    pytest.importorskip("triton")
    with fused.unfused():
        _, before = check_step(name, (2048, 2048), memory="80GiB", kernels=1800)
    _, after = check_step(name, (2048, 2048), memory="80GiB", kernels=1600)
    assert 0.9 * eager <= before.num_bytes.total() <= eager
    assert after.num_bytes.total() <= fewer
    assert bit_tricks(after) <= 0.26 * bit_tricks(before)


def test_bytes_of_what_is_written_in_place(counter: Counter) -> None:
    x = torch.zeros(100, device=CUDA)
    counter.restart()
    x.add_(1)
    torch.neg(x, out=x.new_empty(100))
    x.copy_(x.new_empty(1).expand(100))
    assert counter.num_bytes == {"add_": 800, "neg": 800, "copy_": 404}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "memory", "kernels"),
    [("compact", "2GiB", 15_000), ("vgg", "16GiB", 12_000)],
)
def test_a_step_of_a0(name: str, memory: str, kernels: int) -> None:
    check_step(name, A0, memory=memory, kernels=kernels)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compact", "vgg"])
@pytest.mark.parametrize("card", [8, 12, 16, 24, 80])
def test_a0_fits_every_card_in_the_memory_that_was_told(name: str, card: int) -> None:
    """As the programs set the allocator; the model's has no context, which is added."""
    with dry_run(limit=card * GIB - CONTEXT_BYTES, expandable=True) as counter:
        for rung in ladder_on_card(SHAPES[name], A0, counter, num_rungs=2):
            expected, plan = rung.expected, rung.objective.plan
            planned, taken = expected.device_bytes, rung.reserved + CONTEXT_BYTES
            assert planned is not None
            print(
                f"\n{card} GiB, {name}, {expected.rung.size}: planned {planned / GIB:.2f},"
                f" allocated {(rung.allocated + CONTEXT_BYTES) / GIB:.2f},"
                f" reserved {taken / GIB:.2f}, {len(plan.tiles)} tiles, {plan.num_kept} kept,"
                f" {rung.kernels} kernels, {rung.bus_bytes / GIB:.1f} over the bus"
            )
            assert planned <= card * GIB
            assert abs(taken / planned - 1) <= 0.15
            assert plan == expected.tiles  # Memory has not run out.
            assert rung.bus_bytes == pytest.approx(expected.bus_bytes or 0, rel=0.02, abs=2**24)


def test_a_canvas_in_the_hosts_memory() -> None:
    weights = sum(buffer.nbytes for buffer in network_of(SHAPES["compact"]).half().buffers())
    # The 18 MiB of the canvas do not fit beside the feature maps.
    limit = int((30 * MIB + LIBRARY_BYTES + weights) / 0.95)
    with dry_run(limit, expandable=True) as counter:
        (rung,) = ladder_on_card(
            SHAPES["compact"], (450, 636), counter, num_rungs=1, memory="20MiB", rungs=1
        )
    assert rung.expected.bus_bytes is not None
    assert rung.bus_bytes == pytest.approx(rung.expected.bus_bytes, rel=0.1)
    # Constants of the roots are made once.
    waits = [line for line in counter.waits.elements() if not line.startswith("kernels/")]
    assert len(waits) <= 2, counter.waits
    assert rung.objective._gradient is not None
    assert rung.objective._gradient.total.device.type == "cpu"
    assert rung.allocated + CONTEXT_BYTES <= (rung.expected.device_bytes or 0)


def test_segments_that_grow_leave_no_holes() -> None:
    """A line that lasts is what keeps a fixed segment from the next map, which is a bit larger."""
    reserved = {}
    for kind in (CachingAllocator, ExpandableAllocator):
        allocator = kind()
        for i in range(8):
            allocator.free(allocator.allocate((100 + 8 * i) * MIB))
            allocator.allocate(2 * MIB)
        reserved[kind] = allocator.peak_reserved
    assert reserved[CachingAllocator] > 300 * MIB
    assert reserved[ExpandableAllocator] <= 200 * MIB


def test_segments_that_grow_give_pages_back_where_others_need_them() -> None:
    allocator = ExpandableAllocator(limit=100 * MIB)
    blocks = [allocator.allocate(20 * MIB) for _ in range(5)]
    for block in blocks[::2]:
        allocator.free(block)
    larger = allocator.allocate(60 * MIB)
    assert (allocator.allocated, allocator.reserved) == (100 * MIB, 100 * MIB)
    with pytest.raises(torch.OutOfMemoryError):
        allocator.allocate(20 * MIB)
    for block in (*blocks[1::2], larger):
        allocator.free(block)
    allocator.empty_cache()
    assert (allocator.allocated, allocator.reserved) == (0, 0)
    allocator.allocate(100 * MIB)


def setup_on_card(name: str) -> Setup:
    return Setup(
        network=network_of(SHAPES[name]).prepare(CUDA, torch.bfloat16, torch.channels_last),
        precision=Precision(torch.bfloat16),
        terms=terms_of_config(Config()),
        memory=6 * GIB,
    )


def passes(plan: TilePlan) -> int:
    """Walks over tiles, each of which takes some two hundred kernels."""
    return 3 * len(plan.tiles) - plan.num_kept


@pytest.mark.usefixtures("counter")
@pytest.mark.parametrize("name", ["vgg", "compact"])
@pytest.mark.parametrize("size", [(2048, 2048), (6000, 4000), A0])
def test_more_memory_never_takes_more_launches(name: str, size: tuple[int, int]) -> None:
    memories = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64, 80)
    setup = setup_on_card(name)
    plans = [replace(setup, memory=int(memory * GIB)).plan_tiles(size) for memory in memories]
    for (memory, less), (_, more) in itertools.pairwise(zip(memories, plans, strict=True)):
        assert passes(more) <= passes(less), memory
    assert len(plans[memories.index(16)].tiles) <= 12


@pytest.mark.usefixtures("counter")
def test_smaller_plans_on_a_card_take_less_memory_until_there_are_none() -> None:
    setup = setup_on_card("vgg")
    plan, needed = setup.plan_tiles(A0), []
    with contextlib.suppress(TileMemoryError):
        for _ in range(100):
            needed.append(setup.costs.bytes_needed(plan))
            plan = smaller_plan(setup.costs, A0, plan)
    assert 4 < len(needed) < 100
    assert all(less < more for more, less in itertools.pairwise(needed))


def test_targets_are_measured_with_few_waits(counter: Counter) -> None:
    painting(SHAPES["compact"], (64, 64))
    weights = sum(n for line, n in counter.waits.items() if line.startswith("features/network"))
    assert 0 < counter.num_waits - weights <= 16, counter.waits


class Doubtful(Counter):  # type: ignore[no-untyped-call]
    """Gives its first answers, of yes and no, from a list."""

    def __init__(self, answers: list[bool]) -> None:
        super().__init__()
        self.answers = answers

    def answer(self, asked: Tensor) -> bool | int | float:
        """The next of the list, as long as there is one."""
        is_asked = asked.dtype == torch.bool and asked.device.type == "cuda"
        return self.answers.pop(0) if is_asked and self.answers else super().answer(asked)


def test_roots_that_are_not_finite_are_taken_again_by_eigenvalues(counter: Counter) -> None:
    begun = painting(SHAPES["compact"], (64, 64), style_layers=("relu1_1",), patch_weight=0)
    begun.run.step()
    assert counter.waits.total() > 0
    assert "_linalg_eigh" not in counter.kernels
    # The loss is not finite, then a root of it is not, but the matrix is.
    with Doubtful([False, False]) as doubtful:
        begun.run.step()
    assert doubtful.kernels["_linalg_eigh"] == 1


def test_a_network_is_applied(counter: Counter) -> None:
    assert applied((300, 400), memory="2GiB").device.type == "cpu"
    assert counter.num_kernels <= 550
    assert counter.num_waits <= 60, counter.waits
    assert counter.allocator.allocated == 0


@pytest.mark.parametrize("memory", ["1GiB", "2GiB", "16GiB"])
def test_a_network_is_applied_in_tiles_that_fill_the_memory(counter: Counter, memory: str) -> None:
    applied((2000, 3000), memory=memory)
    # In tiles for a CPU's cache it took 10,800 launches with 1 GiB and 5,510 with 2 GiB.
    assert counter.num_kernels <= (1650 if memory == "1GiB" else 760), counter.lines.most_common(8)
    assert counter.allocator.peak_allocated <= parse_bytes(memory) + WEIGHTS


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["24GiB", "80GiB"])
def test_a_network_is_applied_at_a0(counter: Counter, memory: str) -> None:
    applied(A0, memory=memory)
    assert counter.num_kernels <= 7200, counter.lines.most_common(8)
    assert counter.allocator.peak_allocated <= parse_bytes(memory) + WEIGHTS


@pytest.mark.parametrize("task", ["style", "super-resolution"])
def test_a_step_of_a_training(counter: Counter, task: str) -> None:
    factor = {} if task == "style" else {"factor": 4}
    training = trainer(SHAPES["compact"], task=task, crop=64, batch_size=1, **factor)
    training._step()  # Roots of the style are taken.
    counter.restart()
    training._step()
    assert 500 < counter.num_kernels <= 3600, counter.lines.most_common(8)
    assert counter.num_waits <= 5, counter.waits


def test_a_training_takes_roots_that_are_not_finite_again(counter: Counter) -> None:
    training = trainer(SHAPES["compact"], crop=64, batch_size=1)
    training._step()
    assert "_linalg_eigh" not in counter.kernels
    # The terms are not finite, then a root of them is not, but its matrix is.
    with Doubtful([False, False]) as doubtful:
        training._step()
    assert doubtful.kernels["_linalg_eigh"] == 1


@pytest.mark.skipif(torch.version.cuda is None, reason="a build without CUDA's kernels")
def test_every_operation_has_a_kernel_for_cuda(one_tile: tuple[TilePlan, Counter]) -> None:
    functions = {func for func, _ in one_tile[1].seen}
    keys = ("CUDA", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional")
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    lacking = [
        func.name()
        for func in functions
        if not any(has_kernel(func.name(), key) for key in (*keys, "CompositeImplicitAutograd"))
    ]
    assert len(functions) > 40
    assert not lacking


def test_types_are_those_that_all_of_cudas_kernels_know(
    one_tile: tuple[TilePlan, Counter],
) -> None:
    for func, types in one_tile[1].seen:
        assert types.isdisjoint({torch.uint16, torch.uint32, torch.uint64, torch.complex64})
        # A card has hardly any arithmetic for it.
        assert "convolution" not in func.name() or torch.float64 not in types
