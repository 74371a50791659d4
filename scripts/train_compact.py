#!/usr/bin/env python3
"""Distil the compact feature network from a large one, on folders of pictures.

    scripts/train_compact.py --teacher vgg19 --images photos paintings --out compact.safetensors

Progress goes to stderr, mean errors per layer to OUT.jsonl, everything needed to go on after a kill
(`--resume`) to OUT.state. The phases are those of `hires.distill.phases`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from hires.utils.openmp import bound_waiting

if __name__ == "__main__":
    bound_waiting()  # Before torch is loaded.

import torch
from convert_features import convert
from torch import Tensor

from hires.distill.crops import Crops
from hires.distill.phases import distill
from hires.distill.teaching import STYLE_TAPS, Student, make_teacher
from hires.distill.trainer import COMPACT, Recipe, Report, Trainer
from hires.features.architecture import FeaturesError
from hires.features.checkpoints import load_features, write_checkpoint
from hires.features.network import Network
from hires.kernels.precision import resolve_device, resolve_precision

# Batches of 8 crops on which the targets are chosen.
_CALIBRATION_BATCHES = 8


def read_teacher(name: str) -> tuple[Network, dict[str, Tensor]]:
    """A teacher and its heads (K, C + 1) by layer, which only some state dicts have.

    Args:
        name: ``vgg19``, ``vgg16``, a checkpoint, or a ``.pth`` that `convert_features` understands.
    """
    if not is_state_dict(name):
        return load_features(name), {}
    state = read_state_dict(name)
    architecture, weights = convert(state)
    return Network(architecture, weights, name=name), read_heads(state)


def is_state_dict(name: str) -> bool:
    """Whether a teacher's name is that of a PyTorch file."""
    return name.endswith((".pth", ".pt"))


def read_state_dict(name: str) -> dict[str, Tensor]:
    """The tensors in a PyTorch file."""
    try:
        state = torch.load(name, map_location="cpu", weights_only=True)
    except OSError as error:
        raise FeaturesError(f"teacher '{name}': {error.strerror}") from None
    # Collaborative Distillation's files wrap the state dict.
    return dict(state.get("model", state))


def read_heads(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Collaborative Distillation's auxiliary 1x1 maps: ``conv11_aux`` belongs to relu1_1."""
    heads = {}
    for tap in STYLE_TAPS:
        key = f"conv{tap[4]}{tap[6]}_aux"
        if f"{key}.weight" in state:
            weight, bias = state[f"{key}.weight"].flatten(1), state[f"{key}.bias"]
            heads[tap] = torch.cat([weight, bias[:, None]], 1)
    return heads


def build_trainer(options: argparse.Namespace) -> Trainer:
    """Read the teacher and the pictures, choose the targets, and go on from a state if asked to."""
    device = resolve_device(options.device)
    precision = resolve_precision("auto", device)
    network, heads = read_teacher(options.teacher)
    network.prepare(device, precision.dtype, precision.memory_format)
    crops = Crops(options.images, seed=options.seed)
    part = options.steps // 5
    steps = (max(part, 1), max(2 * part, 1), max(options.steps - 3 * part, 1))
    recipe = Recipe(steps=steps, size=options.crop, batch=options.batch, seed=options.seed)
    images = (crops.batch(8, recipe.size).to(device) for _ in range(_CALIBRATION_BATCHES))
    teacher = make_teacher(network, COMPACT, images, heads)
    trainer = Trainer(Student(COMPACT, seed=options.seed), teacher, crops, recipe, device)
    state = state_path(options.out)
    if options.resume:
        # Written by this program; holds nothing but tensors, numbers and tuples.
        trainer.load_state(torch.load(state, map_location=device, weights_only=True))
    return trainer


def state_path(out: Path) -> Path:
    """Where the state of a run stands."""
    return out.with_suffix(".state")


def save_state(trainer: Trainer, out: Path) -> None:
    """Save everything that `--resume` needs, atomically."""
    temporary = out.with_suffix(".state.partial")
    torch.save(trainer.state(), temporary)
    temporary.replace(state_path(out))


def run(trainer: Trainer, options: argparse.Namespace) -> None:
    """Train to the end, logging means over `--log-every` steps and saving as often as told."""
    sums: defaultdict[str, float] = defaultdict(float)
    started, count = time.perf_counter(), 0
    log_path = options.out.with_suffix(".jsonl")
    with log_path.open("a" if options.resume else "w", encoding="utf-8") as log:
        for report in distill(trainer):
            count += 1
            for key, error in report.errors.items():
                sums[key] += error
            if count == options.log_every or report.step == report.num_steps:
                means = {key: value / count for key, value in sums.items()}
                _write(report, means, time.perf_counter() - started, log)
                sums.clear()
                count = 0
            if report.step % options.save_every == 0 or report.step == report.num_steps:
                save_state(trainer, options.out)
                save_weights(trainer, options)


def _write(report: Report, means: Mapping[str, float], seconds: float, log: object) -> None:
    line = {"phase": report.phase, "step": report.step, "seconds": round(seconds, 1), **means}
    print(json.dumps(line), file=log, flush=True)  # type: ignore[call-overload]
    features = " ".join(f"{means[key]:.3f}" for key in means if key.startswith("features"))
    grams = " ".join(f"{means[key]:.3f}" for key in means if key.startswith("gram"))
    print(
        f"{report.phase} {report.step}/{report.num_steps} {seconds:.0f} s"
        f" features {features} grams {grams}",
        file=sys.stderr,
    )


def save_weights(trainer: Trainer, options: argparse.Namespace) -> None:
    """Write the averaged weights in fp16 with all that is known of their origin."""
    weights = {name: value.half() for name, value in trainer.average.items()}
    metadata = {
        "recipe": json.dumps(asdict(trainer.recipe)),
        "command": (
            f"scripts/train_compact.py --teacher {Path(options.teacher).name}"
            f" --images {' '.join(folder.name for folder in options.images)}"
            f" --steps {options.steps} --seed {options.seed}"
        ),
        "commit": current_commit(),
        "teacher": options.teacher_name or Path(options.teacher).name,
        "licence": options.licence,
        "attribution": options.attribution,
    }
    write_checkpoint(options.out, COMPACT, weights, metadata)


def current_commit() -> str:
    """The commit of the code that trains, or ``unknown``."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--teacher", default="vgg19", help="vgg19, a checkpoint, or a .pth state dict (%(default)s)"
    )
    add("--images", type=Path, nargs="+", required=True, metavar="DIR", help="folders of pictures")
    add("--out", type=Path, required=True, help=".safetensors file to write")
    add("--steps", type=int, default=5000, help="steps of all three phases (%(default)s)")
    add("--batch", type=int, default=6, help="pictures a step (%(default)s)")
    add("--crop", type=int, default=192, help="side of the crops in pixels (%(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (%(default)s)")
    add("--seed", type=int, default=0, help="seed of everything random (%(default)s)")
    add("--resume", action="store_true", help="go on from OUT's .state")
    add("--log-every", type=int, default=20, help="steps a line of the log (%(default)s)")
    add("--save-every", type=int, default=200, help="steps between two saves (%(default)s)")
    add("--teacher-name", default="", help="what the metadata calls the teacher")
    add("--licence", default="unknown", help="licence of the weights, for the metadata")
    add("--attribution", default="unknown", help="whose work it rests on, for the metadata")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Train; 0, or 2 with one line on stderr, or 130 when interrupted."""
    options = parse_options(arguments)
    try:
        run(build_trainer(options), options)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"train_compact: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("train_compact: interrupted; --resume goes on from the last save", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
