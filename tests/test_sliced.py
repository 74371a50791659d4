"""Sliced Wasserstein: values by hand, sorted values as bins grow, masks, directions, resumption.

That it is exact in tiles: tests/test_exactness.py, tests/test_regions.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import reference
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from objectives import objective_of, setup_of
from torch import Tensor

import hires
from hires.features.network import Network
from hires.kernels.histograms import Bins, counts, sent_back
from hires.losses import View
from hires.losses.regional import Regional
from hires.losses.sample import Sample
from hires.losses.sliced import Sliced, transport
from hires.losses.terms import Verdict

SIZE = (12, 15)
CPU = torch.device("cpu")
LAYER = "relu1_1"


def random_features(seed: int, channels: int = 5, size: tuple[int, int] = SIZE) -> Tensor:
    """Skewed features, most of them small."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, channels, *size, generator=generator, dtype=torch.float64).exp() - 1


def view_of(features: Tensor, mask: Tensor | None = None) -> View:
    height, width = features.shape[2:]
    index = slice(0, height), slice(0, width)
    return View(LAYER, index, (height, width), mask, torch.float64)


def term_for(target: Tensor, **options: Any) -> Sliced:
    """Compared to features all of which are known, on a canvas of `SIZE`."""
    vectors = target[0].flatten(1).T
    weights = torch.full((len(vectors), 1), 1 / len(vectors), dtype=torch.float64)
    canvas = Regional({LAYER: [SIZE[0] * SIZE[1]]}, [1.0])
    samples = {LAYER: (vectors, weights)}
    return Sliced(layers={LAYER: 1.0}, samples=samples, canvas=canvas, **options)._drawn(0)


def evaluated(term: Sliced, features: Tensor, mask: Tensor | None = None) -> tuple[float, Tensor]:
    """Loss and slope."""
    view = view_of(features, mask)
    sums = {name: part.requires_grad_() for name, part in term.measure(view, features).items()}
    loss = term.judge({LAYER: sums})
    slopes = torch.autograd.grad(loss, [*sums.values()])
    leaf = features.clone().requires_grad_()
    verdict = Verdict(sums, dict(zip(sums, slopes, strict=True)))
    (slope,) = torch.autograd.grad(term.local(view, leaf, verdict), leaf)
    return float(loss.detach()), slope


def test_zero_and_flat_at_the_target() -> None:
    features = random_features(0)
    loss, slope = evaluated(term_for(features), features)
    assert abs(loss) < 1e-12
    assert float(slope.abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("found", "target", "loss", "slopes"),
    [
        # Two bins on, both of two; one bin on, half of one; and both halves onto one.
        ([1, 1, 0, 0], [0, 0, 0.5, 0.5], 4, [-2, -2, None, None]),
        ([1, 0], [0.5, 0.5], 0.5, [-1, None]),
        ([3, 0, 1], [0, 1, 0], 1, [-0.5, None, 0.5]),
    ],
)
def test_value_computed_by_hand(
    found: list[float], target: list[float], loss: float, slopes: list[float | None]
) -> None:
    given = torch.tensor([found], dtype=torch.float64, requires_grad=True)
    wanted, scale = torch.tensor([target], dtype=torch.float64), torch.tensor([3.0])
    value = transport(given, wanted, scale)
    (slope,) = torch.autograd.grad(value, given)
    assert float(value.detach()) == pytest.approx(3 * loss, rel=1e-12)
    for one, other in zip(slope[0].tolist(), slopes, strict=True):
        assert other is None or one == pytest.approx(3 * other, rel=1e-12)


def test_more_bins_come_closer_to_sorted_values() -> None:
    features, target = random_features(0), 2 * random_features(1) + 0.3
    errors = []
    for num_bins in (2**6, 2**9, 2**12, 2**15):
        term = term_for(target, num_bins=num_bins)
        bins = term.slices[LAYER].bins
        directions = bins.directions / bins.directions.norm(dim=1, keepdim=True)
        leaf = features.clone().requires_grad_()
        wanted = reference.sliced_loss(leaf, target, directions)
        (slope,) = torch.autograd.grad(wanted, leaf)
        loss, found = evaluated(term, features)
        error = abs(loss / float(wanted.detach()) - 1)
        errors.append(max(error, float((found - slope).norm() / slope.norm())))
    assert all(finer < 0.6 * coarser for coarser, finer in pairwise(errors))
    assert errors[-1] < 6e-3


def test_scale_and_shift_along_a_direction_do_not_need_many_bins() -> None:
    features = random_features(0)
    term = term_for(features + 1.0)
    loss, slope = evaluated(term, features)
    power = float((features + 1).square().sum()) / (SIZE[0] * SIZE[1])
    # As many directions as channels, at right angles: the distance of the means, to half a bin.
    assert loss == pytest.approx(5 / power, rel=0.02)
    wanted = torch.full_like(slope, -2 / power / (SIZE[0] * SIZE[1]))
    torch.testing.assert_close(slope, wanted, rtol=0.1, atol=0)


def test_a_position_of_weight_two_is_there_twice() -> None:
    target, features = random_features(1), random_features(0)
    mask = torch.ones(1, 1, *SIZE, dtype=torch.float64)
    mask[..., :3, :] = 2
    twice = torch.cat([features[..., :3, :], features], dim=2)
    term = term_for(target)
    (loss, slope), (wanted, other) = evaluated(term, features, mask), evaluated(term, twice)
    assert loss == pytest.approx(wanted, rel=1e-12)
    torch.testing.assert_close(slope[..., 3:, :], other[..., 6:, :])
    torch.testing.assert_close(slope[..., :3, :], 2 * other[..., :3, :])


def test_counts_are_the_same_to_the_last_bit_in_any_order() -> None:
    features, mask = random_features(0, size=(64, 300)), torch.rand(1, 1, 64, 300)
    bins = term_for(random_features(1)).slices[LAYER].bins
    (whole,) = counts(features, bins, [mask])
    parts = [
        counts(features[..., part, :], bins, [mask[..., part, :]])[0]
        for part in (slice(40, 64), slice(0, 7), slice(7, 40))
    ]
    assert torch.equal(parts[0] + parts[1] + parts[2], whole)
    assert float(whole[0].sum()) == pytest.approx(float(mask.double().sum()), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_projected_wide(dtype: torch.dtype) -> None:
    features = random_features(0).to(dtype)
    term = term_for(random_features(1).to(dtype).float())
    loss, slope = evaluated(term, features)
    exact = term_for(random_features(1).to(dtype).double())
    wanted, other = evaluated(exact, features.double())
    assert loss == pytest.approx(wanted, rel=1e-4)
    assert float((slope.double() - other).norm() / other.norm()) < 0.01


def test_what_lies_beyond_all_bins_is_sent_back() -> None:
    features = random_features(0)
    features[..., 0, 0] = 1e9
    features[..., 0, 1] = -1e9
    _, slope = evaluated(term_for(random_features(1)), features)
    assert torch.isfinite(slope).all()
    bins = term_for(random_features(1)).slices[LAYER].bins
    assert float((bins.directions @ slope[0, :, 0, 0]).abs().min()) > 0


def test_directions_are_those_of_seed_and_step() -> None:
    target = random_features(1)

    def directions(term: Sliced) -> Tensor:
        return term.slices[LAYER].bins.directions

    term = term_for(target, seed=3)
    found = [directions(term.at_step(step)) for step in (0, 5, 5, 6)]
    assert torch.equal(found[1], found[2])
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[3])
    assert not torch.equal(found[0], directions(term_for(target, seed=4)))
    assert torch.equal(found[1], directions(term.at_step(2).at_step(5)))
    units = found[1] / found[1].norm(dim=1, keepdim=True)
    torch.testing.assert_close(units @ units.T, torch.eye(5, dtype=torch.float64))


def test_a_loss_that_does_not_change_stays_as_it_is() -> None:
    term = term_for(random_features(1), redraws=False)
    assert term.at_step(7) is term
    assert term.at_step(0) is term
    assert replace(term, redraws=True).at_step(0).step == 0


@pytest.mark.parametrize("most", [10**6, 50])
def test_samples_of_parts_add_up(most: int) -> None:
    features = random_features(0, size=(40, 33))
    mask = torch.rand(1, 1, 40, 33, dtype=torch.float64)
    sample = Sample(layers=(LAYER,), most_values=10**9, most=most)
    whole = sample.measure(view_of(features, mask), features)
    vectors, weights = torch.zeros_like(whole["vectors"]), torch.zeros_like(whole["weights"])
    for rows in (slice(0, 11), slice(11, 40)):
        index = rows, slice(0, 33)
        view = View(LAYER, index, (40, 33), mask[..., rows, :], torch.float64)
        part = sample.measure(view, features[..., rows, :])
        vectors, weights = vectors + part["vectors"], weights + part["weights"]
    assert torch.equal(vectors, whole["vectors"])
    assert torch.equal(weights, whole["weights"])
    assert 0.5 * most < len(vectors) <= most or len(vectors) == 40 * 33
    pairs = torch.cat([vectors, weights], dim=1)
    every = torch.cat([features, mask], dim=1)[0].flatten(1).T
    assert (pairs[:, None] == every).all(2).any(1).all()


def test_a_sample_knows_a_style_nearly_as_well_as_all_of_it() -> None:
    """And of several styles each counts as much as it shall, however large it is."""
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, torch.float64, torch.channels_last)
    canvas, style = random_image(96, 128, seed=1), random_image(192, 224, seed=2)
    losses = []
    for most in (2**14, 2**30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hires.losses.sliced._MOST_SAMPLES", most)
            patch.setattr("hires.losses.sliced._MOST_VALUES", 2**40)
            term = Sliced(layers={"relu1_1": 0.5, "relu3_1": 0.5})
            setup = setup_of(network, [term], torch.float64, 64)
            losses.append(float(objective_of(setup, canvas, style)(canvas).loss))
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize(
    "loss", ["sliced", "wasserstein:1 sliced:0.5", "wasserstein central:5 transport:0.5"]
)
def test_a_resumed_run_ends_with_the_same_bits(loss: str) -> None:
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    content, style = (random_image(80, 96, seed=seed).float() for seed in (1, 2))
    config = hires.Config(
        sizes=(64, 96),
        iterations=(3, 3),
        style_loss=loss.split(),
        content_loss="self-similarity" if "transport" in loss else "relative",
        device="cpu",
        seed=5,
    )
    paint = partial(hires.iter_stylize, content, style, config, network=network)
    steps = [*paint()]
    names = {name for name in steps[-1].terms if name not in ("content", "patch", "tv")}
    losses = {part.split(":")[0] for part in loss.split()}
    assert names == ({"style"} if loss == "sliced" else losses)
    for done in (1, 3, 5):
        part = paint()
        snapshot = [next(part) for _ in range(done)][-1].snapshot().copy()
        *_, last = paint(resume=snapshot)
        assert torch.equal(last.picture(), steps[-1].picture())


def test_slopes_of_bins_reach_the_features() -> None:
    features = random_features(0)
    ends = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    bins = Bins.between(torch.eye(5, dtype=torch.float64), *ends, 4)
    table = torch.arange(20, dtype=torch.float64).view(5, 4)
    leaf = features.clone().requires_grad_()
    (slope,) = torch.autograd.grad(sent_back(leaf, bins, [table], [None]), leaf)
    places = (features * 4).clamp(0, 3).long()
    wanted = table[torch.arange(5).view(1, 5, 1, 1), places] * 4  # In widths of a quarter.
    torch.testing.assert_close(slope, wanted)
