"""A picture that does not fit the memory is refused in one line, wherever the memory runs out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips  # type: ignore[import-untyped]
import tifffile
from conftest import random_image, refusal
from PIL import Image

from hires.cli.exits import mendable
from hires.errors import ImageError
from hires.image.decode.read import read_picture
from hires.image.encode.save import save_image

TORCH = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
PILLOW = OSError("out of memory when reading image file")


def libvips(message: str) -> Exception:
    error: Exception = pyvips.Error("", message)
    return error


def files(folder: Path) -> dict[str, Path]:
    """A picture of each kind that is read in a way of its own."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    picture = Image.fromarray(noise)
    found = {kind: folder / f"in.{kind}" for kind in ("jpg", "png", "jp2")}
    for path in found.values():
        picture.save(path)
    found["cut"] = folder / "cut.jpg"
    found["cut"].write_bytes(found["jpg"].read_bytes()[:-2])
    clear, turned, floats = (folder / name for name in ("a.png", "turned.jpg", "floats.tif"))
    cut_out = picture.convert("RGBA")
    cut_out.putpixel((3, 3), (0, 0, 0, 0))
    cut_out.save(clear)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(turned, exif=exif)
    tifffile.imwrite(floats, (noise / 255).astype(np.float32), photometric="rgb")
    return found | {"clear": clear, "turned": turned, "floats": floats}


@pytest.mark.parametrize(
    ("kind", "place", "error"),
    [
        ("jpg", "hires.image.decode.read.torch.empty", TORCH),
        ("jpg", "hires.image.bands.np.empty", MemoryError()),
        ("jpg", "hires.image.decode.read.to_srgb", MemoryError()),
        ("jpg", "pyvips.Image.rawsave_target", libvips("out of memory --- size == 48MB")),
        ("jpg", "pyvips.Image.rawsave_target", libvips("glib: Error creating thread: Resource")),
        (
            "png",
            "hires.image.decode.read.opened",
            libvips("VipsJpeg: Insufficient memory"),
        ),
        ("cut", "pathlib.Path.read_bytes", MemoryError()),
        ("turned", "pyvips.Image.copy_memory", libvips("out of memory --- size == 48MB")),
        ("clear", "hires.image.decode.read.fill_hidden", TORCH),
        ("jp2", "hires.image.decode.pillow.Image.open", PILLOW),
        ("jp2", "hires.image.decode.pillow.np.empty", MemoryError()),
        ("jp2", "hires.image.decode.pillow.np.asarray", MemoryError()),
        ("floats", "hires.image.decode.value_ranges.np.zeros", MemoryError()),
        ("floats", "hires.image.decode.value_ranges.np.isfinite", MemoryError()),
    ],
)
def test_wherever_it_runs_out(
    tmp_path: Path, kind: str, place: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise error

    path = files(tmp_path)[kind]
    monkeypatch.setattr(place, full)
    with pytest.raises(ImageError, match=r"not fit the memory; shrink it$") as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"cannot read {path}: ")


@pytest.mark.parametrize(
    "argv",
    [
        ["stylize", "in.png", "in.png", "-o", "out.png", "--size", "32"],
        ["plan", "in.png", "in.png", "-o", "out.png", "--size", "32"],
        ["apply", "impasto", "in.png", "-o", "out.png"],
        ["train", "in.png", "--images", "photos", "-o", "out.safetensors"],
    ],
)
def test_of_each_command_it_is_one_line(
    argv: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("in.png", "photos/one.png"):
        save_image(random_image(64, 64), name)
    before = {*tmp_path.rglob("*")}
    monkeypatch.setattr("hires.image.decode.read.to_srgb", full)
    assert refusal(argv, capsys) == (
        "hires: cannot read in.png: it does not fit the memory; shrink it\n"
    )
    assert {*tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("stylize", {"--memory", "--size", "--dpi"}),
        ("plan", {"--memory", "--size", "--dpi"}),
        ("apply", {"--memory"}),
        ("train", {"--batch-size", "--crop"}),
        ("bench", {"--sizes"}),
        ("doctor", set()),
    ],
)
def test_the_advice_names_options_of_the_command(command: str, options: set[str]) -> None:
    problem = mendable(MemoryError(), command)
    assert problem is not None
    assert problem.startswith("out of memory: ")
    assert {word.strip(",:;)") for word in problem.split() if word.startswith("--")} == options


FULL = """
import resource, sys
from hires.errors import ImageError
from hires.image.decode.read import read_picture
read_picture(sys.argv[1])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 24 * 2**20, -1))
try:
    read_picture(sys.argv[2])
except ImageError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_full_machine(tmp_path: Path) -> None:
    for name, side in (("small", 64), ("large", 4096)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{name}.jpg")
    command = [
        sys.executable,
        "-c",
        FULL,
        *(str(tmp_path / f"{x}.jpg") for x in ("small", "large")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("17 megapixels do not fit the memory; shrink it\n")
