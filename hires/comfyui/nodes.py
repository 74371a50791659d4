"""The nodes for ComfyUI: what they do is hires'; here pictures and options are handed over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from comfy_api.latest import ComfyExtension, io, ui
from torch import Tensor

from hires.cli.arguments.painting import Plan
from hires.cli.commands.plan import told
from hires.comfyui import host
from hires.comfyui.options import applying_options, painting_options, read_given
from hires.comfyui.pictures import keep, masks_of, pictures_of, separated, to_image
from hires.comfyui.schema import (
    FILE,
    FORMATS,
    IMAGE_SIDE,
    MASKS,
    STYLES,
    file_inputs,
    option_inputs,
    picture_inputs,
    plan_inputs,
)
from hires.config.feedforward import ApplyConfig
from hires.config.guides import Guides
from hires.config.job import Job, PaintJob
from hires.config.output import Delivery
from hires.config.paper import Print
from hires.config.run import Config
from hires.config.settings import settings_of
from hires.feedforward.apply import Inference
from hires.feedforward.model import load_model
from hires.image.transparency import mask_of
from hires.runs.paint import iter_paint

_CATEGORY = "hires"
_SHOWN = (".png", ".jpg", ".webp")  # what browsers show

Kind = TypeVar("Kind", bound=Job)


def jobs(
    kind: type[Kind], given: Mapping[str, Sequence[Any]], folder: Path, **more: Any
) -> list[Kind]:
    """A job for each content picture.

    Args:
        kind: of the jobs.
        given: inputs of a node, each a list.
        folder: where the pictures are kept as files.
        **more: fields of the job.

    Raises:
        ConfigError: for options that cannot be read, or contradict each other.
    """
    options = {name: values[0] for name, values in given.items() if values}
    found = read_given(painting_options(), options)
    common: dict[str, Any] = {
        "config": Config(**found["config"], device=host.device()),
        "print": Print(**found["print"]),
        "delivery": Delivery(**found["delivery"]),
        **found[""],
        **more,
    }
    styles = [keep(one, folder) for name in STYLES for one in pictures_of(given.get(name, ()))]
    masks = [keep(one, folder) for name in MASKS for one in masks_of(given.get(name, ()))]
    if len(masks) == 1:
        masks[0] += ":" + "+".join(str(number) for number in range(1, len(styles) + 1))
    common |= {"styles": tuple(styles), "guides": Guides(mask=tuple(masks))}
    return [kind(content=keep(one, folder), **common) for one in pictures_of(given["content"])]


def _named(job: PaintJob, folder: Path, name: str) -> PaintJob:
    """The job with an output whose name follows from what is painted: the same goes on there."""
    digest = hashlib.sha256(json.dumps(settings_of(job), sort_keys=True).encode()).hexdigest()
    return replace(job, output=str(folder / f"{name}-{digest[:8]}{Path(job.output).suffix}"))


class HiresStylize(io.ComfyNode):  # type: ignore[misc]  # ComfyUI has no types where it is absent.
    """Paint, and save the painting in ComfyUI's output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What ComfyUI shows."""
        return io.Schema(
            node_id="HiresStylize",
            display_name="Stylize (hires)",
            category=_CATEGORY,
            description=(
                "Paints a photograph in the style of one or more paintings, at any size, and saves"
                " it. An interrupted painting is gone on with when the same is queued again."
            ),
            inputs=[
                *picture_inputs(),
                *option_inputs(painting_options(), PaintJob),
                *file_inputs(),
            ],
            outputs=[
                io.Image.Output("painting", display_name="painting", is_output_list=True),
                io.String.Output("path", display_name="path", is_output_list=True),
            ],
            is_input_list=True,
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        file: Sequence[str] = (FILE,),
        format: Sequence[str] = (FORMATS[0],),  # noqa: A002  # as the input is called
        image_side: Sequence[int] = (IMAGE_SIDE,),
        **given: Sequence[Any],
    ) -> io.NodeOutput:
        """Paint every content picture; see `schema` for the inputs."""
        folder, inner, name = host.output_folder(file[0])
        unnamed = f"{name}.{format[0]}"
        images: list[Tensor] = []
        paths: list[str] = []
        shown: list[Any] = []
        files: list[Any] = []
        with host.gradients():
            todo = jobs(PaintJob, given, folder / "inputs", output=unnamed)
            watch = host.Watch(cls.hidden.unique_id, len(todo))
            for job in todo:
                job = _named(job, folder, name)
                image = painted(job, watch, image_side[0])
                watch.done += 1
                path = Path(job.output)
                saved = ui.SavedResult(path.name, inner, io.FolderType.output)
                is_shown = path.suffix in _SHOWN and max(image.shape[1:3]) < image_side[0]
                preview = None if is_shown else ui.PreviewImage(image, cls=cls).as_dict()
                shown += [saved] if preview is None else preview["images"]
                images.append(image)
                paths.append(str(path))
                files.append(saved)
        return io.NodeOutput(images, paths, ui={"images": shown, "files": files})


def painted(job: PaintJob, watch: host.Watch, side: int) -> Tensor:
    """Paint a job; returns the painting as IMAGE, its long side at most so many pixels.

    If the user interrupts, a checkpoint is kept: the same job goes on from there.
    """
    with closing(iter_paint(job)) as steps:
        for progress in steps:
            watch(progress.fraction, progress.thumbnail)
    return to_image(progress.thumbnail(side))


class HiresApply(io.ComfyNode):  # type: ignore[misc]
    """Paint in one pass of a trained network."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What ComfyUI shows."""
        return io.Schema(
            node_id="HiresApply",
            display_name="Apply model (hires)",
            category=_CATEGORY,
            description="Paints, or enlarges, with a trained network: seconds in place of minutes.",
            inputs=[
                io.Image.Input("content", tooltip="Photographs of any size."),
                io.Combo.Input(
                    "model",
                    options=host.model_names(),
                    tooltip="Those that come with hires, and files in the folder models/hires.",
                ),
                *option_inputs(applying_options(), ApplyConfig),
            ],
            outputs=[io.Image.Output("painting", display_name="painting")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, content: Tensor, model: str, **given: Any) -> io.NodeOutput:
        """Apply a model to a batch."""
        options = read_given(applying_options(), given)[""]
        config = ApplyConfig(**options, device=host.device())
        inference = Inference(load_model(host.model_path(model)), config)
        watch, images = host.Watch(cls.hidden.unique_id, len(content)), []
        for picture in pictures_of([content]):
            colours, alpha = separated(picture)
            images.append(to_image(inference.apply(colours, watch, mask=mask_of(alpha))))
            watch.done += 1
        return io.NodeOutput(torch.cat(images))


class HiresPlan(io.ComfyNode):  # type: ignore[misc]
    """Tell what a painting would take."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What ComfyUI shows."""
        return io.Schema(
            node_id="HiresPlan",
            display_name="Plan (hires)",
            category=_CATEGORY,
            description="Tells what Stylize would take with the same inputs: sizes, memory, time.",
            inputs=[
                *picture_inputs(),
                *option_inputs(painting_options(), PaintJob),
                *plan_inputs(),
            ],
            outputs=[io.String.Output("plan", display_name="plan")],
            is_input_list=True,
            is_output_node=True,
        )

    @classmethod
    def execute(cls, probe: Sequence[bool] = (True,), **given: Sequence[Any]) -> io.NodeOutput:
        """Plan the first content picture."""
        with host.gradients():
            job, *_ = jobs(Plan, given, host.scratch_folder(), no_probe=not probe[0])
            text = told(job)
        return io.NodeOutput(text, ui=ui.PreviewText(text))


class HiresExtension(ComfyExtension):  # type: ignore[misc]
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes."""
        return [HiresStylize, HiresApply, HiresPlan]


async def comfy_entrypoint() -> HiresExtension:
    """Called by ComfyUI."""
    host.add_model_folder()
    return HiresExtension()
