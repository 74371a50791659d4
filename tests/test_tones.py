"""Tones of a painting beside those of its styles, told where they are far from each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import random_image

from hires.cli import main as cli
from hires.config.run import Config
from hires.engine.stylize import stylize
from hires.engine.tones import about_tones, tones
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image
from hires.image.resample import resize

SAMPLES = Path(__file__).parents[1] / "samples"


def test_tones_of_a_ramp() -> None:
    ramp = torch.linspace(0, 1, 3 * 100 * 100).view(1, 3, 100, 100)
    assert tones([ramp]) == pytest.approx((0.05, 0.5, 0.95), abs=0.01)
    assert tones([ramp / 4]) == pytest.approx((0.0125, 0.125, 0.2375), abs=0.01)


def test_styles_count_by_their_shares() -> None:
    black, white = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 50, 50)
    assert tones([black, white], [0.96, 0.04])[2] < 0.01
    assert tones([black, white], [0.94, 0.06])[2] > 0.99
    assert tones([black, white], [0.04, 0.96])[0] > 0.99


def test_far_tones_are_told() -> None:
    # Those of a painting under Gram matrices, and of its style at a quarter of its brightness.
    told = about_tones((0.0, 0.08, 0.60), (0.02, 0.10, 0.23), "advice")
    assert told is not None
    assert "most lie at 0.00 to 0.60, around 0.08, those of the style at 0.02 to 0.23" in told
    assert told.endswith("; advice")
    assert about_tones((0.09, 0.42, 0.81), (0.10, 0.39, 0.93), "") is None


@pytest.mark.parametrize(
    ("loss", "brightness", "is_told"),
    [("gram", 0.25, True), ("wasserstein", 0.25, False)],
)
def test_a_dark_style_is_missed_by_gram_matrices_only(
    loss: str,
    brightness: float,
    is_told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_image(resize(load_image(SAMPLES / "harbour.jpg"), (48, 64), clamp=True), "content.png")
    style = resize(load_image(SAMPLES / "impasto.jpg"), (51, 64), clamp=True)
    save_image(style * brightness, "style.png")
    words = ["stylize", "content.png", "style.png", "-o", "out.png", "--size", "64", "--quiet"]
    # Patches would see it.
    words += ["--patch-weight", "0", "--style-loss", loss, "--iterations", "160"]
    assert cli.main([*words, "--no-run-dir"]) == 0
    told = capsys.readouterr().err
    assert told.startswith("hires: warning: the tones of the painting are not") is is_told
    assert ("--style-loss wasserstein" in told) is is_told


@pytest.mark.parametrize("opacity", [1.0, 0.4])
def test_what_cannot_be_seen_has_no_tones(
    opacity: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    picture, alpha = random_image(48, 64), torch.full((1, 1, 48, 64), opacity)
    save_image(picture, "content.png")
    picture[..., :40], alpha[..., :40] = 0, 0  # Black, if it could be seen.
    save_image(picture, "style.png", alpha=alpha)
    words = ["stylize", "content.png", "style.png", "-o", "out.png", "--size", "64", "--quiet"]
    assert cli.main([*words, "--no-run-dir", "--iterations", "20"]) == 0
    told = capsys.readouterr().err
    assert f"style.png: {1 - opacity * 24 / 64:.0%} of it is transparent" in told
    assert "tones" not in told


def test_nothing_is_told_where_no_style_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_image(random_image(48, 64), "content.png")
    save_image(torch.zeros(1, 3, 48, 64), "style.png")
    words = ["stylize", "content.png", "style.png", "-o", "out.png", "--size", "64", "--quiet"]
    assert cli.main([*words, "--no-run-dir", "--iterations", "2", "--style-weight", "0"]) == 0
    assert capsys.readouterr().err == ""


def test_python_is_warned() -> None:
    content = resize(load_image(SAMPLES / "harbour.jpg"), (48, 64), clamp=True)
    style = resize(load_image(SAMPLES / "impasto.jpg"), (51, 64), clamp=True) / 4
    with pytest.warns(UserWarning, match="the tones of the painting are not the style's"):
        stylize(content, style, Config(size=64, style_loss="gram", patch_weight=0, device="cpu"))
