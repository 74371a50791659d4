"""Files that look the same paint the same: hidden colours reach neither pixels nor statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from PIL import Image
from torch import Tensor

from hires.cli.main import main
from hires.config.run import Config
from hires.engine.stylize import stylize
from hires.features.checkpoints import write_checkpoint
from hires.image.decode.read import read_picture
from hires.image.originals import Original, about_hidden, original
from hires.image.transparency import fill_hidden, mask_of

pytestmark = pytest.mark.filterwarnings("ignore:.* of it is transparent")

HIDDEN = [(0, 0, 0), (255, 0, 255), (255, 255, 255)]


def cut_out(seed: int, hidden: tuple[int, int, int], path: Path) -> Path:
    """A picture in an oval of alpha 1, nothing around it but a hidden colour."""
    pixels = (random_image(128, 160, seed=seed)[0].permute(1, 2, 0) * 255).byte().numpy()
    y, x = np.mgrid[0:128, 0:160]
    inside = ((x - 80) / 65) ** 2 + ((y - 64) / 53) ** 2 <= 1
    pixels = np.where(inside[..., None], pixels, np.array(hidden, np.uint8))
    Image.fromarray(np.dstack([pixels, inside * np.uint8(255)])).save(path)
    return path


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    path = tmp_path_factory.mktemp("features") / "tiny.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    return Config(
        features=str(path), sizes=(64, 96), iterations=(3,), precision="fp32", device="cpu"
    )


def same(pictures: list[Tensor]) -> bool:
    return all(torch.equal(picture, pictures[0]) for picture in pictures)


def test_hidden_colours_of_a_style_change_nothing(config: Config, tmp_path: Path) -> None:
    content = random_image(96, 128, seed=1).float()
    paths = [cut_out(2, hidden, tmp_path / f"{i}.png") for i, hidden in enumerate(HIDDEN)]
    painted = [stylize(content, path, config) for path in paths]
    assert same(painted)
    # Nor do they count as what they were filled with: the alpha itself weights the statistics.
    assert not torch.equal(painted[0], stylize(content, read_picture(paths[0]).pixels, config))


def test_hidden_colours_of_a_content_change_nothing(config: Config, tmp_path: Path) -> None:
    style = random_image(96, 96, seed=2).float()
    paths = [cut_out(1, hidden, tmp_path / f"{i}.png") for i, hidden in enumerate(HIDDEN)]
    assert same([stylize(path, style, config) for path in paths])


def test_hidden_colours_reach_nothing_when_a_file_is_reduced(tmp_path: Path) -> None:
    paths = [cut_out(1, hidden, tmp_path / f"{i}.png") for i, hidden in enumerate(HIDDEN)]
    assert same([read_picture(path, max_long_side=50).pixels for path in paths])


def test_apply_makes_files_of_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for i, hidden in enumerate(HIDDEN):
        path = cut_out(1, hidden, tmp_path / f"{i}.png")
        output = tmp_path / f"painted-{i}.png"
        arguments = ["apply", "impasto", str(path), "-o", str(output), "--no-metadata", "--quiet"]
        assert main(arguments) == 0
        made.append(output.read_bytes())
    assert made[0] == made[1] == made[2]


def test_visible_pixels_stay_and_hidden_ones_follow_them() -> None:
    pixels = torch.rand(1, 3, 301, 519, generator=torch.Generator().manual_seed(1))
    alpha = torch.ones(1, 1, 301, 519)
    alpha[..., 100:260, 30:500] = 0
    alpha[..., :50, :50] = 0.5
    before = pixels.clone()
    pixels[alpha.expand_as(pixels) == 0] = 7.0
    filled = fill_hidden(pixels, alpha)
    seen = (alpha > 0).expand_as(filled)
    assert torch.equal(filled[seen], before[seen])
    assert float(filled.max()) <= 1
    # Noise around it: far from the border its mean is left.
    assert float((filled[..., 170:190, 250:300] - 0.5).abs().max()) < 0.15


def test_a_smooth_picture_is_continued() -> None:
    ramp = torch.linspace(0, 1, 200).view(1, 1, 1, 200).repeat(1, 3, 90, 1)
    alpha = torch.ones(1, 1, 90, 200)
    alpha[..., 80:120] = 0
    filled = fill_hidden(ramp.clone(), alpha)
    assert float((filled - ramp).abs().max()) < 0.08


@pytest.mark.parametrize("rows", [3, 8, 64])
def test_bands_change_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, alpha = torch.rand(1, 3, 61, 47), (torch.rand(1, 1, 61, 47) > 0.7).float()
    whole = fill_hidden(pixels.clone(), alpha)
    monkeypatch.setattr("hires.image.transparency.FILLED_ROWS", 2 * rows)
    torch.testing.assert_close(fill_hidden(pixels.clone(), alpha), whole, rtol=0, atol=1e-6)


def test_an_opaque_alpha_is_none() -> None:
    assert mask_of(None) is None
    assert mask_of(torch.ones(1, 1, 4, 4)) is None
    half = torch.full((1, 1, 4, 4), 0.5)
    assert mask_of(half) is half


def test_an_opaque_alpha_paints_as_no_alpha(config: Config, tmp_path: Path) -> None:
    array = (random_image(96, 128, seed=3)[0].permute(1, 2, 0) * 255).byte().numpy()
    plain, opaque = tmp_path / "plain.png", tmp_path / "opaque.png"
    Image.fromarray(array).save(plain)
    Image.fromarray(np.dstack([array, np.full((96, 128), 255, np.uint8)])).save(opaque)
    style = random_image(96, 96, seed=2).float()
    assert same([stylize(path, style, config) for path in (plain, opaque)])
    assert same([stylize(style, path, config) for path in (plain, opaque)])


def test_what_is_transparent_is_told(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, style = (cut_out(i, HIDDEN[0], tmp_path / f"{i}.png") for i in (1, 2))
    assert original(style).share_hidden == pytest.approx(0.47, abs=0.01)
    with pytest.warns(UserWarning, match=f"{style}: 47% of it is transparent"):
        stylize(random_image(96, 128).float(), style, config)
    output = tmp_path / "painted.png"
    common = ["-o", str(output), "--features", config.features, "--size", "64", "--iterations", "1"]
    assert main(["stylize", str(content), str(style), *common, "--no-run-dir"]) == 0
    assert f"{style}: 47% of it is transparent and does not count" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("hidden", "words"),
    [
        (1e-9, "less than 1%"),
        (0.0049, "less than 1%"),
        (0.0051, "1%"),
        (0.471, "47%"),
        (0.9949, "99%"),
        (0.9951, "more than 99%"),
        (0.999999, "more than 99%"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(hidden: float, words: str) -> None:
    mask = torch.full((1, 1, 8, 8), 1 - hidden, dtype=torch.float64)
    told = f"a.png: {words} of it is transparent and does not count"
    assert about_hidden([Original(torch.zeros(1, 3, 8, 8), mask, "a.png")]) == [told]
    assert about_hidden([Original(torch.zeros(1, 3, 8, 8), None, "a.png")]) == []


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ("stylize content.png nothing.png", "nothing.png"),
        ("stylize nothing.png content.png", "nothing.png"),
        ("stylize content.png content.png --init nothing.png", "--init: nothing.png"),
        ("plan content.png nothing.png", "nothing.png"),
        ("apply impasto nothing.png", "nothing.png"),
    ],
)
def test_a_picture_of_nothing_is_refused(
    argv: str,
    told: str,
    config: Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    cut_out(1, HIDDEN[0], Path("content.png"))
    Image.new("RGBA", (128, 96), (9, 9, 9, 0)).save("nothing.png")
    words = [*argv.split(), "-o", "painted.png", "--quiet"]
    words += [] if argv.startswith("apply") else ["--features", config.features, "--size", "96"]
    assert main(words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"hires: {told}: all of it is transparent; choose another picture"
    assert {path.name for path in tmp_path.iterdir()} == {"content.png", "nothing.png"}
