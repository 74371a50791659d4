"""Tiled application: the result of one pass over the whole picture, whatever is kept."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from conftest import random_image
from convolutions import Convolutions
from forward_models import ENLARGE, STYLE, plain, random_model, write_random_model
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hires.config.feedforward import ApplyConfig
from hires.config.run import Config
from hires.errors import ConfigError
from hires.feedforward import plan as planning
from hires.feedforward.apply import Inference
from hires.feedforward.design import Design, ModelError
from hires.feedforward.finish import Finish
from hires.feedforward.grain import grain_over, with_grain
from hires.feedforward.plan import PICTURE, Geometry, kept_stages, plan_passes
from hires.kernels.precision import Precision
from hires.tiling.geometry import Region, Span

FP64, FP32 = Precision(torch.float64), Precision(torch.float32)


def geometry(design: Design, size: tuple[int, int]) -> Geometry:
    return Geometry(design.stages(normalised=design.normalised), size, design.factor)


@pytest.mark.parametrize("design", [STYLE, ENLARGE], ids=["style", "super-resolution"])
@pytest.mark.parametrize("tile", [None, 40, 33])
def test_tiled_equals_whole_in_float64(design: Design, tile: int | None) -> None:
    model, image = random_model(design), random_image(93, 118)
    inference = Inference(model, ApplyConfig(tile=tile), precision=FP64)
    expected = plain(design, model.weights, image)
    torch.testing.assert_close(inference.apply(image), expected, rtol=0, atol=1e-12)


def spots(height: int, width: int) -> Tensor:
    """A mask of clouds: all of some of it counts, nothing or a part of the rest."""
    small = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(4))
    mask = F.interpolate(small, size=(height, width), mode="bilinear") * 3 - 1
    return mask.clamp_(0, 1)


# Sides that leave the last position of a stage half beyond the picture, and that do not.
@pytest.mark.parametrize("size", [(93, 118), (96, 81)])
@pytest.mark.parametrize("tile", [None, 40, 33])
def test_tiled_equals_whole_under_a_mask(size: tuple[int, int], tile: int | None) -> None:
    model, image, mask = random_model(STYLE), random_image(*size), spots(*size)
    expected = plain(STYLE, model.weights, image, mask)
    assert float((expected - plain(STYLE, model.weights, image)).abs().mean()) > 0.01
    inference = Inference(model, ApplyConfig(tile=tile), precision=FP64)
    torch.testing.assert_close(inference.apply(image, mask=mask), expected, rtol=0, atol=1e-12)


def test_a_mask_of_ones_is_no_mask() -> None:
    model, image = random_model(STYLE), random_image(93, 118)
    inference = Inference(model, ApplyConfig(), precision=FP64)
    found = inference.apply(image, mask=torch.ones(1, 1, 93, 118))
    torch.testing.assert_close(found, inference.apply(image), rtol=0, atol=1e-12)


@pytest.mark.parametrize("has_thumbnail", [False, True])
def test_a_picture_is_painted_as_what_can_be_seen_of_it(has_thumbnail: bool) -> None:
    model, image = random_model(STYLE), random_image(256, 560)
    image[..., 280:] = image.mean()  # as hidden pixels are filled in
    mask = torch.zeros(1, 1, 256, 560)
    mask[..., :280] = 1
    config = ApplyConfig(mode="thumbnail", thumbnail=140) if has_thumbnail else ApplyConfig()
    alone = Inference(model, config, precision=FP64).apply(image[..., :280])
    config = replace(config, thumbnail=280) if has_thumbnail else config
    inference = Inference(model, config, precision=FP64)
    far = [
        (inference.apply(image, mask=one)[..., :280] - alone).abs().mean() for one in (mask, None)
    ]
    assert float(far[0]) < 0.03 < 0.1 < float(far[1])


def test_a_mask_in_which_nothing_counts_is_refused() -> None:
    inference = Inference(random_model(STYLE), ApplyConfig(), precision=FP32)
    with pytest.raises(ModelError, match="all of the picture is transparent"):
        inference.apply(random_image(90, 70).float(), mask=torch.zeros(1, 1, 90, 70))


@pytest.mark.parametrize("tile", [None, 40])
def test_the_document_s_network_tiled_in_float32(tile: int | None) -> None:
    model, image = random_model(Design()), random_image(111, 113).float()
    inference = Inference(model, ApplyConfig(tile=tile), precision=FP32)
    expected = plain(Design(), model.weights, image).float()
    assert float((inference.apply(image) - expected).abs().max()) <= 1e-4


# Budgets from a few maps to all of them: other stages are kept each time.
@pytest.mark.parametrize("share", [0.0, 0.15, 0.3, 0.5, 0.8])
def test_what_is_kept_does_not_matter(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = random_model(STYLE), random_image(98, 87)
    everything = max(geometry(STYLE, (98, 87)).values(i) for i in range(9)) * 2
    kept: list[list[int]] = []

    def starved(way: Geometry, normalised: list[int], most: int) -> list[int]:
        kept.append(kept_stages(way, normalised, int(share * min(most, everything))))
        return kept[-1]

    monkeypatch.setattr(planning, "kept_stages", starved)
    found = Inference(model, ApplyConfig(tile=33), precision=FP64).apply(image)
    assert (len(kept[-1]) == 0) == (share == 0)
    assert share > 0.5 or len(kept[-1]) < 9
    expected = plain(STYLE, model.weights, image)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_grain_is_that_of_the_training_and_may_be_changed() -> None:
    metadata = {"settings": json.dumps({"grain": 0.1})}
    model = replace(random_model(STYLE), metadata=metadata)
    image = random_image(70, 150).float()
    trained = Inference(model, ApplyConfig(precision="fp32")).apply(image)
    without = Inference(model, ApplyConfig(precision="fp32", grain=0.0)).apply(image)
    assert float((trained - without).abs().max()) > 0.01
    plain_image = Inference(random_model(STYLE), ApplyConfig(precision="fp32")).apply(image)
    assert torch.equal(plain_image, without)
    tiled = Inference(model, ApplyConfig(precision="fp32", tile=40)).apply(image)
    torch.testing.assert_close(tiled, trained, rtol=0, atol=1e-4)
    with pytest.raises(ConfigError, match="`grain` is for style models"):
        Inference(random_model(ENLARGE), ApplyConfig(grain=0.1))


def test_grain_has_its_spread() -> None:
    noise = grain_over(Region(Span(0, 200), Span(0, 150)))
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    assert not torch.equal(noise[..., :64, :64], noise[..., 64:128, :64])
    assert not torch.equal(noise[..., :64, :64], noise[..., :64, 64:128])
    part = grain_over(Region(Span(70, 199), Span(63, 65)))
    assert torch.equal(part, noise[..., 70:199, 63:65])


def test_grain_of_training_pictures() -> None:
    grey = torch.full((2, 3, 130, 90), 0.5)
    noise = with_grain(grey, 0.1, seed=3) - grey
    assert abs(float(noise.std()) - 0.1) < 0.002
    assert with_grain(grey, 0, seed=3) is grey


@given(st.integers(64, 5000), st.integers(64, 5000), st.integers(20, 33))
def test_passes_stay_within_the_budget(height: int, width: int, exponent: int) -> None:
    way, memory = geometry(Design(), (height, width)), 2**exponent
    try:
        plan = plan_passes(way, itemsize=4, memory=memory, tile=None)
    except ConfigError:
        return
    assert [one.stop for one in plan.passes] == list(range(len(way.stages)))
    assert plan.num_bytes <= memory
    start = PICTURE
    for one in plan.passes:
        assert one.start == start
        start = one.stop if one.keep else start


def recomputed(way: Geometry, normalised: list[int], kept: tuple[int, ...], most: int) -> float:
    """Multiply-adds of all passes if so many stages are kept; infinite if they do not fit."""
    work, start = 0.0, PICTURE
    for stop in [*normalised, way.last]:
        work += way.work(start, stop)
        if stop in kept:
            if way.values_while(start, stop) > most:
                return float("inf")
            start = stop
    return work


@given(st.integers(64, 5000), st.integers(64, 5000), st.floats(16, 32))
def test_no_other_stages_would_be_better_kept(height: int, width: int, exponent: float) -> None:
    way, most = geometry(Design(num_blocks=2), (height, width)), int(2**exponent)
    normalised = [i for i, stage in enumerate(way.stages) if stage.norm]
    found = recomputed(way, normalised, tuple(kept_stages(way, normalised, most)), most)
    choices = (itertools.combinations(normalised, n) for n in range(len(normalised) + 1))
    assert found == min(
        recomputed(way, normalised, choice, most) for some in choices for choice in some
    )


def test_24_megapixels_keep_the_residual_blocks_within_2_gib() -> None:
    way = geometry(Design(), (4000, 6000))
    plan = plan_passes(way, itemsize=4, memory=2**31, tile=None)
    assert all(one.keep for one in plan.passes[2:13])
    assert plan.work < 1.6 * way.work(PICTURE, way.last)


def test_a_budget_for_no_tile_names_one_that_is_enough() -> None:
    inference = Inference(random_model(Design()), ApplyConfig(memory="1MiB"), precision=FP32)
    with pytest.raises(ConfigError, match=r"at least \d+MiB") as refused:
        inference.check((2000, 3000))
    amount = str(refused.value).rsplit(" ", 1)[-1]
    Inference(random_model(Design()), ApplyConfig(memory=amount), precision=FP32).check(
        (2000, 3000)
    )


def test_thumbnail_statistics_are_near_the_exact_ones() -> None:
    image = torch.nn.functional.interpolate(random_image(70, 90), scale_factor=4, mode="bicubic")
    image = image.clamp(0, 1).float()
    model = random_model(STYLE)
    exact = Inference(model, ApplyConfig(), precision=FP32).apply(image)
    config = ApplyConfig(mode="thumbnail", thumbnail=180, tile=64)
    inference = Inference(model, config, precision=FP32)
    near = inference.apply(image)
    assert not torch.equal(near, exact)
    assert float((near - exact).abs().mean()) < 0.1
    whole = Inference(model, ApplyConfig(mode="thumbnail", thumbnail=180), precision=FP32).apply(
        image
    )
    torch.testing.assert_close(near, whole, rtol=0, atol=1e-4)


def test_a_thumbnail_larger_than_the_picture_is_the_picture() -> None:
    image, model = random_image(90, 70).float(), random_model(STYLE)
    exact = Inference(model, ApplyConfig(), precision=FP32).apply(image)
    small = Inference(model, ApplyConfig(mode="thumbnail"), precision=FP32).apply(image)
    assert torch.equal(exact, small)


@pytest.mark.parametrize("tf32", [False, True])
def test_every_convolution_is_in_its_precision(tf32: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    precision = Precision(torch.float32, tf32=tf32)
    with Convolutions(monkeypatch) as convolutions:
        inference = Inference(random_model(STYLE), ApplyConfig(), precision=precision)
        inference.apply(random_image(90, 70).float())
    assert convolutions.seen == {("aten::convolution", "tf32" if tf32 else "ieee")}


def test_half_precision_stays_close() -> None:
    image, model = random_image(90, 70).float(), random_model(STYLE)
    exact = Inference(model, ApplyConfig(), precision=FP32).apply(image)
    half = Inference(model, ApplyConfig(), precision=Precision(torch.bfloat16)).apply(image)
    assert half.dtype == torch.float32
    assert float((half - exact).abs().mean()) < 0.02


@pytest.mark.parametrize("design", [STYLE, ENLARGE], ids=["style", "super-resolution"])
def test_a_picture_smaller_than_the_view_is_refused(design: Design) -> None:
    inference = Inference(random_model(design), ApplyConfig(), precision=FP32)
    least = design.receptive_field
    inference.check((least, least))
    with pytest.raises(ModelError, match=f"at least {least} px"):
        inference.apply(random_image(least - 1, 200).float())


def test_progress_rises_to_one() -> None:
    told: list[float] = []
    inference = Inference(random_model(STYLE), ApplyConfig(tile=40), precision=FP32)
    inference.apply(random_image(90, 70).float(), told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert len(told) > 20


@pytest.mark.parametrize("design", [STYLE, ENLARGE])
def test_the_work_of_tiles_is_that_of_the_whole_and_their_halos(design: Design) -> None:
    model = random_model(design)
    whole = Inference(model, ApplyConfig(device="cpu"))
    plan = whole.plan((96, 128))
    assert plan.work == sum(plan.geometry.work(one.start, one.stop) for one in plan.passes)
    tiled = Inference(model, ApplyConfig(device="cpu", tile=48)).work((96, 128))
    # Between two normalisations lies one stage of this style network, whose input is kept whole.
    assert tiled / whole.work((96, 128)) == pytest.approx(1 if design is STYLE else 1.025, abs=5e-4)


def test_the_time_of_an_enlargement_goes_by_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(write_random_model(tmp_path / "up.safetensors", "super-resolution"))
    enlarge = Finish(model, Config(size=3200, device="cpu"), (480, 640))
    assert enlarge.painted == (600, 800)
    times = iter([10.0, 12.0])
    monkeypatch.setattr("hires.feedforward.finish.time.perf_counter", lambda: next(times))
    # 192x256 pixels of 600x800 are tried, as one tile; the whole is several.
    assert enlarge.measure_seconds() == pytest.approx(2 * (600 / 192) ** 2 * 1.005, rel=1e-3)


@pytest.mark.parametrize("memory", [24, 80])
def test_no_map_of_a_tile_has_more_values_than_a_gpu_counts(memory: int) -> None:
    """cuDNN's numbers have 32 bits; A0 at 300 dpi has 139.5 megapixels."""
    way = geometry(Design(), (9933, 14043))
    plan = plan_passes(way, itemsize=2, memory=memory * 2**30, tile=None, on_cpu=False)
    assert plan.num_bytes <= memory * 2**30
    for one in plan.passes:
        for tile in (tile for row in plan.tiles(one) for tile in row):
            regions = way.regions(tile, one.start, one.stop)
            stages = way.stages[one.start + 1 : one.stop + 1]
            for stage, (before, after) in zip(stages, itertools.pairwise(regions), strict=True):
                sides = (side * stage.enlarge + stage.kernel - 1 for side in before.size)
                assert stage.before * math.prod(sides) < 2**31
                assert stage.after * after.num_pixels < 2**31
    with patch.object(planning, "MOST_VALUES", math.inf):
        uncapped = plan_passes(way, tile=None, on_cpu=False, memory=2**40, itemsize=2)
    assert any(one.tile == way.sizes[one.stop] for one in uncapped.passes[:1])
    assert plan.passes[0].tile != way.sizes[0]
