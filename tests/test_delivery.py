"""Finished files as labs and archives get them, read back by other libraries."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import pytest
import tifffile
import torch
from conftest import largest_file
from hypothesis import given
from hypothesis import strategies as st
from pictures import noise
from PIL import Image, ImageCms
from torch import Tensor

from hires.config.output import Delivery
from hires.config.paper import Print, Window
from hires.errors import ConfigError, ImageError, SaveError
from hires.image.colour.output import output_profile
from hires.image.decode.headers import read_header
from hires.image.decode.read import load_image, read_picture
from hires.image.decode.stored import picture_size
from hires.image.encode.raster import dithered
from hires.image.encode.save import check_output, save_image

LAB, MASTER = Delivery(deliver="lab"), Delivery(deliver="master")
PAGE = Print(paper="A6", dpi=40, bleed="3mm")
LAYOUT = PAGE.layout((300, 200))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">made by a test</x:xmpmeta>'


@pytest.fixture
def poster() -> Tensor:
    return noise(*LAYOUT.painted)


def levels(image: Tensor, peak: int = 255) -> np.ndarray[Any, np.dtype[Any]]:
    return np.asarray((image[0] * peak).permute(1, 2, 0).numpy())


def stored_in(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, C), 8 bit; tifffile alone does not read LZW."""
    with Image.open(path) as image:
        return np.asarray(image)


def pictures_of(page: pikepdf.Page) -> list[Any]:
    return [picture for _, picture in page.obj.Resources.XObject.items()]


def profile_name(data: bytes | None) -> str:
    assert data is not None
    return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data))).strip()


# What each delivery is, read elsewhere


@pytest.mark.parametrize("icc", ["srgb", "adobe-rgb"])
def test_lab_tiff(tmp_path: Path, poster: Tensor, icc: str) -> None:
    path = tmp_path / "out.tif"
    delivery = Delivery(deliver="lab", icc=icc)
    save_image(poster, path, layout=LAYOUT, delivery=delivery, xmp=XMP)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        assert page.shape == (*LAYOUT.size, 3)
        assert page.dtype == np.dtype(np.uint8)
        assert (page.compression, page.predictor) == (
            tifffile.COMPRESSION.LZW,
            tifffile.PREDICTOR.HORIZONTAL,
        )
        assert not file.is_bigtiff
        assert not page.is_tiled
        assert page.photometric == tifffile.PHOTOMETRIC.RGB
        assert page.tags["XResolution"].value == (40, 1)
        assert page.resolutionunit == tifffile.RESUNIT.INCH
        wanted = {"srgb": "sRGB IEC61966-2.1", "adobe-rgb": "Compatible with Adobe RGB (1998)"}
        assert profile_name(page.iccprofile) == wanted[icc]
        assert b"made by a test" in page.tags["XMP"].value
    if icc == "srgb":
        assert np.abs(stored_in(path) - levels(poster)).max() <= 1.5


def test_lab_jpeg_is_baseline_and_keeps_full_colour(tmp_path: Path, poster: Tensor) -> None:
    save_image(poster, tmp_path / "out.jpg", layout=LAYOUT, delivery=LAB, xmp=XMP)
    with Image.open(tmp_path / "out.jpg") as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert image.size == LAYOUT.size[::-1]
        assert image.info["dpi"] == (40, 40)
        assert "progressive" not in image.info
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]
        assert max(image.quantization[0]) <= 12  # type: ignore[attr-defined]  # quality 95
        assert profile_name(image.info["icc_profile"]) == "sRGB IEC61966-2.1"
        assert b"made by a test" in image.info["xmp"]


@pytest.mark.parametrize(
    ("delivery", "filters"), [(LAB, "/DCTDecode"), (Delivery(), "/FlateDecode")]
)
def test_pdf_has_its_true_size_and_boxes(
    tmp_path: Path, poster: Tensor, delivery: Delivery, filters: str
) -> None:
    path = tmp_path / "out.pdf"
    save_image(poster, path, layout=LAYOUT, delivery=delivery, xmp=XMP)
    with pikepdf.open(path) as document:
        (page,) = document.pages
        (picture,) = pictures_of(page)
        point = 72 / 25.4
        whole = [0, 0, 111 * point, 154 * point]
        assert [float(side) for side in page.MediaBox] == pytest.approx(whole, abs=0.01)
        assert [float(side) for side in page.BleedBox] == pytest.approx(whole, abs=0.01)
        trim = [3 * point, 3 * point, 108 * point, 151 * point]
        assert [float(side) for side in page.TrimBox] == pytest.approx(trim, abs=0.01)
        assert (int(picture.Width), int(picture.Height)) == LAYOUT.size[::-1]
        assert (int(picture.BitsPerComponent), str(picture.Filter)) == (8, filters)
        assert str(picture.ColorSpace[0]) == "/ICCBased"
        assert profile_name(picture.ColorSpace[1].read_bytes()).startswith("sRGB")
        assert b"made by a test" in document.Root.Metadata.read_bytes()
        seen = np.asarray(pikepdf.PdfImage(picture).as_pil_image()).astype(float)
    assert np.abs(seen - levels(poster)).mean() < (12 if delivery is LAB else 0.3)
    assert [file.name for file in tmp_path.iterdir()] == ["out.pdf"]


def test_a_pdf_without_paper_takes_its_size_from_the_dpi(tmp_path: Path) -> None:
    save_image(noise(100, 50), tmp_path / "out.pdf", dpi=100)
    with pikepdf.open(tmp_path / "out.pdf") as document:
        page = document.pages[0]
        assert [float(side) for side in page.MediaBox] == pytest.approx([0, 0, 36, 72])
        assert page.TrimBox == page.MediaBox


def test_the_same_picture_gives_the_same_file(tmp_path: Path, poster: Tensor) -> None:
    for ending in (".tif", ".jpg", ".pdf"):
        for name in ("a", "b"):
            save_image(poster, tmp_path / (name + ending), layout=LAYOUT, delivery=LAB, seed=4)
        first = (tmp_path / f"a{ending}").read_bytes()
        assert first == (tmp_path / f"b{ending}").read_bytes()
        save_image(poster, tmp_path / f"b{ending}", layout=LAYOUT, delivery=LAB, seed=5)
        assert first != (tmp_path / f"b{ending}").read_bytes()  # another seed, another dither


@pytest.mark.parametrize("num_channels", [3, 4])
def test_master_tiff_is_tiled_and_exact(tmp_path: Path, num_channels: int) -> None:
    image, alpha = noise(300, 270), noise(300, 270, 1, seed=1) if num_channels == 4 else None
    save_image(image, tmp_path / "out.tif", alpha=alpha, dpi=300, delivery=MASTER, xmp=XMP)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        page = file.pages.first
        assert page.shape == (300, 270, num_channels)
        assert page.dtype == np.dtype(np.uint16)
        assert page.is_tiled
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.predictor == tifffile.PREDICTOR.HORIZONTAL
        assert profile_name(page.iccprofile) == "sRGB IEC61966-2.1"
        assert b"made by a test" in page.tags["XMP"].value
        stored = page.asarray()
    np.testing.assert_array_equal(stored[..., :3], np.rint(levels(image, 65535)))
    if alpha is not None:
        np.testing.assert_array_equal(stored[..., 3:], np.rint(levels(alpha, 65535)))


def test_master_png_is_16_bit(tmp_path: Path) -> None:
    image = noise(70, 90)
    save_image(image, tmp_path / "out.png", dpi=300, delivery=MASTER, xmp=XMP)
    head = (tmp_path / "out.png").read_bytes()[:33]
    assert struct.unpack(">2I2B", head[16:26]) == (90, 70, 16, 2)
    assert torch.equal(load_image(tmp_path / "out.png"), (image * 65535).round() / 65535)
    with Image.open(tmp_path / "out.png") as opened:
        assert opened.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert "made by a test" in opened.info["XML:com.adobe.xmp"]


COMPRESSIONS = {"none": (1, 1), "lzw": (5, 2), "deflate": (8, 2)}


@pytest.mark.parametrize("method", COMPRESSIONS)
@pytest.mark.parametrize("deliver", ["plain", "master", "lab"])
def test_tiff_is_compressed_as_asked(tmp_path: Path, method: Any, deliver: Any) -> None:
    path, delivery = tmp_path / "out.tif", Delivery(deliver=deliver, compression=method)
    image = (noise(80, 70) * 255).round() / 255
    save_image(image, path, delivery=delivery)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        assert (page.compression, page.predictor) == COMPRESSIONS[method]
        assert page.is_tiled == (deliver == "master")
    assert (load_image(path) - image).abs().max() < (1.01 if deliver == "lab" else 0.01) / 255


def test_compression_is_for_tiff(tmp_path: Path) -> None:
    delivery = Delivery(compression="lzw")
    for name in ("out.jpg", "out.png", "out.pdf"):
        with pytest.raises(ImageError, match="`compression` is for TIFF; use"):
            check_output(tmp_path / name, dpi=100, delivery=delivery)


@pytest.mark.parametrize(
    ("deliver", "method", "growth"),
    [
        ("plain", "auto", 1.0),
        ("lab", "auto", 1.5),
        ("lab", "none", 1.0),
        ("lab", "deflate", 1.0),
        ("lab", "lzw", 1.5),
    ],
)
def test_bigtiff_where_offsets_may_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deliver: Any, method: Any, growth: float
) -> None:
    delivery, image = Delivery(deliver=deliver, compression=method), noise(64, 64)
    found = []
    for limit, is_big in ((64 * 64 * 3 * growth, False), (64 * 64 * 3 * growth - 1, True)):
        monkeypatch.setattr("hires.image.encode.encoder.CLASSIC_TIFF_BYTES", limit)
        save_image(image, tmp_path / "out.tif", delivery=delivery)
        with tifffile.TiffFile(tmp_path / "out.tif") as file:
            assert file.is_bigtiff == is_big
        found.append(load_image(tmp_path / "out.tif"))
    assert torch.equal(*found)


def test_without_a_purpose_nothing_is_dithered(tmp_path: Path) -> None:
    image = noise(50, 40)
    save_image(image, tmp_path / "out.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), np.rint(levels(image)))


@pytest.mark.parametrize("ending", [".tif", ".jpg", ".pdf"])
def test_labs_take_no_alpha(tmp_path: Path, ending: str) -> None:
    image, alpha = torch.full((1, 3, 32, 32), 0.5), torch.ones(1, 1, 32, 32)
    alpha[..., 16:] = 0
    with pytest.warns(UserWarning, match="has no alpha; laid on white"):
        save_image(image, tmp_path / f"out{ending}", alpha=alpha, dpi=72, delivery=LAB)
    header = read_header(tmp_path / f"out{ending}")
    assert (header.num_channels, header.bit_depth) == (3, 8)
    if ending == ".tif":
        assert stored_in(tmp_path / "out.tif")[:, 16:].min() == 255


def test_large_files_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hires.image.encode.save.LARGE_FILE", 1000)
    with pytest.warns(UserWarning, match="labs take"):
        save_image(noise(64, 64), tmp_path / "out.tif", delivery=LAB)
    save_image(noise(64, 64), tmp_path / "out.tif", delivery=MASTER)  # no warning: that one stays


# Sheets


def test_pad_is_white_around_the_picture(tmp_path: Path) -> None:
    layout = Print(paper="20x10cm", dpi=50.8, fit="pad", gravity="east", bleed="1cm").layout(
        (600, 600)
    )
    image = torch.full((1, 3, *layout.painted), 0.4)
    for delivery in (LAB, Delivery()):
        save_image(image, tmp_path / "out.tif", layout=layout, delivery=delivery)
        stored = stored_in(tmp_path / "out.tif")
        assert stored.shape == (240, 440, 3)
        top, left = layout.offset
        inside = np.zeros((240, 440), bool)
        inside[top : top + layout.painted[0], left : left + layout.painted[1]] = True
        assert (stored[~inside] == 255).all()
        assert abs(int(stored[inside].max()) - 102) <= 1
        assert abs(int(stored[inside].min()) - 102) <= 1


def test_pad_with_alpha_is_opaque_around(tmp_path: Path) -> None:
    layout = Print(paper="20x10cm", dpi=25.4, fit="pad").layout((100, 100))
    save_image(
        torch.zeros(1, 3, *layout.painted),
        tmp_path / "out.png",
        alpha=torch.zeros(1, 1, *layout.painted),
        layout=layout,
    )
    picture = read_picture(tmp_path / "out.png")
    assert picture.alpha is not None
    assert picture.pixels[0, 0, :, 0].min() == picture.alpha[0, 0, :, 0].min() == 1
    assert picture.alpha[0, 0, 50, 100] == 0


def test_an_earlier_rung_fills_the_same_paper_with_fewer_dots(tmp_path: Path) -> None:
    save_image(noise(123, 88), tmp_path / "out.pdf", layout=LAYOUT, delivery=LAB)
    header = read_header(tmp_path / "out.pdf")
    assert header.size == (123, 88)
    assert header.page == (154, 111)
    assert header.trim == (148, 105)
    save_image(noise(123, 88), tmp_path / "out.tif", layout=LAYOUT, delivery=LAB)
    assert read_header(tmp_path / "out.tif").dpi == pytest.approx(40 * 123 / LAYOUT.size[0], 1e-3)


# Dither


@given(st.integers(0, 255), st.floats(0, 1, width=32))
def test_dither_keeps_the_mean_and_stays_near(level: int, part: float) -> None:
    value = min(level + part, 255.0)
    band = torch.full((1, 128, 256), value)
    rounded = dithered(band, np.random.default_rng(0)).round()
    assert abs(float(rounded.mean()) - value) < 0.02
    assert (rounded - value).abs().max() <= 1.5
    assert 0 <= rounded.min() <= rounded.max() <= 255


def test_dither_turns_bands_into_a_gradient() -> None:
    ramp = torch.linspace(100, 102, 4096).expand(1, 64, 4096).contiguous()
    columns = dithered(ramp, np.random.default_rng(0)).round().mean(1)[0]
    smooth = columns.reshape(64, 64).mean(1)  # as an eye sees it from afar
    wanted = ramp[0, 0].reshape(64, 64).mean(1)
    assert (smooth - wanted).abs().max() < 0.05
    assert (ramp.round()[0, 0].reshape(64, 64).mean(1) - wanted).abs().max() > 0.4


def test_dither_lies_in_high_frequencies() -> None:
    error = dithered(torch.full((1, 64, 1024), 100.3), np.random.default_rng(0))[0] - 100.3
    power = torch.fft.rfft(error, dim=1).abs().square().mean(0)
    assert power[1:128].mean() < 0.1 * power[-128:].mean()


def test_black_and_white_stay_clean(tmp_path: Path) -> None:
    image = torch.zeros(1, 3, 40, 40)
    image[..., 20:] = 1
    save_image(image, tmp_path / "out.tif", delivery=LAB)
    assert set(np.unique(stored_in(tmp_path / "out.tif"))) == {0, 255}


# Colour profiles


def seen_by_lcms(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """The picture as another program shows it on an sRGB display, (H, W, 3) of 0 to 255."""
    with Image.open(path) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        shown = ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    return np.asarray(shown, float)


def smooth_colours() -> Tensor:
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, 48), torch.linspace(0, 1, 64), indexing="ij"
    )
    return torch.stack([rows, columns, 1 - (rows + columns) / 2])[None]


@pytest.mark.parametrize("icc", ["srgb", "adobe-rgb", "display.icc"])
def test_colours_look_the_same_in_every_profile(tmp_path: Path, icc: str) -> None:
    choice = str(tmp_path / icc) if icc.endswith(".icc") else icc
    if icc == "display.icc":  # a file of another maker's: littlecms' own sRGB, by its tables
        data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        Path(choice).write_bytes(data)
    image = smooth_colours()
    save_image(image, tmp_path / "out.tif", delivery=Delivery(deliver="lab", icc=choice))
    stored = stored_in(tmp_path / "out.tif").astype(float)
    assert (np.abs(stored - levels(image)).max() > 10) == (icc == "adobe-rgb")
    assert np.abs(seen_by_lcms(tmp_path / "out.tif") - levels(image)).mean() < 1
    back = load_image(tmp_path / "out.tif")
    assert (back - image).abs().mean() < 0.8 / 255


# Red, green and blue as XYZ under D50, from tables of RGB working spaces.
COLORANTS = {
    "srgb": [[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.7141]],
    "adobe-rgb": [
        [0.60974, 0.31111, 0.01947],
        [0.20528, 0.62567, 0.06087],
        [0.14919, 0.06322, 0.74457],
    ],
}


@pytest.mark.parametrize("choice", COLORANTS)
def test_made_profiles_say_what_is_published(choice: str) -> None:
    data = output_profile(choice).data
    assert data is not None
    assert struct.unpack(">I", data[:4])[0] == len(data)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data)).profile
    assert profile.version == pytest.approx(2.4)
    assert (profile.device_class, profile.is_matrix_shaper) == ("mntr", True)
    assert (profile.xcolor_space.strip(), profile.connection_space.strip()) == ("RGB", "XYZ")
    found = (profile.red_colorant, profile.green_colorant, profile.blue_colorant)
    for column, wanted in zip(found, COLORANTS[choice], strict=True):
        assert column is not None
        assert column[0] == pytest.approx(wanted, abs=2e-4)
    assert sum(np.array(column[0]) for column in found if column) == pytest.approx(
        [0.9642, 1, 0.8249], abs=1e-4
    )


def test_adobe_rgb_by_the_book(tmp_path: Path) -> None:
    image = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0.5, 0.5, 0.5]])
    delivery = Delivery(deliver="master", icc="adobe-rgb")
    save_image(image.T[None, :, None], tmp_path / "out.tif", delivery=delivery)
    # sRGB's corners in Adobe RGB (1998), as colour calculators give them.
    wanted = [[219, 0, 0], [144, 255, 60], [0, 0, 250], [255, 255, 255], [127, 127, 127]]
    stored = tifffile.imread(tmp_path / "out.tif")[0] / 257
    np.testing.assert_allclose(stored, wanted, atol=0.8)


def gray_profile() -> bytes:
    data = output_profile("srgb").data
    assert data is not None
    return data.replace(b"RGB XYZ ", b"GRAYXYZ ").replace(b"rTRC", b"kTRC")


BAD_PROFILES = {
    "missing": (None, "No such file"),
    "empty": (b"", "it is no colour profile"),
    "text": (b"not a profile" * 40, "it is no colour profile"),
    "gray": (gray_profile(), "it is for GRAY, not for RGB"),
    "cmyk": (gray_profile().replace(b"GRAYXYZ ", b"CMYKLab "), "colours cannot be converted to it"),
    "lab": (
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        "it is for Lab, not for RGB",
    ),
    "cut": ((output_profile("srgb").data or b"")[:400], "profile"),
}


@pytest.mark.parametrize("name", BAD_PROFILES)
def test_profiles_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    data, message = BAD_PROFILES[name]
    path = tmp_path / f"{name}.icc"
    if data is not None:
        path.write_bytes(data)
    delivery = Delivery(deliver="lab", icc=str(path))
    target = tmp_path / "out.tif"
    target.write_bytes(b"precious")
    with pytest.raises(ImageError) as raised:
        save_image(noise(8, 8), target, delivery=delivery)
    for again in (False, True):
        if again:
            with pytest.raises(ImageError) as raised:
                check_output(target, delivery=delivery)
        assert message in str(raised.value)
        assert "give srgb, adobe-rgb or the path of an RGB or CMYK profile" in str(raised.value)
        assert "\n" not in str(raised.value)
    assert target.read_bytes() == b"precious"


# What cannot be delivered


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("out.jpg", {"delivery": MASTER}, "a master keeps 16 bit without loss; use one of .tif"),
        ("out.pdf", {"delivery": MASTER, "dpi": 300}, "use one of .tif .tiff .png"),
        ("out.png", {"delivery": LAB}, "print labs do not take that; use one of .tif .tiff .jpg"),
        ("out.webp", {"delivery": LAB}, "print labs do not take that"),
        ("out.gif", {"delivery": LAB}, "unknown format .gif"),
        ("out.pdf", {"bit_depth": 16, "dpi": 300}, "PDF has no 16 bit; use one of .png .tif"),
        ("out.pdf", {}, "a PDF must know how large its page is"),
        ("out.pdf", {"delivery": LAB}, "a PDF must know how large its page is"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ImageError) as before:
        check_output(tmp_path / name, **options)
    with pytest.raises(ImageError) as after:
        save_image(noise(8, 8), tmp_path / name, **options)
    assert message in str(before.value)
    assert str(after.value) == str(before.value)
    assert not list(tmp_path.iterdir())


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConfigError, match="`deliver=lab` is 8 bit"):
        LAB.depth(16)
    with pytest.raises(ConfigError, match="choose one of plain, master, lab"):
        Delivery(deliver="friend")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave dpi=300 out"):
        save_image(noise(*LAYOUT.painted), "out.png", layout=LAYOUT, dpi=300)


@pytest.mark.parametrize("delivery", [LAB, Delivery()])
def test_a_pdf_that_finds_no_room_leaves_everything_as_it_was(
    tmp_path: Path, delivery: Delivery
) -> None:
    path = tmp_path / "out.pdf"
    save_image(noise(64, 64), path, dpi=72, delivery=delivery)
    complete = path.read_bytes()
    for limit in (0, 100, len(complete) // 2, len(complete) - 1):
        with largest_file(limit), pytest.raises(SaveError, match="File too large"):
            save_image(noise(64, 64), path, dpi=72, delivery=delivery)
        assert [entry.name for entry in tmp_path.iterdir()] == ["out.pdf"]
        assert path.read_bytes() == complete


def test_nan_is_found_in_any_band(tmp_path: Path) -> None:
    image = noise(600, 8)
    image[0, 2, 599, 7] = math.nan
    for name in ("out.tif", "out.jpg", "out.pdf"):
        with pytest.raises(ImageError, match="NaN"):
            save_image(image, tmp_path / name, dpi=72, delivery=LAB)
    assert not list(tmp_path.iterdir())


# Headers


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp", ".pdf"])
def test_headers_tell_what_was_saved(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    save_image(noise(60, 80), path, dpi=200, xmp=XMP)
    header = read_header(path)
    kinds = {".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".webp": "WebP", ".pdf": "PDF"}
    assert header.kind == kinds[ending]
    assert (header.size, header.bit_depth, header.num_channels) == ((60, 80), 8, 3)
    assert header.dpi == pytest.approx(200, rel=1e-3)
    assert header.profile is not None
    assert header.profile.startswith("sRGB")
    assert header.xmp is not None
    assert b"made by a test" in header.xmp
    save_image(noise(60, 80), path, dpi=200)
    assert read_header(path).xmp is None


def test_headers_of_other_files(tmp_path: Path) -> None:
    Image.new("L", (5, 4)).save(tmp_path / "plain.png")
    header = read_header(tmp_path / "plain.png")
    assert (header.dpi, header.profile, header.num_channels) == (None, None, 1)
    with pytest.raises(ImageError, match="no such file"):
        read_header(tmp_path / "nope.tif")
    for name, data in (("cut.pdf", b"%PDF-1.7\nnothing"), ("text.txt", b"hello")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=f"cannot read .*{name}"):
            read_header(tmp_path / name)
    document = pikepdf.new()
    document.add_blank_page()
    document.save(tmp_path / "blank.pdf")
    with pytest.raises(ImageError, match="one page with one picture"):
        read_header(tmp_path / "blank.pdf")


# Reading by region


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg"])
def test_a_window_is_that_part_of_the_upright_picture(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    path = tmp_path / f"in{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    values = (noise(60, 90)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    Image.fromarray(values).save(path, exif=exif)
    whole = load_image(path)
    assert picture_size(path) == whole.shape[-2:]
    for window in (Window(5, 20, 33, 17), Window(0, 0, 60, 60), Window(59, 3, 1, 57)):
        part = load_image(path, window=window)
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        assert torch.equal(part, whole[..., rows, columns])


def test_a_window_beyond_the_picture_is_refused(tmp_path: Path) -> None:
    save_image(noise(20, 30), tmp_path / "in.png")
    for window in (Window(0, 0, 21, 30), Window(-1, 0, 5, 5), Window(0, 26, 5, 5)):
        with pytest.raises(ValueError, match="beyond a picture of 30x20"):
            load_image(tmp_path / "in.png", window=window)
    with pytest.raises(ValueError, match="alone"):
        read_picture(tmp_path / "in.png", max_long_side=5, window=Window(0, 0, 5, 5))
