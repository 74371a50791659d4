"""Masks: moments, losses and gradients of what counts, against plain formulas."""

from __future__ import annotations

import pytest
import reference
import torch
import torch.nn.functional as F
from conftest import COMPACT_SHAPE, random_image, random_weights
from objectives import objective_of, setup_of, terms_of
from torch import Tensor

from hires.engine.objective import Objective
from hires.errors import ConfigError
from hires.features.network import Network
from hires.kernels.sums import moment_sums, squared_error
from hires.losses.moments import Moments
from hires.losses.positions import Positions
from hires.losses.style import STYLE_LOSSES

LAYERS = ("relu1_1", "relu2_1", "relu3_1")
CONTENT_LAYER = "relu3_1"
SIZE = (53, 70)
CPU = torch.device("cpu")


def network() -> Network:
    found = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    found.prepare(torch.device("cpu"), torch.float64, torch.channels_last)
    return found


def mask_like(seed: int, size: tuple[int, int] = SIZE) -> Tensor:
    mask = random_image(*size, seed=seed)[:, :1].double()
    return torch.where(mask < 0.3, 0.0, mask)


def moments_of(features: Tensor, mask: Tensor) -> Moments:
    """The weighted sums, written out."""
    f, m = features[0].flatten(1), mask[0].flatten(1)
    return Moments(float(m.sum()), (m * f).sum(1), (m * f) @ f.T)


def objective(
    style_loss: str, mask: Tensor | None, style_mask: Tensor | None, content_loss: str = "relative"
) -> Objective:
    layers = dict.fromkeys(LAYERS, 1.0), {CONTENT_LAYER: 1.0}
    terms = terms_of(style_loss, layers, (1.0, 0.5, 0.0), content_loss=content_loss)
    content, style = random_image(*SIZE, seed=1).double(), random_image(*SIZE, seed=2).double()
    setup = setup_of(network(), terms, torch.float64)
    return objective_of(setup, content, style, masks=(mask, style_mask))


@pytest.mark.parametrize("content_loss", ["relative", "mse", "sum"])
@pytest.mark.parametrize("style_loss", STYLE_LOSSES)
def test_loss_and_gradient_equal_the_formulas(style_loss: str, content_loss: str) -> None:
    mask, style_mask = mask_like(5), mask_like(6)
    canvas = random_image(*SIZE, seed=3).double()
    found = objective(style_loss, mask, style_mask, content_loss)(canvas)

    weights = random_weights(COMPACT_SHAPE)
    leaf = canvas.clone().requires_grad_()
    own = reference.network(COMPACT_SHAPE, weights, leaf)
    wanted = reference.network(COMPACT_SHAPE, weights, random_image(*SIZE, seed=2).double())
    scene = reference.network(COMPACT_SHAPE, weights, random_image(*SIZE, seed=1).double())
    strides = dict(zip(LAYERS, (1, 2, 4), strict=True))
    style = torch.zeros((), dtype=torch.float64)
    for name in LAYERS:
        part, target = (F.avg_pool2d(m, strides[name]) for m in (mask, style_mask))
        loss = STYLE_LOSSES[style_loss](
            moments_of(own[name], part), moments_of(wanted[name], target)
        )
        style = style + loss / 3
    if style_loss == "gram-sum":
        style = style / float(mask.sum()) ** 2
    part = F.avg_pool2d(mask, strides[CONTENT_LAYER])
    content = (part * (own[CONTENT_LAYER] - scene[CONTENT_LAYER]).square()).sum()
    if content_loss == "relative":
        content = content / (part * scene[CONTENT_LAYER].square()).sum()
    if content_loss == "mse":
        content = content / (part.sum() * own[CONTENT_LAYER].shape[1])
    total = style + 0.5 * content
    (slope,) = torch.autograd.grad(total, leaf)
    assert float(found.loss) == pytest.approx(total.item(), rel=1e-10)
    assert float((found.gradient - slope).norm() / slope.norm()) < 1e-8


def test_a_mask_of_ones_is_no_mask() -> None:
    canvas, ones = random_image(*SIZE, seed=3).double(), torch.ones(1, 1, *SIZE).double()
    plain = objective("wasserstein", None, None)(canvas)
    masked = objective("wasserstein", ones, ones / 2)(canvas)  # Only ratios of weights matter.
    assert float(masked.loss) == pytest.approx(float(plain.loss), rel=1e-12)
    torch.testing.assert_close(masked.gradient, plain.gradient, rtol=1e-9, atol=1e-14)


def test_half_precision_sums_are_those_of_the_visible_positions() -> None:
    features = random_image(40, 50, seed=7).bfloat16().to(memory_format=torch.channels_last)
    mask = torch.zeros(1, 1, 40, 50)
    mask[..., 10:30, 5:45] = 1
    masked = moment_sums(features, torch.float64, exact=True, mask=mask)
    cut = moment_sums(features[..., 10:30, 5:45], torch.float64, exact=True)
    torch.testing.assert_close(masked, cut, rtol=1e-5, atol=0)


def test_what_does_not_count_gets_no_gradient() -> None:
    features = random_image(8, 8, seed=8).double().requires_grad_()
    mask = torch.ones(1, 1, 8, 8).double()
    mask[..., :3] = 0
    loss = squared_error(features, torch.zeros_like(features), torch.float64, mask=mask)
    loss = loss + moment_sums(features, torch.float64, exact=True, mask=mask)[1].sum()
    (slope,) = torch.autograd.grad(loss, features)
    assert not slope[..., :3].any()
    assert slope[..., 3:].all()


def test_a_mask_in_which_nothing_counts_is_refused() -> None:
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., -1, -1] = 1  # Beyond the last whole window of the pooling.
    with pytest.raises(ConfigError, match="nothing of a picture can be seen at 70x53"):
        Positions(SIZE, network().layers, device=CPU, sum_dtype=torch.float64, mask=mask)
