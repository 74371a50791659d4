"""Commands that the page starts, as the words after ``hires``: the command line knows them."""

from __future__ import annotations

from typing import Protocol

from hires.config.job import PaintJob


class Words(Protocol):
    """What is typed for what the page asks for. Paths are those of the folder it works in."""

    def stylize(self, job: PaintJob) -> list[str]:
        """Paint."""

    def plan(self, job: PaintJob) -> list[str]:
        """Tell what a painting takes, as JSON."""

    def variations(self, job: PaintJob, *, side: int, pictures: str) -> list[str]:
        """Paint a sheet of variations of a side, and each into a folder of pictures."""

    def close_up(self, job: PaintJob) -> list[str]:
        """Paint up to about a megapixel, and a part of what comes after it."""

    def resume(self, run_dir: str) -> list[str]:
        """Go on with a run."""

    def apply(self, model: str, content: str, output: str) -> list[str]:
        """Paint in one pass."""

    def quiet(self, words: list[str]) -> list[str]:
        """The same without a display."""

    def deliver(self, painting: str, output: str, purpose: str) -> list[str]:
        """Save a finished painting for another purpose."""
