"""Files that are made to break whoever decodes them."""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Callable


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *, interlaced: bool = False) -> bytes:
    """A PNG that says so much of itself, and holds a little."""
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, int(interlaced))
    data = zlib.compress(bytes(100_000_000), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def jpeg(width: int, height: int, *, frame: int = 0xC0) -> bytes:
    """A JPEG's header, and nothing after it."""
    part = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 17, 0, 2, 17, 0, 3, 17, 0])
    table = b"\xff\xdb" + struct.pack(">H", 67) + bytes(1) + bytes([1] * 64)
    scan = b"\xff\xda" + struct.pack(">H", 12) + bytes([3, 1, 0, 2, 0, 3, 0, 0, 63, 0])
    start = bytes([0xFF, frame]) + struct.pack(">H", len(part) + 2) + part
    return b"\xff\xd8" + table + start + scan + b"\xff\xd9"


def tiff(width: int, height: int, *, count: int = 1, loop: bool = False) -> bytes:
    """A TIFF that says so much, with one strip of a few zeros; directories may go in a ring."""
    entries = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8)),
        *((262, 3, 1, 2), (273, 4, count, 8), (277, 3, 1, 3), (278, 4, 1, height)),
        (279, 4, count, 16),
    ]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 8 if loop else 0)


def small_png(name: bytes, before: bytes) -> bytes:
    """A PNG of one pixel, with a chunk that grows to 300 MB where it is unpacked."""
    header, pixel = struct.pack(">2I5B", 1, 1, 8, 2, 0, 0, 0), zlib.compress(bytes(4))
    packer = zlib.compressobj(9)
    grows = b"".join(packer.compress(bytes(2**20)) for _ in range(300)) + packer.flush()
    parts = chunk(b"IHDR", header) + chunk(name, before + grows)
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    """A GIF that says so much of itself, and holds nothing."""
    head = b"GIF89a" + struct.pack("<2H3B", width, height, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<4HB", 0, 0, width, height, 0)
    return head + frame + b"\x08\x02\x4c\x01\x00;"


BOMBS: dict[str, Callable[[], bytes]] = {
    "png of 60000x60000": lambda: png(60_000, 60_000),
    "png of 2 billion wide": lambda: png(2**31 - 1, 2**31 - 1),
    "png that holds little": lambda: png(40_000, 40_000),
    "png interlaced": lambda: png(30_000, 30_000, interlaced=True),
    "jpeg header": lambda: jpeg(65_500, 65_500),
    "jpeg progressive header": lambda: jpeg(30_000, 30_000, frame=0xC2),
    "jpeg without rows": lambda: jpeg(30_000, 30_000),
    "tiff of 2 billion": lambda: tiff(2**31, 2**31),
    "tiff of a strip": lambda: tiff(40_000, 40_000),
    "tiff with a billion strips": lambda: tiff(40_000, 40_000, count=2**30),
    "tiff in a ring": lambda: tiff(40_000, 40_000, loop=True),
    "gif of 60000x60000": lambda: gif(60_000, 60_000),
    "pickle": lambda: pickle.dumps(print),
    "zip": lambda: b"PK\x03\x04" + bytes(1000),
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
    "empty": lambda: b"",
}
