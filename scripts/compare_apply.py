#!/usr/bin/env python3
"""How many times faster a trained model is than painting: the same style, size and photograph.

    scripts/compare_apply.py photo.jpg painting.jpg --model impasto --size 1024 -o compared

Both run in this process, one after the other, with the same device and arithmetic: `hires.stylize`
with its default settings, then the model, warmed up once on a small picture. Reading and writing of
pictures are not counted. The folder gets both pictures side by side and ``times.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from pathlib import Path

from hires.utils.openmp import bound_waiting

if __name__ == "__main__":
    bound_waiting()  # Before torch is loaded.

import torch

from hires.cli.exits import guarded
from hires.config.feedforward import ApplyConfig
from hires.config.run import Config
from hires.engine.ladder import scale_to
from hires.engine.stylize import iter_stylize
from hires.feedforward.apply import Inference
from hires.feedforward.model import load_model
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image
from hires.image.resample import resize
from hires.kernels.precision import resolve_device, resolve_precision
from hires.utils.memory import manage_heap, peak_resident_bytes
from hires.version import __version__


def run(options: argparse.Namespace) -> int:
    """Paint, apply, compare."""
    photo, painting = load_image(options.content), load_image(options.style)
    config = Config(size=options.size, features=options.features)
    inference = Inference(load_model(options.model, task="style"), ApplyConfig())
    size = scale_to((photo.shape[2], photo.shape[3]), options.size)
    image = resize(photo, size, clamp=True)
    (last,) = deque(iter_stylize(photo, [painting], config), maxlen=1)
    painted, painting_seconds = last.picture(), last.seconds
    inference.apply(resize(photo, (128, 128), clamp=True))
    seconds = []
    for _ in range(options.repeats):
        started = time.perf_counter()
        made = inference.apply(image)
        seconds.append(time.perf_counter() - started)
    median = sorted(seconds)[len(seconds) // 2]
    found = {
        "size": f"{size[1]}x{size[0]}",
        "painted_seconds": round(painting_seconds, 2),
        "applied_seconds": [round(value, 3) for value in seconds],
        "times_faster": round(painting_seconds / median, 1),
        "device": str(inference.device),
        "precision": resolve_precision("auto", resolve_device("auto")).name,
        "threads": torch.get_num_threads(),
        "peak_bytes": peak_resident_bytes(),
        "versions": {"hires": __version__, "torch": torch.__version__},
    }
    options.output.mkdir(parents=True, exist_ok=True)
    save_image(torch.cat([painted, made.to(painted.dtype)], 3), options.output / "both.png")
    (options.output / "times.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(
        f"{found['size']}: painted in {painting_seconds:.1f} s, applied in {median:.2f} s,"
        f" {found['times_faster']} times faster"
    )
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("content", type=Path, help="a photograph")
    parser.add_argument("style", type=Path, help="the painting that the model was trained on")
    parser.add_argument("--model", default="impasto", help="a style model (%(default)s)")
    parser.add_argument("--size", type=int, default=1024, help="long side in px (%(default)s)")
    parser.add_argument("--features", default="compact", help="features to paint with")
    parser.add_argument("--repeats", type=int, default=3, help="applications (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    return guarded("compare_apply", lambda: run(options))


if __name__ == "__main__":
    manage_heap()
    sys.exit(main())
