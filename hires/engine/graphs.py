"""The graphs of tiles, by the sums that they end in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from hires.losses.judge import Key

Graph = list[tuple[GradientEdge, Key | None]]
"""The ends of a tile's graph, each with the sum that it is a part of; None where it waits."""


def add_to(sums: dict[Key, Tensor], parts: Mapping[Key, Tensor]) -> None:
    """Add what a tile has measured."""
    for key, part in parts.items():
        sums[key] = sums[key].add_(part.detach()) if key in sums else part.detach()


def graph_of(sums: Mapping[Key, Tensor], waiting: Sequence[Tensor]) -> Graph:
    """Of a tile's sums, only where they come from is needed again; a count comes from nowhere."""
    found: Graph = [
        (get_gradient_edge(part), key) for key, part in sums.items() if part.requires_grad
    ]
    return found + [(get_gradient_edge(end), None) for end in waiting]


def silent(features: Tensor, dtype: torch.dtype) -> Tensor:
    """An end for a tile of which nothing counts: it sends zeros back, for its neighbours wait.

    It lies in the strip that a process sees beyond its band.
    """
    return features.sum().to(dtype) * 0
