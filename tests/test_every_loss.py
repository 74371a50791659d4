"""What every style loss can be combined with, as one table, each cell of it tried.

That masks and bands are exact is shown in test_regions.py and test_processes.py; here a run goes
through.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights

from hires.config.run import Config
from hires.engine import preview
from hires.engine.planned import PlannedRun, plan_run
from hires.engine.preview import CloseUp
from hires.engine.resolve import fit
from hires.engine.shared import check_shared
from hires.engine.snapshot import read_snapshot, write_snapshot
from hires.features.checkpoints import write_checkpoint
from hires.image.guides import Guided, PaintedRegion
from hires.image.originals import original, originals

SIZE, STYLE_SIZE = (96, 72), (60, 64)
# Whether a run with each loss: goes on after a stop to the same bits; has regions, each with a part
# of a style; shows a close-up of the rungs to come; is painted by several processes.
TABLE = {
    #                  resume, masks, preview, processes
    "gram": (True, True, True, True),
    "meanstd": (True, True, True, True),
    "wasserstein": (True, True, True, True),
    "sliced": (True, True, True, True),
    "central": (True, True, True, True),
    "neighbours": (True, True, True, True),
    "transport": (True, True, True, True),
    "self-similarity": (True, True, True, True),
}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("features") / "tiny.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    return str(path)


def planned(loss: str, features: str, *, masks: bool = False) -> PlannedRun:
    of_style = loss != "self-similarity"
    config = Config(
        features=features,
        device="cpu",
        precision="fp32",
        sizes=(72, 96),
        iterations=(2, 3),
        **{"style_loss" if of_style else "content_loss": loss},  # type: ignore[arg-type]
    )
    left = torch.zeros(1, 1, *SIZE)
    left[..., :40] = 1
    half = torch.ones(1, 1, *STYLE_SIZE)
    half[..., :20, :] = 0
    regions = (PaintedRegion(left, {0: half}), PaintedRegion(1 - left, {0: None}))
    given: dict[str, Any] = {"guides": Guided(regions)} if masks else {}
    pictures = random_image(*SIZE, seed=1).float(), random_image(*STYLE_SIZE, seed=2).float()
    return plan_run(fit(config), original(pictures[0]), originals(pictures[1]), **given)


def resume(loss: str, features: str, folder: Path, **_: Any) -> None:
    steps = list(planned(loss, features).start())
    wanted = steps[-1].picture()
    for number, step in enumerate(planned(loss, features).start()):
        write_snapshot(step.snapshot(), folder / f"{number}")
    for number in (0, 1, 3):
        last = [*planned(loss, features).start(read_snapshot(folder / f"{number}"))][-1]
        assert last.is_last
        assert torch.equal(last.picture(), wanted)


def masks(loss: str, features: str, **_: Any) -> None:
    plain = [*planned(loss, features).start()][-1]
    last = [*planned(loss, features, masks=True).start()][-1]
    assert bool(torch.isfinite(last.picture()).all())
    assert not torch.equal(last.picture(), plain.picture())


def close_up(loss: str, features: str, monkeypatch: pytest.MonkeyPatch, **_: Any) -> None:
    monkeypatch.setattr(preview, "SHOWN", 64)
    run = planned(loss, features, masks=True)
    standing = next(step for step in run.start() if step.ends_rung)
    shown = CloseUp(standing, run)
    assert [*shown][-1].is_last
    assert bool(torch.isfinite(shown.picture()).all())


def processes(loss: str, features: str, **_: Any) -> None:
    run = planned(loss, features)
    check_shared(run.config, run.setup.terms, run.rungs, 2)


TRIED: dict[str, Callable[..., None]] = {
    "resume": resume,
    "masks": masks,
    "preview": close_up,
    "processes": processes,
}


@pytest.mark.parametrize("use", TRIED)
@pytest.mark.parametrize("loss", TABLE)
def test_what_works_with_which_loss(
    loss: str, use: str, features: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TABLE[loss][[*TRIED].index(use)]
    TRIED[use](loss, features, folder=tmp_path, monkeypatch=monkeypatch)
