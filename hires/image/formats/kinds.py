"""What the file formats can hold, and how libvips is told to write them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hires.config.output import Delivery, Purpose
from hires.errors import ImageError

StrPath = str | os.PathLike[str]

_DEFLATE = {"compression": "deflate", "predictor": "horizontal", "resunit": "inch"}
_LZW_GROWTH = 1.5  # it spends up to 12 bits on a byte


@dataclass(frozen=True, slots=True)
class Format:
    """What one file format can hold, and how libvips is told to write it.

    Attributes:
        name: as messages call it.
        saver: libvips' operation; for a PDF, that of the picture inside.
        depths: bits per channel that it holds.
        max_side: in pixels.
        has_alpha: whether it holds transparency.
        dpi_in_exif: whether the print resolution is kept as EXIF.
        growth: how many times larger than the bare pixels a file can become at worst.
        page_of: ending of the picture inside a PDF; None for a picture.
        has_cmyk: whether it holds four inks.
        options: for the saver.
    """

    name: str
    saver: str
    depths: tuple[int, ...] = (8,)
    max_side: int | None = None
    has_alpha: bool = True
    dpi_in_exif: bool = False
    growth: float = 1.0
    page_of: str | None = None
    has_cmyk: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


_JPEG = Format(
    "JPEG",
    "jpegsave",
    max_side=65_500,
    has_alpha=False,
    dpi_in_exif=True,
    has_cmyk=True,
    options={"Q": 95, "subsample_mode": "off"},
)
_PNG = Format("PNG", "pngsave", depths=(8, 16), options={"filter": "up"})
_TIFF = Format("TIFF", "tiffsave", depths=(8, 16), has_cmyk=True, options=_DEFLATE)
_WEBP = Format(
    "WebP",
    "webpsave",
    max_side=16_383,
    dpi_in_exif=True,
    options={"Q": 95, "smart_subsample": True},
)
_PDF = replace(_PNG, name="PDF", depths=(8,), has_alpha=False, page_of=".png", has_cmyk=True)

# Tiles let an editor open a part of a poster; predicted rows are a third smaller.
_MASTER_TIFF = replace(
    _TIFF, options={**_DEFLATE, "tile": True, "tile_width": 256, "tile_height": 256}
)
_LAB_TIFF = replace(
    _TIFF,
    name="TIFF for a lab",
    depths=(8,),
    has_alpha=False,
    growth=_LZW_GROWTH,
    options={**_DEFLATE, "compression": "lzw"},
)
_LAB_PDF = replace(_JPEG, name="PDF", page_of=".jpg")

FORMATS: Mapping[Purpose, Mapping[str, Format]] = {
    "plain": {
        **dict.fromkeys((".jpg", ".jpeg"), _JPEG),
        ".png": _PNG,
        **dict.fromkeys((".tif", ".tiff"), _TIFF),
        ".webp": _WEBP,
        ".pdf": _PDF,
    },
    "master": {**dict.fromkeys((".tif", ".tiff"), _MASTER_TIFF), ".png": _PNG},
    "lab": {
        **dict.fromkeys((".tif", ".tiff"), _LAB_TIFF),
        **dict.fromkeys((".jpg", ".jpeg"), _JPEG),
        ".pdf": _LAB_PDF,
    },
}
# Endings of the pictures that can be read; a HEIC file without its package is told, not skipped.
READABLE = (
    *(ending for ending, known in FORMATS["plain"].items() if known.page_of is None),
    *(".jpe", ".jfif", ".avif", ".heic", ".heif", ".hif", ".gif", ".bmp"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
)
_PURPOSES = {"master": "a master keeps 16 bit without loss", "lab": "print labs do not take that"}


def format_for(
    path: Path, bit_depth: int, size: tuple[int, int] | None, delivery: Delivery
) -> Format:
    """The format of a path's ending, if it can hold such a picture.

    Args:
        path: where it is to be saved.
        bit_depth: 8 or 16.
        size: (height, width) in pixels, if known.
        delivery: what the file is for.

    Raises:
        ImageError: for an unknown ending, or a depth or size that the format cannot hold.
    """
    file_format = _by_ending(path, delivery.deliver)
    if bit_depth not in (8, 16):
        raise ImageError(f"cannot save {path}: bit depth {bit_depth}; use 8 or 16")
    if bit_depth not in file_format.depths:
        deep = [ending for ending, known in FORMATS["plain"].items() if bit_depth in known.depths]
        raise ImageError(
            f"cannot save {path}: {file_format.name} has no {bit_depth} bit; use one of "
            f"{' '.join(deep)}, or bit depth 8"
        )
    limit = file_format.max_side
    if size is not None and limit is not None and max(size) > limit:
        raise ImageError(
            f"cannot save {path}: {size[1]}x{size[0]} px, but {file_format.name} ends at {limit} "
            "px a side; use .tif or .png"
        )
    return _as_asked(file_format, path, delivery)


def _as_asked(file_format: Format, path: Path, delivery: Delivery) -> Format:
    """The format with what the options of single formats say of it."""
    if delivery.pdfx is not None and file_format.page_of is None:
        raise ImageError(f"cannot save {path}: `pdfx` is for a PDF; use .pdf, or leave it out")
    method = delivery.compression
    if method == "auto":
        return file_format
    if file_format.saver != "tiffsave":
        raise ImageError(f"cannot save {path}: `compression` is for TIFF; use .tif or leave it out")
    predictor = "none" if method == "none" else "horizontal"
    return replace(
        file_format,
        growth=_LZW_GROWTH if method == "lzw" else 1.0,
        options={**file_format.options, "compression": method, "predictor": predictor},
    )


def _by_ending(path: Path, purpose: Purpose) -> Format:
    ending, endings = path.suffix.lower(), FORMATS[purpose]
    if ending in endings:
        return endings[ending]
    if purpose in _PURPOSES and ending in FORMATS["plain"]:
        problem = _PURPOSES[purpose]
    else:
        problem = f"unknown format {path.suffix}" if path.suffix else "no ending"
    raise ImageError(f"cannot save {path}: {problem}; use one of {' '.join(endings)}")
