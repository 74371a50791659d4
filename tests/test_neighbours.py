"""Nearest neighbours: kernels against plain formulas, dictionaries, and the term in tiles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from objectives import objective_of, setup_of, terms_of
from reference import neighbours_loss
from torch import Tensor

from hires.config.run import Config
from hires.engine.canvas import WholeCanvas
from hires.engine.measuring import Measuring
from hires.engine.objective import Objective
from hires.engine.references import References
from hires.engine.style_terms import style_terms
from hires.errors import ConfigError
from hires.features.network import Network
from hires.image.guides import Guided, PaintedRegion
from hires.image.originals import Original
from hires.kernels.nearest import cosine_error, nearest
from hires.losses.neighbours import Neighbours

CPU, DOUBLE = torch.device("cpu"), torch.float64
LAYERS = {"relu2_1": 0.25, "relu3_1": 0.75}
SIZE = (131, 283)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def unit(rows: Tensor) -> Tensor:
    found: Tensor = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return found


@pytest.mark.parametrize("num_directions", [1, 31, 64, 96])
def test_the_nearest_is_that_of_all_pairs(
    num_directions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hires.kernels.nearest._PRODUCTS", 7 * num_directions)
    rows, directions, centre = random(50, 5), unit(random(num_directions, 5, seed=1)), random(5)
    cosines = unit(rows - centre) @ directions.T
    found = nearest(rows, directions, centre)
    assert found.dtype == torch.int32
    assert torch.equal(found.long(), cosines.argmax(1))


def test_an_error_by_hand() -> None:
    """About (1, 1): (3, 4) to (1, 0) has a cosine of 0.6, and twice (-1, 0) to it one of -1."""
    rows = torch.tensor([[4.0, 5.0], [-1.0, 1.0]], dtype=DOUBLE)
    features = rows.T.view(1, 2, 1, 2)
    found = cosine_error(
        features,
        torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=DOUBLE),
        torch.tensor([[1, 1]], dtype=torch.int32),
        torch.ones(2, dtype=DOUBLE),
        least=1e-9,
        dtype=DOUBLE,
        mask=torch.tensor([[[[0.5, 0.25]]]], dtype=DOUBLE),
    )
    assert float(found) == pytest.approx(0.5 * 0.4 + 0.25 * 2, rel=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_its_slope_is_that_of_differences(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hires.kernels.nearest._VALUES", 4 * 5)
    features = random(1, 4, 3, 5).requires_grad_()
    directions = unit(random(6, 4, seed=1))
    numbers = torch.arange(15).view(3, 5).remainder(6).int()
    mask = random(1, 1, 3, 5, seed=2).abs() if masked else None

    def error(features: Tensor) -> Tensor:
        # Some features are shorter than what counts as least.
        return cosine_error(
            features, directions, numbers, random(4, seed=3), least=2.0, dtype=DOUBLE, mask=mask
        )

    lengths = (features[0].flatten(1).T - random(4, seed=3)).norm(dim=1)
    assert (lengths < 2).any()
    assert (lengths > 2).any()
    assert torch.autograd.gradcheck(error, features)


def test_a_feature_that_is_the_centre_has_a_finite_slope() -> None:
    features = torch.zeros(1, 2, 1, 1, dtype=DOUBLE, requires_grad=True)
    direction, numbers = unit(torch.ones(1, 2, dtype=DOUBLE)), torch.zeros(1, 1).int()
    found = cosine_error(
        features, direction, numbers, torch.zeros(2, dtype=DOUBLE), least=0.5, dtype=DOUBLE
    )
    (slope,) = torch.autograd.grad(found, features)
    assert float(found.detach()) == 1
    torch.testing.assert_close(slope[0, :, 0, 0], -direction[0] / 0.5)


@pytest.fixture
def network() -> Network:
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, DOUBLE, torch.channels_last)
    return network


def objective(
    network: Network, term: Neighbours, style: Tensor, *, tile: int | None = None, **how: Any
) -> Objective:
    setup = setup_of(network, [term], DOUBLE, tile)
    height, width = how.pop("size", SIZE)
    return objective_of(setup, random_image(height, width, seed=1), style, **how)


def term(**settings: Any) -> Neighbours:
    return Neighbours(**{"layers": LAYERS, "budget": 10**6, "content_share": 0.0, **settings})


def test_a_style_is_its_own_target(network: Network) -> None:
    style = random_image(96, 128, seed=2)
    found = objective(network, term(), style, size=(96, 128))(style)
    assert float(found.loss) == pytest.approx(0, abs=1e-15)
    assert float(found.gradient.norm()) < 1e-14


def test_whole_equals_the_formula(network: Network) -> None:
    style, canvas = random_image(96, 128, seed=2), random_image(*SIZE, seed=3)
    found = objective(network, term(weight=0.3), style)(canvas)
    leaf = canvas.clone().requires_grad_()
    own, wanted = network(leaf, [*LAYERS]), network(style, [*LAYERS])
    losses = [w * neighbours_loss(own[name], wanted[name]) for name, w in LAYERS.items()]
    loss = 0.3 * torch.stack(losses).sum()
    (slope,) = torch.autograd.grad(loss, leaf)
    assert float(found.loss) == pytest.approx(float(loss.detach()), rel=1e-9)
    assert float((found.gradient - slope).norm() / slope.norm()) < 1e-9


def test_a_turned_style_is_its_own_target_with_quarter_turns(network: Network) -> None:
    """And the dictionary of all turns is no larger than that of one."""
    style = random_image(96, 128, seed=2)
    canvas = torch.rot90(style, 1, (2, 3)).contiguous()
    found = objective(network, term(num_turns=4), style, size=(128, 96))(canvas)
    assert float(found.loss) == pytest.approx(0, abs=1e-15)
    assert float(objective(network, term(), style, size=(128, 96))(canvas).loss) > 0.01
    for turns in (1, 4):
        own = objective(network, term(num_turns=turns, budget=64), style, size=(64, 96))
        (drawn,) = (one for one in own.terms if isinstance(one, Neighbours))
        assert all(len(one.directions) == 64 for (one,) in drawn.dictionaries.values())


def test_matches_stay_until_it_is_time(network: Network) -> None:
    style, canvases = random_image(96, 128, seed=2), [random_image(64, 96, seed=i) for i in (3, 4)]
    own = objective(network, term(layers={"relu3_1": 1.0}, every=3), style, size=(64, 96))
    wanted = network(style, ["relu3_1"])["relu3_1"]
    features = [network(canvas, ["relu3_1"])["relu3_1"] for canvas in canvases]
    about = [f[0].flatten(1) - wanted[0].flatten(1).mean(1, keepdim=True) for f in features]
    target = wanted[0].flatten(1) - wanted[0].flatten(1).mean(1, keepdim=True)
    matches = [(unit(part.T) @ unit(target.T).T).argmax(1) for part in about]
    assert not torch.equal(*matches)
    found = []
    for step in range(4):
        own.at_step(step)
        found.append(float(own(canvases[step > 0]).loss))
    kept = float(neighbours_loss(features[1], wanted, matches[0]))
    new = float(neighbours_loss(features[1], wanted, matches[1]))
    assert found[1:] == pytest.approx([kept, kept, new], rel=1e-9)
    assert new < 0.9 * kept


def test_the_first_matching_looks_for_the_content_as_well(network: Network) -> None:
    content, style, canvas = (random_image(64, 96, seed=seed) for seed in (1, 2, 3))
    setup = setup_of(network, [term(layers={"relu3_1": 1.0}, content_share=0.75)], DOUBLE)
    own = objective_of(setup, content, style)
    mixed, wanted, found = (
        0.75 * network(content, ["relu3_1"])["relu3_1"]
        + 0.25 * network(canvas, ["relu3_1"])["relu3_1"],
        network(style, ["relu3_1"])["relu3_1"],
        network(canvas, ["relu3_1"])["relu3_1"],
    )
    means = [
        part[0].flatten(1).mean(1) for part in (network(content, ["relu3_1"])["relu3_1"], wanted)
    ]
    about = [
        mixed[0].flatten(1).T - 0.75 * means[0] - 0.25 * means[1],
        wanted[0].flatten(1).T - means[1],
    ]
    matches = (unit(about[0]) @ unit(about[1]).T).argmax(1)
    assert float(own(canvas).loss) == pytest.approx(
        float(neighbours_loss(found, wanted, matches)), rel=1e-9
    )
    own.at_step(10)
    assert float(own(canvas).loss) == pytest.approx(float(neighbours_loss(found, wanted)), rel=1e-9)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_kept", [1, 3, 100])
@pytest.mark.parametrize("size", [SIZE, (97, 180)])
def test_tiled_equals_whole(
    network: Network, size: tuple[int, int], num_kept: int, masked: bool
) -> None:
    style, canvases = random_image(75, 101, seed=2), [random_image(*size, seed=i) for i in (3, 4)]
    mask = (random_image(*size, seed=5)[:, :1] * 2 - 0.5).clamp(0, 1) if masked else None
    layers = {"relu1_1": 1.0, "relu2_1": 1.0}, {"relu2_2": 1.0}
    terms = (*terms_of("wasserstein", layers, (1.0, 0.5, 1.0)), term(budget=64, content_share=0.75))
    found = []
    for tile in (None, 64):
        own = objective_of(
            setup_of(network, terms, DOUBLE, tile),
            random_image(*size, seed=1),
            style,
            masks=(mask, None),
            num_kept=num_kept if tile else None,
        )
        assert (len(own.plan.tiles) > 4) == (tile is not None)
        evaluations = []
        # Matched in the walk, with matches that were kept, and matched anew.
        for step, canvas in ((0, canvases[0]), (1, canvases[1]), (10, canvases[1])):
            own.at_step(step)
            evaluation = own(canvas)
            evaluations.append((evaluation.loss, evaluation.gradient.clone()))
        found.append(evaluations)
    for (whole, slope), (tiled, other) in zip(*found, strict=True):
        assert float(tiled) == pytest.approx(float(whole), rel=1e-12)
        assert float((other - slope).norm() / slope.norm()) < 1e-12


def halves(height: int, width: int) -> list[Tensor]:
    """Left and right, with a ramp where they meet."""
    left = ((0.4 * width - torch.arange(width)) / 9 + 0.5).clamp(0, 1).expand(1, 1, height, width)
    return [left.clone(), 1 - left]


def regional_objective(network: Network, tile: int | None = None) -> tuple[Objective, Neighbours]:
    """Of two regions, the left with the left half of a style, the right with another."""
    setup = setup_of(network, [term(budget=200)], DOUBLE, tile)
    styles = [random_image(80, 90, seed=seed) for seed in (5, 6)]
    left, right = halves(*SIZE)
    regions = (PaintedRegion(left, {0: halves(80, 90)[0]}), PaintedRegion(right, {1: None}))
    references = References(
        setup=setup,
        canvas=WholeCanvas(setup, SIZE),
        content=Original(random_image(*SIZE, seed=1)),
        styles=[Original(style) for style in styles],
        style_sizes=[(80, 90)] * 2,
        shares=[0.5, 0.5],
        measuring=Measuring(setup),
        guides=Guided(regions),
    )
    own = setup.objective(references, setup.plan_tiles(SIZE))
    (found,) = own.terms
    assert isinstance(found, Neighbours)
    return own, found


def test_each_region_looks_in_a_dictionary_of_its_own(network: Network) -> None:
    own, found = regional_objective(network)
    styles = [network(random_image(80, 90, seed=seed), [*LAYERS]) for seed in (5, 6)]
    for name in LAYERS:
        for number, dictionary in enumerate(found.dictionaries[name]):
            rows = styles[number][name][0].flatten(1).T
            about = unit(rows - dictionary.centre)
            nearest_one = (dictionary.directions @ about.T).max(1)
            torch.testing.assert_close(
                nearest_one.values, torch.ones(len(dictionary.directions), dtype=DOUBLE)
            )
            if number == 0:  # Nothing from the half that is not the region's.
                columns = nearest_one.indices % styles[0][name].shape[3]
                assert columns.max() < 0.5 * styles[0][name].shape[3]
    canvas = random_image(*SIZE, seed=3)
    whole = own(canvas)
    tiled = regional_objective(network, 64)[0](canvas)
    assert float(tiled.loss) == pytest.approx(float(whole.loss), rel=1e-12)
    assert float((tiled.gradient - whole.gradient).norm() / whole.gradient.norm()) < 1e-12


def test_a_pass_that_ran_out_of_memory_changes_nothing(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    style, canvas = random_image(75, 101, seed=2), random_image(*SIZE, seed=3)
    wanted = objective(network, term(content_share=0.75), style, tile=64)(canvas)
    slope, plain, calls = wanted.gradient.clone(), Neighbours.measure, 0
    own = objective(network, term(content_share=0.75), style, tile=64)

    def failing(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise MemoryError
        return plain(*given)

    monkeypatch.setattr(Neighbours, "measure", failing)
    found = own(canvas)
    assert calls > 7
    assert float(found.loss) == pytest.approx(float(wanted.loss), rel=1e-12)
    assert float((found.gradient - slope).norm() / slope.norm()) < 1e-12


def test_a_dictionary_is_no_larger_than_its_budget(network: Network) -> None:
    def directions(**settings: Any) -> Tensor:
        (found,) = objective(network, term(**settings), random_image(96, 128, seed=2)).terms
        assert isinstance(found, Neighbours)
        return found.dictionaries["relu3_1"][0].directions

    assert len(directions(budget=100)) == 100
    assert torch.equal(directions(budget=100), directions(budget=100))
    assert not torch.equal(directions(budget=100), directions(budget=100, seed=1))
    assert 0.9 * 24 * 32 < len(directions()) <= 24 * 32


def test_a_style_of_one_colour_asks_for_nothing(network: Network) -> None:
    style = torch.full((1, 3, 64, 64), 0.5, dtype=DOUBLE)
    found = objective(network, term(layers={"relu3_1": 1.0}), style)(random_image(*SIZE, seed=3))
    assert torch.isfinite(found.gradient).all()


def test_what_a_configuration_asks_for() -> None:
    layers = {f"relu{b}_1": 0.2 for b in range(1, 6)}
    config = Config(style_loss=("wasserstein", "neighbours:0.3"), style_weight=2.0, seed=5)
    found = {each.name: each for each in style_terms(config, layers, {})}
    assert [*found] == ["wasserstein", "neighbours"]
    own = found["neighbours"]
    assert isinstance(own, Neighbours)
    assert own.layers == pytest.approx({"relu3_1": 0.5, "relu4_1": 0.5})
    assert (own.weight, own.seed, own.content_share) == (0.6, 5, 0.75)
    assert own.every
    (alone,) = style_terms(
        Config(style_loss="neighbours", optimizer="lbfgs", content_layers=()), layers, {}
    )
    assert isinstance(alone, Neighbours)
    assert (alone.name, alone.content_share, alone.every) == ("style", 0, 0)


def test_fine_layers_alone_are_refused() -> None:
    with pytest.raises(ConfigError, match="blocks 3 and 4: name one, such as relu3_1"):
        Config(style_loss="neighbours", style_layers=("relu1_1", "relu5_1"))
    Config(style_loss="neighbours", style_layers=("relu1_1", "relu4_1"))
