"""Files that appear whole or not at all, and their hashes. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hires.errors import ImageError, SaveError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside the target; put it in the target's place if all went well.

    Raises:
        SaveError: if the system refuses.
    """
    target = Path(os.path.realpath(path))
    temporary = _temporary_beside(target)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except SaveError:
        raise  # Told already.
    except OSError as error:
        raise refused(path, error.strerror or str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON for people to read, whole or not at all.

    Raises:
        SaveError: if the system refuses.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: if it cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reading_problem(path: Path, wanted: str = "a picture file") -> str | None:
    """Why a file cannot be read, and what to do; None if it can.

    Args:
        path: of the file.
        wanted: what to give in place of what is no file.
    """
    try:
        if path.is_dir():
            return f"it is a folder; give {wanted}"
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            return f"it is not a regular file; give {wanted}"
        with path.open("rb") as file:
            return None if file.read(1) else "the file is empty; choose another file"
    except FileNotFoundError:
        return "there is no such file; check the path"
    except (OSError, ValueError) as error:
        return f"{error}; check the path and its permissions"


def check_readable(path: Path) -> None:
    """Refuse a picture file that cannot be read.

    Raises:
        ImageError: saying why, and what to do.
    """
    problem = reading_problem(path)
    if problem is not None:
        raise ImageError(f"cannot read {path}: {problem}")


@contextmanager
def scratch(target: Path, ending: str) -> Iterator[Path]:
    """Yield another temporary file beside a temporary target; it is gone afterwards."""
    temporary = _temporary_beside(target.with_suffix(ending))
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def is_writable(target: Path) -> bool:
    """Whether a file can be made there, found by making one.

    Permission bits tell little on network shares, read-only mounts and Windows.
    """
    if target.exists() and not os.access(target, os.W_OK):
        return False
    try:
        _temporary_beside(target).unlink()
    except OSError:
        return False
    return True


def refused(path: Path, reason: str) -> SaveError:
    """What to raise where the system refuses to write a file."""
    advice = "free some space or choose another folder (nothing was replaced)"
    return SaveError(f"cannot save {path}: {reason}; {advice}")


def _temporary_beside(target: Path) -> Path:
    temporary = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise refused(target, error.strerror or str(error)) from error
    return temporary


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not possible on Windows, and only the rename's durability hangs on it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
