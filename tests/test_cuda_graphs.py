"""Steps of one tile as a graph: when it is recorded, replayed and given up, and to which bits.

There is no CUDA graph without a GPU. What stands in for it "replays" by computing again into the
memory of the first outputs, so that what a replay reads and writes must lie where it lay.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from cuda_dry_run import dry_run, painting
from torch import Tensor

from hires.config.run import Config
from hires.engine import ladder, replay
from hires.engine.estimate import forecast
from hires.engine.replay import WARM_UP, Evaluation, Graphs, Replay
from hires.engine.run import Run
from hires.engine.setup import Setup, open_setup
from hires.features.network import Network
from hires.image.originals import Original

STEPS = WARM_UP + 3
SIZE = (72, 96)


class Recorder:
    """Stands in for `hires.engine.replay.captured`.

    Attributes:
        num_captures, num_replays: so far.
        error: raised by every capture, if there is one.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.num_captures = self.num_replays = 0
        self.error = error

    def __call__(self, compute: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """Compute, and return what does it again."""
        self.num_captures += 1
        first = compute()
        if self.error is not None:
            raise self.error
        for output in (first.loss, *first.terms.values(), first.gradient):
            output.fill_(-1)  # A capture runs nothing.

        def again() -> None:
            self.num_replays += 1
            found = compute()
            assert found.gradient.data_ptr() == first.gradient.data_ptr()
            first.loss.copy_(found.loss)
            for name, value in found.terms.items():
                first.terms[name].copy_(value)

        return first, again


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(replay, "captured", made)
    return made


def run_of(*, graphs: bool, **options: Any) -> Run:
    """One rung of a painting, begun."""
    settings = {"size": max(SIZE), "rungs": 1, "precision": "fp32", "iterations": (STEPS,)}
    device = options.pop("device", "cpu")
    config = Config(**{**settings, "margin": 0, "device": device, **options})
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    setup = replace(open_setup(config, network=network), cuda_graphs=graphs)
    content, style = (Original(random_image(*SIZE, seed=seed).float()) for seed in (0, 1))
    rungs = ladder.plan(config, SIZE, [SIZE], size=SIZE)
    run = Run(setup, config, rungs, content, [style])
    run.begin(rungs[0])
    return run


def stepped(run: Run, num_steps: int = STEPS) -> list[tuple[float, dict[str, float], Tensor]]:
    """Loss, terms and picture after every step; losses are read at the end."""
    steps, pictures = [], []
    for _ in range(num_steps):
        run.step()
        steps.append(run.progress)
        pictures.append(run.optimizer.result())
    return [(p.loss, dict(p.terms), x) for p, x in zip(steps, pictures, strict=True)]


def assert_equal(found: list[Any], wanted: list[Any]) -> None:
    for (loss, terms, picture), (other_loss, other_terms, other) in zip(found, wanted, strict=True):
        assert (loss, terms) == (other_loss, other_terms)
        assert torch.equal(picture, other)


OPTIMIZERS: list[dict[str, Any]] = [
    {},
    {"optimizer": "lbfgs"},
    {"optimizer": "lbfgs-wolfe"},
    {"pixels": "caffe", "style_loss": "gram"},
]


@pytest.mark.parametrize("options", OPTIMIZERS)
def test_replayed_steps_are_those_without_a_graph(
    recorder: Recorder, options: dict[str, Any]
) -> None:
    found = stepped(run_of(graphs=True, **options))
    assert recorder.num_captures == 1
    assert recorder.num_replays >= STEPS - WARM_UP
    assert_equal(found, stepped(run_of(graphs=False, **options)))


@pytest.mark.parametrize("options", [{"tile": 64}])
def test_canvases_of_several_tiles_are_not_recorded(
    recorder: Recorder, options: dict[str, Any]
) -> None:
    stepped(run_of(graphs=True, **options))
    assert not recorder.num_captures


def test_a_capture_that_fails_is_told_once_and_never_tried_again(recorder: Recorder) -> None:
    recorder.error = RuntimeError("operation not permitted when stream is capturing")
    run = run_of(graphs=True)
    with pytest.warns(UserWarning, match="not recorded as CUDA graphs: operation") as told:
        found = stepped(run)
    run.begin(run.rungs[0])  # As another rung would.
    stepped(run, 1 + WARM_UP)
    assert (len(told), recorder.num_captures, recorder.num_replays) == (1, 1, 0)
    assert_equal(found, stepped(run_of(graphs=False)))


def test_a_capture_without_memory_goes_on_without_a_graph_and_a_word(recorder: Recorder) -> None:
    recorder.error = torch.OutOfMemoryError("CUDA out of memory")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = stepped(run_of(graphs=True))
    assert (recorder.num_captures, recorder.num_replays) == (1, 0)
    assert_equal(found, stepped(run_of(graphs=False)))


def test_an_interrupt_passes(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(graphs=True)
    stepped(run, WARM_UP)

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(replay, "captured", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.step()
    monkeypatch.setattr(replay, "captured", recorder)
    run.step()
    assert recorder.num_replays == 1


def test_a_loss_that_is_not_finite_ends_the_graph(recorder: Recorder) -> None:
    """Its roots are to be looked at, which a graph cannot."""
    losses = iter([1.0, 1.0, float("nan"), 1.0])

    def evaluate(canvas: Tensor) -> Evaluation:
        return Evaluation(torch.tensor(next(losses)), {}, canvas)

    replayed = Replay(Graphs(is_on=True))
    canvas = torch.zeros(1, 3, 4, 4)
    found = [replayed(canvas, evaluate) for _ in range(WARM_UP + 3)]
    assert [one is not None for one in found] == [*[False] * WARM_UP, True, False, False]
    assert (recorder.num_captures, recorder.num_replays) == (1, 2)


def test_a_recorded_evaluation_needs_nothing_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA tensors that do not exist: no wait, and nothing that comes from the host."""
    with dry_run() as counter:

        def captured(compute: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
            before = counter.num_waits, counter.num_copies, counter.num_kernels
            found = compute()
            assert (counter.num_waits, counter.num_copies) == before[:2], counter.waits
            assert counter.num_kernels > before[2] + 500
            seen.append(found)
            return found, lambda: None

        seen: list[Any] = []
        monkeypatch.setattr(replay, "captured", captured)
        begun = painting(COMPACT_SHAPE, (256, 256))
        begun.run._graphs.is_on = True
        for _ in range(WARM_UP + 1):
            begun.run.step()
        assert len(seen) == 1
        counter.restart()
        begun.run.step()
        # What is launched beside the graph: copies of its input and outputs, and Adam.
        assert counter.num_kernels <= 40, counter.lines
        assert counter.num_waits <= 2, counter.waits


def test_a_graph_is_counted() -> None:
    run = run_of(graphs=False)
    setups: list[Setup] = [run.setup, replace(run.setup, cuda_graphs=True)]
    less, more = (
        forecast(run.config, setup, run.rungs, num_input_pixels=0)[0].peak_bytes for setup in setups
    )
    assert more - less == 12 * SIZE[0] * SIZE[1] + 64 * 2**20


def test_graphs_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only on CUDA: a CPU has none."""
    monkeypatch.setenv("HIRES_CUDA_GRAPHS", "1")
    assert not open_setup(Config(device="cpu")).cuda_graphs


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("options", OPTIMIZERS)
def test_replayed_steps_on_a_gpu_are_those_without_a_graph(
    precision: str, options: dict[str, Any]
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    options = {**options, "precision": precision, "device": "cuda"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = stepped(run_of(graphs=True, **options))
    assert_equal(found, stepped(run_of(graphs=False, **options)))
