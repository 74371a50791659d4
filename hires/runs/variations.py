"""A contact sheet of small variations of a painting, each painted a part of the way to its end.

What a variation becomes when it is painted larger is not guessed at then: the small one is where
that run stands on its way, to the bit wherever the ladder has the same sizes up to there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import Tensor

from hires.config.job import NOT_OF_THE_PICTURE, Job, PaintJob
from hires.config.settings import settings_of
from hires.config.values import counted
from hires.config.variations import Variation
from hires.engine import ladder
from hires.engine.ladder import Rung, Size
from hires.engine.planned import PlannedRun
from hires.engine.progress import Progress
from hires.errors import ConfigError
from hires.image.contact_sheet import Cell, contact_sheet
from hires.image.encode.save import check_output, save_image
from hires.image.metadata.provenance import Provenance, hashed, to_xmp
from hires.image.originals import original
from hires.image.resample import resize
from hires.runs.planning import plan_job
from hires.utils.files import is_writable

# Pixels per inch of a sheet: its page is about as wide as A3 is long.
_DPI = 150
_COLUMNS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetProgress:
    """Where a sheet stands after a step.

    Attributes:
        number: of the variation that is painted, from 1.
        fraction: share of all work that is done, 0 to 1.
        progress: of that variation.
    """

    number: int
    fraction: float
    progress: Progress


class Sheet:
    """A contact sheet on its way to its file; iterate it to paint, then save it.

    Args:
        job: what all variations share, and where the sheet goes.
        variations: what is painted, one after the other.
        commands: what paints each of them, for the line below it.
        side: long side of the pictures in pixels, at most.
        pictures: folder where each is saved by itself too; made if it is missing.

    Attributes:
        size: ``(height, width)`` of the pictures.

    Raises:
        ValueError: for an output, pictures or settings that cannot be painted.
    """

    def __init__(
        self,
        job: PaintJob,
        variations: Sequence[Variation],
        commands: Sequence[str],
        *,
        side: int = 512,
        pictures: str | None = None,
    ) -> None:
        self.job, self.variations = job, tuple(variations)
        self._commands, self._side = tuple(commands), side
        self._pictures = None if pictures is None else Path(pictures)
        files = job.files()
        check_output(job.output, inputs=[path for _, path in files], dpi=_DPI)
        if self._pictures is not None:
            self._check_pictures(self._pictures, [path for _, path in files])
        self._inputs = () if job.delivery.no_metadata else tuple(hashed(*file) for file in files)
        self._next = self._planned(0)
        self.size = self._next.rungs[-1].size
        self._cells: list[Cell] = []

    def _check_pictures(self, folder: Path, inputs: Sequence[str]) -> None:
        """Refuse before the first picture where they could not be saved."""
        if os.path.lexists(folder) and not folder.is_dir():
            raise ConfigError(f"`pictures` is {folder}, which is no folder: give another name")
        parent = folder.absolute().parent
        if not parent.is_dir():
            raise ConfigError(
                f"`pictures` is {folder}: there is no folder {parent}; create it first"
            )
        if not folder.is_dir():
            if not is_writable(folder):
                raise ConfigError(
                    f"`pictures` is {folder}, and no folder can be made there: choose another"
                )
            return
        for number in range(1, len(self.variations) + 1):
            path = self._path_of(folder, number)
            if os.path.realpath(path) == os.path.realpath(self.job.output):
                raise ConfigError(f"`pictures` has {path}, too: choose another `output`")
            check_output(path, inputs=inputs)

    @staticmethod
    def _path_of(folder: Path, number: int) -> Path:
        return folder / f"{number}.jpg"

    @property
    def num_done(self) -> int:
        """Variations that are painted."""
        return len(self._cells)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the variation that is painted next, or at the moment."""
        return self._next.warnings

    def __iter__(self) -> Iterator[SheetProgress]:
        """Paint one variation after the other."""
        for index, variation in enumerate(self.variations):
            if index:
                self._next = self._planned(index)
            for progress in self._next.start():
                fraction = (index + progress.fraction) / len(self.variations)
                yield SheetProgress(number=index + 1, fraction=fraction, progress=progress)
            title, line = f"{index + 1}  {variation.name}", self._commands[index]
            picture = progress.picture()
            if self._pictures is not None:
                self._pictures.mkdir(exist_ok=True)
                save_image(picture, self._path_of(self._pictures, index + 1))
            self._cells.append(Cell(picture=picture, title=title, lines=(line,)))

    def _planned(self, index: int) -> PlannedRun:
        """A variation's run, up to the last rung that is small enough."""
        variation = self.variations[index].job
        parts = {field.name: getattr(variation, field.name) for field in fields(Job)}
        run = plan_job(Job(**{**parts, "output": None})).run
        return replace(run, rungs=small_rungs(run.rungs, self._side))

    def save(self, about: Sequence[str] = ()) -> Size:
        """Save the variations that are painted by now.

        Args:
            about: lines beside the photograph and the styles.

        Returns:
            ``(height, width)`` of the sheet in pixels.

        Raises:
            ImageError: if it cannot be saved.
        """
        side = max(self.size)
        assert self.job.content is not None
        head = [self._shown(self.job.content, "the photograph")]
        head += [self._shown(style, "a style") for style in self.job.styles]
        head.append(Cell(title=counted(self.num_done, "variation"), lines=tuple(about)))
        sheet = contact_sheet(self._cells, self._columns, head=head, side=side)
        save_image(sheet, self.job.output, dpi=_DPI, xmp=self._xmp())
        return sheet.shape[2], sheet.shape[3]

    @property
    def _columns(self) -> int:
        """With several styles one for each way to use them."""
        num_subjects = len({variation.job.styles for variation in self.variations})
        return num_subjects if 1 < num_subjects <= 5 else _COLUMNS

    def _shown(self, path: str, what: str) -> Cell:
        picture = original(path)
        height, width = picture.size
        size = ladder.scale_to(picture.size, min(max(self.size), max(picture.size)))
        small: Tensor = resize(picture.pixels, size, clamp=True)
        return Cell(picture=small, title=Path(path).name, lines=(f"{what}, {width}x{height}",))

    def _xmp(self) -> bytes | None:
        """How the sheet is made, as metadata."""
        if self.job.delivery.no_metadata:
            return None
        names = [field.name for field in fields(PaintJob) if field.name not in NOT_OF_THE_PICTURE]
        settings = {name: value for name, value in settings_of(self.job).items() if name in names}
        settings["variations"] = [*self._commands]
        return to_xmp(Provenance(seed=self.job.config.seed, settings=settings, inputs=self._inputs))


def small_rungs(rungs: Sequence[Rung], side: int) -> tuple[Rung, ...]:
    """The lower part of a ladder, whose pictures are no longer than so many pixels.

    Raises:
        ConfigError: if its first size is more than twice as large.
    """
    height, width = rungs[0].size
    if max(height, width) > 2 * side:
        raise ConfigError(
            f"the ladder begins at {width}x{height}, too large for pictures of {side} px: give"
            " more `rungs`, a smaller `min_size` or a larger `side`"
        )
    return tuple(rung for rung in rungs if rung.index == 0 or max(rung.size) <= side)
