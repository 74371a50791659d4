"""Density, XMP of any length, author and copyright, read back by other libraries."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import pytest
import tifffile
from pictures import noise
from PIL import Image, PngImagePlugin

from hires.cli import main as cli
from hires.config.output import Delivery
from hires.image.decode.attribution import read_authorship
from hires.image.decode.headers import read_header
from hires.image.decode.read import read_picture
from hires.image.encode.save import save_image
from hires.image.formats.jpeg import read_xmp
from hires.image.formats.tiff import add_texts
from hires.image.metadata import xmp
from hires.image.metadata.authorship import Authorship, authorship
from hires.image.metadata.provenance import Input, Provenance, from_xmp, to_xmp

WHO = Authorship(("Jörg (Studio)", "Ann"), "© 2024 Jörg; all rights reserved")
LAB = Delivery(deliver="lab")


def segments(path: Path) -> Iterator[tuple[int, bytes]]:
    """Markers and bodies of a JPEG up to its pixels, by the book (ITU-T T.81, B.1)."""
    data, position = path.read_bytes(), 2
    while data[position + 1] != 0xDA:
        assert data[position] == 0xFF
        (length,) = struct.unpack(">H", data[position + 2 : position + 4])
        yield data[position + 1], data[position + 4 : position + 2 + length]
        position += 2 + length


# Density


@pytest.mark.parametrize("delivery", [Delivery(), LAB])
@pytest.mark.parametrize(("dpi", "jfif"), [(300, 300), (72, 72), (187.5, 188), (20.2, 20)])
def test_jfif_and_exif_tell_the_same_density(
    tmp_path: Path, delivery: Delivery, dpi: float, jfif: int
) -> None:
    path = tmp_path / "out.jpg"
    save_image(noise(32, 24), path, dpi=dpi, delivery=delivery)
    found = [*segments(path)]
    # JFIF comes first, EXIF next: both ask for the first place.
    assert [marker for marker, _ in found[:2]] == [0xE0, 0xE1]
    assert found[0][1] == b"JFIF\0" + struct.pack(">HBHHBB", 0x0102, 1, jfif, jfif, 0, 0)
    assert [body[:5] for _, body in found].count(b"JFIF\0") == 1
    with Image.open(path) as image:
        assert image.info["jfif_density"] == (jfif, jfif)
        assert image.getexif()[0x011A] == pytest.approx(dpi)
        assert image.getexif()[0x0128] == 2


def test_a_jpeg_that_does_not_tell_its_density(tmp_path: Path) -> None:
    save_image(noise(32, 24), tmp_path / "out.jpg", xmp=to_xmp(record(1)))
    (marker, body), *_ = segments(tmp_path / "out.jpg")
    assert (marker, body[:12]) == (0xE0, b"JFIF\0\1\2\0\0\1\0\1")  # pixels are square, no more
    assert read_header(tmp_path / "out.jpg").dpi is None


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
def test_an_author_brings_no_density(tmp_path: Path, ending: str) -> None:
    save_image(noise(32, 24), tmp_path / f"out{ending}", author=WHO)
    assert read_header(tmp_path / f"out{ending}").dpi is None


def test_the_pixels_are_those_of_a_jpeg_without_density(tmp_path: Path) -> None:
    for name, dpi in (("a", None), ("b", 300)):
        save_image(noise(32, 24), tmp_path / f"{name}.jpg", dpi=dpi)
    plain, told = ((tmp_path / f"{name}.jpg").read_bytes() for name in "ab")
    assert told.endswith(plain[2:])


# XMP of any length


def record(num_inputs: int) -> Provenance:
    inputs = tuple(Input("style", f"paintings/{i:04}.jpg", f"{i:064x}") for i in range(num_inputs))
    return Provenance(seed=7, settings={"size": 64}, inputs=inputs)


@pytest.mark.parametrize("num_inputs", [1, 450, 600, 3000])
@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp", ".pdf"])
def test_a_record_of_any_length_comes_back(tmp_path: Path, ending: str, num_inputs: int) -> None:
    path = tmp_path / f"out{ending}"
    save_image(noise(32, 24), path, dpi=100, xmp=to_xmp(record(num_inputs)), author=WHO)
    assert from_xmp(read_header(path).xmp) == record(num_inputs)
    assert read_header(path).dpi == pytest.approx(100, rel=0.02)


def test_a_long_packet_is_spread_by_the_standard(tmp_path: Path) -> None:
    path, packet = tmp_path / "out.jpg", to_xmp(record(3000))
    assert len(packet) > 3 * 65536
    save_image(noise(32, 24), path, xmp=packet, author=WHO)
    first, extended = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
    bodies = [body for marker, body in segments(path) if marker == 0xE1]
    (main,) = (body.removeprefix(first) for body in bodies if body.startswith(first))
    parts = [body.removeprefix(extended) for body in bodies if body.startswith(extended)]
    assert all(len(body) <= 65_533 for body in bodies)
    (name,) = xmp.values(main, f"{{{xmp.NOTE}}}HasExtendedXMP")
    rest = b"".join(part[40:] for part in parts)
    assert name == hashlib.md5(rest).hexdigest().upper()
    offset = 0
    for part in parts:
        assert part[:32] == name.encode()
        assert struct.unpack(">2I", part[32:40]) == (len(rest), offset)
        offset += len(part) - 40
    # What people look for stays where every reader looks.
    assert xmp.values(main, xmp.CREATOR) == WHO.creators
    with Image.open(path) as image:
        image.load()
        assert image.info["xmp"] == main


def test_a_damaged_extension_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "out.jpg"
    save_image(noise(32, 24), path, xmp=to_xmp(record(3000)), author=WHO)
    data = bytearray(path.read_bytes())
    data[data.rfind(b"paintings/0100")] ^= 1
    path.write_bytes(data)
    packet = read_xmp(path)
    assert packet is not None
    assert len(packet) < 65_536
    assert read_authorship(path) == WHO


def test_what_cannot_be_split_is_told_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"has 70 kB, more than a JPEG holds .* left out"):
        save_image(noise(32, 24), tmp_path / "out.jpg", xmp=b"<" * 70_000)
    assert read_header(tmp_path / "out.jpg").xmp is None


def test_packets_are_set_split_and_joined() -> None:
    about = '<rdf:Description rdf:about="" xmlns:q="urn:q#" q:short="1" q:long="%s"/>' % ("x" * 900)
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{xmp.RDF}">{about}</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()
    new: dict[str, xmp.Value] = {"{urn:q#}short": "2", xmp.RIGHTS: "mine", xmp.CREATOR: ("a", "b")}
    changed = xmp.with_properties(packet, new)
    first, rest, name = xmp.split(changed, 1000)
    assert len(first) <= 1000
    assert xmp.extension(first) == name
    assert xmp.texts(first, "urn:q#") == {"short": "2"}
    whole = xmp.joined(first, rest)
    assert xmp.extension(whole) is None
    assert xmp.texts(whole, "urn:q#") == {"short": "2", "long": "x" * 900}
    assert xmp.values(whole, xmp.CREATOR) == ("a", "b")
    assert xmp.values(whole, xmp.RIGHTS) == ("mine",)
    assert b'xml:lang="x-default"' in whole
    assert xmp.values(xmp.with_properties(whole, {xmp.CREATOR: ()}), xmp.CREATOR) == ()
    with pytest.raises(xmp.XmpError, match="entities"):
        xmp.with_properties(b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', {})
    with pytest.raises(xmp.XmpError):
        xmp.values(b"<a>", xmp.CREATOR)


# Author and copyright


def exif_of(artist: bytes, rights: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif[0x013B], exif[0x8298] = artist, rights
    return exif


def iptc_of(**fields: bytes) -> bytes:
    """A block as Photoshop writes it into a JPEG's APP13."""
    numbers = {"byline": 80, "notice": 116}
    data = b"\x1c\x01\x5a\0\3\x1b%G" + b"".join(
        struct.pack(">BBBH", 0x1C, 2, numbers[name], len(text)) + text
        for name, text in fields.items()
    )
    body = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data + bytes(len(data) % 2)
    body = b"Photoshop 3.0\0" + body
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


PACKET = xmp.with_properties(None, {xmp.CREATOR: ("Ann", "Bo"), xmp.RIGHTS: "© Ann"})


def photograph(path: Path, kind: str) -> None:
    image = Image.radial_gradient("L").resize((80, 72)).convert("RGB")
    if kind == "exif":
        image.save(path, exif=exif_of(b"Ann; Bo", "© Ann".encode()))
    elif kind == "xmp":
        image.save(path, xmp=PACKET)
    elif kind == "iptc":
        held = io.BytesIO()
        image.save(held, "JPEG")
        block = iptc_of(byline=b"Ann", notice="© Ann".encode())
        path.write_bytes(held.getvalue()[:2] + block + held.getvalue()[2:])
    elif kind == "text":
        notes = PngImagePlugin.PngInfo()
        notes.add_text("Author", "Ann")
        notes.add_itxt("Copyright", "© Ann")
        image.save(path, pnginfo=notes)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("in.jpg", "exif"),
        ("in.png", "exif"),
        ("in.webp", "exif"),
        ("in.tif", "exif"),
        ("in.jpg", "xmp"),
        ("in.webp", "xmp"),
        ("in.jpg", "iptc"),
        ("in.png", "text"),
    ],
)
def test_authors_are_found_wherever_they_are_told(tmp_path: Path, name: str, kind: str) -> None:
    photograph(tmp_path / name, kind)
    creators = ("Ann",) if kind in ("iptc", "text") else ("Ann", "Bo")
    assert read_authorship(tmp_path / name) == Authorship(creators, "© Ann")


def test_what_is_damaged_or_blank_says_nothing(tmp_path: Path) -> None:
    image = Image.new("RGB", (9, 9))
    image.save(tmp_path / "blank.jpg", exif=exif_of(b"   ", b"\0\0"), xmp=PACKET)
    assert read_authorship(tmp_path / "blank.jpg") == Authorship(("Ann", "Bo"), "© Ann")
    image.save(tmp_path / "cut.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09garbage")
    image.save(tmp_path / "odd.jpg", xmp=b"<x:xmpmeta")
    (tmp_path / "none.jpg").write_bytes(b"no picture")
    for name in ("cut.jpg", "odd.jpg", "none.jpg", "absent.jpg"):
        assert not read_authorship(tmp_path / name)
    assert authorship(["a\nb\0 ", "\ud800", "x" * 5000], " ") == Authorship(("a b", "x" * 1000), "")


def told_in(path: Path) -> dict[str, Any]:
    """Author and copyright of a finished file, by other libraries."""
    if path.suffix == ".pdf":
        with pikepdf.open(path) as document:
            held = document.open_metadata()
            return {
                "info": str(document.docinfo.Author),
                "creator": held["dc:creator"],
                "rights": held["dc:rights"],
            }
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            tags = {tag.code: tag for tag in file.pages.first.tags}
            assert [tags[code].dtype for code in (315, 33432)] == [2, 2]  # ASCII
            told, packet = [tags[code].value for code in (315, 33432)], tags[700].value
        creators, rights = (xmp.values(packet, name) for name in (xmp.CREATOR, xmp.RIGHTS))
        return {"creator": [*creators], "rights": rights[0], "exif": told}
    with Image.open(path) as image:
        exif, held = image.getexif(), image.info.get("xmp") or image.info["XML:com.adobe.xmp"]
        packet = held if isinstance(held, bytes) else held.encode()
        return {
            "exif": [exif[tag].encode("latin-1").decode() for tag in (0x013B, 0x8298)],
            "creator": [*xmp.values(packet, xmp.CREATOR)],
            "rights": xmp.values(packet, xmp.RIGHTS)[0],
        }


@pytest.mark.parametrize("name", ["out.jpg", "out.png", "out.tif", "out.webp", "out.pdf"])
@pytest.mark.parametrize("packet", [None, to_xmp(record(2))])
def test_every_format_tells_whose_photograph_it_is(
    tmp_path: Path, name: str, packet: bytes | None
) -> None:
    path = tmp_path / name
    save_image(noise(32, 24), path, dpi=100, xmp=packet, author=WHO)
    found = told_in(path)
    assert found["creator"] == [*WHO.creators]
    assert found["rights"] == WHO.rights
    assert found.get("info", "Jörg (Studio); Ann") == "Jörg (Studio); Ann"
    assert found.get("exif", [WHO.creator, WHO.rights]) == [WHO.creator, WHO.rights]
    if path.suffix != ".pdf":
        assert read_authorship(path) == WHO  # so a painting of a painting keeps it
    if packet is not None:
        assert from_xmp(read_header(path).xmp) == record(2)


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_of_a_tiff_change_nothing_else(tmp_path: Path, order: str, is_big: bool) -> None:
    path = tmp_path / "some.tif"
    pages = [np.full((33, 21, 3), value, np.uint8) for value in (1, 200)]
    with tifffile.TiffWriter(path, bigtiff=is_big, byteorder=order) as writer:  # type: ignore[arg-type]
        for page in pages:
            writer.write(page, rowsperstrip=4, description="as it was", metadata=None)
    before = path.read_bytes()
    texts = {315: b"A", 33432: "© someone".encode(), 270: b"new"}
    add_texts(path, texts)
    data, header = path.read_bytes(), 16 if is_big else 8
    assert data[header : len(before)] == before[header:]
    with tifffile.TiffFile(path) as file:
        assert (file.is_bigtiff, file.byteorder) == (is_big, order)
        tags = file.pages.first.tags
        assert [tag.code for tag in tags] == sorted(tag.code for tag in tags)
        assert {code: tags[code].value for code in texts} == {
            code: text.decode() for code, text in texts.items()
        }
        for found, wanted in zip(file.pages, pages, strict=True):
            assert np.array_equal(found.asarray(), wanted)
    with pytest.warns(UserWarning, match="it holds 2 pictures; the first is taken"):
        assert read_picture(path).pixels.shape == (1, 3, 33, 21)


def test_a_painting_carries_the_photographs_author(tmp_path: Path) -> None:
    photograph(tmp_path / "in.jpg", "exif")
    Image.radial_gradient("L").resize((80, 72)).convert("RGB").save(
        tmp_path / "style.jpg", exif=exif_of(b"A painter", b"(c) A painter")
    )
    argv = ["stylize", str(tmp_path / "in.jpg"), str(tmp_path / "style.jpg"), "--no-run-dir"]
    argv += ["--size", "80", "--min-size", "80", "--iterations", "1", "--quiet"]
    path = tmp_path / "out.jpg"
    assert cli.main([*argv, "-o", str(path)]) == 0
    assert read_authorship(path) == Authorship(("Ann", "Bo"), "© Ann")
    assert b"A painter" not in path.read_bytes()
    assert cli.main([*argv, "-o", str(path), "--no-metadata"]) == 0
    assert not read_authorship(path)
    assert b"Ann" not in path.read_bytes()
