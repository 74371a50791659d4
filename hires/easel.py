"""A run from its files to its file: pictures in, steps, and a picture saved whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from hires import ladder
from hires.arguments import Plan
from hires.engine import Progress, iter_stylize
from hires.finish import Finish
from hires.images import check_output, read_picture, resize, save_image
from hires.memory import return_freed_memory


class Easel:
    """The pictures of a run and its last step.

    Args:
        job: what was typed.

    Attributes:
        config: how to paint; with a finish, before it.
        rungs: the ladder.
        size: ``(height, width)`` of the finished picture.
        warnings: what the user should know before the run.
        content_size: ``(height, width)`` of the content picture.
        num_input_pixels: pixels of all pictures read.
        last: the last step done, None before the first.

    Raises:
        ValueError: for an output, pictures or settings that cannot be painted.
    """

    def __init__(self, job: Plan) -> None:
        self.job = job
        self.last: Progress | None = None
        self._check_output()
        self._content = read_picture(job.content)
        self._styles = [read_picture(style).pixels for style in job.styles]
        size, *style_sizes = (
            (pixels.shape[2], pixels.shape[3]) for pixels in (self._content.pixels, *self._styles)
        )
        job.config.style_shares(len(style_sizes))
        self._finish = None if job.finish is None else Finish(job.finish, job.config, size)
        self.config = job.config if self._finish is None else self._finish.config
        self.rungs = ladder.plan(self.config, size, style_sizes)
        self.size = self.rungs[-1].size if self._finish is None else self._finish.size
        self.warnings = ladder.warnings(self.config, self.rungs, style_sizes)
        self.content_size = size
        self.num_input_pixels = sum(height * width for height, width in [size, *style_sizes])
        self._check_output(self.size)

    def _check_output(self, size: tuple[int, int] | None = None) -> None:
        if self.job.output is not None:
            check_output(
                self.job.output, bit_depth=self.job.bit_depth, inputs=self.inputs, size=size
            )

    @property
    def inputs(self) -> list[str]:
        """Files that nothing may be saved over."""
        config = self.job.config
        named = (config.init, config.features, self.job.finish or "")
        extra = [name for name in named if Path(name).is_file()]
        return [self.job.content, *self.job.styles, *extra]

    def steps(self) -> Iterator[Progress]:
        """Paint, remembering the last step."""
        for progress in iter_stylize(self._content.pixels, self._styles, self.config):
            self.last = progress
            yield progress

    def save(self, path: str | Path, picture: Tensor | None = None) -> None:
        """Save a picture, by default the one so far, with the content's alpha channel.

        Raises:
            ImageError: if it cannot be saved; whatever stood at the path is untouched then.
        """
        check_output(path, bit_depth=self.job.bit_depth, inputs=self.inputs)
        return_freed_memory()  # The feature maps' memory is the encoder's now.
        if picture is None:
            assert self.last is not None, "nothing is painted yet"
            picture = self.last.picture()
            # A painting that was interrupted is saved at the size that it has.
            if self._finish is not None and self.last.is_last:
                picture = self._finish(picture)
        alpha = self._content.alpha
        if alpha is not None:
            alpha = resize(alpha, (picture.shape[2], picture.shape[3]), clamp=True)
        save_image(picture, path, bit_depth=self.job.bit_depth, alpha=alpha)

    def where(self) -> str:
        """``rung 2/4 (512x341), step 17/165``."""
        assert self.last is not None, "nothing is painted yet"
        rung, (height, width) = self.last.rung, self.last.rung.size
        return (
            f"rung {rung.index + 1}/{self.last.num_rungs} ({width}x{height}),"
            f" step {self.last.iteration}/{rung.num_iterations}"
        )


def partial_path(path: str | Path) -> Path:
    """``out-partial.png`` for ``out.png``: where an unfinished picture goes."""
    path = Path(path)
    return path.with_name(f"{path.stem}-partial{path.suffix}")
