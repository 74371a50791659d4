"""A picture file as a page of its true size, with the boxes that a printer cuts by.

The page holds one JPEG or PNG file as it is, not encoded anew, and copies it from disk to disk: a
poster takes no memory. The format is that of ISO 32000-1; the same picture gives the same file.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import BinaryIO

_POINTS_PER_MM = 72 / 25.4
_MOST_POINTS = 14_400  # what viewers take; beyond it the unit of the page grows
_COPIED_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page for one picture.

    Attributes:
        size: ``(height, width)`` in mm, with the bleed.
        bleed: in mm, on each side.
        pixels: ``(height, width)`` of the picture, 8-bit RGB.
        profile: its colour profile.
        xmp: a packet of metadata, None for none.
    """

    size: tuple[float, float]
    bleed: float
    pixels: tuple[int, int]
    profile: bytes
    xmp: bytes | None


def write_pdf(picture: Path, target: Path, page: Page) -> None:
    """Put a JPEG or PNG file on a page.

    The media box and the bleed box are the page, the trim box is what remains of it after the cut.

    Args:
        picture: the file, 8-bit RGB; a PNG is not interlaced.
        target: the PDF.
        page: its page.
    """
    unit = max(ceil(max(page.size) * _POINTS_PER_MM / _MOST_POINTS), 1)
    height, width = (side * _POINTS_PER_MM / unit for side in page.size)
    with target.open("wb") as file, picture.open("rb") as source:
        writer = _Writer(file)
        writer.header("1.4" if unit == 1 else "1.6")
        metadata = "" if page.xmp is None else " /Metadata 7 0 R"
        writer.plain(f"<< /Type /Catalog /Pages 2 0 R{metadata} >>")
        writer.plain("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
        writer.plain(_page(width, height, page.bleed * _POINTS_PER_MM / unit, unit))
        writer.stream("", f"q {width:.4f} 0 0 {height:.4f} 0 0 cm /Picture Do Q".encode())
        parts = [(0, source.seek(0, 2))] if picture.suffix == ".jpg" else [*_deflated(source)]
        writer.copy(_picture(page.pixels, picture.suffix), source, parts)
        writer.stream("/N 3 /Alternate /DeviceRGB", page.profile)
        if page.xmp is not None:
            writer.stream("/Type /Metadata /Subtype /XML", page.xmp)
        writer.trailer()


def _page(width: float, height: float, edge: float, unit: int) -> str:
    whole = f"[0 0 {width:.4f} {height:.4f}]"
    trim = f"[{edge:.4f} {edge:.4f} {width - edge:.4f} {height - edge:.4f}]"
    return (
        f"<< /Type /Page /Parent 2 0 R /MediaBox {whole} /BleedBox {whole} /TrimBox {trim}"
        + (f" /UserUnit {unit}" if unit > 1 else "")
        + " /Resources << /XObject << /Picture 5 0 R >> >> /Contents 4 0 R >>"
    )


def _picture(pixels: tuple[int, int], ending: str) -> str:
    height, width = pixels
    entries = (
        f"/Type /XObject /Subtype /Image /Width {width} /Height {height}"
        " /ColorSpace [/ICCBased 6 0 R] /BitsPerComponent 8"
    )
    if ending == ".jpg":
        return f"{entries} /Filter /DCTDecode"
    predictor = f"<< /Predictor 15 /Colors 3 /BitsPerComponent 8 /Columns {width} >>"
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

    def trailer(self) -> None:
        start = self.file.tell()
        count = len(self._offsets) + 1
        table = "".join(f"{offset:010} 00000 n \n" for offset in self._offsets)
        self._put(f"xref\n0 {count}\n0000000000 65535 f \n{table}".encode())
        name = self._digest.hexdigest()[:32]
        self._put(
            f"trailer\n<< /Size {count} /Root 1 0 R /ID [<{name}> <{name}>] >>\n"
            f"startxref\n{start}\n%%EOF\n".encode()
        )
