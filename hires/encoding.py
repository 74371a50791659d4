"""What the picture formats can hold, and how a picture becomes a file.

The writing half of `images`: quantise in bands, hand to libvips' encoder, put in place atomically.
"""

import os
import secrets
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from torch import Tensor

BAND_ROWS = 256  # rows converted at a time: the float copies stay below 50 MB at A0
_CLASSIC_TIFF_BYTES = 2**32 - 2**26  # offsets are 32 bit; the margin covers tables and metadata
_SCREEN_DPI = 72.0  # what readers assume of a file that does not tell

Raster = NDArray[np.unsignedinteger[Any]]


class ImageError(ValueError):
    """A problem with a picture file that the user can mend; one line: file, problem, remedy."""


class SaveError(ImageError, OSError):
    """The system refused to write a picture; whatever stood at the target is untouched."""


@dataclass(frozen=True, slots=True)
class Format:
    """What one file format can hold, and how libvips is told to write it."""

    name: str
    saver: str
    depths: tuple[int, ...] = (8,)
    max_side: int | None = None
    has_alpha: bool = True
    dpi_in_exif: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


_JPEG = Format(
    "JPEG",
    "jpegsave",
    max_side=65_500,
    has_alpha=False,
    dpi_in_exif=True,
    options={"Q": 95, "subsample_mode": "off"},
)
_PNG = Format("PNG", "pngsave", depths=(8, 16), options={"filter": "up"})
_TIFF = Format(
    "TIFF",
    "tiffsave",
    depths=(8, 16),
    options={"compression": "deflate", "predictor": "horizontal", "resunit": "inch"},
)
_WEBP = Format(
    "WebP",
    "webpsave",
    max_side=16_383,
    dpi_in_exif=True,
    options={"Q": 95, "smart_subsample": True},
)
FORMATS = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": _WEBP,
}


def format_for(path: Path, bit_depth: int, size: tuple[int, int] | None) -> Format:
    """The format of a path's ending, if it can hold such a picture."""
    file_format = FORMATS.get(path.suffix.lower())
    if file_format is None:
        problem = f"unknown format {path.suffix}" if path.suffix else "no ending"
        raise ImageError(f"cannot save {path}: {problem}; use one of {' '.join(FORMATS)}")
    if bit_depth not in (8, 16):
        raise ImageError(f"cannot save {path}: bit depth {bit_depth}; use 8 or 16")
    if bit_depth not in file_format.depths:
        deep = [ending for ending, known in FORMATS.items() if bit_depth in known.depths]
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
    return file_format


def quantised(
    image: Tensor, alpha: Tensor | None, bit_depth: int, file_format: Format, path: Path
) -> Raster:
    """Round to (H, W, 3 or 4) integers, band by band: no float copy of the whole."""
    height, width = image.shape[-2:]
    flatten = alpha is not None and not file_format.has_alpha
    if flatten and alpha is not None and bool((alpha < 1).any()):
        warnings.warn(f"{path}: {file_format.name} has no alpha; laid on white", stacklevel=3)
    num_channels = 3 if alpha is None or flatten else 4
    array = np.empty((height, width, num_channels), np.uint8 if bit_depth == 8 else np.uint16)
    for top in range(0, height, BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        planes = [image[0, :, rows]] if alpha is None else [image[0, :, rows], alpha[0, :, rows]]
        band = torch.cat([plane.detach().to("cpu", torch.float32) for plane in planes])
        if bool(band.isnan().any()):
            raise ImageError(f"cannot save {path}: the image holds NaN; lower the learning rate")
        band.clamp_(0, 1)
        if flatten:
            band = band[:3] * band[3:] + (1 - band[3:])
        array[rows] = band.mul_(2**bit_depth - 1).round_().permute(1, 2, 0).numpy()
    return array


def encode(array: Raster, path: Path, file_format: Format, dpi: float | None) -> None:
    """Write (H, W, 3 or 4) integers through libvips' streaming encoder, tagged sRGB."""
    height, width, num_channels = array.shape
    deep = array.dtype == np.uint16
    image = pyvips.Image.new_from_memory(
        array, width, height, num_channels, "ushort" if deep else "uchar"
    )
    per_mm = (dpi or _SCREEN_DPI) / 25.4
    image = image.copy(interpretation="rgb16" if deep else "srgb", xres=per_mm, yres=per_mm)
    options = dict(file_format.options)
    if file_format is _TIFF:
        options["bigtiff"] = array.nbytes > _CLASSIC_TIFF_BYTES
    keep = "exif|icc" if file_format.dpi_in_exif and dpi is not None else "icc"
    getattr(image, file_format.saver)(os.fsencode(path), profile="srgb", keep=keep, **options)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside the target; put it in the target's place if all went well."""
    target = Path(os.path.realpath(path))
    temporary = _temporary_beside(target)
    forget_messages()
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except (OSError, pyvips.Error) as error:
        raise SaveError(f"cannot save {path}: {_saving_problem(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def is_writable(target: Path) -> bool:
    """Whether a file can be made there, found by making one.

    Permission bits tell little on network shares, read-only mounts and Windows.
    """
    if target.exists() and not os.access(target, os.W_OK):
        return False
    try:
        _temporary_beside(target).unlink()
    except OSError:
        return False
    return True


def _saving_problem(error: OSError | pyvips.Error) -> str:
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
    else:
        marker = "system error: "
        causes = [line for line in error.detail.splitlines() if line.startswith(marker)]
        reason = causes[0].removeprefix(marker) if causes else first_line(error)
    return f"{reason}; free some space or choose another folder (nothing was replaced)"


def _temporary_beside(target: Path) -> Path:
    temporary = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise SaveError(f"cannot save {target}: {_saving_problem(error)}") from error
    return temporary


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not possible on Windows, and only the rename's durability hangs on it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def first_line(error: pyvips.Error) -> str:
    """The most telling part of what libvips reports, often the same message many times over."""
    lines = [line.strip() for line in error.detail.splitlines() if line.strip()]
    return lines[0] if lines else str(error.message)


def forget_messages() -> None:
    """Empty libvips' buffer of messages, or earlier pictures' troubles join the next error."""
    pyvips.Error("")
