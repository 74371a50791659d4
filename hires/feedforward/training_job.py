"""A training from its files to its files: model, state to resume from, log and sample pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hires.config.feedforward import TrainConfig
from hires.feedforward.model import check_model_output, write_model
from hires.feedforward.photographs import Photographs
from hires.feedforward.stages import enlarged
from hires.feedforward.training import (
    StepReport,
    Trainer,
    TrainingError,
    open_trainer,
    reduced,
)
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image
from hires.image.resample import resize
from hires.utils.files import replacing, sha256
from hires.version import __version__

# Sample pictures are this many crops wide: small enough to paint often, large enough to judge.
_SAMPLE_SCALE = 1.5
_NUM_SAMPLES = 3


class TrainingJob:
    """A trainer and the files around it.

    Beside ``NAME.safetensors`` stand ``NAME.state`` (to resume from), ``NAME.jsonl`` (the losses)
    and ``NAME-samples/`` (pictures that show the progress).

    Args:
        config: how to train.
        style: path of the painting; None for super-resolution.
        folders: folders of photographs.
        output: where the model goes.
        samples: photographs for the sample pictures; some of the folders' if empty.
        resume: go on from ``NAME.state``.

    Raises:
        ValueError: for settings or files that cannot be trained on.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        style: Path | None,
        folders: list[Path],
        output: Path,
        samples: list[Path],
        resume: bool,
    ) -> None:
        check_model_output(output)
        self.config, self.style, self.output = config, style, output
        self.folders = folders
        self.photographs = Photographs(folders, seed=config.seed)
        self.trainer: Trainer = open_trainer(config, self.photographs, style)
        self._style_hash = "" if style is None else sha256(style)
        self._seconds, self._started = 0.0, time.monotonic()
        self._samples = self._read_samples(samples)
        if resume:
            self._resume()

    @property
    def state_path(self) -> Path:
        """What a training is resumed from."""
        return self.output.with_suffix(".state")

    @property
    def log_path(self) -> Path:
        """The losses of every step, a JSON object a line."""
        return self.output.with_suffix(".jsonl")

    @property
    def samples_path(self) -> Path:
        """The folder of sample pictures."""
        return self.output.with_name(f"{self.output.stem}-samples")

    def train(self, save_every: int) -> Iterator[StepReport]:
        """Train to the end, saving everything now and then, at the end, and when interrupted."""
        self._started = time.monotonic()
        done = self.trainer.done
        try:
            for report in self.trainer.steps():
                if report.step == done + 1:
                    self._cut_log(done)
                self._log(report)
                yield report
                if report.step % save_every == 0 and report.step < report.num_steps:
                    self.save()
        finally:
            if self.trainer.done:
                self.save()

    @property
    def seconds(self) -> float:
        """Time spent on training, that before a resumption included."""
        return self._seconds + time.monotonic() - self._started

    def save(self) -> None:
        """Save model, state and sample pictures."""
        model = self.trainer.model
        write_model(self.output, model.design, model.finished(), self.metadata())
        state = {
            **self.trainer.state(),
            "style": self._style_hash,
            "seconds": self.seconds,
        }
        with replacing(self.state_path) as temporary:
            torch.save(state, temporary)
        self._save_samples()

    def metadata(self) -> dict[str, str]:
        """How the model came to be, for its file."""
        num_read = len(self.photographs.paths) - len(self.photographs.skipped)
        found: dict[str, Any] = {
            "settings": self.config.settings(),
            "steps": self.trainer.done,
            "seconds": round(self.seconds),
            "photographs": num_read,
            "folders": [folder.name for folder in self.folders],
            "hires": __version__,
            "torch": torch.__version__,
        }
        if self.style is not None:
            found |= {"style": self.style.name, "style_sha256": self._style_hash}
        if self.trainer.start_hash:
            found["start_sha256"] = self.trainer.start_hash
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in found.items()
        }

    def _read_samples(self, paths: list[Path]) -> list[Tensor]:
        if paths:
            pictures = [load_image(path) for path in paths]
        else:
            # Their own supply, so that the training's draws do not depend on the samples.
            supply = Photographs(self.folders, seed=self.config.seed)
            pictures = [supply.crop(self._sample_side) for _ in range(_NUM_SAMPLES)]
        return [_centre(picture, self._sample_side) for picture in pictures]

    @property
    def _sample_side(self) -> int:
        step = 4 * self.config.factor
        return round(self.config.crop * _SAMPLE_SCALE) // step * step

    def _save_samples(self) -> None:
        self.samples_path.mkdir(exist_ok=True)
        rows = []
        for photograph in self._samples:
            made = self.trainer.preview(photograph)
            row = [photograph, made]
            if self.config.factor > 1:
                small = reduced(photograph, self.config.factor)
                row = [enlarged(small, self.config.factor).clamp(0, 1), made, photograph]
            rows.append(torch.cat(row, 3))
        name = f"step-{self.trainer.done:06}.jpg"
        save_image(torch.cat(rows, 2), self.samples_path / name)

    def _resume(self) -> None:
        if not self.state_path.is_file():
            raise TrainingError(
                f"{self.state_path}: nothing to resume from; leave `resume` out to begin"
            )
        try:
            # Tensors, numbers and texts only: nothing in the file is run.
            state = torch.load(self.state_path, map_location="cpu", weights_only=True)
        except Exception as error:  # A damaged file fails in a dozen ways.
            reason = type(error).__name__
            raise TrainingError(
                f"{self.state_path}: damaged or not a training's state ({reason});"
                " leave `resume` out to begin anew"
            ) from None
        if not isinstance(state, dict) or "done" not in state:
            raise TrainingError(f"{self.state_path}: not the state of a training of a model")
        if state["style"] != self._style_hash:
            raise TrainingError("the training to resume had another style picture: give the same")
        self.trainer.load_state(state)
        self._seconds = float(state["seconds"])

    def _cut_log(self, done: int) -> None:
        """Keep the lines of so many steps: those after the last save come again."""
        lines: list[str] = []
        if done and self.log_path.is_file():
            lines = self.log_path.read_text(encoding="utf-8").splitlines()[:done]
        self.log_path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _log(self, report: StepReport) -> None:
        line = {**asdict(report), "seconds": round(self.seconds, 2)}
        with self.log_path.open("a", encoding="utf-8") as log:
            print(json.dumps(line), file=log)


def _centre(picture: Tensor, side: int) -> Tensor:
    """The middle square of a picture, (1, 3, side, side)."""
    height, width = picture.shape[2:]
    scale = side / min(height, width)
    size = max(round(height * scale), side), max(round(width * scale), side)
    image = resize(picture, size, clamp=True)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return image[..., top : top + side, left : left + side]
