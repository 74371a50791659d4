"""The script that paints a ladder of sizes and compares them."""

from __future__ import annotations

import csv
import importlib
import itertools
import os
import re
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conftest import COMPACT_SHAPE, random_image, random_weights

from hires.engine.progress import Progress
from hires.engine.run import Run
from hires.features.checkpoints import write_checkpoint
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image

CHROMIUM = shutil.which("chromium")
SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pictures in an empty folder, and the arguments that paint them."""
    monkeypatch.chdir(tmp_path)
    save_image(random_image(72, 96, seed=1), "content.png")
    save_image(random_image(90, 80, seed=2), "style.png")
    write_checkpoint(Path("tiny.safetensors"), COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    settings = ["--features", "tiny.safetensors", "--iterations", "2", "--precision", "fp32"]
    return ["content.png", "style.png", *settings, "-o", "ladder"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("resolution_ladder")


FILES = ["contact_sheet.jpg", "ladder.csv", "report.html"]


def table() -> list[dict[str, str]]:
    with open("ladder/ladder.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_paints_every_size(
    script: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([*words, "--sizes", "64", "80", "112"]) == 0
    said = "ladder: 3 pictures, ladder.csv, contact_sheet.jpg, report.html\n"
    assert capsys.readouterr().out == said
    pictures = ["00064.png", "00080.png", "00112.png"]
    assert sorted(os.listdir("ladder")) == [*pictures, *FILES]
    assert load_image("ladder/00080.png").shape == (1, 3, 60, 80)
    rows = table()
    assert [row["size"] for row in rows] == ["64", "80", "112"]
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert all(int(row["peak_memory_bytes"]) > 2**26 for row in rows)
    losses = ("style", "content", "patch", "tv")
    assert all(float(row[f"loss_{name}"]) >= 0 for row in rows for name in losses)
    # Of 64x48 and 80x60 there is too little to judge.
    assert [bool(row["judge_strokes"]) for row in rows] == [False, False, True]
    height, width = load_image("ladder/contact_sheet.jpg").shape[2:]
    assert width > 3 * script.PANEL
    assert height > script.PANEL * 3 // 4


def test_styles_and_repeats(script: ModuleType, words: list[str]) -> None:
    save_image(random_image(80, 80, seed=3), "other.png")
    more = [
        "--sizes",
        "64",
        "96",
        "--repeats",
        "2",
        "--seed",
        "5",
        "--quiet",
        "--init",
        "blend:0.3",
    ]
    assert script.main([words[0], "other.png", *words[1:], *more]) == 0
    folders = [f"{style}-{seed}" for style in ("other", "style") for seed in (5, 6)]
    assert sorted(os.listdir("ladder")) == sorted([*FILES, *folders])
    rows = table()
    assert [(row["style"], row["seed"]) for row in rows[::2]] == [
        ("other", "5"),
        ("other", "6"),
        ("style", "5"),
        ("style", "6"),
    ]
    assert rows[0]["loss"] != rows[2]["loss"]
    page = Path("ladder/report.html").read_text(encoding="utf-8")
    assert "2 sizes from 64 to 96 px on the long side, 2 styles, 2 repeats" in page
    assert "nothing is random" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    # Photograph and styles; every size of a style whole and in part; plots.
    assert page.count("data:image/jpeg") == 3 + 2 * 2 * 2
    assert page.count("data:image/svg+xml") == 3 + 4 + 4
    values = [float(row["loss_style"]) for row in rows if row["style"] == "other"][1::2]
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    assert f"<td>{mean:.3g}<small>± {deviation:.2g}</small></td>" in page


def test_styles_of_one_name_have_a_folder_each(script: ModuleType, words: list[str]) -> None:
    for number, name in enumerate(("a/style.png", "style 1.png")):
        Path(name).parent.mkdir(exist_ok=True)
        save_image(random_image(80, 80, seed=number), name)
    more = ["--sizes", "64", "--quiet", "--no-judge"]
    assert script.main([words[0], "a/style.png", "style 1.png", *words[1:], *more]) == 0
    folders = ["style 1-0", "style 2-0", "style 3-0"]
    assert sorted(os.listdir("ladder")) == sorted([*FILES, *folders])
    assert [row["style"] for row in table()] == ["style 2", "style 1", "style 3"]
    paintings = {Path("ladder", folder, "00064.png").read_bytes() for folder in folders}
    assert len(paintings) == 3


def test_the_first_rung_has_no_loading_in_its_time(
    script: ModuleType, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, is_loaded = Run.__iter__, False

    def slow_at_first(run: Run) -> Iterator[Progress]:
        nonlocal is_loaded
        if not is_loaded:
            time.sleep(3)
        is_loaded = True
        yield from real(run)

    monkeypatch.setattr(Run, "__iter__", slow_at_first)
    assert script.main([*words, "--sizes", "64", "80", "--quiet", "--no-judge"]) == 0
    assert float(table()[0]["seconds"]) < 3


@pytest.mark.usefixtures("script")
def test_sizes_that_are_near_share_a_label() -> None:
    plots = importlib.import_module("ladder_plots")
    assert plots._labels([64, 128, 256]) == ["64", "128", "256"]
    assert plots._labels([64, 960, 1000, 1024]) == ["64", "", "", "1024"]
    assert plots._labels([64]) == ["64"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: scripts/setup_browser.sh")
def test_the_report_is_legible(script: ModuleType, words: list[str]) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    save_image(random_image(80, 80, seed=3), "other.png")
    more = ["--sizes", "64", "96", "128", "--repeats", "2", "--quiet", "--init", "blend:0.3"]
    assert script.main([words[0], "other.png", *words[1:], *more]) == 0
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(Path("ladder/report.html").absolute().as_uri())
            # Text of a plot is 12 px high at the plot's own size.
            scales = page.eval_on_selector_all(
                ".plot img", "all => all.map(one => one.clientWidth / one.naturalWidth)"
            )
            assert len(scales) == 3 + 4 + 4
            assert 11 <= min(scales) * 12 <= max(scales) * 12 < 17
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        cut = "all => all.filter(one => one.scrollWidth > one.clientWidth).length"
        assert page.eval_on_selector_all(".scroll", cut) == 0
        browser.close()


def test_a_mix_is_one_style_and_repeats_may_be_alike(script: ModuleType, words: list[str]) -> None:
    save_image(random_image(80, 80, seed=3), "other.png")
    more = ["--sizes", "64", "--repeats", "2", "--style-weights", "1", "3", "--quiet"]
    more += ["--no-judge", "--tv-weight", "0"]
    assert script.main([words[0], "other.png", *words[1:], *more]) == 0
    rows = table()
    assert [row["style"] for row in rows] == ["other + style"] * 2
    assert rows[0]["loss"] == rows[1]["loss"]
    page = Path("ladder/report.html").read_text(encoding="utf-8")
    assert "nothing is random" in page
    assert "Judges</h2>" not in page
    assert page.count("data:image/svg+xml") == 3 + 3  # Nothing is drawn of a loss that is 0.


def test_interrupted_keeps_what_is_painted(
    script: ModuleType,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Run.__iter__

    def cut(run: Run) -> Iterator[Progress]:
        yield from itertools.islice(real(run), 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "__iter__", cut)
    assert script.main([*words, "--sizes", "64", "80", "--quiet"]) == 130
    assert "1 of 2 sizes are saved in ladder" in capsys.readouterr().err
    assert sorted(os.listdir("ladder")) == ["00064.png", "ladder.csv"]


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ([], "missing --sizes"),
        (["--sizes", "80", "64"], "give sizes that grow"),
        (["--sizes", "80", "--size", "300"], "leave --size out"),
        (["--sizes", "80", "-o", "style.png"], "it is a file; name a folder"),
        (["--sizes", "80", "--print", "A4"], "--print is for a single painting"),
        (["--sizes", "80", "--repeats", "0"], "--repeats is 0"),
        (["--sizes", "80", "--pooling", "min"], "choose one of max, average, l2"),
        (["--sizes", "80", "--init", "ladder.png"], "there is no such file"),
    ],
)
def test_bad_input_is_one_line(
    extra: list[str],
    expected: str,
    script: ModuleType,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(os.listdir())
    assert script.main([*words, *extra]) == 2
    line = capsys.readouterr().err
    assert expected in line
    assert line.startswith("resolution_ladder: ")
    assert line.count("\n") == 1
    assert sorted(os.listdir()) == before


def test_leaves_no_empty_folders(
    script: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(os.listdir())
    styles = ["style.png", "none.png"]
    assert script.main([words[0], *styles, *words[2:-1], "new/ladder", "--sizes", "64"]) == 2
    assert "cannot read none.png" in capsys.readouterr().err
    assert sorted(os.listdir()) == before


def test_never_saves_over_an_input(
    script: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("ladder").mkdir()
    os.link("content.png", "ladder/00064.png")
    before = Path("content.png").read_bytes()
    assert script.main([*words, "--sizes", "64"]) == 2
    assert "it is the input content.png" in capsys.readouterr().err
    assert Path("content.png").read_bytes() == before
