"""Tiles of pictures of any size: geometry, colours, orientation, and what is refused."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips  # type: ignore[import-untyped]
from conftest import random_image
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import hires
from hires.errors import ImageError
from hires.image import pyramid as module
from hires.image.pyramid import OVERLAP, TILE, Pyramid, prune
from hires.image.resample import resize

Array = np.ndarray[Any, np.dtype[np.int16]]


def pixels(data: bytes | Path) -> Array:
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16)


def assembled(pyramid: Pyramid, level: int) -> Array:
    """A level from its tiles, which must agree where they overlap."""
    height, width = pyramid.size_of(level)
    whole = np.full((height, width, 3), -1, np.int16)
    for row in range(-(-height // TILE)):
        for column in range(-(-width // TILE)):
            tile = pyramid.tile(level, column, row)
            assert tile is not None
            top, left = max(row * TILE - OVERLAP, 0), max(column * TILE - OVERLAP, 0)
            bottom, right = (
                min((at + 1) * TILE + OVERLAP, side)
                for at, side in ((row, height), (column, width))
            )
            part = pixels(tile)
            assert part.shape == (bottom - top, right - left, 3)
            whole[top:bottom, left:right] = part
    assert (whole >= 0).all()
    return whole


def smooth(height: int, width: int) -> Array:
    """Gradients, which JPEG keeps to a level or two."""
    y, x = np.mgrid[0:height, 0:width]
    planes = 255 * y / height, 255 * x / width, 127 + 127 * np.sin(y / 40) * np.cos(x / 50)
    return np.stack(planes, -1).astype(np.uint8)


def reduced(image: Any, factor: int) -> Any:
    """Means of squares of pixels; at the far edges what is missing is as the last one."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % factor), (0, -width % factor), (0, 0)), "edge")
    blocks = padded.reshape(-(-height // factor), factor, -(-width // factor), factor, 3)
    return blocks.mean((1, 3))


@pytest.fixture
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the levels up to 128 pixels are kept in memory."""
    monkeypatch.setattr(module, "_BASE_SIDE", 128)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_levels_halve_down_to_a_pixel(height: int, width: int) -> None:
    pyramid = object.__new__(Pyramid)
    pyramid.size = height, width
    last = pyramid.num_levels - 1
    assert pyramid.size_of(last) == (height, width)
    assert pyramid.size_of(0) == (1, 1)
    assert last == 0 or max(pyramid.size_of(1)) == 2
    for level in range(last):
        larger = pyramid.size_of(level + 1)
        assert pyramid.size_of(level) == (-(-larger[0] // 2), -(-larger[1] // 2))
    assert pyramid.has(last, (width - 1) // TILE, (height - 1) // TILE)
    assert not pyramid.has(last, (width - 1) // TILE + 1, 0)
    assert not pyramid.has(last + 1, 0, 0)
    assert not pyramid.has(-1, 0, 0)


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg", "a.webp"])
def test_every_level_shows_the_picture(name: str, tmp_path: Path) -> None:
    wanted = smooth(611, 1033)
    Image.fromarray(wanted.astype(np.uint8)).save(tmp_path / name, quality=95)
    pyramid = Pyramid(tmp_path / name, tmp_path / "cache")
    assert (pyramid.size, pyramid.num_levels, pyramid.base) == ((611, 1033), 12, 7)
    pyramid.make_base()
    assert not pyramid.is_made
    assert pyramid.tile(11, 0, 0) is None
    coarse = assembled(pyramid, 7)
    pyramid.make_archive()
    assert pyramid.is_made
    assert np.abs(assembled(pyramid, 11) - wanted).mean() < 2
    for level in (10, 7, 6):
        assert np.abs(assembled(pyramid, level) - reduced(wanted, 2 ** (11 - level))).mean() < 3
    again = Pyramid(tmp_path / name, tmp_path / "cache")
    assert again.open()
    assert again.tile(11, 2, 1) == pyramid.tile(11, 2, 1)
    assert np.abs(assembled(again, 7) - coarse).mean() < 2


def test_a_small_picture_needs_no_archive(tmp_path: Path) -> None:
    Image.fromarray(smooth(300, 200).astype(np.uint8)).save(tmp_path / "a.png")
    pyramid = Pyramid(tmp_path / "a.png", tmp_path / "cache")
    pyramid.make_base()
    pyramid.make_archive()
    assert pyramid.is_made
    assert not (tmp_path / "cache").exists()
    assert np.abs(assembled(pyramid, 9) - pixels(tmp_path / "a.png")).mean() < 5


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_held_upright(orientation: int, tmp_path: Path) -> None:
    image = Image.fromarray(smooth(200, 320).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", quality=95, exif=exif)
    wanted = hires.read_picture(tmp_path / "a.jpg")
    pyramid = Pyramid(tmp_path / "a.jpg", tmp_path)
    assert pyramid.size == wanted.size
    pyramid.make_base()
    pyramid.make_archive()
    upright = (wanted.pixels[0].permute(1, 2, 0) * 255).numpy()
    last = pyramid.num_levels - 1
    assert np.abs(assembled(pyramid, last) - upright).mean() < 2
    assert np.abs(assembled(pyramid, 6) - reduced(upright, 8)).mean() < 3


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("bit_depth", [8, 16])
def test_colours_are_those_of_srgb(bit_depth: int, tmp_path: Path) -> None:
    picture = resize(random_image(4, 4).float(), (150, 200), clamp=True)
    path = tmp_path / "a.tif"
    hires.save_image(picture, path, bit_depth=bit_depth, delivery=hires.Delivery(icc="adobe-rgb"))
    pyramid = Pyramid(path, tmp_path)
    pyramid.make_base()
    pyramid.make_archive()
    wanted = (picture[0].permute(1, 2, 0) * 255).numpy()
    found = assembled(pyramid, pyramid.num_levels - 1)
    assert np.abs(found.mean((0, 1)) - wanted.mean((0, 1))).max() < 1
    assert np.abs(found - wanted).mean() < 2


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("bit_depth", [8, 16])
def test_what_is_transparent_is_laid_on_white(bit_depth: int, tmp_path: Path) -> None:
    picture = random_image(160, 160).float()
    alpha = picture.new_zeros(1, 1, 160, 160)
    alpha[..., 80:] = 1
    hires.save_image(picture, tmp_path / "a.png", alpha=alpha, bit_depth=bit_depth)
    pyramid = Pyramid(tmp_path / "a.png", tmp_path)
    pyramid.make_base()
    pyramid.make_archive()
    for level in (7, 8):
        found = assembled(pyramid, level)
        assert (found[:, : found.shape[1] // 2 - 8] >= 253).all()
        assert found[:, found.shape[1] // 2 :].mean() < 200


def test_gray_is_shown_gray(tmp_path: Path) -> None:
    Image.new("L", (40, 30), 77).save(tmp_path / "a.png")
    pyramid = Pyramid(tmp_path / "a.png", tmp_path)
    pyramid.make_base()
    assert (assembled(pyramid, 6) == 77).all()


@pytest.mark.usefixtures("_little_memory")
class TestPreview:
    @pytest.fixture
    def pyramid(self, tmp_path: Path) -> Pyramid:
        Image.fromarray(smooth(611, 1033).astype(np.uint8)).save(tmp_path / "a.png")
        return Pyramid(tmp_path / "a.png", tmp_path)

    def test_gives_the_levels_that_it_has_pixels_for(
        self, pyramid: Pyramid, tmp_path: Path
    ) -> None:
        small = tmp_path / "small.jpg"
        whole = Image.fromarray(smooth(611, 1033).astype(np.uint8))
        whole.resize((50, 30), Image.Resampling.BOX).save(small, quality=95)
        pyramid.make_base(small)
        assert pyramid.tile(6, 0, 0) is not None
        assert pyramid.tile(7, 0, 0) is None
        early = assembled(pyramid, 6)
        pyramid.make_base()
        assert np.abs(assembled(pyramid, 6) - early).mean() < 12
        assert pyramid.tile(7, 0, 0) is not None

    def test_of_another_shape_is_left_alone(self, pyramid: Pyramid, tmp_path: Path) -> None:
        Image.fromarray(smooth(100, 100).astype(np.uint8)).save(tmp_path / "small.jpg")
        pyramid.make_base(tmp_path / "small.jpg")
        pyramid.make_base(tmp_path / "missing.jpg")
        assert pyramid.tile(5, 0, 0) is None


def test_a_changed_file_has_other_tiles(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    hires.save_image(random_image(30, 20).float(), path)
    before = Pyramid(path, tmp_path)
    assert before.is_of(path)
    hires.save_image(random_image(40, 20, seed=1).float(), path)
    assert not before.is_of(path)
    assert Pyramid(path, tmp_path).tag != before.tag


@pytest.mark.usefixtures("_little_memory")
def test_one_that_is_cut_short_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    hires.save_image(random_image(300, 400).float(), path)
    path.write_bytes(path.read_bytes()[:-100_000])
    pyramid = Pyramid(path, tmp_path / "cache")
    with pytest.raises(ImageError, match="truncated"):
        pyramid.make_archive()
    assert not pyramid.is_made
    assert [*(tmp_path / "cache").iterdir()] == []


@pytest.mark.usefixtures("_little_memory")
def test_one_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    hires.save_image(random_image(300, 400).float(), path)
    pyramid = Pyramid(path, tmp_path / "cache")
    pyramid.stop()
    pyramid.make_archive()
    assert not pyramid.is_made
    assert not (tmp_path / "cache").exists()


def test_too_many_pixels_are_refused(tmp_path: Path) -> None:
    pyvips.Image.black(60_000, 60_000).pngsave(str(tmp_path / "bomb.png"), compression=9)
    with pytest.raises(ImageError, match="60000x60000 are too many pixels"):
        Pyramid(tmp_path / "bomb.png", tmp_path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_kinds_that_are_decoded_whole_have_fewer(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pyvips.Image.black(300, 200, bands=3).copy(interpretation="srgb")
    image.write_to_file(str(tmp_path / name), **({} if name == "a.webp" else {"interlace": True}))
    Pyramid(tmp_path / name, tmp_path)
    monkeypatch.setattr(module, "MOST_WHOLE", 50_000)
    with pytest.raises(ImageError, match="decoded as a whole; save it as TIFF"):
        Pyramid(tmp_path / name, tmp_path)
    image.write_to_file(str(tmp_path / "plain.png"))
    Pyramid(tmp_path / "plain.png", tmp_path)


def test_archives_that_nobody_looks_at_are_removed(tmp_path: Path) -> None:
    for age, letter in enumerate("abc"):
        path = tmp_path / f"{letter * 40}.zip"
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    (tmp_path / "mine.zip").write_bytes(bytes(1000))
    prune(tmp_path, 250)
    assert sorted(path.name[:2] for path in tmp_path.iterdir()) == ["aa", "bb", "mi"]
    prune(tmp_path / "missing", 0)


def test_damage_in_one_part_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_UNASKED", 0)
    monkeypatch.setattr(module, "_BASE_SIDE", 600)
    path = tmp_path / "a.tif"
    rows, columns = np.indices((1024, 700))
    pixels = np.stack([rows // 4, columns // 3, rows ^ columns], -1).astype(np.uint8)
    Image.fromarray(pixels).save(path, compression="tiff_adobe_deflate", tiffinfo={278: 16})
    Pyramid(path, tmp_path).make_base()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 99] = bytes(99)
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.tif"):
        Pyramid(path, tmp_path).make_base()
