"""The term of fine drawing: against plain formulas, in bands, with masks and maps; its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import reference
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from objectives import objective_of, setup_of, terms_of
from torch import Tensor

import hires
from hires.cli import main as cli
from hires.engine.canvas import WholeCanvas
from hires.engine.measuring import Measuring
from hires.engine.objective import Objective
from hires.engine.preview import SampledCanvas
from hires.engine.references import References
from hires.engine.setup import Setup
from hires.errors import ConfigError
from hires.features.checkpoints import write_checkpoint
from hires.features.network import Network
from hires.image.guides import Guided
from hires.image.originals import Original
from hires.losses.detail import SIDES, Detail
from hires.losses.positions import PIXELS, Positions
from hires.tiling.geometry import Region, Span

DOUBLE = torch.float64
CPU = torch.device("cpu")
SIZE = (131, 67)


def setup(weight: float = 2.0) -> Setup:
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    network.prepare(CPU, DOUBLE, torch.channels_last)
    # A network without a layer to look at is none; these terms weigh nothing.
    others = terms_of("wasserstein", ({"relu1_1": 1.0}, {"relu2_1": 1.0}), (0.0, 0.0, 0.0))
    return setup_of(network, [*others, Detail(weight=weight)], DOUBLE)


def picture(size: tuple[int, int], seed: int) -> Tensor:
    return random_image(*size, seed=seed).double()


def soft_mask(size: tuple[int, int] = SIZE) -> Tensor:
    """Hidden in a part, seen in a larger one, and something between."""
    mask = (picture(size, 4)[:, :1] + 0.5).clamp(0, 1)
    mask[..., :40, :30] = 0
    return mask


def with_guides(content: Tensor, given: Guided, margin: int = 0) -> Objective:
    size = content.shape[2], content.shape[3]
    one = setup()
    canvas = WholeCanvas(one, size, margin=margin)
    references = References(
        setup=one,
        canvas=canvas,
        content=Original(content),
        styles=[Original(content)],
        style_sizes=[size],
        shares=[1.0],
        measuring=Measuring(one),
        guides=given,
    )
    return one.objective(references, one.plan_tiles(canvas.size))


def objective(
    content: Tensor, mask: Tensor | None = None, strictness: Tensor | None = None
) -> Objective:
    if strictness is not None:
        return with_guides(content, Guided(strictness=strictness))
    return objective_of(setup(), content, content, masks=(mask, None))


@pytest.mark.parametrize("size", [(64, 64), SIZE, (70, 93)])
@pytest.mark.parametrize("masked", [False, True])
def test_loss_and_gradient_are_those_of_the_formula(size: tuple[int, int], masked: bool) -> None:
    content, canvas = picture(size, 1), picture(size, 3)
    mask = soft_mask(size) if masked else None
    found = objective(content, mask)(canvas)
    leaf = canvas.clone().requires_grad_()
    wanted = 2 * reference.detail(leaf, content, SIDES, mask)
    (slope,) = torch.autograd.grad(wanted, leaf)
    torch.testing.assert_close(found.loss, wanted.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(found.gradient, slope, rtol=1e-9, atol=1e-15)


def test_a_map_says_how_strictly() -> None:
    content, canvas = picture(SIZE, 1), picture(SIZE, 3)
    strictness = 2 * picture(SIZE, 9)[:, :1].float()
    strictness[..., 96:, :] = 0
    found = objective(content, strictness=strictness)(canvas)
    wanted = 2 * reference.detail(canvas, content, SIDES, strictness=strictness.double())
    assert float(found.loss) == pytest.approx(float(wanted), rel=1e-6)
    # One coarse square beyond the map is still seen from within it.
    assert not found.gradient[..., 96 + SIDES[-1] :, :].any()
    assert found.gradient[..., :90, :].any()


def test_zero_and_flat_at_the_photograph() -> None:
    content = picture(SIZE, 1)
    found = objective(content)(content.clone())
    assert float(found.loss) == 0
    assert not found.gradient.any()


def test_colours_and_light_are_free() -> None:
    """Other colours of the same lightness, and more or less light all over, cost nothing."""
    content = picture(SIZE, 1) / 2
    shift = torch.tensor([0.2, -0.1, 0.3]).double().view(1, 3, 1, 1)
    swapped = content[:, [1, 2, 0]] + shift
    assert float(objective(content)(swapped).loss) < 1e-20


def test_value_computed_by_hand() -> None:
    """One square of 4x4 pixels is lighter by a quarter in one channel of three."""
    content = torch.full((1, 3, 64, 64), 0.5, dtype=DOUBLE)
    canvas = content.clone()
    canvas[:, 1, 20:24, 40:44] += 0.25
    found = objective(content)(canvas)
    power = 0.05**2  # A blank photograph's, per position.
    step = 0.25 / 3
    fine = 20 * step**2 / (16 * 16 * power)
    coarse = 20 * (step / 16) ** 2 / (4 * 4 * power)
    assert float(found.loss) == pytest.approx(2 * (fine + coarse) / 2, rel=1e-12)


def test_gradcheck() -> None:
    content, canvas = picture((34, 18), 1), picture((34, 18), 3).requires_grad_()
    positions = Positions((34, 18), {}, device=CPU, sum_dtype=DOUBLE)
    term = Detail().at(Plain(content, positions))  # type: ignore[arg-type]

    def loss(pixels: Tensor) -> Tensor:
        ((index, view),) = positions.of_pixels(term.margin)
        return term.judge({PIXELS: term.measure(view, pixels[..., *index])})

    assert torch.autograd.gradcheck(loss, [canvas])


class Plain:
    """References that are a content."""

    strictness = None

    def __init__(self, content: Tensor, positions: Positions) -> None:
        self._content, self.positions = content, positions

    def of_content(self, layers: tuple[str, ...]) -> dict[str, Tensor]:
        assert layers == (PIXELS,)
        return {PIXELS: self._content}


def with_bands(monkeypatch: pytest.MonkeyPatch, one: Objective, num_rows: int | None) -> Objective:
    height, width = one.positions.size
    monkeypatch.setattr(one.positions, "_band_pixels", width * (num_rows or height))
    monkeypatch.setattr("hires.losses.positions._BAND_MARGINS", 0)
    return one


@pytest.mark.parametrize("kind", ["plain", "mask", "map"])
@pytest.mark.parametrize(("size", "num_rows"), [(SIZE, 7), ((70, 93), 1), ((70, 93), 30)])
def test_bands_equal_the_whole(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], num_rows: int, kind: str
) -> None:
    content, canvas = picture(size, 1), picture(size, 3)
    mask = soft_mask(size) if kind == "mask" else None
    strictness = 2 * picture(size, 9)[:, :1] if kind == "map" else None
    one = objective(content, mask, strictness)
    whole = with_bands(monkeypatch, one, None)(canvas)
    loss, gradient = whole.loss, whole.gradient.clone()
    parts = with_bands(monkeypatch, one, num_rows)(canvas)
    torch.testing.assert_close(parts.loss, loss, rtol=1e-12, atol=0)
    assert float((parts.gradient - gradient).norm() / gradient.norm()) < 1e-12
    assert float(loss) > 0.1


def test_what_is_hidden_has_no_influence() -> None:
    content, canvas, mask = picture(SIZE, 1), picture(SIZE, 3), soft_mask()
    found = objective(content, mask)(canvas)
    other = torch.where(mask > 0, canvas, 1 - canvas)
    assert float(found.loss) == pytest.approx(
        float(objective(content, mask)(other).loss), rel=1e-12
    )
    assert not found.gradient[..., :40, :30].any()
    assert found.gradient[..., 70:, :].any()


def test_pictures_side_by_side_are_each_compared_to_their_own() -> None:
    places = [Region(Span(0, 64), Span(0, 40)), Region(Span(0, 64), Span(40, 104))]
    content, canvas = picture((64, 104), 1), picture((64, 104), 3)
    both = Positions((64, 104), {}, device=CPU, sum_dtype=DOUBLE, pictures=places)
    term = Detail().at(Plain(content, both))  # type: ignore[arg-type]
    errors = [
        float(term.measure(view, canvas[..., *index])["error"])
        for index, view in both.of_pixels(term.margin)
    ]
    parts = [(canvas[..., *place.index], content[..., *place.index]) for place in places]
    sums = [reference.detail_sums(*part, SIDES) for part in parts]
    for found, part in zip(errors, sums, strict=True):
        wanted = sum(
            error / sum(one[i][1] for one in sums) for i, (error, _) in enumerate(part)
        ) / len(SIDES)
        assert found == pytest.approx(float(wanted), rel=1e-10)


def test_a_close_up_is_compared_to_what_its_windows_show() -> None:
    content, one = picture((192, 256), 1), setup()
    canvas = SampledCanvas(one, (384, 512), (192, 256), (0.3, 0.6), margin_below=0)
    references = References(
        setup=one,
        canvas=canvas,
        content=Original(content),
        styles=[Original(content)],
        style_sizes=[(192, 256)],
        shares=[1.0],
        measuring=Measuring(one),
    )
    found = one.objective(references, canvas.plan())
    shown = canvas.pixels(Original(content)).double()
    assert float(found(shown).terms["detail"]) < 1e-9
    assert float(found(shown.flip(3)).terms["detail"]) > 1


def test_what_it_keeps_is_told() -> None:
    content = picture((128, 192), 1).float()
    one = with_guides(content, Guided(strictness=torch.ones(1, 1, 128, 192)))
    (term,) = (term for term in one.terms if isinstance(term, Detail))
    kept = [part for target in term.targets.values() for part in target.laplacians]
    kept += [part for target in term.targets.values() for part in target.weights or ()]
    assert sum(part.nbytes for part in kept) == term.bytes_per_pixel({}, 2) * 128 * 192


class TestRuns:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        write_checkpoint(Path("tiny.safetensors"), COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
        for seed, name in enumerate(("content", "style"), 1):
            hires.save_image(random_image(96, 128, seed).float(), f"{name}.png")
        hires.save_image(torch.rand(1, 3, 96, 128), "map.png")
        return tmp_path

    CONFIG: dict[str, Any] = {  # noqa: RUF012
        "features": "tiny.safetensors",
        "sizes": (128,),
        "iterations": (8,),
        "device": "cpu",
    }

    def error(self, weight: float) -> float:
        """How far the drawing of a painting is from the photograph's."""
        config = hires.Config(**self.CONFIG, detail_weight=weight)
        painted = hires.stylize("content.png", "style.png", config).double()
        return float(reference.detail(painted, hires.load_image("content.png").double(), SIDES))

    @pytest.mark.usefixtures("folder")
    def test_drawing_comes_nearer_to_the_photograph(self) -> None:
        without, much = (self.error(weight) for weight in (0, 1))
        assert much < 0.5 * without

    def test_a_run_goes_on_to_the_bit(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = "--features tiny.safetensors --sizes 96 128 --iterations 2 --detail-weight 0.5"
        run = ["stylize", "content.png", "style.png", "--quiet", *words.split()]
        assert cli.main([*run, "-o", "out.png"]) == 0
        config = hires.Config(
            **self.CONFIG | {"iterations": (2,), "sizes": (96, 128)}, detail_weight=0.5
        )
        job = hires.Job(
            content="content.png", styles=("style.png",), output="half.png", config=config
        )
        steps = hires.iter_paint(job)
        terms = [next(steps).terms for _ in range(3)][-1]
        steps.close()
        assert terms["detail"] > 0
        assert cli.main(["resume", "half.run", "--quiet"]) == 0
        whole, half = (hires.load_image(folder / f"{name}.png") for name in ("out", "half"))
        assert torch.equal(whole, half)
        assert cli.main(["inspect", "out.png"]) == 0
        assert "--detail-weight 0.5" in capsys.readouterr().out

    def test_without_a_content_it_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="a texture has no content: leave `detail_weight`"):
            hires.stylize(None, "style.png", hires.Config(detail_weight=1.0))

    def test_a_map_may_be_for_the_drawing_alone(self) -> None:
        def job(**options: Any) -> hires.Job:
            config = hires.Config(content_weight=0, content_layers=(), **options)
            guides = hires.Guides(content_map="map.png")
            return hires.Job(
                content="a.png", styles=("b.png",), output="c.png", guides=guides, config=config
            )

        assert job(detail_weight=1.0).config.detail_weight == 1
        with pytest.raises(ConfigError, match="`content_map` does nothing where"):
            job()


def test_the_presets_do_without() -> None:
    for preset in ("hires", "tutorial", "d2l", "keras"):
        assert hires.Config(preset=preset).detail_weight == 0
