"""Time and memory told beforehand, against arithmetic and against what was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_weights

from hires.config.run import Config
from hires.engine import rates as probe
from hires.engine.estimate import bytes_per_pixel, forecast, largest_size
from hires.engine.ladder import Rung, plan
from hires.engine.rates import Rates, measure_rates
from hires.engine.setup import Setup, open_setup
from hires.features.checkpoints import write_checkpoint
from hires.tiling.planning import TileMemoryError

CONTENT = (480, 640)
RATES = Rates(
    whole=((10_000, 1.0), (40_000, 2.5)),
    forward=1e-6,
    both=3e-6,
    per_tile=1000.0,
    outside=1e-8,
    fixed=0.5,
    renewal=1e-5,
    spread=(2.0, 1.0),
)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {"licence": "none"})
    return str(path)


def opened(features: str, **settings: object) -> tuple[Config, Setup, tuple[Rung, ...]]:
    settings = {"margin": 0, **settings}
    config = Config(features=features, device="cpu", precision="fp32", **settings)  # type: ignore[arg-type]
    return config, open_setup(config), plan(config, CONTENT, [(64, 64)])


def test_a_step_of_tiles_is_the_sum_of_its_walks(features: str) -> None:
    config, studio, rungs = opened(features, sizes=(640,), tile=64, iterations=(7,))
    (found,) = forecast(config, studio, rungs, num_input_pixels=0, rates=RATES)
    pixels = [tile.region.num_pixels for tile in found.tiles.tiles]
    again = pixels[: len(pixels) - found.tiles.num_kept]
    step = 0.5 + (3e-6 + 1e-8) * 480 * 640 + 3e-6 * 1000 * len(pixels)
    step += 1e-6 * (sum(again) + 1000 * len(again))
    targets = 1e-6 * (480 * 640 + 64 * 64)
    assert found.seconds == pytest.approx(7 * step * 1.025 + targets, rel=1e-9)


def test_matches_are_made_anew_every_tenth_step(features: str) -> None:
    settings: dict[str, Any] = {"sizes": (320,), "iterations": (21,)}
    seconds = []
    for losses, turns in (
        (("wasserstein",), False),
        (("wasserstein", "neighbours"), False),
        (("wasserstein", "neighbours"), True),
    ):
        given = {**settings, "style_loss": losses, "style_turns": turns}
        config, studio, rungs = opened(features, **given)
        (found,) = forecast(config, studio, rungs, num_input_pixels=0, rates=RATES)
        seconds.append(found.seconds or 0)
    # Content and style are looked at once more.
    more = 3 * 1e-5 * 320 * 240 + 1e-6 * (320 * 240 + 64 * 64)
    assert seconds[1] - seconds[0] == pytest.approx(more, rel=1e-9)
    # Four quarter turns are four looks.
    assert seconds[2] - seconds[1] == pytest.approx(3 * 1e-6 * 64 * 64, rel=1e-9)


def test_what_is_kept_of_styles_is_counted(features: str) -> None:
    """A dictionary for each layer, beside what grows with the canvas."""
    found = []
    for losses in (("wasserstein",), ("wasserstein", "neighbours")):
        config, studio, rungs = opened(features, style_loss=losses, sizes=(320,))
        (line,) = forecast(config, studio, rungs, num_input_pixels=0)
        found.append(line.host_bytes - round(studio.reference_bytes * 320 * 240))
    channels = [COMPACT_SHAPE.blocks[block][0] for block in (2, 3)]
    assert found[1] - found[0] == pytest.approx(8192 * 4 * sum(channels), abs=2)


def test_steps_of_one_tile_lie_between_those_measured(features: str) -> None:
    config, studio, rungs = opened(features, sizes=(100, 163, 231, 320), iterations=(1,))
    found = forecast(config, studio, rungs, num_input_pixels=0, rates=RATES)
    steps = [(line.seconds or 0) / 1.025 for line in found]
    assert steps[0] == pytest.approx(0.5 + 0.5 * 7500 / 10_000, rel=0.05)  # below the smallest
    assert steps[1] == pytest.approx(1.0 + 1.5 * (163 * 122 - 10_000) / 30_000, rel=0.05)
    assert steps[3] == pytest.approx(0.5 + 2.0 * 76_800 / 40_000, rel=0.05)  # beyond the largest


def test_measured_memory_takes_the_place_of_planned(features: str) -> None:
    config, studio, rungs = opened(features, sizes=(320,))
    (planned,) = forecast(config, studio, rungs, num_input_pixels=0, rates=RATES)
    less = replace(RATES, spread=(1.5, 1.0))
    (measured,) = forecast(config, studio, rungs, num_input_pixels=0, rates=less)
    assert planned.host_bytes - measured.host_bytes == planned.tiles.bytes_needed // 2


def test_a_gpu_holds_its_context_but_no_resized_content(
    features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, setup, rungs = opened(features, sizes=(640,), style_scale=0.1)
    (on_cpu,) = forecast(config, setup, rungs, num_input_pixels=0)
    monkeypatch.setattr(Setup, "device", torch.device("cuda"))
    (found,) = forecast(config, setup, rungs, num_input_pixels=0)
    canvas = 480 * 640 * 12
    # Canvas, gradient, Adam's two moments and the running average.
    state = 5 * canvas + round(480 * 640 * setup.reference_bytes)
    weights = sum(buffer.nbytes for buffer in setup.network.buffers())
    assert found.device_bytes == (512 + 384) * 2**20 + weights + on_cpu.tiles.bytes_needed + state
    program = on_cpu.host_bytes - on_cpu.tiles.bytes_needed - state - canvas
    assert found.host_bytes == program + canvas


class Card:
    """A GPU's memory as PyTorch's allocator sees it: it keeps what is given back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allocated = self.reserved = self.peak = 0
        for name in ("empty_cache", "reset_peak_memory_stats"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: self.allocated)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: self.peak)

    def empty_cache(self) -> None:
        self.reserved = self.allocated

    def reset_peak_memory_stats(self, _: torch.device) -> None:
        self.peak = self.reserved

    def take(self, num_bytes: int) -> None:
        self.allocated += num_bytes
        self.reserved = max(self.reserved, self.allocated)
        self.peak = max(self.peak, self.reserved)


def test_a_probe_of_a_gpu_counts_what_its_tiles_take(
    features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, setup, _ = opened(features, sizes=(640,))
    monkeypatch.setattr(Setup, "device", torch.device("cuda"))
    card = Card(monkeypatch)
    card.take(1000)
    card.take(-990)  # Earlier work has left a cache, and something that is used still.
    with probe._Gauge(setup) as gauge:
        card.take(60)  # a canvas
        card.take(50)  # feature maps
        card.take(-50)
    assert gauge.spread(40) == 50 / 40


@pytest.mark.parametrize("tile", [None, 128])
def test_the_largest_size_fits_and_no_more(features: str, tile: int | None) -> None:
    config, studio, rungs = opened(features, sizes=(640,), tile=tile, memory="200MiB")
    (last,) = forecast(config, studio, rungs, num_input_pixels=0, rates=RATES)
    memory = 8 * 2**30
    height, width = largest_size(last, config, studio, memory)
    assert width / height == pytest.approx(4 / 3, rel=1e-3)
    grown = last.peak_bytes + bytes_per_pixel(config, studio, last.rung) * (
        height * width - last.rung.num_pixels
    )
    assert grown <= memory
    # Lines that wait at the seams of so small tiles fill the budget before.
    assert tile or grown > memory - 2**30
    assert studio.plan_tiles((height, width)).bytes_needed <= last.memory


def test_the_largest_size_has_tiles_that_the_budget_holds(features: str) -> None:
    config, studio, rungs = opened(features, sizes=(640,), memory="4MiB")
    (last,) = forecast(config, studio, rungs, num_input_pixels=0, rates=RATES)
    size = largest_size(last, config, studio, 2**36)
    studio.plan_tiles(size)
    larger = (size[0] * 21 // 20, size[1] * 21 // 20)
    with pytest.raises(TileMemoryError):
        studio.plan_tiles(larger)


def test_the_largest_size_leaves_room_for_its_margin(features: str) -> None:
    config, studio, rungs = opened(features, sizes=(640,), memory="200MiB", margin=512)
    (last,) = forecast(config, studio, rungs, num_input_pixels=0, rates=RATES)
    memory = 8 * 2**30
    height, width = largest_size(last, config, studio, memory)
    canvas = (height + 1024) * (width + 1024)
    grown = last.peak_bytes + bytes_per_pixel(config, studio, last.rung) * (
        canvas - last.rung.num_pixels
    )
    assert memory - 2**30 < grown <= memory


def test_too_little_memory_has_no_largest_size(features: str) -> None:
    config, studio, rungs = opened(features, sizes=(640,))
    (last,) = forecast(config, studio, rungs, num_input_pixels=0)
    assert largest_size(last, config, studio, 2**20) == (0, 0)


@pytest.mark.parametrize("tile", [None, 96])
def test_the_probe_measures_what_a_ladder_needs(
    features: str, tile: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_PATIENCE", 0.0)
    config, studio, rungs = opened(features, sizes=(96, 320), tile=tile)
    rates = measure_rates(config, studio, rungs)
    # Only the canvases that are one tile are stepped whole.
    assert [pixels for pixels, _ in rates.whole] == [
        rung.num_pixels for rung in rungs if studio.is_one_tile(rung.size)
    ]
    assert 0 < rates.forward < 1e-3
    # Beside what a step takes whatever its size, so small a tile may be nothing.
    assert 0 <= rates.both < 1e-3
    assert rates.fixed > 0
    assert rates.outside > 0
    assert rates.renewal == 0
    found = forecast(config, studio, rungs, num_input_pixels=0, rates=rates)
    assert all(line.seconds for line in found)


def test_a_ladder_that_starts_from_its_aim_is_measured_all_the_same(
    features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A content's own loss has no slope there: the probe starts elsewhere."""
    monkeypatch.setattr(probe, "_PATIENCE", 0.0)
    only_content = {"style_weight": 0.0, "tv_weight": 0.0}
    rates = measure_rates(*opened(features, sizes=(96,), init="noise", **only_content))
    assert len(rates.whole) == 1


def test_the_probed_tile_is_the_largest_with_its_seams(features: str) -> None:
    _, studio, rungs = opened(features, sizes=(640,), tile=96)
    tiles = studio.plan_tiles(rungs[0].size)
    found = probe._typical_tiles(tiles, studio)
    largest = max(tiles.tiles, key=lambda tile: tile.region.num_pixels).region.num_pixels
    probed = found.tiles[0].region.num_pixels
    assert 0.7 * largest < probed <= 1.2 * largest
    assert [tile.place for tile in found.tiles] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    objective, canvas = probe._objective(studio, found)
    gradient = objective(canvas).gradient
    whole, canvas = probe._objective(studio, probe._one_tile((canvas.shape[2], canvas.shape[3])))
    wanted = whole(canvas).gradient
    assert float((gradient - wanted).norm() / wanted.norm()) < 1e-4


def test_a_canvas_of_one_tile_is_probed_as_it_is(features: str) -> None:
    _, studio, rungs = opened(features, sizes=(320,))
    tiles = studio.plan_tiles(rungs[0].size)
    assert probe._typical_tiles(tiles, studio) is tiles
