"""What kind of file something is, told by its first bytes, and what to do with a kind unread."""

from __future__ import annotations

from pathlib import Path

from hires.errors import ImageError

# Brands of ISO base media files (ISO/IEC 14496-12), which name what lies in a HEIF container. The
# first may be one of all containers, mif1 or msf1; then the next ones tell.
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"), "HEIC"),
    b"crx ": "raw",
}
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"gimp xcf", "GIMP"),
    (b"%PDF-", "PDF"),
    (b"<svg", "SVG"),
    (b"<?xml", "SVG"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"FUJIFILMCCD-RAW", "raw"),
    (b"FOVb", "raw"),
    (b"\0MRM", "raw"),
    # Makers' own TIFF-like headers: Olympus, Panasonic, Canon.
    (b"IIRO", "raw"),
    (b"IIRS", "raw"),
    (b"MMOR", "raw"),
    (b"IIU\0", "raw"),
    (b"II*\0\x10\0\0\0CR", "raw"),
    *((order, "TIFF") for order in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)
# TIFF files by their first bytes, raw by their makers' endings.
_RAW_ENDINGS = frozenset({".nef", ".nrw", ".arw", ".sr2", ".srf", ".pef", ".3fr", ".iiq", ".dng"})
_HOW = {
    "raw": "it is a raw photograph: develop it first (darktable, RawTherapee, your camera's own"
    " program) and give the TIFF or JPEG",
    "HEIC": "it is HEIC, which needs pip install pillow-heif; or save it as JPEG or PNG",
    "JPEG XL": "JPEG XL is not supported: djxl in.jxl out.png converts it",
    "PDF": "a PDF is no picture: pdftoppm -r 300 -png in.pdf out converts its pages",
    "SVG": "SVG has no pixels of its own: rsvg-convert -w 4000 in.svg -o out.png draws it",
    "Photoshop": "a Photoshop document is not supported: save a copy as TIFF or PNG",
    "GIMP": "a GIMP document is not supported: export it as TIFF or PNG",
}
_SUPPORTED = "JPEG, PNG, TIFF, WebP, AVIF, GIF, BMP or JPEG 2000"


def kind_of(path: Path) -> str:
    """Name of a file's format, ``raw`` for a camera's own, or an empty string."""
    with path.open("rb") as file:
        head = file.read(128)
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4]), len(head))
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]
        is_heif = brands[0] in (b"mif1", b"msf1")
        found = (
            _BRANDS[brand] for brand in (brands if is_heif else brands[:1]) if brand in _BRANDS
        )
        return next(found, "HEIC" if is_heif else "")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    kind = next((name for magic, name in _SIGNATURES if head.startswith(magic)), "")
    return "raw" if kind == "TIFF" and path.suffix.lower() in _RAW_ENDINGS else kind


def refusal(path: Path, kind: str) -> ImageError:
    """Why a file cannot be read, and what to do."""
    how = _HOW.get(kind)
    if how is None and kind:
        how = f"{kind} is not supported; save it as JPEG, PNG or TIFF"
    if how is None:
        how = f"it is not a {_SUPPORTED} picture, or cut off; choose another file"
    return ImageError(f"cannot read {path}: {how}")
