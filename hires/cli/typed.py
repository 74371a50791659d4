"""Commands as they would be typed, from what they do. No torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from hires.cli.arguments.networks import Apply
from hires.cli.arguments.painting import Texture
from hires.cli.options import options_of, parts_of
from hires.config.job import PaintJob
from hires.config.presets import PRESETS
from hires.config.run import Config
from hires.config.settings import settings_of
from hires.config.texture import texture_config

# Of a command's own fields those that say what the picture looks like.
_OF_PICTURE = ("aspect", "tileable", "bit_depth", "dpi", "finish")


def options_typed(settings: Mapping[str, Any]) -> str:
    """Options that differ from their defaults, of a picture's recorded settings."""
    return shlex.join(word for words in _options(settings) for word in words)


def command_typed(job: PaintJob) -> str:
    """The command that paints a photograph, with the options that differ from their defaults."""
    return shlex.join(["hires", "stylize", *words_typed(job)])


def words_typed(job: PaintJob) -> list[str]:
    """The words after ``hires stylize`` that paint a photograph."""
    assert job.content is not None
    options = [word for words in _options(settings_of(job)) for word in words]
    return [job.content, *job.styles, "-o", job.output, *options]


def _options(settings: Mapping[str, Any]) -> Iterator[list[str]]:
    is_texture = "content" in settings and settings["content"] is None
    command = Apply if "model" in settings else Texture if is_texture else PaintJob
    defaults: dict[str, Any] = {name: kind() for name, kind in parts_of(command).items() if name}
    if command is not Apply:
        preset = settings["config"].get("preset")
        defaults["config"] = Config(preset=preset) if preset in PRESETS else Config()
    if is_texture:
        defaults["config"] = texture_config(defaults["config"], tileable=settings["tileable"])
    for option in sorted(options_of(command), key=lambda option: not option.group):
        group, name = option.key
        if not group and name not in _OF_PICTURE:
            continue
        default = getattr(defaults[group], name) if group else option.field.default
        if name == "preset":
            default = Config().preset
        value = (settings[group] if group else settings).get(name, default)
        # Style losses were one word before they were several.
        value = [value] if option.is_many and isinstance(value, str) else value
        value = tuple(value) if isinstance(value, list) else value
        if value != default:
            yield option.words(value)


class TypedWords:
    """What the page in the browser starts; a `hires.serve.words.Words`."""

    def stylize(self, job: PaintJob) -> list[str]:
        """Paint."""
        return ["stylize", *words_typed(job)]

    def plan(self, job: PaintJob) -> list[str]:
        """Tell what a painting takes, as JSON."""
        return ["plan", *words_typed(job), "--json"]

    def variations(self, job: PaintJob, *, side: int, pictures: str) -> list[str]:
        """Paint a sheet of variations of a side, and each into a folder of pictures."""
        sheet = ["--side", str(side), "--pictures", pictures]
        return ["variations", *words_typed(job), *sheet, "--quiet"]

    def close_up(self, job: PaintJob) -> list[str]:
        """Paint up to about a megapixel, and a part of what comes after it."""
        return ["stylize", *words_typed(job), "--preview", "--quiet"]

    def resume(self, run_dir: str) -> list[str]:
        """Go on with a run."""
        return ["resume", f"./{run_dir}"]

    def apply(self, model: str, content: str, output: str) -> list[str]:
        """Paint in one pass."""
        return ["apply", model, content, "-o", output]

    def quiet(self, words: list[str]) -> list[str]:
        """The same without a display."""
        return [*words, "--quiet"]

    def deliver(self, painting: str, output: str, purpose: str) -> list[str]:
        """Save a finished painting for another purpose."""
        return ["deliver", painting, "-o", output, "--deliver", purpose, "--quiet"]
