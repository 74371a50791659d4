"""Finished paintings handed over once more: what the run would have written, painted once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import pytest
import tifffile
from conftest import COMPACT_SHAPE, random_image, random_weights, refusal
from PIL import Image

import hires
from hires.cli import main as cli
from hires.config.deliver import DeliverJob
from hires.errors import ConfigError, ImageError
from hires.features.checkpoints import write_checkpoint
from hires.image.decode.headers import read_header
from hires.runs.deliver import deliver
from hires.runs.record import RunDirectoryError

CONFIG = hires.Config(features="tiny.safetensors", sizes=(64,), iterations=(2,), precision="fp32")
MASTER, LAB = hires.Delivery(deliver="master"), hires.Delivery(deliver="lab")
ON_PAPER = hires.Print(paper="A6", dpi=30, bleed="3mm")


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    author = hires.Authorship(("A. Painter",), "no rights reserved")
    hires.save_image(random_image(48, 64, seed=1), "content.png", author=author)
    hires.save_image(random_image(56, 48, seed=2), "style.png")
    write_checkpoint(Path("tiny.safetensors"), COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})


def painted(output: str, **options: Any) -> Path:
    paper = options.get("print", hires.Print()).paper
    config = CONFIG if paper is None else replace(CONFIG, sizes=(), min_size=64)
    job = hires.Job(
        content="content.png", styles=("style.png",), output=output, config=config, **options
    )
    with warnings.catch_warnings(action="ignore"):
        return hires.paint(job).path


def delivered(painting: str, output: str, **options: Any) -> Path:
    return deliver(DeliverJob(painting=painting, output=output, **options)).path


def values(path: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    with Image.open(path) as image:
        return np.asarray(image).astype(np.int64)


@pytest.mark.parametrize("printed", [hires.Print(), hires.Print(dpi=200), ON_PAPER])
@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".png", {}),
        (".jpg", {}),
        (".tif", {"delivery": hires.Delivery(compression="lzw")}),
        (".tif", {"delivery": MASTER}),
        (".png", {"bit_depth": 16, "delivery": hires.Delivery(no_metadata=True)}),
    ],
)
def test_what_the_run_would_have_written(
    ending: str, options: dict[str, Any], printed: hires.Print
) -> None:
    """To the last byte: pixels, profile, dpi, tags and the record of how it was painted."""
    painted("master.tif", delivery=MASTER, print=printed)
    wanted = painted(f"wanted{ending}", print=printed, **options)
    found = delivered("master.tif", f"found{ending}", **options)
    assert found.read_bytes() == wanted.read_bytes()


@pytest.mark.parametrize("icc", ["srgb", "adobe-rgb"])
@pytest.mark.parametrize("ending", [".tif", ".jpg"])
def test_a_lab_gets_what_the_run_would_have_written(ending: str, icc: str) -> None:
    """The dither is the same; what was rounded to 16 bit before moves one value in hundreds."""
    lab = replace(LAB, icc=icc)
    painted("master.png", delivery=MASTER, print=ON_PAPER)
    wanted = painted(f"wanted{ending}", delivery=lab, print=ON_PAPER)
    found = delivered("master.png", f"found{ending}", delivery=lab)
    apart = np.abs(values(found) - values(wanted))
    if ending == ".tif":
        assert apart.max() <= 1
        assert (apart > 0).mean() < 0.01
    assert apart.mean() < 0.05
    assert read_header(found) == read_header(wanted)


def test_a_page_of_the_paper_it_was_painted_for() -> None:
    painted("master.tif", delivery=MASTER, print=ON_PAPER)
    wanted = painted("wanted.pdf", delivery=LAB, print=ON_PAPER)
    found = delivered("master.run", "found.pdf", delivery=LAB)
    assert read_header(found) == read_header(wanted)
    with pikepdf.open(found) as one, pikepdf.open(wanted) as other:
        boxes = [[page.obj.TrimBox.to_json() for page in file.pages] for file in (one, other)]
        assert boxes[0] == boxes[1]


def test_its_author_and_rights_go_with_it() -> None:
    painted("master.png", delivery=MASTER)
    found = delivered("master.png", "found.jpg", delivery=LAB)
    assert hires.read_authorship(found) == hires.Authorship(("A. Painter",), "no rights reserved")
    told = delivered("master.png", "bare.jpg", delivery=replace(LAB, no_metadata=True))
    assert hires.read_authorship(told) == hires.Authorship()
    assert read_header(told).xmp is None


def test_the_file_tells_the_command_that_paints_it(capsys: pytest.CaptureFixture[str]) -> None:
    painted("master.png", delivery=MASTER)
    delivered("master.png", "found.tif", delivery=replace(LAB, icc="adobe-rgb"))
    assert cli.main(["inspect", "found.tif"]) == 0
    assert "--deliver lab --icc adobe-rgb" in capsys.readouterr().out
    assert cli.main(["stylize", "--from", "found.tif", "-o", "again.tif", "--quiet"]) == 0
    apart = np.abs(values(Path("again.tif")) - values(Path("found.tif")))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.01


class TestAnotherPaper:
    @pytest.fixture(autouse=True)
    def _painting(self) -> None:
        image = random_image(90, 120, seed=3)
        hires.save_image(image, "big.png", bit_depth=16, dpi=100)
        hires.save_image(image, "rounded.png")

    def test_keeps_the_pixels_and_tells_the_dpi_they_give(self) -> None:
        done = deliver(
            DeliverJob(painting="big.png", output="a.tif", print=hires.Print(paper="A6"))
        )
        # A6 lies, 148x105 mm: all 120 columns, and 85 of the rows.
        assert done.size == (85, 120)
        assert read_header(done.path).dpi == pytest.approx(120 / 148 * 25.4, abs=0.2)
        assert (values(done.path) == values(Path("rounded.png"))[2:87]).all()

    def test_with_white_margins(self) -> None:
        paper = hires.Print(paper="A6", fit="pad")
        done = deliver(DeliverJob(painting="big.png", output="a.png", print=paper))
        assert done.size[0] == 90
        sheet = values(done.path)
        assert (sheet[:, [0, -1]] == 255).all()
        left = (done.size[1] - 120) // 2
        assert np.abs(sheet[:, left : left + 120] - values(Path("rounded.png"))).max() == 0

    def test_of_fewer_dpi_it_is_reduced(self) -> None:
        paper = hires.Print(paper="A6", dpi=20)
        done = deliver(DeliverJob(painting="big.png", output="a.png", print=paper))
        assert done.size == (83, 117)

    def test_of_more_dpi_it_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["deliver", "big.png", "-o", "a.png", "--print", "A6", "--dpi", "30"]
        said = refusal(words, capsys)
        assert "big.png has 21 dpi on A6: give a --dpi up to that" in said
        assert not Path("a.png").exists()


def test_dpi_alone_are_told_of_the_same_pixels() -> None:
    hires.save_image(random_image(60, 80, seed=3), "small.png", dpi=100)
    found = delivered("small.png", "found.tif", print=hires.Print(dpi=50))
    assert read_header(found).dpi == 50
    assert (values(found) == values(Path("small.png"))).all()
    assert read_header(delivered("small.png", "kept.jpg")).dpi == 100


def test_levels_of_8_bit_are_kept_for_a_lab() -> None:
    hires.save_image(random_image(60, 80, seed=3), "small.png")
    found = delivered("small.png", "found.tif", delivery=LAB)
    assert (values(found) == values(Path("small.png"))).all()


def test_floats_are_delivered() -> None:
    image = random_image(60, 80, seed=3).float()
    tifffile.imwrite("floats.tif", image[0].permute(1, 2, 0).numpy(), photometric="rgb")
    hires.save_image(image, "wanted.png", bit_depth=16)
    assert (
        hires.load_image(delivered("floats.tif", "deep.png", bit_depth=16))
        == (hires.load_image("wanted.png"))
    ).all()


@pytest.mark.parametrize(
    ("make", "options", "told"),
    [
        (lambda: painted("a.png"), {"delivery": MASTER}, "a.png has 8 bit"),
        (lambda: painted("a.pdf", print=hires.Print(dpi=100)), {}, "a PDF"),
    ],
)
def test_what_a_file_does_not_hold_is_refused(
    make: Callable[[], Path], options: dict[str, Any], told: str
) -> None:
    path = make()
    with pytest.raises(ImageError, match=told):
        delivered(str(path), "out.tif", **options)
    assert not Path("out.tif").exists()


def test_a_run_that_is_not_finished_is_refused() -> None:
    steps = hires.iter_paint(
        hires.Job(content="content.png", styles=("style.png",), output="out.png", config=CONFIG)
    )
    next(steps)
    steps.close()
    with pytest.raises(RunDirectoryError, match=r"hires resume out\.run"):
        delivered("out.run", "lab.tif", delivery=LAB)


def test_a_run_whose_painting_is_gone_is_refused() -> None:
    painted("out.png").unlink()
    with pytest.raises(RunDirectoryError, match="gone"):
        delivered("out.run", "lab.tif", delivery=LAB)


def test_nothing_is_saved_over_the_painting() -> None:
    painted("out.png")
    with pytest.raises(ImageError, match="it is the input"):
        delivered("out.png", "out.png")
    with pytest.raises(ConfigError, match="8 bit"):
        DeliverJob(painting="out.png", output="a.tif", bit_depth=16, delivery=LAB)
