"""Who took a photograph and whose it is: from EXIF, XMP, IPTC or texts to `Authorship`, and EXIF.

Cameras write EXIF, agencies the others; where they differ, EXIF is believed (Metadata Working
Group, Guidelines for Handling Image Metadata 2.0).
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyvips  # type: ignore[import-untyped]
from PIL import Image

from hires.image.decode.opening import opened
from hires.image.formats.jpeg import packet_of
from hires.image.formats.kinds import StrPath
from hires.image.libvips import forget_messages
from hires.image.metadata.authorship import ARTIST, COPYRIGHT, Authorship, authorship
from hires.image.metadata.xmp import CREATOR, RIGHTS, XmpError, values

_BYLINE, _NOTICE = 80, 116  # of IPTC's record 2


def read_authorship(path: StrPath) -> Authorship:
    """What a photograph's file tells of its author and owner; nothing where it cannot be read.

    No file is refused for its metadata: whether it is a picture is for `read_picture` to say.
    """
    path = Path(path)
    try:
        image, _ = opened(path)
        found = [*_told(image, path)]
    except (OSError, ValueError, pyvips.Error):
        found = []
    finally:
        forget_messages()
    creators = next((one.creators for one in found if one.creators), ())
    return Authorship(creators, next((one.rights for one in found if one.rights), ""))


def _told(image: pyvips.Image, path: Path) -> Iterator[Authorship]:
    fields = image.get_fields()
    exif = Image.Exif()
    if "exif-data" in fields:
        yield _of_exif(exif, lambda: exif.load(bytes(image.get("exif-data"))))
    if str(image.get("vips-loader")).startswith("tiff"):
        with path.open("rb") as file:
            yield _of_exif(exif, lambda: exif.load_from_fp(file))
    packet = packet_of(image, path)
    if packet is not None:
        with suppress(XmpError):
            yield authorship(values(packet, CREATOR), "".join(values(packet, RIGHTS)[:1]))
    if "iptc-data" in fields:
        found = _of_iptc(bytes(image.get("iptc-data")))
        yield authorship(found.get(_BYLINE, []), "".join(found.get(_NOTICE, [])[:1]))
    notes = {name.split("-")[-1]: name for name in fields if name.startswith("png-comment-")}
    told = {kind: str(image.get(name)) for kind, name in notes.items()}
    yield authorship([told.get("Author", "")], told.get("Copyright", ""))


def _of_exif(exif: Image.Exif, load: Callable[[], None]) -> Authorship:
    """Damaged EXIF says nothing; Pillow has many ways to say that it is."""
    try:
        with warnings.catch_warnings(action="ignore"):
            load()
            artist, notice = (_decoded(exif.get(tag)) for tag in (ARTIST, COPYRIGHT))
    except Exception:
        return Authorship()
    return authorship(artist.split(";"), notice)


def _decoded(text: object) -> str:
    """A text that was taken for Latin-1; by now most are UTF-8."""
    if not isinstance(text, str):
        return ""
    with suppress(UnicodeError):
        return text.encode("latin-1").decode()
    return text


def _of_iptc(data: bytes) -> dict[int, list[str]]:
    """The texts of record 2 by their number (IPTC-NAA IIM 4.2), bare or in Photoshop's block."""
    found: dict[int, list[str]] = {}
    position = data.find(b"\x1c\x02")
    while 0 <= position <= len(data) - 5 and data[position] == 0x1C:
        length = int.from_bytes(data[position + 3 : position + 5])
        body = data[position + 5 : position + 5 + length]
        if data[position + 1] == 2:
            found.setdefault(data[position + 2], []).append(_decoded(body.decode("latin-1")))
        position += 5 + length
    return found
