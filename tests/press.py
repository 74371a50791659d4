"""The profile of a press that was never built, and what ISO 15930-7 asks of a PDF/X-4."""

from __future__ import annotations

import functools
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
from numpy.typing import NDArray
from PIL import ImageCms

from hires.image.metadata import xmp

Array = NDArray[np.float64]

# Red, green and blue of sRGB as XYZ under D50, from tables of RGB working spaces.
_COLORANTS = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.7141]]
)
_WHITE = _COLORANTS.sum(1)
_PAPER = np.array([0.72, 0.75, 0.58])  # a yellowish one
_STRENGTH = 0.9  # of light that an ink takes away: two layers on each other leave L* = 9


@functools.cache
def press_profile(*, num_intents: int = 3) -> bytes:
    """An ICC version 2 profile: block dyes, black ink where there is gray, up to 400% ink.

    Cyan takes red light away and nothing else, and so on; black takes all three. So the tables
    follow from a formula in both directions, and colours of sRGB are printable unless very dark.
    """
    inks = np.stack(np.meshgrid(*[np.linspace(0, 1, 11)] * 4, indexing="ij"), -1).reshape(-1, 4)
    labs = np.stack(np.meshgrid(*[np.linspace(0, 1, 33)] * 3, indexing="ij"), -1).reshape(-1, 3)
    decoded = labs * [100, 256, 256] - [0, 128, 128]
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 11) + b"Test press\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"CC0\0",
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in _PAPER)),
    }
    to_lab = _table(4, 3, 11, _encoded(_to_lab(_light_of(inks))))
    from_lab = _table(3, 4, 33, _inks_of(_from_lab(decoded)))
    for intent in range(num_intents):
        tags |= {f"A2B{intent}".encode(): to_lab, f"B2A{intent}".encode(): from_lab}
    start, body, table = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">2I", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(v * 65536) for v in _WHITE))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _light_of(inks: Array) -> Array:
    left = 1 - _STRENGTH * inks
    return np.asarray(left[:, :3] * left[:, 3:])


def _inks_of(light: Array) -> Array:
    light = light.clip(0, 1)
    black = (((1 - light.max(1, keepdims=True)) / _STRENGTH).clip(0, 1)) ** 2
    colours = (1 - light / (1 - _STRENGTH * black)) / _STRENGTH
    return np.asarray(np.concatenate([colours, black], 1).clip(0, 1))


def _to_lab(light: Array) -> Array:
    ratio = light @ _COLORANTS.T / _WHITE
    root = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def _from_lab(lab: Array) -> Array:
    y = (lab[:, 0] + 16) / 116
    root = np.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], -1)
    ratio = np.where(root > 6 / 29, root**3, (116 * root - 16) * 27 / 24389)
    return np.asarray(ratio * _WHITE @ np.linalg.inv(_COLORANTS).T)


def _encoded(lab: Array) -> Array:
    """As ICC version 2 has it: L* of 100 is 0xFF00."""
    return np.stack([lab[:, 0] * 652.8, *((lab[:, 1:].T + 128) * 256)], -1).clip(0, 65535) / 65535


def _table(before: int, after: int, side: int, values: Array) -> bytes:
    """A ``mft2`` tag; where Lab goes in, its L* of 100 is brought to the end of the grid."""
    head = struct.pack(">4s4xBBBx", b"mft2", before, after, side)
    head += struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9))) + struct.pack(
        ">2H", 256, 2
    )
    plain = np.arange(256) * 257
    curves = [plain] * before
    if before == 3:
        curves[0] = np.minimum(plain * 65535 // 65280, 65535)
    data = np.rint(values * 65535).astype(">u2").tobytes()
    ends = struct.pack(">2H", 0, 65535) * after
    return head + np.stack(curves).astype(">u2").tobytes() + data + ends


def problems_of_pdfx4(path: Path) -> list[str]:
    """What ISO 15930-7:2010 asks of a page with one picture and is not so; the clause's matter."""
    with pikepdf.open(path) as document:
        found = document.check_pdf_syntax()
        return [*found, *_of_file(document, path), *_of_intent(document), *_of_pages(document)]


def _of_file(document: pikepdf.Pdf, path: Path) -> list[str]:
    info: Any = document.trailer.get("/Info", {})
    packet = document.Root.get("/Metadata")
    if packet is None:
        return ["no metadata"]
    data = packet.read_bytes()
    told = {
        name: "".join(xmp.values(data, name)[:1])
        for name in (xmp.TITLE, *(_name(key) for key in _REQUIRED))
    }
    checks = {
        "version": document.pdf_version == "1.6",
        "binary comment": min(path.read_bytes().split(b"\n")[1][1:5]) > 127,
        "identification": told[_name("pdfxid:GTS_PDFXVersion")] == "PDF/X-4",
        "file identifier": len(document.trailer.get("/ID", [])) == 2,
        "encryption": not document.is_encrypted,
        "metadata is a plain stream": "/Filter" not in packet,
        "all properties": all(told.values()),
        "trapped": str(info.get("/Trapped")) == f"/{told[_name('pdf:Trapped')]}" != "/Unknown",
        "same identification": str(info.get("/GTS_PDFXVersion")) == "PDF/X-4",
        "same title": str(info.get("/Title")) == told[xmp.TITLE],
        "same creator": str(info.get("/Creator")) == told[_name("xmp:CreatorTool")],
        "same producer": str(info.get("/Producer")) == told[_name("pdf:Producer")],
        "same dates": _same(info.get("/CreationDate"), told[_name("xmp:CreateDate")])
        and _same(info.get("/ModDate"), told[_name("xmp:ModifyDate")]),
        "no actions": not {"/OpenAction", "/AA", "/AcroForm", "/Names"} & set(document.Root.keys()),
    }
    return [matter for matter, is_so in checks.items() if not is_so]


_REQUIRED = {
    "pdfxid:GTS_PDFXVersion": "http://www.npes.org/pdfx/ns/id/",
    "xmp:CreateDate": xmp.XMP,
    "xmp:ModifyDate": xmp.XMP,
    "xmp:MetadataDate": xmp.XMP,
    "xmp:CreatorTool": xmp.XMP,
    "pdf:Trapped": "http://ns.adobe.com/pdf/1.3/",
    "pdf:Producer": "http://ns.adobe.com/pdf/1.3/",
    "xmpMM:DocumentID": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpMM:VersionID": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpMM:RenditionClass": "http://ns.adobe.com/xap/1.0/mm/",
}


def _name(key: str) -> str:
    return f"{{{_REQUIRED[key]}}}{key.split(':')[1]}"


def _same(date: Any, stamp: str) -> bool:
    """``D:20260102030405+00'00'`` and ``2026-01-02T03:04:05+00:00``."""
    digits = "".join(letter for letter in str(date) if letter.isdigit())
    return digits == "".join(letter for letter in stamp if letter.isdigit()) != ""


def _of_intent(document: pikepdf.Pdf) -> list[str]:
    intents = [*document.Root.get("/OutputIntents", [])]
    if len(intents) != 1 or str(intents[0].get("/S")) != "/GTS_PDFX":
        return ["one output intent"]
    intent = intents[0]
    stream = intent.get("/DestOutputProfile")
    if stream is None:
        return ["profile of the output intent"]
    profile = ImageCms.ImageCmsProfile(io.BytesIO(stream.read_bytes())).profile
    count = {"GRAY": 1, "RGB": 3, "CMYK": 4}.get(profile.xcolor_space.strip())
    checks = {
        "identifier": bool(str(intent.get("/OutputConditionIdentifier", ""))),
        "info": bool(str(intent.get("/Info", ""))),
        "output device": profile.device_class == "prtr",
        "number of inks": int(stream.N) == count,
        "profile's version": profile.version < 5,
    }
    return [matter for matter, is_so in checks.items() if not is_so]


def _of_pages(document: pikepdf.Pdf) -> list[str]:
    (page,) = document.pages
    pictures = [one for _, one in page.obj.Resources.XObject.items()]
    media, bleed, trim = (
        [float(side) for side in page.obj[name]] for name in ("/MediaBox", "/BleedBox", "/TrimBox")
    )
    spaces = {1: "/DeviceGray", 3: "/DeviceRGB", 4: "/DeviceCMYK"}
    intents = [*document.Root.get("/OutputIntents", [])]
    inks = int(intents[0].DestOutputProfile.N) if intents else 0
    checks = {
        "boxes nest": _holds(media, bleed) and _holds(bleed, trim),
        "no art box": "/ArtBox" not in page.obj,
        "no unit": "/UserUnit" not in page.obj,
        "colours of the press": all(str(one.ColorSpace) == spaces.get(inks) for one in pictures),
        "no LZW": all(str(one.Filter) in ("/DCTDecode", "/FlateDecode") for one in pictures),
        "no alternates": not any("/Alternates" in one or "/OPI" in one for one in pictures),
        "no annotations": "/Annots" not in page.obj,
    }
    return [matter for matter, is_so in checks.items() if not is_so]


def _holds(outer: list[float], inner: list[float]) -> bool:
    return (
        outer[0] <= inner[0] < inner[2] <= outer[2] and outer[1] <= inner[1] < inner[3] <= outer[3]
    )
