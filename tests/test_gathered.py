"""Losses of gathered vectors: self-similarity, relaxed transport."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hires.losses.gathered import (
    cosine_distances,
    gathered,
    relaxed_transport,
    self_similarity_loss,
)
from hires.losses.positions import View
from hires.losses.sample import sample_of_step

ONES = torch.ones(12, dtype=torch.float64)


def vectors(seed: int, number: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(number, 5, generator=generator, dtype=torch.float64) + 0.1


def plain_similarity(own: Tensor, scene: Tensor, weights: Tensor) -> float:
    """Written for reading."""
    rows = []
    for i in range(len(own)):
        shares = []
        for part in (own, scene):
            row = [
                1 - float(part[i] @ part[j] / part[i].norm() / part[j].norm())
                for j in range(len(part))
                if weights[j] > 0
            ]
            shares.append([value / sum(row) for value in row])
        rows.append(float(weights[i]) * sum(abs(a - b) for a, b in zip(*shares, strict=True)))
    return float(sum(rows) / weights.sum())


def plain_transport(own: Tensor, like: Tensor) -> float:
    distances = [
        [1 - float(one @ other / one.norm() / other.norm()) for other in like] for one in own
    ]
    here = [min(row) for row in distances]
    there = [min(column) for column in zip(*distances, strict=True)]
    return float(max(sum(here) / len(here), sum(there) / len(there)))


class TestSelfSimilarity:
    def test_zero_at_the_target_whatever_its_colours(self) -> None:
        scene = vectors(0)
        turned, _ = torch.linalg.qr(vectors(1, 5))
        own = (3 * scene @ turned).requires_grad_()
        loss = self_similarity_loss(own, scene, ONES)
        assert float(loss.detach()) < 1e-6
        assert float(self_similarity_loss(vectors(2), scene, ONES)) > 0.1

    def test_value_by_hand(self) -> None:
        """Three directions 90 degrees apart, and three of which two are the same."""
        own = torch.eye(3, dtype=torch.float64)
        scene = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
        # Rows of shares: (0, 1/2, 1/2) against (0, 0, 1), alike, and (1/2, 1/2, 0) against itself.
        assert float(self_similarity_loss(own, scene, ONES[:3])) == pytest.approx(2 / 3, rel=1e-6)

    def test_reference_and_slope(self) -> None:
        weights = torch.tensor([1.0, 0, 2, 1, 0.5, 1, 1, 1, 0, 1, 1, 1], dtype=torch.float64)
        own, scene = vectors(1), vectors(2)
        found = float(self_similarity_loss(own, scene, weights))
        assert found == pytest.approx(plain_similarity(own, scene, weights), rel=1e-6)
        assert torch.autograd.gradcheck(
            lambda x: self_similarity_loss(x, scene, weights), (own.requires_grad_(),)
        )


class TestTransport:
    def test_zero_at_the_target_in_any_order(self) -> None:
        own = vectors(0)
        assert float(relaxed_transport(own.flip(0) * 2, ONES, own, ONES)) < 1e-7

    def test_value_by_hand(self) -> None:
        """All of the canvas is in the style, but half of the style is not in the canvas."""
        own = torch.tensor([[1.0, 0]], dtype=torch.float64).expand(4, 2)
        like = torch.tensor([[1.0, 0], [0, 1]], dtype=torch.float64)
        found = relaxed_transport(own, ONES[:4], like, ONES[:2])
        assert float(found) == pytest.approx(0.5, rel=1e-6)
        # What does not count is not asked for.
        alone = relaxed_transport(own, ONES[:4], like, torch.tensor([1.0, 0]).double())
        assert float(alone) == pytest.approx(0, abs=1e-7)

    def test_what_does_not_count_is_nobodys_nearest(self) -> None:
        own, like, weights = vectors(1), vectors(2, 9), ONES.clone()
        weights[::2] = 0
        wanted = ONES[:9].clone()
        wanted[:4] = 0
        found = relaxed_transport(own, weights, like, wanted)
        assert float(found) == pytest.approx(plain_transport(own[1::2], like[4:]), rel=1e-6)
        assert not torch.isnan(relaxed_transport(own, 0 * weights, like, wanted))

    def test_reference_and_slope(self) -> None:
        own, like = vectors(1), vectors(2, 9)
        found = relaxed_transport(own, ONES, like, ONES[:9])
        assert float(found) == pytest.approx(plain_transport(own, like), rel=1e-6)
        assert torch.autograd.gradcheck(
            lambda x: relaxed_transport(x, ONES, like, ONES[:9]), (own.requires_grad_(),)
        )


def test_a_blank_vector_is_as_far_as_any() -> None:
    some = torch.zeros(1, 3, dtype=torch.float64).requires_grad_()
    found = cosine_distances(some, torch.eye(3, dtype=torch.float64))
    assert found.tolist() == [[1, 1, 1]]
    (slope,) = torch.autograd.grad(found.sum(), some)
    assert bool(slope.isfinite().all())


def test_steps_look_elsewhere_and_steps_alike_at_the_same() -> None:
    view = View("relu4_2", (slice(0, 60), slice(0, 70)), (60, 70), None, torch.float64)
    places = torch.stack(torch.meshgrid(torch.arange(60.0), torch.arange(70.0), indexing="ij"))

    def seen(step: int) -> Tensor:
        return gathered(sample_of_step(["relu4_2"], 100, 5, step), view, places[None])["vectors"]

    first = seen(0)
    assert torch.equal(first, seen(0))
    assert not torch.equal(first, seen(1))
    assert 60 < len(first) <= 100
    # One in each cell of a grid: no part is left out.
    assert math.isclose(float(first[:, 0].mean()), 30, abs_tol=3)
    assert len({tuple(row) for row in first.tolist()}) == len(first)
