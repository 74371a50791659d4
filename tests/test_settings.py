"""Jobs written down and read back."""

from __future__ import annotations

import json

import pytest

from hires.config.job import PaintJob
from hires.config.run import Config
from hires.config.settings import job_of, settings_of
from hires.errors import ConfigError

JOB = PaintJob(
    content="a.jpg",
    styles=("b.jpg", "c.png"),
    output="out.tif",
    bit_depth=16,
    config=Config(size=999, iterations=(30, 20), learning_rate=0.05, style_weights=(1.0, 2.0)),
)


def test_a_job_survives_json() -> None:
    assert job_of(json.loads(json.dumps(settings_of(JOB)))) == JOB


def test_a_style_loss_may_be_a_name() -> None:
    """As earlier versions wrote it down."""
    settings = settings_of(JOB)
    assert settings["config"]["style_loss"] == ["wasserstein"]
    settings["config"]["style_loss"] = "gram"
    assert job_of(settings).config.style_loss == ("gram",)


def test_every_option_is_written_down() -> None:
    settings = settings_of(JOB)
    assert settings["config"]["tv_weight"] == Config().tv_weight
    assert settings["styles"] == ["b.jpg", "c.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown setting 'colour'"),
        ({"config": {"sise": 9}}, "unknown setting 'sise'"),
        ({"config": {"size": "big"}}, "`size` is 'big'"),
        ({"config": {"iterations": 5}}, "settings cannot be used"),
        ({"styles": {"a": 1}}, "setting 'styles' is not a group"),
        ({"styles": []}, "missing STYLE"),
    ],
)
def test_what_cannot_be_used_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        job_of({**settings_of(JOB), **change})


def test_a_missing_output_is_refused() -> None:
    settings = settings_of(JOB)
    del settings["output"]
    with pytest.raises(ConfigError, match="output"):
        job_of(settings)
