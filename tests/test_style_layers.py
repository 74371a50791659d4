"""Layers that take one style of several: coarse strokes of one, fine ones of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reference
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from objectives import setup_of, terms_of
from torch import Tensor

import hires
from hires.cli import main as cli
from hires.config.values import StyleLayer, parse_style_layer
from hires.engine.canvas import WholeCanvas
from hires.engine.measuring import Measuring
from hires.engine.objective import Objective
from hires.engine.references import References
from hires.engine.resolve import fit
from hires.engine.setup import terms_of as configured
from hires.errors import ConfigError
from hires.features.checkpoints import write_checkpoint
from hires.features.network import Network
from hires.image.guides import Guided, PaintedRegion
from hires.image.originals import Original
from hires.losses.central import Central
from hires.losses.patches import Patches
from hires.losses.sliced import Sliced
from hires.losses.style import Style

SIZE, STYLE_SIZES = (96, 131), [(75, 101), (90, 84)]
LAYERS = ("relu1_1", "relu2_1", "relu3_1")
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("relu1_1", StyleLayer("relu1_1", 1.0, None)),
        ("relu1_1:0.5", StyleLayer("relu1_1", 0.5, None)),
        ("relu1_1@2", StyleLayer("relu1_1", 1.0, 2)),
        ("relu5_1@12:0.5", StyleLayer("relu5_1", 0.5, 12)),
    ],
)
def test_layers_as_typed(text: str, wanted: StyleLayer) -> None:
    assert parse_style_layer(text) == wanted
    assert str(wanted) == text


@pytest.mark.parametrize(
    "text", ["relu1_1@", "relu1_1@0", "relu1_1@b", "@1", "relu1_1:0.5@2", "a@1@2"]
)
def test_layers_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match=f"layer '{text}': write NAME@NUMBER or NAME@NUMBER:WEIG"):
        hires.Config(style_layers=(text,))


def test_which_of_two_layers_is_nearer_to_the_pixels() -> None:
    names = ["relu5_1", "pool1", "conv2_1", "relu1_2", "relu1_1"]
    order = sorted((parse_style_layer(name) for name in names), key=lambda layer: layer.depth)
    assert [layer.name for layer in order] == ["relu1_1", "relu1_2", "pool1", "conv2_1", "relu5_1"]


def styles() -> list[Tensor]:
    return [random_image(*size, seed=i).double() ** i for i, size in enumerate(STYLE_SIZES, 1)]


def build(
    chosen: dict[str, int],
    given: Guided | None = None,
    tile: int | None = None,
    loss: str = "wasserstein",
) -> Objective:
    weights = dict.fromkeys(LAYERS, 1.0), {"relu2_2": 1.0}
    style, *_ = terms_of(loss, weights, (1.0, 0.0, 0.0))
    assert isinstance(style, Style | Central | Sliced)
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, torch.float64, torch.channels_last)
    setup = setup_of(network, [replace(style, styles=chosen)], torch.float64, tile)
    references = References(
        setup=setup,
        canvas=WholeCanvas(setup, SIZE),
        content=Original(random_image(*SIZE, seed=5).double()),
        styles=[Original(one) for one in styles()],
        style_sizes=STYLE_SIZES,
        shares=[0.3, 0.7],
        measuring=Measuring(setup),
        guides=given or Guided(),
    )
    return setup.objective(references, setup.plan_tiles(SIZE))


def test_a_layer_takes_the_style_that_it_names() -> None:
    canvas = random_image(*SIZE, seed=3).double()
    found = float(build({"relu1_1": 1, "relu3_1": 0, "relu2_1": 1})(canvas).loss)
    weights = random_weights(COMPACT_SHAPE)
    own = reference.network(COMPACT_SHAPE, weights, canvas)
    one, two = (reference.network(COMPACT_SHAPE, weights, style) for style in styles())
    targets = {"relu1_1": two, "relu2_1": two, "relu3_1": one}
    losses = [reference.wasserstein_loss(own[name], targets[name][name]) for name in LAYERS]
    assert found == pytest.approx(float(sum(losses)) / 3, rel=1e-9)


@pytest.mark.parametrize("loss", ["wasserstein", "central", "sliced"])
def test_other_layers_have_all_styles(loss: str) -> None:
    """Each layer's loss is its own: what is not named is as it was."""
    canvas = random_image(*SIZE, seed=3).double()
    losses = {
        name: float(build(dict.fromkeys(names, 1), loss=loss)(canvas).loss)
        for name, names in {
            "none": [],
            "one": LAYERS[:1],
            "rest": LAYERS[1:],
            "all": LAYERS,
        }.items()
    }
    # Where bins lie is a matter of the styles that a layer has.
    tolerance = 1e-2 if loss == "sliced" else 1e-12
    assert losses["one"] + losses["rest"] == pytest.approx(
        losses["none"] + losses["all"], rel=tolerance
    )
    assert losses["one"] != pytest.approx(losses["none"], rel=1e-3)


def halves(first: tuple[int, ...], second: tuple[int, ...]) -> Guided:
    left = torch.zeros(1, 1, *SIZE)
    left[..., : SIZE[1] // 2] = 1
    regions = [
        PaintedRegion(mask, dict.fromkeys(places))
        for mask, places in ((left, first), (1 - left, second))
    ]
    return Guided(tuple(regions))


def test_tiled_equals_whole_with_regions() -> None:
    chosen, given = {"relu1_1": 1, "relu3_1": 0}, halves((0, 1), (1,))
    canvas = random_image(*SIZE, seed=3).double()
    whole = build(chosen, given)(canvas)
    tiled = build(chosen, given, tile=32)
    found = tiled(canvas)
    assert len(tiled.plan.tiles) > 4
    assert float(found.loss) == pytest.approx(float(whole.loss), rel=1e-12)
    assert float((found.gradient - whole.gradient).norm() / whole.gradient.norm()) < 1e-12


def test_shares_of_one_style() -> None:
    whole = Guided()
    assert whole.shares([0.3, 0.7], 1) == [[0, 1]]
    assert whole.shares([1.0, 0.0], 1) == [[0, 1]]
    assert whole.shares([0.3, 0.7], None) == [[0.3, 0.7]]
    # A region that does not have the style keeps its own; so does a single one that stands for all.
    assert halves((0, 1), (1,)).shares([0.3, 0.7], 0) == [[1, 0], [0, 1]]
    assert halves((0, 1), (1,)).shares([0.3, 0.7]) == [[0.3, 0.7], [0, 1]]
    assert whole.shares([1.0], 1) == [[1]]


def test_grain_goes_with_the_finest_layer() -> None:
    def grain(*layers: str) -> int | None:
        terms = configured(hires.Config(style_layers=layers))
        return next(term.style for term in terms if isinstance(term, Patches))

    assert grain("relu3_1@2", "relu1_1@1") == 0
    assert grain("relu3_1@2", "relu2_1@3", "relu1_1:0") == 2
    assert grain("relu3_1@2", "relu1_1") is None


def test_stand_ins_keep_their_styles() -> None:
    layers = ("conv1_1@2", "conv4_1@1:0.5", "conv5_1@1")
    fitted = fit(hires.Config(preset="d2l", features="compact", style_layers=layers)).config
    found = dict.fromkeys(fitted.style_layers)
    assert all("@" in layer for layer in found)
    assert {"conv1_1@2"} <= found.keys()


def painted(styles: list[str], config: hires.Config) -> Tensor:
    *_, last = hires.iter_stylize("content.png", styles, config)
    return last.picture()


class TestRuns:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        write_checkpoint(Path("tiny.safetensors"), COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
        for seed, name in enumerate(("content", "one", "two"), 1):
            hires.save_image(random_image(96, 128, seed).float() ** seed, f"{name}.png")
        return tmp_path

    OPTIONS: dict[str, Any] = {  # noqa: RUF012
        "features": "tiny.safetensors",
        "sizes": (96, 128),
        "iterations": (2,),
        "device": "cpu",
    }

    def run(self, *words: str, single: bool = False) -> int:
        pictures = ["content.png", "one.png", *([] if single else ["two.png"])]
        options = ["--features", "tiny.safetensors", "--sizes", "96", "128", "--iterations", "2"]
        return cli.main(["stylize", *pictures, "-o", "out.png", *options, *words])

    def test_all_layers_of_one_style_paint_as_that_style_alone(self) -> None:
        both = hires.Config(**self.OPTIONS, style_layers=tuple(f"{name}@2" for name in LAYERS))
        alone = hires.Config(**self.OPTIONS, style_layers=LAYERS)
        pictures = ["one.png", "two.png"]
        found = painted(pictures, both)
        assert torch.equal(found, painted(["two.png"], alone))
        assert not torch.equal(found, painted(pictures, alone))

    def test_a_run_is_recorded_resumed_and_repeated(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        layers = ("relu1_1@2", "relu2_1", "relu3_1@1:0.5")
        assert self.run("--style-layers", *layers, "--quiet") == 0
        whole = hires.load_image("out.png")
        assert cli.main(["inspect", "out.png"]) == 0
        assert f"--style-layers {' '.join(layers)}" in capsys.readouterr().out
        assert cli.main(["stylize", "--from", "out.png", "-o", "again.png", "--quiet"]) == 0
        assert torch.equal(hires.load_image("again.png"), whole)
        config = hires.Config(**self.OPTIONS, style_layers=layers)
        styles = ("one.png", "two.png")
        job = hires.Job(content="content.png", styles=styles, output="half.png", config=config)
        steps = hires.iter_paint(job)
        for _ in range(3):
            next(steps)
        steps.close()
        assert cli.main(["resume", "half.run", "--quiet"]) == 0
        assert torch.equal(hires.load_image("half.png"), whole)

    def test_plan_measures_the_machine(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Its probe has one style, which stands for all."""
        pictures = ["content.png", "one.png", "two.png", "--features", "tiny.safetensors"]
        layers = ["--style-layers", "relu1_1@2", "relu2_1"]
        assert cli.main(["plan", *pictures, "--sizes", "96", "128", *layers]) == 0
        assert "rung" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["--style-layers", "relu1_1@3"], "'relu1_1@3' names style 3, but there are 2"),
            (["--style-layers", "relu1_1@2", "relu1_1@1"], "a layer is named twice"),
            (["--style-layers", "relu1_1@2", "--style-weights", "1", "2"], "--style-weights does"),
            (["--content-layers", "relu2_2@1"], "layer 'relu2_2@1': write NAME or NAME:WEIGHT"),
            (["--style-layers", "relu9_1@2"], "relu9_1"),
        ],
    )
    def test_mistakes(
        self, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(*words) == 2
        assert told in capsys.readouterr().err.splitlines()[-1]
        assert not Path("out.png").exists()

    def test_the_only_style_needs_no_number(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run("--style-layers", "relu1_1@1", "relu2_1", single=True) == 2
        told = capsys.readouterr().err
        assert "layer 'relu1_1@1': there is one style picture: leave @1 out" in told
