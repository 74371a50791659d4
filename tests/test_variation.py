"""Forms of the total variation: by the documents, by hand, and added up over windows."""

from __future__ import annotations

import pytest
import reference_presets as documents
import torch
from conftest import random_image
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hires.losses.variation import VARIATIONS, total_variation

EDGES = (1, 1, 1, 1)


def mean_absolute(image: Tensor) -> Tensor:
    """Dive into Deep Learning's total variation."""
    below, beside = image.diff(dim=2).abs(), image.diff(dim=3).abs()
    return 0.5 * (below.mean() + beside.mean())


@pytest.mark.parametrize("size", [(2, 2), (5, 9), (17, 4)])
def test_the_documents_forms(size: tuple[int, int]) -> None:
    image = random_image(*size).requires_grad_()
    wanted = {
        "absolute": mean_absolute(image) * size[0] * size[1],
        "power": documents.keras_variation(image),
    }
    for name, loss in wanted.items():
        value, gradient = VARIATIONS[name].measure(image.detach(), EDGES, size)
        (slope,) = torch.autograd.grad(loss, image, retain_graph=True)
        torch.testing.assert_close(value, loss.detach())
        torch.testing.assert_close(gradient, slope)


def test_by_hand() -> None:
    image = torch.tensor([[0.0, 3.0], [4.0, 9.0]], dtype=torch.float64).expand(1, 3, 2, 2)
    value, _ = VARIATIONS["absolute"].measure(image, EDGES, (2, 2))
    # Differences of 4 and 6 down, 3 and 5 across: means of 5 and 4, for 4 pixels.
    assert float(value) == pytest.approx(4 * 0.5 * (5 + 4))
    value, _ = VARIATIONS["power"].measure(image, EDGES, (2, 2))
    # One pixel has both neighbours: (4² + 3²)^1.25 in each of three channels.
    assert float(value) == pytest.approx(3 * 25**1.25)
    value, _ = VARIATIONS["squared"].measure(image, EDGES, (2, 2))
    assert float(value) == float(total_variation(image, EDGES)[0])


@pytest.mark.parametrize("name", VARIATIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1)])
def test_a_single_line_has_a_value(name: str, size: tuple[int, int]) -> None:
    value, gradient = VARIATIONS[name].measure(random_image(*size), EDGES, size)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    assert gradient.shape == (1, 3, *size)


@settings(max_examples=20)
@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 20))
def test_windows_add_up(height: int, width: int, num_rows: int) -> None:
    image = random_image(height, width)
    for variation in VARIATIONS.values():
        whole, slope = variation.measure(image, EDGES, (height, width))
        total, parts = 0.0, torch.zeros_like(image)
        for start in range(0, height, num_rows):
            stop = min(start + num_rows, height)
            top, bottom = int(start == 0), int(stop == height)
            rows = slice(start - 1 + top, stop + 1 - bottom)
            edges = (top, bottom, 1, 1)
            value, part = variation.measure(image[..., rows, :], edges, (height, width))
            total += float(value)
            parts[..., start:stop, :] = part
        assert total == pytest.approx(float(whole), rel=1e-12, abs=1e-15)
        torch.testing.assert_close(parts, slope)


@pytest.mark.parametrize("name", VARIATIONS)
def test_windows_with_inner_sides_all_round(name: str) -> None:
    image, measure = random_image(12, 15), VARIATIONS[name].measure
    _, slope = measure(image, EDGES, (12, 15))
    _, part = measure(image[..., 3:10, 4:12], (0, 0, 0, 0), (12, 15))
    torch.testing.assert_close(part, slope[..., 4:9, 5:11])
