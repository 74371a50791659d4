"""Errors that several rooms raise; the message of each is a line that says what to do. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from hires.image.rows import Rows


class ConfigError(ValueError):
    """A setting that the user can mend; the message names it and what is allowed.

    Fields stand in backticks, alone or with a value, as `size` or `size=64`: the command line tells
    them as the flags that are typed (`hires.cli.exits.tell`).
    """


class ImageError(ValueError):
    """A problem with a picture file that the user can mend; one line: file, problem, remedy."""


class SaveError(ImageError, OSError):
    """The system refused to write a file; whatever stood at the target is untouched."""


class ProcessLostError(RuntimeError):
    """Another process is gone, and with it a part of the canvas; the message names it."""


class StylizeError(RuntimeError):
    """The optimisation broke down.

    Attributes:
        shown: the last good picture, or its rows, where several processes have them.
    """

    def __init__(self, message: str, picture: Tensor | Rows) -> None:
        super().__init__(message)
        self.shown = picture

    @property
    def picture(self) -> Tensor:
        """The last good picture (1, 3, H, W) in [0, 1], at the size of the rung that failed."""
        return self.shown.whole() if hasattr(self.shown, "whole") else self.shown
