"""The gallery: its commands are commands, its pictures exist, it goes on where it was stopped."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conftest import loaded, random_image
from PIL import Image

from hires.cli.arguments.table import COMMANDS
from hires.cli.parsing import parse
from hires.image.encode.save import save_image

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "gallery.md"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    with loaded(ROOT / "scripts" / "gallery.py") as module:
        yield module


def lines(text: str) -> list[str]:
    """Commands of some text, those over several lines in one."""
    return text.replace("\\\n", " ").splitlines()


def test_every_command_is_one(script: ModuleType) -> None:
    parts = [part for _, _, parts in script.SECTIONS for part in parts]
    commands = [line for part in parts for line in lines(part.command)]
    assert len(commands) > 25
    for line in [*commands, script.POSTER.command]:
        program, command, *words = shlex.split(line)
        assert program == "hires"
        assert parse(COMMANDS[command], [*words, "-o", "out.png"], prog="hires") is not None
        for word in words:
            assert not word.startswith("samples/") or (ROOT / word).exists(), line


def test_names_are_unique_and_looks_are_pictures(script: ModuleType) -> None:
    names = [part.name for _, _, parts in script.SECTIONS for part in parts]
    assert len(set(names)) == len(names)
    assert set(script.LOOKS) <= set(names)


def test_every_picture_of_the_page_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)", text)
    assert len([target for target in targets if target.endswith(".jpg")]) > 10
    assert {target for target in targets if not (PAGE.parent / target).exists()} == set()
    unused = {path.name for path in (ROOT / "docs" / "gallery").iterdir()}
    unused -= {Path(target).name for target in targets}
    assert unused <= {"wide.jpg", "looks.jpg"}


def test_what_is_painted_is_not_painted_again(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[list[str]] = []

    def painter(words: list[str]) -> int:
        done.append(words)
        save_image(random_image(24, 32, seed=1), words[words.index("-o") + 1])
        return 0

    monkeypatch.setattr(script, "cli", painter)
    picture = script.Picture("one", "hires stylize a.jpg b.jpg --size 64", "One.")
    assert script.paint(picture, tmp_path) == script.paint(picture, tmp_path) == 0
    assert done == [
        ["stylize", "a.jpg", "b.jpg", "--size", "64", "-o", str(tmp_path / "one.png"), "--quiet"]
    ]
    other = script.Picture("one", "hires stylize a.jpg b.jpg --size 96", "One.")
    assert script.paint(other, tmp_path) == 0
    assert len(done) == 2


def test_page_and_pictures(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Painted pictures take the place of their section's sheets; sizes are in order."""
    work, docs = tmp_path / "work", tmp_path / "docs"
    (work / "ladder").mkdir(parents=True)
    for name in ("colour-match", "colour-content"):
        save_image(random_image(48, 64, seed=1), work / f"{name}.png")
    match = next(
        part
        for part in [part for _, _, parts in script.SECTIONS for part in parts]
        if part.name == "colour-match"
    )
    (work / "colour-match.txt").write_text(match.command, encoding="utf-8")
    for size in (1024, 256):
        save_image(
            random_image(size * 3 // 4, size, seed=2), work / "ladder" / f"poster-{size}.png"
        )
    monkeypatch.setattr(
        "sys.argv", ["gallery.py", "--only", "--work", str(work), "--docs", str(docs)]
    )
    monkeypatch.chdir(tmp_path)
    assert script.main() == 0
    text = (docs / "gallery.md").read_text(encoding="utf-8")
    assert "(gallery/colour-match.jpg)" in text
    assert "colour-content.jpg" not in text  # a stopped run's picture
    assert "looks_colour.jpg" not in text
    assert "looks_brush.jpg" in text
    assert text.index("**256 px**") < text.index("**1024 px**")
    with Image.open(docs / "gallery" / "ladder-1024.jpg") as row:
        assert row.size == (2 * 440 + script.GAP, script.LADDER_HEIGHT)
