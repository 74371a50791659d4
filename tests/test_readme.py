"""README.md: its commands run, its files exist, its options are options.

The commands run word by word, one after the other in a fresh folder. What would take longer than a
few seconds gets further options at its end (`SMALLER`), which win over those before; in Python,
`hires.Config` and `hires.Print` are made smaller on the way.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from press import press_profile

import hires
from hires.cli import main as cli
from hires.cli.arguments.table import COMMANDS
from hires.image.resample import resize

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
# Options that keep a command short, by words that it has; the first that fits is taken.
SMALLER = {
    "--help": "",
    "--from": "",
    "--preview": "--dpi 75 --iterations 1",
    "--print": "--dpi 25 --iterations 1",
    "hires plan": "--size 512 --no-probe",
    "hires stylize": "--size 128 --iterations 2",
    "hires texture": "--size 64 --iterations 2",
    "hires variations": "--size 96 --iterations 1",
    "hires batch": "--size 128 --iterations 2",
    "hires train": "--steps 2 --crop 64",
}
FOLDERS = "docs|tests|scripts|benchmarks|samples|hires"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def commands() -> Iterator[list[str]]:
    """Every line of a block that begins with ``hires``, as words."""
    for line in "".join(blocks("sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["hires"]:
            yield words[: words.index(">")] if ">" in words else words


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the README takes for granted: photographs, paintings, the profile of a press."""
    monkeypatch.chdir(tmp_path)
    photograph = hires.load_image(ROOT / "samples" / "harbour.jpg")
    painting = hires.load_image(ROOT / "samples" / "impasto.jpg")
    hires.save_image(resize(photograph, (150, 200), clamp=True), "photo.jpg")
    for name in ("painting.jpg", "first.jpg", "second.jpg"):
        hires.save_image(resize(painting, (160, 160), clamp=True), name)
    for name in ("one.png", "two.png"):
        hires.save_image(resize(photograph.flip(1), (75, 100), clamp=True), name)
    for name in ("holiday", "photographs", "photos"):
        Path(name).mkdir()
        hires.save_image(torch.rand(1, 3, 128, 160), f"{name}/one.jpg")
    Path("painted").mkdir()
    Path("press.icc").write_bytes(press_profile())
    return tmp_path


def before(words: list[str]) -> None:
    """What has happened before a command makes sense."""
    if words[1] == "resume":
        config = hires.Config(size=128, iterations=(2,))
        job = hires.Job(
            content="photo.jpg",
            styles=("painting.jpg",),
            output="painted.png",
            config=config,
            run_dir=words[2],
        )
        steps = hires.iter_paint(job)
        next(steps)
        steps.close()  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("folder")
def test_every_command_runs() -> None:
    pytest.importorskip("onnx")
    found = list(commands())
    assert len(found) > 15
    for words in found:
        line = " ".join(words)
        more = next((more for part, more in SMALLER.items() if part in line), "")
        before(words)
        assert cli.main([*words[1:], *shlex.split(more)]) == 0, line


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("folder")
def test_its_python_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    config, paper = hires.Config, hires.Print

    def small(**given: Any) -> hires.Config:
        size = {"size": 96} if "size" in given else {}
        return config(**{**given, **size, "iterations": (1,)})

    def coarse(**given: Any) -> hires.Print:
        return paper(**{**given, "dpi": 20})

    monkeypatch.setattr(hires, "Config", small)
    monkeypatch.setattr(hires, "Print", coarse)
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(block, names)
    assert names["painted"].path == Path("painted.tif")
    assert names["picture"].shape == (1, 3, 72, 96)
    assert hires.picture_size("poster.tif") == names["progress"].rung.size


def test_every_file_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", TEXT) if "://" not in link]
    paths = re.findall(rf"(?<![\w./])(?:{FOLDERS})/[\w./]*\w", TEXT)
    missing = {path for path in {*links, *paths} if not (ROOT / path).exists()}
    assert len(links) > 5
    assert missing == set()


def test_every_option_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], *([command] for command in COMMANDS)):
        assert cli.main([*words, "--help-all"]) == 0
    known = set(re.findall(r"--[a-z][a-z0-9-]*", capsys.readouterr().out))
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", TEXT)) - {"--strict", "--version"}
    assert {flag for flag in told if flag not in known} == {"--help"} - known
