"""What a file tells of its making, and the commands around paper: papers, inspect, --from."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights, refusal
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import hires
from hires.cli import main as cli
from hires.config.job import PaintJob
from hires.config.output import Delivery
from hires.config.paper import Print
from hires.config.run import Config
from hires.config.settings import job_of, settings_of
from hires.errors import ConfigError
from hires.features.checkpoints import write_checkpoint
from hires.image.decode.headers import read_header
from hires.image.decode.read import read_picture
from hires.image.encode.save import save_image
from hires.image.metadata.authorship import Authorship
from hires.image.metadata.provenance import (
    Input,
    Provenance,
    ProvenanceError,
    from_xmp,
    hashed,
    to_xmp,
)

MADE = Provenance(
    seed=3, settings={"config": {"size": 64}}, inputs=(Input("content", "a.png", "0" * 64),)
)


# The packet

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    settings=st.dictionaries(st.text(), JSON, max_size=4),
    paths=st.lists(st.text(st.characters()), max_size=3),
)
def test_anything_comes_back(settings: dict[str, Any], paths: list[str]) -> None:
    inputs = tuple(Input("style", path, "f" * 64) for path in paths)
    made = Provenance(seed=2**40, settings=settings, inputs=inputs)
    packet = to_xmp(made)
    assert from_xmp(packet) == made
    ElementTree.fromstring(packet)  # well-formed, whatever the paths are called


def test_odd_bytes_in_names_come_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"gr\xfc\xdfe ]]>&<b>\x01.png")
    made = Provenance(seed=0, settings={}, inputs=(Input("content", name, ""),))
    save_image(torch.rand(1, 3, 8, 8), tmp_path / "out.jpg", xmp=to_xmp(made))
    assert from_xmp(read_header(tmp_path / "out.jpg").xmp) == made


def test_editors_may_turn_elements_into_attributes() -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:h="urn:hires:provenance:1#" xmlns:rdf='
        b'"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:RDF><rdf:Description rdf:about=""/>'
        b'<rdf:Description h:version="9" h:seed="5" h:inputs="[]"><h:settings>{}</h:settings>'
        b"</rdf:Description></rdf:RDF></x:xmpmeta>\0"
    )
    assert from_xmp(packet) == Provenance(version="9", seed=5, settings={}, inputs=())


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (None, "holds no metadata"),
        (b"", "damaged"),
        (b"\xff\xfe\x00", "damaged"),
        (b"<a/>", "not from a run of hires, so no record of how it was painted"),
        (to_xmp(MADE)[:-60], "damaged"),
        (to_xmp(MADE).replace(b">3<", b">three<"), "damaged (ValueError"),
        (to_xmp(MADE).replace(b"sha256", b"sha1"), "damaged (TypeError"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x/>', "declares entities"),
    ],
)
def test_packets_that_tell_nothing(packet: bytes | None, message: str) -> None:
    with pytest.raises(ProvenanceError) as raised:
        from_xmp(packet)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    assert hashed("content", tmp_path / "a").sha256 == hashlib.sha256(b"one").hexdigest()


def test_jobs_with_paper_come_back_from_json() -> None:
    job = PaintJob(
        content="a.png",
        styles=("b.png",),
        output="c.tif",
        print=Print(paper="A2", dpi=200.0, bleed="3mm"),
        delivery=Delivery(deliver="lab", icc="adobe-rgb"),
        config=Config(seed=4),
    )
    assert job_of(json.loads(json.dumps(settings_of(job)))) == job


# The commands


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a content picture, a style and a tiny feature network."""
    folder = tmp_path_factory.mktemp("studio")
    save_image(random_image(72, 108, seed=1), folder / "content.png")
    save_image(random_image(90, 80, seed=2), folder / "style.png")
    weights = random_weights(COMPACT_SHAPE)
    write_checkpoint(folder / "tiny.safetensors", COMPACT_SHAPE, weights, {"licence": "none"})
    return folder


GIVEN = {"content.png", "style.png", "tiny.safetensors"}


@pytest.fixture(autouse=True)
def work(studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in GIVEN:
        (tmp_path / name).write_bytes((studio / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(*extra: str, output: str = "out.tif") -> list[str]:
    options = ["--features", "tiny.safetensors", "--precision", "fp32"]
    steps = ["--iterations", "2", "--quiet"]
    return ["stylize", "content.png", "style.png", *options, *steps, "-o", output, *extra]


PRINT = ("--print", "A6", "--dpi", "20", "--bleed", "3mm")


def made(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if file.suffix != ".run"} - GIVEN


@pytest.mark.parametrize(
    ("name", "extra", "bits"),
    [
        ("out.tif", ("--deliver", "lab", "--icc", "adobe-rgb"), 8),
        ("out.jpg", ("--deliver", "lab"), 8),
        ("out.pdf", ("--deliver", "lab"), 8),
        ("out.tif", ("--deliver", "master"), 16),
        ("out.png", ("--deliver", "master"), 16),
        ("out.webp", (), 8),
    ],
)
def test_a_print_has_its_exact_pixels_and_tells_its_making(
    work: Path, name: str, extra: tuple[str, ...], bits: int
) -> None:
    assert cli.main(typed(*PRINT, *extra, output=name)) == 0
    header = read_header(Path(name))
    assert header.size == (87, 121)  # 111 mm and 154 mm at 20 dpi
    assert (header.bit_depth, header.num_channels) == (bits, 3)
    assert header.dpi == pytest.approx(20, rel=5e-3)
    told = from_xmp(header.xmp)
    assert told.settings["print"]["paper"] == "A6"
    assert told.settings["config"]["iterations"] == [2]
    assert "output" not in told.settings
    roles = {one.role: one for one in told.inputs}
    assert roles["content"] == hashed("content", "content.png")
    assert set(roles) == {"content", "style", "features"}
    assert made(work) == {name}


def test_pad_paints_the_whole_photograph() -> None:
    argv = typed("--print", "12x12cm", "--dpi", "25.4", "--fit", "pad", "--gravity", "north")
    assert cli.main(argv) == 0
    pixels = read_picture("out.tif").pixels
    assert pixels.shape == (1, 3, 120, 120)
    assert pixels[..., 80:, :].min() == 1
    assert pixels[..., :80, :].mean() < 0.9
    assert cli.main(typed("--print", "12x12cm", "--dpi", "25.4", output="crop.tif")) == 0
    assert read_picture("crop.tif").pixels[..., 80:, :].mean() < 0.9


def test_alpha_is_cropped_with_the_picture() -> None:
    alpha = torch.ones(1, 1, 72, 108)
    alpha[..., :18] = 0  # cut away by the paper's shape
    save_image(random_image(72, 108), "content.png", alpha=alpha)
    assert cli.main(typed("--print", "12x12cm", "--dpi", "20", "--deliver", "master")) == 0
    found = read_picture("out.tif").alpha
    assert found is not None
    assert found.min() == 1


def test_dpi_alone_is_only_told() -> None:
    assert cli.main(typed("--dpi", "180", "--size", "96")) == 0
    header = read_header(Path("out.tif"))
    assert (header.size, header.dpi) == ((64, 96), 180)


def test_no_metadata_leaves_nothing(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(typed("--size", "80", "--no-metadata")) == 0
    assert read_header(Path("out.tif")).xmp is None
    assert b"tiny.safetensors" not in Path("out.tif").read_bytes()
    assert cli.main(["inspect", "out.tif"]) == 0
    assert "painted  unknown: it holds no metadata, so no record" in capsys.readouterr().out
    line = refusal(["stylize", "--from", "out.tif", "-o", "new.tif"], capsys)
    assert "out.tif does not tell how it was painted" in line
    assert made(work) == {"out.tif"}


@pytest.mark.parametrize("author", [Authorship(), Authorship(("Ann",))])
def test_a_picture_saved_from_python_is_not_blamed(
    author: Authorship, capsys: pytest.CaptureFixture[str]
) -> None:
    hires.save_image(torch.rand(1, 3, 8, 8), "saved.png", author=author)
    assert cli.main(["inspect", "saved.png"]) == 0
    told = capsys.readouterr().out
    assert "no record of how it was painted" in told
    assert "saved with --no-metadata or from Python without one" in told


def test_inspect_prints_it_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(typed(*PRINT, "--seed", "7", "--deliver", "lab", output="out.pdf")) == 0
    assert cli.main(["inspect", "out.pdf"]) == 0
    told = capsys.readouterr().out
    assert "out.pdf: PDF, 121x87 px, 8 bit, 19.96 dpi" in told
    assert "trimmed to 148x105 mm" in told
    assert "seed 7" in told
    assert "--print A6 --dpi 20 --bleed 3mm --deliver lab" in told
    assert cli.main(["inspect", "out.pdf", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["file"]["pixels"] == [121, 87]
    assert found["provenance"]["inputs"][1]["path"] == "style.png"
    assert found["provenance"]["settings"]["delivery"]["deliver"] == "lab"


def test_a_repeated_run_gives_the_same_file(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("out.tif", "out.pdf"):
        assert cli.main(typed(*PRINT, "--deliver", "lab", output=name)) == 0
        assert cli.main(["stylize", "--from", name, "-o", f"new-{name}", "--quiet"]) == 0
        assert Path(name).read_bytes() == Path(f"new-{name}").read_bytes()
    assert capsys.readouterr() == ("", "")


def test_options_and_pictures_override_what_is_repeated() -> None:
    assert cli.main(typed("--size", "96", "--seed", "5")) == 0
    save_image(random_image(60, 90, seed=8), "other.png")
    words = ["stylize", "other.png", "--from=out.tif", "--size", "80", "-o", "new.png", "--quiet"]
    assert cli.main(words) == 0
    told = from_xmp(read_header(Path("new.png")).xmp)
    assert (told.settings["content"], told.settings["styles"]) == ("other.png", ["style.png"])
    assert told.settings["config"]["size"] == 80
    assert told.seed == 5
    assert told.settings["config"]["features"] == "tiny.safetensors"


def test_a_changed_input_is_told_and_a_missing_one_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(typed("--size", "80")) == 0
    save_image(random_image(50, 50, seed=9), "style.png")
    assert cli.main(["stylize", "--from", "out.tif", "-o", "new.tif", "--quiet"]) == 0
    told = capsys.readouterr().err
    assert told == "hires: warning: the style style.png has changed since out.tif was painted\n"
    Path("style.png").unlink()
    line = refusal(["stylize", "--from", "out.tif", "-o", "third.tif"], capsys)
    assert "the style style.png is not there" in line
    assert cli.main(["stylize", "content.png", "new.tif", *typed("--from", "out.tif")[3:]]) == 0


def test_another_version_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(typed("--size", "80")) == 0
    monkeypatch.setattr("hires.runs.rerun.__version__", "99")
    assert cli.main(["stylize", "--from", "out.tif", "-o", "new.tif", "--quiet"]) == 0
    assert "painted by hires" in capsys.readouterr().err


def test_papers_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["papers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["paper", "mm", "inches"]
    assert lines[0].endswith("px at 150 dpi  px at 200 dpi  px at 300 dpi")
    assert lines[1].split() == [
        "A0",
        "841x1189",
        "33.11x46.81",
        "4967x7022",
        "6622x9362",
        "9933x14043",
    ]
    assert cli.main(["papers", "--json"]) == 0
    records = {record["name"]: record for record in json.loads(capsys.readouterr().out)}
    assert records["24x36in"]["pixels"]["300"] == [7200, 10800]
    assert records["letter"]["inches"] == [8.5, 11]


BAD = {
    "unknown paper": (typed("--print", "A99"), "unknown paper 'A99'"),
    "paper and size": (typed("--print", "A6", "--size", "96"), "leave --size out"),
    "paper and sizes": (
        ["stylize", "content.png", "style.png", "-o", "a.png", "--print", "A6", "--sizes", "64"],
        "leave --sizes out",
    ),
    "absurd dpi": (typed("--print", "A6", "--dpi", "99999"), "give a number from 20 to 2400"),
    "absurd bleed": (typed("--print", "A6", "--bleed", "1000mm"), "give at most 50mm"),
    "bleed without paper": (typed("--bleed", "3mm"), "--bleed applies to --print only"),
    "both ways": (typed("--print", "A6", "--landscape", "--portrait"), "exclude each other"),
    "unknown gravity": (typed("--print", "A6", "--gravity", "up"), "choose one of center"),
    "lab of 16 bit": (typed("--deliver", "lab", "--bit-depth", "16"), "--deliver lab is 8 bit"),
    "master jpeg": (typed("--deliver", "master", output="out.jpg"), "use one of .tif"),
    "lab png": (typed("--deliver", "lab", output="out.png"), "use one of .tif"),
    "unknown purpose": (typed("--deliver", "friend"), "choose one of plain, master, lab"),
    "deep pdf": (
        typed("--print", "A6", "--bit-depth", "16", output="out.pdf"),
        "PDF has no 16 bit",
    ),
    "pdf of no size": (typed(output="out.pdf"), "a PDF must know how large its page is"),
    "no profile": (typed("--icc", "nope.icc"), "cannot use the profile nope.icc: No such file"),
    "not a profile": (typed("--icc", "content.png"), "it is no colour profile"),
    "from a photograph": (
        ["stylize", "--from", "content.png", "-o", "out.tif"],
        "content.png does not tell how it was painted",
    ),
    "from nothing": (["stylize", "--from", "nope.tif", "-o", "out.tif"], "no such file"),
    "from without a name": (["stylize", "-o", "out.tif", "--from"], "--from needs a value"),
    "inspect nothing": (["inspect", "nope.tif"], "cannot read nope.tif: there is no such file"),
    "inspect no picture": (["inspect", "tiny.safetensors"], "not a JPEG, PNG, TIFF, WebP"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line(
    name: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv, expected = BAD[name]
    assert expected in refusal(argv, capsys)
    assert made(work) == set()


def test_from_needs_a_place_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(typed("--size", "80")) == 0
    before = Path("out.tif").read_bytes()
    assert "missing -o PATH" in refusal(["stylize", "--from", "out.tif"], capsys)
    assert Path("out.tif").read_bytes() == before


def test_settings_of_another_version_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"content": "content.png", "styles": ["style.png"], "config": {"sparkle": 1}}
    xmp = to_xmp(Provenance(seed=0, settings=settings, inputs=()))
    save_image(random_image(8, 8), "old.png", xmp=xmp)
    argv = ["stylize", "--from", "old.png", "-o", "new.png"]
    assert "unknown setting 'sparkle': written by another version" in refusal(argv, capsys)


def test_other_readers_find_the_metadata() -> None:
    assert cli.main(typed("--size", "80", output="out.jpg")) == 0
    with Image.open("out.jpg") as image:
        assert b"urn:hires:provenance" in image.info["xmp"]


def test_size_beside_paper_is_refused_from_python_as_well() -> None:
    with pytest.raises(ConfigError, match="leave `size` out"):
        PaintJob(
            content="a",
            styles=("b",),
            output="c.tif",
            config=Config(size=64),
            print=Print(paper="A4"),
        )


@pytest.mark.filterwarnings("ignore:--min-size 64 is too small")
@pytest.mark.filterwarnings("ignore:.*min_size")
def test_a_print_from_python_is_the_same_as_from_the_command_line() -> None:
    assert cli.main(typed(*PRINT, "--no-metadata")) == 0
    layout = hires.Print(paper="A6", dpi=20, bleed="3mm").layout(hires.picture_size("content.png"))
    content = hires.load_image("content.png", window=layout.window)
    config = Config(features="tiny.safetensors", min_size=64, precision="fp32", iterations=(2,))
    picture = hires.stylize(content, "style.png", config, size=layout.painted)
    hires.save_image(picture, "python.tif", layout=layout)
    assert Path("python.tif").read_bytes() == Path("out.tif").read_bytes()
