"""Second moments of patches: lags against plain formulas, bands against the whole, and the loss."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from conftest import COMPACT_SHAPE, random_image, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from objectives import objective_of, setup_of, terms_of
from torch import Tensor

import hires
from hires.engine.canvas import WholeCanvas
from hires.engine.measuring import Measuring
from hires.engine.objective import Objective
from hires.engine.references import References
from hires.engine.setup import Setup
from hires.features.network import Network
from hires.image.originals import Original
from hires.kernels.lags import REACH, PixelRows, lag_slopes, lag_sums
from hires.losses import patches
from hires.losses.patches import Patches
from hires.losses.positions import Positions
from hires.tiling.geometry import Region, Span

CPU = torch.device("cpu")
DOUBLE = torch.float64


def plain_lags(pixels: Tensor) -> Tensor:
    """Products of pixels with their neighbours, from shifted pictures."""
    height, width = pixels.shape[2:]
    wide = F.pad(pixels, (REACH, REACH, 0, REACH))[0]
    rows = []
    for y in range(REACH + 1):
        shifted = [wide[:, y : y + height, x : x + width] for x in range(2 * REACH + 1)]
        rows.append(torch.stack([torch.einsum("cyx,dyx->cd", pixels[0], s) for s in shifted]))
    return torch.stack(rows)


def plain_moments(pixels: Tensor) -> Tensor:
    """Second moments of all 3x3 patches that touch a picture, zero beyond it, by position."""
    height, width = (side + 2 for side in pixels.shape[2:])
    wide = F.pad(pixels, (2, 2, 2, 2))[0]
    each = [wide[c, y : y + height, x : x + width].flatten() for y, x, c in places()]
    rows = torch.stack(each)
    return rows @ rows.T / (pixels.shape[2] * pixels.shape[3])


def places() -> list[tuple[int, int, int]]:
    return [(y, x, c) for y in range(3) for x in range(3) for c in range(3)]


def plain_loss(
    canvas: Tensor, styles: Sequence[Tensor], shares: Sequence[float] = (1.0,)
) -> Tensor:
    """The formula of the docstring by eigenvalues, for pictures whose sides are multiples of 4."""
    pairs = list(zip(styles, shares, strict=True))
    centre = sum(share * style.mean((2, 3), keepdim=True) for style, share in pairs)
    losses = []
    for size in (1, 2, 4):
        wanted = sum(
            share * plain_moments(F.avg_pool2d(style - centre, size)) for style, share in pairs
        )
        floor = patches._FLOOR * torch.eye(27, dtype=DOUBLE)
        found = plain_moments(F.avg_pool2d(canvas - centre, size))
        inverse = torch.linalg.inv(torch.linalg.cholesky(wanted + floor))
        values = torch.linalg.eigvalsh(inverse @ (found + floor) @ inverse.T)
        losses.append((values.sqrt() - 1).square().mean())
    return torch.stack(losses).mean()


@settings(max_examples=30)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 24))
def test_lags_add_up_over_bands(height: int, width: int, num_rows: int) -> None:
    pixels = (random_image(height, width).double() - 0.5).requires_grad_()
    wanted = plain_lags(pixels)
    slope = random_image(5 * 3, 9, seed=2).double()[0].reshape(-1)[: 3 * 5 * 9].view(3, 5, 3, 3)
    (gradient,) = torch.autograd.grad((slope * wanted).sum(), [pixels])
    total, slopes = torch.zeros_like(wanted), torch.zeros_like(gradient)
    for start in range(0, height, num_rows):
        stop = min(start + num_rows, height)
        first, last = max(start - REACH, 0), min(stop + REACH, height)
        window, rows = pixels[..., first:last, :].detach(), slice(start - first, stop - first)
        laid = PixelRows.of(window)
        total += lag_sums(laid, rows, DOUBLE)
        slopes[0, :, start:stop] = lag_slopes(laid, rows, slope).permute(2, 0, 1)
    torch.testing.assert_close(total, wanted.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes, gradient, rtol=1e-12, atol=1e-12)


def test_patches_follow_from_lags() -> None:
    pixels = random_image(9, 11).double() - 0.5
    laid = PixelRows.of(pixels)
    found = patches._of_patches(lag_sums(laid, slice(0, 9), DOUBLE) / 99)
    wanted = plain_moments(pixels) + patches._FLOOR * torch.eye(27, dtype=DOUBLE)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.fixture
def setup() -> Setup:
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, DOUBLE, torch.channels_last)
    # A network without a layer to look at is none; these terms weigh nothing.
    others = terms_of("wasserstein", ({"relu1_1": 1.0}, {"relu2_1": 1.0}), (0.0, 0.0, 0.0))
    return setup_of(network, [*others, Patches(weight=2.0)], DOUBLE)


def picture(height: int, width: int, seed: int) -> Tensor:
    return random_image(height, width, seed=seed).double()


def test_loss_and_gradient_are_those_of_the_formula(setup: Setup) -> None:
    style, canvas = picture(64, 72, 2), picture(72, 64, 3)
    found = objective_of(setup, picture(72, 64, 1), style)(canvas)
    canvas.requires_grad_()
    wanted = 2 * plain_loss(canvas, [style])
    torch.testing.assert_close(found.loss, wanted.detach(), rtol=1e-9, atol=0)
    (gradient,) = torch.autograd.grad(wanted, [canvas])
    torch.testing.assert_close(found.gradient, gradient, rtol=1e-8, atol=1e-12)


def objective_with_bands(
    monkeypatch: pytest.MonkeyPatch, objective: Objective, num_rows: int | None
) -> Objective:
    height, width = objective.positions.size
    monkeypatch.setattr(objective.positions, "_band_pixels", width * (num_rows or height))
    monkeypatch.setattr("hires.losses.positions._BAND_MARGINS", 0)
    return objective


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [(131, 67), (70, 93), (64, 64)])
@pytest.mark.parametrize("num_rows", [1, 7, 30])
def test_bands_equal_the_whole(
    monkeypatch: pytest.MonkeyPatch,
    setup: Setup,
    size: tuple[int, int],
    num_rows: int,
    masked: bool,
) -> None:
    content, style, canvas = picture(*size, 1), picture(75, 101, 2), picture(*size, 3)
    masks = [(picture(*size, 4)[:, :1] * 2 - 0.5).clamp(0, 1), None] if masked else [None, None]
    objective = objective_of(setup, content, style, masks=masks)
    whole = objective_with_bands(monkeypatch, objective, None)(canvas)
    loss, gradient = whole.loss, whole.gradient.clone()
    parts = objective_with_bands(monkeypatch, objective, num_rows)(canvas)
    torch.testing.assert_close(parts.loss, loss, rtol=1e-12, atol=0)
    assert float((parts.gradient - gradient).norm() / gradient.norm()) < 1e-12


def test_several_styles_are_blended(setup: Setup) -> None:
    styles, canvas = [picture(64, 72, 2), picture(80, 64, 5) ** 2], picture(72, 64, 3)
    references = References(
        setup=setup,
        canvas=WholeCanvas(setup, (72, 64)),
        content=Original(picture(72, 64, 1)),
        styles=[Original(style) for style in styles],
        style_sizes=[(style.shape[2], style.shape[3]) for style in styles],
        shares=[0.25, 0.75],
        measuring=Measuring(setup),
    )
    found = setup.objective(references, setup.plan_tiles((72, 64)))(canvas)
    wanted = 2 * plain_loss(canvas, styles, (0.25, 0.75))
    torch.testing.assert_close(found.loss, wanted, rtol=1e-9, atol=0)


def test_what_cannot_be_seen_does_not_count(setup: Setup) -> None:
    """Left of a mask's edge there is the style's mean colour, as beyond a border."""
    style, canvas, content = picture(64, 72, 2), picture(64, 96, 3), picture(64, 96, 1)
    mask = torch.ones(1, 1, 64, 96, dtype=DOUBLE)
    mask[..., :32] = 0
    masked = objective_of(setup, content, style, masks=[mask, None])(canvas)
    cropped = objective_of(setup, content[..., 32:], style)(canvas[..., 32:].contiguous())
    torch.testing.assert_close(masked.loss, cropped.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(masked.gradient[..., 32:], cropped.gradient, rtol=1e-10, atol=1e-14)
    assert float(masked.gradient[..., :32].abs().max()) == 0


def test_a_painting_like_its_style_costs_nothing(setup: Setup) -> None:
    style = picture(64, 72, 2)
    assert float(objective_of(setup, style, style)(style).loss) < 1e-9


def test_a_grey_style_asks_colour_grain_away_and_bears_a_step_of_eight_bits(setup: Setup) -> None:
    grey = picture(64, 72, 2)[:, :1].expand(1, 3, 64, 72).contiguous()
    losses = [
        float(objective_of(setup, grey, grey)(grey + amplitude * (picture(64, 72, 7) - 0.5)).loss)
        for amplitude in (0.5 / 255, 30 / 255)
    ]
    assert losses[0] < 0.01
    assert losses[1] > 1


def test_pictures_side_by_side_are_no_neighbours() -> None:
    pictures = [Region(Span(0, 64), Span(0, 40)), Region(Span(0, 64), Span(40, 104))]
    positions = Positions((64, 104), {}, device=CPU, sum_dtype=DOUBLE, pictures=pictures)
    canvas = picture(64, 104, 3)
    term = Patches()
    found = [
        term.measure(view, canvas[..., *index])["lags0"] for index, view in positions.of_pixels(0)
    ]
    for part, region in zip(found, pictures, strict=True):
        own = canvas[..., *region.index] - 0.5
        torch.testing.assert_close(part, plain_lags(own), rtol=1e-12, atol=1e-12)


def test_the_default_preset_asks_for_them_and_the_others_do_not() -> None:
    assert hires.Config().patch_weight > 0
    for preset in ("tutorial", "d2l", "keras"):
        assert hires.Config(preset=preset).patch_weight == 0
