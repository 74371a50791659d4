"""Files in and out, judged by other libraries: Pillow and tifffile."""

import io
import math
import os
import stat
import struct
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import largest_file
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import ADOBE_GAMMA, ADOBE_RGB, P3, REC709, from_primaries, noise, to_srgb
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from hires.errors import ImageError, SaveError
from hires.image.bands import BAND_ROWS
from hires.image.colour.profiles import Points, matrix_profile
from hires.image.decode.read import load_image, read_picture
from hires.image.encode.save import check_output, save_image
from hires.image.resample import fill, resize

LOSSLESS = [(".png", 8), (".png", 16), (".tif", 8), (".TIFF", 16)]
ENDINGS = [".jpg", ".JPEG", ".png", ".tif", ".tiff", ".webp"]


def levels(image: Tensor) -> list[float]:
    return sorted(set(image.flatten().tolist()))


def gradient(height: int = 40, width: int = 56) -> Tensor:
    rows = torch.linspace(0.1, 0.9, height)[:, None].expand(height, width)
    columns = torch.linspace(0.1, 0.9, width).expand(height, width)
    return torch.stack([rows, columns, 1 - rows])[None]


def pixels_of(image: Tensor, peak: int) -> np.ndarray[Any, np.dtype[Any]]:
    dtype = np.uint8 if peak == 255 else np.uint16
    rounded: np.ndarray[Any, np.dtype[Any]] = np.rint(image[0].numpy() * np.float32(peak))
    return rounded.astype(dtype).transpose(1, 2, 0)


def read_elsewhere(path: Path, bit_depth: int) -> np.ndarray[Any, np.dtype[Any]]:
    """(H, W, C) integers; Pillow would cut 16 bit to 8."""
    if path.suffix.lower() in (".tif", ".tiff"):
        return np.asarray(tifffile.imread(path))
    if bit_depth == 16:
        return read_png_by_the_book(path)
    with Image.open(path) as image:
        return np.asarray(image)


def read_png_by_the_book(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """16-bit RGB or RGBA after the PNG specification, sections 5 and 9: (H, W, C) uint16."""
    data, chunks, position = path.read_bytes(), {b"IDAT": b""}, 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunks[kind] = chunks.get(kind, b"") + data[position + 8 : position + 8 + length]
        position += 12 + length
    width, height, depth, colour_type = struct.unpack_from(">2I2B", chunks[b"IHDR"])
    assert (depth, colour_type) in [(16, 2), (16, 6)]
    step = 6 if colour_type == 2 else 8  # bytes per pixel
    filtered = zlib.decompress(chunks[b"IDAT"])
    rows, above = [], bytes(step * (width + 1))
    for start in range(0, len(filtered), step * width + 1):
        row = bytearray(step)  # the pixel left of the first is zero
        for index, byte in enumerate(filtered[start + 1 : start + 1 + step * width]):
            a, b, c = row[index], above[index + step], above[index]
            nearest = min((a, b, c), key=lambda value: abs(a + b - c - value))
            row.append((byte + (0, a, b, (a + b) // 2, nearest)[filtered[start]]) % 256)
        rows.append(row[step:])
        above = bytes(row)
    return np.frombuffer(b"".join(rows), ">u2").reshape(height, width, -1).astype(np.uint16)


def gamma_profile(primaries: Points, gamma: float) -> bytes:
    return matrix_profile("test", primaries, struct.pack(">IH", 1, round(gamma * 256)))


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


# Writing


@pytest.mark.parametrize(("ending", "bit_depth"), LOSSLESS)
def test_lossless_files_hold_the_rounded_values(
    tmp_path: Path, ending: str, bit_depth: int
) -> None:
    image, path = noise(37, 53), tmp_path / f"out{ending}"
    save_image(image, path, bit_depth=bit_depth)
    expected = pixels_of(image, 2**bit_depth - 1)
    np.testing.assert_array_equal(read_elsewhere(path, bit_depth), expected)


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_is_its_format_with_srgb_and_no_orientation(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"out{ending}"
    save_image(gradient(), path)
    with Image.open(path) as image:
        expected = {".jpg": "JPEG", ".tif": "TIFF"}.get(ending, ending[1:].upper())
        assert image.format == expected
        assert (image.size, image.mode) == ((56, 40), "RGB")
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        assert image.getexif().get(0x0112, 1) == 1
        assert "exif" not in image.info
        difference = np.asarray(image, float) - gradient()[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(difference).max() < (8 if ending == ".webp" else 4)


def test_jpeg_keeps_full_colour_resolution(tmp_path: Path) -> None:
    save_image(gradient(), tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]
        assert max(image.quantization[0]) <= 12  # type: ignore[attr-defined]  # quality 95


@pytest.mark.parametrize("ending", ENDINGS)
def test_dpi_lands_in_the_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    save_image(gradient(), path, dpi=300)
    with Image.open(path) as image:
        exif = image.getexif()
        x, y = image.info.get("dpi", (exif.get(0x011A), exif.get(0x011B)))
        assert exif.get(0x0112, 1) == 1
    assert (float(x), float(y)) == pytest.approx((300, 300), abs=0.01)


@pytest.mark.parametrize("dpi", [0, -1, math.nan, math.inf])
def test_a_meaningless_dpi_is_refused(tmp_path: Path, dpi: float) -> None:
    with pytest.raises(ValueError, match="dpi"):
        save_image(gradient(), tmp_path / "out.png", dpi=dpi)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_any_float_dtype_is_clamped_and_left_alone(tmp_path: Path, dtype: torch.dtype) -> None:
    image = (noise(300, 9) * 3 - 1).to(dtype)  # more rows than one band
    before = image.clone()
    save_image(image.requires_grad_(), tmp_path / "out.png")
    assert torch.equal(image, before)
    expected = pixels_of(before.float().clamp(0, 1), 255)
    np.testing.assert_array_equal(read_elsewhere(tmp_path / "out.png", 8), expected)


def test_float32_values_are_not_clamped_in_place(tmp_path: Path) -> None:
    image = noise(4, 4) * 3 - 1
    before = image.clone()
    save_image(image, tmp_path / "out.png")
    assert torch.equal(image, before)


@pytest.mark.parametrize(("ending", "bit_depth"), [*LOSSLESS, (".webp", 8)])
def test_alpha_is_kept_straight(tmp_path: Path, ending: str, bit_depth: int) -> None:
    image, alpha, path = noise(20, 30), noise(20, 30, 1, seed=1), tmp_path / f"out{ending}"
    save_image(image, path, alpha=alpha, bit_depth=bit_depth)
    stored = read_elsewhere(path, bit_depth)
    peak = 2**bit_depth - 1
    np.testing.assert_array_equal(stored[..., 3:], pixels_of(alpha, peak))
    if ending != ".webp":
        np.testing.assert_array_equal(stored[..., :3], pixels_of(image, peak))
    picture = read_picture(path)
    assert picture.alpha is not None
    torch.testing.assert_close(picture.alpha, alpha, rtol=0, atol=0.5001 / peak)
    assert picture.pixels.shape == image.shape


def test_jpeg_lays_alpha_on_white(tmp_path: Path) -> None:
    image = torch.full((1, 3, 16, 32), 0.2)
    alpha = torch.ones(1, 1, 16, 32)
    alpha[..., 16:] = 0
    with pytest.warns(UserWarning, match="laid on white"):
        save_image(image, tmp_path / "out.jpg", alpha=alpha)
    stored = read_elsewhere(tmp_path / "out.jpg", 8)
    assert np.abs(stored[:, :16] - 51.0).max() <= 2
    assert stored[:, 16:].min() >= 253
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_image(image, tmp_path / "out.jpg", alpha=torch.ones(1, 1, 16, 32))


@pytest.mark.parametrize(
    ("image", "alpha"),
    [
        (torch.rand(3, 8, 8), None),
        (torch.rand(2, 3, 8, 8), None),
        (torch.rand(1, 4, 8, 8), None),
        (torch.rand(1, 3, 0, 8), None),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), None),
        (torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 9)),
    ],
)
def test_wrong_shapes_are_refused(tmp_path: Path, image: Tensor, alpha: Tensor | None) -> None:
    with pytest.raises(ValueError, match="expected"):
        save_image(image, tmp_path / "out.png", alpha=alpha)


def test_nan_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"precious")
    image = noise(300, 8)
    image[0, 1, 299, 3] = math.nan
    with pytest.raises(ImageError, match="NaN"):
        save_image(image, path)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"precious"]


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("a.jpg", (8, 65_501), "65500"),
        ("a.webp", (16_384, 8), "16383"),
    ],
)
def test_sizes_beyond_a_format_are_refused(
    tmp_path: Path, name: str, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        check_output(tmp_path / name, size=size)
    with pytest.raises(ImageError, match=message):
        save_image(torch.zeros(1, 3, *size), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_the_longest_sides_come_back(tmp_path: Path, name: str) -> None:
    save_image(torch.full((1, 3, 2, 65_500), 0.6), tmp_path / name)
    assert load_image(tmp_path / name).shape == (1, 3, 2, 65_500)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 600),
    width=st.integers(1, 40),
    kind=st.sampled_from(LOSSLESS),
    has_alpha=st.booleans(),
    seed=st.integers(0, 9),
)
def test_save_then_read_is_rounding(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    kind: tuple[str, int],
    has_alpha: bool,
    seed: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / f"round_trip{kind[0]}"
    image = noise(height, width, seed=seed)
    # All of it visible: hidden colours are not kept.
    alpha = noise(height, width, 1, seed) * 0.8 + 0.2 if has_alpha else None
    save_image(image, path, bit_depth=kind[1], alpha=alpha)
    picture = read_picture(path)
    peak = 2 ** kind[1] - 1
    assert torch.equal(picture.pixels, (image * peak).round() / peak)
    assert (picture.alpha is not None) == has_alpha
    assert picture.bit_depth == kind[1]
    assert picture.path == path


# Atomic writing


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
def test_a_write_that_fails_anywhere_leaves_everything_as_it_was(
    tmp_path: Path, ending: str
) -> None:
    image, path = noise(64, 64), tmp_path / f"out{ending}"
    save_image(image, path)
    complete = path.read_bytes()
    for limit in (0, 100, len(complete) // 2, len(complete) - 1):
        with largest_file(limit), pytest.raises(SaveError, match="File too large") as raised:
            save_image(image, path)
        assert "\n" not in str(raised.value)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
        assert path.read_bytes() == complete


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    make = os.open

    def on_the_full_disk(path: Path, *_: int) -> int:
        path.symlink_to("/dev/full")
        return make(path, os.O_WRONLY)

    monkeypatch.setattr(os, "open", on_the_full_disk)
    with pytest.raises(OSError, match=r"cannot save .*: No space left on device; .*\)$") as raised:
        save_image(noise(64, 64), tmp_path / f"out{ending}")
    assert isinstance(raised.value, ImageError)
    assert str(raised.value).count("cannot save") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, OSError("no rename")])
def test_no_temporary_file_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(os, "replace", fail)
    (tmp_path / "out.png").write_bytes(b"precious")
    with pytest.raises((KeyboardInterrupt, MemoryError, SaveError)):
        save_image(gradient(), tmp_path / "out.png")
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"precious"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_permissions_follow_the_umask_or_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    umask = os.umask(0o022)
    try:
        save_image(gradient(), path)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.chmod(0o640)
    save_image(gradient(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symlink_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("real.png")
    save_image(gradient(), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert load_image(tmp_path / "real.png").shape == (1, 3, 40, 56)


@pytest.mark.parametrize("name", ["photo[1].tif", "größe ☀.png", "a,b=c[n=2].jpg", "%d.webp"])
def test_odd_names_work(tmp_path: Path, name: str) -> None:
    save_image(gradient(), tmp_path / name)
    assert load_image(tmp_path / name).shape == (1, 3, 40, 56)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_an_overwritten_file_is_read_anew(tmp_path: Path) -> None:
    for value in (0.0, 1.0):
        save_image(torch.full((1, 3, 8, 8), value), tmp_path / "out.png")
        assert load_image(tmp_path / "out.png").mean() == value


# check_output


def refusal(path: Path, **arguments: Any) -> str:
    before = set(path.parent.iterdir()) if path.parent.is_dir() else set()
    with pytest.raises(ImageError) as raised:
        check_output(path, **arguments)
    after = set(path.parent.iterdir()) if path.parent.is_dir() else set()
    assert before == after
    message = str(raised.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_check_output_accepts_what_can_be_saved(tmp_path: Path) -> None:
    for ending in ENDINGS:
        check_output(tmp_path / f"out{ending}", size=(9_933, 14_043))
        check_output(str(tmp_path / f"out{ending}"), inputs=[tmp_path / "missing.png"])
    check_output(tmp_path / "out.tif", bit_depth=16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.gif", "out", "out.tif.gz", ".png"])
def test_unknown_endings_name_the_known_ones(tmp_path: Path, name: str) -> None:
    assert ".jpg .jpeg .png .tif .tiff .webp" in refusal(tmp_path / name)
    with pytest.raises(ImageError, match=r"\.jpg \.jpeg"):
        save_image(gradient(), tmp_path / name)


@pytest.mark.parametrize("name", ["out.jpg", "out.webp"])
def test_16_bit_names_the_formats_that_have_it(tmp_path: Path, name: str) -> None:
    assert ".png .tif .tiff" in refusal(tmp_path / name, bit_depth=16)
    with pytest.raises(ImageError, match="16 bit"):
        save_image(gradient(), tmp_path / name, bit_depth=16)


def test_other_depths_are_refused(tmp_path: Path) -> None:
    assert "use 8 or 16" in refusal(tmp_path / "out.tif", bit_depth=12)


def test_impossible_targets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    assert "folder" in refusal(tmp_path / "folder.png")
    assert "no folder" in refusal(tmp_path / "nowhere" / "out.png")
    source = tmp_path / "in.png"
    source.write_bytes(b"x")
    (tmp_path / "same.png").symlink_to(source)
    assert "input" in refusal(source, inputs=["other.png", source])
    assert "input" in refusal(tmp_path / "same.png", inputs=[source])
    assert source.read_bytes() == b"x"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "regular" in refusal(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="regular"):
        load_image(tmp_path / "pipe.png")


def test_an_unwritable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", deny)  # mode bits would not stop a test run by root
    assert "no permission" in refusal(tmp_path / "out.png")
    with pytest.raises(SaveError, match="Permission denied"):
        save_image(gradient(), tmp_path / "out.png")


# Reading


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, ending: str, orientation: int) -> None:
    path = tmp_path / f"turned{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, dict[str, Any]] = {
        ".jpg": {"quality": 100, "subsampling": 0},
        ".webp": {"lossless": True},
    }
    source = Image.fromarray(pixels_of(gradient(24, 40), 255))
    source.save(path, exif=exif, **options.get(ending, {}))
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), float)
    picture = load_image(path)
    assert picture.shape[-2:] == upright.shape[:2]
    assert np.abs(picture[0].permute(1, 2, 0).numpy() * 255 - upright).max() <= 2
    turned = read_picture(path, max_long_side=10).pixels
    assert max(turned.shape[-2:]) == 10
    assert (turned.shape[-2] > turned.shape[-1]) == (orientation > 4)


def test_16_bit_keeps_its_precision(tmp_path: Path) -> None:
    values = np.arange(64 * 64 * 3, dtype=np.uint16).reshape(64, 64, 3) * 5
    tifffile.imwrite(tmp_path / "deep.tif", values, photometric="rgb")
    picture = read_picture(tmp_path / "deep.tif")
    assert picture.bit_depth == 16
    np.testing.assert_array_equal(
        picture.pixels[0].permute(1, 2, 0).numpy(), values.astype(np.float32) / 65535
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("ending", [".tif", ".png"])
def test_gray_becomes_three_equal_channels(
    tmp_path: Path, dtype: type[np.unsignedinteger[Any]], ending: str
) -> None:
    values = np.linspace(0, np.iinfo(dtype).max, 600).reshape(20, 30).astype(dtype)
    Image.fromarray(values).save(tmp_path / f"gray{ending}")
    picture = read_picture(tmp_path / f"gray{ending}")
    expected = values.astype(np.float32) / np.iinfo(dtype).max
    for channel in picture.pixels[0]:
        np.testing.assert_array_equal(channel.numpy(), expected)
    assert picture.bit_depth == 8 * values.itemsize
    assert picture.alpha is None


def test_palette_bilevel_and_gray_alpha(tmp_path: Path) -> None:
    colours = Image.fromarray(pixels_of(gradient(), 255)).quantize(16)
    colours.save(tmp_path / "palette.png")
    expected = np.asarray(colours.convert("RGB")) / np.float32(255)
    got = load_image(tmp_path / "palette.png")[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(got, expected)

    bits = noise(9, 13)[0, 0].numpy() > 0.5
    for name in ("bits.png", "bits.tif"):
        Image.fromarray(bits).save(tmp_path / name)
        np.testing.assert_array_equal(load_image(tmp_path / name)[0, 1].numpy(), bits)

    Image.new("LA", (5, 4), (51, 102)).save(tmp_path / "la.png")
    picture = read_picture(tmp_path / "la.png")
    assert picture.alpha is not None
    assert levels(picture.pixels) == pytest.approx([0.2])
    assert levels(picture.alpha) == pytest.approx([0.4])


def test_premultiplied_alpha_is_divided_out(tmp_path: Path) -> None:
    values = np.full((8, 8, 4), [50, 20, 10, 100], np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", values, photometric="rgb", extrasamples=["assocalpha"])
    picture = read_picture(tmp_path / "in.tif")
    expected = torch.tensor([0.5, 0.2, 0.1])[None, :, None, None].expand(1, 3, 8, 8)
    torch.testing.assert_close(picture.pixels, expected, rtol=0, atol=0.5 / 100)
    assert picture.alpha is not None
    assert levels(picture.alpha) == pytest.approx([100 / 255])


@pytest.mark.parametrize("dtype", [np.float32, np.uint32])
def test_wide_pixel_types_are_16_bit(tmp_path: Path, dtype: type[Any]) -> None:
    image = noise(20, 30)[0].permute(1, 2, 0).numpy()
    stored = image.astype(np.float64) * 4294967295 if dtype is np.uint32 else image
    tifffile.imwrite(tmp_path / "in.tif", stored.astype(dtype), photometric="rgb")
    picture = read_picture(tmp_path / "in.tif")
    assert picture.bit_depth == 16
    got = picture.pixels[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got, image, rtol=0, atol=1.01 / 65535)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (math.nan, "not finite"),
        (math.inf, "not finite"),
        (-0.5, r"from -0.5 to 0.5; scale them to \[0, 1\]"),
    ],
)
def test_floats_outside_the_range_are_refused(tmp_path: Path, bad: float, why: str) -> None:
    values = np.full((8, 8, 3), 0.5, np.float32)
    values[3, 4, 1] = bad
    tifffile.imwrite(tmp_path / "in.tif", values, photometric="rgb")
    with pytest.raises(ImageError, match=why):
        load_image(tmp_path / "in.tif")


def test_of_several_pages_the_first_is_read(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.warns(UserWarning, match="it holds 2 pictures; the first is taken"):
        image = load_image(tmp_path / "pages.tif")
    assert image.shape == (1, 3, 6, 8)
    assert image.mean((0, 2, 3)).tolist() == [1, 0, 0]


@pytest.mark.parametrize("name", ["ink.jpg", "ink.tif"])
def test_cmyk_without_profile(tmp_path: Path, name: str) -> None:
    ink = Image.new("CMYK", (48, 16), (0, 0, 0, 0))
    ink.paste((255, 0, 0, 0), (16, 0, 32, 16))
    ink.paste((0, 0, 0, 255), (32, 0, 48, 16))
    ink.save(tmp_path / name)
    paper, cyan, black = load_image(tmp_path / name)[0, :, 8, [8, 24, 40]].T
    assert paper.min() > 0.97
    assert cyan[0] < 0.35 < 0.6 < cyan[1]
    assert cyan[2] > 0.75
    assert black.max() < 0.25


def test_16_bit_cmyk(tmp_path: Path) -> None:
    ink = np.zeros((8, 8, 4), np.uint16)
    ink[:4, :, 0] = 65535
    tifffile.imwrite(tmp_path / "ink.tif", ink, photometric="separated")
    picture = read_picture(tmp_path / "ink.tif")
    cyan, paper = picture.pixels[0, :, [1, 6], 4].T
    assert picture.bit_depth == 16
    assert cyan[0] < 0.35 < 0.6 < cyan[1]
    assert paper.min() > 0.97


# Colour profiles


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_srgb_tagged_pictures_come_through_unchanged(tmp_path: Path, ending: str) -> None:
    values = pixels_of(noise(64, 64), 255)
    Image.fromarray(values).save(tmp_path / f"in{ending}", icc_profile=srgb_profile())
    got = load_image(tmp_path / f"in{ending}")[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(got, values / np.float32(255))


@pytest.mark.parametrize("primaries", [ADOBE_RGB, P3], ids=["adobe", "p3"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_wide_gamuts_are_converted(
    tmp_path: Path, primaries: Points, dtype: type[np.unsignedinteger[Any]]
) -> None:
    peak = np.iinfo(dtype).max
    values = (noise(32, 32)[0].permute(1, 2, 0).numpy() * 0.6 + 0.2) * peak
    profile = gamma_profile(primaries, ADOBE_GAMMA)
    stored = values.astype(dtype)
    tifffile.imwrite(tmp_path / "in.tif", stored, photometric="rgb", iccprofile=profile)
    picture = read_picture(tmp_path / "in.tif")
    expected = to_srgb(from_primaries((stored / peak) ** ADOBE_GAMMA, primaries)) / 255
    assert np.abs(expected - stored / peak).max() > 0.03  # the conversion is worth testing
    got = picture.pixels[0].permute(1, 2, 0).numpy()
    in_gamut = ((expected > 0.02) & (expected < 0.98)).all(-1)
    assert in_gamut.mean() > 0.7
    error = np.abs(got - expected)
    assert error[in_gamut].max() < 2 / 255
    assert error[in_gamut].mean() < 0.2 / 255
    assert error.max() < 0.05  # out of it, the colour engine clips its own way
    assert picture.bit_depth == 8 * stored.itemsize


def test_alpha_survives_a_conversion(tmp_path: Path) -> None:
    source = Image.new("RGBA", (8, 8), (100, 150, 200, 102))
    source.save(tmp_path / "in.png", icc_profile=gamma_profile(ADOBE_RGB, ADOBE_GAMMA))
    picture = read_picture(tmp_path / "in.png")
    assert picture.alpha is not None
    assert levels(picture.alpha) == pytest.approx([0.4])
    light = (np.array([100, 150, 200]) / 255) ** ADOBE_GAMMA
    expected = to_srgb(from_primaries(light, ADOBE_RGB)) / 255
    assert picture.pixels[0, :, 0, 0].tolist() == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_profiles_are_converted(tmp_path: Path, dtype: type[np.unsignedinteger[Any]]) -> None:
    profile = gamma_profile(REC709, 1.8).replace(b"RGB XYZ ", b"GRAYXYZ ").replace(b"rTRC", b"kTRC")
    peak = np.iinfo(dtype).max
    values = np.linspace(0.1, 0.9, 256).reshape(16, 16) * peak
    Image.fromarray(values.astype(dtype)).save(tmp_path / "in.tif", icc_profile=profile)
    expected = to_srgb((values[..., None] / peak) ** 1.8) / 255
    got = load_image(tmp_path / "in.tif")[0].permute(1, 2, 0).numpy()
    assert np.abs(got - expected).max() < 2 / 255


@pytest.mark.parametrize(
    "profile",
    [b"garbage" * 40, b"", gamma_profile(ADOBE_RGB, 2.2)[:150], b"GRAY"],
    ids=["garbage", "stub", "cut", "of another kind"],
)
def test_a_broken_profile_is_ignored_with_a_warning(tmp_path: Path, profile: bytes) -> None:
    if profile == b"GRAY":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    values = pixels_of(gradient(), 255)
    tifffile.imwrite(tmp_path / "in.tif", values, photometric="rgb", iccprofile=profile or b"\0")
    with pytest.warns(UserWarning, match="profile is broken; ignored"):
        got = load_image(tmp_path / "in.tif")[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(got, values / np.float32(255))


# Bad input


def message_of(path: Path, capfd: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(ImageError) as raised:
        read_picture(path)
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""
    message = str(raised.value)
    assert message.startswith(f"cannot read {path}: ")
    assert ";" in message
    assert "\n" not in message
    return message


def test_files_that_are_no_pictures(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "zeros.tif").write_bytes(bytes(5000))
    assert "no such file" in message_of(tmp_path / "missing.jpg", capfd)
    assert "folder" in message_of(tmp_path, capfd)
    assert "empty" in message_of(tmp_path / "empty.jpg", capfd)
    assert "not a JPEG, PNG" in message_of(tmp_path / "text.png", capfd)
    assert "not a JPEG, PNG" in message_of(tmp_path / "zeros.tif", capfd)
    assert "check the path" in message_of(tmp_path / "nul\0.png", capfd)


@pytest.mark.parametrize("fraction", [0.001, 0.02, 0.3, 0.6, 0.95, 0.999])
@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".jpg", {}),
        (".jpg", {"progressive": True}),
        (".png", {}),
        (".tif", {}),
        (".tif", {"compression": "tiff_lzw"}),
        (".tif", {"compression": "tiff_adobe_deflate"}),
        (".webp", {}),
    ],
)
def test_truncated_files_are_detected(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    ending: str,
    options: dict[str, Any],
    fraction: float,
) -> None:
    path = tmp_path / f"cut{ending}"
    Image.fromarray(pixels_of(noise(120, 160), 255)).save(path, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(1, int(len(whole) * fraction))])
    assert "cut off" in message_of(path, capfd) or "truncated" in message_of(path, capfd)
    with pytest.raises(ImageError):
        read_picture(path, max_long_side=20)


@pytest.mark.parametrize("compression", ["zstd", "lzma"])
def test_compressions_that_would_read_as_zeros_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], compression: str
) -> None:
    source = Image.fromarray(pixels_of(noise(64, 64), 255))
    try:
        source.save(tmp_path / "in.tif", compression=compression)
    except OSError:
        pytest.skip(f"this Pillow cannot write {compression}")
    message = message_of(tmp_path / "in.tif", capfd)
    assert f"its {compression.upper()} compression is not supported" in message
    assert "LZW or Deflate" in message


def test_other_pixel_types_and_colour_spaces_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "signed.tif", np.zeros((8, 8), np.int16))
    assert "type short" in message_of(tmp_path / "signed.tif", capfd)
    tifffile.imwrite(tmp_path / "double.tif", np.zeros((8, 8, 3)), photometric="rgb")
    assert "64-bit floats are not supported" in message_of(tmp_path / "double.tif", capfd)
    complex_values = np.zeros((8, 8), np.complex64)
    tifffile.imwrite(tmp_path / "complex.tif", complex_values)
    message_of(tmp_path / "complex.tif", capfd)


def test_a_size_beyond_the_memory_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">2I5B", 900_000, 900_000, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))
    assert "810000 megapixels" in message_of(tmp_path / "huge.png", capfd)


# Reduced reading


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
def test_max_long_side(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in{ending}"
    save_image(gradient(300, 450), path, dpi=300)
    whole = load_image(path)
    for wanted in (226, 450, 1000):
        assert torch.equal(read_picture(path, max_long_side=wanted).pixels, whole)
    for wanted in (225, 100, 33):
        small = read_picture(path, max_long_side=wanted).pixels
        height, width = small.shape[-2:]
        assert wanted <= width < 2 * wanted
        assert height == pytest.approx(width * 2 / 3, abs=1)
        reference = resize(whole, (height, width))
        assert (small - reference).abs().mean() < 0.01
    with pytest.raises(ValueError, match="at least 1"):
        read_picture(path, max_long_side=0)


def test_reduced_reading_is_antialiased(tmp_path: Path) -> None:
    checkerboard = (torch.arange(256)[:, None] + torch.arange(256)) % 2
    for ending in (".jpg", ".png"):
        save_image(checkerboard.float().expand(1, 3, 256, 256), tmp_path / f"in{ending}")
        small = read_picture(tmp_path / f"in{ending}", max_long_side=50).pixels
        assert (small[..., 2:-2, 2:-2] - 0.5).abs().max() < 0.02


# resize

SIDES = st.integers(1, 60)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.floats(0, 1, width=32))
def test_a_constant_stays_constant(
    height: int, width: int, new_height: int, new_width: int, value: float
) -> None:
    result = resize(torch.full((1, 3, height, width), value), (new_height, new_width))
    assert result.shape == (1, 3, new_height, new_width)
    torch.testing.assert_close(result, torch.full_like(result, value), rtol=0, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 40), st.integers(8, 40), st.floats(1, 3), st.floats(1, 3))
def test_up_and_down_again_keeps_everything_in_place(
    height: int, width: int, tall: float, wide: float
) -> None:
    rows = torch.linspace(0, math.pi, height)[:, None]
    columns = torch.linspace(0, math.pi, width)
    image = (rows.sin() * columns.cos() * 0.4 + 0.5).expand(1, 3, height, width)
    larger = resize(image, (round(height * tall), round(width * wide)))
    assert (resize(larger, (height, width)) - image).abs().max() < 0.04
    flipped = resize(image.flip(-1, -2), (larger.shape[-2], larger.shape[-1]))
    torch.testing.assert_close(flipped.flip(-1, -2), larger, rtol=0, atol=1e-5)


def test_a_ramp_keeps_its_coordinates() -> None:
    centres = (torch.arange(40) + 0.5) / 40
    for size in (10, 25, 100, 123):
        ramp = resize(centres.expand(1, 1, 3, 40), (3, size))[0, 0, 1]
        expected = (torch.arange(size) + 0.5) / size
        inner = slice(size // 8 + 1, -(size // 8 + 1))
        torch.testing.assert_close(ramp[inner], expected[inner], rtol=0, atol=2e-4)


def test_shrinking_one_axis_antialiases_only_that_axis() -> None:
    stripes = (torch.arange(64) % 2).float()
    across = resize(stripes.expand(1, 1, 64, 64), (64, 16))
    along = resize(stripes.expand(1, 1, 64, 64), (16, 64))
    assert (across[..., 2:-2] - 0.5).abs().max() < 0.02
    torch.testing.assert_close(along, stripes.expand(1, 1, 16, 64), rtol=0, atol=1e-6)


def test_resize_agrees_with_pillow() -> None:
    image = noise(31, 47)
    for size in [(16, 20), (50, 90), (10, 90)]:
        planes = [
            np.asarray(
                Image.fromarray(channel.numpy()).resize(size[::-1], Image.Resampling.BICUBIC)
            )
            for channel in image[0]
        ]
        torch.testing.assert_close(
            resize(image, size)[0], torch.from_numpy(np.stack(planes)), rtol=0, atol=1e-5
        )


def test_resize_dtypes_clamp_and_copies() -> None:
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1
    assert resize(edge, (32, 32)).min() < 0 < 1 < resize(edge, (32, 32)).max()
    clamped = resize(edge, (32, 32), clamp=True)
    assert (float(clamped.min()), float(clamped.max())) == (0, 1)
    same = resize(edge, (8, 8))
    assert torch.equal(same, edge)
    assert same.data_ptr() != edge.data_ptr()
    assert resize(edge.double(), (9, 9)).dtype == torch.float64
    assert resize(edge.bfloat16(), (9, 9)).dtype == torch.float32


def test_fill_cuts_the_middle_out() -> None:
    ramp = torch.linspace(0, 1, 90).expand(1, 3, 30, 90)
    found = fill(ramp, (30, 30))
    torch.testing.assert_close(found, ramp[..., 30:60])
    upright = fill(ramp.mT, (60, 60))
    assert float(upright.min()) >= float(ramp[..., 30].min()) - 1e-3
    assert float(upright.max()) <= float(ramp[..., 59].max()) + 1e-3


@pytest.mark.parametrize("size", [(171, 256), (67, 100), (667, 1000), (1334, 2000)])
def test_fill_takes_all_where_only_rounding_differs(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, 667, 1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fill(image, size), resize(image, size))


@pytest.mark.parametrize(
    ("image", "size"),
    [
        (torch.zeros(3, 8, 8), (4, 4)),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), (4, 4)),
        (torch.zeros(1, 3, 8, 8), (0, 4)),
    ],
)
def test_resize_refuses_nonsense(image: Tensor, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected|size"):
        resize(image, size)


# Memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_stays_behind_after_reading(tmp_path: Path) -> None:
    save_image(noise(200, 200), tmp_path / "in.png")
    picture = read_picture(tmp_path / "in.png", max_long_side=64)
    assert picture.pixels.shape[-1] == 64
    opened = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    assert not [name for name in opened if name.endswith("in.png")]


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_quantising_makes_no_float_copy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bit_depth: int
) -> None:
    largest = 0
    cat = torch.cat

    def watched(planes: list[Tensor]) -> Tensor:
        nonlocal largest
        band = cat(planes)
        largest = max(largest, band.numel())
        return band

    monkeypatch.setattr(torch, "cat", watched)
    save_image(noise(1000, 50), tmp_path / "out.tif", bit_depth=bit_depth)
    assert 0 < largest <= BAND_ROWS * 50 * 3
