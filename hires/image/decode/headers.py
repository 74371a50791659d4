"""What a finished file says about itself, read without its pixels."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyvips  # type: ignore[import-untyped]
from PIL import ImageCms

from hires.config.paper import MM_PER_INCH
from hires.image.decode.read import opened, reading
from hires.image.formats.jpeg import packet_of
from hires.image.formats.kinds import ImageError
from hires.image.formats.pdf import PDFX_VERSION
from hires.image.metadata.xmp import XmpError, values

_POINTS_PER_MM = 72 / 25.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The outside of a picture.

    Attributes:
        kind: JPEG, PNG, TIFF, WebP or PDF.
        size: ``(height, width)`` in pixels, as stored.
        bit_depth: bits per channel.
        num_channels: with alpha.
        dpi: pixels per inch, None if the file does not tell.
        profile: name of the colour profile, None without one.
        page: ``(height, width)`` of a PDF's page in mm, with the bleed.
        trim: the same for what is left after the cut.
        xmp: the packet of metadata, None without one.
        space: CMYK, or None for the usual ones.
        pdfx: the PDF/X that a PDF says it is.
    """

    kind: str
    size: tuple[int, int]
    bit_depth: int
    num_channels: int
    dpi: float | None
    profile: str | None
    page: tuple[float, float] | None = None
    trim: tuple[float, float] | None = None
    xmp: bytes | None
    space: str | None = None
    pdfx: str | None = None


def read_header(path: Path) -> Header:
    """Read what a JPEG, PNG, TIFF, WebP or one-page PDF file says about itself.

    Raises:
        ImageError: missing, empty, damaged or of another kind.
    """
    try:
        with path.open("rb") as file:
            is_pdf = file.read(5) == b"%PDF-"
    except (OSError, ValueError):
        is_pdf = False  # `opened` says what is wrong
    return _of_pdf(path) if is_pdf else _of_picture(path)


def _of_picture(path: Path) -> Header:
    with reading(path):
        image = opened(path)
        known = set(image.get_fields())
        data = bytes(image.get("icc-profile-data")) if "icc-profile-data" in known else None
        kind = str(image.get("vips-loader")).split("load")[0].upper()
        return Header(
            kind="WebP" if kind == "WEBP" else kind,
            size=(image.height, image.width),
            bit_depth=8 * _bytes_per_value(image),
            num_channels=image.bands,
            dpi=_dpi(image),
            profile=_profile_name(data),
            xmp=packet_of(image, path),
            space="CMYK" if image.interpretation == "cmyk" else None,
        )


def _dpi(image: pyvips.Image) -> float | None:
    # Where a file does not tell, libvips fills in one pixel per millimetre, or 72 dpi, as we do.
    # WebP tells by EXIF only, which comes as "300/1 (300, Rational, 1 components, 8 bytes)".
    dpi = None
    if image.xres != 1:
        dpi = round(float(image.xres) * MM_PER_INCH, 2)
    elif "exif-ifd0-XResolution" in image.get_fields():
        over, _, under = str(image.get("exif-ifd0-XResolution")).split(" ")[0].partition("/")
        dpi = round(float(over) / float(under or 1), 2) if over.isdigit() else None
    return None if dpi is None or abs(dpi - 72) < 0.1 else dpi


def _bytes_per_value(image: pyvips.Image) -> int:
    return {"uchar": 1, "char": 1, "ushort": 2, "short": 2, "double": 8}.get(image.format, 4)


def _profile_name(data: bytes | None) -> str | None:
    if data is None:
        return None
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(data))).strip()
    except (OSError, ImageCms.PyCMSError):
        return "broken"


def _of_pdf(path: Path) -> Header:
    import pikepdf  # takes a while to import, and few files are PDFs

    try:
        with pikepdf.open(path) as document:
            return _of_page(document, path)
    except (pikepdf.PdfError, AttributeError, KeyError, StopIteration, TypeError) as error:
        raise ImageError(
            f"cannot read {path}: it is no PDF with one picture on its page ({error});"
            " choose another file"
        ) from error


def _of_page(document: Any, path: Path) -> Header:
    import pikepdf

    pages = [page.obj for page in document.pages]
    objects = pages[0].get("/Resources", {}).get("/XObject", {}) if len(pages) == 1 else {}
    pictures = [one for _, one in objects.items() if one.get("/Subtype") == "/Image"]
    if len(pictures) != 1:
        raise ImageError(f"cannot read {path}: it does not hold one page with one picture")
    (page,), (picture,) = pages, pictures
    space = [*picture.ColorSpace] if isinstance(picture.ColorSpace, pikepdf.Array) else []
    intents = [
        one for one in document.Root.get("/OutputIntents", []) if "/DestOutputProfile" in one
    ]
    held = space[1] if space and space[0] == "/ICCBased" else None
    if held is None and intents:
        held = intents[0].DestOutputProfile
    data = None if held is None else held.read_bytes()
    has_inks = picture.ColorSpace == "/DeviceCMYK" or (held is not None and int(held.N) == 4)
    metadata = document.Root.get("/Metadata")
    xmp = None if metadata is None else metadata.read_bytes()
    unit = float(page.get("/UserUnit", 1))
    height, width = _box(page.MediaBox, unit)
    return Header(
        kind="PDF",
        size=(int(picture.Height), int(picture.Width)),
        bit_depth=int(picture.BitsPerComponent),
        num_channels=4 if has_inks else 3,
        dpi=round(int(picture.Width) / width * MM_PER_INCH, 2),
        profile=_profile_name(data),
        page=(height, width),
        trim=_box(page.TrimBox, unit),
        xmp=xmp,
        space="CMYK" if has_inks else None,
        pdfx=_pdfx(xmp),
    )


def _pdfx(xmp: bytes | None) -> str | None:
    try:
        return next(iter(values(xmp or b"", PDFX_VERSION)), None)
    except XmpError:
        return None


def _box(box: Any, unit: float) -> tuple[float, float]:
    left, bottom, right, top = (float(value) * unit / _POINTS_PER_MM for value in box)
    return round(top - bottom, 2), round(right - left, 2)
