"""What a file holds or says beside its picture: told once by a command, and by ``inspect``."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips  # type: ignore[import-untyped]
import tifffile
from conftest import COMPACT_SHAPE, random_image, random_weights, refusal
from forward_models import STYLE, write_random_model
from numpy.typing import NDArray
from pictures import gradient, png
from PIL import Image
from torch import Tensor

from hires.cli import main as cli
from hires.engine.objective import Objective
from hires.errors import ImageError, SaveError
from hires.features.checkpoints import write_checkpoint
from hires.feedforward import training as forward_training
from hires.feedforward.photographs import Photographs
from hires.image.decode.attribution import read_authorship
from hires.image.decode.headers import read_header
from hires.image.decode.read import read_picture
from hires.image.decode.stored import picture_size
from hires.image.encode.save import save_image
from hires.image.formats.kinds import READABLE
from hires.image.libvips import forget_messages

Array = NDArray[Any]
PAGES = "content.tif: it holds 2 pictures; the first is taken"
CHANNEL = "content.tif: its further channel is not said to be alpha; taken for it"
CODE = "style.png: its colour space (cICP 77 13 0 1) is unknown; taken for sRGB"


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pictures() -> None:
    """A content picture of which two things are told, and a style of which one is."""
    channels = np.dstack([gradient(), np.full((96, 128), 255, np.uint8)])
    with tifffile.TiffWriter("content.tif") as file:
        file.write(channels, photometric="rgb", extrasamples=[0])
        file.write(channels, photometric="rgb", extrasamples=[0])
    png(Path("style.png"), gradient(), {b"cICP": bytes([77, 13, 0, 1])})


@pytest.fixture
def network() -> None:
    weights = random_weights(COMPACT_SHAPE)
    write_checkpoint(Path("tiny.safetensors"), COMPACT_SHAPE, weights, {"licence": "none"})


# Once


WORDS = ("content.tif", "style.png", "--features", "tiny.safetensors", "--size", "64")
RUN = ("--iterations", "2", "--precision", "fp32", "--quiet")


def told(argv: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a command says on stderr, line by line."""
    capsys.readouterr()
    assert cli.main(argv) == 0
    lines = capsys.readouterr().err.splitlines()
    return sorted(line.removeprefix("hires: warning: ") for line in lines)


@pytest.mark.filterwarnings("always")
@pytest.mark.usefixtures("pictures", "network")
@pytest.mark.parametrize("paper", [(), ("--print", "10x10cm", "--dpi", "20")])
def test_a_run_tells_once(paper: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS[:4], *(paper or WORDS[4:]), *RUN]
    assert told(["stylize", *words, "-o", "out.png"], capsys) == [PAGES, CHANNEL, CODE]
    assert told(["plan", *words], capsys) == [PAGES, CHANNEL, CODE]


@pytest.mark.filterwarnings("always")
@pytest.mark.usefixtures("pictures", "network")
def test_resuming_tells_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, calls = Objective.__call__, itertools.count(1)

    def interrupted(self: Objective, canvas: Tensor) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(self, canvas)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "__call__", interrupted)
        assert cli.main(["stylize", *WORDS, *RUN, "-o", "out.png"]) == 130
    assert told(["resume", "out.run", "--quiet"], capsys) == [PAGES, CHANNEL, CODE]


@pytest.mark.filterwarnings("always")
@pytest.mark.usefixtures("pictures")
def test_applying_tells_once(capsys: pytest.CaptureFixture[str]) -> None:
    write_random_model(Path("model.safetensors"))
    argv = ["apply", "model.safetensors", "content.tif", "style.png", "-o", "out"]
    assert told([*argv, "--precision", "fp32", "--quiet"], capsys) == [PAGES, CHANNEL, CODE]


@pytest.mark.filterwarnings("always")
@pytest.mark.usefixtures("pictures", "network")
def test_training_tells_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(forward_training, "design_of", lambda _: STYLE)
    Path("photos").mkdir()
    Path("content.tif").rename("photos/content.tif")
    argv = ["train", "style.png", "--images", "photos", "-o", "my.safetensors", "--quiet"]
    options = ["--steps", "2", "--batch-size", "1", "--crop", "64"]
    found = told([*argv, *options, "--features", "tiny.safetensors"], capsys)
    assert found == [f"photos/{PAGES}", f"photos/{CHANNEL}", CODE]


@pytest.mark.usefixtures("pictures")
def test_only_reading_warns() -> None:
    assert picture_size("content.tif") == (96, 128)
    assert not read_authorship("content.tif")
    with warnings.catch_warnings(record=True, action="always") as caught:
        read_picture("content.tif")
    assert [str(one.message) for one in caught] == [PAGES, CHANNEL]
    assert {one.filename for one in caught} == {__file__}


# ``inspect``


def inspected(path: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str], Any]:
    """The line about a file, its notes, and the facts as JSON; nothing is said on stderr."""
    assert cli.main(["inspect", path]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert cli.main(["inspect", path, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["file"]
    notes = [line.removeprefix("note     ") for line in lines if line.startswith("note ")]
    assert notes == facts["notes"]
    return lines[0].removeprefix(f"file     {path}: "), notes, facts


@pytest.mark.parametrize(
    ("ending", "kind"),
    [(".avif", "AVIF"), (".bmp", "BMP"), (".jp2", "JPEG 2000"), (".webp", "WebP"), (".gif", "GIF")],
)
def test_kinds_by_their_names(ending: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(gradient()).save(f"in{ending}")
    line, notes, facts = inspected(f"in{ending}", capsys)
    assert line == f"{kind}, 128x96 px, 8 bit, no colour profile"
    assert (facts["format"], facts["channels"], notes) == (kind, 3, [])


V = gradient() / 255.0


@pytest.mark.parametrize(
    ("pixels", "options", "line"),
    [
        (gradient(), {"photometric": "rgb"}, "8 bit"),
        (gradient().astype(np.uint16) * 257, {"photometric": "rgb"}, "16 bit"),
        (V.astype(np.float16), {"photometric": "rgb"}, "16 bit float"),
        (V.astype(np.float32), {"photometric": "rgb"}, "32 bit float"),
        (gradient(), {"photometric": "cielab"}, "8 bit, CIELAB"),
        (gradient().astype(np.uint16) * 257, {"photometric": "cielab"}, "16 bit, CIELAB"),
        (np.dstack([gradient(), V[..., :1]]), {"photometric": "separated"}, "32 bit float, CMYK"),
    ],
)
def test_the_depth_of_a_tiff(
    pixels: Array, options: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if options["photometric"] == "separated":
        pixels = pixels.astype(np.float32)
    tifffile.imwrite("in.tif", pixels, **options)
    found, notes, facts = inspected("in.tif", capsys)
    assert found == f"TIFF, 128x96 px, {line}, no colour profile"
    assert (facts["bit_depth"], facts["float"]) == (int(line.split()[0]), "float" in line)
    assert (facts["channels"], facts["alpha"], notes) == (pixels.shape[2], False, [])


INKS = np.dstack([255 - gradient(), np.zeros((96, 128), np.uint8)])
OPAQUE = np.full((96, 128), 255, np.uint8)


@pytest.mark.parametrize(
    ("colours", "extra", "line", "notes"),
    [
        (INKS, [], "CMYK", []),
        (INKS, [0], "CMYK", ["1 further channel, such as a spot colour, not read"]),
        (INKS, [0, 0], "CMYK", ["2 further channels, such as a spot colour, not read"]),
        (INKS, [2], "CMYK, with alpha", []),
        (INKS, [0, 2], "CMYK, with alpha", ["1 further channel, such as a spot colour, not read"]),
        (gradient(), [2], "with alpha", []),
        (gradient(), [0, 2], "with alpha", ["1 further channel, such as a spot colour, not read"]),
        (gradient(), [2, 0], "with alpha", ["1 further channel, such as a spot colour, not read"]),
    ],
)
def test_further_channels(
    colours: Array,
    extra: list[int],
    line: str,
    notes: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    channels, kind = np.dstack([colours, *[OPAQUE] * len(extra)]), colours.shape[2]
    photometric: Any = "separated" if kind == 4 else "rgb"
    tifffile.imwrite("in.tif", channels, photometric=photometric, extrasamples=extra)
    found, told, facts = inspected("in.tif", capsys)
    assert found == f"TIFF, 128x96 px, 8 bit, {line}, no colour profile"
    assert told == notes
    assert (facts["channels"], facts["alpha"]) == (kind + len(extra), 2 in extra)


def test_thumbnails_and_pages(capsys: pytest.CaptureFixture[str]) -> None:
    small = gradient()[::4, ::4]
    with tifffile.TiffWriter("page.tif") as file:
        file.write(small, photometric="rgb", subfiletype=1)
        file.write(gradient(), photometric="rgb")
    with tifffile.TiffWriter("within.tif") as file:
        file.write(small, photometric="rgb", subfiletype=1, subifds=2)
        file.write(small, photometric="rgb", subfiletype=1)
        file.write(gradient(), photometric="rgb")
    with tifffile.TiffWriter("before.tif") as file:
        file.write(gradient(), photometric="rgb", subifds=1)
        file.write(small, photometric="rgb", subfiletype=1)
    one, two = "1 thumbnail or mask", "2 thumbnails or masks"
    wanted = {
        "page.tif": ["its picture is page 2", f"{one} beside the picture"],
        "within.tif": ["its picture is subdirectory 2 of page 1", f"{two} beside the picture"],
        "before.tif": [f"{one} beside the picture"],
    }
    for name, notes in wanted.items():
        line, found, _ = inspected(name, capsys)
        assert line.startswith("TIFF, 128x96 px")
        assert found == notes


@pytest.mark.usefixtures("pictures")
def test_what_reading_tells_is_inspected_too(capsys: pytest.CaptureFixture[str]) -> None:
    for name, notes in (("content.tif", [PAGES, CHANNEL]), ("style.png", [CODE])):
        assert inspected(name, capsys)[1] == [note.partition(": ")[2] for note in notes]


# Names that are no text


def odd(name: bytes) -> Path:
    return Path(os.fsdecode(name))


def test_a_damaged_file_with_a_name_in_latin_1(capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(gradient()).save("whole.avif")
    path = odd(b"gr\xfcn.avif")
    path.write_bytes(Path("whole.avif").read_bytes()[:200])
    with pytest.raises(ImageError, match="it is truncated, damaged or of a rare kind \\(heif: "):
        read_picture(path)
    assert "cannot read gr\\udcfcn.avif: it is truncated" in refusal(["inspect", str(path)], capsys)
    # What was said of it stays with it.
    assert not read_authorship(path)
    path.write_bytes(b"GIF89a")
    with pytest.raises(ImageError) as raised:
        read_picture(path)
    assert "heif" not in str(raised.value)


def test_messages_that_are_no_text_are_forgotten() -> None:
    with pytest.raises(UnicodeDecodeError):
        pyvips.Image.black(9, 9).pngsave(b"no/gr\xfcn.png")
    forget_messages()
    assert pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()) == b""


def test_saving_under_a_name_in_latin_1(monkeypatch: pytest.MonkeyPatch) -> None:
    target = odd(b"gr\xfcn.png")
    save_image(random_image(8, 8), target)
    before = target.read_bytes()

    def full(*_: object, **__: object) -> None:
        pyvips.Image.black(9, 9).pngsave(b"no/gr\xfcn.png")

    monkeypatch.setattr("hires.image.encode.save.encode", full)
    with pytest.raises(SaveError, match="No such file or directory"):
        save_image(random_image(8, 8), target)
    assert target.read_bytes() == before


def test_a_name_in_latin_1_is_printed() -> None:
    path = odd(b"gr\xfcn.png")
    save_image(random_image(8, 8), path)
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-m", "hires", "inspect", str(path)]
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("file     gr\\udcfcn.png: PNG, 8x8 px")


# Folders


def test_folders_hold_all_that_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    Path("in").mkdir()
    picture = Image.fromarray(gradient()).resize((160, 160))
    endings = [".jpe", ".jfif", ".avif", ".gif", ".bmp", ".jp2", ".j2k", ".jpx"]
    for ending in endings:
        picture.save(f"in/{ending[1:]}{ending.upper()}")
    heic = b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(300)
    for ending in (".heic", ".heif", ".hif"):
        Path(f"in/{ending[1:]}{ending}").write_bytes(heic)
    assert {*endings, ".heic", ".heif", ".hif"} <= {*READABLE}
    write_random_model(Path("model.safetensors"))
    argv = ["apply", "model.safetensors", "in", "-o", "out", "--precision", "fp32", "--quiet"]
    assert cli.main(argv) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2] for line in lines[:3]] == [
        f"cannot read in/{name}.{name}: it is HEIC, which needs pip install pillow-heif; or save it"
        " as JPEG or PNG"
        for name in ("heic", "heif", "hif")
    ]
    assert lines[3:] == ["hires: 3 of 11 pictures could not be made"]
    assert sorted(path.stem for path in Path("out").iterdir()) == sorted(e[1:] for e in endings)


def test_heic_of_a_training_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    Path("in").mkdir()
    save_image(random_image(64, 64), "in/a.png")
    Path("in/b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(300))
    photographs = Photographs([Path("in")], seed=0)
    photographs.batch(4, 32)
    (reason,) = photographs.skipped.values()
    assert "HEIC, which needs pip install pillow-heif" in reason
    assert photographs.passed_over == ""


def test_a_header_is_read_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(gradient()).save("in.png")
    assert read_header(Path("in.png")).notes == ()
    assert capsys.readouterr() == ("", "")
