#!/usr/bin/env python3
"""Judge a super-resolution model on photographs that it never saw, against bicubic enlargement.

    scripts/judge_superres.py model.safetensors --images photos -o judged

Every picture is reduced (bicubic, antialiased, 8 bit) and enlarged again. PSNR and SSIM are of the
luma (ITU-R BT.601) without a border of the factor's width, as is the custom of the field. What is
written: ``table.md``, and ``crops.png`` with bicubic, model and original side by side. Expect
sharper edges, not a higher PSNR: a feature loss asks for that (Johnson et al. 2016).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hires.utils.openmp import bound_waiting

if __name__ == "__main__":
    bound_waiting()  # Before torch is loaded.

import torch
from kornia.metrics import psnr, ssim
from torch import Tensor

from hires.cli.exits import guarded
from hires.config.feedforward import ApplyConfig
from hires.errors import ImageError
from hires.feedforward.apply import Inference
from hires.feedforward.model import load_model
from hires.feedforward.stages import enlarged
from hires.feedforward.training import reduced
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image
from hires.image.folders import search

_LUMA = (0.299, 0.587, 0.114)
# Window of SSIM (Wang et al. 2004) and side of the crops that are shown.
_WINDOW = 11
_CROP = 160


def luma(image: Tensor, border: int) -> Tensor:
    """(1, 3, H, W) to (1, 1, H - 2 border, W - 2 border)."""
    weights = torch.tensor(_LUMA).view(1, 3, 1, 1)
    return (image * weights).sum(1, keepdim=True)[..., border:-border, border:-border]


def scores(image: Tensor, original: Tensor, border: int) -> tuple[float, float]:
    """PSNR in dB and SSIM of an enlargement."""
    one, other = luma(image, border), luma(original, border)
    return float(psnr(one, other, 1.0)), float(ssim(one, other, _WINDOW).mean())


def sharpest(original: Tensor) -> tuple[slice, slice]:
    """Where a crop shows most detail."""
    gray = original.mean(1, keepdim=True)
    detail = torch.nn.functional.avg_pool2d(
        (gray[..., 1:, 1:] - gray[..., :-1, :-1]).abs(), min(_CROP, *gray.shape[2:]) - 1, 16
    )
    row, column = divmod(int(detail.flatten().argmax()), detail.shape[3])
    return slice(16 * row, 16 * row + _CROP), slice(16 * column, 16 * column + _CROP)


def judge(inference: Inference, paths: list[Path]) -> tuple[list[str], list[Tensor]]:
    """Rows of the table, and a strip of three crops for each picture."""
    rows, strips, totals = [], [], torch.zeros(4)
    for path in paths:
        original = load_image(path)
        height, width = (side // inference.factor * inference.factor for side in original.shape[2:])
        original = original[..., :height, :width]
        small = reduced(original, inference.factor)
        made, plain = inference.apply(small), enlarged(small, inference.factor).clamp(0, 1)
        found = [
            *scores(plain, original, inference.factor),
            *scores(made, original, inference.factor),
        ]
        totals += torch.tensor(found)
        rows.append(_row(path.name, found))
        window = sharpest(original)
        strips.append(torch.cat([image[..., *window] for image in (plain, made, original)], 3))
    return [*rows, _row(f"mean of {len(paths)}", (totals / len(paths)).tolist())], strips


def _row(name: str, found: list[float]) -> str:
    before, like_before, after, like_after = found
    return f"| {name} | {before:.2f} | {after:.2f} | {like_before:.4f} | {like_after:.4f} |"


def run(options: argparse.Namespace) -> int:
    """Judge all pictures and save table and crops."""
    inference = Inference(load_model(options.model, task="super-resolution"), ApplyConfig())
    paths = search(options.images, recursive=False).pictures
    if not paths:
        raise ImageError(f"{options.images}: no pictures in this folder")
    rows, strips = judge(inference, paths[: options.most])
    head = (
        "| picture | PSNR bicubic | PSNR model | SSIM bicubic | SSIM model |\n" + "|---" * 5 + "|"
    )
    table = "\n".join([head, *rows]) + "\n"
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "table.md").write_text(table, encoding="utf-8")
    shapes = {strip.shape for strip in strips}
    alike = [strip for strip in strips if strip.shape == max(shapes)]
    save_image(torch.cat(alike, 2), options.output / "crops.png")
    print(table, end="")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a super-resolution model")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="photographs")
    parser.add_argument("--most", type=int, default=24, help="pictures to judge (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    return guarded("judge_superres", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
