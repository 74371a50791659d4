"""Pictures in CMYK and PDF/X-4, read back by other libraries."""

from __future__ import annotations

import io
import itertools
import re
import struct
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import pytest
import pyvips  # type: ignore[import-untyped]
import tifffile
import torch
from PIL import Image, ImageCms
from press import press_profile, problems_of_pdfx4
from torch import Tensor

from hires.cli import main as cli
from hires.cli.arguments.painting import Plan
from hires.cli.commands.plan import saving_seconds
from hires.config.output import Delivery
from hires.config.paper import Print
from hires.config.run import Config
from hires.errors import ConfigError, ImageError
from hires.image.colour.output import output_profile
from hires.image.decode.headers import read_header
from hires.image.decode.read import load_image
from hires.image.encode.save import check_output, save_image
from hires.runs.planning import plan_job

PAGE = Print(paper="A6", dpi=40, bleed="3mm").layout((300, 200))
INTENTS = {"perceptual": 0, "relative": 1, "saturation": 2, "absolute": 3}


@pytest.fixture
def press(tmp_path: Path) -> str:
    path = tmp_path / "press.icc"
    path.write_bytes(press_profile())
    return str(path)


def soft_colours(height: int = 150, width: int = 90) -> Tensor:
    """Colours that the press has, more rows than one band, (1, 3, H, W)."""
    rows, columns = torch.meshgrid(
        torch.linspace(0.4, 0.95, height), torch.linspace(0.4, 0.95, width), indexing="ij"
    )
    return torch.stack([rows, columns, 1.3 - (rows + columns) / 2])[None]


def save(image: Tensor, path: Path, **options: Any) -> Any:
    """Save, where nothing of ink is to be told."""
    return save_image(image, path, delivery=Delivery(ink_limit=400, **options), dpi=100)


def inks_in(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """(H, W, 4) as another library finds them, 0 to 255."""
    if path.suffix == ".tif":
        if "master" in path.name:
            return np.asarray(tifffile.imread(path) / 257)
        with Image.open(path) as image:
            return np.asarray(image, float)
    if path.suffix == ".jpg":
        with Image.open(path) as image:
            assert image.mode == "CMYK"
            return np.asarray(image, float)
    with pikepdf.open(path) as document:
        (picture,) = (one for _, one in document.pages[0].obj.Resources.XObject.items())
        if str(picture.Filter) == "/FlateDecode":
            shape = int(picture.Height), int(picture.Width), 4
            return np.frombuffer(picture.read_bytes(), np.uint8).reshape(shape).astype(float)
        # What is stored is turned by /Decode; Pillow turns it as well, going by Adobe's mark.
        assert [float(end) for end in picture.Decode] == [1, 0] * 4
        with Image.open(io.BytesIO(picture.read_raw_bytes())) as image:
            assert "adobe" in image.info
            return np.asarray(image, float)


def by_littlecms(image: Tensor, profile: bytes, intent: int, flags: int) -> Any:
    """8-bit inks of a picture, in one step from sRGB."""
    levels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        "RGB",
        "CMYK",
        ImageCms.Intent(intent),
        ImageCms.Flags(flags),
    )
    return np.asarray(ImageCms.applyTransform(Image.fromarray(levels), transform), float)


NAMES = ["lab.tif", "plain.tif", "master.tif", "lab.jpg", "plain.jpg", "lab.pdf", "plain.pdf"]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_holds_the_inks_that_littlecms_finds(
    tmp_path: Path, press: str, name: str
) -> None:
    image, path = soft_colours(), tmp_path / name
    ink = save(image, path, deliver=path.stem, icc=press)
    wanted = by_littlecms(image, press_profile(), 1, 0x2000)
    found = inks_in(path)
    assert np.abs(found - wanted).mean() < (1.5 if "jpg" in name or name == "lab.pdf" else 0.7)
    assert ink.highest == pytest.approx(found.sum(2).max() / 2.55, abs=8)
    header = read_header(path)
    assert (header.space, header.num_channels, header.profile) == ("CMYK", 4, "Test press")
    assert header.bit_depth == (16 if "master" in name else 8)


@pytest.mark.parametrize("name", ["lab.tif", "master.tif", "lab.jpg"])
def test_inks_look_like_the_picture(tmp_path: Path, press: str, name: str) -> None:
    image, path = soft_colours(), tmp_path / name
    save(image, path, deliver=path.stem, icc=press)
    assert (load_image(path) - image).abs().mean() < 1.5 / 255


@pytest.mark.parametrize(
    ("intent", "compensated"),
    [*itertools.product(["perceptual", "relative", "saturation"], [0, 1])],
)
def test_intents_and_black_points_are_those_of_littlecms(
    tmp_path: Path, press: str, intent: str, compensated: int
) -> None:
    image = torch.rand((1, 3, 40, 50), generator=torch.Generator().manual_seed(0)) * 0.6
    options: dict[str, Any] = {"intent": intent, "black_point_compensation": bool(compensated)}
    save(image, tmp_path / "master.tif", deliver="master", icc=press, **options)
    wanted = by_littlecms(image, press_profile(), INTENTS[intent], 0x2000 * compensated)
    other = by_littlecms(image, press_profile(), INTENTS[intent], 0x2000 * (1 - compensated))
    found = inks_in(tmp_path / "master.tif")
    assert np.abs(found - wanted).mean() < 0.8
    assert np.abs(found - other).mean() > 2


def test_a_conversion_keeps_no_pixels(press: str) -> None:
    # libvips stores its last operations: a poster's bands would pile up, 100 at a time.
    output_profile(press).converted(soft_colours()[0])
    assert pyvips.cache_get_size() == 0


def test_absolute_colours_print_the_tint_of_white(tmp_path: Path, press: str) -> None:
    white = torch.ones(1, 3, 8, 8)
    for intent, is_tinted in (("relative", False), ("absolute", True)):
        save(white, tmp_path / "master.tif", deliver="master", icc=press, intent=intent)
        inks = inks_in(tmp_path / "master.tif")[0, 0]
        # The paper is yellowish, so a neutral white needs some cyan on it.
        assert (inks[0] > 20) == is_tinted
        assert inks[1:].max() < 0.1


def test_a_profile_with_one_table_serves_all_intents(tmp_path: Path, press: str) -> None:
    single = tmp_path / "single.icc"
    single.write_bytes(press_profile(num_intents=1))
    for intent, compensated in itertools.product(["perceptual", "relative"], [False, True]):
        options: dict[str, Any] = {"intent": intent, "black_point_compensation": compensated}
        told = "single.icc has no table for the intent relative: colours are converted by"
        with pytest.warns(match=told) if intent == "relative" else nullcontext():
            image, path = soft_colours(8, 8) - 0.4, tmp_path / "a-master.tif"
            save(image, path, deliver="master", icc=str(single), **options)
        save(image, tmp_path / "b-master.tif", deliver="master", icc=press, **options)
        np.testing.assert_array_equal(
            inks_in(tmp_path / "a-master.tif"), inks_in(tmp_path / "b-master.tif")
        )
    with tifffile.TiffFile(tmp_path / "a-master.tif") as file:
        assert file.pages.first.iccprofile == single.read_bytes()


@pytest.mark.parametrize(
    ("num_intents", "made_for", "intent", "is_told"),
    [
        (1, 0, "perceptual", False),
        (1, 0, "relative", True),
        (1, 0, "absolute", True),
        (1, 1, "relative", False),
        (1, 2, "saturation", False),
        (2, 0, "saturation", True),
        (2, 0, "absolute", False),
        (3, 0, "saturation", False),
    ],
)
def test_an_intent_without_a_table_is_told(
    tmp_path: Path, num_intents: int, made_for: int, intent: Any, is_told: bool
) -> None:
    data = press_profile(num_intents=num_intents)
    path = tmp_path / "press.icc"
    path.write_bytes(data[:64] + struct.pack(">I", made_for) + data[68:])
    problem = output_profile(str(path), intent=intent).problem
    assert (problem is not None) == is_told
    assert problem is None or f"press.icc has no table for the intent {intent}" in problem


def test_total_ink_is_told_with_its_place(tmp_path: Path, press: str) -> None:
    image = soft_colours()
    image[..., 100:120, 30:50] = 0.2
    image[..., 110, 40] = 0
    delivery = Delivery(deliver="lab", icc=press, black_point_compensation=False)
    with pytest.warns(UserWarning, match="total ink") as told:
        ink = save_image(image, tmp_path / "out.tif", delivery=delivery)
    assert ink is not None
    assert (ink.place, ink.box, ink.num_over) == ((110, 40), (100, 30, 119, 49), 400)
    assert ink.highest == pytest.approx(400, abs=0.1)
    message = str(told[0].message)
    assert re.search(r"out\.tif: total ink is 400% at x=40, y=110, above 300% in 3% of", message)
    assert "x 30 to 49, y 100 to 119" in message
    assert str(ink) == "total ink 400% at most"
    with warnings.catch_warnings(action="error"):
        assert save(image, tmp_path / "out.tif", icc=press).problem() is None
        assert save_image(image, tmp_path / "out.tif") is None


def test_inks_have_no_alpha(tmp_path: Path, press: str) -> None:
    image, alpha = torch.full((1, 3, 80, 32), 0.5), torch.ones(1, 1, 80, 32)
    alpha[..., 16:] = 0
    delivery = Delivery(icc=press)
    with pytest.warns(UserWarning, match="CMYK has no alpha; laid on white"):
        save_image(image, tmp_path / "out.tif", alpha=alpha, delivery=delivery)
    inks = inks_in(tmp_path / "out.tif")
    assert inks.shape == (80, 32, 4)
    assert inks[:, 16:].max() == 0
    assert inks[:, :16].sum(2).min() > 50


def test_white_margins_stay_free_of_ink(tmp_path: Path, press: str) -> None:
    layout = Print(paper="A6", dpi=40, fit="pad").layout((100, 100))
    delivery = Delivery(deliver="lab", icc=press)
    save_image(
        torch.full((1, 3, *layout.painted), 0.5),
        tmp_path / "out.tif",
        layout=layout,
        delivery=delivery,
    )
    inks = inks_in(tmp_path / "out.tif")
    assert inks[: layout.offset[0]].max() == 0
    assert inks[layout.offset[0]].max() > 50


# PDF/X-4


@pytest.mark.parametrize("deliver", ["lab", "plain"])
@pytest.mark.parametrize("xmp", [None, b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'])
def test_pdfx4_is_what_the_standard_asks_for(
    tmp_path: Path, press: str, deliver: str, xmp: bytes | None
) -> None:
    path = tmp_path / "poster (ü).pdf"
    delivery = Delivery(deliver=deliver, icc=press, pdfx=4)  # type: ignore[arg-type]
    save_image(soft_colours(*PAGE.painted), path, layout=PAGE, delivery=delivery, xmp=xmp)
    assert problems_of_pdfx4(path) == []
    header = read_header(path)
    assert (header.pdfx, header.space, header.profile) == ("PDF/X-4", "CMYK", "Test press")
    assert (header.page, header.trim) == ((154.0, 111.0), (148.0, 105.0))
    with pikepdf.open(path) as document:
        assert str(document.docinfo.Title) == "poster (ü)"


def test_an_ordinary_pdf_is_no_pdfx(tmp_path: Path, press: str) -> None:
    path = tmp_path / "out.pdf"
    save_image(soft_colours(), path, dpi=100, delivery=Delivery(icc=press))
    assert read_header(path).pdfx is None
    assert {"no metadata", "one output intent", "colours of the press"} <= {
        *problems_of_pdfx4(path)
    }


SPOILT = {
    "trapped": lambda d: d.docinfo.__setitem__("/Trapped", pikepdf.Name.Unknown),
    "same title": lambda d: d.docinfo.__setitem__("/Title", "another"),
    "same dates": lambda d: d.docinfo.__delitem__("/ModDate"),
    "no metadata": lambda d: d.Root.__delitem__("/Metadata"),
    "one output intent": lambda d: d.Root.__delitem__("/OutputIntents"),
    "info": lambda d: d.Root.OutputIntents[0].__delitem__("/Info"),
    "number of inks": lambda d: d.Root.OutputIntents[0].DestOutputProfile.__setitem__("/N", 3),
    "boxes nest": lambda d: d.pages[0].obj.TrimBox.__setitem__(0, -1),
    "no unit": lambda d: d.pages[0].obj.__setitem__("/UserUnit", 2),
}


@pytest.mark.parametrize("matter", SPOILT)
def test_the_check_itself_finds_what_is_wrong(tmp_path: Path, press: str, matter: str) -> None:
    path = tmp_path / "out.pdf"
    save_image(soft_colours(), path, dpi=100, delivery=Delivery(icc=press, pdfx=4))
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        SPOILT[matter](document)
        document.save(path, fix_metadata_version=False)
    assert matter in problems_of_pdfx4(path)


def test_an_rgb_printer_is_a_press_too(tmp_path: Path) -> None:
    data = output_profile("srgb").data
    assert data is not None
    (tmp_path / "printer.icc").write_bytes(data.replace(b"mntrRGB ", b"prtrRGB ", 1))
    path = tmp_path / "out.pdf"
    delivery = Delivery(icc=str(tmp_path / "printer.icc"), pdfx=4)
    assert save_image(soft_colours(), path, dpi=100, delivery=delivery) is None
    assert problems_of_pdfx4(path) == []


def test_the_date_can_be_given(tmp_path: Path, press: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    delivery = Delivery(deliver="lab", icc=press, pdfx=4)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_image(soft_colours(), tmp_path / folder / "out.pdf", dpi=100, delivery=delivery)
    first = (tmp_path / "a" / "out.pdf").read_bytes()
    assert first == (tmp_path / "b" / "out.pdf").read_bytes()
    assert b"/CreationDate (D:20231114221320+00'00')" in first


def test_inspect_tells_of_press_and_options(
    tmp_path: Path, press: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(soft_colours(80, 80), tmp_path / "in.png")
    path = str(tmp_path / "out.pdf")
    argv = ["stylize", str(tmp_path / "in.png"), str(tmp_path / "in.png"), "-o", path]
    argv += ["--size", "64", "--min-size", "64", "--iterations", "1", "--no-run-dir"]
    argv += ["--dpi", "100", "--icc", press, "--pdfx", "4", "--no-black-point-compensation"]
    assert cli.main([*argv, "--ink-limit", "400"]) == 0
    assert re.search(r"out\.pdf: 64x64, total ink \d+% at most, painted", capsys.readouterr().out)
    assert problems_of_pdfx4(Path(path)) == []
    assert cli.main(["inspect", path]) == 0
    told = capsys.readouterr().out
    assert "PDF/X-4, 64x64 px, 8 bit, CMYK, 99.98 dpi" in told
    assert "Test press" in told
    assert "--no-black-point-compensation --ink-limit 400 --pdfx 4" in told


def test_the_probe_of_a_plan_warns_of_no_ink(tmp_path: Path, press: str) -> None:
    photograph = str(tmp_path / "in.png")
    save_image(soft_colours(80, 80) * 0.2, photograph)
    job = Plan(
        content=photograph,
        styles=(photograph,),
        output=str(tmp_path / "out.tif"),
        config=Config(size=64, min_size=64),
        delivery=Delivery(icc=press),
    )
    assert saving_seconds(plan_job(job)) > 0  # warnings are errors here
    with pytest.warns(UserWarning, match="total ink"):
        plan_job(job).save(load_image(photograph), tmp_path / "out.tif")


# What cannot be delivered


def test_presses_and_formats_that_do_not_go_together(tmp_path: Path, press: str) -> None:
    display = tmp_path / "display.icc"
    display.write_bytes(output_profile("srgb").data or b"")
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("out.png", {"icc": press}, "PNG holds no CMYK; use .tif, .jpg or .pdf"),
        ("out.webp", {"icc": press}, "WebP holds no CMYK"),
        ("out.tif", {"icc": press, "pdfx": 4}, "`pdfx` is for a PDF; use .pdf"),
        ("out.pdf", {"icc": str(display), "pdfx": 4}, "is no profile of a press"),
    ]
    for name, options, message in cases:
        with pytest.raises(ImageError, match=re.escape(message)) as before:
            check_output(tmp_path / name, dpi=100, delivery=Delivery(**options))
        with pytest.raises(ImageError) as after:
            save_image(soft_colours(), tmp_path / name, dpi=100, delivery=Delivery(**options))
        assert str(after.value) == str(before.value)
    delivery = Delivery(icc=press, pdfx=4)
    with pytest.raises(ImageError, match="no pages above 5080 mm"):
        save_image(torch.zeros(1, 3, 8, 300), tmp_path / "out.pdf", dpi=1, delivery=delivery)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".icc", ".icc"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pdfx": 4}, "`pdfx=4` says which press the file is for"),
        ({"pdfx": 3, "icc": "a.icc"}, "`pdfx` is '3': choose one of 4"),
        ({"intent": "perceptual"}, "`intent` is for `icc=PROFILE.icc`"),
        ({"black_point_compensation": False}, "`black_point_compensation=False` is for `icc=P"),
        ({"ink_limit": 280}, "`ink_limit` is for `icc=PROFILE.icc`"),
        ({"ink_limit": 40, "icc": "a.icc"}, "`ink_limit` is 40: give percent from 100 to 400"),
        ({"intent": "nice", "icc": "a.icc"}, "choose one of relative, perceptual, saturation"),
        ({"compression": "zip"}, "`compression` is 'zip': choose one of auto, none, lzw"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Delivery(**options)
