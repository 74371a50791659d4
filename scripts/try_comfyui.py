#!/usr/bin/env python3
"""The nodes in a real ComfyUI: its results beside those of the command line.

    scripts/try_comfyui.py CHECKOUT --python VENV/bin/python -o tried

starts ComfyUI from a checkout of its repository, on the CPU and without a window, in a folder of
its own, with a copy of ``hires/comfyui`` among its custom nodes. Workflows are posted to its HTTP
API; what it paints must be what the command paints, byte for byte, also after an interruption. With
``--browser`` the example workflows are opened in Chromium: they must ask for what
`comfyui_workflows` says, and the folder gets a picture of each graph. ``--write-examples`` makes
them anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from comfyui_browser import in_browser
from comfyui_workflows import SAMPLES, Prompt, apply, poster, stylize

from hires.config.feedforward import ApplyConfig
from hires.feedforward.apply import Inference
from hires.feedforward.model import load_model
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image
from hires.image.resample import resize

ROOT = Path(__file__).parents[1]
NODES = ROOT / "hires" / "comfyui"
PATIENCE = 900.0  # seconds for a busy machine
SMALL: dict[str, Any] = {"size": "128", "iterations": "12", "no_metadata": True}


class Comfy:
    """A running ComfyUI.

    Args:
        address: such as ``http://127.0.0.1:8188``.
        folder: its own.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder

    def ask(self, path: str, data: Any = None) -> bytes:
        """What it answers to a request; with data, to a POST."""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.address + path, body)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            found: bytes = answer.read()
        return found

    def queue(self, prompt: Prompt) -> str:
        """Begin a workflow; returns its id."""
        told = json.loads(self.ask("/prompt", {"prompt": prompt}))
        return str(told["prompt_id"])

    def wait(self, key: str) -> dict[str, Any]:
        """What its history says of a workflow, once it has ended."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            history = json.loads(self.ask(f"/history/{key}"))
            if key in history:
                return dict(history[key])
            time.sleep(0.3)
        raise TimeoutError(f"workflow {key} has not ended")

    def run(self, prompt: Prompt) -> dict[str, Any]:
        """Outputs of a workflow, by its nodes."""
        entry = self.wait(self.queue(prompt))
        assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
        return dict(entry["outputs"])

    def file(self, told: dict[str, str]) -> bytes:
        """A file that an output tells of, as its HTTP API hands it out."""
        query = "&".join(f"{name}={value}" for name, value in told.items())
        return self.ask(f"/view?{query}")


@contextmanager
def running(checkout: Path, python: str, folder: Path, *, one_line: bool) -> Iterator[Comfy]:
    """ComfyUI from a checkout, with the nodes and the samples, in a folder of its own."""
    nodes = folder / "custom_nodes"
    nodes.mkdir(parents=True)
    if one_line:
        (nodes / "hires_nodes.py").write_text("from hires.comfyui import comfy_entrypoint\n")
    else:
        shutil.copytree(NODES, nodes / "hires", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("input", "output", "temp", "user", "models"):
        (folder / name).mkdir()
    for name in SAMPLES:
        shutil.copy(ROOT / "samples" / name, folder / "input")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["main.py", "--cpu", "--port", str(port), "--base-directory", str(folder)]
    words += ["--user-directory", str(folder / "user"), "--disable-api-nodes"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [python, *words], cwd=checkout, env=environment, stdout=log, stderr=log
        )
        try:
            comfy = Comfy(f"http://127.0.0.1:{port}", folder)
            _wait_until_up(comfy, process)
            yield comfy
        finally:
            process.terminate()
            process.wait(30)


def _wait_until_up(comfy: Comfy, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"ComfyUI has ended; see {comfy.folder / 'log.txt'}")
        try:
            comfy.ask("/object_info/HiresStylize")
        except urllib.error.URLError:
            time.sleep(1)
        else:
            return
    raise TimeoutError("ComfyUI does not answer")


def by_command(folder: Path, *, options: dict[str, Any]) -> bytes:
    """What ``hires stylize`` paints of the samples."""
    words = [str(ROOT / "samples" / name) for name in SAMPLES[:2]]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        words += [flag] if value is True else [flag, *str(value).split()]
    output = folder / "by-command.png"
    command = [sys.executable, "-m", "hires", "stylize", *words, "--device", "cpu", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, "--no-run-dir", "-o", str(output)], check=True, env=environment)
    return output.read_bytes()


def try_stylize(comfy: Comfy, wanted: bytes) -> dict[str, Any]:
    """The file that ComfyUI paints is the command's."""
    (told,) = comfy.run(stylize(**SMALL))["stylize"]["files"]
    found = comfy.file(told)
    assert found == wanted, "the painting is not that of the command"
    return {"file": told["filename"], "bytes": len(found), "same_bytes_as_command": True}


def try_interruption(comfy: Comfy, wanted: bytes) -> dict[str, Any]:
    """A painting that is interrupted is gone on with when the same is queued again."""
    prompt = stylize(**SMALL, file="hires/interrupted")
    folder = comfy.folder / "output" / "hires"
    key = comfy.queue(prompt)
    until = time.monotonic() + PATIENCE
    while not [*folder.glob("interrupted-*.run/trace.jsonl")]:
        assert time.monotonic() < until
        time.sleep(0.02)
    comfy.ask("/interrupt", {})
    entry = comfy.wait(key)
    kinds = [message[0] for message in entry["status"]["messages"]]
    assert "execution_interrupted" in kinds, kinds
    assert not [*folder.glob("interrupted-*.png")], "it was done before it could be interrupted"
    (run,) = folder.glob("interrupted-*.run")
    kept, before = [path.name for path in run.glob("checkpoint-*")], _run_of(run)
    (told,) = comfy.run(prompt)["stylize"]["files"]
    assert comfy.file(told) == wanted, "the resumed painting is not that of the command"
    assert _run_of(run) == before, "it has begun anew"
    return {"checkpoints": kept, "same_run": before, "same_bytes_as_command": True}


def _run_of(folder: Path) -> str:
    """The id that a run got when it began."""
    return str(json.loads((folder / "settings.json").read_text(encoding="utf-8"))["run"])


def try_apply(comfy: Comfy) -> dict[str, Any]:
    """What ComfyUI saves of the network's result: it cuts values off where hires rounds them."""
    small = resize(load_image(ROOT / "samples" / SAMPLES[0]), (192, 256), clamp=True)
    path = comfy.folder / "input" / "small.png"
    save_image(small, path)
    (told,) = comfy.run(apply(path.name))["save"]["images"]
    saved = comfy.folder / "applied.png"
    saved.write_bytes(comfy.file(told))
    found, rounded = load_image(saved) * 255, comfy.folder / "by-apply.png"
    wanted = Inference(load_model("impasto"), ApplyConfig(device="cpu")).apply(load_image(path))
    assert torch.equal(found.round(), (wanted * 255).floor()), "the network's result differs"
    command = [sys.executable, "-m", "hires", "apply", "impasto", str(path), "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, "--quiet", "-o", str(rounded)], check=True, env=environment)
    most = (load_image(rounded) * 255 - found).abs().max()
    return {"same_values_as_python": True, "most_levels_from_command": round(float(most))}


def try_plan(comfy: Comfy) -> dict[str, Any]:
    """What a plan says."""
    prompt = poster(paper="A5", dpi=50.0)
    del prompt["stylize"]
    outputs = comfy.run(prompt)
    return {"plan": outputs["plan"]["text"][0].splitlines()}


def try_refusal(comfy: Comfy) -> dict[str, Any]:
    """What cannot be painted is told in one line, and nothing is written."""
    entry = comfy.wait(comfy.queue(stylize(**SMALL, bleed="3mm", file="hires/refused")))
    (told,) = [body for kind, body in entry["status"]["messages"] if kind == "execution_error"]
    assert not [*(comfy.folder / "output" / "hires").glob("refused*")]
    return {"message": told["exception_message"]}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, in turn."""
    out = Path(options.output).absolute()
    out.mkdir(parents=True)
    checkout = Path(options.checkout).absolute()
    with running(checkout, options.python, out / "comfyui", one_line=options.one_line) as comfy:
        told = json.loads(comfy.ask("/system_stats"))["system"]
        found: dict[str, Any] = {
            "comfyui": told["comfyui_version"],
            "python": told["python_version"],
        }
        if not options.only_browser:
            wanted = by_command(out, options=SMALL)
            found["stylize"] = try_stylize(comfy, wanted)
            found["interruption"] = try_interruption(comfy, wanted)
            found["apply"] = try_apply(comfy)
            found["plan"] = try_plan(comfy)
            found["refusal"] = try_refusal(comfy)
        if options.browser or options.only_browser:
            examples, write = NODES / "example_workflows", options.write_examples
            small = {"size": "384", "iterations": "20", "dpi": 25}
            found["browser"] = in_browser(comfy.address, examples, out, write=write, small=small)
    (out / "found.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def parse(words: list[str]) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", help="of ComfyUI's repository")
    parser.add_argument("--python", default=sys.executable, help="one that has its requirements")
    parser.add_argument("-o", "--output", required=True, help="a new folder for all that is made")
    parser.add_argument("--one-line", action="store_true", help="install by a file of one line")
    parser.add_argument("--browser", action="store_true", help="also open the examples in Chromium")
    parser.add_argument("--only-browser", action="store_true", help="do nothing else")
    parser.add_argument("--write-examples", action="store_true", help="make them anew")
    return parser.parse_args(words)


if __name__ == "__main__":
    print(json.dumps(run(parse(sys.argv[1:])), indent=2))
