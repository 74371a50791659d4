"""The inputs and outputs of the nodes, in ComfyUI's terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io

from hires.cli.options import Option, parts_of
from hires.comfyui.options import automatic, choices_of, kind_of, shown_default
from hires.config.checks import LARGEST
from hires.config.documented import documented
from hires.serve.form import MOST, MOST_NUMBER, in_words

MOST_STYLES = 4  # sockets
_MORE = range(2, MOST_STYLES + 1)
STYLES = ("style", *(f"style_{number}" for number in _MORE))
MASKS = ("mask", *(f"mask_{number}" for number in _MORE))
FILE, IMAGE_SIDE = "hires/painting", 4096
FORMATS = ("png", "tif", "jpg", "webp", "pdf")
_PRESET = " What is left as it is on this node has the preset's value."


def picture_inputs() -> list[Any]:
    """Photograph, styles and masks."""
    about = {
        "content": "The photograph: its scene is kept. Several are painted one after the other.",
        "style": "The painting: its strokes and colours are taken. A list or batch is several.",
        "mask": "Where to paint; the photograph stays elsewhere. Beside others: what style paints.",
    }
    needed = [io.Image.Input(name, tooltip=about.pop(name)) for name in ("content", "style")]
    more = "Another painting, blended with the others, or painted where its mask says."
    styles = [io.Image.Input(name, optional=True, tooltip=more) for name in STYLES[1:]]
    masks = [
        io.Mask.Input(name, optional=True, tooltip=about.get(name, f"What {style} paints."))
        for name, style in zip(MASKS, STYLES, strict=True)
    ]
    return [*needed, *styles, *masks]


def file_inputs() -> list[Any]:
    """Where a painting is saved, and how much of it is handed on."""
    about = {
        "file": (
            "How the file's name begins, in ComfyUI's output folder. It ends with eight digits that"
            " follow from pictures and options."
        ),
        "format": "Of the file. A pdf needs a paper or dpi.",
        "image_side": (
            "Longest side of the IMAGE in pixels. A larger painting is whole in its file, and made"
            " smaller here."
        ),
    }
    given = {name: {"optional": True, "tooltip": text} for name, text in about.items()}
    return [
        io.String.Input("file", default=FILE, **given["file"]),
        io.Combo.Input("format", options=[*FORMATS], default=FORMATS[0], **given["format"]),
        io.Int.Input(
            "image_side", default=IMAGE_SIDE, min=64, max=MOST["size"], **given["image_side"]
        ),
    ]


def plan_inputs() -> list[Any]:
    """How to plan."""
    text = "Measure a few tiles on this machine, for times; else memory by arithmetic only."
    return [io.Boolean.Input("probe", default=True, optional=True, tooltip=text)]


def option_inputs(options: Sequence[Option], command: type) -> list[Any]:
    """A widget for each option; left as it is, it gives nothing.

    Args:
        options: in the order of the node.
        command: the dataclass that they are options of.
    """
    texts = {group: documented(kind) for group, kind in parts_of(command).items()}
    return [_widget(option, in_words(texts[option.group][option.field.name])) for option in options]


def _widget(option: Option, text: str) -> Any:
    name, kind, data = option.field.name, kind_of(option), option.field.metadata
    text += _PRESET if name == "preset" else ""
    shown: dict[str, Any] = {"default": shown_default(option), "optional": True, "tooltip": text}
    if kind == "switch":
        return io.Boolean.Input(name, **shown)
    if kind == "choice":
        return io.Combo.Input(name, options=choices_of(option), **shown)
    if kind == "text":
        return io.String.Input(name, **shown)
    least, most = data.get("least", 0), min(data.get("most", LARGEST), MOST.get(name, MOST_NUMBER))
    if (chosen := automatic(option)) is not None:
        least, shown["tooltip"] = chosen, text.replace("auto:", f"{chosen}:")
    if kind == "integer":
        # Else the frontend draws another seed after every run.
        return io.Int.Input(
            name, min=int(least), max=int(most), control_after_generate=False, **shown
        )
    # Not rounded to steps: defaults are finer than what one turns by hand.
    return io.Float.Input(name, min=float(least), max=float(most), step=0.005, round=False, **shown)
