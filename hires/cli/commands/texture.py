"""``hires texture``: paint without a content; all else is as ``hires stylize`` does it."""

from hires.cli.commands.stylize import run

__all__ = ["run"]
