"""AVIF and HEIC: colours that a box names, levels of 10 and 12 bit, sequences, brands."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips  # type: ignore[import-untyped]
from pictures import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    P3,
    Array,
    from_primaries,
    gradient,
    mean_error,
    srgb_light,
    to_srgb,
)
from PIL import Image

from hires.image.colour.profiles import adobe_rgb
from hires.image.decode.headers import read_header
from hires.image.decode.heif import num_frames, stated_colours
from hires.image.decode.read import read_picture
from hires.image.formats.signatures import kind_of

LINEAR = 8
REC2020 = [(0.708, 0.292), (0.170, 0.797), (0.131, 0.046)]


def avif(path: Path, primaries: int, transfer: int, pixels: Array | None = None) -> Path:
    """An AVIF whose ``nclx`` box names a colour space; its matrix stays as it is."""
    picture = Image.fromarray(gradient() if pixels is None else pixels)
    picture.save(path, quality=100, subsampling="4:4:4")
    data = path.read_bytes()
    assert data.count(b"colrnclx") == 1
    at = data.index(b"colrnclx") + 8
    path.write_bytes(data[:at] + struct.pack(">2H", primaries, transfer) + data[at + 4 :])
    return path


# Numbers of ITU-T H.273, and what their colours are in sRGB.
V = gradient() / 255.0
NAMED: dict[tuple[int, int], Array] = {
    (1, 13): 255 * V,
    (2, 2): 255 * V,
    (1, 1): 255 * V,  # named by many for what is sRGB
    (1, 6): 255 * V,
    (1, LINEAR): to_srgb(V),
    (1, 4): to_srgb(V**2.2),
    (12, 13): to_srgb(from_primaries(srgb_light(V), P3)),
    (9, 13): to_srgb(from_primaries(srgb_light(V), REC2020)),
}


@pytest.mark.parametrize("code", NAMED)
def test_named_colours_become_srgb(tmp_path: Path, code: tuple[int, int]) -> None:
    # Linear light spreads the blacks, and with them what AVIF loses.
    assert mean_error(avif(tmp_path / "in.avif", *code), NAMED[code]) < (
        3 if LINEAR in code else 1.5
    )


def test_an_icc_profile_comes_before_named_colours(tmp_path: Path) -> None:
    path = tmp_path / "in.avif"
    Image.fromarray(gradient()).save(
        path, quality=100, subsampling="4:4:4", icc_profile=adobe_rgb()
    )
    wanted = to_srgb(from_primaries(V**ADOBE_GAMMA, ADOBE_RGB))
    assert mean_error(path, wanted) < 1.5


@pytest.mark.parametrize(("transfer", "name", "white"), [(16, "PQ", 0.58), (18, "HLG", 0.75)])
def test_hdr_is_told(tmp_path: Path, transfer: int, name: str, white: float) -> None:
    levels = np.zeros((96, 128, 3), np.uint8)
    levels[:, 64:] = round(255 * white)
    path = avif(tmp_path / "in.avif", 9, transfer, levels)
    with pytest.warns(UserWarning, match=rf"it is HDR \({name}\)"):
        pixels = read_picture(path).pixels
    assert float(pixels[..., 66:].min()) > 0.96
    assert float(pixels[..., :62].max()) < 0.02


def test_unknown_colours_are_told(tmp_path: Path) -> None:
    path = avif(tmp_path / "in.avif", 77, 13)
    with pytest.warns(UserWarning, match=r"\(nclx 77 13\) is unknown; taken for sRGB"):
        assert mean_error(path, gradient()) < 1.5


@pytest.mark.parametrize("num_channels", [3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_white_is_white_at_any_depth(tmp_path: Path, bits: int, num_channels: int) -> None:
    peak = 2**bits - 1
    levels = np.zeros((32, 64, num_channels))
    levels[:, 16:], levels[:, 32:], levels[:, 48:] = 1 / peak, (peak // 2) / peak, 1
    levels[..., 3:] = 1
    kind, full = (np.uint8, 255) if bits == 8 else (np.uint16, 65535)
    image = pyvips.Image.new_from_array(np.rint(levels * full).astype(kind))
    image = image.copy(interpretation="srgb" if bits == 8 else "rgb16")
    path = tmp_path / "in.avif"
    image.heifsave(str(path), compression="av1", bitdepth=bits, lossless=True, keep="none")
    found = read_picture(path)
    assert read_header(path).bit_depth == bits
    np.testing.assert_allclose(
        found.pixels[0].permute(1, 2, 0).numpy(), levels[..., :3], rtol=0, atol=1 / 65535
    )
    if num_channels == 4:
        assert found.alpha is not None
        assert float(found.alpha.min()) == 1


@pytest.mark.parametrize("count", [1, 3])
def test_pictures_of_a_sequence_are_counted(tmp_path: Path, count: int) -> None:
    frames = [Image.new("RGB", (40, 30), (80 * i, 0, 0)) for i in range(count)]
    path = tmp_path / "in.avif"
    frames[0].save(path, save_all=count > 1, append_images=frames[1:])
    assert num_frames(path) == count


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        ((b"avif", b"mif1"), "AVIF"),
        ((b"mif1", b"mif1", b"avif"), "AVIF"),
        ((b"mif1", b"heic"), "HEIC"),
        ((b"mif1",), "HEIC"),
        ((b"msf1", b"avis"), "AVIF"),
        ((b"heic", b"avif"), "HEIC"),
        ((b"mp42", b"avif"), ""),
    ],
)
def test_brands(tmp_path: Path, brands: tuple[bytes, ...], kind: str) -> None:
    path, rest = tmp_path / "in.bin", b"".join(brands[1:])
    head = struct.pack(">I", 16 + len(rest)) + b"ftyp" + brands[0] + bytes(4) + rest
    path.write_bytes(head + b"avifheic")  # what follows the box is no brand
    assert kind_of(path) == kind


def test_an_avif_with_a_common_brand_is_read(tmp_path: Path) -> None:
    path = avif(tmp_path / "in.avif", 1, 13)
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"mif1" + data[12:])
    assert mean_error(path, gradient()) < 1.5


@pytest.mark.parametrize("seed", range(40))
def test_damaged_boxes_say_nothing_wrong(tmp_path: Path, seed: int) -> None:
    path = avif(tmp_path / "in.avif", 12, 13)
    data = bytearray(path.read_bytes())
    draw = np.random.default_rng(seed)
    for at in draw.integers(0, 300, 6):
        data[at] = draw.integers(256)
    path.write_bytes(data[: draw.integers(10, len(data))])
    profile, notes = stated_colours(path)
    assert profile is None or profile[36:40] == b"acsp"
    assert all("unknown" in note or "HDR" in note for note in notes)
    assert num_frames(path) >= 1
