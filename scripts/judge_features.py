#!/usr/bin/env python3
"""Judge a feature network as painters would: paint with it, with its teacher and with a random one.

    scripts/judge_features.py --teacher vgg19_16x_encoder.pth --pairs photo.jpg:painting.jpg ...

Every pair is painted three times with the same losses and steps. Every painting is then measured
with the teacher's features (behind its heads, where it has some): the relative Gram error averaged
over relu1_1 ... relu5_1 against the style, and the relative error at relu4_1 against the content.
OUT gets judge.json, judge.md, every painting, and one contact sheet: content, style, teacher,
student, random.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from convert_features import convert
from torch import Tensor
from train_compact import is_state_dict, read_state_dict, read_teacher

from hires import Config, load_image, save_image, stylize
from hires.distill.teaching import STYLE_TAPS, Student, gram_with_mean
from hires.engine.ladder import scale_to
from hires.features.checkpoints import load_features, write_checkpoint
from hires.features.network import Network
from hires.image.resample import resize

_PAINTERS = ("teacher", "student", "random")
_CELL = 384


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one painting turned out.

    Attributes:
        pair: content and style, by name.
        painter: ``teacher``, ``student`` or ``random``.
        style: relative Gram error, mean over the layers.
        layers: the same by layer.
        content: relative squared error at relu4_1.
    """

    pair: str
    painter: str
    style: float
    layers: dict[str, float]
    content: float


class Judge:
    """The teacher, measuring.

    Args:
        network: the teacher in float32.
        heads: maps (K, C + 1) of ``[features, 1]`` to richer features; may be empty.
    """

    def __init__(self, network: Network, heads: Mapping[str, Tensor]) -> None:
        self.network = network.prepare("cpu", torch.float32, torch.channels_last)
        self.heads = heads

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """Features (1, K, h, w) behind the heads, by layer."""
        found: dict[str, Tensor] = {}
        for tap, x in self.network(image, STYLE_TAPS).items():
            head = self.heads.get(tap)
            found[tap] = x if head is None else F.conv2d(x, head[:, :-1, None, None], head[:, -1])
        return found

    @torch.no_grad()
    def measure(
        self, painting: Tensor, content: Tensor, style: Tensor
    ) -> tuple[dict[str, float], float]:
        """Relative Gram errors by layer against the style, and the error against the content."""
        own, wanted, scene = (self.features(image) for image in (painting, style, content))
        layers = {}
        for tap in STYLE_TAPS:
            one, other = (gram_with_mean(found[tap])[:, :-1, :-1] for found in (own, wanted))
            layers[tap] = float((one - other).square().sum() / other.square().sum())
        there = scene["relu4_1"]
        error = (own["relu4_1"] - there).square().sum() / there.square().sum()
        return layers, float(error)


def write_painters(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """What `Config.features` calls each painter's network; files go to a folder where needed."""
    names = {"student": options.student, "teacher": options.teacher}
    if is_state_dict(options.teacher):
        names["teacher"] = str(folder / "teacher.safetensors")
        write_checkpoint(Path(names["teacher"]), *convert(read_state_dict(options.teacher)), {})
    shape = load_features(options.student).architecture
    names["random"] = str(folder / "random.safetensors")
    weights = Student(shape, seed=options.seed).weights()
    write_checkpoint(Path(names["random"]), shape, weights, {})
    return {painter: names[painter] for painter in _PAINTERS}


def judge_pairs(options: argparse.Namespace) -> list[Verdict]:
    """Paint and measure every pair, saving paintings and a contact sheet as they come."""
    judge = Judge(*read_teacher(options.teacher))
    verdicts, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        painters = write_painters(options, Path(folder))
        for pair in options.pairs:
            content, style = (load_image(path) for path in pair.split(":"))
            name = "+".join(Path(path).stem for path in pair.split(":"))
            row = [content, style]
            for painter, features in painters.items():
                painting = stylize(content, style, painting_config(options, features))
                save_image(painting, options.out / f"{name}-{painter}.png")
                verdicts.append(verdict(judge, name, painter, painting, content, style))
                print(describe(verdicts[-1]), file=sys.stderr)
                row.append(painting)
            rows.append(row)
            save_image(contact_sheet(rows), options.out / "contact.jpg")
    return verdicts


def painting_config(options: argparse.Namespace, features: str) -> Config:
    """The same losses and steps for every painter."""
    return Config(
        size=options.size,
        min_size=options.min_size,
        iterations=tuple(options.iterations),
        style_loss="gram",
        content_layers=(options.content_layer,),
        content_weight=options.content_weight,
        style_weight=options.style_weight,
        tv_weight=options.tv_weight,
        device=options.device,
        features=features,
    )


def verdict(
    judge: Judge, pair: str, painter: str, painting: Tensor, content: Tensor, style: Tensor
) -> Verdict:
    """Measure one painting against its content and style at its own size."""
    size = (painting.shape[2], painting.shape[3])
    scaled = resize(style, scale_to((style.shape[2], style.shape[3]), max(size)))
    layers, error = judge.measure(painting, resize(content, size), scaled)
    return Verdict(pair, painter, sum(layers.values()) / len(layers), layers, error)


def describe(found: Verdict) -> str:
    """One line about a painting."""
    layers = " ".join(f"{value:.4f}" for value in found.layers.values())
    return (
        f"{found.pair:32} {found.painter:8} style {found.style:.4f} ({layers})"
        f" content {found.content:.4f}"
    )


def contact_sheet(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Rows of pictures, each fitted into a square cell, as one (1, 3, H, W) picture."""
    return torch.cat([torch.cat([_cell(image) for image in row], 3) for row in rows], 2)


def _cell(image: Tensor) -> Tensor:
    height, width = scale_to((image.shape[2], image.shape[3]), _CELL)
    fitted = resize(image, (height, width)).clamp(0, 1)
    return F.pad(fitted, (0, _CELL - width, 0, _CELL - height), value=1.0)


def summary(verdicts: Sequence[Verdict]) -> str:
    """A Markdown table: mean errors by painter, and their ratios to the teacher's."""
    lines = ["| painter | style error | to teacher's | content error | to teacher's |"]
    lines.append("|---|---|---|---|---|")
    means = {painter: _means(verdicts, painter) for painter in _PAINTERS}
    for painter, (style, content) in means.items():
        ratios = style / means["teacher"][0], content / means["teacher"][1]
        lines.append(
            f"| {painter} | {style:.4f} | {ratios[0]:.3f} | {content:.4f} | {ratios[1]:.3f} |"
        )
    return "\n".join(lines)


def _means(verdicts: Sequence[Verdict], painter: str) -> tuple[float, float]:
    own = [found for found in verdicts if found.painter == painter]
    return sum(v.style for v in own) / len(own), sum(v.content for v in own) / len(own)


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--student", default="compact", help="network to judge (%(default)s)")
    add("--teacher", required=True, help="vgg19, checkpoint or .pth state dict")
    add("--pairs", nargs="+", required=True, metavar="CONTENT:STYLE", help="pictures to paint")
    add("--out", type=Path, required=True, help="folder for tables and pictures")
    add("--size", type=int, default=512, help="long side of the paintings (%(default)s)")
    add("--min-size", type=int, default=128, help="long side of the first rung (%(default)s)")
    add("--iterations", type=int, nargs="+", default=[200, 150, 100], help="steps per rung")
    add("--content-layer", default="relu4_1", help="layer of the content loss (%(default)s)")
    add("--content-weight", type=float, default=1.0, help="see hires stylize (%(default)s)")
    add("--style-weight", type=float, default=20.0, help="see hires stylize (%(default)s)")
    add("--tv-weight", type=float, default=1.0, help="see hires stylize (%(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (%(default)s)")
    add("--seed", type=int, default=0, help="seed of the random network (%(default)s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Judge; 0, or 2 with one line on stderr."""
    options = parse_options(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        verdicts = judge_pairs(options)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"judge_features: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    table = summary(verdicts)
    found = [asdict(v) for v in verdicts]
    (options.out / "judge.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (options.out / "judge.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
