"""Central moments: a value by hand, slopes, masks, blends; and what rounding leaves of them.

That they are exact in tiles: tests/test_exactness.py, tests/test_regions.py.
"""

from __future__ import annotations

import pytest
import reference
import torch
from torch import Tensor

from hires.kernels.powers import power_sums
from hires.losses.central import Central, central_loss, central_moments
from hires.losses.regional import Regional


def random_features(seed: int, channels: int = 5, height: int = 6, width: int = 7) -> Tensor:
    """Skewed features, most of them small."""
    generator = torch.Generator().manual_seed(seed)
    shape = 1, channels, height, width
    return 2 * torch.randn(shape, generator=generator, dtype=torch.float64).exp() - 1


def powers(features: Tensor, centres: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Per position; about the channels' number, if no centres are given."""
    centres = torch.arange(features.shape[1]).double() / 7 if centres is None else centres
    count = features[0, 0].numel() if mask is None else float(mask.sum())
    return power_sums(features, centres, torch.float64, mask=mask) / count


def loss_of(features: Tensor, target: Tensor) -> Tensor:
    mean = target.sigmoid().mean(dim=(0, 2, 3))
    wanted = central_moments(powers(target, mean))
    return central_loss(central_moments(powers(features, mean)), wanted, mean)


def test_moments_are_those_of_their_definition() -> None:
    features = random_features(0)
    found = central_moments(powers(features))
    x = features.sigmoid()[0].flatten(1)
    mean = x.mean(1, keepdim=True)
    for k in range(2, 6):
        torch.testing.assert_close(found[k - 1], ((x - mean) ** k).mean(1))
    torch.testing.assert_close(found[0], mean[:, 0] - torch.arange(5) / 7)


def test_zero_and_flat_at_the_target() -> None:
    features = random_features(0).requires_grad_()
    loss = loss_of(features, features.detach())
    (gradient,) = torch.autograd.grad(loss, features)
    assert float(loss.detach()) < 1e-20
    assert float(gradient.abs().max()) < 1e-10


def test_value_computed_by_hand() -> None:
    """Of 0.2 and 0.6, and of 0.2 and 0.8: means 0.4 and 0.5, deviations 0.2 and 0.3, no skew.

    The fourth standardised moment of two values is 1, as the second is.
    """
    values = torch.tensor([[0.2, 0.6], [0.2, 0.8]]).double()
    found, target = values.logit().view(2, 1, 1, 1, 2)
    losses = [0.1**2, 0.1**2 / 2**0.5, 0.0, 0.1**2 / 2**0.75, 0.0]
    wanted = sum(losses) / 5 / 0.3**2
    assert float(loss_of(found, target)) == pytest.approx(wanted, rel=3e-3)  # For the floor.


@pytest.mark.parametrize("seed", range(3))
def test_agreement_with_the_reference(seed: int) -> None:
    features, target = random_features(seed), random_features(seed + 10, height=4, width=9)
    wanted = reference.central_loss(features, target)
    assert float(loss_of(features, target)) == pytest.approx(float(wanted), rel=1e-9)


@pytest.mark.parametrize("masked", [False, True])
def test_gradcheck(masked: bool) -> None:
    mask = torch.rand(1, 1, 6, 7, dtype=torch.float64) if masked else None
    target = central_moments(powers(random_features(1)))

    def loss(features: Tensor) -> Tensor:
        centre = torch.full((5,), 0.4, dtype=torch.float64)
        return central_loss(central_moments(powers(features, mask=mask)), target, centre)

    assert torch.autograd.gradcheck(loss, (random_features(2).requires_grad_(),))


def test_a_position_of_weight_two_is_there_twice() -> None:
    features = random_features(0)
    mask = torch.ones(1, 1, 6, 7, dtype=torch.float64)
    mask[..., :3, :] = 2
    twice = torch.cat([features[..., :3, :], features], dim=2)
    torch.testing.assert_close(powers(features, mask=mask), powers(twice))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("masked", [False, True])
def test_sums_are_wide(dtype: torch.dtype, masked: bool) -> None:
    """Of many positions, and also of a blank sky; features are rounded, sums are not."""
    for features in (random_features(0, 8, 200, 300), torch.full((1, 8, 200, 300), 0.7)):
        given = features.to(dtype).to(memory_format=torch.channels_last)
        mask = torch.full((1, 1, 200, 300), 0.25) if masked else None
        centres = given.double().sigmoid().mean(dim=(0, 2, 3)) + 0.01
        found = central_moments(powers(given, centres, mask))
        wanted = central_moments(powers(given.double(), centres))
        least = 0.01 ** torch.arange(1.0, 6.0)[:, None]  # Of what the loss divides by.
        scale = torch.maximum(wanted.abs().amax(1, keepdim=True), least)
        assert float(((found - wanted) / scale).abs().max()) < 1e-4


def test_a_skewed_channel_is_told_from_one_with_the_same_mean_and_spread() -> None:
    """Which no mean and no variance does."""
    few = torch.tensor([0.0] * 8 + [1.0] * 2).double()
    even = torch.tensor([0.0, 1.0]).double().repeat(5)
    even = (even - even.mean()) / even.std(correction=0) * few.std(correction=0) + few.mean()
    skewed, straight = ((0.2 + x / 2).logit().view(1, 1, 2, 5) for x in (few, even))
    moments = [central_moments(powers(x)) for x in (skewed, straight)]
    torch.testing.assert_close(moments[0][:2], moments[1][:2])
    assert float(loss_of(straight, skewed)) > 0.01


def test_where_no_region_has_a_position_there_is_no_loss() -> None:
    canvas = Regional({"relu1_1": [0.0]}, [1.0])
    term = Central(layers={"relu1_1": 1.0}, canvas=canvas)
    assert float(term.judge({"relu1_1": {"powers0": torch.zeros(5, 3)}})) == 0
