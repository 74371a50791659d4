"""How a picture was made, as the metadata of its file: written, read back, compared. No torch.

The packet is XMP (ISO 16684-1), which TIFF, JPEG, PNG, WebP and PDF all hold. It tells no time: the
same run gives the same file, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hires.image.metadata.xmp import XMP, XmpError, with_properties
from hires.image.metadata.xmp import texts as texts_of
from hires.utils.files import check_readable, sha256
from hires.version import __version__

_OURS = "urn:hires:provenance:1#"
_NO_RECORD = (
    ", so no record of how it was painted: saved with --no-metadata or from Python without one,"
    " or edited since?"
)


class ProvenanceError(ValueError):
    """A file does not tell how it was made; the message is one line."""


@dataclass(frozen=True, slots=True)
class Input:
    """A file that a run read.

    Attributes:
        role: content, style, init, features...
        path: as it was given.
        sha256: of its bytes, hexadecimal.
    """

    role: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How a picture was made.

    Attributes:
        version: of hires.
        seed: of everything random.
        inputs: the files that it read.
        settings: every option of the run, as JSON can hold it.
        stopped: where the run stood, if this is not what it ended with; else "".
    """

    version: str = __version__
    seed: int
    inputs: tuple[Input, ...]
    settings: Mapping[str, Any]
    stopped: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return asdict(self)


def hashed(role: str, path: str | Path) -> Input:
    """Note a file and its SHA-256.

    Raises:
        ImageError: if it cannot be read, in the words of `hires.image.decode.read.read_picture`.
    """
    check_readable(Path(path))
    return Input(role, str(path), sha256(path))


def to_xmp(provenance: Provenance) -> bytes:
    """Write an XMP packet, UTF-8."""
    content = provenance.as_json()
    texts = {
        f"{{{XMP}}}CreatorTool": f"hires {provenance.version}",
        f"{{{_OURS}}}version": provenance.version,
        f"{{{_OURS}}}seed": str(provenance.seed),
        # ASCII throughout: JSON escapes what XML cannot hold, such as odd bytes in a file's name.
        f"{{{_OURS}}}inputs": json.dumps(content["inputs"]),
        f"{{{_OURS}}}settings": json.dumps(content["settings"]),
    }
    if provenance.stopped:
        texts[f"{{{_OURS}}}stopped"] = provenance.stopped
    return with_properties(None, texts)


def from_xmp(packet: bytes | None) -> Provenance:
    """Read what `to_xmp` wrote.

    Raises:
        ProvenanceError: if the packet is missing, damaged, or not from hires.
    """
    if packet is None:
        raise ProvenanceError(f"it holds no metadata{_NO_RECORD}")
    try:
        texts = texts_of(packet, _OURS)
    except XmpError as error:
        raise ProvenanceError(f"its metadata is damaged ({error})") from None
    if not texts:
        raise ProvenanceError(f"its metadata is not from a run of hires{_NO_RECORD}")
    try:
        return Provenance(
            version=texts["version"],
            seed=int(texts["seed"]),
            settings=dict(json.loads(texts["settings"])),
            inputs=tuple(Input(**one) for one in json.loads(texts["inputs"])),
            stopped=texts.get("stopped", ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ProvenanceError(
            f"its metadata is damaged ({type(error).__name__}: {error})"
        ) from None
