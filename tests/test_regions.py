"""Regions painted by their own styles, photographs that are kept, maps of the content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import COMPACT_SHAPE, VGG_SHAPE, random_image, random_weights
from objectives import setup_of, terms_of
from torch import Tensor

import hires
from hires.cli import main as cli
from hires.config.guides import Guides, Mask, parse_mask
from hires.config.paper import Window
from hires.engine import preview
from hires.engine.canvas import WholeCanvas
from hires.engine.measuring import Measuring
from hires.engine.objective import Objective
from hires.engine.references import References
from hires.engine.replay import Evaluation
from hires.errors import ConfigError
from hires.features.architecture import Architecture
from hires.features.checkpoints import load_features, write_checkpoint
from hires.features.network import Network
from hires.image.decode.read import read_picture
from hires.image.guides import MOST_STRICT, UNGUIDED, Guided, PaintedRegion, guided
from hires.image.originals import Original
from hires.losses.detail import Detail
from hires.losses.erosion import eroded
from hires.losses.gathered import SelfSimilarity
from hires.losses.patches import Patches
from hires.losses.positions import Positions
from hires.losses.style import STYLE_LOSSES

LOSSES = (*STYLE_LOSSES, "central", "sliced", "transport", "neighbours")
SAMPLES = Path(__file__).parent.parent / "samples"
SIZE = (131, 183)
STYLE_SIZES = [(75, 101), (90, 84)]
CPU = torch.device("cpu")


def soft(size: tuple[int, int], share: float) -> Tensor:
    """1 at the left, 0 at the right, and a ramp of nine pixels where they meet."""
    height, width = size
    ramp = ((share * width - torch.arange(width)) / 9 + 0.5).clamp(0, 1)
    return ramp.expand(1, 1, height, width).clone()


def guides() -> Guided:
    left = soft(SIZE, 0.45)
    right = (1 - left) * (torch.arange(SIZE[0]) < 100).float().view(1, 1, -1, 1)
    strictness = 2 * random_image(*SIZE, seed=9)[:, :1].float()
    regions = (
        PaintedRegion(left, {0: None, 1: soft(STYLE_SIZES[1], 0.6)}),
        PaintedRegion(right, {1: None}),
    )
    return Guided(regions, 1 - left - right, strictness)


def build(
    shape: Architecture,
    style_loss: str = "wasserstein",
    *,
    given: Guided = UNGUIDED,
    tile: int | None = None,
    num_kept: int = 2,
    margin: int = 0,
    hidden: bool = False,
    weights: tuple[float, float, float] = (7.0, 2.0, 3.0),
    patch_weight: float = 0.5,
    depth: int | None = None,
    controls: bool = False,
) -> Objective:
    num_blocks = len(shape.blocks)
    layers = {f"relu{b}_1": 1.0 / b for b in range(1, (depth or num_blocks) + 1)}
    both = layers, {f"relu{num_blocks - 1}_2": 1.0}
    styles_of = {"relu2_1": 1, "relu4_1": 0} if controls else {}
    terms = [*terms_of(style_loss, both, weights, styles=styles_of)]
    terms += [Patches(weight=patch_weight)] if patch_weight else []
    if controls:
        terms += [
            Detail(weight=0.4),
            SelfSimilarity(name="similarity", layers={"relu3_1": 1}, weight=0.3),
        ]
    network = Network(shape, random_weights(shape))
    network.prepare(CPU, torch.float64, torch.channels_last)
    setup = setup_of(network, terms, torch.float64, tile)
    styles = [Original(random_image(*size, seed=i)) for i, size in enumerate(STYLE_SIZES, 2)]
    mask = random_image(*SIZE, seed=4)[:, :1].float() if hidden else None
    canvas = WholeCanvas(setup, SIZE, margin=margin)
    references = References(
        setup=setup,
        canvas=canvas,
        content=Original(random_image(*SIZE, seed=1), mask),
        styles=styles,
        style_sizes=STYLE_SIZES,
        shares=[0.3, 0.7],
        measuring=Measuring(setup),
        guides=given,
    )
    plan = setup.plan_tiles(canvas.size)
    return setup.objective(references, replace(plan, num_kept=min(num_kept, len(plan.tiles))))


def evaluate(objective: Objective, seed: int = 3) -> Evaluation:
    objective.at_step(0)
    found = objective(random_image(*objective.positions.size, seed=seed).double())
    return Evaluation(found.loss, found.terms, found.gradient.clone())


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(
    ("shape", "style_loss"),
    [
        *((COMPACT_SHAPE, loss) for loss in LOSSES),
        (VGG_SHAPE, "wasserstein central sliced transport neighbours:0.3"),
    ],
)
def test_all_controls_together_are_exact_in_tiles(shape: Architecture, style_loss: str) -> None:
    """Regions, parts of styles, styles of layers, a map, drawing, what is hidden, a margin."""
    options: dict[str, Any] = {"given": guides(), "margin": 5, "hidden": True, "controls": True}
    whole = evaluate(build(shape, style_loss, **options))
    tiled = evaluate(build(shape, style_loss, tile=48, num_kept=3, **options))
    plain = evaluate(build(shape, style_loss, margin=5, hidden=True))
    assert float(tiled.loss) == pytest.approx(float(whole.loss), rel=1e-12)
    assert relative(tiled.gradient, whole.gradient) <= 1e-12
    assert relative(plain.gradient, whole.gradient) > 0.01


def test_the_gradient_is_that_of_the_loss() -> None:
    objective = build(COMPACT_SHAPE, given=guides(), tile=64)
    canvas = random_image(*SIZE, seed=3).double() * 0.8 + 0.1
    direction = random_image(*SIZE, seed=8).double() - 0.5
    slope = float((objective(canvas).gradient * direction).sum())
    step = 1e-7
    ahead, behind = (float(objective(canvas + s * direction).loss) for s in (step, -step))
    assert (ahead - behind) / (2 * step) == pytest.approx(slope, rel=1e-5)


def test_one_region_that_is_all_is_as_none() -> None:
    whole = Guided((PaintedRegion(torch.ones(1, 1, *SIZE), {0: None, 1: None}),))
    for loss in LOSSES:
        found = evaluate(build(COMPACT_SHAPE, loss, given=whole))
        plain = evaluate(build(COMPACT_SHAPE, loss))
        assert float(found.loss) == pytest.approx(float(plain.loss), rel=1e-9)
        assert relative(found.gradient, plain.gradient) < 1e-7


@pytest.mark.parametrize("style_loss", LOSSES)
def test_regions_that_are_alike_weigh_what_the_whole_does(style_loss: str) -> None:
    """Two halves with the same pixels, far from each other, and the whole of one of them."""
    half = torch.zeros(1, 1, *SIZE)
    half[..., : SIZE[1] // 2] = 1
    both = Guided(tuple(PaintedRegion(one, {0: None}) for one in (half, 1 - half)))
    once = Guided((PaintedRegion(half, {0: None}),))
    weights = (1.0, 0.0, 0.0)
    halves, one = (
        evaluate(
            build(COMPACT_SHAPE, style_loss, given=given, weights=weights, patch_weight=0, depth=3)
        )
        for given in (both, once)
    )
    assert float(halves.loss) > float(one.loss)
    left = halves.gradient[..., : SIZE[1] // 2 - 20]
    assert relative(left, one.gradient[..., : SIZE[1] // 2 - 20]) < 1e-10


def test_a_style_hardly_paints_beyond_its_region() -> None:
    """With the network that people paint with, and a picture that is as good as painted."""
    picture = read_picture(SAMPLES / "impasto.jpg").pixels
    picture = F.interpolate(picture, size=(192, 288), mode="area").double()
    size = (192, 288)
    left = torch.zeros(1, 1, *size)
    left[..., :144] = 1
    terms = terms_of("wasserstein", ({f"relu{b}_1": 0.2 for b in range(1, 6)}, {}), (1, 0, 0))[:1]
    network = load_features("compact")
    network.prepare(CPU, torch.float64, torch.channels_last)
    setup = setup_of(network, terms, torch.float64)
    references = References(
        setup=setup,
        canvas=WholeCanvas(setup, size),
        content=Original(picture),
        styles=[Original(picture.flip(1))],
        style_sizes=[size],
        shares=[1.0],
        measuring=Measuring(setup),
        guides=Guided((PaintedRegion(left, {0: None}),), 1 - left),
    )
    found = setup.objective(references, setup.plan_tiles(size))(picture).gradient
    columns = found.square().mean((0, 1, 2)).sqrt()
    within = float(columns[:96].mean())
    # Beyond what relu2_1 sees, and beyond what relu5_1 sees from where its guide ends.
    assert float(columns[152:].max()) < 0.03 * within
    assert float(columns[184:].max()) == 0
    # And within, the style goes on up to the border.
    assert float(columns[128:136].mean()) > 0.2 * within


def test_another_regions_style_changes_nothing_here() -> None:
    left = torch.zeros(1, 1, *SIZE)
    left[..., :96] = 1
    found = []
    for style in (0, 1):
        regions = (PaintedRegion(left, {0: None}), PaintedRegion(1 - left, {style: None}))
        objective = build(COMPACT_SHAPE, given=Guided(regions), depth=3)
        found.append(evaluate(objective).gradient)
    difference = (found[0] - found[1]).abs().amax((0, 1, 2))
    # Patches at a quarter of the size hold pixels of both sides.
    assert float(difference[:88].max()) < 1e-12 * float(found[0].abs().max())
    assert float(difference[100:].max()) > 1e-3 * float(found[0].abs().max())


class TestErosion:
    def test_a_position_counts_as_the_least_that_it_sees(self) -> None:
        mask = torch.zeros(1, 1, 40, 64)
        mask[..., :32] = 1
        found = eroded(mask, 4, 10, [(slice(0, 40), slice(0, 64))])
        # Cells of four pixels, and one around each, a third of 10 pixels: columns 28 to 31 see 32.
        assert found[0, 0, 0].tolist() == [1.0] * 7 + [0.0] * 9
        assert bool((found == found[..., :1, :]).all())  # The picture's border is none.

    def test_pictures_side_by_side_do_not_see_each_other(self) -> None:
        mask = torch.zeros(1, 1, 40, 64)
        mask[..., :32] = 1
        pictures = [(slice(0, 40), slice(0, 32)), (slice(0, 40), slice(32, 64))]
        found = eroded(mask, 4, 10, pictures)
        assert torch.equal(found, F.avg_pool2d(mask, 4))

    def test_a_small_region_is_eroded_less(self) -> None:
        mask = torch.zeros(1, 1, 64, 64)
        mask[..., 20:48, 20:48] = 1
        found = eroded(mask, 4, 40, [(slice(0, 64), slice(0, 64))])
        assert float(found.sum()) == 25  # Of 7x7 positions, all but the outermost.
        mask = torch.zeros(1, 1, 64, 64)
        mask[..., 21:24, 21:24] = 1
        found = eroded(mask, 4, 40, [(slice(0, 64), slice(0, 64))])
        assert torch.equal(found, F.avg_pool2d(mask, 4))

    def test_counts_are_those_of_what_is_handed_out(self) -> None:
        layers = COMPACT_SHAPE.layers()
        regions = [soft(SIZE, 0.3), None]
        positions = Positions(SIZE, layers, device=CPU, sum_dtype=torch.float64, regions=regions)
        for index, view in positions.of_pixels(0):
            assert index[1] == slice(0, SIZE[1])
            assert view.regional[0] is not None
            assert view.regional[1] is None
            parts = [view.regional[0] for _, view in positions.of_pixels(0)]
        masks = [part.mask for part in parts if part is not None]
        total = sum(float(mask.double().sum()) for mask in masks if mask is not None)
        assert positions.area(0) == pytest.approx(total / (SIZE[0] * SIZE[1]), rel=1e-12)
        assert positions.area(1) == 0


class TestReading:
    @pytest.fixture
    def styles(self) -> list[Original]:
        return [Original(random_image(40, 60, seed=i).float()) for i in (2, 3)]

    def read(self, styles: list[Original], *masks: Mask, **options: Any) -> Guided:
        content = Original(random_image(50, 70, seed=1).float())
        found: Guided = hires.read_guides(content, styles, masks=masks, **options)
        return found

    def test_overlaps_are_shared_and_gaps_are_kept(self, styles: list[Original]) -> None:
        one, other = torch.zeros(1, 1, 50, 70), torch.zeros(1, 1, 50, 70)
        one[..., :40], other[..., 30:60] = 1, 1
        found = self.read(styles, Mask(content=one), Mask(content=other))
        first, second = (region.mask[0, 0, 0] for region in found.regions)
        assert first[[0, 35, 45, 65]].tolist() == [1, 0.5, 0, 0]
        assert second[[0, 35, 45, 65]].tolist() == [0, 0.5, 1, 0]
        assert found.kept is not None
        assert found.kept[0, 0, 0, [0, 35, 45, 65]].tolist() == [0, 0, 0, 1]
        overlap, gap = found.notes
        assert overlap.startswith("masks overlap in 14% of the photograph")
        assert gap.startswith("no mask covers 14% of the photograph")

    def test_the_rest_and_style_0(self, styles: list[Original]) -> None:
        one = soft((50, 70), 0.5)
        given = Mask(content=one, numbers=(0,)), Mask(content="rest", numbers=(1, 2))
        found = self.read(styles, *given)
        assert len(found.regions) == 1
        torch.testing.assert_close(found.regions[0].mask, 1 - one)
        assert found.kept is not None
        torch.testing.assert_close(found.kept, one)
        assert found.shares([0.25, 0.75]) == [[0.25, 0.75]]
        assert found.notes == ()

    def test_parts_of_one_style_need_no_number(self, styles: list[Original]) -> None:
        one, part = soft((50, 70), 0.5), soft((40, 60), 0.2)
        masks = Mask(content=one, style=part), Mask(content="rest", style=1 - part)
        found = self.read(styles[:1], *masks)
        assert [list(region.styles) for region in found.regions] == [[0], [0]]
        assert found.kept is None
        told = found.of_style(0, (20, 30))
        assert [plane is not None and plane.shape for plane in told] == [(1, 1, 20, 30)] * 2

    def test_a_map(self, styles: list[Original]) -> None:
        grey = torch.tensor([0.0, 0.5, 0.75, 1.0]).view(1, 1, 1, 4).expand(1, 1, 4, 4)
        content = Original(torch.zeros(1, 3, 4, 4))
        found = hires.read_guides(content, styles, content_map=grey)
        assert found.strictness is not None
        assert found.strictness[0, 0, 0].tolist() == pytest.approx([0, 1, 3, MOST_STRICT])

    def test_labels(self, styles: list[Original], tmp_path: Path) -> None:
        own = torch.zeros(1, 3, 50, 70)
        own[:, 0, :, :40], own[:, 2, :, 40:] = 1, 1
        own[:, :, :1, 39:41] = 0.5  # A smoothed edge.
        alpha = torch.ones(1, 1, 50, 70)
        alpha[..., 40:, :] = 0
        hires.save_image(own, tmp_path / "own.png", alpha=alpha)
        red, blue = torch.zeros(1, 3, 40, 60), torch.zeros(1, 3, 40, 60)
        red[:, 0], blue[:, 2, :20], blue[:, 1, 20:] = 0.95, 1, 1
        for name, picture in (("red", red), ("blue", blue)):
            hires.save_image(picture, tmp_path / f"{name}.png")
        paths = tuple(str(tmp_path / f"{name}.png") for name in ("own", "red", "blue"))
        found = guided((50, 70), styles, Guides(labels=paths))
        assert [list(region.styles) for region in found.regions] == [[0], [1]]
        part = found.regions[1].styles[1]
        assert part is not None
        assert part.mean() == 0.5
        assert found.kept is not None
        assert bool((found.kept[..., 40:, :] == 1).all())
        assert float(found.kept[..., :40, :].max()) == 0
        with pytest.raises(ConfigError, match=r"own.png has the colour #0000ff, which .*red.png"):
            guided((50, 70), styles[:1], Guides(labels=paths[:2]))

    def test_a_window_cuts_all(self, styles: list[Original]) -> None:
        given = Guides(mask=("rest:1+2",))
        assert guided((50, 70), styles, given, window=Window(5, 6, 20, 30)).regions[
            0
        ].mask.shape == (1, 1, 20, 30)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a.png", ("a.png", None, ())),
        ("a.png:2", ("a.png", None, (2,))),
        ("a.png:b.png", ("a.png", "b.png", ())),
        ("rest:b.png:1+3", ("rest", "b.png", (1, 3))),
        ("C:\\a.png:D:\\b.png:2", ("C:\\a.png", "D:\\b.png", (2,))),
    ],
)
def test_masks_as_typed(text: str, wanted: tuple[Any, ...]) -> None:
    found = parse_mask(text)
    assert (found.content, found.style, found.numbers) == wanted


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        write_checkpoint(Path("tiny.safetensors"), COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
        for seed, name in enumerate(("content", "one", "two"), 1):
            hires.save_image(random_image(96, 128, seed).float(), f"{name}.png")
        noise = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
        hires.save_image(noise, "noise.png")
        pictures = {
            "left": soft((96, 128), 0.5),
            "small": soft((48, 64), 0.5),
            "square": soft((64, 64), 0.5),
            "empty": torch.zeros(1, 1, 96, 128),
            "map": soft((96, 128), 0.7),
        }
        for name, plane in pictures.items():
            hires.save_image(plane.expand(1, 3, -1, -1), f"{name}.png")
        return tmp_path

    RUN = ("--features", "tiny.safetensors", "--sizes", "96", "128")

    def run(self, *words: str, steps: str = "2") -> int:
        pictures = ["content.png", "one.png", "two.png"]
        if "single" in words:
            pictures.pop()
        given = [word for word in words if word != "single"]
        return cli.main(
            ["stylize", *pictures, "-o", "out.png", *self.RUN, "--iterations", steps, *given]
        )

    def test_what_is_kept_is_the_photograph(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run("single", "--mask", "small.png", "--content-map", "map.png") == 0
        told = capsys.readouterr().err
        assert "small.png is 64x48 and is resized to the 128x96 of the photograph" in told
        assert "no mask covers 49% of the photograph: it is kept there as it is" in told
        out, photograph = (hires.load_image(folder / name) for name in ("out.png", "content.png"))
        assert torch.equal(out[..., 80:], photograph[..., 80:])
        assert not torch.equal(out[..., :40], photograph[..., :40])
        assert cli.main(["inspect", "out.png"]) == 0
        told = capsys.readouterr().out
        assert "--mask small.png --content-map map.png" in told
        assert "mask     small.png (SHA-256" in told
        assert cli.main(["stylize", "--from", "out.png", "-o", "again.png", "--quiet"]) == 0
        assert torch.equal(hires.load_image(folder / "again.png"), out)

    def test_a_run_goes_on_to_the_bit(self, folder: Path) -> None:
        words = ("--mask", "left.png:2", "--mask", "rest:1", "--content-map", "map.png")
        assert self.run(*words, "--quiet") == 0
        guides = Guides(mask=("left.png:2", "rest:1"), content_map="map.png")
        job = hires.Job(
            content="content.png",
            styles=("one.png", "two.png"),
            output="half.png",
            guides=guides,
            config=hires.Config(features="tiny.safetensors", sizes=(96, 128), iterations=(2,)),
        )
        steps = hires.iter_paint(job)
        for _ in range(3):
            next(steps)
        steps.close()
        assert cli.main(["resume", "half.run", "--quiet"]) == 0
        whole, half = (hires.load_image(folder / f"{name}.png") for name in ("out", "half"))
        assert torch.equal(whole, half)
        painted = hires.stylize("content.png", ["one.png", "two.png"], job.config, guides=guides)
        assert float((painted - whole).abs().max()) < 0.01

    def test_a_close_up_keeps_the_photograph(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(preview, "SHOWN", 128)
        monkeypatch.setattr(preview, "PREVIEW_PIXELS", 128 * 96)
        words = ["--preview", "--sizes", "128", "256", "--mask", "left.png"]
        assert self.run("single", *words, "--quiet") == 0
        shown = hires.load_image(folder / "out-closeup.png")
        # Its window is the part with most detail that is painted.
        assert shown.shape[2:] == (128, 128)
        saved = hires.load_image(folder / "out-preview.png")
        photograph = hires.load_image(folder / "content.png")
        assert torch.equal(saved[..., 80:], photograph[..., 80:])

    def test_plan_and_a_print(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["--mask", "left.png:2", "--mask", "rest:1", "--no-probe"]
        pictures = ["content.png", "one.png", "two.png", "--features", "tiny.safetensors"]
        paper = ["--print", "50x50mm", "--dpi", "72"]
        for extra in ([], paper):
            assert cli.main(["plan", *pictures, *words, *extra]) == 0
        assert "rung" in capsys.readouterr().out
        assert folder.is_dir()

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["--mask", "empty.png", "--mask", "rest"], "empty.png is empty: paint white"),
            (["--mask", "square.png", "--mask", "rest"], "square.png is 64x64, of another shape"),
            (["--mask", "dot.png", "--mask", "rest"], "dot.png is 1x1, of another shape"),
            (["--content-map", "square.png"], "square.png is 64x64, of another shape"),
            (["--mask", "left.png", "left.png", "rest"], "there are 3 masks or more for 2 style"),
            (["--mask", "left.png:3", "rest"], "names style 3, but there are 2"),
            (["--mask", "left.png"], "style 2 paints nothing: name its number"),
            (["--mask", "left.png:0+1"], "style 0, which keeps the photograph: give that alone"),
            (["--mask", "left.png:0"], "no --mask has a style: nothing would be painted"),
            (["--mask", "a:b:c:1"], "write CONTENT_MASK, CONTENT_MASK:STYLE_MASK"),
            (["--mask", "missing.png", "rest"], "missing.png"),
            (["--labels", "left.png", "left.png"], "--labels has 2 pictures for a photograph"),
            (["--labels", "noise.png", "noise.png", "noise.png"], "is no picture of labels"),
            (["--mask", "left.png", "--labels", "left.png"], "both say where regions are"),
            (["--mask", "left.png", "rest", "--style-weight", "0"], "--mask does nothing where"),
            (["--mask", "left.png", "rest", "--style-weights", "1", "2"], "--style-weights does"),
        ],
    )
    @pytest.mark.usefixtures("folder")
    def test_mistakes(
        self, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hires.save_image(torch.ones(1, 3, 1, 1), "dot.png")
        assert self.run(*words) == 2
        said = capsys.readouterr().err
        assert told in said.splitlines()[-1]
        assert not Path("out.png").exists()
