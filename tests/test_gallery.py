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


def test_every_command_is_one(script: ModuleType) -> None:
    commands = [picture.command for picture in script.PICTURES.values()]
    assert len(commands) > 35
    for line in [*commands, script.POSTER.command]:
        program, command, *words = shlex.split(line)
        assert program == "hires"
        assert parse(COMMANDS[command], [*words, "-o", "out.png"], prog="hires") is not None
        for word in words:
            file = word.partition(":")[0]
            assert not file.startswith("samples/") or (ROOT / file).exists(), line


def test_names_are_unique_and_rows_are_of_what_there_is(script: ModuleType) -> None:
    names = [part.name for _, _, parts in script.SECTIONS for part in parts]
    names += [row.name for row in script.ROWS]
    assert len(set(names)) == len(names)
    for part in {part for row in script.ROWS for part in row.parts}:
        assert part in script.PICTURES or (ROOT / part).exists(), part


def test_all_is_painted_by_what_is_told(script: ModuleType) -> None:
    for name, picture in script.PICTURES.items():
        assert script.command_of(ROOT / "docs" / "gallery" / f"{name}.jpg") == picture.command
    names = {*script.PICTURES, *(row.name for row in script.ROWS), "wide"}
    found = {path.stem for path in (ROOT / "docs" / "gallery").iterdir()}
    assert {name for name in found if not name.startswith("ladder-")} == names
    assert f"ladder-{script.POSTER.size}" in found


def test_every_picture_of_the_page_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)", text)
    assert len([target for target in targets if target.endswith(".jpg")]) > 10
    assert {target for target in targets if not (PAGE.parent / target).exists()} == set()


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
    """What is painted to its end is shown, and rows of which all is; sizes are in order."""
    work, docs = tmp_path / "work", tmp_path / "docs"
    (work / "ladder").mkdir(parents=True)
    for name in ("colour-content", "layers-impasto", "layers-woodcut", "texture"):
        save_image(random_image(48, 64, seed=1), work / f"{name}.png")
        if name != "colour-content":
            (work / f"{name}.txt").write_text(script.PICTURES[name].command, encoding="utf-8")
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
    assert "(gallery/layers-impasto.jpg)" in text
    assert "colour-content.jpg" not in text  # a stopped run's picture
    rows = {path.stem for path in (docs / "gallery").glob("row-*")}
    assert rows == {"row-layers"}
    with Image.open(docs / "gallery" / "texture.jpg") as copies:
        assert copies.size == (128, 96)
    assert text.index("**256 px**") < text.index("**1024 px**")
    # Another folder of work adds to the page, and takes nothing off.
    monkeypatch.setattr(
        "sys.argv", ["gallery.py", "--only", "--work", str(tmp_path / "new"), "--docs", str(docs)]
    )
    assert script.main() == 0
    assert (docs / "gallery.md").read_text(encoding="utf-8") == text
    with Image.open(docs / "gallery" / "ladder-1024.jpg") as row:
        assert row.size == (2 * 440 + script.GAP, script.LADDER_HEIGHT)


@pytest.mark.parametrize("option", ["--work", "--docs"])
def test_a_folder_that_is_none_is_refused_before_anything_is_painted(
    script: ModuleType,
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    folders = {"--work": tmp_path / "work", "--docs": tmp_path / "docs", option: tmp_path / "file"}
    words = [str(word) for pair in folders.items() for word in pair]
    monkeypatch.setattr("sys.argv", ["gallery.py", *words])
    with pytest.raises(SystemExit):
        script.main()
    assert "cannot be a folder" in capsys.readouterr().err
