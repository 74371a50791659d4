"""Loss and exact gradient of a canvas of any size, tile by tile.

Three stages (see docs/architecture.md): *measure* adds up what every tile measures, *judge* has the
terms judge the finished sums and yields one cotangent per sum, *paint* sends the cotangents back
through every tile. The graphs of as many tiles as the memory budget holds are kept from the first
stage to the third; the others run forward twice. A canvas that fits is one tile with its graph
kept: one ordinary pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hires.engine.graphs import Graph, add_to, graph_of, silent
from hires.engine.replay import Evaluation, Graphs, Replay
from hires.features.costs import costs_of, remade_layer
from hires.features.network import Network
from hires.kernels.activation_buffer import ActivationBuffer, Recomputed
from hires.kernels.precision import Precision, float32_products, fp32_island
from hires.losses.judge import Key, judge
from hires.losses.local import Verdicts, awaiting
from hires.losses.positions import PIXELS, Positions
from hires.losses.terms import Term, Verdict, layers_of
from hires.processes.together import Together
from hires.tiling.geometry import Tile
from hires.tiling.pixels import CanvasGradient, fetched, read_pixels
from hires.tiling.planning import TilePlan, smaller_plan, within_memory
from hires.tiling.seams import Seams, TileSeams


class Objective:
    """Loss and exact gradient of a canvas: call it with one.

    Args:
        network: prepared feature network on the device where tiles are computed.
        terms: of the loss, as `Term.at` has made them for this canvas's references.
        positions: of the canvas.
        plan: the tiles.
        precision: types of features and sums.
        smaller: what to try in place of a plan that took more memory than there is; None for the
            tiles of a canvas that is one picture.
        together: the processes that each have a band of the canvas, and of its tiles.
        timed: a context for each stage by its name, for those who time them.
        graphs: whether evaluations of a canvas of one tile are recorded.
    """

    def __init__(
        self,
        network: Network,
        terms: Sequence[Term],
        *,
        positions: Positions,
        plan: TilePlan,
        precision: Precision,
        smaller: Callable[[TilePlan], TilePlan] | None = None,
        together: Together | None = None,
        timed: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext(),
        graphs: Graphs | None = None,
    ) -> None:
        self.network = network
        self.terms = tuple(terms)
        self.positions = positions
        self.plan = plan
        self.precision = precision
        self.together = together or Together()
        self.timed = timed
        self._names = layers_of(terms)
        self._costs = costs_of(network, self._names, precision.dtype)
        self._smaller = smaller or self._smaller_grid
        self._scale = 1.0  # How much larger gradients are inside of the network than outside.
        self._localises = [
            type(term).local is not Term.local and PIXELS not in term.layers for term in self.terms
        ]
        self._gradient: CanvasGradient | None = None
        self._buffer: ActivationBuffer | None = None
        self._seams = Seams()
        self._replay = Replay(graphs or Graphs(is_on=False))

    def __call__(self, canvas: Tensor) -> Evaluation:
        """Evaluate a canvas (1, 3, H, W) in [0, 1].

        A pass that runs out of memory is repeated from its start with smaller tiles.
        """

        def attempt(plan: TilePlan) -> Evaluation:
            self.plan = plan
            return self._within_range(canvas)

        with float32_products(self.precision, self.network.origin.device):
            # With several tiles a card is busy. In fp16 the host chooses a scale for every step.
            if len(self.plan.tiles) == 1 and self.precision.dtype != torch.float16:
                replayed = self._replay(canvas, partial(self._evaluate, looks=False))
                if replayed is not None:
                    return replayed
            return within_memory(attempt, self.plan, self._smaller)[0]

    def at_step(self, step: int) -> None:
        """Have the terms be those of a step, given how many have been done at the rung."""
        terms = tuple(term.at_step(step) for term in self.terms)
        if any(new is not old for new, old in zip(terms, self.terms, strict=True)):
            self._replay.end()  # What was recorded is another loss.
            self.terms = terms

    def _smaller_grid(self, plan: TilePlan) -> TilePlan:
        return smaller_plan(self._costs, self.positions.size, plan)

    def _within_range(self, canvas: Tensor) -> Evaluation:
        """Evaluate; once more with smaller gradients where they leave the range of fp16."""
        found = self._evaluate(canvas)
        if self.precision.dtype == torch.float16 and math.isfinite(float(found.loss)):
            for headroom in _HEADROOMS:
                is_finite = torch.isfinite(torch.linalg.vector_norm(found.gradient))
                if self.together.least(float(is_finite)):
                    break
                found = self._evaluate(canvas, headroom)
        return found

    def _evaluate(self, canvas: Tensor, headroom: int = 0, *, looks: bool = True) -> Evaluation:
        """Evaluate with gradients inside of the network smaller by two to the power of headroom.

        See `judge` for who ``looks``.
        """
        verdicts: dict[tuple[int, str], Verdict] = {}
        try:
            with self.together.stage(interruptible=True):
                with self.timed("variation"):
                    sums, values = self._look_at_pixels(canvas)
                with self.timed("measure"):
                    measured, kept = self._measure(canvas, verdicts)
                sums.update(measured)
            found = self.together.sums(sums | {(i, _VALUE, ""): values[i] for i in values})
            sums, values = (
                {key: found[key] for key in sums},
                {i: found[i, _VALUE, ""] for i in values},
            )
            with self.together.stage():
                with self.timed("judge"), fp32_island(self._device):
                    loss, terms, judged = judge(self.terms, sums, values, self._zero(), looks=looks)
                    verdicts.update(judged)
                    self._scale = self._scale_of(terms, headroom)
                with self.timed("paint"):
                    self._paint(canvas, verdicts, kept)
                    gradient = self._gradient_of(canvas).settle()
        finally:
            # A complete pass leaves nothing at the seams; one that broke off does.
            self._seams.clear()
        return Evaluation(loss, terms, gradient)

    def _scale_of(self, losses: Mapping[str, Tensor], headroom: int) -> float:
        """How much larger gradients should be inside of the network, given the terms' losses."""
        num_pixels = self.positions.size[0] * self.positions.size[1]
        terms = [term for term in self.terms if PIXELS not in term.layers]
        if self.precision.dtype == torch.float16:
            # Features times their gradients, added up, are a small multiple of the loss, whatever
            # the weights are: per pixel that should be about one.
            loss = float(sum(term.weight * losses[term.name] for term in terms))
            loss = max(abs(loss), _LEAST_LOSS) if math.isfinite(loss) else 1.0
            return 2.0 ** (round(math.log2(num_pixels / loss)) - headroom)
        # Gradients of means fall with the number of pixels; made of order one inside of the network
        # they are safe from underflow in half precision. Those of sums would overflow instead.
        return float(num_pixels) if all(term.is_mean for term in terms) else 1.0

    @property
    def _device(self) -> torch.device:
        """Where tiles are computed; the canvas may lie elsewhere."""
        return self.network.origin.device

    def _gradient_of(self, canvas: Tensor) -> CanvasGradient:
        if self._gradient is None or self._gradient.total.shape != canvas.shape:
            self._gradient = CanvasGradient(canvas)
        return self._gradient

    def _look_at_pixels(self, canvas: Tensor) -> tuple[dict[Key, Tensor], dict[int, Tensor]]:
        """Start the gradient with that of linear terms; also the sums of others, and their losses.

        Returns:
            Sums of terms that are still to be judged; losses of those that are not, by the number
            of the term.
        """
        gradient = self._gradient_of(canvas)
        gradient.clear()
        sums: dict[Key, Tensor] = {}
        values = {i: self._zero() for i, term in self._of_pixels() if term.is_linear}
        for i, term in self._of_pixels():
            if term.is_linear and not term.weight:
                continue  # Its slope is nothing, and its loss of no interest.
            for index, view in self.positions.of_pixels(term.margin):
                if not term.is_linear:
                    with torch.no_grad():
                        found = term.measure(view, fetched(canvas, index, self._device))
                    add_to(sums, {(i, PIXELS, name): part for name, part in found.items()})
                    continue
                with torch.enable_grad():
                    window = fetched(canvas, index, self._device).detach().requires_grad_()
                    value = term.judge({PIXELS: term.measure(view, window)})
                    (slope,) = torch.autograd.grad(term.weight * value, [window])
                gradient.add(index, slope)
                values[i] = values[i] + value.detach()
        return sums, values

    def _zero(self) -> Tensor:
        return torch.zeros((), dtype=self.precision.sum_dtype, device=self._device)

    def _of_pixels(self) -> Iterator[tuple[int, Term]]:
        return ((i, term) for i, term in enumerate(self.terms) if PIXELS in term.layers)

    def _forward(
        self,
        canvas: Tensor,
        tile: Tile,
        buffer: ActivationBuffer,
        seams: TileSeams | None,
        verdicts: Verdicts,
    ) -> tuple[dict[Key, Tensor], list[Tensor]]:
        """Run one tile; returns its sums, and the ends of what waits for a verdict.

        Their backward adds the gradient of the tile's pixels to that of the canvas. Once there are
        verdicts, terms with slopes of their own are not measured again.
        """
        network, gradient = self.network, self._gradient_of(canvas)
        # The widest map of all is the cheapest: where a loss looks at it, it is made again. Where
        # none does, its ReLU saves bits, which a layer made again cannot stand in for.
        first = remade_layer(self._names)
        remade = Recomputed(lambda: self._remake(first, canvas, tile, seams))

        def keeping(layer: str, *found: Any) -> AbstractContextManager[object]:
            is_remade = self.plan.remakes and layer == first and first in self._names
            return buffer.recomputing(remade, *found) if is_remade else nullcontext()

        sums: dict[Key, Tensor] = {}
        waiting: list[Tensor] = []
        views = {layer: self.positions.of_tile(layer, tile) for layer in self._names}
        for layer, features in network.produce(
            read_pixels(canvas, tile.read, self._device, gradient, lambda: self._scale),
            self._names,
            seams=seams,
            around=keeping,
            rows_of=lambda layer: views[layer][1],
        ):
            view, rows = views[layer]
            if rows is not None and rows.start == rows.stop:
                waiting.append(silent(features, self.precision.sum_dtype))
                continue
            with keeping(layer, features, rows):
                for i, term in enumerate(self.terms):
                    if layer not in term.layers:
                        continue
                    if self._localises[i] and torch.is_grad_enabled():
                        waiting.append(awaiting(features, view, term, verdicts, i))
                    if self._localises[i] and verdicts:
                        continue
                    with torch.no_grad() if self._localises[i] else nullcontext():
                        found = term.measure(view, features)
                    sums.update({(i, layer, name): part for name, part in found.items()})
            del features  # Or it would live on while the next layer is computed.
        return sums, waiting

    def _remake(self, layer: str, canvas: Tensor, tile: Tile, seams: TileSeams | None) -> Tensor:
        """The first layer of a tile, computed once more."""
        pixels = fetched(canvas, tile.read.index, self._device)
        made: Tensor = self.network(pixels, [layer], seams=seams)[layer]
        return made

    def _room(self) -> ActivationBuffer:
        """Where graphs keep what they keep; on a GPU, whose allocator does not scatter, nowhere."""
        device = self.network.origin.device
        num_bytes = self._costs.kept_bytes(self.plan) if device.type == "cpu" else 0
        if self._buffer is None or self._buffer.num_bytes != num_bytes:
            self._buffer = None  # The old one makes room.
            lasting = [tensor for term in self.terms for tensor in term.lasting]
            self._buffer = ActivationBuffer(num_bytes, device, [*self.network.buffers(), *lasting])
        return self._buffer

    def _measure(self, canvas: Tensor, verdicts: Verdicts) -> tuple[dict[Key, Tensor], list[Graph]]:
        """Add up the sums of all tiles; also return the graphs of the last few."""
        sums: dict[Key, Tensor] = {}
        kept: list[Graph] = []
        buffer = self._room()
        buffer.clear()
        for i, tile in enumerate(self.plan.tiles):
            keep = i >= len(self.plan.tiles) - self.plan.num_kept
            seams = self._seams.of(tile, last=keep)
            with torch.set_grad_enabled(keep), buffer.saving():
                parts, waiting = self._forward(canvas, tile, buffer, seams, verdicts)
            if keep:
                kept.append(graph_of(parts, waiting))
            add_to(sums, parts)
        return sums, kept

    def _paint(
        self,
        canvas: Tensor,
        verdicts: Verdicts,
        kept: list[Graph],
    ) -> None:
        """Send the cotangents back through every tile, the last one first."""
        for i, term in self._of_pixels():
            if not term.is_linear:
                self._paint_pixels(canvas, term, verdicts[i, PIXELS])
        slopes = {
            (i, layer, name): slope * self._scale
            for (i, layer), verdict in verdicts.items()
            if layer != PIXELS and not self._localises[i]
            for name, slope in verdict.slopes.items()
        }
        repainted = self.plan.tiles[: len(self.plan.tiles) - len(kept)]
        buffer = self._room()
        while kept:
            self._send_back(kept.pop(), slopes)
        for tile in reversed(repainted):
            buffer.clear()
            seams = self._seams.of(tile, first=False)
            with torch.enable_grad(), buffer.saving():
                found = self._forward(canvas, tile, buffer, seams, verdicts)
            self._send_back(graph_of(*found), slopes)

    def _send_back(self, graph: Graph, slopes: Mapping[Key, Tensor]) -> None:
        """Go back from the ends of a tile's graph; what has waited for a verdict asks for it."""
        one = self._zero() + self._scale
        given = [one if key is None else slopes[key] for _, key in graph]
        torch.autograd.backward([end for end, _ in graph], given)

    def _paint_pixels(self, canvas: Tensor, term: Term, verdict: Verdict) -> None:
        """Add the gradient of a term that looks at pixels, now that its sums are judged."""
        gradient = self._gradient_of(canvas)
        for index, view in self.positions.of_pixels(term.margin):
            with torch.enable_grad():
                window = fetched(canvas, index, self._device).detach().requires_grad_()
                local = term.local(view, window, verdict)
                (slope,) = torch.autograd.grad(local, [window])
            gradient.add(index, slope)


# In place of a layer and a statistic: the loss of a term that needs no verdict.
_VALUE = "value"
# A smaller loss is taken for this one when gradients are scaled for fp16.
_LEAST_LOSS = 2.0**-20
# Powers of two by which gradients that overflow in fp16 are made smaller, one after the other.
_HEADROOMS = (6, 12, 18)
