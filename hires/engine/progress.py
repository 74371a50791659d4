"""Where a run stands after a step, for those who watch it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from hires.config.run import Config
from hires.engine import ladder
from hires.engine.ladder import Rung
from hires.engine.snapshot import Snapshot
from hires.engine.tones import TONES_SIDE, compared
from hires.image.guides import Guided
from hires.image.originals import Original
from hires.image.resample import resize
from hires.image.rows import Rows


class Painting(Protocol):
    """What a `Progress` asks of its run."""

    config: Config
    content: Original
    guides: Guided

    @property
    def styles(self) -> Sequence[Original]:
        """The styles."""

    @property
    def picture(self) -> Tensor | Rows:
        """What is painted so far, (1, 3, H, W) in [0, 1]; the next step may change it."""

    @property
    def shown(self) -> Tensor | Rows:
        """A copy of it in the colours that the painting gets in the end."""

    def finished(self, picture: Tensor) -> Tensor:
        """A copy of it, or of a smaller one, in the colours that the painting gets in the end."""

    def snapshot(self, seconds: float) -> Snapshot:
        """Everything that the rest of the run depends on."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after a step. Nothing is copied from the device until somebody asks.

    Attributes:
        rung: the rung being painted.
        num_rungs: number of rungs in the ladder.
        iteration: steps done at this rung, from 1; 0 where a run resumes before the first.
        fraction: share of the whole run's work that is done, 0 to 1.
        seconds: time since the run began.
        warnings: what the user should know; the same at every step.
        processes: where several paint, seconds that each has computed so far, without those in
            which it waited for others, and the most bytes of memory that it has had (on a GPU, of
            that); by their ranks.
    """

    rung: Rung
    num_rungs: int
    iteration: int
    fraction: float
    seconds: float
    warnings: tuple[str, ...]
    _loss: Tensor = field(repr=False)
    _terms: Mapping[str, Tensor] = field(repr=False)
    _run: Painting = field(repr=False)
    processes: Sequence[tuple[float, int]] = ()

    @property
    def loss(self) -> float:
        """The weighted sum of the terms before this step."""
        return float(self._loss)

    @property
    def terms(self) -> dict[str, float]:
        """``style``, ``content``, ``patch``, ``tv`` and others before this step, unweighted."""
        return {name: float(value) for name, value in self._terms.items()}

    @property
    def is_last(self) -> bool:
        """Whether the painting is finished."""
        return self.ends_rung and self.rung.index == self.num_rungs - 1

    @property
    def ends_rung(self) -> bool:
        """Whether this was the last step of its rung."""
        return self.iteration == self.rung.num_iterations

    def picture(self) -> Tensor:
        """A copy of the picture so far, (1, 3, H, W) float32 in [0, 1].

        That of the run, not of this step: an old `Progress` does not keep an old canvas in memory.
        """
        found = self.shown()
        return found.whole() if isinstance(found, Rows) else found

    def shown(self) -> Tensor | Rows:
        """The same, or its rows, where several processes have them: for whoever saves it."""
        return self._run.shown

    def thumbnail(self, long_side: int) -> Tensor:
        """The picture so far, made smaller if its long side is longer than that; a copy."""
        return self._run.finished(self._small(long_side))

    def snapshot(self) -> Snapshot:
        """Everything that `iter_stylize` needs to go on from here, bit by bit as this run does.

        Like `picture`, that of the run as it stands now; but no copy: write it, or copy it, before
        the next step.
        """
        return self._run.snapshot(self.seconds)

    def about_tones(self) -> str | None:
        """What to say of the painting if its tones are far from those of its styles, else None.

        Meant for the last step: on the way they often are.
        """
        run = self._run
        return compared(self._small(TONES_SIDE), run.content, run.styles, run.config, run.guides)

    def _small(self, long_side: int) -> Tensor:
        picture = self._run.picture
        size = picture.shape[2], picture.shape[3]
        if isinstance(picture, Rows):
            return picture.resized(ladder.scale_to(size, min(long_side, max(size))))
        return resize(picture, ladder.scale_to(size, min(long_side, max(size))), clamp=True)
