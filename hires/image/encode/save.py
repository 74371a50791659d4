"""Tensors of sRGB-encoded values in [0, 1], (1, 3, H, W), to files; libvips writes."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from hires.config.output import Delivery
from hires.config.paper import MM_PER_INCH, Layout
from hires.errors import ImageError
from hires.image.colour.inks import TotalInk
from hires.image.colour.output import PLAIN_SRGB, Profile, output_profile
from hires.image.encode.encoder import encode, replacing_picture
from hires.image.encode.raster import Sheet
from hires.image.formats.jpeg import complete
from hires.image.formats.kinds import Format, StrPath, format_for
from hires.image.formats.pdf import PdfPage, write_pdf
from hires.image.formats.tiff import add_texts
from hires.image.metadata.authorship import NOBODY, Authorship, exif_of, tags_of
from hires.image.metadata.xmp import CREATOR, RIGHTS, with_properties
from hires.image.rows import Rows
from hires.utils.files import is_writable, scratch

_PLAIN = Delivery()
LARGE_FILE = 500e6  # bytes: what print labs take at most


def save_image(
    image: Tensor | Rows,
    path: StrPath,
    *,
    bit_depth: int = 8,
    alpha: Tensor | None = None,
    dpi: float | None = None,
    layout: Layout | None = None,
    delivery: Delivery = _PLAIN,
    xmp: bytes | None = None,
    author: Authorship = NOBODY,
    seed: int | None = 0,
) -> TotalInk | None:
    """Write a picture with its colour profile, whole or not at all, in bands of rows.

    Args:
        image: (1, 3, H, W), any float dtype and device, sRGB-encoded, clamped to [0, 1]; or its
            rows, which are then made as they are written.
        path: ends in .jpg, .jpeg, .png, .tif, .tiff, .webp or .pdf, in either case.
        bit_depth: 8, or 16 for PNG and TIFF.
        alpha: (1, 1, H, W), straight. JPEG, PDF, labs and inks take none: laid on white.
        dpi: pixels per inch, recorded in the file. A PDF needs it, or a layout.
        layout: the sheet that the image is for, with a dpi of its own.
        delivery: what the file is for, and its colour profile.
        xmp: a packet of metadata.
        author: of the photograph, told as XMP and as EXIF, tags of a TIFF or to PDF readers.
        seed: of the dither for a lab; None, and else, values are rounded to nearest.

    Returns:
        The total ink of a file in CMYK, with a warning where it is too much; else None.

    Raises:
        ImageError: what the format or the colour profile cannot do, or NaN in the image.
        SaveError: the disk is full or the folder refuses; also an OSError.
        ValueError: wrong shapes or dpi, or an ``xmp`` that is none where it is to be added to.
    """
    path = Path(path)
    _require_canvas(image, alpha)
    _require_dpi(dpi, layout)
    sheet = _planned(image, path, bit_depth, alpha, dpi, layout, delivery, seed)
    if author:
        xmp = with_properties(xmp, {CREATOR: author.creators, RIGHTS: author.rights})
    with replacing_picture(path) as temporary:
        _write(sheet, temporary, delivery, xmp, author)
        num_bytes = temporary.stat().st_size
    _tell(sheet, delivery, num_bytes)
    return sheet.ink


def _planned(
    image: Tensor | Rows,
    path: Path,
    bit_depth: int,
    alpha: Tensor | None,
    dpi: float | None,
    layout: Layout | None,
    delivery: Delivery,
    seed: int | None,
) -> Sheet:
    """How the picture is written, with warnings of what it loses."""
    size = image.shape[2], image.shape[3]
    if layout is not None:
        layout = layout.at(size)
        size, dpi = layout.size, layout.dpi
    file_format, profile = _output(path, bit_depth, delivery, size)
    _require_page(path, file_format, dpi)
    if profile.problem is not None:
        warnings.warn(f"{path}: {profile.problem}", stacklevel=3)
    has_inks = profile.space == "CMYK"
    sheet = Sheet(
        image=image,
        alpha=alpha,
        layout=layout,
        profile=profile,
        bit_depth=delivery.depth(bit_depth),
        dpi=dpi,
        file_format=file_format,
        seed=seed if delivery.deliver == "lab" else None,
        path=path,
        ink=TotalInk(delivery.ink_limit) if has_inks else None,
    )
    if sheet.flatten and alpha is not None and bool((alpha < 1).any()):
        kind = "CMYK" if has_inks else file_format.name
        warnings.warn(f"{path}: {kind} has no alpha; laid on white", stacklevel=3)
    return sheet


def _tell(sheet: Sheet, delivery: Delivery, num_bytes: int) -> None:
    """Warn of what a print shop would not take."""
    problem = None if sheet.ink is None else sheet.ink.problem()
    if problem is not None:
        warnings.warn(f"{sheet.path}: {problem}", stacklevel=3)
    if delivery.deliver == "lab" and num_bytes > LARGE_FILE:
        warnings.warn(
            f"{sheet.path} has {num_bytes / 1e6:.0f} MB; many labs take {LARGE_FILE / 1e6:.0f} MB"
            " at most: save a .jpg, or give a smaller dpi",
            stacklevel=3,
        )


def _write(
    sheet: Sheet, target: Path, delivery: Delivery, xmp: bytes | None, author: Authorship
) -> None:
    file_format = sheet.file_format
    exif = exif_of(author) if author else None
    if file_format.page_of is not None:
        page = _page(sheet, delivery, xmp, author)
        with scratch(target, file_format.page_of) as picture:
            encode(sheet, picture)
            write_pdf(picture, target, page)
    elif file_format.saver == "jpegsave" and (sheet.dpi, xmp, exif) != (None,) * 3:
        with scratch(target, ".jpg") as picture:
            encode(sheet, picture, exif=exif)
            complete(picture, target, sheet.dpi, xmp)
    else:
        encode(sheet, target, xmp=xmp, exif=exif)
        if author and file_format.saver == "tiffsave":
            add_texts(target, tags_of(author))


def _page(sheet: Sheet, delivery: Delivery, xmp: bytes | None, author: Authorship) -> PdfPage:
    assert sheet.dpi is not None
    layout, (height, width) = sheet.layout, sheet.size
    own = height / sheet.dpi * MM_PER_INCH, width / sheet.dpi * MM_PER_INCH
    page = PdfPage(
        size=own if layout is None else layout.page,
        bleed=0.0 if layout is None else layout.bleed,
        pixels=sheet.size,
        profile=sheet.profile.data or output_profile("srgb").data or b"",
        num_channels=sheet.num_channels,
        xmp=xmp,
        creator=author.creator,
        press=None if delivery.pdfx is None else sheet.profile.name,
        title=sheet.path.stem,
    )
    if delivery.pdfx is not None and page.unit > 1:
        raise ImageError(
            f"cannot save {sheet.path}: PDF/X-4 has no pages above 5080 mm; leave `pdfx` out"
        )
    return page


def _output(
    path: Path, bit_depth: int, delivery: Delivery, size: tuple[int, int] | None
) -> tuple[Format, Profile]:
    file_format = format_for(path, delivery.depth(bit_depth), size, delivery)
    if delivery.deliver == "plain" and delivery.icc == "srgb":
        return file_format, PLAIN_SRGB  # Plain files carry libvips' own, as they always did.
    profile = output_profile(
        delivery.icc,
        intent=delivery.intent,
        black_point_compensation=delivery.black_point_compensation,
    )
    if profile.space == "CMYK" and not file_format.has_cmyk:
        raise ImageError(
            f"cannot save {path}: {file_format.name} holds no CMYK; use .tif, .jpg or .pdf"
        )
    if delivery.pdfx is not None and not profile.is_press:
        raise ImageError(
            f"cannot save {path}: {delivery.icc} is no profile of a press, which"
            f" `pdfx={delivery.pdfx}` needs; give the one that the print shop names"
        )
    return file_format, profile


def output_format(
    path: Path, bit_depth: int, delivery: Delivery, size: tuple[int, int] | None = None
) -> Format:
    """The format that a picture is saved in; see `check_output`.

    Raises:
        ImageError: if it does not hold the depth, the size or the colours.
    """
    return _output(path, bit_depth, delivery, size)[0]


def check_output(
    path: StrPath,
    *,
    bit_depth: int = 8,
    inputs: Iterable[StrPath] = (),
    size: tuple[int, int] | None = None,
    dpi: float | None = None,
    delivery: Delivery = _PLAIN,
) -> None:
    """Refuse before a run what `save_image` would refuse after it.

    Args:
        path: where the picture is to be saved.
        bit_depth: 8 or 16.
        inputs: files that must not be overwritten.
        size: (height, width) of the file in pixels, if known.
        dpi: pixels per inch, None if the file will not tell.
        delivery: what the file is for, and its colour profile.

    Raises:
        ImageError: unknown ending, depth or size that the format cannot hold, a folder that is
            missing or not writable, a target that is no regular file, or one of the inputs; a
            colour profile that cannot be used.
    """
    path = Path(path)
    _require_page(path, output_format(path, bit_depth, delivery, size), dpi)
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise ImageError(f"cannot save {path}: there is no folder {target.parent}; create it first")
    if target.is_dir():
        raise ImageError(f"cannot save {path}: it is a folder; give a file name in it")
    if target.exists() and not target.is_file():
        raise ImageError(f"cannot save {path}: it is not a regular file; choose another name")
    for file in inputs:
        if target.exists() and os.path.exists(file) and os.path.samefile(target, file):
            raise ImageError(f"cannot save {path}: it is the input {file}; choose another name")
    if not is_writable(target):
        raise ImageError(f"cannot save {path}: no permission to write there; choose another folder")


def _require_dpi(dpi: float | None, layout: Layout | None) -> None:
    if dpi is not None and not 0 < dpi < float("inf"):
        raise ValueError(f"dpi must be a positive number, got {dpi}")
    if dpi is not None and layout is not None:
        raise ValueError(f"a layout has a dpi of its own: leave dpi={dpi} out")


def _require_page(path: Path, file_format: Format, dpi: float | None) -> None:
    if file_format.page_of is not None and dpi is None:
        raise ImageError(
            f"cannot save {path}: a PDF must know how large its page is; give `paper`, such as"
            " `paper=A2`, or `dpi=300`"
        )


def _require_canvas(image: Tensor | Rows, alpha: Tensor | None) -> None:
    height, width = image.shape[-2:] if len(image.shape) == 4 else (0, 0)
    if image.shape != (1, 3, height, width) or not (height and width):
        raise ValueError(f"expected an image of shape (1, 3, H, W), got {tuple(image.shape)}")
    if isinstance(image, Tensor) and not image.is_floating_point():
        raise ValueError(f"expected an image of floats in [0, 1], got {image.dtype}")
    if alpha is not None and alpha.shape != (1, 1, height, width):
        raise ValueError(f"expected alpha of (1, 1, {height}, {width}), got {tuple(alpha.shape)}")
