"""The viewer of the page, OpenSeadragon, from npm's registry: fetched once, when hires is built.

``setup.py`` runs this file by its path, in an environment without hires' own dependencies: only
the standard library. Nothing but the pinned bytes is ever written.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

NAME, VERSION = "openseadragon", "6.1.1"
# As npm writes it: SHA-512 of the archive, in base64.
INTEGRITY = "sha512-" + (
    "g4iKe2q8B642SaBT3+x4ZF3/8b1TxPPydyjmtrOLgDrlYWMKd9ZXM+1Cb/xa9DVySkvs/7l6HR1nHKfD5F3Tsw=="
)
FILES = {
    "package/build/openseadragon/openseadragon.min.js": "openseadragon.min.js",
    "package/LICENSE.txt": "openseadragon.LICENSE.txt",
}
FOLDER = Path(__file__).parent / "static" / "vendor"
_STAMP = "openseadragon.json"
_SECONDS = 30
_MOST_BYTES = 32 * 2**20  # the archive has 1.5 MB


class FetchError(RuntimeError):
    """The viewer cannot be had; the message is one line."""


def missing(folder: Path = FOLDER) -> str | None:
    """What to tell where the viewer is not there, in one line; None where it is."""
    if _is_there(folder):
        return None
    return (
        "deep zoom is off: its viewer, OpenSeadragon, was not to be had when hires was installed;"
        " python -m hires.serve.vendor fetches it"
    )


def fetch(folder: Path = FOLDER, archive: Path | None = None) -> bool:
    """Fetch the viewer, unless it is there.

    Args:
        folder: where its files go.
        archive: npm's archive of it, if that is here already.

    Returns:
        Whether anything had to be done.

    Raises:
        FetchError: without a network or a registry, or for bytes other than the pinned ones.
    """
    if _is_there(folder):
        return False
    data = _downloaded() if archive is None else archive.read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != INTEGRITY:
        raise FetchError(f"{NAME} {VERSION} is not what was expected ({found})")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as packed:
        for member, name in FILES.items():
            file = packed.extractfile(member)
            if file is None:
                raise FetchError(f"{NAME} {VERSION} has no {member}")
            _put(folder / name, file.read())
    # Last, so that files without it count as none.
    stamp = json.dumps({"name": NAME, "version": VERSION, "integrity": INTEGRITY}, indent=2)
    _put(folder / _STAMP, f"{stamp}\n".encode())
    return True


def _put(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _is_there(folder: Path) -> bool:
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return stamp.get("integrity") == INTEGRITY and all(
        (folder / name).is_file() for name in FILES.values()
    )


def _downloaded() -> bytes:
    url = f"{registry()}/{NAME}/-/{NAME}-{VERSION}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS, context=_trusted()) as answer:
            data: bytes = answer.read(_MOST_BYTES)
    except (OSError, ValueError) as error:
        raise FetchError(f"{NAME} cannot be fetched from npm's registry: {error}") from error
    return data


def registry() -> str:
    """The address of npm's registry, as npm itself is told it, without a slash at its end.

    Raises:
        FetchError: if neither npm's settings nor npm say one.
    """
    said = _setting("registry") or _asked("registry")
    if urlsplit(said or "").scheme not in ("https", "http"):
        raise FetchError(
            f"where to get {NAME} is not known: install npm, or set npm_config_registry to the"
            " address of npm's registry"
        )
    return str(said).rstrip("/")


def _setting(name: str) -> str | None:
    """One of npm's, from the environment (in any case, as npm takes it) or the user's own file."""
    given = {key.lower(): value for key, value in os.environ.items() if value}
    if f"npm_config_{name}" in given:
        return given[f"npm_config_{name}"]
    path = Path(given.get("npm_config_userconfig") or Path.home() / ".npmrc")
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    pairs = (line.partition("=") for line in lines)
    return next((value.strip(" \"'") for key, _, value in pairs if key.strip() == name), None)


def _asked(name: str) -> str | None:
    """What npm says of a setting: also that of the system, and its default."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    asked = [npm, "config", "get", name]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout.strip()
    return said if done.returncode == 0 and said not in ("", "null", "undefined") else None


def _trusted() -> ssl.SSLContext:
    """The system's certificates, and those that npm is told of."""
    context = ssl.create_default_context()
    own = _setting("cafile")
    if own and Path(own).is_file():
        context.load_verify_locations(own)
    return context


if __name__ == "__main__":
    try:
        print(f"{FOLDER}: {'fetched' if fetch() else 'there already'}")
    except (FetchError, OSError) as failure:
        sys.exit(f"hires: {failure}")
