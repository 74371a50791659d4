"""What a run of several processes agrees upon before it begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from hires.config.run import Config
from hires.engine.ladder import Rung
from hires.engine.setup import Setup
from hires.errors import ConfigError
from hires.losses.terms import Term
from hires.processes.bands import even_bands
from hires.processes.group import Group
from hires.processes.joining import neighbours
from hires.processes.together import SeveralTogether
from hires.utils.memory import available_bytes


def check_shared(
    config: Config, terms: Iterable[Term], rungs: Sequence[Rung], num_processes: int
) -> None:
    """Refuse what several processes cannot paint.

    Raises:
        ConfigError: for another optimizer than Adam, a term that keeps something of all positions,
            a canvas that wraps or has too few rows.
    """
    if config.optimizer != "adam":
        raise ConfigError(
            f"`optimizer={config.optimizer}` needs the whole canvas in one process: start one, or"
            " give `optimizer=adam`"
        )
    for term in terms:
        if type(term).state is not Term.state and not term.keeps_own_rows:
            raise ConfigError(
                f"the term '{term.name}' keeps a state of the whole canvas: start one process, or"
                " leave it out"
            )
    if rungs[-1].wrap:
        raise ConfigError("`tileable` needs the whole canvas in one process: start one")
    for rung in rungs:
        even_bands(rung.canvas_size[0], num_processes)


def check_device(device: torch.device) -> None:
    """Refuse devices between which processes cannot send anything.

    Raises:
        ConfigError: for others than CPUs and CUDA's GPUs.
    """
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"`device={device.type}` is for one process: start one, or give `device=cpu`"
        )


def shared_setup(setup: Setup, group: Group) -> Setup:
    """A setup whose canvas is spread over processes, with the least memory that one of them has.

    Sums depend on tiles in their last bits: one number tells them for all.
    """
    together = SeveralTogether(group)
    setup = replace(setup, together=together, num_bands=group.size)
    if setup.budget is None:
        return replace(setup, memory=int(together.least(setup.memory)))
    fixed, card = setup.budget.fixed, setup.budget.card
    if setup.device.type == "cpu" and setup.budget.config.memory_bytes is None:
        fixed = max(min(fixed or 0, (available_bytes() or 2**62) // 2 // neighbours()), 1)
    fixed = None if fixed is None else int(together.least(fixed))
    card = None if card is None else int(together.least(card))
    return replace(setup, budget=replace(setup.budget, fixed=fixed, card=card))
