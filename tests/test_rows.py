"""Pictures of which nobody has more than some rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import random_image

from hires.engine.colours import Chroma
from hires.image.encode.save import save_image
from hires.image.guides import Guided
from hires.image.originals import Original
from hires.image.resample import resize
from hires.image.rows import Rows

PICTURE = random_image(150, 90, seed=1).float()


def rows_of_picture() -> tuple[Rows, list[slice]]:
    """The picture by rows, and which ones were asked for."""
    asked: list[slice] = []

    def make(rows: slice) -> torch.Tensor:
        asked.append(rows)
        return PICTURE[..., rows, :].clone()

    return Rows((150, 90), make), asked


def test_all_rows_are_the_whole() -> None:
    rows, asked = rows_of_picture()
    assert torch.equal(rows.whole(), PICTURE)
    assert max(one.stop - one.start for one in asked) <= 64


@pytest.mark.parametrize("size", [(60, 36), (150, 90), (7, 4)])
def test_a_smaller_copy_is_that_of_the_whole(size: tuple[int, int]) -> None:
    rows, _ = rows_of_picture()
    wanted = resize(PICTURE, size, clamp=True)
    torch.testing.assert_close(rows.resized(size), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["out.png", "out.tif", "out.jpg"])
def test_a_file_of_rows_has_the_same_bytes(name: str, tmp_path: Path) -> None:
    rows, asked = rows_of_picture()
    (tmp_path / "whole").mkdir()
    save_image(PICTURE, tmp_path / "whole" / name)
    save_image(rows, tmp_path / name)
    assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert [one.start for one in asked] == [0, 64, 128]


@pytest.mark.parametrize("follows_edges", [False, True])
def test_colours_and_what_is_kept_come_by_rows(follows_edges: bool) -> None:
    rows, _ = rows_of_picture()
    content = Original(random_image(40, 24, seed=2).float())
    guides = Guided(kept=random_image(40, 24, seed=3).float()[:, :1])
    chroma = Chroma(content, follows_edges=follows_edges)
    pairs = [
        (chroma.onto(rows), chroma.onto(PICTURE)),
        (guides.restored(rows, content), guides.restored(PICTURE, content)),
    ]
    for found, wanted in pairs:
        torch.testing.assert_close(found.whole(), wanted, rtol=0, atol=1e-4)
