"""Who made a photograph and whose it is. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

ARTIST, COPYRIGHT = 0x013B, 0x8298  # tags of EXIF and TIFF
_MOST_CHARACTERS = 1000  # of a name or notice; a block of EXIF ends at 64 KB


@dataclass(frozen=True, slots=True)
class Authorship:
    """Names and notice as a photograph's file tells them; false if it tells neither.

    Attributes:
        creators: names, in the file's order.
        rights: the copyright notice.
    """

    creators: tuple[str, ...] = ()
    rights: str = ""

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.creators or self.rights)

    @property
    def creator(self) -> str:
        """All names as one, as EXIF and PDF hold them."""
        return "; ".join(self.creators)


NOBODY = Authorship()


def authorship(creators: Iterable[str], rights: str) -> Authorship:
    """What a file says, without blanks, control characters and excessive length."""
    names = (_clean(name) for name in creators)
    return Authorship(tuple(name for name in names if name), _clean(rights))


def _clean(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:_MOST_CHARACTERS].strip()


def tags_of(who: Authorship) -> dict[int, bytes]:
    """The author and the notice by their tags in EXIF and TIFF, UTF-8."""
    told = {ARTIST: who.creator, COPYRIGHT: who.rights}
    return {tag: text.encode() for tag, text in told.items() if text}


def exif_of(who: Authorship) -> bytes:
    """The same as a block of EXIF."""
    exif = Image.Exif()
    exif.update(tags_of(who))
    return exif.tobytes()
