#!/usr/bin/env python3
"""Build the sdist and the wheel, and check both; uploads nothing.

    scripts/release.py                # into dist/
    scripts/release.py --no-trial     # without painting with the wheel

Needs the extra ``release`` (build, twine, check-wheel-contents). In turn: version, changelog and
citation agree and nothing is uncommitted; sdist and wheel are built, the wheel from the sdist;
`twine check --strict` and `check-wheel-contents` have nothing to say; the wheel holds what it needs
and is small; every Python that it allows and that is found here compiles it; and, unpacked alone,
with the network unplugged, it paints, applies a model and serves the page (`release_trial.py`).
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 10_000_000  # bytes of a wheel
PYTHONS = ("3.11", "3.12", "3.13")
TOOLS = ("build", "twine", "check_wheel_contents")
NEEDED = (
    "hires/py.typed",
    "hires/features/weights/compact.safetensors",
    "hires/feedforward/models/impasto.safetensors",
    "hires/judging/choice.html",
    "hires/runs/page.css",
    "hires/serve/samples/harbour.jpg",
    "hires/serve/samples/impasto.jpg",
    "hires/serve/static/index.html",
    "hires/serve/static/vendor/openseadragon.min.js",
)
UNWANTED = r"(^|/)(tests?|scripts|docs|benchmarks|__pycache__)/|\.pyc$|\.ipynb$"


class ReleaseError(Exception):
    """What has to be mended before a release, in one line."""


def version() -> str:
    """The version in version.py."""
    text = (ROOT / "hires" / "version.py").read_text(encoding="utf-8")
    return str(re.findall(r'__version__ = "(.*)"', text)[0])


def check_sources() -> None:
    """Refuse sources whose version, changelog and citation differ.

    Raises:
        ReleaseError: if they do.
    """
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    found = re.search(rf"^## \[{re.escape(version())}\] - (\d{{4}}-\d\d-\d\d)$", changelog, re.M)
    if found is None:
        raise ReleaseError(f"CHANGELOG.md: there is no dated section of {version()}")
    for line in (f"version: {version()}", f'date-released: "{found[1]}"'):
        if line not in citation.splitlines():
            raise ReleaseError(f"CITATION.cff: there is no line {line}")


def check_commit() -> None:
    """Refuse to release what is not committed."""
    done = run(["git", "status", "--porcelain"], quiet=True)
    if done.strip():
        raise ReleaseError("there are changes that are not committed: commit or stash them")


def run(words: Sequence[str], *, quiet: bool = False) -> str:
    """Run a command in the root of the repository; returns what it printed.

    Raises:
        ReleaseError: if it fails.
    """
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        raise ReleaseError(f"failed: {' '.join(words)}")
    if not quiet:
        print(done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "done")
    return done.stdout


def build(folder: Path) -> tuple[Path, Path]:
    """Build both; whatever lay in the folder is gone. Returns sdist and wheel."""
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)])
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    if version() not in wheel.name or version() not in sdist.name:
        raise ReleaseError(f"{wheel.name} and {sdist.name} are not of version {version()}")
    return sdist, wheel


def check_contents(wheel: Path) -> None:
    """Refuse a wheel that is too large, lacks what it needs, or holds what it should not.

    Raises:
        ReleaseError: if it does.
    """
    if wheel.stat().st_size > LARGEST:
        raise ReleaseError(f"{wheel.name} has {wheel.stat().st_size} bytes, more than {LARGEST}")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = archive.read(metadata).decode("utf-8")
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise ReleaseError(f"{wheel.name} lacks {', '.join(missing)}")
    unwanted = [name for name in names if re.search(UNWANTED, name)]
    if unwanted:
        raise ReleaseError(f"{wheel.name} holds {', '.join(unwanted)}")
    for line in (f"Version: {version()}", "License-Expression: Apache-2.0", "License-File: NOTICE"):
        if line not in told.splitlines():
            raise ReleaseError(f"{wheel.name}: its metadata lack {line}")


def compile_all(folder: Path) -> list[str]:
    """Compile an unpacked wheel with every Python that is found here; returns their versions."""
    found = []
    for number in PYTHONS:
        name = f"python{number}"
        # A name may be there without its Python, as with pyenv.
        path = shutil.which(name)
        is_there = (
            path is not None
            and not subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode
        )
        if is_there:
            with tempfile.TemporaryDirectory() as cache:
                prefix = f"pycache_prefix={cache}"
                run(
                    [name, "-X", prefix, "-W", "error", "-m", "compileall", "-q", str(folder)],
                    quiet=True,
                )
            found.append(number)
    return found


def main() -> int:
    """Build and check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", metavar="DIR")
    parser.add_argument("--no-trial", action="store_true", help="do not paint with the wheel")
    options = parser.parse_args()
    try:
        release(options.output, is_tried=not options.no_trial)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 2
    return 0


def release(folder: Path, *, is_tried: bool) -> None:
    """All steps, one after the other."""
    missing = [name for name in TOOLS if find_spec(name) is None]
    if missing:
        raise ReleaseError("the tools are missing: pip install '.[release]'")
    check_sources()
    check_commit()
    sdist, wheel = build(folder)
    print(f"{sdist.name}: {sdist.stat().st_size / 1e6:.2f} MB")
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB")
    run([sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)])
    run([sys.executable, "-m", "check_wheel_contents", str(wheel)])
    check_contents(wheel)
    with tempfile.TemporaryDirectory() as alone:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        run([*pip, "--target", alone, str(wheel)], quiet=True)
        print(f"compiled by Python {', '.join(compile_all(Path(alone, 'hires')))}")
        if is_tried:
            unplugged = shutil.which("unshare")
            if unplugged is None:
                raise ReleaseError("unshare is missing (util-linux): give --no-trial")
            trial = [sys.executable, str(ROOT / "scripts" / "release_trial.py"), alone]
            print(run([unplugged, "--map-root-user", "--net", *trial], quiet=True), end="")
    print(f"{wheel.name} is good")


if __name__ == "__main__":
    sys.exit(main())
