"""The close-up of a preview: its windows, and that it is what the whole picture would become."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_weights
from torch import Tensor

from hires.config.run import Config
from hires.engine import preview as closeup
from hires.engine.ladder import plan
from hires.engine.measuring import Measuring
from hires.engine.objective import Objective
from hires.engine.planned import plan_run
from hires.engine.preview import SHOWN, CloseUp, SampledCanvas, busiest, preview_rung
from hires.engine.progress import Progress
from hires.engine.replay import Evaluation
from hires.engine.resolve import fit
from hires.engine.setup import open_setup
from hires.engine.stylize import iter_stylize
from hires.errors import StylizeError
from hires.features.checkpoints import write_checkpoint
from hires.features.network import Network
from hires.image.decode.read import Picture
from hires.image.originals import PictureLike, original, originals
from hires.image.resample import resize


@pytest.fixture
def features(tmp_path: Path) -> str:
    path = tmp_path / "tiny.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {"licence": "none"})
    return str(path)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closeup, "SHOWN", 128)
    monkeypatch.setattr(closeup, "PREVIEW_PIXELS", 128 * 96)


def first_rung(content: Tensor, style: Tensor, config: Config) -> Progress:
    """Where a painting stands at the end of its first rung."""
    return next(step for step in iter_stylize(content, style, config) if step.ends_rung)


def close_up_of(standing: Progress, content: PictureLike, style: Tensor, config: Config) -> CloseUp:
    return CloseUp(standing, plan_run(fit(config), original(content), originals(style)))


def test_stops_near_a_megapixel_and_below_the_end() -> None:
    rungs = plan(Config(size=8192), (3000, 4000), [])
    stop = preview_rung(rungs)
    assert stop is not None
    assert 0.5e6 < stop.num_pixels < 2e6
    assert preview_rung(plan(Config(size=1024), (3000, 4000), [])) is None


@pytest.mark.parametrize("size", [(300, 2000), (2000, 300), (1290, 1823), (9933, 14043)])
@pytest.mark.parametrize("spot", [(0.0, 0.0), (0.5, 0.3), (1.0, 1.0)])
def test_windows_lie_inside_and_fill_their_canvas(
    size: tuple[int, int], spot: tuple[float, float]
) -> None:
    windows = closeup._windows(size, spot)
    canvas = closeup._empty_canvas(windows, 3)
    for window in windows:
        region = window.region(size)
        assert region.size == window.size == window.place.size
        assert region.rows.start >= 0
        assert region.columns.start >= 0
        assert region.rows.stop <= size[0]
        assert region.columns.stop <= size[1]
        canvas[..., *window.place.index] += 1
    assert bool((canvas == 1).all())


def test_the_window_shows_where_most_happens() -> None:
    picture = torch.full((1, 3, 120, 200), 0.5)
    picture[..., 80:110, 150:190] = torch.rand(3, 30, 40)
    row, column = busiest(picture, (SHOWN * 4, SHOWN * 5))
    assert row == pytest.approx(95 / 120, abs=0.06)
    assert column == pytest.approx(170 / 200, abs=0.06)


def test_the_window_shows_what_can_be_seen() -> None:
    picture, mask = torch.rand(1, 3, 120, 200), torch.zeros(1, 1, 60, 100)
    mask[..., 40:55, 70:95] = 1
    row, column = busiest(picture, (SHOWN * 4, SHOWN * 5), mask)
    assert row == pytest.approx(95 / 120, abs=0.06)
    assert column == pytest.approx(165 / 200, abs=0.06)


def test_windows_stay_in_place_as_the_picture_grows(image: Callable[..., Tensor]) -> None:
    """Taken from the rung below or from the whole picture, a window shows the same."""
    picture = resize(image(60, 80).float(), (600, 800), clamp=True)  # smooth at all sizes here
    sizes = (900, 1200), (1500, 2000)
    windows = [closeup._windows(size, (0.3, 0.6)) for size in sizes]
    below = closeup._collage(windows[0], sizes[0], picture)
    found = closeup._enlarged(below, (windows[0], sizes[0]), (windows[1], sizes[1]))
    direct = closeup._collage(windows[1], sizes[1], picture)
    assert float((found - direct).abs().max()) < 0.02


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_paints_up_to_the_last_rung(
    optimizer: str, features: str, image: Callable[..., Tensor]
) -> None:
    config = Config(
        features=features,
        size=512,
        min_size=128,
        iterations=(3,),
        optimizer=optimizer,  # type: ignore[arg-type]
    )
    content, style = image(96, 128).float(), image(64, 64, seed=1).float()
    rungs = plan(config, (96, 128), [(64, 64)])
    start = preview_rung(rungs)
    assert start is rungs[0]
    close_up = close_up_of(first_rung(content, style, config), content, style, config)
    steps = list(close_up)
    assert [(step.rung.index, step.iteration) for step in steps] == [
        (rung.index, i) for rung in rungs[1:] for i in (1, 2, 3)
    ]
    assert steps[-1].is_last
    assert steps[-1].fraction == 1
    shown = close_up.picture()
    assert shown.shape == (1, 3, 128, 128)
    assert bool(torch.isfinite(shown).all())
    assert 0 <= float(shown.min()) <= float(shown.max()) <= 1
    assert steps[-1].terms["style"] < steps[-3].terms["style"]


@pytest.mark.usefixtures("small")
def test_every_loss_paints_a_close_up(features: str, image: Callable[..., Tensor]) -> None:
    config = Config(
        features=features,
        size=256,
        min_size=128,
        iterations=(2,),
        style_loss=("wasserstein", "central", "sliced", "transport", "neighbours"),
        style_turns=True,
        content_loss="self-similarity",
    )
    content, style = image(96, 128).float(), image(64, 64, seed=1).float()
    close_up = close_up_of(first_rung(content, style, config), content, style, config)
    last = [*close_up][-1]
    assert last.is_last
    assert {*config.style_losses, "content"} <= {*last.terms}
    assert all(0 < float(last.terms[name]) < 10 for name in config.style_losses)
    assert bool(torch.isfinite(close_up.picture()).all())


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("fail", [{1}, {1, 2}, {1, 4}])
def test_measuring_survives_a_lack_of_memory(
    fail: set[int],
    features: str,
    image: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Windows stay pictures of their own: the features are those of one pass over each."""
    config = Config(features=features, size=512, min_size=128, precision="fp32", device="cpu")
    content, setup = original(image(300, 400).float()), open_setup(config)
    canvas = SampledCanvas(setup, (300, 400), (150, 200), (0.5, 0.5), margin_below=0)

    def measured() -> dict[str, Tensor]:
        return canvas.features(content, ["relu4_2"], Measuring(setup))

    undisturbed = measured()
    forward, calls = Network.forward, itertools.count(1)

    def failing(*args: Any, **options: Any) -> dict[str, Tensor]:
        if next(calls) in fail:
            raise torch.OutOfMemoryError("injected")
        return forward(*args, **options)

    monkeypatch.setattr(Network, "forward", failing)
    for name, values in measured().items():
        assert values.shape[2:] == (256 // 8, 448 // 8)
        torch.testing.assert_close(values, undisturbed[name], rtol=0, atol=1e-4)
    assert next(calls) > max(fail)


@pytest.mark.usefixtures("small")
def test_a_breakdown_is_told_with_its_place(
    features: str, image: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(features=features, size=512, min_size=128, iterations=(3,))
    content, style = image(96, 128).float(), image(64, 64, seed=1).float()
    standing = first_rung(content, style, config)
    evaluate = Objective.__call__

    def broken(self: Objective, canvas: Tensor) -> Evaluation:
        found = evaluate(self, canvas)
        return Evaluation(found.loss * torch.nan, found.terms, found.gradient)

    monkeypatch.setattr(Objective, "__call__", broken)
    where = r"the loss is nan at rung 2 \(256x192\), iteration 1: "
    with pytest.raises(StylizeError, match=where) as caught:
        list(close_up_of(standing, content, style, config))
    assert caught.value.picture.shape == (1, 3, 128, 128)


@pytest.mark.usefixtures("small")
def test_the_window_is_shown_on_the_way(features: str, image: Callable[..., Tensor]) -> None:
    """Where it is smaller than at the end, it is shown whole, and nothing beside it."""
    config = Config(features=features, sizes=(128, 160, 512), iterations=(2,))
    content, style = image(96, 128).float(), image(64, 64, seed=1).float()
    close_up = close_up_of(first_rung(content, style, config), content, style, config)
    for step in close_up:
        whole = closeup._windows(step.rung.size, (0.5, 0.5))[0].size
        assert close_up.picture().shape[2:] == tuple(min(side, 128) for side in whole)


@pytest.mark.usefixtures("small")
def test_what_cannot_be_seen_does_not_count(features: str, image: Callable[..., Tensor]) -> None:
    config = Config(features=features, size=512, min_size=128, iterations=(2,))
    whole, style = image(96, 128).float(), image(64, 64, seed=1).float()
    alpha = torch.ones(1, 1, 96, 128)
    alpha[..., 40:] = 0
    content = Picture(whole, alpha, 8, Path("content.png"))
    shown = []
    for seen in (content, whole):
        close_up = close_up_of(first_rung(whole, style, config), seen, style, config)
        assert list(close_up)[-1].is_last
        assert bool(torch.isfinite(close_up.picture()).all())
        shown.append(close_up.picture())
    assert not torch.equal(*shown)


@pytest.mark.usefixtures("small")
def test_moments_are_carried_as_in_the_run(features: str, image: Callable[..., Tensor]) -> None:
    config = Config(features=features, size=512, min_size=128, iterations=(3,), average=0)
    content, style = image(96, 128).float(), image(64, 64, seed=1).float()
    rungs = plan(config, (96, 128), [(64, 64)])
    standing = first_rung(content, style, config)
    before = standing.snapshot().copy().state["moments"]
    close_up = close_up_of(standing, content, style, config)
    for _ in zip(range(2), close_up, strict=False):
        pass
    canvas_of: Any = close_up._run._canvas_of
    (window, *_) = canvas_of(rungs[1]).windows
    moments = close_up._run.optimizer.state()["moments"]
    assert float(moments["step"]) == 3 + 2
    # Means shrink with the number of pixels: so do their gradients, and the moments of those.
    part = before["exp_avg_sq"].mean() * (96 * 128 / canvas_pixels(close_up)) ** 2
    found = moments["exp_avg_sq"][..., *window.place.index].mean()
    assert 0.05 * float(part) < float(found) < 20 * float(part)


def canvas_pixels(close_up: CloseUp) -> int:
    canvas = close_up._run.optimizer.canvas
    return canvas.shape[2] * canvas.shape[3]
