"""How a picture was made, as the metadata of its file: written, read back, compared. No torch.

The packet is XMP (ISO 16684-1), which TIFF, JPEG, PNG, WebP and PDF all hold. It tells no time: the
same run gives the same file, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hires.version import __version__

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP = "http://ns.adobe.com/xap/1.0/"
_OURS = "urn:hires:provenance:1#"
_META = "adobe:ns:meta/"
_NAMESPACES = {"x": _META, "rdf": _RDF, "xmp": _XMP, "hires": _OURS}


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
        settings: every option of the run, as JSON can hold it.
        inputs: the files that it read.
    """

    version: str = __version__
    seed: int
    settings: Mapping[str, Any]
    inputs: tuple[Input, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "version": self.version,
            "seed": self.seed,
            "inputs": [asdict(one) for one in self.inputs],
            "settings": dict(self.settings),
        }


def hashed(role: str, path: str | Path) -> Input:
    """Note a file and its SHA-256.

    Raises:
        OSError: if it cannot be read.
    """
    with Path(path).open("rb") as file:
        return Input(role, str(path), hashlib.file_digest(file, "sha256").hexdigest())


def changed(inputs: Iterable[Input]) -> tuple[Input, ...]:
    """Those whose files are not what they were.

    Raises:
        ProvenanceError: if one is missing.
    """
    found = []
    for one in inputs:
        try:
            now = hashed(one.role, one.path)
        except (OSError, ValueError):
            raise ProvenanceError(
                f"the {one.role} {one.path} is not there: run this where the first run was, or name"
                " the pictures again"
            ) from None
        if now != one:
            found.append(one)
    return tuple(found)


def to_xmp(provenance: Provenance) -> bytes:
    """Write an XMP packet, UTF-8."""
    for prefix, uri in _NAMESPACES.items():
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.Element(f"{{{_META}}}xmpmeta")
    rdf = ElementTree.SubElement(root, f"{{{_RDF}}}RDF")
    about = ElementTree.SubElement(rdf, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
    content = provenance.as_json()
    texts = {
        f"{{{_XMP}}}CreatorTool": f"hires {provenance.version}",
        f"{{{_OURS}}}version": provenance.version,
        f"{{{_OURS}}}seed": str(provenance.seed),
        # ASCII throughout: JSON escapes what XML cannot hold, such as odd bytes in a file's name.
        f"{{{_OURS}}}inputs": json.dumps(content["inputs"]),
        f"{{{_OURS}}}settings": json.dumps(content["settings"]),
    }
    for name, text in texts.items():
        ElementTree.SubElement(about, name).text = text
    body = ElementTree.tostring(root, encoding="unicode")
    packet = (
        f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{body}\n<?xpacket end="w"?>'
    )
    return packet.encode()


def from_xmp(packet: bytes | None) -> Provenance:
    """Read what `to_xmp` wrote.

    Raises:
        ProvenanceError: if the packet is missing, damaged, or not from hires.
    """
    if packet is None:
        raise ProvenanceError("it holds no metadata: painted with --no-metadata, or edited since?")
    texts = _texts(packet)
    if not texts:
        raise ProvenanceError("its metadata is not from hires")
    try:
        return Provenance(
            version=texts["version"],
            seed=int(texts["seed"]),
            settings=dict(json.loads(texts["settings"])),
            inputs=tuple(Input(**one) for one in json.loads(texts["inputs"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ProvenanceError(
            f"its metadata is damaged ({type(error).__name__}: {error})"
        ) from None


def _texts(packet: bytes) -> dict[str, str]:
    """Our properties, written as elements or, as some editors rewrite them, as attributes."""
    # Entities are refused: they could make a small packet fill the memory, and XMP has none.
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        raise ProvenanceError("its metadata is damaged (it declares entities)")
    try:
        root = ElementTree.fromstring(packet.decode("utf-8", "replace").strip("\ufeff\0 \n"))
    except ElementTree.ParseError as error:
        raise ProvenanceError(f"its metadata is damaged ({error})") from None
    found: dict[str, str] = {}
    for about in root.iter(f"{{{_RDF}}}Description"):
        pairs = [*about.attrib.items(), *((part.tag, part.text or "") for part in about)]
        found |= {
            name.removeprefix(f"{{{_OURS}}}"): text
            for name, text in pairs
            if name.startswith(f"{{{_OURS}}}")
        }
    return found
