"""Files to libvips' images: the decoder for each kind, and what the file says of its colours."""

import os
from pathlib import Path

import pyvips  # type: ignore[import-untyped]

from hires.errors import ImageError
from hires.image.colour.png import stated_profile
from hires.image.colour.profiles import adobe_rgb
from hires.image.decode.heif import num_frames, stated_colours
from hires.image.decode.pillow import decoded
from hires.image.decode.value_ranges import num_colours
from hires.image.formats.signatures import kind_of, refusal
from hires.image.formats.tiff import picture_page
from hires.utils.files import check_readable

_LOADERS = {
    "JPEG": "jpegload_source",
    "PNG": "pngload_source",
    "TIFF": "tiffload_source",
    "WebP": "webpload_source",
    "AVIF": "heifload_source",
    "GIF": "gifload_source",
}
_END_OF_JPEG = b"\xff\xd9"
_TAILS = b"\x5a\xa7\x13\xc8" * 64, b"\xa5\x58\xec\x37" * 64


def opened(path: Path, max_long_side: int | None = None) -> tuple[pyvips.Image, tuple[str, ...]]:
    """Open a file; only its header is read. JPEGs may come at 1/2, 1/4 or 1/8 of their size.

    Returns:
        The picture, and what whoever reads it should know: for `read_picture` to tell.

    Raises:
        ImageError: missing, empty, no picture or one of a kind that is not supported.
    """
    check_readable(path)
    kind = kind_of(path)
    if kind == "TIFF":
        return _of_tiff(path)
    if kind in ("BMP", "JPEG 2000", "HEIC"):
        image = decoded(path, kind)
    elif kind in _LOADERS:
        image = _lazy(path, kind)
    else:
        raise refusal(path, kind)
    if kind == "JPEG" and max_long_side is not None:
        ratio = max(image.width, image.height) // max_long_side
        shrink = next(factor for factor in (8, 4, 2, 1) if factor <= max(ratio, 1))
        image = _lazy(path, kind, shrink=shrink)
    count = int(image.get("n-pages")) if "n-pages" in image.get_fields() else 1
    if kind == "AVIF":
        count = max(count, num_frames(path))
        if image.format == "ushort":
            # 10 or 12 bit, which libheif's loader shifts up: so that the last level becomes white.
            image |= image >> int(image.get("bits-per-sample"))
    profile, notes = _stated(path, kind, image)
    return _with_profile(image, profile), (*notes, *_of_several(count))


def _lazy(path: Path, kind: str, **options: int) -> pyvips.Image:
    # A source, not a file name: libvips would take "[...]" in a name for options, and hand out the
    # old pixels of a file that was overwritten. The loader by name, or a JPEG with a gain map would
    # come as HDR. fail_on="error": "truncated" misses cut TIFFs.
    source = pyvips.Source.new_from_file(os.fsencode(path))
    load = getattr(pyvips.Image, _LOADERS[kind])
    return load(source, access="sequential", fail_on="error", **options)


def ended(path: Path) -> pyvips.Image:
    """A JPEG with the mark of its end put behind it.

    Raises:
        ImageError: if more than the mark is missing.
    """
    data = path.read_bytes()
    load = pyvips.Image.jpegload_buffer
    for tail in _TAILS:
        # A decoder that still wants bits takes them from here, and paints something else.
        ended = load(data + _END_OF_JPEG, access="sequential", fail_on="warning")
        longer = load(data + tail + _END_OF_JPEG, access="sequential", fail_on="none")
        if (ended - longer).abs().max() > 0:
            raise ImageError(f"cannot read {path}: it is truncated; save or fetch it anew")
    whole = load(data + _END_OF_JPEG, access="sequential", fail_on="warning")
    return _with_profile(whole, _stated(path, "JPEG", whole)[0])


def _stated(path: Path, kind: str, image: pyvips.Image) -> tuple[bytes | None, tuple[str, ...]]:
    """What a file says about its colours beside or before an ICC profile, as one."""
    if kind == "PNG":
        return stated_profile(path)
    if "icc-profile-data" in image.get_fields():
        return None, ()
    if kind in ("AVIF", "HEIC"):
        return stated_colours(path)
    return (_of_dcf(image) if kind == "JPEG" else None), ()


def _of_dcf(image: pyvips.Image) -> bytes | None:
    """Adobe RGB, if EXIF says so as cameras do (DCF 2.0, optional color space)."""
    said = {"exif-ifd2-ColorSpace": "65535", "exif-ifd4-InteroperabilityIndex": "R03"}
    fields = {*image.get_fields()} & {*said}
    found = {name: str(image.get(name)).split(" ")[0] for name in fields}
    return adobe_rgb() if found == said else None


def _with_profile(image: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """Lay a profile of three colours in a picture in place of its own."""
    if profile is None or image.interpretation == "cmyk":
        return image
    if image.bands < 3:
        grey = image.extract_band(0)
        colour = grey.bandjoin([grey, grey])
        image = colour if image.bands == 1 else colour.bandjoin(image.extract_band(1))
        deep = image.format == "ushort"
        image = image.copy(interpretation="rgb16" if deep else "srgb")
    image = image.copy()
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return image


def _of_several(count: int) -> tuple[str, ...]:
    return (f"it holds {count} pictures; the first is taken",) if count > 1 else ()


def _of_tiff(path: Path) -> tuple[pyvips.Image, tuple[str, ...]]:
    page = picture_page(path)
    if page.is_raw:
        raise refusal(path, "raw")
    if page.is_double:
        raise ImageError(
            f"cannot read {path}: 64-bit floats are not supported; save it with 32-bit floats or"
            " 16 bit"
        )
    notes = _of_several(page.num_pictures)
    if page.is_lab8:
        return decoded(path, "TIFF"), notes
    image = _lazy(path, "TIFF", **page.place)
    count = num_colours(image, path)
    if image.bands > count and page.extra_samples[:1] == (0,):
        alpha = next((i for i, kind in enumerate(page.extra_samples) if kind), None)
        if alpha is not None and count + alpha < image.bands:
            colour = image.extract_band(0, n=count)
            return colour.bandjoin(image.extract_band(count + alpha)), notes
        if page.is_cmyk:  # A spot colour, a varnish: not what the print is laid out by.
            return image.extract_band(0, n=count), notes
        notes = (*notes, "its further channel is not said to be alpha; taken for it")
    return image, notes
