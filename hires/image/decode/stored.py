"""Files as they are stored: their size, how they are held, what is wrong with them. No torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyvips  # type: ignore[import-untyped]

from hires.errors import ImageError
from hires.image.decode.opening import opened
from hires.image.decode.value_ranges import num_colours
from hires.image.formats.kinds import StrPath
from hires.image.libvips import VIPS_ERRORS, VipsError, detail_of, first_line, forget_messages
from hires.utils.memory import is_out_of_memory, speaks_of_memory

_TOO_LARGE = "it does not fit the memory; shrink it"


def picture_size(path: StrPath) -> tuple[int, int]:
    """``(height, width)`` in pixels of a picture held upright. Only its header is read.

    Raises:
        ImageError: missing, empty or no picture of a supported kind.
    """
    path = Path(path)
    with reading(path):
        image, _ = opened(path)
        size = image.height, image.width
        return size[::-1] if orientation_of(image) > 4 else size


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what libvips says while it opens or decodes a file into one line for the user."""
    forget_messages()
    try:
        yield
    except Exception as error:
        is_of_libvips = isinstance(error, VIPS_ERRORS)
        if is_out_of_memory(error) or (is_of_libvips and speaks_of_memory(detail_of(error))):
            raise ImageError(f"cannot read {path}: {_TOO_LARGE}") from error
        if not is_of_libvips:
            raise
        raise ImageError(f"cannot read {path}: {_reading_problem(error)}") from error


def _reading_problem(error: VipsError) -> str:
    detail = first_line(error)
    if "compression support" in detail:  # ZSTD, LZMA: without fail_on these would come out black
        method = detail.split(" compression")[0].split()[-1]
        return f"its {method} compression is not supported; save it with LZW or Deflate"
    return f"it is truncated, damaged or of a rare kind ({detail}); save or fetch it anew"


def orientation_of(image: pyvips.Image) -> int:
    """EXIF's number for how the picture is held, 1 to 8; from 5 on it lies on its side."""
    return int(image.get("orientation")) if "orientation" in image.get_fields() else 1


def separated(image: pyvips.Image, path: Path) -> tuple[pyvips.Image, pyvips.Image | None]:
    """Colour bands and the first extra band, which is straight alpha (libvips divides it out)."""
    count = num_colours(image, path)
    if image.bands < count:
        raise ImageError(f"cannot read {path}: {image.bands} channels; convert it to RGB")
    if image.bands == count:
        return image, None
    return image.extract_band(0, n=count), image.extract_band(count)
