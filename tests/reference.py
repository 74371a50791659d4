"""Plain float64 versions of the losses and of the whole pass, written for reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hires.features.architecture import Architecture

Weights = Mapping[str, Tensor]


def network(
    architecture: Architecture, weights: Weights, image: Tensor, *, padding: str | None = None
) -> dict[str, Tensor]:
    """Every relu layer of a max-pooled network, by PyTorch's own modules.

    ``padding`` is one of `torch.nn.functional.pad`, in place of the architecture's.
    """
    matrix = torch.tensor(architecture.matrix, dtype=torch.float64)
    shift = torch.tensor(architecture.shift, dtype=torch.float64)
    x = torch.einsum("ij,bjyx->biyx", matrix, image) + shift.view(1, 3, 1, 1)
    found = {}
    for b, block in enumerate(architecture.blocks, start=1):
        for i in range(1, len(block) + 1):
            own = architecture.input_padding if (b, i) == (1, 1) else architecture.padding
            mode = padding or own
            x = F.pad(x, (1, 1, 1, 1), mode="constant" if mode == "zeros" else mode)
            weight, bias = weights[f"conv{b}_{i}.weight"], weights[f"conv{b}_{i}.bias"]
            x = F.relu(F.conv2d(x, weight.double(), bias.double()))
            found[f"relu{b}_{i}"] = x
        x = F.max_pool2d(x, 2)
    return found


def statistics(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, Gram matrix and covariance of (1, C, H, W) features, per position."""
    f = features[0].flatten(1)
    mean = f.mean(1)
    gram = f @ f.T / f.shape[1]
    return mean, gram, torch.cov(f, correction=0)


def gram_loss(features: Tensor, target: Tensor) -> Tensor:
    gram, wanted = statistics(features)[1], statistics(target)[1]
    return ((gram - wanted) ** 2).sum() / (wanted**2).sum()


def mean_std_loss(features: Tensor, target: Tensor) -> Tensor:
    f, t = features[0].flatten(1), target[0].flatten(1)
    floor = 1e-8 * (t**2).mean() + 1e-12
    mean, deviation = t.mean(1), (t.var(1, correction=0) + floor).sqrt()
    distance = ((f.mean(1) - mean) ** 2).sum()
    distance = distance + (((f.var(1, correction=0) + floor).sqrt() - deviation) ** 2).sum()
    return distance / ((mean**2).sum() + (deviation**2).sum())


def wasserstein_loss(features: Tensor, target: Tensor) -> Tensor:
    mean, _, covariance = statistics(features)
    wanted_mean, wanted_gram, wanted = statistics(target)
    ridge = 1e-4 * wanted.diagonal().mean() * torch.eye(len(mean), dtype=torch.float64)
    covariance, wanted = covariance + ridge, wanted + ridge
    root = matrix_root(wanted.detach())
    # Of eigenvalues alone: eigenvectors of equal eigenvalues (dead channels) have no derivative.
    cross = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt().sum()
    distance = ((mean - wanted_mean) ** 2).sum() + (covariance + wanted).trace() - 2 * cross
    loss: Tensor = distance / wanted_gram.trace()
    return loss


def neighbours_loss(features: Tensor, target: Tensor, matches: Tensor | None = None) -> Tensor:
    """Mean cosine distance to the nearest of the target's features, about the target's mean.

    ``matches`` (positions,) are numbers of the target's positions, in place of the nearest.
    """
    f, t = features[0].flatten(1), target[0].flatten(1)
    f, t = f - t.mean(1, keepdim=True), t - t.mean(1, keepdim=True)
    cosines = (f / f.norm(dim=0)).T @ (t / t.norm(dim=0))
    nearest = cosines.argmax(1) if matches is None else matches
    loss: Tensor = 1 - cosines.gather(1, nearest[:, None]).mean()
    return loss


def matrix_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = vectors @ torch.diag(values.sqrt()) @ vectors.T
    return root


def total_variation(image: Tensor) -> Tensor:
    """A sixth of the sum over neighbours of squared differences (diagonals half), per pixel.

    A pair that leaves the picture is folded back onto its border, as replication does.
    """
    height, width = image.shape[2:]
    x = F.pad(image, (1, 1, 1, 1), mode="replicate")
    total = torch.zeros((), dtype=image.dtype)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            weight = {0: 0.0, 1: 1.0, 2: 0.5}[abs(dy) + abs(dx)]
            neighbour = x[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
            # Every pair is met from both of its ends.
            total = total + weight / 2 * ((image - neighbour) ** 2).sum()
    return total / 6 / (height * width)


def detail_sums(
    image: Tensor,
    content: Tensor,
    sides: Sequence[int],
    mask: Tensor | None = None,
    strictness: Tensor | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """At each size, the weighted squared error of the Laplacians, and the photograph's power."""
    found = []
    cross = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=torch.float64)

    def laplacian(picture: Tensor, side: int) -> Tensor:
        x = F.pad(F.avg_pool2d(picture.mean(1, keepdim=True), side), (1,) * 4, mode="replicate")
        return F.conv2d(x, cross.view(1, 1, 3, 3))

    for side in sides:
        own, wanted = laplacian(image, side), laplacian(content, side)
        seen = torch.ones_like(wanted)
        if mask is not None:
            # The least of all pixels of a square and of those around it.
            cells = -F.max_pool2d(-mask, side)
            for i in range(seen.shape[2]):
                for j in range(seen.shape[3]):
                    around = cells[..., max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
                    seen[..., i, j] = around.min()
        factor = 1.0 if strictness is None else F.avg_pool2d(strictness, side)
        error = (seen * factor * (own - wanted) ** 2).sum()
        power = (seen * wanted**2).sum().clamp_min(0.05**2 * float(seen.sum()))
        found.append((error, power))
    return found


def detail(
    image: Tensor,
    content: Tensor,
    sides: Sequence[int],
    mask: Tensor | None = None,
    strictness: Tensor | None = None,
) -> Tensor:
    """Squared error of the Laplacians of lightness, over the photograph's: mean over the sizes."""
    sums = detail_sums(image, content, sides, mask, strictness)
    return torch.stack([error / power for error, power in sums]).mean()


def central_loss(features: Tensor, target: Tensor) -> Tensor:
    x, t = (torch.sigmoid(f[0].flatten(1)) for f in (features, target))
    mean, wanted_mean = x.mean(1), t.mean(1)
    losses = [((mean - wanted_mean) ** 2).sum()]
    for k in range(2, 6):
        lengths = []
        for one in (x, t):
            variance = one.var(1, correction=0) + 1e-4
            moment = ((one - one.mean(1, keepdim=True)) ** k).mean(1)
            lengths.append(moment / (moment**2 + variance**k) ** ((k - 1) / (2 * k)))
        losses.append(((lengths[0] - lengths[1]) ** 2).sum())
    return torch.stack(losses).mean() / ((t - 0.5) ** 2 + 1e-4).mean(1).sum()


def sliced_loss(features: Tensor, target: Tensor, directions: Tensor) -> Tensor:
    """Along unit vectors (K, C), of as many positions as the target has."""
    f, t = features[0].flatten(1), target[0].flatten(1)
    found, wanted = ((directions @ x).sort(1).values for x in (f, t))
    distance: Tensor = ((found - wanted) ** 2).mean() * len(f)
    return distance / (t**2).sum(0).mean()


MOMENTS = {"gram": gram_loss, "meanstd": mean_std_loss, "wasserstein": wasserstein_loss}
STYLE = {**MOMENTS, "central": central_loss}


def objective(
    architecture: Architecture,
    weights: Weights,
    style_loss: str,
    *,
    canvas: Tensor,
    content: Tensor,
    style: Tensor,
    style_layers: Mapping[str, float],
    content_layers: Mapping[str, float],
    factors: tuple[float, float, float],
) -> Tensor:
    """Total loss of a canvas; ``factors`` weigh style, content and total variation."""
    found = network(architecture, weights, canvas)
    wanted, kept = network(architecture, weights, style), network(architecture, weights, content)
    style_term = sum(
        w * STYLE[style_loss](found[name], wanted[name]) for name, w in style_layers.items()
    ) / sum(style_layers.values())
    content_term = sum(
        w * ((found[name] - kept[name]) ** 2).sum() / (kept[name] ** 2).sum()
        for name, w in content_layers.items()
    ) / sum(content_layers.values())
    terms = (style_term, content_term, total_variation(canvas))
    return torch.stack([f * torch.as_tensor(t) for f, t in zip(factors, terms, strict=True)]).sum()
