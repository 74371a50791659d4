"""Each loss: zero at its target, a value by hand, its slope, and the plain transcription."""

from __future__ import annotations

import math

import pytest
import reference
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from objectives import objective_of, setup_of, terms_of
from torch import Tensor

from hires.features.network import Network
from hires.kernels.sums import moment_sums
from hires.losses.moments import Moments, blend
from hires.losses.style import CENTRED_LOSSES, STYLE_LOSSES
from hires.losses.variation import total_variation

CPU = torch.device("cpu")


def random_features(seed: int, channels: int = 5, height: int = 6, width: int = 7) -> Tensor:
    """Features with a mean and with correlated channels, as a network's are."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, channels, height, width, generator=generator, dtype=torch.float64)
    mix = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    return torch.einsum("ij,bjyx->biyx", mix, noise) + torch.arange(channels).view(1, -1, 1, 1)


def moments(features: Tensor) -> Moments:
    total, product = moment_sums(features, torch.float64, exact=True)
    return Moments(features.shape[2] * features.shape[3], total, product)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_zero_and_flat_at_the_target(name: str) -> None:
    features = random_features(0).requires_grad_()
    loss = STYLE_LOSSES[name](moments(features), moments(features.detach()))
    (gradient,) = torch.autograd.grad(loss, features)
    assert abs(float(loss.detach())) < 1e-10
    assert float(gradient.abs().max()) < 1e-7


# One channel: μ = 1, σ = 1, second moment 2; the target has μ = 2, σ = 2, second moment 8.
BY_HAND = {
    "gram": (8 - 2) ** 2 / 8**2,
    "meanstd": (1 + 1) / (4 + 4),
    "wasserstein": (1 + (math.sqrt(4.0004) - math.sqrt(1.0004)) ** 2) / 8,
    "gram-mse": (8 - 2) ** 2,
    "gram-sum": (16 - 4) ** 2 / (4 * 9),  # Two positions.
}


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_value_computed_by_hand(name: str) -> None:
    features = torch.tensor([[[[0.0, 2.0]]]], dtype=torch.float64)
    loss = STYLE_LOSSES[name](moments(features), moments(2 * features))
    assert float(loss) == pytest.approx(BY_HAND[name], rel=1e-7)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_gradcheck_through_the_moments(name: str) -> None:
    target = moments(random_features(1))

    def loss(features: Tensor) -> Tensor:
        return STYLE_LOSSES[name](moments(features), target)

    assert torch.autograd.gradcheck(loss, (random_features(2).requires_grad_(),))


@pytest.mark.parametrize("name", reference.MOMENTS)
@pytest.mark.parametrize("seed", range(3))
def test_agreement_with_the_reference(name: str, seed: int) -> None:
    features, target = random_features(seed), random_features(seed + 10, height=4, width=9)
    found = STYLE_LOSSES[name](moments(features), moments(target))
    assert float(found) == pytest.approx(float(reference.STYLE[name](features, target)), rel=1e-9)


@pytest.mark.parametrize("name", reference.MOMENTS)
def test_losses_do_not_depend_on_the_features_scale(name: str) -> None:
    features, target = random_features(0), random_features(1)
    small = STYLE_LOSSES[name](moments(features), moments(target))
    large = STYLE_LOSSES[name](moments(100 * features), moments(100 * target))
    assert float(large) == pytest.approx(float(small), rel=1e-6)


def test_moments_are_those_of_the_reference() -> None:
    features = random_features(0)
    mean, gram, covariance = reference.statistics(features)
    found = moments(features)
    torch.testing.assert_close(found.mean, mean)
    torch.testing.assert_close(found.gram, gram)
    torch.testing.assert_close(found.covariance, covariance)
    torch.testing.assert_close(found.variance, covariance.diagonal())


def test_moments_add_up_over_parts() -> None:
    features = random_features(0)
    both, whole = moments(features[..., :3]) + moments(features[..., 3:]), moments(features)
    assert both.count == whole.count == 42
    torch.testing.assert_close(both.total, whole.total)
    torch.testing.assert_close(both.product, whole.product)


def test_a_blend_is_the_weighted_mean_per_position() -> None:
    # Pictures of different sizes: a blend must not count positions.
    first, second = moments(random_features(0)), moments(random_features(1, height=20))
    mixed = blend([first, second], [1, 3])
    torch.testing.assert_close(mixed.mean, 0.25 * first.mean + 0.75 * second.mean)
    torch.testing.assert_close(mixed.gram, 0.25 * first.gram + 0.75 * second.gram)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_a_blend_of_one_style_is_that_style(name: str) -> None:
    features, target = moments(random_features(0)), moments(random_features(1))
    for mixed in (blend([target], [7]), blend([target, features], [1, 0])):
        loss = STYLE_LOSSES[name](features, mixed)
        assert float(loss) == pytest.approx(float(STYLE_LOSSES[name](features, target)), rel=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 5)])
def test_total_variation_equals_the_reference(size: tuple[int, int]) -> None:
    image = random_image(*size).requires_grad_()
    value, gradient = total_variation(image.detach(), (1, 1, 1, 1))
    wanted = reference.total_variation(image) * size[0] * size[1]
    (slope,) = torch.autograd.grad(wanted, image)
    torch.testing.assert_close(value, wanted.detach())
    torch.testing.assert_close(gradient, slope)


def test_total_variation_by_hand() -> None:
    # One pair of neighbours differing by 1 and, by replication, its two diagonals counted half.
    image = torch.tensor([[0.0, 1.0]], dtype=torch.float64).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    value, _ = total_variation(image, (1, 1, 1, 1))
    assert float(value) == pytest.approx(3 * (1 + 0.5 + 0.5) / 6)


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20))
def test_total_variation_adds_up_over_bands(height: int, width: int, num_rows: int) -> None:
    image = random_image(height, width)
    whole, slope = total_variation(image, (1, 1, 1, 1))
    total, parts = 0.0, torch.zeros_like(image)
    for start in range(0, height, num_rows):
        stop = min(start + num_rows, height)
        top, bottom = int(start == 0), int(stop == height)
        rows = slice(start - 1 + top, stop + 1 - bottom)
        value, part = total_variation(image[..., rows, :], (top, bottom, 1, 1))
        total += float(value)
        parts[..., start:stop, :] = part
    assert total == pytest.approx(float(whole), rel=1e-12, abs=1e-15)
    torch.testing.assert_close(parts, slope)


def evaluate(
    style_loss: str, canvas: Tensor, content: Tensor, style: Tensor, dtype: torch.dtype
) -> tuple[float, Tensor]:
    """Loss and gradient of one whole pass of the compact shape."""
    layers = {f"relu{b}_1": 1.0 for b in range(1, 6)}, {"relu4_2": 1.0}
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, dtype, torch.channels_last)
    setup = setup_of(network, terms_of(style_loss, layers, (10.0, 1.0, 1.0)), dtype)
    objective = objective_of(setup, content.float(), style.float())
    found = objective(canvas.float())
    return float(found.loss), found.gradient


SIZE = (64, 80)
PICTURES = {
    "black": torch.zeros(1, 3, *SIZE),
    "white": torch.ones(1, 3, *SIZE),
    "gray": torch.full((1, 3, *SIZE), 0.5),
    "picture": random_image(*SIZE),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("style_loss", [*STYLE_LOSSES, "central", "sliced", "transport"])
def test_blank_pictures_stay_finite(style_loss: str, dtype: torch.dtype) -> None:
    for canvas in PICTURES.values():
        for style in PICTURES.values():
            loss, gradient = evaluate(style_loss, canvas, canvas, style, dtype)
            assert math.isfinite(loss)
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("style_loss", [*STYLE_LOSSES, "central", "sliced"])
def test_bf16_features_give_nearly_the_same_loss(style_loss: str) -> None:
    canvas, content, style = (random_image(*SIZE, seed=seed) for seed in (1, 2, 3))
    loss, gradient = evaluate(style_loss, canvas, content, style, torch.float32)
    rounded, slope = evaluate(style_loss, canvas, content, style, torch.bfloat16)
    assert rounded == pytest.approx(loss, rel=0.03)
    # Rounding flips some of the ReLUs and maxima, whose slopes then differ altogether.
    assert float(torch.cosine_similarity(slope.flatten(), gradient.flatten(), 0)) > 0.95


def test_losses_of_spreads_are_known_as_such() -> None:
    assert {STYLE_LOSSES[name] for name in ("meanstd", "wasserstein")} == CENTRED_LOSSES
