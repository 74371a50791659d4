"""Errors that several rooms raise; the message of each is a line that says what to do. No torch."""

from __future__ import annotations


class ConfigError(ValueError):
    """A setting that the user can mend; the message names it and what is allowed.

    Fields stand in backticks, alone or with a value, as `size` or `size=64`: the command line tells
    them as the flags that are typed (`hires.cli.exits.tell`).
    """


class ImageError(ValueError):
    """A problem with a picture file that the user can mend; one line: file, problem, remedy."""


class SaveError(ImageError, OSError):
    """The system refused to write a file; whatever stood at the target is untouched."""
