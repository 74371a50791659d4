"""A run: the only optimisation loop. Pictures in, a `Progress` after every step out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from hires.config.run import Config
from hires.engine.bands import BandCanvas, Bands, Order
from hires.engine.canvas import Canvas, WholeCanvas, first_canvas
from hires.engine.colours import Chroma
from hires.engine.ladder import Rung
from hires.engine.measuring import Measuring
from hires.engine.objective import Objective
from hires.engine.progress import Progress
from hires.engine.references import References
from hires.engine.replay import Graphs
from hires.engine.setup import Setup
from hires.engine.snapshot import Snapshot, SnapshotError, mapped
from hires.engine.standing import Position, Standing
from hires.engine.step import move
from hires.errors import ConfigError
from hires.image.guides import UNGUIDED, Guided
from hires.image.originals import Original
from hires.losses.terms import states_of
from hires.optim.canvas_optimizer import CanvasOptimizer
from hires.optim.create import optimizer_of, restored
from hires.processes.group import Group
from hires.tiling.planning import replan
from hires.utils.memory import is_out_of_memory, keep_freed_memory, return_freed_memory
from hires.utils.openmp import Waiting


class EndedError(RuntimeError):
    """Rank 0 paints no more, and the other processes have nothing left to do."""


class Run:
    """A painting on its way up the ladder: its canvas, optimizer, tiles and position.

    Iterating it paints, and yields after every step. Who wants to take the steps singly calls
    `begin` and `step`.

    Args:
        setup: network, arithmetic and terms of the loss.
        config: how to paint.
        rungs: the ladder, or the upper part of one.
        content: the content picture, at its own size.
        styles: the styles.
        chroma: what whoever asks for the picture sees on it, None for its own.
        guides: which part of the content is painted how.
        warnings: what the user should know.
        resume: where an earlier run with the same pictures and settings stood. The run takes its
            tensors over and goes on from there.
        below: the rung of ``resume``, if it is the one below ``rungs``.
        canvas_of: the canvas of a rung; None for one that is the whole picture.
        group: the processes that each have a band of the canvas; None for this one alone.
        timed: a context for each stage of a step by its name, for those who time them.

    Raises:
        SnapshotError: if ``resume`` is that of a run with another ladder.
    """

    def __init__(
        self,
        setup: Setup,
        config: Config,
        rungs: Sequence[Rung],
        content: Original,
        styles: Sequence[Original],
        *,
        chroma: Chroma | None = None,
        guides: Guided = UNGUIDED,
        warnings: tuple[str, ...] = (),
        resume: Snapshot | None = None,
        below: Rung | None = None,
        canvas_of: Callable[[Rung], Canvas] | None = None,
        group: Group | None = None,
        timed: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext(),
    ) -> None:
        if setup.budget is not None and resume is not None and resume.memory is not None:
            fixed, card = resume.memory
            setup = replace(setup, budget=replace(setup.budget, fixed=fixed, card=card))
        self.setup, self.config, self.rungs = setup, config, tuple(rungs)
        memory = None if setup.budget is None else (setup.budget.fixed, setup.budget.card)
        self._standing = Standing(config, content, tuple(styles), chroma, guides, memory)
        self.shares = config.style_shares(len(styles))
        self.warnings = warnings
        # No method of its own is kept: network and graphs end with the run, not with a cycle of it.
        self._canvas_of = canvas_of
        self._group = group
        self._timed = timed
        self._work = {rung.index: rung.work for rung in self.rungs}
        self._started = time.perf_counter() - (resume.seconds if resume else 0)
        on_cpu = setup.device.type == "cpu"
        self._waiting = Waiting(torch.get_num_threads() if on_cpu else 1, _parallel_work)
        self._objective: Objective | None = None
        self._graphs = Graphs(setup.cuda_graphs)
        self._is_resumed = resume is not None and below is None
        if resume is not None:
            self._standing.position = self._restored(resume, below)

    def _whole_or_band(self, rung: Rung) -> Canvas:
        setup, bands = self.setup.beside(rung), self._bands(rung)
        if bands is None:
            return WholeCanvas(setup, rung.size, margin=rung.margin, wrap=rung.wrap)
        before = self._standing.position
        if before is None or before.bands is None:
            return BandCanvas(setup, rung, bands)
        return BandCanvas(setup, rung, bands, (before.bands, before.rung.margin))

    def _bands(self, rung: Rung) -> Bands | None:
        """Which rows of a rung's canvas each process has."""
        if self._group is None:
            return None
        return Bands(self._group, rung.canvas_size[0], self.setup.wrap[0])

    def obey(self) -> bool:
        """Do what rank 0 orders until it goes on; returns whether it does, or has ended.

        Called by the others, between two steps and after the last.
        """
        assert self._group is not None
        while (order := self._group.order())[0] not in (Order.GO_ON, Order.END):
            now = self._standing.now
            assert now.bands is not None
            now.bands.obey(order, now.optimizer, now.of_terms)
        return order[0] == Order.GO_ON

    def _take_turn(self) -> None:
        """Go on together with the other processes."""
        if self._group is None:
            return
        if self._group.rank == 0:
            self._group.order(Order.GO_ON)
        elif not self.obey():
            raise EndedError("the run has ended in rank 0")

    def __iter__(self) -> Iterator[Progress]:
        """Paint. A resumed run first yields the step that the other had done."""
        if self._is_resumed:
            yield self.progress
        for rung in self.rungs:
            if self._standing.position is not None and self._is_done(rung):
                continue
            self.begin(rung)
            while self.optimizer.num_steps < rung.num_iterations:
                self.step()
                yield self.progress

    def _is_done(self, rung: Rung) -> bool:
        """Whether nothing is left to do at a rung."""
        now = self._standing.now
        done = now.optimizer.num_steps == now.rung.num_iterations
        return rung.index < now.rung.index or (rung == now.rung and done)

    @property
    def optimizer(self) -> CanvasOptimizer:
        """What moves the canvas."""
        return self._standing.now.optimizer

    @property
    def progress(self) -> Progress:
        """Where it stands."""
        now = self._standing.now
        done: float = sum(work for index, work in self._work.items() if index < now.rung.index)
        if now.rung.index in self._work:
            share = now.optimizer.num_steps / now.rung.num_iterations
            done += self._work[now.rung.index] * share
        return Progress(
            rung=now.rung,
            num_rungs=self.rungs[-1].index + 1,
            iteration=now.optimizer.num_steps,
            fraction=done / sum(self._work.values()),
            seconds=time.perf_counter() - self._started,
            warnings=self.warnings,
            _loss=now.loss,
            _terms=now.terms,
            _run=self._standing,
            processes=() if self._group is None else self._group.shares,
        )

    def begin(self, rung: Rung) -> None:
        """Bring the canvas to a rung, if it is not there, and measure what it is compared to."""
        self._take_turn()
        with self.setup.together.stage():
            self._begin(rung)

    def _begin(self, rung: Rung) -> None:
        self._objective = None  # The last rung's buffers make room for this one's.
        # What lasts is allocated until the first step is done: outside of the heap, which then has
        # no holes and may keep what later steps free.
        keep_freed_memory(False)
        return_freed_memory()
        torch.cuda.empty_cache()
        canvas = (self._canvas_of or self._whole_or_band)(rung)
        before = self._standing.position
        is_there = before is not None and before.rung == rung
        height, width = canvas.size
        setup = self.setup.at(height * width, rung.index)
        measuring = Measuring(setup, before.measured if before and is_there else ())
        objective = self._compared(setup, rung, canvas, measuring)
        if before is not None and is_there:
            objective.plan = before.plan
            before.measured = tuple(measuring.sides)
            before.of_terms = states_of(objective.terms, before.of_terms)
        else:
            optimizer = self._optimizer(setup.home, rung, canvas)
            loss, terms = (before.loss, before.terms) if before else (torch.zeros(()), {})
            # In one piece: whoever interrupts the run finds the old rung or the new one.
            measured, bands = tuple(measuring.sides), getattr(canvas, "bands", None)
            self._standing.position = Position(
                rung,
                optimizer,
                objective.plan,
                measured,
                loss,
                terms,
                states_of(objective.terms),
                bands,
            )
        self._objective = objective
        if self._group is not None:
            self._group.forget()

    def _compared(
        self, setup: Setup, rung: Rung, canvas: Canvas, measuring: Measuring
    ) -> Objective:
        references = References(
            setup=setup,
            canvas=canvas,
            content=self._standing.content,
            styles=self._standing.styles,
            style_sizes=rung.style_sizes,
            shares=self.shares,
            measuring=measuring,
            guides=self._standing.guides,
        )
        return setup.objective(
            references,
            canvas.plan(),
            smaller=canvas.smaller,
            timed=self._timed,
            graphs=None if setup.is_hosted or self._group is not None else self._graphs,
        )

    def _optimizer(self, home: torch.device, rung: Rung, canvas: Canvas) -> CanvasOptimizer:
        if self._standing.position is not None:
            detail = self._detail(rung, canvas)
            optimizer = self._enlarged(home, rung, canvas)
            if detail is not None:
                optimizer.add(detail.to(home))
            return optimizer
        assert isinstance(canvas, WholeCanvas)
        content = self._standing.content.pixels
        start = canvas.start(partial(first_canvas, self.config, rung.size, content)).to(home)
        optimizer = optimizer_of(self.config, start, rung.learning_rate)
        optimizer.is_part_of(_num_values(rung))
        return optimizer

    def _detail(self, rung: Rung, canvas: Canvas) -> Tensor | None:
        """What the content has of what a larger canvas adds: a start for its finest octave.

        Strokes form along it, where those of an enlarged picture, which has nothing there, have to
        be found first.
        """
        if not rung.content_detail:
            return None
        below = self._standing.now.rung.size
        return canvas.detail(self._standing.content, below).mul_(rung.content_detail)

    def _enlarged(self, home: torch.device, rung: Rung, canvas: Canvas) -> CanvasOptimizer:
        """The optimizer of the rung below, brought up; on the host if the device has no room."""

        def at_home(image: Tensor) -> Tensor:
            return canvas.from_below(image.to(home))

        def by_host(image: Tensor) -> Tensor:
            return canvas.from_below(image.cpu()).to(home)

        for resize in (at_home, by_host):
            try:
                return self.optimizer.enlarged(resize, rung.learning_rate, _num_values(rung))
            except (RuntimeError, MemoryError) as error:
                # Several processes would have to turn to the host together.
                if not is_out_of_memory(error) or self._group is not None:
                    raise
        height, width = rung.size
        raise ConfigError(f"out of memory with a canvas of {width}x{height}: give a smaller `size`")

    def step(self) -> None:
        """Move the canvas once. An interrupt finds it as it was before, or as it is after.

        Raises:
            StylizeError: if the optimisation breaks down.
        """
        standing, objective = self._standing, self._objective
        now = standing.now
        assert objective is not None, "the rung has not begun"
        self._take_turn()
        now.optimizer.set_learning_rate(now.rung.learning_rate_at(now.optimizer.num_steps + 1))
        with self._waiting:
            move(standing, objective)
        keep_freed_memory(True)

    def _restored(self, snapshot: Snapshot, below: Rung | None) -> Position:
        """Where a snapshot was taken."""
        ladder_before = self.rungs if below is None else (below,)
        rung = next((rung for rung in ladder_before if rung.index == snapshot.rung), None)
        if rung is None:
            raise SnapshotError("the snapshot is that of a longer ladder")
        setup = self.setup.beside(rung)
        optimizer = restored(mapped(snapshot.state, lambda tensor: tensor.to(setup.home)))
        bands, size, seen = self._bands(rung), rung.canvas_size, rung.seen_size
        if bands is not None:
            size, seen = (bands.band.own.length, size[1]), (bands.band.seen.length, size[1])
            optimizer.is_part_of(_num_values(rung))
        if _size(optimizer.canvas) != size or snapshot.iteration > rung.num_iterations:
            raise SnapshotError("the snapshot is that of another ladder")
        side, num_kept = snapshot.tiles
        plan = setup.plan_tiles(seen, bands.is_open if bands else (False, False))
        plan = replan(setup.costs, seen, plan, side=side, num_kept=num_kept)
        number = partial(torch.tensor, dtype=torch.float64)
        terms = {name: number(value) for name, value in snapshot.terms.items()}
        measured = tuple(snapshot.measured)
        loss, of_terms = number(snapshot.loss), snapshot.of_terms
        return Position(rung, optimizer, plan, measured, loss, terms, of_terms, bands)


def _parallel_work() -> None:
    """Something that every thread gets a part of."""
    torch.zeros(2**16 * torch.get_num_threads()).add_(1)


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[3]


def _num_values(rung: Rung) -> int:
    height, width = rung.canvas_size
    return 3 * height * width
