"""Textures: no content; canvases that wrap, exact by plain formulas that pad circularly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reference
import torch
import torch.nn.functional as F
from conftest import COMPACT_SHAPE, REFLECT_SHAPE, VGG_SHAPE, random_image, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from objectives import setup_of
from torch import Tensor

import hires
from hires.cli.main import main
from hires.engine.canvas import WholeCanvas
from hires.engine.measuring import Measuring
from hires.engine.references import References
from hires.engine.replay import Evaluation
from hires.engine.setup import Setup
from hires.features.architecture import Architecture
from hires.features.network import Network
from hires.image.originals import Original, blank
from hires.image.resample import resize
from hires.kernels.wrapping import folded, resized, wrapped
from hires.losses import patches
from hires.losses.patches import Patches
from hires.losses.style import STYLE_LOSSES, Style
from hires.losses.variation import VARIATIONS, TotalVariation

CPU, DOUBLE = torch.device("cpu"), torch.float64
SHAPES = {"vgg19": VGG_SHAPE, "compact": COMPACT_SHAPE, "reflect": REFLECT_SHAPE}
WEIGHTS = {"style": 7.0, "patch": 2.0, "tv": 3.0}
SMALL: dict[str, Any] = {"size": 64, "iterations": (3,), "memory": "200MiB"}


def setup_for(
    architecture: Architecture, tile: int | None, form: str = "squared", loss: str = "gram"
) -> Setup:
    network = Network(architecture, random_weights(architecture))
    network.prepare(CPU, DOUBLE, torch.channels_last)
    layers = {f"relu{b}_1": 1.0 / b for b in range(1, len(architecture.blocks) + 1)}
    terms = (
        Style(losses={STYLE_LOSSES[loss]: 1.0}, layers=layers, weight=WEIGHTS["style"]),
        Patches(weight=WEIGHTS["patch"]),
        TotalVariation(form=form, weight=WEIGHTS["tv"]),
    )
    return setup_of(network, terms, DOUBLE, tile)


def evaluated(setup: Setup, canvas: Tensor, style: Tensor, num_kept: int | None) -> Evaluation:
    """Loss and gradient of a canvas that wraps, as a run evaluates it."""
    wrap, _ = setup.wrap
    size = canvas.shape[2], canvas.shape[3]
    references = References(
        setup=setup,
        canvas=WholeCanvas(setup, size, wrap=wrap),
        content=blank(size),
        styles=[Original(style)],
        style_sizes=[(style.shape[2], style.shape[3])],
        shares=[1.0],
        measuring=Measuring(setup),
    )
    plan = setup.plan_tiles(references.positions.size)
    if num_kept is not None:
        plan = replace(plan, num_kept=min(num_kept, len(plan.tiles)))
    found = setup.objective(references, plan)(wrapped(canvas, wrap))
    return replace(found, gradient=folded(found.gradient, wrap))


def plain(architecture: Architecture, canvas: Tensor, style: Tensor) -> Tensor:
    """The loss with circular padding at every convolution, and neighbours found by rolling."""
    weights = random_weights(architecture)
    # What repeats has the same statistics; the reference pools once more than it needs to.
    twice = canvas.repeat(1, 1, 2, 2)
    found = reference.network(architecture, weights, twice, padding="circular")
    wanted = reference.network(architecture, weights, style)
    layers = {f"relu{b}_1": 1.0 / b for b in range(1, len(architecture.blocks) + 1)}
    losses = [w * reference.gram_loss(found[n], wanted[n]) for n, w in layers.items()]
    total = WEIGHTS["style"] * torch.stack(losses).sum()
    total = total + WEIGHTS["patch"] * plain_patches(canvas, style)
    return total + WEIGHTS["tv"] * plain_variation(canvas)


def plain_variation(canvas: Tensor) -> Tensor:
    total = torch.zeros((), dtype=DOUBLE)
    for y, x, weight in ((0, 1, 1.0), (1, 0, 1.0), (1, 1, 0.5), (1, -1, 0.5)):
        total = total + weight * (canvas - canvas.roll((y, x), (2, 3))).square().sum()
    return total / 6 / (canvas.shape[2] * canvas.shape[3])


def moments(rows: Sequence[Tensor], count: int) -> Tensor:
    stacked = torch.stack([row.flatten() for row in rows])
    return stacked @ stacked.T / count


def plain_patches(canvas: Tensor, style: Tensor) -> Tensor:
    """That of `hires.losses.patches`, every patch of the canvas being one that wraps."""
    centre = style.mean((2, 3), keepdim=True)
    places = [(y, x, c) for y in range(3) for x in range(3) for c in range(3)]
    floor = patches._FLOOR * torch.eye(27, dtype=DOUBLE)
    losses = []
    for scale in (1, 2, 4):
        small = F.avg_pool2d(style - centre, scale)
        height, width = (side + 2 for side in small.shape[2:])
        wide = F.pad(small, (2, 2, 2, 2))[0]
        rows = [wide[c, y : y + height, x : x + width] for y, x, c in places]
        wanted = moments(rows, small.shape[2] * small.shape[3])
        part = F.avg_pool2d(canvas - centre, scale)[0]
        rolled = [part[c].roll((-y, -x), (0, 1)) for y, x, c in places]
        found = moments(rolled, part.shape[1] * part.shape[2])
        inverse = torch.linalg.inv(torch.linalg.cholesky(wanted + floor))
        values = torch.linalg.eigvalsh(inverse @ (found + floor) @ inverse.T)
        losses.append((values.sqrt() - 1).square().mean())
    return torch.stack(losses).mean()


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(
    ("shape", "size", "tile", "num_kept"),
    [
        ("compact", (96, 64), None, None),
        ("compact", (112, 80), 70, 2),
        ("compact", (64, 176), 101, 0),
        ("vgg19", (80, 96), 90, 1),
        ("reflect", (48, 80), 33, 3),
        # The network sees further than the canvas is wide: several copies of it.
        ("compact", (32, 16), None, None),
        ("vgg19", (16, 48), 87, 1),
    ],
)
def test_a_canvas_that_wraps_is_exact(
    shape: str, size: tuple[int, int], tile: int | None, num_kept: int | None
) -> None:
    setup = setup_for(SHAPES[shape], tile)
    canvas = random_image(*size, seed=3).double().requires_grad_()
    style = random_image(76, 100, seed=2).double()
    wanted = plain(SHAPES[shape], canvas, style)
    (slope,) = torch.autograd.grad(wanted, [canvas])
    found = evaluated(setup, canvas.detach(), style, num_kept)
    torch.testing.assert_close(found.loss, wanted.detach(), rtol=1e-12, atol=0)
    assert relative(found.gradient, slope) < 1e-12


def test_tiles_of_a_canvas_that_wraps_add_up() -> None:
    canvas, style = random_image(96, 80, seed=3).double(), random_image(76, 100, seed=2).double()
    found, whole = (
        evaluated(setup_for(COMPACT_SHAPE, tile, loss="wasserstein"), canvas, style, 1)
        for tile in (77, None)
    )
    torch.testing.assert_close(found.loss, whole.loss, rtol=1e-12, atol=0)
    assert relative(found.gradient, whole.gradient) < 1e-12


def test_the_loss_knows_no_origin() -> None:
    """Moved round by whole cells of the deepest layer, a canvas has the same loss and gradient."""
    setup = setup_for(COMPACT_SHAPE, 90)
    canvas, style = random_image(96, 80, seed=3).double(), random_image(76, 100, seed=2).double()
    here = evaluated(setup, canvas, style, 1)
    there = evaluated(setup, canvas.roll((32, -16), (2, 3)), style, 1)
    torch.testing.assert_close(there.loss, here.loss, rtol=1e-12, atol=0)
    assert relative(there.gradient.roll((-32, 16), (2, 3)), here.gradient) < 1e-12


@pytest.mark.parametrize("form", VARIATIONS)
def test_every_variation_wraps(form: str) -> None:
    """In bands, too: where a canvas begins makes no difference."""
    setup = setup_for(COMPACT_SHAPE, None, form)
    canvas, style = random_image(32, 48).double(), random_image(76, 100, seed=2).double()
    here = evaluated(setup, canvas, style, None).terms["tv"]
    there = evaluated(setup, canvas.roll((16, 16), (2, 3)), style, None).terms["tv"]
    torch.testing.assert_close(there, here, rtol=1e-12, atol=0)
    if form == "absolute":
        pairs = [(canvas - canvas.roll(1, dim)).abs().mean() for dim in (2, 3)]
        torch.testing.assert_close(here, (pairs[0] + pairs[1]) / 2, rtol=1e-12, atol=0)
    if form == "power":
        down, across = (canvas.roll(-1, dim) - canvas for dim in (2, 3))
        wanted = (down.square() + across.square()).pow(1.25).sum()
        torch.testing.assert_close(here, wanted, rtol=1e-12, atol=0)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 40))
@settings(max_examples=30)
def test_gradients_are_folded_back(height: int, width: int, margin: int) -> None:
    image = random_image(height, width).double().requires_grad_()
    around = wrapped(image, margin)
    rows = (torch.arange(height + 2 * margin) - margin) % height
    columns = (torch.arange(width + 2 * margin) - margin) % width
    assert torch.equal(around, image[..., rows, :][..., columns])
    slope = random_image(height + 2 * margin, width + 2 * margin, seed=2).double()
    (wanted,) = torch.autograd.grad((around * slope).sum(), [image])
    torch.testing.assert_close(folded(slope, margin), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("before", "after"),
    [((16, 32), (32, 48)), ((48, 32), (80, 112)), ((64, 48), (16, 32)), ((64, 64), (64, 96))],
)
def test_sizes_change_without_a_seam(before: tuple[int, int], after: tuple[int, int]) -> None:
    image = random_image(*before).double()
    found = resized(image, after)
    wide = resize(image.repeat(1, 1, 5, 5), (5 * after[0], 5 * after[1]))
    middle = wide[..., 2 * after[0] : 3 * after[0], 2 * after[1] : 3 * after[1]]
    assert found.shape == middle.shape
    torch.testing.assert_close(found, middle, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:the tones of the painting")
def test_textures_from_python() -> None:
    """Square, or of an exact size; nothing of a content in their loss."""
    styles = [random_image(80, 90, seed=2), random_image(96, 64, seed=5)]
    config = hires.Config(**SMALL, style_weights=(3.0, 1.0))
    progress = next(hires.iter_stylize(None, styles, config))
    assert list(progress.terms) == ["style", "patch", "tv"]
    assert progress.picture().shape == (1, 3, 64, 64)
    wide = hires.stylize(None, styles, config, size=(64, 96), tileable=True)
    assert wide.shape == (1, 3, 64, 96)
    again = hires.stylize(None, styles, config, size=(64, 96), tileable=True)
    assert torch.equal(wide, again)
    other = hires.stylize(None, styles, replace(config, seed=1), size=(64, 96), tileable=True)
    assert not torch.equal(wide, other)


def test_a_ladder_that_wraps_starts_and_ends_without_a_seam() -> None:
    """Sides are rounded to whole cells, and that is told."""
    style = random_image(90, 90, seed=2)
    config = hires.Config(size=140, min_size=70, iterations=(2,))
    steps = hires.iter_stylize(None, style, config, tileable=True)
    found = list(dict.fromkeys((step.rung.size, step.rung.wrap) for step in steps))
    assert found == [((64, 64), 80), ((144, 144), 80)]
    first = next(hires.iter_stylize(None, style, config, tileable=True))
    assert any("multiples of 16" in note for note in first.warnings)


@pytest.mark.filterwarnings("ignore:the tones of the painting")
def test_no_line_is_a_seam(folder: Path) -> None:
    """Begun half a canvas further on, a whole ladder ends half a canvas further on.

    So what one run has across its border another has inside, and can be compared without chance.
    """
    noise, results = random_image(64, 64, seed=7), []
    for shift in (0, 32):
        start = str(folder / f"{shift}.png")
        hires.save_image(noise.roll((shift, shift), (2, 3)), start, bit_depth=16)
        config = hires.Config(
            init=start, sizes=(64, 128), iterations=(12, 8), precision="fp32", memory="200MiB"
        )
        results.append(hires.stylize(None, "a.png", config, tileable=True).double())
    here, there = results[0], results[1].roll((-64, -64), (2, 3))
    assert relative(there, here) < 0.01
    for dim in (2, 3):
        energies = [(x - x.roll(1, dim)).select(dim, 0).square().sum() for x in (here, there)]
        assert float(energies[1] / energies[0]) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"content": "c.png"}, "`tileable` is for textures"),
        ({"size": (60, 64)}, "60 px cannot wrap"),
        ({"config": {"margin": 8}}, "leave `margin` out"),
        ({"config": {"color": "match"}}, "a texture has no content: leave `color` out"),
        ({"config": {"content_weight": 1.0}}, "leave `content_weight` out"),
        ({"config": {"content_layers": ("relu3_1",)}}, "leave `content_layers` out"),
        ({"config": {"init": "blend:0.5"}}, "needs a content"),
        ({"config": {"size": "50%"}}, "needs a content"),
    ],
)
def test_what_textures_have_no_use_for(options: dict[str, Any], told: str) -> None:
    asked = {"content": None, **options}
    config = hires.Config(**(SMALL | asked.pop("config", {})))
    with pytest.raises(ValueError, match=told):
        hires.stylize(styles=random_image(80, 80), config=config, tileable=True, **asked)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    hires.save_image(random_image(80, 96, seed=2), "a.png")
    hires.save_image(random_image(96, 72, seed=5), "b.png")
    return tmp_path


WORDS = ["--size", "64", "--iterations", "3", "--quiet"]


def test_the_command_paints_plans_tells_and_repeats(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["a.png", "b.png", "--aspect", "3:2", "--size", "96", "--iterations", "3"]
    assert main(["texture", *words, "--tileable", "-o", "out.png", "--quiet"]) == 0
    assert hires.picture_size("out.png") == (64, 96)
    assert main(["texture", "--from", "out.png", "-o", "again.png", "--quiet"]) == 0
    assert (folder / "again.png").read_bytes() == (folder / "out.png").read_bytes()
    capsys.readouterr()
    assert main(["plan", "--texture", *words, "--tileable", "--json", "--no-probe"]) == 0
    rungs = json.loads(capsys.readouterr().out)["rungs"]
    assert (rungs[-1]["width"], rungs[-1]["height"]) == (96, 64)
    assert main(["inspect", "out.png"]) == 0
    told = capsys.readouterr().out
    assert "--tileable" in told
    assert "--aspect 3:2" in told
    assert "content" not in told
    assert "--init" not in told
    assert main(["stylize", "--from", "out.png", "-o", "x.png"]) == 2
    assert "hires texture" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_a_paper_is_filled() -> None:
    words = ["a.png", "--print", "10x15cm", "--dpi", "20", "--landscape", "--iterations", "2"]
    assert main(["texture", *words, "-o", "out.tif", "--quiet"]) == 0
    assert hires.picture_size("out.tif") == (79, 118)


@pytest.mark.usefixtures("folder")
def test_a_texture_goes_on_to_the_same_bits() -> None:
    """Wrapping canvases, too: whatever a step depends on is in the snapshot."""
    config = hires.Config(size=128, min_size=64, iterations=(3, 3))
    job = hires.Job(content=None, styles=("a.png",), output="out.png", tileable=True, config=config)
    hires.paint(replace(job, no_run_dir=True, output="whole.png"))
    for stop in (2, 4):
        steps = hires.iter_paint(replace(job, output=f"out{stop}.png", checkpoint_every=0))
        for _ in range(stop):
            next(steps)
        steps.close()
        assert main(["resume", f"out{stop}.run", "--quiet"]) == 0
        found = hires.load_image(f"out{stop}.png")
        assert torch.equal(found, hires.load_image("whole.png"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["texture", "-o", "x.png"], "missing STYLE"),
        (["texture", "a.png", "-o", "x.png", "--size", "8"], "--size is 8"),
        (["texture", "a.png", "-o", "x.png", "--aspect", "wide"], "--aspect is 'wide'"),
        (["texture", "a.png", "-o", "x.png", "--aspect", "50:1"], "times longer than wide"),
        (["texture", "a.png", "-o", "x.png", "--print", "A4", "--tileable"], "--tileable needs"),
        (["texture", "a.png", "-o", "x.png", "--print", "A4", "--aspect", "2:1"], "leave it out"),
        (["texture", "a.png", "-o", "x.png", "--print", "A4", "--fit", "pad"], "leave it out"),
        (["texture", "a.png", "-o", "x.png", "--tileable", "--margin", "4"], "leave --margin out"),
        (["texture", "a.png", "-o", "x.png", "--init", "blend:0.3"], "needs a content"),
        (["texture", "a.png", "-o", "x.png", "--content-weight", "1"], "unknown argument"),
        (["stylize", "a.png", "b.png", "-o", "x.png", "--tileable"], "unknown argument"),
        (["plan", "a.png", "b.png", "--tileable"], "--tileable is for textures"),
        (["plan", "--texture"], "missing CONTENT"),
    ],
)
def test_mistakes_are_told_in_a_line(
    folder: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert told in lines[0]
    assert not (folder / "x.png").exists()
