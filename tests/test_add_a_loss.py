"""The page on writing a loss: its code runs, and the loss is exact under tiles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from objectives import objective_of, setup_of, terms_of
from torch import Tensor

import hires
from hires.errors import ConfigError
from hires.features.network import Network
from hires.losses import PIXELS, References, Statistics, Term, Verdict, View
from hires.losses.variation import TotalVariation
from hires.processes.together import Together

ROOT = Path(__file__).parents[1]
SIZE = (131, 283)
STYLE_LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0}
CPU = torch.device("cpu")


def blocks() -> list[str]:
    """The page's code."""
    text = (ROOT / "docs" / "add_a_loss.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def third_moments() -> Any:
    """The page's term."""
    found: dict[str, Any] = {}
    exec(blocks()[0], found)
    return found["ThirdMoments"]


def test_the_page_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    exec("\n".join(blocks()), {})
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [int(row[0]) for row in rows] == [1, 2, 3]
    assert float(rows[2][1]) < float(rows[0][1])


def test_the_example_is_thirty_lines() -> None:
    lines = [line for line in blocks()[0].splitlines() if line.strip()]
    assert len(lines) <= 36


@dataclass(frozen=True, kw_only=True)
class Quantiles(Term):
    """Features of each channel shall be sorted like the style's: slopes differ by position."""

    name: str = "quantiles"
    weight: float = 1.0
    layers: tuple[str, ...] = ("relu2_1",)
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def at(self, references: References) -> Quantiles:
        (style,) = references.of_styles(self)
        return replace(
            self, targets={name: _shares(style.statistics[name]) for name in self.layers}
        )

    def measure(self, view: View, features: Tensor) -> Statistics:
        bins = (features.detach() * 40).long().clamp(0, 255)[0].flatten(1)
        counts = torch.zeros(len(bins), 256, dtype=view.sum_dtype)
        return {"counts": counts.scatter_add_(1, bins, torch.ones_like(bins, dtype=counts.dtype))}

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        gaps = [_shares(statistics[name]) - target for name, target in self.targets.items()]
        return torch.stack([gap.abs().mean() for gap in gaps]).sum()

    def local(self, view: View, features: Tensor, verdict: Verdict) -> Tensor:
        bins = (features.detach() * 40).long().clamp(0, 255)[0].flatten(1)
        gap = _shares(verdict.statistics) - self.targets[view.layer]
        height, width = view.size
        slopes = self.weight * gap.gather(1, bins) / (height * width)
        return (slopes * features[0].flatten(1).to(slopes.dtype)).sum()


def _shares(statistics: Statistics) -> Tensor:
    """How much of each channel lies below each bin."""
    counts = statistics["counts"].cumsum(1)
    return counts / counts[:, -1:]


@dataclass(frozen=True, kw_only=True)
class Contrast(Term):
    """Pixels shall spread by so much: a loss of pixels that is no sum of its statistics."""

    name: str = "contrast"
    weight: float = 1.0
    layers: tuple[str, ...] = (PIXELS,)

    def measure(self, view: View, features: Tensor) -> Statistics:
        wide = features.to(view.sum_dtype)
        height, width = view.size
        return {"first": wide.sum() / (height * width), "second": wide.square().sum()}

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        sums = statistics[PIXELS]
        return (sums["second"] - sums["first"].square() - 100).square()


@dataclass(frozen=True, kw_only=True)
class Squashed(Term):
    """Features through a curve whose slope is that of its value: graphs keep the value."""

    layers: tuple[str, ...]
    name: str = "squashed"
    weight: float = 1.0

    def measure(self, view: View, features: Tensor) -> Statistics:
        return {"sum": features.sigmoid().sum(dim=(0, 2, 3), dtype=view.sum_dtype)}

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        return torch.stack([sums["sum"].square().sum() for sums in statistics.values()]).sum()


@pytest.mark.parametrize("num_kept", [1, 2, 100])
@pytest.mark.parametrize("masked", [False, True])
def test_terms_are_exact_under_tiles(num_kept: int, masked: bool, third_moments: Any) -> None:
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, torch.float64, torch.channels_last)
    content, style, canvas = (random_image(*SIZE, seed=seed) for seed in (1, 2, 3))
    mask = random_image(*SIZE, seed=4)[:, :1] if masked else None
    layers = STYLE_LAYERS, {"relu2_2": 1.0}
    # The first layer is made again on the way back: `Squashed` looks at it as style does.
    first = Squashed(layers=("relu1_1", "relu2_1"))
    for extra in (
        third_moments(),
        third_moments(layers=("relu1_1",)),
        first,
        Quantiles(),
        Quantiles(layers=("relu1_1", "relu2_1")),
        Contrast(),
    ):
        terms = (*terms_of("wasserstein", layers, (1.0, 0.5, 1.0)), extra)
        found = []
        for tile in (None, 64):
            setup = setup_of(network, terms, torch.float64, tile)
            objective = objective_of(
                setup, content, style, masks=(mask, None), num_kept=num_kept if tile else None
            )
            assert (len(objective.plan.tiles) > 4) == (tile is not None)
            evaluation = objective(canvas)
            assert extra.name in evaluation.terms
            found.append((evaluation.loss, evaluation.gradient.clone()))
        (whole, slope), (tiled, other) = found
        assert float(tiled) == pytest.approx(float(whole), rel=1e-12)
        assert float((other - slope).norm() / slope.norm()) < 1e-12


def test_a_term_adds_its_own_gradient(third_moments: Any) -> None:
    """Against autograd through a plain pass."""
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, torch.float64, torch.channels_last)
    style, canvas = random_image(*SIZE, seed=2), random_image(*SIZE, seed=3)
    term = third_moments(weight=0.3)
    setup = setup_of(network, [term], torch.float64, 64)
    found = objective_of(setup, canvas, style)(canvas)
    leaf = canvas.clone().requires_grad_()
    own, wanted = (network(image, term.layers) for image in (leaf, style))
    loss = torch.zeros((), dtype=torch.float64)
    for name in term.layers:
        cubes, target = ((part[name] ** 3).mean(dim=(0, 2, 3)) for part in (own, wanted))
        loss = loss + (cubes - target).square().sum() / target.square().sum() / 2
    (slope,) = torch.autograd.grad(0.3 * loss, leaf)
    assert float(found.loss) == pytest.approx(0.3 * float(loss.detach()), rel=1e-12)
    assert float((found.gradient - slope).norm() / slope.norm()) < 1e-12


def test_two_terms_of_one_name_are_refused(third_moments: Any) -> None:
    config = hires.Config(size=64, min_size=64, iterations=(1,), device="cpu")
    picture = random_image(64, 64).float()
    with pytest.raises(ConfigError, match="two terms of the loss are called 'third'"):
        hires.stylize(picture, picture, config, terms=[third_moments(), third_moments()])


@dataclass(frozen=True, kw_only=True)
class Mean(Term):
    """Channels shall be nothing on average; counts what it sees by itself."""

    layers: tuple[str, ...] = ("relu2_1",)
    name: str = "mean"
    weight: float = 1.0

    def measure(self, view: View, features: Tensor) -> Statistics:
        count = torch.tensor(features.shape[2] * features.shape[3])
        return {"local": features.sum(dim=(0, 2, 3), dtype=view.sum_dtype), "count": count}

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        losses = [(sums["local"] / sums["count"]).square().sum() for sums in statistics.values()]
        return torch.stack(losses).sum()


class LocalMean(Mean):
    """The same with slopes of its own."""

    def local(self, view: View, features: Tensor, verdict: Verdict) -> Tensor:  # noqa: ARG002
        return (verdict.slopes["local"] * features.sum(dim=(0, 2, 3))).sum()


@pytest.mark.parametrize("term", [Mean(), LocalMean()])
@pytest.mark.parametrize("tile", [None, 64])
def test_what_a_canvas_does_not_move_may_be_measured(term: Term, tile: int | None) -> None:
    """A count has no slope; and any name will do for a statistic."""
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, torch.float64, torch.channels_last)
    canvas = random_image(*SIZE, seed=3)
    found = objective_of(setup_of(network, [term], torch.float64, tile), canvas, canvas)(canvas)
    leaf = canvas.clone().requires_grad_()
    loss = network(leaf, ["relu2_1"])["relu2_1"].mean(dim=(0, 2, 3)).square().sum()
    (slope,) = torch.autograd.grad(loss, leaf)
    assert float(found.loss) == pytest.approx(float(loss.detach()), rel=1e-12)
    assert float((found.gradient - slope).norm() / slope.norm()) < 1e-12


def test_everything_is_added_up_over_processes_at_once() -> None:
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, torch.float64, torch.channels_last)
    canvas = random_image(*SIZE, seed=3)
    terms = [Mean(), Contrast(), TotalVariation()]
    objective = objective_of(setup_of(network, terms, torch.float64, 64), canvas, canvas)
    alone = {name: float(value) for name, value in objective(canvas).terms.items()}
    calls: list[list[Any]] = []

    class Twice(Together):
        def sums(self, sums: dict[Any, Tensor]) -> dict[Any, Tensor]:
            calls.append([*sums])
            return {key: 2 * part for key, part in sums.items()}

    objective.together = Twice()
    found = {name: float(value) for name, value in objective(canvas).terms.items()}
    assert [{key[0] for key in keys} for keys in calls] == [{0, 1, 2}]
    assert found["tv"] == pytest.approx(2 * alone["tv"], rel=1e-12)


@pytest.mark.parametrize(("num_kept", "tile"), [(1, None), (1, 64), (8, 64), (100, 64)])
def test_graphs_are_kept_until_there_is_a_verdict(
    num_kept: int, tile: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, torch.float64, torch.channels_last)
    canvas = random_image(*SIZE, seed=3)
    setup = setup_of(network, [LocalMean()], torch.float64, tile)
    objective = objective_of(setup, canvas, canvas, num_kept=num_kept)
    passes: list[Any] = []
    real = network.produce

    def counted(*arguments: Any, **named: Any) -> Any:
        passes.append(arguments)
        return real(*arguments, **named)

    monkeypatch.setattr(network, "produce", counted)
    objective(canvas)
    num_tiles = len(objective.plan.tiles)
    assert len(passes) == 2 * num_tiles - min(num_kept, num_tiles)


@dataclass(frozen=True, kw_only=True)
class Turning(Mean):
    """Looks at other channels at every other step."""

    parity: int = 0

    def at_step(self, step: int) -> Turning:
        return self if step % 2 == self.parity else replace(self, parity=step % 2)

    def measure(self, view: View, features: Tensor) -> Statistics:
        found = dict(super().measure(view, features))
        return {**found, "local": found["local"][self.parity :: 2]}


def test_terms_are_those_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    canvas = random_image(64, 64).float()
    config = hires.Config(sizes=(64, 72), iterations=(3, 2), device="cpu", average=0)
    paint = partial(hires.iter_stylize, canvas, canvas, config, terms=[Turning()], network=network)
    asked: list[int] = []
    real = Turning.at_step

    def at_step(term: Turning, step: int) -> Turning:
        asked.append(step)
        return real(term, step)

    monkeypatch.setattr(Turning, "at_step", at_step)
    steps = paint()
    second = [next(steps), next(steps)][1].snapshot().copy()
    *_, last = steps
    assert asked == [0, 1, 2, 0, 1]
    *_, resumed = paint(resume=second)
    assert asked[5:] == [2, 0, 1]
    assert torch.equal(resumed.picture(), last.picture())


def test_a_term_that_changes_ends_the_replay_of_graphs() -> None:
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, torch.float64, torch.channels_last)
    canvas = random_image(*SIZE, seed=3)
    objective = objective_of(setup_of(network, [Turning()], torch.float64), canvas, canvas)
    losses = []
    for step, is_over in ((0, False), (1, True), (2, True)):
        objective.at_step(step)
        assert objective._replay._is_over == is_over
        losses.append(float(objective(canvas).loss))
    assert losses[0] == losses[2] != losses[1]


@pytest.mark.parametrize("layers", ["relu2_1", (PIXELS, "relu2_1")])
def test_layers_that_are_no_layers_are_refused(layers: Any) -> None:
    config = hires.Config(size=64, min_size=64, iterations=(1,), device="cpu")
    picture = random_image(64, 64).float()
    with pytest.raises(ConfigError, match=r"the term 'mean' looks at .*: give a tuple of layers"):
        hires.stylize(picture, picture, config, terms=[Mean(layers=layers)])
