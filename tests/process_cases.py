"""What the processes of tests/test_processes.py do: ``python process_cases.py check FOLDER``."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from conftest import COMPACT_SHAPE, random_image, random_weights
from objectives import setup_of, terms_of
from test_add_a_loss import Contrast, Quantiles
from torch import Tensor

from hires.cli import main as cli
from hires.config.run import Config
from hires.engine import preview, run, step
from hires.engine.bands import BandCanvas, Bands, Order
from hires.engine.canvas import WholeCanvas
from hires.engine.estimate import forecast
from hires.engine.ladder import Rung
from hires.engine.measuring import Measuring
from hires.engine.objective import Objective
from hires.engine.references import References
from hires.engine.setup import Setup
from hires.engine.shares import Cluster, process_share
from hires.features.network import Network
from hires.image.guides import UNGUIDED, Guided, PaintedRegion
from hires.image.originals import Original
from hires.losses.central import Central
from hires.losses.detail import Detail
from hires.losses.gathered import RelaxedTransport, SelfSimilarity
from hires.losses.neighbours import MATCHED_EVERY, Neighbours
from hires.losses.patches import Patches
from hires.losses.sliced import Sliced
from hires.losses.terms import Term
from hires.losses.variation import TotalVariation
from hires.processes import pulse
from hires.processes.group import Group
from hires.processes.joining import join
from hires.processes.together import SeveralTogether
from hires.tiling.geometry import Span

SIZE = (275, 45)
CPU = torch.device("cpu")
# In the first neighbours are looked for, and again in the second.
STEPS = (0, MATCHED_EVERY)
# The first of three bands is shorter than what its neighbour sees beyond its own rows.
CUTS = {2: (144,), 3: (16, 192)}


def network() -> Network:
    found = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    return found.prepare(CPU, torch.float64, torch.channels_last)


def terms() -> list[Term]:
    layers = {"relu1_1": 1.0, "relu2_1": 1.0, "relu4_1": 0.5}, {"relu3_2": 1.0, "relu4_2": 1.0}
    return [
        *terms_of("wasserstein", layers, (1.0, 0.5, 1.0)),
        TotalVariation(form="absolute", name="absolute", weight=0.3),
        TotalVariation(form="power", name="power", weight=1e-4),
        Detail(weight=0.2),
        Patches(weight=0.3),
        Quantiles(layers=("relu1_1", "relu2_1")),
        Contrast(),
        Central(layers={"relu2_1": 1.0}, name="central"),
        Sliced(layers={"relu2_1": 1.0}, name="sliced"),
        RelaxedTransport(layers={"relu3_1": 1.0}, name="transport"),
        SelfSimilarity(layers={"relu3_1": 1.0}, name="similarity"),
        Neighbours(layers={"relu3_1": 0.5, "relu4_1": 0.5}, budget=64),
    ]


def guides(style: Tensor, size: tuple[int, int] = SIZE) -> Guided:
    height, width = size
    left = ((0.5 * width - torch.arange(width)) / 9 + 0.5).clamp(0, 1)
    left = left.expand(1, 1, height, width).clone()
    lower = (1 - left) * (torch.arange(height) > 0.55 * height).float().view(1, 1, -1, 1)
    half = torch.zeros(1, 1, *style.shape[2:])
    half[..., :30] = 1
    regions = (PaintedRegion(left, {0: None}), PaintedRegion(lower, {0: half}))
    strictness = 2 * random_image(*size, seed=9)[:, :1].float()
    return Guided(regions, 1 - left - lower, strictness)


def objective(setup: Setup, canvas: WholeCanvas, *, masked: bool, guided: bool) -> Objective:
    content, style = random_image(*SIZE, seed=1), random_image(75, 101, seed=2)
    mask = random_image(*SIZE, seed=4)[:, :1]
    mask[..., :90, :20] = 0
    references = References(
        setup=setup,
        canvas=canvas,
        content=Original(content, mask if masked else None),
        styles=[Original(style, None)],
        style_sizes=[(75, 101)],
        shares=[1.0],
        measuring=Measuring(setup),
        guides=guides(style) if guided else UNGUIDED,
    )
    plan = replace(canvas.plan(), num_kept=2)
    return setup.objective(references, plan, smaller=canvas.smaller)


def bands_of(group: Group, setup: Setup) -> Bands:
    cuts = [0, *CUTS[group.size], SIZE[0]]
    own = [Span(start, stop) for start, stop in itertools.pairwise(cuts)]
    return Bands(group, SIZE[0], setup.wrap[0], own)


def exactness(group: Group) -> Sequence[object]:
    """Errors of loss and gradient, of every scene and every term by itself."""
    rung = Rung(index=0, size=SIZE, num_iterations=1, learning_rate=0.1, style_sizes=())
    picture, found = random_image(*SIZE, seed=3), []
    for masked, guided, tile in [(False, False, None), (True, False, 64), (False, True, 64)]:
        silent = replace(terms()[0], name="silent", weight=0.0)  # type: ignore[type-var]
        for each in terms():
            asked = [each, silent]  # Which says how deep the network is looked into.
            alone = setup_of(network(), asked, torch.float64)
            whole = objective(alone, WholeCanvas(alone, SIZE), masked=masked, guided=guided)
            setup = setup_of(network(), asked, torch.float64, tile)
            setup = replace(setup, together=SeveralTogether(group), num_bands=group.size)
            bands = bands_of(group, setup)
            canvas = BandCanvas(setup, rung, bands)
            own = bands.own[group.rank].slice
            shared = objective(setup, canvas, masked=masked, guided=guided)
            for number in STEPS if each.name == "neighbours" else STEPS[:1]:
                whole.at_step(number)
                shared.at_step(number)
                wanted = whole(picture)
                for _ in range(2):  # A second time with what the first has left.
                    evaluation = shared(bands.seen(picture[..., own, :]))
                    gradient = bands.folded(evaluation.gradient)
                part = wanted.gradient[..., own, :]
                error = float((gradient - part).norm() / part.norm())
                loss = abs(float(evaluation.loss / wanted.loss) - 1)
                found.append([each.name, masked, guided, number, loss, error])
    return found


def sent(group: Group) -> list[float]:
    """Bytes of rows and sums that an evaluation sends, and those that `hires plan` tells."""
    asked = terms_of("wasserstein", ({"relu2_1": 1.0, "relu4_1": 0.5}, {"relu4_2": 1.0}), (1, 1, 1))
    setup, rung = setup_of(network(), asked, torch.float64), Rung(0, SIZE, 1, 0.1, ())
    (line,) = forecast(Config(), setup, [rung], num_input_pixels=0)
    planned = process_share(Config(), setup, line, Cluster(num_processes=group.size))
    setup = replace(setup, together=SeveralTogether(group), num_bands=group.size)
    bands = Bands(group, SIZE[0], setup.wrap[0])
    shared = objective(setup, BandCanvas(setup, rung, bands), masked=False, guided=False)
    before = replace(group.traffic)
    own = bands.own[group.rank].slice
    bands.folded(shared(bands.seen(random_image(*SIZE)[..., own, :].float())).gradient)
    counted = [group.traffic.rows - before.rows, group.traffic.sums - before.sums]
    return [*counted, planned.row_bytes, planned.sum_bytes]


def check(folder: str) -> None:
    """Write down what `exactness` and `sent` find."""
    group = join()
    assert group is not None
    found = {"exactness": exactness(group), "sent": sent(group)}
    (Path(folder) / f"found-{group.rank}.json").write_text(json.dumps(found))
    group.leave()


def paint(folder: str, short: str) -> None:
    """Write down how far a whole run of several is from that of one, in losses and pixels.

    One of them, if any, is once short of memory in the second rung.
    """
    group = join()
    assert group is not None
    # Of bands of the larger one there are smaller tiles that take less memory.
    size = (131, 45) if short == "none" else (331, 121)
    content, style = random_image(*size, seed=1), random_image(75, 101, seed=2)
    mask = random_image(*size, seed=4)[:, :1]
    mask[..., :40, :20] = 0
    rungs = [
        Rung(i, each, 3, 0.02, ((75, 101),), margin=8, content_detail=0.5 * i)
        for i, each in enumerate([(83, 33), size])
    ]
    config, asked = Config(init="content", size=size[0]), terms()

    def painted(number: Group | None) -> tuple[list[float], Tensor, Bands | None]:
        setup = replace(setup_of(network(), asked, torch.float64, 128), num_regions=2)
        if number is not None:
            together = SeveralTogether(number)
            setup = replace(setup, together=together, num_bands=number.size)
        pictures = Original(content, mask), [Original(style, None)]
        guided = guides(style, size)
        painting = run.Run(setup, config, rungs, *pictures, guides=guided, group=number)
        losses = []
        sides.clear()
        for progress in painting:
            losses.append(progress.loss)
            sides.append(painting._standing.now.plan.side)
        now = painting._standing.now
        return losses, now.optimizer.picture, now.bands

    sides: list[int] = []
    whole, canvas, _ = painted(None)
    if str(group.rank) == short:
        fall_short(after=4)
    shared, own, bands = painted(group)
    assert bands is not None
    part = canvas[..., bands.own[group.rank].slice, :]
    apart = max(abs(one / other - 1) for one, other in zip(shared, whole, strict=True))
    error = float((own - part).norm() / part.norm())
    found = [len(whole), apart, error, float((own - part).abs().max()), sides]
    (Path(folder) / f"painted-{group.rank}.json").write_text(json.dumps(found))
    group.end(Order.END)
    group.leave()


def fall_short(after: int) -> None:
    """Have this process run out of memory, after some evaluations, until its tiles are smaller."""
    real, calls, largest = Objective._measure, itertools.count(1), list[int]()

    def failing(self: Objective, *arguments: Any) -> Any:
        if next(calls) > after:
            largest.append(self.plan.side)
            if self.plan.side == largest[0]:
                raise torch.OutOfMemoryError("injected")
        return real(self, *arguments)

    setattr(Objective, "_measure", failing)  # noqa: B010


def hires(rank: str, at: str, sent: str, *typed: str) -> int:
    """``hires ...``, in which one process gets a signal before a step, counted from 1."""
    real, steps = step.move, itertools.count(1)

    def move(*arguments: Any) -> None:
        if next(steps) == int(at) and os.environ["RANK"] == rank:
            os.kill(os.getpid(), getattr(signal, sent))
        real(*arguments)

    setattr(run, "move", move)  # noqa: B010
    return cli.main(typed)


def limited(limit: str, *typed: str) -> int:
    """``hires ...`` with so many bytes of address space, 0 for any; writes down the most it had."""
    if int(limit):
        resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
    try:
        return cli.main(typed)
    finally:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        (kib,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmPeak"))
        Path(f"peak-{os.environ['RANK']}").write_text(str(1024 * int(kib)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    pulse.BEAT = float(os.environ.get("BEAT", pulse.BEAT))
    preview.PREVIEW_PIXELS = float(os.environ.get("PREVIEW_PIXELS", preview.PREVIEW_PIXELS))
    cases: dict[str, Any] = {"check": check, "paint": paint, "hires": hires, "limited": limited}
    sys.exit(cases[sys.argv[1]](*sys.argv[2:]))
