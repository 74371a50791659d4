"""The commands by their names. No torch.

Options that are settings come from the dataclasses of `hires.config`, so that each exists once.
"""

from __future__ import annotations

from hires.cli.arguments.looking import Bench, Compare, Doctor, Inspect, Papers, Presets
from hires.cli.arguments.networks import Apply, Export, Train
from hires.cli.arguments.painting import Batch, Plan, Resume, Texture, Variations
from hires.config.deliver import DeliverJob
from hires.config.job import PaintJob
from hires.config.morph import MorphJob
from hires.config.serve import Serve

COMMANDS: dict[str, type] = {
    "stylize": PaintJob,
    "texture": Texture,
    "variations": Variations,
    "morph": MorphJob,
    "batch": Batch,
    "resume": Resume,
    "deliver": DeliverJob,
    "plan": Plan,
    "papers": Papers,
    "inspect": Inspect,
    "compare": Compare,
    "doctor": Doctor,
    "bench": Bench,
    "presets": Presets,
    "train": Train,
    "apply": Apply,
    "export": Export,
    "serve": Serve,
}


DESCRIPTION = """\
Paint a photograph in the style of a painting, at any size.

hires COMMAND --help shows what most people change, hires COMMAND --help-all every option.
"""
