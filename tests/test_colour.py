"""Whose colours a painting has: every mode from pictures to file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights, refusal
from torch import Tensor

import hires
from hires.cli import main as cli
from hires.config.run import Config
from hires.engine import preview as closeup
from hires.engine.colours import Chroma, recoloured
from hires.engine.objective import Objective
from hires.engine.planned import plan_run
from hires.engine.preview import CloseUp
from hires.engine.replay import Evaluation
from hires.engine.resolve import fit
from hires.engine.stylize import iter_stylize, stylize
from hires.errors import ConfigError, StylizeError
from hires.features.checkpoints import write_checkpoint
from hires.image.colour.matching import colours_of
from hires.image.colour.oklab import from_oklab, to_oklab
from hires.image.decode.read import Picture
from hires.image.originals import Original, original, originals
from hires.image.resample import resize
from hires.runs.planning import plan_job

# Colours that no lightness of a painting of them takes out of sRGB far, and a style whose colours
# can be matched to them without clipping.
CONTENT = 0.3 + random_image(60, 80, seed=1).float() / 3
STYLE = 0.35 + random_image(72, 64, seed=2).float() * torch.tensor([0.4, 0.1, 0.2])[:, None, None]
MODES = ("style", "content", "luminance", "match", "palette")
ENDS = ("content", "luminance", "palette")  # with the content's chroma


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(Path("tiny.safetensors"), COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    hires.save_image(CONTENT, "content.png")
    hires.save_image(STYLE, "style.png")


def config(**given: object) -> Config:
    settings = {"features": "tiny.safetensors", "sizes": (48, 96), "iterations": (3,)}
    return Config(**(settings | {"precision": "fp32", "device": "cpu"} | given))  # type: ignore[arg-type]


def chroma(picture: Tensor) -> Tensor:
    return to_oklab(picture)[:, 1:]


def has_chroma_of(picture: Tensor, content: Tensor) -> bool:
    """Whether its chroma is the content's, but where sRGB has less of it at its lightness."""
    shown = resize(content, (picture.shape[2], picture.shape[3]))
    lab = torch.cat([to_oklab(picture)[:, :1], chroma(shown)], 1)
    there = (to_oklab(from_oklab(lab))[:, 1:] - lab[:, 1:]).abs().amax(1) < 1e-4
    assert float(there.double().mean()) > 0.8, "hardly anything is compared"
    off = (chroma(picture) - chroma(shown)).abs().amax(1)
    return bool((off[there] < 3e-4).all())


def test_as_before_where_nothing_is_asked() -> None:
    content, styles = original(CONTENT), originals(STYLE)
    found = recoloured(config(), content, styles)
    assert found[0] is content
    assert found[1][0] is styles[0]
    assert found[2] is None
    assert Config().color == "style"


@pytest.mark.parametrize("root", ["symmetric", "pca", "cholesky"])
def test_match_gives_the_style_mean_and_covariance_of_the_content(root: str) -> None:
    """Of what can be seen of both; two styles are matched each by itself."""
    alpha = [
        random_image(one.shape[2], one.shape[3], seed=3)[:, :1].float() for one in (CONTENT, STYLE)
    ]
    content = Original(CONTENT, alpha[0])
    styles = [Original(STYLE, alpha[1]), Original(STYLE.flip(1))]
    _, found, end = recoloured(config(color="match", color_match=root), content, styles)
    assert end is None
    wanted = colours_of(CONTENT, alpha[0])
    for style in found:
        of = colours_of(style.pixels, style.mask)
        assert 0 < float(style.pixels.min()) < float(style.pixels.max()) < 1  # nothing is clipped
        assert torch.allclose(of.mean, wanted.mean, atol=1e-4)
        assert torch.allclose(of.covariance, wanted.covariance, atol=1e-4)
    assert torch.equal(styles[0].pixels, STYLE)


def test_luminance_paints_in_greys_of_the_contents_light() -> None:
    content, styles, _ = recoloured(
        config(color="luminance"), original(CONTENT), originals([STYLE, STYLE / 2])
    )
    wanted = colours_of(to_oklab(CONTENT)[:, :1])
    for picture in (content, *styles):
        assert float(chroma(picture.pixels).abs().max()) < 1e-5
        of = colours_of(to_oklab(picture.pixels)[:, :1])
        assert torch.allclose(of.mean, wanted.mean, atol=1e-3)
        assert torch.allclose(of.covariance, wanted.covariance, atol=1e-3)
    assert torch.allclose(to_oklab(content.pixels)[:, 0], to_oklab(CONTENT)[:, 0], atol=1e-4)


@pytest.mark.parametrize("mode", ["content", "luminance"])
def test_chroma_is_the_contents(mode: str) -> None:
    steps = iter_stylize(CONTENT, STYLE, config(color=mode))
    for step in steps:
        assert has_chroma_of(step.picture(), CONTENT)
        assert has_chroma_of(step.thumbnail(40), CONTENT)
    assert not has_chroma_of(stylize(CONTENT, STYLE, config()), CONTENT)


def test_content_is_painted_in_full_colour_and_keeps_its_light() -> None:
    painted, plain = (stylize(CONTENT, STYLE, config(color=mode)) for mode in ("content", "style"))
    assert torch.allclose(to_oklab(painted)[:, 0], to_oklab(plain)[:, 0], atol=1e-3)
    assert not torch.allclose(chroma(painted), chroma(plain), atol=0.02)


def test_palette_lays_out_the_styles_chroma() -> None:
    """Mean and covariance are the style's before edges are followed."""
    content, styles = original(CONTENT), originals([STYLE, STYLE.flip(1)])
    settings = config(color="palette", style_weights=(3.0, 1.0))
    _, looked_at, end = recoloured(settings, content, styles)
    assert looked_at == tuple(styles)
    assert end is not None
    assert end.change is not None
    found = colours_of(end.change(chroma(CONTENT)))
    each = [colours_of(chroma(one.pixels)).mean for one in styles]
    assert torch.allclose(found.mean, 0.75 * each[0] + 0.25 * each[1], atol=1e-6)
    flat = end.onto(CONTENT)
    assert torch.allclose(to_oklab(flat)[:, 0], to_oklab(CONTENT)[:, 0], atol=1e-3)


@pytest.mark.parametrize("follows_edges", [False, True])
def test_bands_of_rows_make_no_difference(
    follows_edges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = random_image(203, 150, seed=5).float()
    end = Chroma(original(CONTENT), follows_edges=follows_edges)
    banded = end.onto(picture)
    monkeypatch.setattr("hires.image.colour.matching.BAND_ROWS", 1000)
    assert torch.allclose(banded, end.onto(picture), atol=1e-4)
    again = end.onto_part(picture, resize(CONTENT, (203, 150)), (203, 150))
    assert torch.allclose(banded, again, atol=1e-3)


@pytest.mark.parametrize("mode", MODES[1:])
def test_a_resumed_run_ends_with_the_same_picture(mode: str) -> None:
    settings = config(color=mode)
    steps = iter_stylize(CONTENT, STYLE, settings)
    for _ in range(4):
        snapshot = next(steps).snapshot().copy()
    *_, last = steps
    *_, other = iter_stylize(CONTENT, STYLE, settings, resume=snapshot)
    assert torch.equal(last.picture(), other.picture())


@pytest.mark.parametrize("mode", MODES[1:])
def test_a_job_remembers_it(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Cut short, gone on with, inspected, painted again: always the same bytes."""
    pictures = {"content": "content.png", "styles": ("style.png",)}
    job = hires.Job(**pictures, output="out.png", config=config(color=mode))  # type: ignore[arg-type]
    hires.paint(replace(job, output="whole.png"))
    steps = hires.iter_paint(job)
    for _ in range(4):
        next(steps)
    steps.close()
    assert cli.main(["resume", "out.run", "--quiet"]) == 0
    pixels = hires.load_image("whole.png")
    assert torch.equal(hires.load_image("out.png"), pixels)
    capsys.readouterr()
    assert cli.main(["inspect", "out.png", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["provenance"]["settings"]["config"]["color"] == mode
    assert cli.main(["stylize", "--from", "out.png", "-o", "again.png", "--quiet"]) == 0
    assert torch.equal(hires.load_image("again.png"), pixels)
    if mode in ("content", "luminance"):
        shown = hires.load_image("content.png")
        seen = hires.load_image("out.run/preview.jpg")
        assert float((chroma(seen) - chroma(resize(shown, (72, 96)))).abs().mean()) < 0.01


def test_a_print_has_the_colours_of_its_window() -> None:
    """What lies beyond the paper does not count."""
    red = torch.tensor([1.0, 0, 0])[:, None, None].expand(1, 3, 60, 60)
    wide = torch.cat([CONTENT, red], 3)
    hires.save_image(wide, "wide.png", bit_depth=16)
    settings = Config(features="tiny.safetensors", min_size=64, color="match", device="cpu")
    job = hires.Job(content="wide.png", styles=("style.png",), output="out.png", config=settings)
    job = replace(job, print=hires.Print(paper="60x80mm", dpi=40, gravity="west"))
    planned = plan_job(job)
    assert planned.run.content.size == (60, 80)
    found, wanted = (colours_of(one) for one in (planned.run.styles[0].pixels, CONTENT))
    assert torch.allclose(found.mean, wanted.mean, atol=1e-3)


def test_what_is_transparent_has_no_say() -> None:
    alpha = torch.ones(1, 1, 60, 80)
    alpha[..., 40:, :] = 0
    seen = Picture(CONTENT, alpha, 8, Path("content.png"))
    other = Picture(torch.where(alpha > 0, CONTENT, 1 - CONTENT), alpha, 8, Path("content.png"))
    for mode in ("match", "luminance", "palette"):
        both = [
            recoloured(config(color=mode), original(one), originals(STYLE)) for one in (seen, other)
        ]
        pixels = [styles[0].pixels for _, styles, _ in both]
        assert torch.equal(*pixels)
        changes = [end.change(chroma(STYLE)) for *_, end in both if end and end.change]
        assert all(torch.equal(one, changes[0]) for one in changes)


def test_the_last_good_picture_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = Objective.__call__

    def broken(self: Objective, canvas: Tensor) -> Evaluation:
        found = evaluate(self, canvas)
        return Evaluation(found.loss * torch.nan, found.terms, found.gradient)

    steps = iter_stylize(CONTENT, STYLE, config(color="content"))
    next(steps)
    monkeypatch.setattr(Objective, "__call__", broken)
    with pytest.raises(StylizeError) as caught:
        list(steps)
    assert has_chroma_of(caught.value.picture, CONTENT)


@pytest.mark.parametrize("mode", ENDS)
def test_the_close_up_has_them(
    mode: str, monkeypatch: pytest.MonkeyPatch, image: Callable[..., Tensor]
) -> None:
    monkeypatch.setattr(closeup, "SHOWN", 128)
    settings = config(sizes=(128, 256), color=mode)
    content, style = 0.3 + image(192, 256).float() / 3, STYLE
    first = next(step for step in iter_stylize(content, style, settings) if step.ends_rung)
    planned = plan_run(fit(settings), original(content), originals(style))
    close_up = CloseUp(first, planned)
    list(close_up)
    picture = close_up.picture()
    assert picture.shape == (1, 3, 128, 128)
    canvas = close_up._canvases[1]
    window = canvas.windows[0]
    region = window.region((192, 256))
    shown = content[..., region.rows.start : region.rows.stop, :]
    shown = shown[..., region.columns.start : region.columns.stop]
    rows, columns = ((side - 128) // 2 for side in window.size)
    shown = shown[..., rows : rows + 128, columns : columns + 128]
    if mode == "palette":
        assert planned.chroma is not None
        assert planned.chroma.change is not None
        wanted = planned.chroma.change(chroma(shown))
        assert float((chroma(picture) - wanted).mean((0, 2, 3)).abs().max()) < 0.01
    else:
        assert has_chroma_of(picture, shown)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--color", "grey"], "--color is 'grey': choose one of style, content, luminance, match"),
        (["--color-match", "pca"], "--color-match is for --color match and --color palette"),
        (["--color", "match", "--color-match", "lu"], "--color-match is 'lu': choose one of"),
        (
            ["--color", "match", "--style-weight", "0", "--patch-weight", "0"],
            "--color match does nothing where --style-weight and --patch-weight are 0",
        ),
    ],
)
def test_mistakes(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["stylize", "content.png", "style.png", "-o", "out.png", "--size", "64", *words]
    assert told in refusal(typed, capsys)
    assert not Path("out.png").exists()


def test_mistakes_from_python() -> None:
    with pytest.raises(ConfigError, match="`color` is 'grey': choose one of style, content"):
        config(color="grey")
