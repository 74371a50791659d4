#!/usr/bin/env python3
"""Measure what the page costs the engine: the same run under `hires serve` and on the command line.

    scripts/measure_serve.py --rounds 4

Runs take turns, begun by either first. Under the server one listener follows all events and asks
for the run and its picture as the page does, twice a second. Told are the run's processor time and
the time that its steps say they took, of the last half of the run, each as a ratio of medians. On
a crowded machine only the former means anything. Exit code 1 above 1.03. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hires.runs.trace import read_steps
from hires.serve.processes import environment

GOAL = 1.03
SAMPLES = Path(__file__).parents[1] / "hires" / "serve" / "samples"
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure, print; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--together", action="store_true", help="both at once, in one crowd")
    asked = parser.parse_args()
    options = {"size": asked.size, "min_size": asked.size, "iterations": [asked.steps]}
    options["device"] = "cpu"
    found: dict[str, list[tuple[float, float]]] = {"serve": [], "typed": []}
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as address:
        folder, sent = Path(name), {}
        for kind, sample in (("content", "harbour"), ("style", "impasto")):
            data = (SAMPLES / f"{sample}.jpg").read_bytes()
            sent[kind] = ask(f"{address}api/pictures?kind={kind}&name={sample}.jpg", data)["id"]
        job = {"content": sent["content"], "styles": [sent["style"]], "options": options}
        for number in range(asked.rounds):
            if asked.together:
                with ThreadPoolExecutor(2) as pair:
                    one = pair.submit(under_the_server, address, folder, job)
                    other = pair.submit(typed, address, folder, job)
                for where, cost in (("serve", one.result()), ("typed", other.result())):
                    found[where].append(cost)
                    print(
                        f"{where}: {cost[0]:.2f} s of processor, steps {cost[1]:.2f} s", flush=True
                    )
                continue
            for where in ("serve", "typed")[:: 1 if number % 2 else -1]:
                act = under_the_server if where == "serve" else typed
                cost = act(address, folder, job)
                found[where].append(cost)
                print(f"{where}: {cost[0]:.2f} s of processor, steps {cost[1]:.2f} s", flush=True)
    ratios = [
        statistics.median(one[at] for one in found["serve"])
        / statistics.median(one[at] for one in found["typed"])
        for at in range(2)
    ]
    print(f"serve / typed: processor {ratios[0]:.3f}, steps' own times {ratios[1]:.3f}")
    return int(ratios[0] > GOAL)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server."""
    words = [sys.executable, "-m", "hires", "serve", "--port", "0", "--folder", str(folder)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as server:
        assert server.stdout is not None
        match = re.search(r"http://\S+/", server.stdout.readline())
        assert match
        try:
            yield match[0]
        finally:
            server.send_signal(signal.SIGINT)


def ask(url: str, data: bytes | None = None, kind: str = "application/json") -> Any:
    """What the server answers."""
    headers = {"X-Hires": "1", "Content-Type": kind}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=300) as told:
        return json.loads(told.read())


def under_the_server(address: str, folder: Path, job: dict[str, Any]) -> tuple[float, float]:
    """Processor seconds of a run of the page, and seconds of its steps, while it is watched."""
    is_over = threading.Event()
    listener = threading.Thread(target=listen, args=(address, is_over))
    listener.start()
    key = ask(f"{address}api/runs", json.dumps(job).encode())["run"]
    note = folder / ".hires-serve" / "jobs" / key / "job.json"
    while (pid := json.loads(note.read_text()).get("pid")) is None:
        time.sleep(0.02)
    watcher = threading.Thread(target=watch, args=(address, key, is_over))
    watcher.start()
    seconds = processor_seconds(pid)
    is_over.set()
    watcher.join()
    listener.join()
    told = json.loads(note.read_text())
    return seconds, step_seconds(folder / told["run_dir"])


def listen(address: str, is_over: threading.Event) -> None:
    """Follow the events, as a page does."""
    with urllib.request.urlopen(f"{address}api/events", timeout=60) as events:
        while not is_over.is_set():
            with suppress(TimeoutError):
                events.readline()


def watch(address: str, key: str, is_over: threading.Event) -> None:
    """Ask for the list, the run and its picture, as a page does when something has changed."""
    before = None
    while not is_over.wait(0.5):
        ask(f"{address}api/runs")
        preview = ask(f"{address}api/runs/{key}")["preview"]
        if preview and preview != before:
            with urllib.request.urlopen(f"{address}{preview[1:]}", timeout=60) as picture:
                picture.read()
        before = preview


def typed(_: str, folder: Path, job: dict[str, Any]) -> tuple[float, float]:
    """The same of a run on the command line."""
    options = job["options"]
    (content,) = folder.glob(f"uploads/*-{job['content'][:8]}.jpg")
    (style,) = folder.glob(f"uploads/*-{job['styles'][0][:8]}.jpg")
    shutil.rmtree(folder / "typed.run", ignore_errors=True)
    words = ["stylize", str(content), str(style), "-o", "typed.png", "--bit-depth", "16"]
    words += ["--size", str(options["size"]), "--min-size", str(options["min_size"])]
    words += ["--iterations", str(options["iterations"][0]), "--device", "cpu", "--quiet"]
    argv = [sys.executable, "-m", "hires", *words]
    with subprocess.Popen(argv, cwd=folder, stderr=subprocess.DEVNULL, env=environment()) as run:
        seconds = processor_seconds(run.pid)
    return seconds, step_seconds(folder / "typed.run")


def processor_seconds(pid: int) -> float:
    """Of a process until it ends, as the system counts them."""
    ticks = 0
    while True:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ticks / TICKS
        ticks = int(fields[11]) + int(fields[12])
        if fields[0] == "Z":
            return ticks / TICKS
        time.sleep(0.01)


def step_seconds(run_dir: Path) -> float:
    """Of the last half of a run's steps."""
    steps = read_steps(run_dir / "trace.jsonl")
    return steps[-1].seconds - steps[len(steps) // 2].seconds


if __name__ == "__main__":
    sys.exit(main())
