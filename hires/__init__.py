"""Multi-scale, high-resolution stylization: paint a photograph in the style of a painting."""

from hires.config import Config
from hires.engine import Progress, StylizeError, iter_stylize, stylize
from hires.images import load_image, save_image
from hires.version import __version__

__all__ = [
    "Config",
    "Progress",
    "StylizeError",
    "__version__",
    "iter_stylize",
    "load_image",
    "save_image",
    "stylize",
]
