"""What a resolution study measures: one painting at every size of its ladder, and its table."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from hires.cli.display import Display
from hires.engine.progress import Progress
from hires.errors import ImageError
from hires.features.network import Network
from hires.judging.comparison import Judged, judge
from hires.runs.planning import PlannedJob
from hires.utils.files import replacing
from hires.utils.memory import peak_resident_bytes, restart_peak, return_freed_memory

_FIXED = ("style", "seed", "size", "width", "height", "iterations", "seconds", "cpu_seconds")
_PEAK = "peak_memory_bytes"
_WARM_UP = 2  # steps: some optimizers do more in the second


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A rung of one painting.

    Attributes:
        style: name of the style.
        seed: of the painting.
        size: ``(height, width)`` in pixels.
        iterations: steps at this size.
        seconds: that the rung took by the clock, with the measuring of its pictures.
        cpu_seconds: of processor time, all threads together.
        peak_memory_bytes: of the GPU; else of the process, at this rung where the system tells it
            (Linux), or so far.
        loss: the weighted sum of the terms before the last step.
        terms: the losses by name.
        judges: measures that no loss asks for, by name; none where the picture is too small.
    """

    style: str
    seed: int
    size: tuple[int, int]
    iterations: int
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    loss: float
    terms: Mapping[str, float]
    judges: Mapping[str, float]

    @property
    def long_side(self) -> int:
        """By which rungs are called."""
        return max(self.size)

    @property
    def megapixels(self) -> float:
        """Of the picture."""
        return self.size[0] * self.size[1] / 1e6

    def cells(self) -> dict[str, object]:
        """As a line of the table."""
        height, width = self.size
        values = (self.style, self.seed, self.long_side, width, height, self.iterations)
        times = (round(self.seconds, 3), round(self.cpu_seconds, 3))
        fixed = dict(zip(_FIXED, (*values, *times), strict=True))
        losses = {f"loss_{name}": value for name, value in self.terms.items()}
        judges = {f"judge_{name}": value for name, value in self.judges.items()}
        return {**fixed, _PEAK: self.peak_memory_bytes, "loss": self.loss, **losses, **judges}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A ladder that is painted in one style with one seed.

    Attributes:
        style: its name.
        seed: its seed.
        planned: the job.
        folder: where its pictures go.
    """

    style: str
    seed: int
    planned: PlannedJob
    folder: Path

    def path(self, size: int) -> Path:
        """Where the picture of a size goes; names sort by size."""
        return self.folder / f"{size:05d}.png"


def warm_up(series: Series) -> None:
    """Paint a few steps of the first rung and forget them: what happens once is then done."""
    for progress in islice(series.planned.run.start(), _WARM_UP):
        progress.picture()


def climb(series: Series, display: Display, judges: Judges | None) -> Iterator[tuple[Row, Tensor]]:
    """Paint; yield every rung's row and picture when it is done. Judging does not count as time."""
    planned = series.planned
    device = planned.run.setup.device
    display.begin(planned.rungs)
    started = _start(device)
    for progress in planned.run.start():
        if progress.ends_rung:
            picture = progress.picture().cpu()
            took = time.perf_counter() - started[0], time.process_time() - started[1]
            peak = _peak(device)
            judged = {} if judges is None else judges.values(picture)
            yield _row(series, progress, took, peak, judged), picture
            display.update(progress)
            started = _start(device)
        else:
            display.update(progress)


def _start(device: torch.device) -> tuple[float, float]:
    """Count time and memory anew; returns the clock and the processor time."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        return_freed_memory()
        restart_peak()
    return time.perf_counter(), time.process_time()


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_resident_bytes()


def _row(
    series: Series,
    progress: Progress,
    took: tuple[float, float],
    peak: int,
    judged: Mapping[str, float],
) -> Row:
    return Row(
        style=series.style,
        seed=series.seed,
        size=progress.rung.size,
        iterations=progress.rung.num_iterations,
        seconds=took[0],
        cpu_seconds=took[1],
        peak_memory_bytes=peak,
        loss=progress.loss,
        terms=progress.terms,
        judges=judged,
    )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Judges:
    """What `hires compare` measures, of pictures of one photograph in one style.

    Attributes:
        content: the photograph, (1, 3, H, W) in [0, 1].
        style: the style.
        networks: that look at the scene.
    """

    content: Tensor
    style: Tensor
    networks: Mapping[str, Network]

    def values(self, picture: Tensor) -> dict[str, float]:
        """The measures as one number each; none for a picture that is too small."""
        try:
            judged = judge(picture, self.content, self.style, self.networks)
        except ImageError:
            return {}
        return _as_numbers(judged)


def _as_numbers(judged: Judged) -> dict[str, float]:
    """Octaves put together: strokes by their mean, energies by their mean factor from 1."""
    octaves = judged.octaves
    energies = [max(octave.luma, 1 / octave.luma) for octave in octaves if octave.luma]
    return {
        "palette": judged.palette,
        "strokes": sum(judged.strokes) / len(judged.strokes),
        "energy": sum(energies) / max(len(energies), 1),
        "scene": next(iter(judged.structure.values())),
    }


def save_table(rows: Sequence[Row], path: Path) -> None:
    """Write the CSV anew; it is whole at any time."""
    lines = [row.cells() for row in rows]
    names = dict.fromkeys(name for line in lines for name in line)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(names))
        writer.writeheader()
        writer.writerows(lines)
