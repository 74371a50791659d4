"""The sample pictures: cells and distances, solid shapes, and what make_samples.py is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import loaded
from PIL import Image

ROOT = Path(__file__).parents[1]
ADDED = ("portrait", "city", "watercolour", "glass", "pencil")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    with loaded(ROOT / "scripts" / "make_samples.py") as module:
        yield module


@pytest.mark.usefixtures("script")
def test_distances_are_euclidean() -> None:
    cells = importlib.import_module("samples_art.cells")
    mask = np.random.default_rng(1).uniform(size=(24, 31)) < 0.02
    spots = np.argwhere(mask)
    rows, columns = np.mgrid[0:24, 0:31]
    gaps = np.hypot(rows[..., None] - spots[:, 0], columns[..., None] - spots[:, 1]).min(axis=-1)
    found = cells.distance_to(mask, 9)
    np.testing.assert_allclose(found, np.minimum(gaps, 9.0), atol=1e-5)


@pytest.mark.usefixtures("script")
def test_junctions_are_where_three_pieces_meet() -> None:
    cells = importlib.import_module("samples_art.cells")
    labels = np.zeros((6, 6), np.int64)
    labels[:, 3:] = 1
    labels[3:, :3] = 2
    assert np.argwhere(cells.junctions(labels)).tolist() == [[2, 2]]
    assert cells.borders(labels).sum() == 6 + 3 - 1


@pytest.mark.usefixtures("script")
def test_rays_meet_a_ball_where_it_is() -> None:
    sculpt = importlib.import_module("samples_art.sculpt")
    view = sculpt.View(eye=(0.0, 0.0, 5.0), target=(0.0, 0.0, 0.0), focal=2.0)

    def ball(points: np.ndarray) -> np.ndarray:
        distances: np.ndarray = np.linalg.norm(points, axis=1).astype(np.float32) - 1.0
        return distances

    start, ways = view.rays(33, 33)
    found = sculpt.depths(ball, view, 33, 33, 2.0, 9.0).reshape(33, 33)
    assert found[16, 16] == pytest.approx(4.0, abs=2e-3)
    hit = np.isfinite(found)
    nearest = np.linalg.norm(np.cross(ways, start), axis=1).reshape(33, 33)
    assert (hit == (nearest < 1.0))[np.abs(nearest - 1.0) > 0.02].all()


def test_what_is_not_drawn_is_refused(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "samples"
    monkeypatch.setattr("sys.argv", ["make_samples.py", "harbor", "--out", str(out)])
    with pytest.raises(SystemExit) as left:
        script.main()
    assert left.value.code == 2
    assert "no picture is called harbor: there are harbour, portrait," in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("words", [[], ["--page"]])
def test_the_pages_own_samples_are_left_alone_unless_they_are_meant(
    script: ModuleType, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = lambda width: np.zeros((width, width, 3), np.float32)  # noqa: E731
    monkeypatch.setattr(script, "PICTURES", {"impasto": (drawn, 1.0, script.MAX_BYTES)})
    monkeypatch.setattr(script, "PAGE_FOLDER", tmp_path)
    out = tmp_path / "samples"
    monkeypatch.setattr("sys.argv", ["make_samples.py", "--out", str(out), "--size", "64", *words])
    script.main()
    assert (out / "impasto.jpg").exists()
    assert (tmp_path / "impasto.jpg").exists() == bool(words)


def test_masks_are_of_the_harbour() -> None:
    with Image.open(ROOT / "samples" / "harbour.jpg") as picture:
        size = picture.size
    masks = {}
    for name in ("sky", "buildings"):
        with Image.open(ROOT / "samples" / f"harbour-{name}.png") as mask:
            assert (mask.mode, mask.size) == ("L", size)
            masks[name] = np.asarray(mask) / 255
    assert masks["sky"][0].min() == 1
    assert masks["sky"][-1].max() == 0
    assert 0.01 < masks["buildings"].mean() < 0.05
    assert (masks["sky"] + masks["buildings"]).max() <= 1.01


def test_samples_are_small_and_as_wide_as_the_script_draws_them(script: ModuleType) -> None:
    assert set(script.PICTURES) == {path.stem for path in (ROOT / "samples").glob("*.jpg")}
    for name, (_, share, max_bytes) in script.PICTURES.items():
        path = ROOT / "samples" / f"{name}.jpg"
        assert path.stat().st_size <= max_bytes
        with Image.open(path) as picture:
            assert picture.width == 16 * round(2048 * share / 16)


@pytest.mark.slow
@pytest.mark.parametrize("name", ADDED)
def test_pictures_are_drawn_the_same_each_time(script: ModuleType, name: str) -> None:
    paint = script.PICTURES[name][0]
    first = paint(48)
    assert first.shape[1:] == (48, 3)
    assert np.isfinite(first).all()
    assert first.std() > 0.05
    np.testing.assert_array_equal(first, paint(48))
