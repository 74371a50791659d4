"""Every field refuses what it cannot be, in words that name the option and what is allowed."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.config.run import Config
from hires.config.values import format_bytes, parse_bytes, parse_layer
from hires.errors import ConfigError

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"size": 0}, r"`size` is 0: give a whole number of at least 32"),
    ({"size": 1024.5}, r"`size` is 1024\.5"),
    ({"size": True}, r"`size` is True"),
    ({"size": "photo"}, r"`size` is 'photo': give a whole number of pixels, content, or a share"),
    ({"size": "-50%"}, r"`size` is '-50%'"),
    ({"min_size": 8}, r"`min_size` is 8"),
    ({"sizes": (256, 16)}, r"`sizes` is 16"),
    ({"sizes": (512, 256)}, r"`sizes` is 512 256: give sizes that grow"),
    ({"sizes": (256, 256)}, r"give sizes that grow, each once"),
    ({"sizes": (256,), "size": 512}, r"`sizes` names every size: leave `size` out"),
    ({"sizes": (256,), "min_size": 128}, r"leave `min_size` out"),
    ({"iterations": (100, 0)}, r"`iterations` is 0"),
    ({"seed": -1}, r"`seed` is -1"),
    ({"tile": 16}, r"`tile` is 16"),
    ({"content_weight": -1.0}, r"`content_weight` is -1"),
    ({"style_weight": math.nan}, r"`style_weight` is nan"),
    ({"tv_weight": math.inf}, r"`tv_weight` is inf"),
    ({"tv_weight": "much"}, r"`tv_weight` is much: give a number of at least 0"),
    ({"tv_weight": True}, r"`tv_weight` is True"),
    ({"average": 0.99999}, r"`average` is 0\.99999: give a number from 0 to 0\.9999"),
    ({"style_weights": (1.0, -2.0)}, r"`style_weights` is -2"),
    ({"style_weights": (0.0, 0.0)}, r"`style_weights` are all 0"),
    ({"style_scale": 0.0}, r"`style_scale` is 0"),
    ({"style_scale": 17.0}, r"`style_scale` is 17: give a number from 0\.01 to 16"),
    ({"init": "blend:1.5"}, r"`init` is 'blend:1\.5': write blend:0\.3 for 0\.3 of noise, from"),
    ({"init": "blend:"}, r"`init` is 'blend:'"),
    ({"init": "blend"}, r"`init` is 'blend'"),
    ({"learning_rate": 0.0}, r"`learning_rate` is 0"),
    ({"average": 1.0}, r"`average` is 1"),
    ({"average": -0.1}, r"`average` is -0\.1"),
    ({"average": 0.9, "optimizer": "lbfgs"}, r"`average` applies to `optimizer=adam` only"),
    ({"style_loss": "gramm"}, r"`style_loss` is 'gramm': choose one of gram, meanstd, wasserstein"),
    ({"style_loss": ("gram", "gram:2")}, r"a style loss is named twice: gram gram:2"),
    ({"style_loss": ()}, r"`style_loss` is empty: name one, or give `style_weight=0`"),
    (
        {"style_loss": ("gram", "wasserstein:0")},
        r"`style_loss=wasserstein:0`: write NAME or NAME:W",
    ),
    ({"style_loss": ("gram", "wasserstein:")}, r"`style_loss=wasserstein:`: write NAME"),
    ({"pooling": "median"}, r"`pooling` is 'median': choose one of max, average, l2"),
    ({"optimizer": "sgd"}, r"`optimizer` is 'sgd': choose one of adam, lbfgs"),
    ({"precision": "fp8"}, r"`precision` is 'fp8': choose one of auto, fp32, tf32, bf16, fp16"),
    ({"device": "tpu"}, r"`device` is 'tpu': choose auto, cpu, cuda, cuda:N or mps"),
    ({"device": "cuda:"}, r"`device` is 'cuda:'"),
    ({"memory": "lots"}, r"memory 'lots' is not an amount"),
    ({"memory": "0GiB"}, r"memory '0GiB' is not an amount"),
    ({"style_layers": (), "content_layers": ()}, r"both empty: name a layer"),
    ({"style_layers": ("relu1_1", "relu1_1:2")}, r"a layer is named twice"),
    ({"style_layers": ("relu1_1:0", "relu2_1:0")}, r"relu1_1:0 relu2_1:0 all weigh 0"),
    ({"content_layers": ("relu4_2:-1",)}, r"layer 'relu4_2:-1': write NAME or NAME:WEIGHT"),
    ({"content_layers": ("relu4_2:much",)}, r"layer 'relu4_2:much'"),
    ({"content_layers": (":1",)}, r"layer ':1'"),
    ({"content_layers": ("relu4_2:3",)}, r"the weight of relu4_2:3 does nothing, .*`content_weig"),
    ({"content_layers": (), "content_weight": 2.0}, r"`content_weight` does nothing without `con"),
    (
        {f"{t}_weight": 0.0 for t in ("style", "content", "detail", "patch", "tv")},
        r"are all 0: give one some",
    ),
    ({"style_weight": 0.0, "style_scale": 0.5}, r"`style_scale` does nothing where `style_weight`"),
    ({"style_weight": 0.0, "style_loss": "gram"}, r"`style_loss` does nothing where"),
    ({"content_weight": 0.0, "content_loss": "mse"}, r"`content_loss` does nothing where `conten"),
    ({"tv_weight": 0.0, "tv_loss": "power"}, r"`tv_loss` does nothing where `tv_weight` is 0"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=[str(case[0]) for case in REFUSED])
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Config(**settings)
    assert "\n" not in str(caught.value)


def test_the_defaults_are_allowed_and_frozen() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.size = 1  # type: ignore[misc]
    assert dataclasses.replace(config, size=2048).size == 2048


def test_numbers_of_other_libraries_are_numbers() -> None:
    number: Any = np.float32(2)
    assert Config(style_weight=number, tv_weight=1).style_weight == 2


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:3"])
def test_devices_are_checked_for_their_spelling_only(device: str) -> None:
    assert Config(device=device).device == device


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2GiB", 2 * 2**30),
        ("512M", 2**29),
        ("1.5g", 3 * 2**29),
        (" 4 KB ", 4096),
        ("1000000", 10**6),
        (".5T", 2**39),
    ],
)
def test_parse_bytes(text: str, amount: int) -> None:
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "-1GiB", "1 GiB extra", "1e9", "GiB", "1PB"])
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="write for example 2GiB or 512MiB"):
        parse_bytes(text)


@given(st.integers(1, 2**50))
def test_format_bytes_can_be_parsed_back(amount: int) -> None:
    unit = max(unit for unit in (1, 2**10, 2**20, 2**30) if amount >= unit)
    assert abs(parse_bytes(format_bytes(amount)) - amount) <= unit / 2 + 1


def test_parse_layer() -> None:
    assert parse_layer("relu4_1") == ("relu4_1", 1.0)
    assert parse_layer("relu4_1:0.25") == ("relu4_1", 0.25)


def test_style_losses() -> None:
    assert Config().style_losses == {"wasserstein": 1.0}
    assert Config(style_loss="gram").style_loss == ("gram",)
    mixed = Config(style_loss=("gram:0.25", "meanstd"))
    assert mixed.style_losses == {"gram": 0.25, "meanstd": 1.0}
    assert not mixed.is_default("style_loss")
    assert Config(preset="d2l", style_loss="gram-mse").is_default("style_loss")


def test_shares_of_styles() -> None:
    assert Config().style_shares(2) == (0.5, 0.5)
    assert Config(style_weights=(1, 3)).style_shares(2) == (0.25, 0.75)
    with pytest.raises(ConfigError, match=r"has 2 numbers for 3 style pictures"):
        Config(style_weights=(1, 3)).style_shares(3)


def test_options_that_a_preset_brings_may_idle() -> None:
    assert Config(preset="keras", tv_weight=0.0).tv_loss == "power"
    assert Config(preset="tutorial", content_weight=0.0, style_layers=("conv1_1:2",)).size == 768


def test_a_share_of_one_style_is_none() -> None:
    assert Config(style_weights=(1.0,)).style_shares(1) == (1.0,)
    with pytest.raises(ConfigError, match=r"`style_weights` does nothing with one .* `style_weig"):
        Config(style_weights=(3.0,)).style_shares(1)


def test_defaults_that_depend_on_the_optimizer() -> None:
    adam, lbfgs = Config(), Config(optimizer="lbfgs")
    assert (adam.averaging, lbfgs.averaging, Config(average=0).averaging) == (0.8, 0.0, 0)
    assert (adam.learning_rate_for(150), lbfgs.learning_rate_for(150)) == (0.02, 1.0)
    assert [adam.learning_rate_for(steps) for steps in (300, 120, 100, 1)] == [
        0.02,
        0.025,
        0.03,
        0.03,
    ]
    assert Config(learning_rate=0.5).learning_rate_for(2) == 0.5
    assert adam.memory_bytes is None
    assert Config(memory="2GiB").memory_bytes == 2**31


def test_config_needs_no_torch() -> None:
    command = (
        "import sys, hires, hires.engine.ladder; hires.Config(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", command], check=True)
