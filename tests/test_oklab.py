"""OKLab, colours matched by mean and covariance, and the guided filter: numbers alone."""

from __future__ import annotations

import pytest
import torch
from conftest import random_image
from torch import Tensor

from hires.image.colour.matching import colours_of, matching, mixed
from hires.image.colour.oklab import from_oklab, grey, to_oklab
from hires.image.resample import resize, resize_rows
from hires.kernels.guided_filter import guided_filter, halo

ROOTS = ("symmetric", "pca", "cholesky")


def as_image(*colours: tuple[float, float, float]) -> Tensor:
    return torch.tensor(colours, dtype=torch.float64).T[None, :, None]


def every_colour(steps: int = 33) -> Tensor:
    """A grid of all of sRGB, with its faces, edges and corners."""
    values = torch.linspace(0, 1, steps, dtype=torch.float64)
    return torch.cartesian_prod(values, values, values).T.reshape(1, 3, steps, steps * steps)


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-6), (torch.float32, 5e-5)])
def test_there_and_back(dtype: torch.dtype, within: float) -> None:
    """To a fortieth of a level of 8 bit: what is beyond sRGB by rounding is not taken for it."""
    colours = every_colour().to(dtype)
    assert float((from_oklab(to_oklab(colours)) - colours).abs().max()) < within


def test_known_colours() -> None:
    """Ottosson's own numbers for red and blue, as other programs print them, and white."""
    found = to_oklab(as_image((1, 0, 0), (0, 0, 1), (1, 1, 1), (0, 0, 0)))
    wanted = as_image(
        (0.62796, 0.22486, 0.12585), (0.45201, -0.03246, -0.31153), (1, 0, 0), (0,) * 3
    )
    assert torch.allclose(found, wanted, atol=1e-5)
    greys = torch.linspace(0, 1, 50, dtype=torch.float64).view(1, 1, 1, -1)
    assert torch.allclose(grey(to_oklab(greys.expand(1, 3, 1, 50))[:, :1]), greys, atol=1e-6)


def test_what_srgb_lacks_keeps_lightness_and_hue() -> None:
    wanted = to_oklab(every_colour(17))
    wanted[:, 0] = wanted[:, 0].flip(2)
    found = to_oklab(from_oklab(wanted))
    # Next to black a millionth of white, which is rounding, is much lightness.
    off = (found[:, 0] - wanted[:, 0]).abs()
    assert float(off.max()) < 0.01
    assert float(off[wanted[:, 0] > 0.1].max()) < 1e-4
    turned = found[:, 1] * wanted[:, 2] - found[:, 2] * wanted[:, 1]
    assert float(turned[wanted[:, 0] > 0.1].abs().max()) < 1e-5
    given, left = (one[:, 1:].norm(dim=1) for one in (wanted, found))
    assert bool((left <= given + 1e-4).all())
    reduced = left < given - 1e-3
    assert 0.2 < float(reduced.double().mean()) < 0.8
    # As much as there is: a hundredth more, and a colour leaves sRGB.
    more = found.clone()
    more[:, 1:] *= 1.01
    again = to_oklab(from_oklab(more))[:, 1:].norm(dim=1)
    kept = again[reduced] <= left[reduced] * 1.001 + 1e-4
    assert bool(kept.all())


@pytest.mark.parametrize("root", ROOTS)
def test_mean_and_covariance_become_those_of_the_other(root: str) -> None:
    source, target = random_image(150, 90, seed=1) ** 2, 0.3 + random_image(80, 131, seed=2) / 4
    target[:, 0] *= 1.3
    weights = [random_image(one.shape[2], one.shape[3], seed=3)[:, :1] for one in (source, target)]
    wanted = colours_of(target, weights[1])
    change = matching(colours_of(source, weights[0]), wanted, root)
    for dtype in (torch.float32, torch.float64):
        found = colours_of(change(source.to(dtype)), weights[0])
        assert torch.allclose(found.mean, wanted.mean, atol=1e-6)
        assert torch.allclose(found.covariance, wanted.covariance, atol=1e-6)
    # Without the weights they differ: those counted.
    assert not torch.allclose(colours_of(change(source)).mean, wanted.mean, atol=1e-4)


def test_moments_by_their_definition() -> None:
    image, mask = random_image(130, 20, seed=4), random_image(130, 20, seed=5)[:, :1]
    values, weights = image.flatten(2)[0], mask.flatten() / mask.sum()
    mean = (values * weights).sum(1)
    away = values - mean[:, None]
    found = colours_of(image, mask)
    assert torch.allclose(found.mean, mean)
    assert torch.allclose(found.covariance, (away * weights) @ away.T)
    both = mixed([colours_of(image), colours_of(image.flip(3) / 2)], [0.5, 0.5])
    pooled = colours_of(torch.cat([image, image.flip(3) / 2], 3))
    assert torch.allclose(both.mean, pooled.mean)
    assert torch.allclose(both.covariance, pooled.covariance)


@pytest.mark.parametrize("root", ROOTS)
def test_greys_and_blanks(root: str) -> None:
    colourful, shades = random_image(60, 50, seed=1), random_image(60, 50, seed=2)[:, :1]
    greys, blank = shades.expand(1, 3, 60, 50), torch.full((1, 3, 9, 9), 0.25)
    of = {name: colours_of(one) for name, one in (("c", colourful), ("g", greys), ("b", blank))}
    to_grey = matching(of["c"], of["g"], root)(colourful)
    assert float((to_grey - to_grey.mean(1, keepdim=True)).abs().max()) < 1e-6
    assert torch.allclose(colours_of(to_grey).covariance, of["g"].covariance, atol=1e-6)
    # What has one colour only can take on one direction of many: light and dark stay such.
    coloured = matching(of["g"], of["c"], root)(greys)
    assert torch.allclose(colours_of(coloured).mean, of["c"].mean)
    both = torch.cat([coloured.mean(1).flatten()[None], greys[:, 0].flatten()[None]])
    assert float(torch.corrcoef(both)[0, 1]) > 0.99
    flat = matching(of["b"], of["c"], root)(blank.double())
    assert torch.allclose(flat[..., 0, 0], of["c"].mean[None], atol=1e-6)


def test_no_root_turns_colours_around() -> None:
    """Matched to itself, a picture stays; matched to a paler self it is paler, nothing else."""
    image = random_image(40, 60, seed=7)
    for root in ROOTS:
        same = matching(colours_of(image), colours_of(image), root)(image)
        assert torch.allclose(same, image, atol=1e-6)
        paler = 0.4 + image / 4
        assert torch.allclose(
            matching(colours_of(image), colours_of(paler), root)(image), paler, atol=1e-6
        )


def by_definition(image: Tensor, guide: Tensor, radius: int, least: float) -> Tensor:
    """The guided filter of one channel, window by window."""
    height, width = image.shape
    slopes, offsets = torch.zeros_like(image), torch.zeros_like(image)

    def window(y: int, x: int) -> tuple[slice, slice]:
        return (
            slice(max(y - radius, 0), y + radius + 1),
            slice(max(x - radius, 0), x + radius + 1),
        )

    for y in range(height):
        for x in range(width):
            p, i = image[window(y, x)], guide[window(y, x)]
            slopes[y, x] = ((p * i).mean() - p.mean() * i.mean()) / (i.var(correction=0) + least)
            offsets[y, x] = p.mean() - slopes[y, x] * i.mean()
    found = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            found[y, x] = slopes[window(y, x)].mean() * guide[y, x] + offsets[window(y, x)].mean()
    return found


def test_the_guided_filter_by_its_definition() -> None:
    image = random_image(13, 17, seed=1)
    found = guided_filter(image[:, :2], image[:, 2:], 3, 0.01)
    for channel in (0, 1):
        wanted = by_definition(image[0, channel], image[0, 2], 3, 0.01)
        assert torch.allclose(found[0, channel], wanted, atol=1e-12)


def test_the_guided_filter_in_bands() -> None:
    image = random_image(90, 30, seed=1)
    whole = guided_filter(image[:, :2], image[:, 2:], 4, 0.01)
    part = image[..., 30 - halo(4) : 50 + halo(4), :]
    band = guided_filter(part[:, :2], part[:, 2:], 4, 0.01)[..., halo(4) : halo(4) + 20, :]
    assert torch.allclose(band, whole[..., 30:50, :], atol=1e-12)


def test_colours_stay_on_their_side_of_an_edge() -> None:
    """A colour that ends four pixels beyond an edge of the guide ends at the edge."""
    colour, guide = torch.zeros(1, 1, 40, 60), torch.zeros(1, 1, 40, 60)
    colour[..., 34:], guide[..., 30:] = 1, 0.6
    found = guided_filter(colour, guide, 8, 0.0025)[0, 0, 20]
    assert float(found[30] - found[29]) > 0.4
    assert float((found[34] - found[33]).abs()) < 0.1


@pytest.mark.parametrize("size", [(90, 61), (201, 340), (37, 500), (150, 101)])
def test_rows_of_a_resized_picture(size: tuple[int, int]) -> None:
    image = random_image(120, 101, seed=1).float()
    whole = resize(image, size)
    for top in (0, 17, size[0] - 9):
        band = resize_rows(image, size, slice(top, top + 9))
        assert torch.allclose(band, whole[..., top : top + 9, :], atol=2e-5)
