"""The comparison of presets: pictures, sheet, table, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conftest import VGG_SHAPE, loaded, random_image, random_weights

from hires.config.presets import PRESETS
from hires.features.checkpoints import write_checkpoint
from hires.image.decode.read import read_picture
from hires.image.encode.save import save_image

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    with loaded(SCRIPTS / "compare_presets.py") as module:
        yield module


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_image(random_image(48, 64, seed=1), tmp_path / "content.png")
    save_image(random_image(60, 40, seed=2), tmp_path / "style.png")
    write_checkpoint(tmp_path / "tiny.safetensors", VGG_SHAPE, random_weights(VGG_SHAPE), {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


TINY = ["content.png", "style.png", "--features", "tiny.safetensors", "--yardstick"]
TINY += ["tiny.safetensors", "--size", "64", "--iterations", "9", "--quiet", "-o", "found"]


def test_every_preset_is_painted_and_judged(
    script: ModuleType, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(TINY) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("of the preset ") == told.err.count("\n") == 5
    rows = json.loads((work / "found/compare.json").read_text())["presets"]
    assert [row["preset"] for row in rows] == list(PRESETS)
    for row in rows:
        assert (row["width"], row["height"], row["evaluations"]) == (64, 48, 9)
        assert row["seconds"] > 0
        picture = read_picture(work / "found" / f"{row['preset']}.png").pixels
        assert picture.shape == (1, 3, 48, 64)
    # Each has moved away from the photograph, which has no content loss.
    assert min(row["content"] for row in rows) > 0
    assert len({row["style"] for row in rows}) == len(PRESETS)
    table = (work / "found/compare.md").read_text()
    assert table.count("\n| ") == len(PRESETS) + 1
    assert read_picture(work / "found/contact_sheet.jpg").pixels.shape[3] > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--presets", "hires", "neural"],
            "preset 'neural': choose from hires, calm, lively, tutorial, d2l, keras",
        ),
        (["--presets", "d2l", "d2l"], "a preset is named twice"),
        (["--size", "8"], "--size is 8"),
        (["-o", "style.png"], "cannot save into style.png: it is a file"),
    ],
)
def test_what_is_refused(
    words: list[str], message: str, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([*TINY, *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"compare_presets: {message}")
    assert told.count("\n") == 1
