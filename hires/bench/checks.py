"""What must be right on a device before its speed says anything: exactness, rounding, memory.

Each check is a method of `CheckExercise` and returns plain data: what was found, and ``passed``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hires.bench.exercise import Exercise
from hires.bench.exercises import CONTENT_SEED, STYLE_SEED, picture
from hires.config.feedforward import ApplyConfig, TrainConfig
from hires.engine.self_check import difference, evaluated, examine, scene
from hires.features.checkpoints import load_features
from hires.features.network import Network
from hires.feedforward.apply import Inference
from hires.feedforward.model import load_model
from hires.feedforward.perceptual_loss import PerceptualLoss
from hires.feedforward.training import Trainer
from hires.kernels.precision import Precision, resolve_precision
from hires.kernels.sums import row_sums

CHECKS = ("doctor", "agreement", "training", "applied", "sums", "lack_of_memory")
_CPU, _EXACT = torch.device("cpu"), Precision(torch.float64)
_STYLE_LOSS = "wasserstein"
_TILE = 96
# What a CPU, which has no TF32, is compared to it in: of as many bits of mantissa.
_LIKE_TF32 = Precision(torch.float16)
# Relative, of sums of a million rows in blocks of float32, and of pixels in half precision.
_SUMS_ERROR, _PIXEL_ERROR = 1e-5, 0.05
_MEBIBYTE = 2**20


class CheckExercise(Exercise):
    """Checks of a device, one method each.

    Args:
        device: as ``--device``.
        small: less of everything, for a rehearsal on a CPU.
    """

    def __init__(self, device: str, *, small: bool = False) -> None:
        super().__init__(device)
        self.small = small

    def doctor(self) -> dict[str, Any]:
        """What ``hires doctor`` finds, for the device that ``auto`` picks."""
        return examine()

    def agreement(self) -> dict[str, Any]:
        """Tiled against whole, and the whole against float64 on a CPU, in every precision.

        Tiles may differ from the whole by twice what the arithmetic differs from float64 (1e-10 in
        float64: a GPU takes matrix roots in another way), and that by four times what it does on a
        CPU. TF32 must differ from fp32: it is switched on and off.
        """
        found: dict[str, Any] = {
            precision.name: agreement(self.device, precision) for precision in self._precisions()
        }
        found["compact"] = agreement(
            self.device, resolve_precision("auto", self.device), load_features("compact")
        )
        passed = all(one["passed"] for one in found.values())
        if "tf32" in found:
            fp32, tf32 = (found[name]["float64"]["gradient_rel_l2"] for name in ("fp32", "tf32"))
            passed = passed and 10 * fp32 < tf32
        return {**found, "passed": passed}

    def _precisions(self) -> Iterator[Precision]:
        yield from () if self.small else (_EXACT,)
        names = ("fp32", "bf16") if self.device.type == "cpu" else ("fp32", "tf32", "bf16", "fp16")
        for name in names:
            try:
                yield resolve_precision(name, self.device)
            except ValueError:  # An old GPU has no TF32.
                continue

    def training(self) -> dict[str, Any]:
        """Two steps of a training in fp32 and in what ``auto`` picks; losses must be finite."""
        losses = {}
        for name in ("fp32",) if self.small else ("fp32", "auto"):
            config = TrainConfig(
                precision=name,  # type: ignore[arg-type]
                batch_size=1 if self.small else 4,
                crop=64 if self.small else 256,
                style_size=64 if self.small else 512,
                steps=2,
            )
            style = picture((config.style_size, config.style_size), STYLE_SEED)
            loss = PerceptualLoss(config, style, self.device)
            photographs: Any = _Photographs()
            trainer = Trainer(config, photographs, loss, self.device)
            losses[loss.precision.name] = [report.loss for report in trainer.steps()]
        finite = all(math.isfinite(loss) for found in losses.values() for loss in found)
        return {"losses": losses, "passed": finite}

    def applied(self) -> dict[str, Any]:
        """The model that comes with hires applied: whole, in tiles, and in float64 on a CPU."""
        side = 192 if self.small else 512
        image, model = picture((side, side + 64), CONTENT_SEED), load_model("impasto", task="style")
        wanted = Inference(model, ApplyConfig(device="cpu"), precision=_EXACT).apply(image)
        names = ("fp32",) if self.small else ("fp32", "auto")
        found: dict[str, Any] = {"passed": True}
        for precision in (resolve_precision(name, self.device) for name in names):
            whole, tiled = (
                Inference(
                    model, ApplyConfig(device=str(self.device), tile=tile), precision=precision
                ).apply(image)
                for tile in (None, side // 2)
            )
            tolerance = 1e-3 if precision.dtype == torch.float32 else _PIXEL_ERROR
            worst = {
                "tiled_mean_abs": float((tiled - whole).abs().mean()),
                "float64_mean_abs": float((whole - wanted).abs().mean()),
            }
            found[precision.name] = worst
            found["passed"] = found["passed"] and max(worst.values()) <= tolerance
        return found

    def sums(self) -> dict[str, Any]:
        """Sums over many rows of features against float64, largest relative differences."""
        num_rows = 2**14 if self.small else 2**20
        found: dict[str, Any] = {}
        for dtype in (torch.float32, torch.bfloat16):
            # All above zero, as after a ReLU: errors of one sign would add up.
            rows = torch.rand(num_rows, 64, device=self.device).to(dtype)
            total, product = row_sums(rows, torch.float64, exact=True)
            wide = rows.double()
            pairs = ((total, wide.sum(0)), (product, wide.T @ wide))
            name = str(dtype).removeprefix("torch.")
            found[name] = max(float((a / b - 1).abs().max()) for a, b in pairs)
        return {**found, "passed": max(found.values()) <= _SUMS_ERROR}

    def lack_of_memory(self) -> dict[str, Any]:
        """A pass whose third tile runs out of memory, as it is told, against one undisturbed."""
        whole = evaluated(*scene(self.device, _EXACT))
        objective, canvas = scene(self.device, _EXACT, tile=128)
        objective(canvas)  # It leaves what the next passes use again.
        before, num_tiles = self._allocated(), len(objective.plan.tiles)
        produce, calls = objective.network.produce, itertools.count(1)

        def failing(*args: Any, **options: Any) -> Iterator[tuple[str, Tensor]]:
            if next(calls) == 3:
                raise torch.OutOfMemoryError("injected")
            return produce(*args, **options)

        objective.network.produce = failing  # type: ignore[method-assign]
        objective(canvas)
        left = self._allocated() - before
        found = difference(evaluated(objective, canvas), whole)
        return {
            **found,
            "num_tiles": [num_tiles, len(objective.plan.tiles)],
            "bytes_left": left,
            "passed": max(found.values()) <= 1e-12 and left < _MEBIBYTE,
        }

    def _allocated(self) -> int:
        on_cuda = self.device.type == "cuda"
        return torch.cuda.memory_allocated(self.device) if on_cuda else 0


class _Photographs:
    """Photographs that are made up."""

    paths: tuple[Path, ...] = ()

    def batch(self, number: int, side: int) -> Tensor:
        """(B, 3, side, side)."""
        return torch.cat([picture((side, side), seed) for seed in range(number)])


def agreement(
    device: torch.device, precision: Precision, network: Network | None = None
) -> dict[str, Any]:
    """Differences of one evaluation (see `hires.engine.self_check.difference`).

    Returns:
        ``tiled``: tiled against whole; ``float64``: whole against float64 on a CPU; ``cpu``: the
        latter on a CPU in the same precision; ``passed``.
    """

    def run(where: torch.device, how: Precision, tile: int | None = None) -> tuple[float, Tensor]:
        return evaluated(*scene(where, how, _STYLE_LOSS, tile=tile, network=network))

    exact, whole = run(_CPU, _EXACT), run(device, precision)
    tiled = difference(run(device, precision, _TILE), whole)
    rounding = difference(whole, exact)
    on_cpu = difference(run(_CPU, _LIKE_TF32 if precision.tf32 else precision), exact)

    def within(found: dict[str, float], allowed: dict[str, float], times: float) -> bool:
        name = "gradient_rel_l2"
        return found[name] <= max(times * allowed[name], 1e-10)

    passed = within(tiled, rounding, 2) and within(rounding, on_cpu, 4)
    return {"tiled": tiled, "float64": rounding, "cpu": on_cpu, "passed": passed}
