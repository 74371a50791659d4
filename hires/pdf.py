"""A picture file as a page of its true size, with the boxes that a printer cuts by."""

import logging
import warnings
from io import BytesIO
from pathlib import Path

import img2pdf  # type: ignore[import-untyped]
import pikepdf
from PIL import Image

from hires.formats import SaveError

_POINTS_PER_MM = 72 / 25.4


def write_pdf(
    picture: Path, target: Path, *, page: tuple[float, float], bleed: float, xmp: bytes | None
) -> None:
    """Put a JPEG or PNG file on a page as it is, without encoding it anew.

    The media box and the bleed box are the page, the trim box is what remains of it after the cut.

    Args:
        picture: the file; its colour profile comes along.
        target: the PDF.
        page: ``(height, width)`` in mm, with the bleed.
        bleed: in mm, on each side.
        xmp: a packet of metadata.

    Raises:
        SaveError: for a picture that a PDF cannot hold.
    """
    height, width = (side * _POINTS_PER_MM for side in page)
    edge = bleed * _POINTS_PER_MM
    try:
        document = _converted(picture, (width, height), edge)
    except (img2pdf.ImageOpenError, ValueError) as error:
        raise SaveError(f"cannot save {target}: {error}; save a TIFF instead") from error
    writer: pikepdf.Pdf = document.writer
    if xmp is not None:
        stream = writer.make_stream(xmp, Type=pikepdf.Name.Metadata, Subtype=pikepdf.Name.XML)
        writer.Root.Metadata = stream
    with target.open("wb") as file:
        # Not document.tostream: it compares versions as text, and then asks for a random identity.
        writer.save(file, min_version=document.output_version, deterministic_id=True)
    writer.close()


def _converted(picture: Path, page: tuple[float, float], edge: float) -> img2pdf.pdfdoc:
    """Without dates, so that the same picture gives the same file."""
    logging.getLogger("img2pdf").setLevel(logging.ERROR)  # a stamp is "too small for some viewers"
    limit = Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = None  # img2pdf looks at posters through Pillow, which fears them
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return img2pdf.convert_to_docobject(
                BytesIO(picture.read_bytes()),
                engine=img2pdf.Engine.pikepdf,
                layout_fun=lambda *_: (*page, *page),
                bleedborder=(0, 0),
                trimborder=(edge, edge),
                nodate=True,
            )
    finally:
        Image.MAX_IMAGE_PIXELS = limit
