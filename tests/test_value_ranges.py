"""What the floats of a file mean: decided on all of it, whatever few pixels and windows hold."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips  # type: ignore[import-untyped]
import tifffile
import torch
from numpy.typing import NDArray

from hires.config.paper import Window
from hires.errors import ImageError
from hires.image.bands import read_bands
from hires.image.colour.profiles import D65, SRGB_PRIMARIES, matrix_profile, sampled_curve
from hires.image.decode.read import read_picture

Array = NDArray[Any]
HEIGHT, WIDTH = 200, 150
WINDOW = Window(130, 20, 37, 41)


def ramp(height: int = HEIGHT, width: int = WIDTH) -> Array:
    """Dark at the top, bright at the bottom, (H, W, 3) in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width] / np.reshape([height, width], (2, 1, 1))
    colours: Array = np.stack([y, y * x, 1 - x / 2], -1) * y[..., None]
    return colours


def saved(path: Path, values: Array, **options: Any) -> Path:
    tifffile.imwrite(path, values.astype(np.float32), photometric="rgb", **options)
    return path


def colours(path: Path, **options: Any) -> Array:
    found: Array = read_picture(path, **options).pixels[0].permute(1, 2, 0).numpy()
    return found


def with_strays(share: float, value: float) -> Array:
    values = ramp()
    count = round(share * HEIGHT * WIDTH)
    values.reshape(-1, 3)[np.random.default_rng(0).permutation(HEIGHT * WIDTH)[:count]] = value
    return values


# A window is read as it is in the whole picture


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    "values",
    [
        ramp(),
        ramp() * 1.1 - 0.05,
        np.rint(ramp() * 255),
        np.rint(ramp() * 65535),
        (ramp() ** 2.2) * 8,
        with_strays(0.00004, 50),
    ],
    ids=["sRGB", "excursions", "255", "65535", "linear light", "strays"],
)
@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_a_window_is_read_as_in_the_whole(
    tmp_path: Path, values: Array, tile: tuple[int, int] | None, orientation: int
) -> None:
    # Only the last rows hold what decides: no window here sees it.
    tags = [(274, "H", 1, orientation, True)]
    path = saved(tmp_path / "in.tif", values, tile=tile, extratags=tags)
    whole = read_picture(path).pixels
    for window in (WINDOW, Window(0, 0, 9, 7)):
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        if orientation == 6 and window is WINDOW:
            rows, columns = columns, rows
            window = Window(WINDOW.left, WINDOW.top, WINDOW.width, WINDOW.height)
        assert torch.equal(read_picture(path, window=window).pixels, whole[..., rows, columns])


def test_a_window_warns_of_the_whole_once(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    with tifffile.TiffWriter(path) as file:
        for _ in range(2):
            file.write((ramp() ** 2.2 * 8).astype(np.float32), photometric="rgb")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        read_picture(path, window=Window(0, 0, 9, 7))
    light, pages = sorted(str(warning.message).split(": ", 1)[1] for warning in found)
    assert pages == "it holds 2 pictures; the first is taken"
    assert "up to 7.91; taken for linear light" in light


# Few pixels beyond


@pytest.mark.parametrize(
    ("share", "value"), [(0.00004, 1.2), (0.00004, 50), (0.00004, -3), (0.0008, 1.5), (0.0008, -1)]
)
def test_few_pixels_beyond_are_clipped(tmp_path: Path, share: float, value: float) -> None:
    values = with_strays(share, value)
    path = saved(tmp_path / "in.tif", values)
    count = round(share * HEIGHT * WIDTH)
    low, high = min(value, 0), max(value, float(values[values <= 1].max()))
    told = f"{count} of its 30000 pixels are beyond [0, 1], from {low:.3g} to {high:.3g}; clipped"
    with pytest.warns(UserWarning, match=re.escape(told)):
        found = colours(path)
    np.testing.assert_allclose(found, values.clip(0, 1), rtol=0, atol=1 / 65535)


@pytest.mark.parametrize(("share", "value"), [(0.0005, 50), (0.002, 1.2), (0.002, 50)])
def test_lamps_are_light(tmp_path: Path, share: float, value: float) -> None:
    values = with_strays(share, value)
    path = saved(tmp_path / "in.tif", values)
    told = f"{round(share * 30000)} of its 30000 pixels .* up to {value:.3g}; taken for linear"
    with pytest.warns(UserWarning, match=told):
        found = colours(path)
    middle = np.abs(values - 0.18).max(-1) < 0.1
    assert bool((found[middle] > values[middle]).all())  # coded: brighter than light


def test_all_but_a_thousandth_of_the_luminances_stays_below_white(tmp_path: Path) -> None:
    values = np.random.default_rng(1).lognormal(-1, 2, (300, 200, 1)).repeat(3, -1)
    path = saved(tmp_path / "in.tif", values)
    with pytest.warns(UserWarning, match="linear light"):
        found = colours(path)[..., 0]
    light = values[..., 0].astype(np.float32).astype(np.float64)
    white = np.quantile(light, 0.999)
    light = (light * (1 + light / white**2) / (1 + light)).clip(0, 1)
    wanted = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.0005)
    assert float((found == 1).mean()) < 0.0011  # Those next to white are rounded to it.


def test_gray_light_and_its_alpha(tmp_path: Path) -> None:
    light = ramp()[..., :1] ** 2 * 9
    alpha = np.full_like(light, 0.5)
    gray, colour = tmp_path / "gray.tif", tmp_path / "colour.tif"
    stored = np.concatenate([light, alpha], -1).astype(np.float32)
    tifffile.imwrite(gray, stored, photometric="minisblack", extrasamples=["unassalpha"])
    saved(colour, light.repeat(3, -1))
    with pytest.warns(UserWarning, match="linear light"):
        found = read_picture(gray)
    with pytest.warns(UserWarning, match="linear light"):
        wanted = read_picture(colour)
    torch.testing.assert_close(found.pixels, wanted.pixels, rtol=0, atol=1.5 / 65535)
    assert found.alpha is not None
    torch.testing.assert_close(
        found.alpha, torch.full_like(found.alpha, 0.5), rtol=0, atol=1 / 65535
    )


def test_deep_negatives_are_no_light(tmp_path: Path) -> None:
    values = ramp() * 8
    values[:, :2] = -4
    with pytest.raises(ImageError, match=r"from -4 to .*; scale them to \[0, 1\]"):
        read_picture(saved(tmp_path / "in.tif", values))
    values[:, :2] = 0
    values[0, 0] = -4  # One pixel alone is black.
    with pytest.warns(UserWarning, match="linear light"):
        assert float(colours(saved(tmp_path / "in.tif", values))[0, 0].max()) == 0


@pytest.mark.parametrize("power", [1, 2.2])
def test_light_with_a_profile_is_coded_once(tmp_path: Path, power: float) -> None:
    """What programs save in 32 bit has a linear profile: it must not be applied to coded light."""
    curve = sampled_curve(np.linspace(0, 1, 4096) ** power)
    profile = matrix_profile("of light", SRGB_PRIMARIES, curve, white=D65)
    light = ramp() ** 2.2 * 8
    plain = saved(tmp_path / "plain.tif", light)
    path = saved(tmp_path / "in.tif", light, iccprofile=profile)
    with pytest.warns(UserWarning, match="linear light"):
        wanted = colours(plain)
    with pytest.warns(UserWarning, match="linear light"):
        found = colours(path)
    assert float(np.abs(found - wanted).mean()) < (0.002 if power == 1 else 0.02)


# Bands


@pytest.mark.parametrize("shape", [(1, 1, 1), (64, 3, 3), (131, 37, 4), (65, 9000, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_bands_are_the_picture(shape: tuple[int, int, int], kind: type[Any]) -> None:
    values = np.random.default_rng(0).integers(0, 255, shape).astype(kind)
    found = np.zeros_like(values)
    tops = []
    for top, band in read_bands(pyvips.Image.new_from_array(values)):
        tops.append(top)
        found[top : top + len(band)] = band
    np.testing.assert_array_equal(found, values)
    assert tops == list(range(0, shape[0], 64))


def test_bands_may_be_left_unread() -> None:
    for top, _ in read_bands(pyvips.Image.black(3000, 3000)):
        assert top == 0
        break
    assert not [one for one in threading.enumerate() if one.name.startswith("decoder")]


PEAK = """
import sys, warnings
from hires.image.decode.read import read_picture
from hires.utils.memory import peak_resident_bytes
from hires.utils.memory import resident_bytes
from hires.utils.memory import restart_peak
warnings.simplefilter("ignore")
for path in sys.argv[1:]:
    restart_peak()
    before = resident_bytes()
    height, width = read_picture(path).size
    print((peak_resident_bytes() - before) / (height * width))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
def test_floats_take_little_more_than_their_tensor(tmp_path: Path) -> None:
    small = saved(tmp_path / "small.tif", ramp())
    large = [
        saved(tmp_path / f"{factor}.tif", ramp(4000, 1000) * factor, rowsperstrip=16)
        for factor in (1, 8)
    ]
    command = [sys.executable, "-c", PEAK, *map(str, [small, *large])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, coded, light = map(float, done.stdout.split())
    # 12 bytes of a pixel are the tensor; it was 48, and 79 of linear light.
    assert max(coded, light) < 24
