"""Author and copyright as EXIF has them."""

from __future__ import annotations

from PIL import Image

from hires.image.metadata.authorship import Authorship

ARTIST, COPYRIGHT = 0x013B, 0x8298  # of EXIF and TIFF


def exif_of(who: Authorship) -> bytes:
    """A block of EXIF that tells the author and the notice, UTF-8."""
    exif = Image.Exif()
    exif.update(tags_of(who))
    return exif.tobytes()


def tags_of(who: Authorship) -> dict[int, bytes]:
    """The author and the notice by their tags in EXIF and TIFF, UTF-8."""
    told = {ARTIST: who.creator, COPYRIGHT: who.rights}
    return {tag: text.encode() for tag, text in told.items() if text}
