"""A JPEG or PNG file as a PDF page of its true size, with the boxes that a printer cuts by.

The picture is copied from disk to disk, not encoded anew: libraries that write PDF (ISO 32000-1)
would take a poster's into memory. The same picture gives the same file. With a press it is a
PDF/X-4 (ISO 15930-7), which tells the time: the clock's, or that of SOURCE_DATE_EPOCH.
"""

import hashlib
import os
import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import BinaryIO

from hires.image.metadata.xmp import TITLE, XMP, with_properties
from hires.version import __version__

PDFX_VERSION = "{http://www.npes.org/pdfx/ns/id/}GTS_PDFXVersion"  # the property of XMP

_POINTS_PER_MM = 72 / 25.4
_MOST_POINTS = 14_400  # what viewers take; beyond it the unit of the page grows
_COPIED_BYTES = 2**20
_MAKER = f"hires {__version__}"
_MANAGEMENT = "http://ns.adobe.com/xap/1.0/mm/"
_PDF = "http://ns.adobe.com/pdf/1.3/"


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfPage:
    """A page for one picture.

    Attributes:
        size: ``(height, width)`` in mm, with the bleed.
        bleed: in mm, on each side.
        pixels: ``(height, width)`` of the picture, 8 bit.
        profile: its colour profile.
        num_channels: 3 for RGB, 4 for CMYK.
        xmp: a packet of metadata, None for none.
        creator: who made the photograph, as people read it; empty if it is not told.
        press: name of the profile, which is that of the press that a PDF/X-4 is for; None for an
            ordinary PDF.
        title: of a PDF/X-4.
    """

    size: tuple[float, float]
    bleed: float
    pixels: tuple[int, int]
    profile: bytes
    num_channels: int = 3
    xmp: bytes | None = None
    creator: str = ""
    press: str | None = None
    title: str = ""

    @property
    def space(self) -> str:
        """The device's colours."""
        return "/DeviceCMYK" if self.num_channels == 4 else "/DeviceRGB"

    @property
    def unit(self) -> int:
        """How many points a unit of the page has: 1 but for the very largest."""
        return max(ceil(max(self.size) * _POINTS_PER_MM / _MOST_POINTS), 1)


def write_pdf(picture: Path, target: Path, page: PdfPage) -> None:
    """Put a JPEG or PNG file on a page.

    The media box and the bleed box are the page, the trim box is what remains of it after the cut.

    Args:
        picture: the file, 8 bit, RGB or CMYK (inverted in a JPEG); a PNG is not interlaced.
        target: the PDF.
        page: its page.
    """
    xmp, info = _facts(page, picture)
    height, width = (side * _POINTS_PER_MM / page.unit for side in page.size)
    with target.open("wb") as file, picture.open("rb") as source:
        writer = _Writer(file)
        # Four bytes beyond ASCII tell those who carry the file that it is not text.
        version = b"1.4" if page.unit == 1 and page.press is None else b"1.6"
        writer.put(b"%%PDF-%b\n%%\xe2\xe3\xcf\xd3\n" % version)
        writer.plain(_catalog(page, has_metadata=xmp is not None))
        writer.plain("/Type /Pages /Kids [3 0 R] /Count 1")
        writer.plain(_page(page, width, height))
        writer.stream("", f"q {width:.4f} 0 0 {height:.4f} 0 0 cm /Picture Do Q".encode())
        parts = [(0, source.seek(0, 2))] if picture.suffix == ".jpg" else [*_deflated(source)]
        writer.begin(f"{_picture(page, picture.suffix)} /Length {sum(size for _, size in parts)}")
        writer.put(b"stream\n")
        for part in _copied(source, parts):
            writer.put(part)
        writer.put(b"\nendstream\nendobj\n")
        writer.stream(f"/N {page.num_channels} /Alternate {page.space}", page.profile)
        if xmp is not None:
            writer.stream("/Type /Metadata /Subtype /XML", xmp)
        if info:
            writer.plain(" ".join(f"/{name} {value}" for name, value in info.items()))
        writer.trailer(has_info=bool(info))


def _catalog(page: PdfPage, *, has_metadata: bool) -> str:
    entries = "/Type /Catalog /Pages 2 0 R" + " /Metadata 7 0 R" * has_metadata
    if page.press is None:
        return entries
    press = _string(page.press)
    # "Custom": the name of no characterisation in ICC's registry, so the profile itself counts.
    return (
        f"{entries} /OutputIntents [<< /Type /OutputIntent /S /GTS_PDFX /OutputConditionIdentifier"
        f" (Custom) /OutputCondition {press} /Info {press} /DestOutputProfile 6 0 R >>]"
    )


def _facts(page: PdfPage, picture: Path) -> tuple[bytes | None, dict[str, str]]:
    """What a PDF says of itself twice: in XMP, and in its information dictionary."""
    info = {"Author": _string(page.creator)} if page.creator else {}
    if page.press is None:
        return page.xmp, info
    now = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()), UTC)
    stamp = f"{now:%Y-%m-%dT%H:%M:%S}+00:00"
    with picture.open("rb") as file:
        digest = hashlib.file_digest(file, "md5")
    digest.update(stamp.encode() + page.title.encode())
    name = f"uuid:{uuid.UUID(digest.hexdigest())}"
    xmp = with_properties(
        page.xmp,
        {
            PDFX_VERSION: "PDF/X-4",
            f"{{{_PDF}}}Trapped": "False",
            f"{{{_PDF}}}Producer": _MAKER,
            f"{{{XMP}}}CreatorTool": _MAKER,
            **{f"{{{XMP}}}{kind}Date": stamp for kind in ("Create", "Modify", "Metadata")},
            TITLE: page.title,
            f"{{{_MANAGEMENT}}}DocumentID": name,
            f"{{{_MANAGEMENT}}}InstanceID": name,
            f"{{{_MANAGEMENT}}}VersionID": "1",
            f"{{{_MANAGEMENT}}}RenditionClass": "default",
        },
    )
    date, maker = f"(D:{now:%Y%m%d%H%M%S}+00'00')", _string(_MAKER)
    told = {"Title": _string(page.title), "Creator": maker, "Producer": maker}
    dates = {"CreationDate": date, "ModDate": date, "Trapped": "/False"}
    # The standard looks into the packet alone, many a program here alone.
    return xmp, {"GTS_PDFXVersion": "(PDF/X-4)", **told, **info, **dates}


def _string(text: str) -> str:
    """A text as PDF writes it."""
    if text.isascii():
        return "(" + "".join("\\" * (letter in "()\\") + letter for letter in text) + ")"
    return f"<FEFF{text.encode('utf-16-be').hex().upper()}>"


def _page(page: PdfPage, width: float, height: float) -> str:
    edge = page.bleed * _POINTS_PER_MM / page.unit
    whole = f"[0 0 {width:.4f} {height:.4f}]"
    trim = f"[{edge:.4f} {edge:.4f} {width - edge:.4f} {height - edge:.4f}]"
    unit = f" /UserUnit {page.unit}" * (page.unit > 1)
    return (
        f"/Type /Page /Parent 2 0 R /MediaBox {whole} /BleedBox {whole} /TrimBox {trim}{unit}"
        " /Resources << /XObject << /Picture 5 0 R >> >> /Contents 4 0 R"
    )


def _picture(page: PdfPage, ending: str) -> str:
    height, width = page.pixels
    # Where the press is told, its own inks are not to be converted once more.
    space = "[/ICCBased 6 0 R]" if page.press is None else page.space
    entries = (
        f"/Type /XObject /Subtype /Image /Width {width} /Height {height}"
        f" /ColorSpace {space} /BitsPerComponent 8"
    )
    if ending == ".jpg":
        # JPEG files of inks hold what is left white; a PDF takes them as they are.
        decode = " /Decode [1 0 1 0 1 0 1 0]" * (page.num_channels == 4)
        return f"{entries}{decode} /Filter /DCTDecode"
    return (
        f"{entries} /Filter /FlateDecode /DecodeParms << /Predictor 15"
        f" /Colors {page.num_channels} /BitsPerComponent 8 /Columns {width} >>"
    )


def _deflated(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Offsets and lengths of the compressed pixels of a PNG; a PDF undoes the very same filters."""
    position, kind = 8, b""
    while kind != b"IEND":
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"IDAT":
            yield position + 8, length
        position += 12 + length


def _copied(file: BinaryIO, parts: list[tuple[int, int]]) -> Iterator[bytes]:
    for offset, length in parts:
        file.seek(offset)
        for start in range(0, length, _COPIED_BYTES):
            yield file.read(min(_COPIED_BYTES, length - start))


class _Writer:
    """Numbered objects one after the other, and the table of where they begin."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._offsets, self._digest = file, list[int](), hashlib.sha256()

    def put(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)

    def begin(self, entries: str) -> None:
        """The next object's dictionary."""
        self._offsets.append(self._file.tell())
        self.put(f"{len(self._offsets)} 0 obj\n<< {entries} >>\n".encode())

    def plain(self, entries: str) -> None:
        self.begin(entries)
        self.put(b"endobj\n")

    def stream(self, entries: str, data: bytes) -> None:
        self.begin(f"{entries} /Length {len(data)}")
        self.put(b"stream\n%b\nendstream\nendobj\n" % data)

    def trailer(self, *, has_info: bool) -> None:
        start = self._file.tell()
        count = len(self._offsets) + 1
        table = "".join(f"{offset:010} 00000 n \n" for offset in self._offsets)
        self.put(f"xref\n0 {count}\n0000000000 65535 f \n{table}".encode())
        name = self._digest.hexdigest()[:32]
        info = f" /Info {len(self._offsets)} 0 R" * has_info
        self.put(
            f"trailer\n<< /Size {count} /Root 1 0 R{info} /ID [<{name}> <{name}>] >>\n"
            f"startxref\n{start}\n%%EOF\n".encode()
        )
