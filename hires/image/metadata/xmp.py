"""Packets of XMP (ISO 16684-1): properties read, set, spread over two packets, joined. No torch.

Names of properties are written as ElementTree does: ``{namespace}name``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMP = "http://ns.adobe.com/xap/1.0/"
DC = "http://purl.org/dc/elements/1.1/"
META = "adobe:ns:meta/"
NOTE = "http://ns.adobe.com/xmp/note/"
CREATOR, RIGHTS, TITLE = (f"{{{DC}}}{name}" for name in ("creator", "rights", "title"))
_EXTENDED = f"{{{NOTE}}}HasExtendedXMP"
_DESCRIPTION, _ABOUT = f"{{{RDF}}}Description", f"{{{RDF}}}about"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_PREFIXES = {
    "x": META,
    "rdf": RDF,
    "xmp": XMP,
    "dc": DC,
    "xmpNote": NOTE,
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "pdf": "http://ns.adobe.com/pdf/1.3/",
    "pdfxid": "http://www.npes.org/pdfx/ns/id/",
    "hires": "urn:hires:provenance:1#",
}
# Texts in several languages, by their definition.
_ALTERNATIVES = (RIGHTS, TITLE)

Value = str | tuple[str, ...]


class XmpError(ValueError):
    """A packet cannot be read; the message is one line, without a subject."""


def with_properties(packet: bytes | None, properties: Mapping[str, Value]) -> bytes:
    """Set properties of a packet, or of a new one.

    Args:
        packet: UTF-8, left alone.
        properties: a text each, or an ordered list of texts. Empty ones are left out.

    Returns:
        The packet, UTF-8, in its wrapper.

    Raises:
        XmpError: for a packet that is no XML, or declares entities.
    """
    rdf = _rdf(_new() if packet is None else _parsed(packet))
    about = rdf.find(_DESCRIPTION)
    if about is None:
        about = ElementTree.SubElement(rdf, _DESCRIPTION, {_ABOUT: ""})
    for name, value in properties.items():
        for other in rdf.iter(_DESCRIPTION):
            other.attrib.pop(name, None)
            for part in other.findall(name):
                other.remove(part)
        if value:
            about.append(_property(name, value))
    return _wrapped(rdf)


def values(packet: bytes, name: str) -> tuple[str, ...]:
    """The texts of a property: one, those of a list, or its languages; none without it.

    Raises:
        XmpError: see `with_properties`.
    """
    for about in _parsed(packet).iter(_DESCRIPTION):
        if name in about.attrib:
            return (about.attrib[name],)
        part = about.find(name)
        if part is not None:
            items = [item.text or "" for item in part.iter(f"{{{RDF}}}li")]
            return tuple(items or [part.text or ""])
    return ()


def texts(packet: bytes, namespace: str) -> dict[str, str]:
    """The plain texts of a namespace by their names within it, whether elements or attributes.

    Raises:
        XmpError: see `with_properties`.
    """
    prefix = f"{{{namespace}}}"
    return {
        name.removeprefix(prefix): text
        for about in _parsed(packet).iter(_DESCRIPTION)
        for name, text in (*about.attrib.items(), *((part.tag, part.text or "") for part in about))
        if name.startswith(prefix)
    }


def split(packet: bytes, most_bytes: int) -> tuple[bytes, bytes, str]:
    """Spread a packet over two (XMP, Part 3, 1.1.3.1).

    Returns:
        A packet of at most ``most_bytes``, which names the rest; the rest, unwrapped; its name.

    Raises:
        XmpError: see `with_properties`; also if even the names of all properties do not fit.
    """
    rdf, rest = _rdf(_parsed(packet)), _new()
    for about in rdf.iter(_DESCRIPTION):
        for name in [name for name in about.attrib if not name.startswith(f"{{{RDF}}}")]:
            about.append(_property(name, about.attrib.pop(name)))
    parts = [(about, part) for about in rdf.iter(_DESCRIPTION) for part in about]
    parts.sort(key=lambda pair: len(ElementTree.tostring(pair[1])), reverse=True)
    moved = ElementTree.SubElement(_rdf(rest), _DESCRIPTION, {_ABOUT: ""})
    for about, part in parts:
        about.remove(part)
        moved.append(part)
        extended = ElementTree.tostring(rest, encoding="us-ascii")
        name = hashlib.md5(extended, usedforsecurity=False).hexdigest().upper()
        first = with_properties(_wrapped(rdf), {_EXTENDED: name})
        if len(first) <= most_bytes:
            return first, extended, name
    raise XmpError("cannot be split")


def extension(packet: bytes) -> str | None:
    """The name of the second packet that a first one wants, None if it is complete."""
    try:
        return next(iter(values(packet, _EXTENDED)), None)
    except XmpError:
        return None


def joined(first: bytes, extended: bytes) -> bytes:
    """Put together what `split` has spread.

    Raises:
        XmpError: see `with_properties`.
    """
    rdf = _rdf(_parsed(first))
    rdf.extend(_rdf(_parsed(extended)).findall(_DESCRIPTION))
    return with_properties(_wrapped(rdf), {_EXTENDED: ""})


def _new() -> Element:
    root = Element(f"{{{META}}}xmpmeta")
    ElementTree.SubElement(root, f"{{{RDF}}}RDF")
    return root


def _parsed(packet: bytes) -> Element:
    # Entities are refused: they could make a small packet fill the memory, and XMP has none.
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        raise XmpError("it declares entities")
    try:
        return ElementTree.fromstring(packet.decode("utf-8", "replace").strip("\ufeff\0 \n"))
    except ElementTree.ParseError as error:
        raise XmpError(str(error)) from None


def _rdf(root: Element) -> Element:
    found = next(root.iter(f"{{{RDF}}}RDF"), None)
    return ElementTree.SubElement(root, f"{{{RDF}}}RDF") if found is None else found


def _property(name: str, value: Value) -> Element:
    element = Element(name)
    if isinstance(value, str) and name not in _ALTERNATIVES:
        element.text = value
        return element
    kind, items = ("Seq", value) if isinstance(value, tuple) else ("Alt", (value,))
    holder = ElementTree.SubElement(element, f"{{{RDF}}}{kind}")
    for text in items:
        item = ElementTree.SubElement(holder, f"{{{RDF}}}li")
        item.text = text
        if kind == "Alt":
            item.set(_LANGUAGE, "x-default")
    return element


def _wrapped(rdf: Element) -> bytes:
    for prefix, uri in _PREFIXES.items():
        ElementTree.register_namespace(prefix, uri)
    root = Element(f"{{{META}}}xmpmeta")
    root.append(rdf)
    # References to what is beyond ASCII: libvips puts packets into PNG's chunk for Latin-1.
    body = ElementTree.tostring(root, encoding="us-ascii").decode()
    start = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    return f'{start}\n{body}\n<?xpacket end="w"?>'.encode()
