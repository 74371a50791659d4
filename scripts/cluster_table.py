#!/usr/bin/env python3
"""The table of docs/clusters.md: a painting on 1 to 64 devices, by arithmetic.

scripts/cluster_table.py compact=40TFLOP/s vgg19-shape=240TFLOP/s

Nothing is painted and nothing measured: what a device reaches in whole steps is given, and what
``hires plan --processes`` says of it is printed, for an A0 print at 300 dpi.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import torch

from hires.bench.cases import Case
from hires.bench.exercises import config_of, network_of
from hires.config.values import format_bytes, parse_bytes, parse_rate
from hires.engine.estimate import forecast
from hires.engine.planned import plan_run
from hires.engine.resolve import fit
from hires.engine.shares import Cluster, process_share
from hires.image.originals import Original

A0, PICTURE = (14043, 9933), (1448, 1024)
PROCESSES = (1, 2, 4, 8, 16, 32, 64)
COLUMNS = ("GPUs", "rows each", "memory", "sent a step", "TFLOP a step", "all rungs", "faster")


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rates", nargs="+", metavar="NETWORK=RATE", help="what a device reaches")
    parser.add_argument("--device-memory", default="80GiB", help="as hires plan --device-memory")
    parser.add_argument("--link", default="400GB/s", help="as hires plan --link")
    options = parser.parse_args(argv)
    for text in options.rates:
        features, _, rate = text.partition("=")
        print(f"\n{features} at {rate}, in bf16\n\n| {' | '.join(COLUMNS)} |\n{'|---' * 7}|")
        case = Case(
            size=A0,
            features=features,
            precision="bf16",
            device="cpu",
            memory="64GiB",
            min_size=1024,
        )
        pictures = [Original(torch.full((1, 3, *PICTURE), 0.5)) for _ in range(2)]
        run = plan_run(
            fit(config_of(case)), pictures[0], pictures[1:], size=A0, network=network_of(case)
        )
        lines = forecast(run.config, run.setup, run.rungs, num_input_pixels=0)
        config = replace(run.config, memory="auto")  # What the device has.
        for number in PROCESSES:
            cluster = Cluster(
                num_processes=number,
                device_bytes=parse_bytes(options.device_memory),
                link=parse_rate(options.link, "B"),
                flops=parse_rate(rate, "FLOP"),
            )
            shares = [process_share(config, run.setup, line, cluster) for line in lines]
            last = shares[-1]
            seconds, alone = (
                sum(getattr(share, name) for share in shares)
                for name in ("seconds", "alone_seconds")
            )
            sent = format_bytes(last.row_bytes + last.sum_bytes)
            row = [number, last.rows, format_bytes(last.memory_bytes), sent]
            row += [f"{last.flops / 1e12:.3g}", f"{seconds:.1f} s", f"{alone / seconds:.1f}x"]
            print(f"| {' | '.join(map(str, row))} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
