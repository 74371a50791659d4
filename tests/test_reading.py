"""What people's files are like: thumbnails, gain maps, spot colours, PNG colour, HDR floats."""

from __future__ import annotations

import struct
import sys
import types
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips  # type: ignore[import-untyped]
import tifffile
import torch
from pictures import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    P3,
    REC709,
    Array,
    from_primaries,
    gradient,
    mean_error,
    png,
    srgb_light,
    to_srgb,
)
from PIL import Image

from hires.errors import ImageError
from hires.image.colour.output import output_profile
from hires.image.colour.profiles import adobe_rgb
from hires.image.decode.read import read_picture
from hires.image.decode.stored import picture_size

# Thumbnails, pages, raw files


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_thumbnail_before_the_picture_is_passed_over(
    tmp_path: Path, bigtiff: bool, byteorder: Any
) -> None:
    path, picture = tmp_path / "in.tif", gradient()
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as file:
        file.write(picture[::4, ::4], photometric="rgb", subfiletype=1, subifds=1)
        file.write(picture, photometric="rgb")
    assert picture_size(path) == (96, 128)
    assert mean_error(path, picture) == 0


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_thumbnail_on_the_first_page(tmp_path: Path, bigtiff: bool, byteorder: Any) -> None:
    path, picture = tmp_path / "in.tif", gradient()
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as file:
        file.write(picture[::4, ::4], photometric="rgb", subfiletype=1)
        file.write(picture, photometric="rgb")
        file.write(picture[::2, ::2], photometric="rgb", subfiletype=1)
    assert mean_error(path, picture) == 0


def test_a_file_of_thumbnails_is_read_from_its_first(tmp_path: Path) -> None:
    path, picture = tmp_path / "in.tif", gradient()
    tifffile.imwrite(path, picture, photometric="rgb", subfiletype=1)
    assert mean_error(path, picture) == 0


def test_raw_photographs_are_refused_by_name(tmp_path: Path) -> None:
    dng, renamed = tmp_path / "in.dng", tmp_path / "in.tif"
    tags = [(50706, 1, 4, (1, 4, 0, 0), True)]
    for path in (dng, renamed):
        with tifffile.TiffWriter(path) as file:
            file.write(gradient()[::4, ::4], photometric="rgb", subfiletype=1, extratags=tags)
            file.write(gradient(), photometric="rgb")
    nikon = tmp_path / "in.NEF"
    tifffile.imwrite(nikon, gradient(), photometric="rgb")
    fuji, canon = tmp_path / "in.raf", tmp_path / "in.cr3"
    fuji.write_bytes(b"FUJIFILMCCD-RAW 0201" + bytes(200))
    canon.write_bytes(b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(200))
    for path in (dng, renamed, nikon, fuji, canon):
        with pytest.raises(ImageError, match="raw photograph: develop it first"):
            read_picture(path)


@pytest.mark.parametrize("photometric", [32803, 34892])
@pytest.mark.parametrize("subifds", [0, 1])
def test_what_a_sensor_saw_is_raw(tmp_path: Path, photometric: int, subifds: int) -> None:
    path = tmp_path / "in.tif"
    with tifffile.TiffWriter(path) as file:
        if subifds:
            file.write(gradient()[::4, ::4], photometric="rgb", subifds=1)
        seen = gradient() if photometric == 34892 else gradient()[..., 0]
        file.write(seen, photometric=photometric, extratags=[(33421, 3, 2, (2, 2), True)])
    with pytest.raises(ImageError, match="raw photograph: develop it first"):
        read_picture(path)


# Channels beyond the colours


@pytest.mark.parametrize("spot", [0, 128, 255])
def test_a_spot_colour_is_no_alpha(tmp_path: Path, spot: int) -> None:
    inks = np.dstack([255 - gradient(), np.zeros((96, 128), np.uint8)])
    plain, extra = tmp_path / "cmyk.tif", tmp_path / "spot.tif"
    tifffile.imwrite(plain, inks, photometric="separated")
    more = np.dstack([inks, np.full((96, 128), spot, np.uint8)])
    tifffile.imwrite(extra, more, photometric="separated", extrasamples=[0])
    found, wanted = read_picture(extra), read_picture(plain)
    assert found.alpha is None
    assert torch.equal(found.pixels, wanted.pixels)


def test_alpha_of_cmyk_is_alpha(tmp_path: Path) -> None:
    inks = np.dstack([255 - gradient(), np.zeros((96, 128), np.uint8)])
    alpha = np.full((96, 128), 100, np.uint8)
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, np.dstack([inks, alpha]), photometric="separated", extrasamples=[2])
    found = read_picture(path).alpha
    assert found is not None
    assert float(found.mean()) == pytest.approx(100 / 255, abs=1e-3)


def test_a_declared_alpha_behind_another_channel_is_alpha(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    other, alpha = (np.full((96, 128), level, np.uint8) for level in (30, 200))
    channels = np.dstack([gradient(), other, alpha])
    tifffile.imwrite(path, channels, photometric="rgb", extrasamples=[0, 2])
    found = read_picture(path).alpha
    assert found is not None
    assert float(found.mean()) == pytest.approx(200 / 255, abs=1e-3)


def test_an_unmarked_channel_of_rgb_is_told(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    channels = np.dstack([gradient(), np.full((96, 128), 200, np.uint8)])
    tifffile.imwrite(path, channels, photometric="rgb", extrasamples=[0])
    with pytest.warns(UserWarning, match="its further channel is not said to be alpha"):
        assert read_picture(path).alpha is not None


# Colours of a PNG


def gama(value: float) -> bytes:
    return struct.pack(">I", round(value * 100_000))


def chrm(*points: tuple[float, float]) -> bytes:
    return struct.pack(">8I", *(round(v * 100_000) for point in points for v in point))


ADOBE, SRGB = chrm((0.3127, 0.3290), *ADOBE_RGB), chrm((0.3127, 0.3290), *REC709)


V = gradient() / 255.0
ADOBE_COLOURS = to_srgb(from_primaries(V**ADOBE_GAMMA, ADOBE_RGB))
CASES: dict[str, tuple[dict[bytes, bytes], Array]] = {
    "linear": ({b"gAMA": gama(1.0)}, to_srgb(V)),
    "gamma 1.8": ({b"gAMA": gama(1 / 1.8)}, to_srgb(V**1.8)),
    "as sRGB": ({b"gAMA": gama(0.45455), b"cHRM": SRGB}, 255 * V),
    "adobe": ({b"gAMA": gama(256 / 563), b"cHRM": ADOBE}, ADOBE_COLOURS),
    "p3": ({b"cICP": bytes([12, 13, 0, 1])}, to_srgb(from_primaries(srgb_light(V), P3))),
    "sRGB before gamma": ({b"sRGB": b"\0", b"gAMA": gama(1.0)}, 255 * V),
    "cICP before all": (
        {b"cICP": bytes([12, 13, 0, 1]), b"sRGB": b"\0", b"gAMA": gama(1.0)},
        to_srgb(from_primaries(srgb_light(V), P3)),
    ),
    "plain": ({}, 255 * V),
}


@pytest.mark.parametrize("case", CASES)
def test_colours_of_a_png(tmp_path: Path, case: str) -> None:
    chunks, wanted = CASES[case]
    assert mean_error(png(tmp_path / "in.png", gradient(), chunks), wanted) < 0.6


def test_an_icc_profile_comes_before_gamma(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    image = pyvips.Image.new_from_array(gradient()).copy(interpretation="srgb")
    image.pngsave(str(path), profile="srgb")
    data = path.read_bytes()
    body = gama(1.0)
    chunk = struct.pack(">I", 4) + b"gAMA" + body + struct.pack(">I", zlib.crc32(b"gAMA" + body))
    path.write_bytes(data[:33] + chunk + data[33:])
    assert mean_error(path, gradient()) < 0.6


def test_gray_has_a_gamma_too(tmp_path: Path) -> None:
    gray = gradient()[..., 0]
    path = png(tmp_path / "in.png", gray, {b"gAMA": gama(1.0)})
    wanted = np.repeat(to_srgb(gray[..., None] / 255), 3, axis=-1)
    assert mean_error(path, wanted) < 0.6


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_of_a_png_is_told(tmp_path: Path, transfer: int, name: str) -> None:
    # BT.2408: the white of a sheet is 58% of a PQ signal, 75% of an HLG signal.
    white = {16: 0.58, 18: 0.75}[transfer]
    levels = np.zeros((96, 128, 3), np.uint8)
    levels[:, 64:] = round(255 * white)
    path = png(tmp_path / "in.png", levels, {b"cICP": bytes([9, transfer, 0, 1])})
    with pytest.warns(UserWarning, match=rf"it is HDR \({name}\)"):
        pixels = read_picture(path).pixels
    assert float(pixels[..., 64:].min()) > 0.97
    assert float(pixels[..., :64].max()) < 0.02


@pytest.mark.parametrize("code", [(77, 13, 0, 1), (9, 77, 0, 1), (9, 16, 9, 1), (9, 16, 0, 0)])
def test_an_unknown_code_leaves_it_to_what_else_is_said(
    tmp_path: Path, code: tuple[int, ...]
) -> None:
    said = {b"cICP": bytes(code), b"gAMA": gama(1.0)}
    path = png(tmp_path / "in.png", gradient(), said)
    with pytest.warns(UserWarning, match=r"\(cICP .*\) is unknown; its gamma counts"):
        assert mean_error(path, to_srgb(V)) < 0.6
    path = png(tmp_path / "in.png", gradient(), {**said, b"sRGB": b"\0"})
    with pytest.warns(UserWarning, match="is unknown; taken for sRGB"):
        assert mean_error(path, gradient()) == 0


def test_an_unknown_code_leaves_it_to_the_icc_profile(tmp_path: Path) -> None:
    body = b"adobe\0\0" + zlib.compress(adobe_rgb())
    path = png(tmp_path / "in.png", gradient(), {b"cICP": bytes([77, 1, 0, 1]), b"iCCP": body})
    with pytest.warns(UserWarning, match="is unknown; its ICC profile counts"):
        assert mean_error(path, ADOBE_COLOURS) < 0.6


@pytest.mark.parametrize(
    "points",
    [
        chrm((0.3127, 0.3290), (0.64, 0.63), (0.30, 0.60), (0.15, 0.06)),
        chrm((0.9, 0.9), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
        chrm((0.3127, 0.3290), (0.3, 0.3), (0.3, 0.3), (0.3, 0.3)),
        b"short",
    ],
)
def test_impossible_primaries_are_told(tmp_path: Path, points: bytes) -> None:
    path = png(tmp_path / "in.png", gradient(), {b"gAMA": gama(1.0), b"cHRM": points})
    with pytest.warns(UserWarning, match="primary colours make no sense; taken for those of sRGB"):
        assert mean_error(path, to_srgb(V)) < 0.6


def test_primaries_of_a_wide_space_are_possible(tmp_path: Path) -> None:
    prophoto = chrm((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
    path = png(tmp_path / "in.png", gradient(), {b"gAMA": gama(1 / 1.8), b"cHRM": prophoto})
    assert mean_error(path, gradient()) > 5  # and without a word


@pytest.mark.parametrize(
    "chunks", [{b"cICP": bytes([77, 13, 0, 1])}, {b"gAMA": struct.pack(">I", 1)}]
)
def test_senseless_colour_is_told(tmp_path: Path, chunks: dict[bytes, bytes]) -> None:
    path = png(tmp_path / "in.png", gradient(), chunks)
    with pytest.warns(UserWarning, match="taken for sRGB"):
        assert mean_error(path, gradient()) == 0


# Colours of a JPEG


def jpeg_of_a_camera(path: Path, pixels: Array, space: int, index: str, **options: Any) -> Path:
    exif = Image.Exif()
    exif[0x8769] = {0xA001: space, 0xA005: {1: index}}
    Image.fromarray(pixels).save(path, quality=100, subsampling=0, exif=exif, **options)
    return path


@pytest.mark.parametrize("max_long_side", [None, 500])
def test_adobe_rgb_of_a_camera(tmp_path: Path, max_long_side: int | None) -> None:
    path = jpeg_of_a_camera(tmp_path / "in.jpg", gradient(), 65535, "R03")
    found = read_picture(path, max_long_side=max_long_side).pixels[0].permute(1, 2, 0) * 255
    assert float(np.abs(found.numpy() - ADOBE_COLOURS).mean()) < 1
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.warns(UserWarning, match="the end of the file is missing"):
        assert mean_error(path, ADOBE_COLOURS) < 1


def test_adobe_rgb_of_gray(tmp_path: Path) -> None:
    gray = gradient()[..., 0]
    path = jpeg_of_a_camera(tmp_path / "in.jpg", gray, 65535, "R03")
    wanted = np.repeat(to_srgb((gray[..., None] / 255) ** (563 / 256)), 3, axis=-1)
    assert mean_error(path, wanted) < 1


def test_other_cameras_and_an_icc_profile_are_believed(tmp_path: Path) -> None:
    for space, index in ((1, "R98"), (65535, "R98"), (1, "R03")):
        path = jpeg_of_a_camera(tmp_path / "in.jpg", gradient(), space, index)
        assert mean_error(path, gradient()) < 1
    srgb = output_profile("srgb").data
    path = jpeg_of_a_camera(tmp_path / "in.jpg", gradient(), 65535, "R03", icc_profile=srgb)
    assert mean_error(path, gradient()) < 1
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.warns(UserWarning, match="the end of the file is missing"):
        assert mean_error(path, gradient()) < 1


# Other kinds of files


@pytest.mark.parametrize(
    ("ending", "options", "tolerance"),
    [
        (".bmp", {}, 0),
        (".gif", {}, 8),
        (".jp2", {}, 0.5),
        (".avif", {"quality": 95, "subsampling": "4:4:4"}, 2),
    ],
)
def test_other_kinds_are_read(
    tmp_path: Path, ending: str, options: dict[str, Any], tolerance: float
) -> None:
    path = tmp_path / f"in{ending}"
    Image.fromarray(gradient()).save(path, **options)
    assert mean_error(path, gradient()) <= tolerance
    assert picture_size(path) == (96, 128)
    small = read_picture(path, max_long_side=30).pixels
    assert max(small.shape) < 64
    cut = tmp_path / f"cut{ending}"
    cut.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ImageError, match="cannot read"):
        read_picture(cut)


@pytest.mark.parametrize("ending", [".gif", ".avif", ".webp", ".png"])
def test_of_moving_pictures_the_first_is_read(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"in{ending}", save_all=True, append_images=frames[1:])
    with warnings.catch_warnings(record=True, action="always") as told:
        pixels = read_picture(tmp_path / f"in{ending}").pixels
    says = ["it holds 2 pictures; the first is taken"] if ending != ".png" else []
    assert [str(one.message).partition(": ")[2] for one in told] == says
    assert pixels.shape == (1, 3, 30, 40)
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.tensor([1.0, 0, 0]), rtol=0, atol=0.02)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_other_kinds_are_held_upright(tmp_path: Path, orientation: int) -> None:
    path, plain = tmp_path / "in.avif", tmp_path / "in.jpg"
    for each in (path, plain):
        exif = Image.Exif()  # Saving an AVIF takes the orientation out of it.
        exif[0x0112] = orientation
        Image.fromarray(gradient()).save(each, exif=exif, quality=95)
    assert picture_size(path) == picture_size(plain)
    difference = read_picture(path).pixels - read_picture(plain).pixels
    assert float(difference.abs().mean()) < 0.02


def test_transparency_of_other_kinds(tmp_path: Path) -> None:
    path, array = tmp_path / "in.gif", np.zeros((96, 128, 4), np.uint8)
    array[:, 64:] = (255, 0, 0, 255)
    Image.fromarray(array).save(path)
    alpha = read_picture(path).alpha
    assert alpha is not None
    assert float(alpha[..., :64].max()) == 0
    assert float(alpha[..., 64:].min()) == 1


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"\xff\x0a", "JPEG XL is not supported: djxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL is not supported: djxl"),
        (b"8BPS\0\1", "Photoshop document"),
        (b"%PDF-1.7", "pdftoppm"),
        (b"<svg xmlns=", "SVG has no pixels"),
        (b"\x76\x2f\x31\x01", "OpenEXR is not supported; save it as JPEG, PNG or TIFF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC, which needs pip install pillow-heif"),
    ],
)
def test_kinds_that_are_not_read_are_named(
    tmp_path: Path, head: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "in.jpg"
    path.write_bytes(head + bytes(300))
    with pytest.raises(ImageError, match=why):
        read_picture(path)


def test_heic_is_read_by_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class File:
        def to_pillow(self) -> Image.Image:
            return Image.fromarray(gradient())

        def __len__(self) -> int:
            return 3

    package = types.ModuleType("pillow_heif")
    package.open_heif = lambda _: File()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    path = tmp_path / "in.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(300))
    with pytest.warns(UserWarning, match="it holds 3 pictures; the first is taken"):
        assert mean_error(path, gradient()) == 0


def test_a_jpeg_with_a_gain_map_is_read_as_any_jpeg(tmp_path: Path) -> None:
    """Ultra HDR: a JPEG, XMP that speaks of a gain map, and the map as a JPEG behind it."""
    plain, path, small = (tmp_path / name for name in ("plain.jpg", "in.jpg", "map.jpg"))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(gradient())
    picture.save(plain, quality=95, exif=exif)
    Image.fromarray(gradient(24, 32)[..., 0]).save(small)
    length = small.stat().st_size
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        ' xmlns:Container="http://ns.google.com/photos/1.0/container/"'
        ' xmlns:Item="http://ns.google.com/photos/1.0/container/item/"'
        ' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0">'
        "<Container:Directory><rdf:Seq>"
        '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary"'
        ' Item:Mime="image/jpeg"/></rdf:li>'
        '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap"'
        f' Item:Mime="image/jpeg" Item:Length="{length}"/></rdf:li>'
        "</rdf:Seq></Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
    body = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    data = plain.read_bytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    path.write_bytes(data[:2] + segment + data[2:] + small.read_bytes())
    found, wanted = read_picture(path), read_picture(plain)
    assert found.size == (128, 96)
    assert torch.equal(found.pixels, wanted.pixels)


# Floats, CIELAB, a JPEG without an end


def floats(path: Path, values: Array, **options: Any) -> Path:
    tifffile.imwrite(path, values, photometric="rgb", **options)
    return path


def test_small_excursions_of_floats_are_clipped(tmp_path: Path) -> None:
    values = (V * 1.05 - 0.02).astype(np.float32)
    path = floats(tmp_path / "in.tif", values)
    with pytest.warns(UserWarning, match=r"go from -0.02 to 1.03; clipped to \[0, 1\]"):
        assert mean_error(path, 255 * values.clip(0, 1)) < 0.01


@pytest.mark.parametrize("peak", [255, 65535])
def test_whole_numbers_are_taken_for_what_they_are(tmp_path: Path, peak: int) -> None:
    path = floats(tmp_path / "in.tif", np.rint(V * peak).astype(np.float32))
    with pytest.warns(UserWarning, match=f"whole numbers are taken for 0 to {peak}"):
        assert mean_error(path, 255 * V) < 0.01


def test_high_dynamic_range_is_compressed(tmp_path: Path) -> None:
    light = (V**2.2 * 8).astype(np.float32)
    path = floats(tmp_path / "in.tif", light)
    with pytest.warns(UserWarning, match="taken for linear light and compressed"):
        pixels = read_picture(path).pixels[0].permute(1, 2, 0).numpy()
    # Brighter stays brighter, and all but a thousandth stays below white.
    luminance, found = light[..., 1], pixels[..., 1]
    assert bool((np.diff(found[np.argsort(luminance[:, 0]), 0]) >= 0).all())
    assert 0.2 < float(np.median(found)) < 0.9
    assert float((pixels == 1).all(-1).mean()) <= 0.001


def test_doubles_are_named(tmp_path: Path) -> None:
    path = floats(tmp_path / "in.tif", V.astype(np.float64))
    with pytest.raises(ImageError, match="64-bit floats are not supported; save it with 32-bit"):
        read_picture(path)


@pytest.mark.parametrize("bits", [8, 16])
def test_cielab_is_read(tmp_path: Path, bits: int) -> None:
    lab = pyvips.Image.new_from_array(gradient()).copy(interpretation="srgb").colourspace("lab")
    values = lab.numpy() * ([2.55, 1, 1] if bits == 8 else [655.35, 256, 256])
    kind, signed = (np.uint8, np.int16) if bits == 8 else (np.uint16, np.int32)
    path = tmp_path / "in.tif"
    coded = np.rint(values).astype(signed).astype(kind)
    tifffile.imwrite(path, coded, photometric="cielab")
    assert mean_error(path, gradient()) < (1.0 if bits == 8 else 0.1)


@pytest.mark.parametrize("mode", ["L", "CMYK", "4:4:4", "4:2:2", "4:2:0"])
def test_a_jpeg_without_its_last_rows_is_truncated(tmp_path: Path, mode: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (117, 160, 3), np.uint8)
    picture = Image.fromarray(noise)
    picture = picture.convert(mode) if mode.isalpha() else picture
    whole, path = tmp_path / "whole.jpg", tmp_path / "in.jpg"
    picture.save(whole, quality=92, subsampling=mode if ":" in mode else -1)
    data = whole.read_bytes()
    for missing in (*range(4, 40), 60, 100, 200, 400, 800):
        path.write_bytes(data[:-missing])
        with pytest.raises(ImageError, match="truncated"):
            read_picture(path)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_without_its_end_is_whole(tmp_path: Path, options: dict[str, Any]) -> None:
    path, whole = tmp_path / "in.jpg", tmp_path / "whole.jpg"
    Image.fromarray(gradient()).save(whole, quality=92, **options)
    path.write_bytes(whole.read_bytes()[:-2])
    with pytest.warns(UserWarning, match="all of its rows are there"):
        found = read_picture(path)
    assert torch.equal(found.pixels, read_picture(whole).pixels)
    path.write_bytes(whole.read_bytes()[:-12])
    with pytest.raises(ImageError, match="truncated"):
        read_picture(path)


def test_ordinary_files_are_read_without_a_word(tmp_path: Path) -> None:
    for ending in (".jpg", ".png", ".tif", ".webp"):
        Image.fromarray(gradient()).save(tmp_path / f"in{ending}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read_picture(tmp_path / f"in{ending}")
