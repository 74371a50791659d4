#!/usr/bin/env python3
"""Try an unpacked wheel without its sources and without a network: paint, apply a model, serve.

    unshare --map-root-user --net scripts/release_trial.py FOLDER

FOLDER is where `pip install --no-deps --target FOLDER WHEEL` has put it; what it depends on is that
of the Python that runs this. `release.py` calls it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

# Linux: set the flags of a network interface; up and running.
_SET_FLAGS, _UP = 0x8914, 0x41
_ANYBODY = ("192.0.2.1", 80)  # An address for documentation (RFC 5737).
_SMALL = ("--size", "64", "--iterations", "3", "--device", "cpu", "--quiet")
_PATIENCE = 300  # seconds


def plug_loopback() -> None:
    """Let this machine talk to itself, as it does in a namespace of its own only when told to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", _UP)
        fcntl.ioctl(control, _SET_FLAGS, request)


def check_unplugged() -> None:
    """Make sure that nobody can be reached."""
    with socket.socket() as wire:
        wire.settimeout(3)
        try:
            wire.connect(_ANYBODY)
        except OSError as error:
            print(f"network: {error.strerror}")
            return
    raise SystemExit("release_trial: there is a network: start this with unshare --net")


def hires(folder: str, *words: str) -> str:
    """Run the command with the package of a folder; returns what it printed."""
    argv = [sys.executable, "-P", "-m", "hires", *words]
    started = time.perf_counter()
    done = subprocess.run(
        argv,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    if done.returncode:
        raise SystemExit(f"release_trial: hires {' '.join(words)}: {done.stderr}")
    print(f"hires {' '.join(words)}: {time.perf_counter() - started:.1f} s")
    return done.stdout


def environment(folder: str) -> dict[str, str]:
    """That of a process that finds the package nowhere else first."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "PYTHONPATH": folder}


def serves(folder: str) -> None:
    """Start the page, fetch it with its scripts, and end it."""
    argv = [sys.executable, "-P", "-m", "hires", "serve", "--port", "0", "--folder", "."]
    with subprocess.Popen(
        argv, env=environment(folder), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            page = fetched(url)
            links = re.findall(r'(?:src|href)="([^"#:]+)"', page)
            assert "<title>" in page, "the page has no title"
            assert links, "the page names no scripts"
            for link in links:
                fetched(urllib.parse.urljoin(url, link))
            vendor = urllib.parse.urljoin(url, "/static/vendor/openseadragon.min.js")
            assert "OpenSeadragon" in fetched(vendor), "the viewer is missing"
            print(f"hires serve: the page and {len(links) + 1} files of it")
        finally:
            process.terminate()


def fetched(url: str) -> str:
    """What an address answers."""
    with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
        return str(answer.read().decode("utf-8"))


def main() -> int:
    """Try all."""
    folder = str(Path(sys.argv[1]).resolve())
    plug_loopback()
    check_unplugged()
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        for name in ("harbour.jpg", "impasto.jpg"):
            shutil.copy(Path(folder, "hires", "serve", "samples", name), name)
        where = "import hires, sys; sys.stdout.write(hires.__file__)"
        found = subprocess.run(
            [sys.executable, "-P", "-c", where],
            env=environment(folder),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert found.startswith(folder), f"{found} is not of {folder}"
        print(hires(folder, "--version").strip())
        hires(folder, "stylize", "harbour.jpg", "impasto.jpg", "-o", "painted.png", *_SMALL)
        hires(folder, "apply", "impasto", "harbour.jpg", "-o", "applied.png", "--quiet")
        told = hires(folder, "inspect", "painted.png")
        assert "64x48" in told, told
        serves(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
