#!/usr/bin/env python3
"""Measure what several processes that paint one picture gain: time, bytes sent, memory.

    scripts/measure_processes.py speed -o benchmarks/processes.json
    scripts/measure_processes.py memory -o benchmarks/processes.json

`speed` takes steps of the compact network at one size in turn: one process with one thread (`one`),
one with two (`threads`), and two with one each (`two`). Told are medians of a step's time by the
clock and, of the slowest process, by the processor; and what each has sent, counted where it is
sent. Where other programs run too, the processor's time is the one to trust.

`memory` paints a whole picture with 1, 2 and 4 processes as the command line does, with so much
memory for feature maps in each, and tells the peak of what was resident in each; also of the same
command where the canvas is tiny and the photograph small, which is what Python, torch, the network
and the style take.

Each adds its part to the JSON file. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hires.utils.memory import manage_heap, peak_resident_bytes
from hires.utils.openmp import bound_waiting

if TYPE_CHECKING:
    from hires.engine.run import Run
    from hires.processes.group import Group

SAMPLES = Path(__file__).parent.parent / "samples"
# By side: processes, and threads of each.
SIDES = {"one": (1, 1), "threads": (1, 2), "two": (2, 1)}
NUM_WARMUPS = 2
MIB = 2**20

Row = dict[str, Any]


def main() -> int:
    """Measure, print a table, save JSON."""
    options = parsed()
    if options.what in ("serve", "paint"):
        manage_heap()  # Before torch is loaded.
        bound_waiting()
        return serve(options.size) if options.what == "serve" else paint(options.typed)
    import torch

    from hires.bench import report

    found = speed(options) if options.what == "speed" else memory(options)
    if options.output is not None:
        old = json.loads(options.output.read_text()) if options.output.exists() else {}
        old[options.what] = {"environment": report.environment(torch.device("cpu")), **found}
        options.output.write_text(json.dumps(old, indent=1) + "\n", encoding="utf-8")
    return 0


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    for name, size in (("speed", 2048), ("memory", 4096)):
        part = what.add_parser(name)
        part.add_argument("--size", type=int, default=size, help="sides of the canvas in pixels")
        part.add_argument("-o", "--output", type=Path, help="JSON to write")
        if name == "speed":
            part.add_argument("--steps", type=int, default=7, help="of each side")
        else:
            part.add_argument("--budget", default="512MiB", help="for feature maps of a process")
            part.add_argument("--numbers", type=int, nargs="+", default=[1, 2, 4], help="processes")
    what.add_parser("serve").add_argument("--size", type=int)
    what.add_parser("paint").add_argument("typed", nargs=argparse.REMAINDER)
    return parser.parse_args()


def started(
    stack: ExitStack, number: int, threads: int, typed: Sequence[object]
) -> list[subprocess.Popen[str]]:
    """So many of this script's processes, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told: Row = {"WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "OMP_NUM_THREADS": threads}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    found = []
    for rank in range(number):
        environment = {**os.environ, **{name: str(value) for name, value in told.items()}}
        process = subprocess.Popen(
            [sys.executable, __file__, *map(str, typed)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        found.append(stack.enter_context(process))
        stack.callback(process.kill)
    return found


def ask(processes: Sequence[subprocess.Popen[str]], word: str) -> list[Row]:
    """What each process answers."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(word + "\n")
        process.stdin.flush()
    return [json.loads(process.stdout.readline()) for process in processes if process.stdout]


def speed(options: argparse.Namespace) -> Row:
    """Step all sides in turn."""
    with ExitStack() as stack:
        sides = {
            name: started(stack, number, threads, ["serve", "--size", options.size])
            for name, (number, threads) in SIDES.items()
        }
        steps: dict[str, list[list[Row]]] = {name: [] for name in sides}
        for turn in range(NUM_WARMUPS + options.steps):
            for name, processes in sides.items():
                found = ask(processes, "step")
                if turn >= NUM_WARMUPS:
                    steps[name].append(found)
    rows = {name: summed(found) for name, found in steps.items()}
    one, threads, two = (rows[name] for name in SIDES)
    ratios = {
        "faster_than_one": one["seconds"]["median"] / two["seconds"]["median"],
        "faster_than_one_by_processor": one["processor"]["median"] / two["processor"]["median"],
        "against_threads": two["seconds"]["median"] / threads["seconds"]["median"],
    }
    for name, row in rows.items():
        seconds, processor = row["seconds"]["median"], row["processor"]["median"]
        print(f"{name:>8} {seconds:.3f} s, processor {processor:.3f} s", end=", ")
        print(f"{row['row_bytes']} + {row['other_bytes']} bytes, peak {row['peak_mib']} MiB")
    print(", ".join(f"{name} {value:.3f}" for name, value in ratios.items()))
    return {"size": options.size, "sides": rows, "ratios": ratios}


def summed(steps: Sequence[Sequence[Row]]) -> Row:
    """Of steps of all processes of a side: those of the slowest, and what each has sent."""
    from hires.bench import report

    last = steps[-1]
    return {
        "seconds": report.spread([max(one["seconds"] for one in step) for step in steps]),
        "processor": report.spread([max(one["processor"] for one in step) for step in steps]),
        "row_bytes": [one["rows"] for one in last],
        "other_bytes": [one["sums"] + one["told"] for one in last],
        "peak_mib": [one["peak_mib"] for one in last],
    }


def serve(size: int) -> int:
    """Take a step whenever a line comes, and tell of it."""
    from hires.processes.joining import join

    group = join()
    run = run_of(size, group)
    run.begin(run.rungs[-1])
    for _ in sys.stdin:
        before, clock, processor = sent(group), time.perf_counter(), time.process_time()
        run.step()
        found: Row = {
            "seconds": time.perf_counter() - clock,
            "processor": time.process_time() - processor,
            "peak_mib": peak(),
        }
        found |= {name: count - before[name] for name, count in sent(group).items()}
        print(json.dumps(found), flush=True)
    return 0


def run_of(size: int, group: Group | None) -> Run:
    """A run of one rung, of a square."""
    from hires.config.run import Config
    from hires.engine.planned import plan_run
    from hires.engine.resolve import fit
    from hires.image.decode.read import load_image
    from hires.image.originals import Original
    from hires.image.resample import fill

    config = Config(sizes=(size,), iterations=(10**6,), device="cpu", precision="fp32")
    pictures = [load_image(SAMPLES / name) for name in ("harbour.jpg", "impasto.jpg")]
    content, style = fill(pictures[0], (size, size)).clamp_(0, 1), pictures[1]
    planned = plan_run(fit(config), Original(content), [Original(style)])
    return (planned if group is None else planned.shared(group)).start()


def sent(group: Group | None) -> Mapping[str, int]:
    """Bytes so far."""
    traffic = None if group is None else group.traffic
    names = "rows", "sums", "told"
    return {name: 0 if traffic is None else getattr(traffic, name) for name in names}


def peak() -> int:
    """What was resident at most, in MiB."""
    return peak_resident_bytes() // MIB


def memory(options: argparse.Namespace) -> Row:
    """Paint a canvas and a tiny one with some numbers of processes."""
    from hires.image.decode.read import load_image
    from hires.image.encode.save import save_image
    from hires.image.resample import fill

    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        photograph = load_image(SAMPLES / "harbour.jpg")
        names = {}
        for name, side in (("canvas", options.size), ("base", 256)):
            names[name] = Path(folder) / f"{name}.jpg"
            save_image(fill(photograph, (side, side)).clamp_(0, 1), names[name])
        for number in options.numbers:
            found: Row = {}
            for name, side in (("base", 256), ("canvas", options.size)):
                output = Path(folder) / f"{name}-{number}.tif"
                sizes = [128, 256] if name == "base" else [side // 2, side]
                with ExitStack() as stack:
                    processes = started(
                        stack,
                        number,
                        1,
                        [
                            *("paint", "stylize", names[name], SAMPLES / "impasto.jpg"),
                            *("-o", output, "--sizes", *sizes, "--iterations", 1, 1),
                            *("--device", "cpu", "--memory", options.budget),
                        ],
                    )
                    told = [process.communicate()[0] for process in processes]
                if any(process.returncode for process in processes):
                    raise SystemExit(f"{number} processes could not paint {sizes}")
                found[name] = [int(text.splitlines()[-1]) for text in told]
            found["share"] = [
                canvas - base for canvas, base in zip(found["canvas"], found["base"], strict=True)
            ]
            rows[str(number)] = found
            print(f"{number} processes: {found}", flush=True)
    return {"size": options.size, "budget": options.budget, "mib": rows}


def paint(typed: Sequence[str]) -> int:
    """Do what the command line does, and tell what was resident at most in MiB."""
    from hires.cli import main as cli

    code = cli.main(typed)
    print(peak())
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
