"""Where a run stands, and what is seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from hires.config.run import Config
from hires.engine.bands import Bands
from hires.engine.canvas import without_margin
from hires.engine.colours import Chroma
from hires.engine.ladder import Rung
from hires.engine.snapshot import Snapshot
from hires.image.guides import Guided
from hires.image.originals import Original
from hires.image.rows import Picture, Rows
from hires.optim.canvas_optimizer import CanvasOptimizer
from hires.tiling.planning import TilePlan


@dataclass(slots=True)
class Position:
    """Where a run stands; with other processes, what this one has of it."""

    rung: Rung
    optimizer: CanvasOptimizer
    plan: TilePlan
    measured: tuple[int, ...]
    loss: Tensor
    terms: Mapping[str, Tensor]
    of_terms: Mapping[str, Mapping[str, Tensor]]
    bands: Bands | None = None

    @property
    def picture(self) -> Tensor | Rows:
        """The picture so far, without the margin of its canvas; the next step may change it.

        With other processes, its rows, for rank 0.
        """
        picture = self.optimizer.picture
        if self.bands is not None:
            return self.bands.shown(picture, self.rung.margin)
        return without_margin(picture, self.rung.margin)


@dataclass(slots=True)
class Standing:
    """What every `Progress` of a run shows: no network, no loss, whose memory ends with the run."""

    config: Config
    content: Original
    styles: tuple[Original, ...]
    chroma: Chroma | None
    guides: Guided
    memory: tuple[int | None, int | None] | None = None
    position: Position | None = None

    @property
    def now(self) -> Position:
        """The position, once there is one."""
        assert self.position is not None, "the run has not begun"
        return self.position

    @property
    def picture(self) -> Tensor | Rows:
        """That of its position."""
        return self.now.picture

    @property
    def shown(self) -> Tensor | Rows:
        """The same as the painting shows it, a copy; see `finished`."""
        picture = self.picture
        if isinstance(picture, Rows):  # Each kind by itself, for the sake of types.
            return self.finished(picture)
        return self.finished(picture)

    def finished(self, picture: Picture) -> Picture:
        """A copy in the colours of the painting, and with the photograph where that is kept."""
        if self.chroma is None:
            own = picture.clone() if isinstance(picture, Tensor) else picture
            return self.guides.restored(own, self.content)
        return self.guides.restored(self.chroma.onto(picture), self.chroma.content)

    def snapshot(self, seconds: float) -> Snapshot:
        """Everything that the rest of the run depends on; no copies."""
        now = self.now
        state, of_terms = now.optimizer.state(), now.of_terms
        if now.bands is not None:
            state, of_terms = now.bands.spread([state, of_terms])
        return Snapshot(
            rung=now.rung.index,
            iteration=now.optimizer.num_steps,
            seconds=seconds,
            loss=float(now.loss),
            terms={name: float(value) for name, value in now.terms.items()},
            tiles=(now.plan.side, now.plan.num_kept),
            measured=now.measured,
            memory=self.memory,
            state=state,
            of_terms=of_terms,
        )
