"""Processes that paint one picture, started as torchrun starts them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "samples"
TYPED = (
    *("stylize", str(SAMPLES / "harbour.jpg"), str(SAMPLES / "impasto.jpg"), "--device", "cpu"),
    *("--sizes", "96", "128", "--iterations", "3", "2", "--precision", "fp32"),
    *("--style-loss", "wasserstein", "neighbours:0.3"),  # Which keeps what it has found.
)


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def together(
    number: int, folder: Path, *arguments: str, stuck: int | None = None, **environment: str
) -> list[subprocess.CompletedProcess[str]]:
    """Start so many processes of `process_cases` as torchrun does, and wait for all.

    Args:
        number: how many.
        folder: where they work.
        arguments: of `process_cases`.
        stuck: one that will not end by itself, and is killed when the others have ended.
        environment: variables beside those of torchrun.
    """
    port = free_port()
    told = {"WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, str(HERE / "process_cases.py"), *arguments],
            env={
                **os.environ,
                **{name: str(value) for name, value in told.items()},
                "RANK": str(rank),
                "OMP_NUM_THREADS": "1",
                **environment,
                "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
            },
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]
    ended = {}
    for rank in sorted(range(number), key=lambda rank: rank == stuck):
        if rank == stuck:
            started[rank].send_signal(signal.SIGKILL)
        ended[rank] = started[rank].communicate(timeout=900)
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *ended[rank])
        for rank, process in enumerate(started)
    ]


def losses(run: Path) -> list[float]:
    """Of every step."""
    lines = (run / "trace.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]
