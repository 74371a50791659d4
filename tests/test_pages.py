"""README.md and the pages in docs/: commands run, code runs, files, links and options exist.

The commands of a page run word by word, one after the other in a fresh folder. What would take
longer than a few seconds gets further options at its end (`SMALLER`), which win over those before;
in Python, configurations, papers and jobs are made smaller on the way. docs/add_a_loss.md has tests
of its own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from press import press_profile

import hires
from hires.cli import main as cli
from hires.cli.arguments.table import COMMANDS
from hires.cli.parsing import parse
from hires.config.job import PaintJob
from hires.image.resample import resize

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
}
# Options that keep a command short, by words that it has; the first that fits is taken.
SMALLER = {
    "--help": "",
    "--print-completion": "",
    "--from": "",
    "hires plan photo.jpg painting.jpg --print": "--dpi 25 --no-probe",
    "24x36in --dpi 200 --deliver master --preview": "--dpi 50 --iterations 1",
    "--preview": "--dpi 75 --iterations 1",
    "--print": "--dpi 25 --iterations 1",
    "hires plan": "--size 512 --no-probe",
    "--preset": "--features compact --size 96 --iterations 1",
    "--brush-size": "--size 256 --iterations 1",
    "hires stylize": "--size 128 --iterations 2",
    "hires texture": "--size 64 --iterations 2",
    "hires variations": "--size 96 --iterations 1",
    "hires morph": "--size 64 --iterations 1",
    "hires batch": "--size 128 --iterations 2",
    "hires train": "--steps 2 --crop 64",
}
# What is only looked at: it would go on for ever.
NOT_RUN = ("hires serve",)
FOLDERS = "docs|tests|scripts|benchmarks|samples|hires"
PAINTINGS = ["painting", "first", "second", "impasto", "woodcut", "starry", "muse"]
FLAG = r"(?<![\w-])--[a-z][a-z0-9-]*"
WRITTEN = {"benchmarks/gpu/bench.json"}  # By scripts.
# What hires answers by itself.
NO_COMMAND = {"--help", "--help-all", "--print-completion", "--version"}
OTHER_FLAGS = {"--strict", "--version", "--help", "--requeue", "--ntasks-per-node"}


def blocks(text: str, language: str) -> list[str]:
    """Fenced blocks, wherever they are indented; of the shell's also what is merely indented."""
    fenced = re.findall(rf"(?m)^ *```{language}\n(.*?)^ *```$", text, re.DOTALL)
    if language != "sh":
        return fenced
    rest = re.sub(r"(?ms)^ *```.*?^ *```$", "", text)
    return [*fenced, *re.findall(r"(?m)^    hires .*\n(?:    .*\n)*", rest)]


def commands(text: str) -> Iterator[list[str]]:
    """Every command of hires, as words; what starts it on a cluster is left out."""
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    for line in lines:
        words = shlex.split(line, comments=True)
        started = words[:1] in (["srun"], ["torchrun"])
        if words[:1] == ["hires"] or (started and "hires" in words):
            words = words[: words.index(">")] if ">" in words else words
            yield words[words.index("hires") :]


def of_pages(found: dict[str, int]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", [name for name, count in found.items() if count])


WITH_COMMANDS = of_pages({name: len(list(commands(text))) for name, text in PAGES.items()})
WITH_PYTHON = of_pages(
    {
        name: len(blocks(text, "python"))
        for name, text in PAGES.items()
        if name != "docs/add_a_loss.md"
    }
)


@WITH_COMMANDS
def test_every_command_is_understood(page: str) -> None:
    painted = PaintJob(content="photo.jpg", styles=("painting.jpg",), output="painted.png")
    for words in commands(PAGES[page]):
        if not NO_COMMAND & set(words):
            parse(
                COMMANDS[words[1]],
                words[2:],
                prog="hires",
                recorded=lambda given: painted if ("", "source") in given else None,
            )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages take for granted: photographs, paintings, masks, the profile of a press."""
    monkeypatch.chdir(tmp_path)
    photograph = hires.load_image(ROOT / "samples" / "harbour.jpg")
    painting = hires.load_image(ROOT / "samples" / "impasto.jpg")
    small = resize(photograph, (150, 200), clamp=True)
    for name in ("photo", "harbour", "street", "house", "portrait"):
        hires.save_image(small, f"{name}.jpg")
    for name in PAINTINGS:
        hires.save_image(resize(painting, (160, 160), clamp=True), f"{name}.jpg")
    for name in ("one", "two", "other"):
        hires.save_image(resize(photograph.flip(1), (75, 100), clamp=True), f"{name}.png")
    for name in ("holiday", "photographs", "photos"):
        Path(name).mkdir()
        hires.save_image(torch.rand(1, 3, 128, 160), f"{name}/one.jpg")
    Path("samples").symlink_to(ROOT / "samples")
    Path("painted").mkdir()
    Path("press.icc").write_bytes(press_profile())
    masks()
    job = "content,styles\nstreet.jpg,starry.jpg\n"
    Path("jobs.csv").write_text(job, encoding="utf-8")
    return tmp_path


def masks() -> None:
    """Of photographs 200x150 and of styles 160x160."""
    for (height, width), names in {
        (150, 200): ("sky", "face", "faces", "kept"),
        (160, 160): ("muse-top", "muse-below"),
    }.items():
        for place, name in enumerate(names):
            mask = torch.zeros(1, 3, height, width)
            mask[:, :, height * place // 4 : height * (place + 2) // 4] = 1
            hires.save_image(mask, f"{name}.png")
        labels = torch.zeros(1, 3, height, width)
        labels[:, 0, : height // 2] = 1
        hires.save_image(labels, f"{'street' if height == 150 else 'muse'}-labels.png")


def before(words: list[str]) -> None:
    """What has happened before a command makes sense: runs cut short, paintings painted."""
    small = hires.Config(size=128, iterations=(2,))
    if words[1] == "resume":
        job = PaintJob(
            content="photo.jpg",
            styles=("painting.jpg",),
            output="painted.png",
            config=small,
            run_dir=words[2],
        )
        steps = hires.iter_paint(job)
        next(steps)
        steps.close()
    is_read = "poster.tif" in words and words[words.index("poster.tif") - 1] != "-o"
    if is_read and not Path("poster.tif").exists():
        job = hires.Job(
            content="photo.jpg",
            styles=("painting.jpg",),
            output="poster.tif",
            bit_depth=16,
            config=small,
        )
        hires.paint(job)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("folder")
@WITH_COMMANDS
def test_every_command_runs(page: str) -> None:
    pytest.importorskip("onnx")
    for words in commands(PAGES[page]):
        line = " ".join(words)
        if line.startswith(NOT_RUN):
            continue
        more = next((more for part, more in SMALLER.items() if part in line), "")
        before(words)
        assert cli.main([*words[1:], *shlex.split(more)]) == 0, line


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("folder")
@WITH_PYTHON
def test_its_python_runs(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config, paper, job = hires.Config, hires.Print, hires.Job

    def small(**given: Any) -> hires.Config:
        return config(**{**given, "size": 96, "iterations": (1,)})

    def coarse(**given: Any) -> hires.Print:
        return paper(**{**given, "dpi": 20})

    def quick(**given: Any) -> hires.Job:
        given.setdefault("config", small())
        if "print" in given:
            given["config"] = replace(given["config"], size=1024)
        return job(**given)

    monkeypatch.setattr(hires, "Config", small)
    monkeypatch.setattr(hires, "Print", coarse)
    monkeypatch.setattr(hires, "Job", quick)
    content, style = hires.load_image("photo.jpg"), hires.load_image("first.jpg")
    names: dict[str, Any] = {
        "hires": hires,
        "photo": "photo.jpg",
        "first": "first.jpg",
        "second": "second.jpg",
        "content": content,
        "styles": [style, style.flip(3)],
        "sky": (torch.arange(150) < 60).float().view(1, 1, 150, 1).expand(1, 1, 150, 200),
    }
    for block in blocks(PAGES[page], "python"):
        exec(block, names)
    if page == "docs/python.md":
        assert names["painted"].path == Path("painted.tif")
        assert hires.picture_size("poster.tif") == names["progress"].rung.size
    if page in ("README.md", "docs/python.md"):
        assert names["picture"].shape == (1, 3, 72, 96)


def links(text: str) -> list[str]:
    """Where a page leads to, but for code and other sites."""
    prose = re.sub(r"(?ms)^ *```.*?^ *```$|`[^`\n]*`", "", text)
    found = [*re.findall(r"\]\(([^)\s]+)\)", prose), *re.findall(r'(?:src|href)="([^"]+)"', prose)]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(path: Path) -> set[str]:
    """Of a page's headings, as a repository host makes them; of a reference its names."""
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {*(heading.replace(" ", "-") for heading in kept), *re.findall(r"(?m)^::: (.+)$", text)}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    broken = []
    for link in links(PAGES[page]):
        path, _, part = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (part and part not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_links_are_found() -> None:
    assert len(links(PAGES["README.md"])) > 5
    assert "page.md#a" in links("[a](page.md#a) `[b](b.md)` [c](https://c)")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_exists(page: str) -> None:
    paths = re.findall(rf"(?<![\w./])(?:{FOLDERS})/[\w./-]*\w", PAGES[page])
    missing = {path for path in paths if not (ROOT / path).exists()}
    assert missing - WRITTEN == set()


def test_every_option_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], *([command] for command in COMMANDS)):
        assert cli.main([*words, "--help-all"]) == 0
    scripts = [path.read_text(encoding="utf-8") for path in ROOT.glob("scripts/*.py")]
    known = set(re.findall(FLAG, "".join([capsys.readouterr().out, *scripts])))
    lines = [line for text in PAGES.values() for line in text.splitlines()]
    ours = [line for line in lines if not re.search(r"torchrun|#SBATCH|pip install", line)]
    assert set(re.findall(FLAG, "\n".join(ours))) - known - OTHER_FLAGS == set()


@pytest.mark.parametrize("page", [name for name in PAGES if name.startswith("docs/")])
def test_pages_are_read_on(page: str) -> None:
    """Every page is in the navigation of the site."""
    assert f": {Path(page).name}\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
