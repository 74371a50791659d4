"""A picture file as a page of its true size, with the boxes that a printer cuts by.

The page holds one JPEG or PNG file as it is, not encoded anew, and copies it from disk to disk: a
poster takes no memory. The format is that of ISO 32000-1; the same picture gives the same file.
With a press it is a PDF/X-4 (ISO 15930-7), which tells the time as well: that of the clock, or of
SOURCE_DATE_EPOCH.
"""

import hashlib
import os
import struct
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import BinaryIO

from hires.image.metadata.xmp import TITLE, XMP, described
from hires.version import __version__

PDFX_VERSION = "{http://www.npes.org/pdfx/ns/id/}GTS_PDFXVersion"  # the property of XMP

_POINTS_PER_MM = 72 / 25.4
_MOST_POINTS = 14_400  # what viewers take; beyond it the unit of the page grows
_COPIED_BYTES = 2**20
_MAKER = f"hires {__version__}"
_MANAGEMENT = "http://ns.adobe.com/xap/1.0/mm/"
_PDF = "http://ns.adobe.com/pdf/1.3/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
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


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a PDF says of itself twice: in its packet of XMP and in its information dictionary."""

    xmp: bytes | None
    info: Mapping[str, str]


def write_pdf(picture: Path, target: Path, page: Page) -> None:
    """Put a JPEG or PNG file on a page.

    The media box and the bleed box are the page, the trim box is what remains of it after the cut.

    Args:
        picture: the file, 8 bit, RGB or CMYK (inverted in a JPEG); a PNG is not interlaced.
        target: the PDF.
        page: its page.
    """
    unit = page.unit
    height, width = (side * _POINTS_PER_MM / unit for side in page.size)
    with target.open("wb") as file, picture.open("rb") as source:
        facts = _facts(page, picture)
        writer = _Writer(file)
        writer.header("1.4" if unit == 1 and page.press is None else "1.6")
        writer.plain(_catalog(page, has_metadata=facts.xmp is not None))
        writer.plain("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
        writer.plain(_page(width, height, page.bleed * _POINTS_PER_MM / unit, unit))
        writer.stream("", f"q {width:.4f} 0 0 {height:.4f} 0 0 cm /Picture Do Q".encode())
        parts = [(0, source.seek(0, 2))] if picture.suffix == ".jpg" else [*_deflated(source)]
        writer.copy(_picture(page, picture.suffix), source, parts)
        writer.stream(f"/N {page.num_channels} /Alternate {page.space}", page.profile)
        if facts.xmp is not None:
            writer.stream("/Type /Metadata /Subtype /XML", facts.xmp)
        if facts.info:
            entries = " ".join(f"/{name} {value}" for name, value in facts.info.items())
            writer.plain(f"<< {entries} >>")
        writer.trailer(has_info=bool(facts.info))


def _catalog(page: Page, *, has_metadata: bool) -> str:
    entries = "/Type /Catalog /Pages 2 0 R"
    if has_metadata:
        entries += " /Metadata 7 0 R"
    if page.press is not None:
        press = _string(page.press)
        # "Custom": the name of no characterisation in ICC's registry, so the profile itself counts.
        entries += (
            " /OutputIntents [<< /Type /OutputIntent /S /GTS_PDFX /OutputConditionIdentifier"
            f" (Custom) /OutputCondition {press} /Info {press} /DestOutputProfile 6 0 R >>]"
        )
    return f"<< {entries} >>"


def _facts(page: Page, picture: Path) -> _Facts:
    info = {"Author": _string(page.creator)} if page.creator else {}
    if page.press is None:
        return _Facts(page.xmp, info)
    now = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()), UTC)
    stamp = f"{now:%Y-%m-%dT%H:%M:%S}+00:00"
    with picture.open("rb") as file:
        digest = hashlib.file_digest(file, "md5")
    digest.update(stamp.encode() + page.title.encode())
    name = f"uuid:{uuid.UUID(digest.hexdigest())}"
    xmp = described(
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
    date = f"(D:{now:%Y%m%d%H%M%S}+00'00')"
    maker = _string(_MAKER)
    told = {"Title": _string(page.title), "Creator": maker, "Producer": maker}
    dates = {"CreationDate": date, "ModDate": date, "Trapped": "/False"}
    # The standard looks into the packet alone, many a program here alone.
    return _Facts(xmp, {"GTS_PDFXVersion": "(PDF/X-4)", **told, **info, **dates})


def _string(text: str) -> str:
    """A text as PDF writes it."""
    if text.isascii():
        return "(" + "".join("\\" * (letter in "()\\") + letter for letter in text) + ")"
    return f"<FEFF{text.encode('utf-16-be').hex().upper()}>"


def _page(width: float, height: float, edge: float, unit: int) -> str:
    whole = f"[0 0 {width:.4f} {height:.4f}]"
    trim = f"[{edge:.4f} {edge:.4f} {width - edge:.4f} {height - edge:.4f}]"
    return (
        f"<< /Type /Page /Parent 2 0 R /MediaBox {whole} /BleedBox {whole} /TrimBox {trim}"
        + (f" /UserUnit {unit}" if unit > 1 else "")
        + " /Resources << /XObject << /Picture 5 0 R >> >> /Contents 4 0 R >>"
    )


def _picture(page: Page, ending: str) -> str:
    height, width = page.pixels
    # Where the press is told, its own inks are not to be converted once more.
    space = "[/ICCBased 6 0 R]" if page.press is None else page.space
    entries = (
        f"/Type /XObject /Subtype /Image /Width {width} /Height {height}"
        f" /ColorSpace {space} /BitsPerComponent 8"
    )
    if ending == ".jpg":
        # JPEG files of inks hold what is left white; a PDF takes them as they are.
        decode = " /Decode [1 0 1 0 1 0 1 0]" if page.num_channels == 4 else ""
        return f"{entries}{decode} /Filter /DCTDecode"
    predictor = (
        f"<< /Predictor 15 /Colors {page.num_channels} /BitsPerComponent 8 /Columns {width} >>"
    )
    return f"{entries} /Filter /FlateDecode /DecodeParms {predictor}"


def _deflated(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Offsets and lengths of the compressed pixels of a PNG; a PDF undoes the very same filters."""
    position = 8
    while True:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"IDAT":
            yield position + 8, length
        if kind == b"IEND":
            return
        position += 12 + length


@dataclass(slots=True)
class _Writer:
    """Numbered objects one after the other, and the table of where they begin."""

    file: BinaryIO
    _offsets: list[int] = field(default_factory=list)
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def header(self, version: str) -> None:
        # Four bytes beyond ASCII tell those who carry the file that it is not text.
        self._put(f"%PDF-{version}\n%".encode() + b"\xe2\xe3\xcf\xd3\n")

    def plain(self, body: str) -> None:
        self._begin()
        self._put(f"{body}\nendobj\n".encode())

    def stream(self, entries: str, data: bytes) -> None:
        self._begin()
        self._put(f"<< {entries} /Length {len(data)} >>\nstream\n".encode())
        self._put(data)
        self._put(b"\nendstream\nendobj\n")

    def copy(self, entries: str, source: BinaryIO, parts: list[tuple[int, int]]) -> None:
        """A stream that lies in another file, as offsets and lengths."""
        self._begin()
        total = sum(length for _, length in parts)
        self._put(f"<< {entries} /Length {total} >>\nstream\n".encode())
        for offset, length in parts:
            source.seek(offset)
            for start in range(0, length, _COPIED_BYTES):
                self._put(source.read(min(_COPIED_BYTES, length - start)))
        self._put(b"\nendstream\nendobj\n")

    def _begin(self) -> None:
        self._offsets.append(self.file.tell())
        self._put(f"{len(self._offsets)} 0 obj\n".encode())

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self.file.write(data)

    def trailer(self, *, has_info: bool) -> None:
        start = self.file.tell()
        count = len(self._offsets) + 1
        table = "".join(f"{offset:010} 00000 n \n" for offset in self._offsets)
        self._put(f"xref\n0 {count}\n0000000000 65535 f \n{table}".encode())
        name = self._digest.hexdigest()[:32]
        info = f" /Info {len(self._offsets)} 0 R" if has_info else ""
        self._put(
            f"trailer\n<< /Size {count} /Root 1 0 R{info} /ID [<{name}> <{name}>] >>\n"
            f"startxref\n{start}\n%%EOF\n".encode()
        )
