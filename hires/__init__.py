"""Multi-scale, high-resolution stylization: paint a photograph in the style of a painting."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from hires.config.run import Config
from hires.version import __version__

if TYPE_CHECKING:
    from hires.config.guides import Guides, Mask
    from hires.config.job import PaintJob as Job
    from hires.config.output import Delivery
    from hires.config.paper import Layout, Print
    from hires.config.variations import variations
    from hires.engine.progress import Progress
    from hires.engine.stylize import iter_stylize, stylize
    from hires.errors import StylizeError
    from hires.image.decode.attribution import read_authorship
    from hires.image.decode.read import Picture, load_image, read_picture
    from hires.image.decode.stored import picture_size
    from hires.image.encode.save import save_image
    from hires.image.guides import read_guides
    from hires.image.metadata.authorship import Authorship
    from hires.runs.paint import Painted, iter_paint, paint

__all__ = [
    "Authorship",
    "Config",
    "Delivery",
    "Guides",
    "Job",
    "Layout",
    "Mask",
    "Painted",
    "Picture",
    "Print",
    "Progress",
    "StylizeError",
    "__version__",
    "iter_paint",
    "iter_stylize",
    "load_image",
    "paint",
    "picture_size",
    "read_authorship",
    "read_guides",
    "read_picture",
    "save_image",
    "stylize",
    "variations",
]

# Loaded when first asked for: `hires --help` must not wait for torch.
_HOMES = {
    "Authorship": "image.metadata.authorship",
    "Delivery": "config.output",
    "Guides": "config.guides",
    "Job": "config.job",
    "Layout": "config.paper",
    "Mask": "config.guides",
    "Painted": "runs.paint",
    "Picture": "image.decode.read",
    "Print": "config.paper",
    "Progress": "engine.progress",
    "StylizeError": "errors",
    "iter_paint": "runs.paint",
    "iter_stylize": "engine.stylize",
    "load_image": "image.decode.read",
    "paint": "runs.paint",
    "picture_size": "image.decode.stored",
    "read_authorship": "image.decode.attribution",
    "read_guides": "image.guides",
    "read_picture": "image.decode.read",
    "save_image": "image.encode.save",
    "stylize": "engine.stylize",
    "variations": "config.variations",
}


def __getattr__(name: str) -> object:
    if name == "losses":
        return importlib.import_module("hires.losses")
    if name not in _HOMES:
        raise AttributeError(f"module 'hires' has no attribute '{name}'")
    home = importlib.import_module(f"hires.{_HOMES[name]}")
    return getattr(home, "PaintJob" if name == "Job" else name)
