"""Neighbours: each feature of a canvas shall point where the nearest of the style's points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import ClassVar, Self

import torch
from torch import Tensor

from hires.kernels.nearest import cosine_error
from hires.losses.entries import Entries, dictionary_of
from hires.losses.matches import Dictionary, Matches
from hires.losses.positions import Positions, View
from hires.losses.regional import Regional
from hires.losses.terms import Measured, References, Statistics, Term
from hires.tiling.geometry import Layer

# Steps from one matching to the next. The canvas moves less and less, and all that a matching costs
# is about a step.
MATCHED_EVERY = 10
# Of the content in the first matching of a rung (Kolkin et al. 2022, section 3.1).
CONTENT_SHARE = 0.75


@dataclass(frozen=True, eq=False, kw_only=True)
class Neighbours(Term):
    """Cosine distance of every feature to the style's nearest (NNST, Kolkin et al. 2022, eq. 2).

    Both are taken about the styles' mean. The style's features of a rung are a random part of them,
    a dictionary. Every position keeps its entry from one matching to the next, so that the loss is
    a sum over positions. The first matching of a rung looks for what lies between the content's
    features and the canvas's: structure decides which stroke goes where. Later ones look for the
    canvas's own, and make the loss itself smaller.

    Each region has a dictionary of its own styles; the loss is that of each region by its share of
    the canvas.

    Attributes:
        layers: what each layer's loss counts.
        styles: the style that a layer takes, by its place from 0; all where none is named.
        weight: of the term.
        budget: entries of a dictionary at most.
        every: steps from one matching to the next; 0 for one matching a rung.
        content_share: of the content in the first matching, 0 to 1.
        num_turns: 4 for a dictionary of the styles and their quarter turns, with as many entries.
        seed: of the entries.
        dictionaries: of every layer, for each region.
        regional: the canvas in its regions.
        matches: of the canvas, as they are made and kept.
    """

    layers: Mapping[str, float]
    styles: Mapping[str, int] = field(default_factory=dict)
    weight: float = 1.0
    name: str = "neighbours"
    budget: int = 8192
    every: int = MATCHED_EVERY
    content_share: float = CONTENT_SHARE
    num_turns: int = 1
    seed: int = 0
    dictionaries: Mapping[str, Sequence[Dictionary]] = field(default_factory=dict)
    regional: Regional = field(default_factory=Regional)
    matches: Matches = field(default_factory=lambda: Matches({}))
    keeps_own_rows: ClassVar[bool] = True

    def at(self, references: References) -> Self:
        """Draw the dictionaries of a rung; nothing is matched yet."""
        styles = [
            style for turn in range(self.num_turns) for style in self._drawn(references, turn)
        ]
        dictionaries = {
            name: [
                dictionary_of(
                    styles,
                    name,
                    number,
                    [share / self.num_turns for share in shares] * self.num_turns,
                    budget=self.budget,
                )
                for number, shares in enumerate(references.regions_of(self.styles.get(name)))
            ]
            for name in self.layers
        }
        content = references.of_content([*self.layers] if self.content_share else [])
        return replace(
            self,
            dictionaries=dictionaries,
            regional=Regional.of(references, self.layers),
            matches=Matches.of(references.positions, dictionaries, content),
        )

    def _drawn(self, references: References, turn: int) -> Sequence[Measured]:
        """Entries of every style, turned by so many quarter turns."""

        def entries(positions: Positions) -> Entries:
            return Entries.drawn(
                positions,
                self.layers,
                num_regions=len(references.regions),
                most=self.budget,
                seed=self.seed + turn,
            )

        return references.of_each_style(entries, turn)

    def at_step(self, step: int) -> Self:
        """Match again with the step's walk, if it is time. What is new then is in `matches`."""
        is_due = step % self.every == 0 if self.every else step == 0
        if step or not is_due:
            self.matches.settle()
        if not is_due:
            return self
        self.matches.is_due = True
        return replace(self)  # Another loss than that of the last step.

    def measure(self, view: View, features: Tensor) -> Statistics:
        """Sum of the distances in each region; matched before, where it is time."""
        found = {}
        for number, part in enumerate(view.regional):
            dictionary = self.dictionaries[view.layer][number]
            if part is None:
                # Zeros are sent back all the same: a tile waits for what is at its seams.
                found[f"error{number}"] = 0 * features.sum(dtype=view.sum_dtype)
                continue
            if self.matches.is_due:
                self.matches.make(part, number, features, dictionary, self.content_share)
            found[f"error{number}"] = cosine_error(
                features,
                dictionary.directions,
                view.of(self.matches.numbers[view.layer][number]),
                dictionary.centre,
                least=dictionary.least,
                dtype=view.sum_dtype,
                mask=part.mask,
            )
        return found

    def judge(self, statistics: Mapping[str, Statistics]) -> Tensor:
        """The layers' mean distances, added up by their shares."""
        self.matches.settle()
        losses = [
            share * self._distance(name, statistics[name]) for name, share in self.layers.items()
        ]
        return reduce(torch.add, losses)

    def _distance(self, layer: str, sums: Statistics) -> Tensor:
        counts = self.regional.counts[layer]
        return self.regional.mean(
            layer, lambda number: sums[f"error{number}"] / counts[number], sums
        )

    @property
    def state(self) -> Mapping[str, Tensor]:
        """The matches."""
        return self.matches.known

    @property
    def num_looks(self) -> tuple[int, int]:
        """Every turn of a style is looked at by itself."""
        return int(self.content_share > 0), self.num_turns

    def bytes_per_pixel(self, layers: Mapping[str, Layer], itemsize: int) -> float:
        """Of the matches, and of the content's features until the first are made."""
        looked_at = [layers[name] for name in self.layers]
        content = itemsize if self.content_share else 0
        return sum((4 + content * layer.channels) / layer.stride**2 for layer in looked_at)

    def bytes_of_styles(self, layers: Mapping[str, Layer], itemsize: int) -> int:
        """Of a dictionary."""
        return itemsize * self.budget * sum(layers[name].channels for name in self.layers)
