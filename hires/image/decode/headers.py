"""What a finished file says about itself, read without its pixels."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyvips  # type: ignore[import-untyped]
from PIL import ImageCms

from hires.config.paper import MM_PER_INCH
from hires.errors import ImageError
from hires.image.decode.opening import opened
from hires.image.decode.stored import reading
from hires.image.formats.jpeg import packet_of
from hires.image.formats.pdf import PDFX_VERSION
from hires.image.formats.signatures import kind_of
from hires.image.formats.tiff import TiffPage, picture_page
from hires.image.metadata.xmp import XmpError, values

_POINTS_PER_MM = 72 / 25.4
_SPACES = {"cmyk": "CMYK", **dict.fromkeys(("lab", "labs", "labq"), "CIELAB")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The outside of a picture.

    Attributes:
        kind: JPEG, PNG, TIFF, WebP, PDF or another that is read.
        size: ``(height, width)`` in pixels, as stored.
        bit_depth: bits per channel.
        is_float: whether the values are floats.
        num_channels: of the picture that is read, with alpha and what is left out.
        has_alpha: whether one of them is read as alpha.
        dpi: pixels per inch, None if the file does not tell.
        profile: name of the colour profile, None without one.
        page: ``(height, width)`` of a PDF's page in mm, with the bleed.
        trim: the same for what is left after the cut.
        xmp: the packet of metadata, None without one.
        space: CMYK or CIELAB, or None for the usual ones.
        pdfx: the PDF/X that a PDF says it is.
        notes: what else is in the file, and what of it is not followed.
    """

    kind: str
    size: tuple[int, int]
    bit_depth: int
    is_float: bool = False
    num_channels: int
    has_alpha: bool = False
    dpi: float | None
    profile: str | None
    page: tuple[float, float] | None = None
    trim: tuple[float, float] | None = None
    xmp: bytes | None
    space: str | None = None
    pdfx: str | None = None
    notes: tuple[str, ...] = ()


def read_header(path: Path) -> Header:
    """Read what a picture or one-page PDF file says about itself.

    Raises:
        ImageError: missing, empty, damaged or of another kind.
    """
    kind = ""
    with suppress(OSError, ValueError):  # `opened` says what is wrong
        kind = kind_of(path)
    return _of_pdf(path) if kind == "PDF" else _of_picture(path)


def _of_picture(path: Path) -> Header:
    with reading(path):
        image, notes = opened(path)
        known = set(image.get_fields())
        data = bytes(image.get("icc-profile-data")) if "icc-profile-data" in known else None
        kind = kind_of(path)
        page = picture_page(path) if kind == "TIFF" else None
        has_alpha = bool(image.hasalpha())
        return Header(
            kind=kind,
            size=(image.height, image.width),
            bit_depth=_bits(image, kind) if page is None else page.bits,
            is_float=page is not None and page.is_float,
            num_channels=max(image.bands, 1 if page is None else page.num_channels),
            has_alpha=has_alpha,
            dpi=_dpi(image),
            profile=_profile_name(data),
            xmp=packet_of(image, path),
            space=_SPACES.get(image.interpretation),
            notes=(*notes, *(() if page is None else _beside(page, has_alpha))),
        )


def _beside(page: TiffPage, has_alpha: bool) -> Iterator[str]:
    """What else a TIFF file holds."""
    if page.place:
        where = f"page {page.place.get('page', 0) + 1}"
        if "subifd" in page.place:
            where = f"subdirectory {page.place['subifd'] + 1} of {where}"
        yield f"its picture is {where}"
    if page.num_copies:
        many = "s" * (page.num_copies > 1)
        yield f"{page.num_copies} thumbnail{many} or mask{many} beside the picture"
    num_others = len(page.extra_samples) - has_alpha
    if num_others > 0:
        many = "s" * (num_others > 1)
        yield f"{num_others} further channel{many}, such as a spot colour, not read"


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


def _bits(image: pyvips.Image, kind: str) -> int:
    """Bits per channel of what is no TIFF."""
    if kind == "AVIF":
        return int(image.get("bits-per-sample"))
    return 16 if image.format == "ushort" else 8


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
