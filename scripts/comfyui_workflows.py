"""Workflows that use the nodes for ComfyUI, in the form in which its HTTP API takes them."""

from __future__ import annotations

from typing import Any

Prompt = dict[str, dict[str, Any]]

CONTENT, STYLE, OTHER_STYLE = SAMPLES = ("harbour.jpg", "woodcut.jpg", "impasto.jpg")
_SIZE = {"width": 2048, "height": 1536}  # of the content


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node, its inputs being values or (node, output)."""
    told = {
        name: list(value) if isinstance(value, tuple) else value for name, value in inputs.items()
    }
    return {"class_type": kind, "inputs": told}


def load(**pictures: str) -> Prompt:
    """Pictures from ComfyUI's folder of inputs."""
    return {name: node("LoadImage", image=file) for name, file in pictures.items()}


def stylize(content: str = CONTENT, style: str = STYLE, **options: Any) -> Prompt:
    """A photograph in the style of a painting."""
    return {
        **load(content=content, style=style),
        "stylize": node("HiresStylize", content=("content", 0), style=("style", 0), **options),
    }


def viewed(prompt: Prompt) -> Prompt:
    """A workflow that also shows its painting."""
    return {**prompt, "view": node("PreviewImage", images=("stylize", 0))}


def apply(content: str = CONTENT, model: str = "impasto") -> Prompt:
    """A photograph painted by a trained network."""
    return {
        **load(content=content),
        "apply": node("HiresApply", content=("content", 0), model=model),
        "save": node("SaveImage", images=("apply", 0), filename_prefix="hires/applied"),
    }


def poster(**options: Any) -> Prompt:
    """What a print will take, beside the print."""
    paint = stylize(**options)
    plan = node("HiresPlan", **paint["stylize"]["inputs"])
    paint["stylize"]["inputs"] |= {"format": "tif", "deliver": "lab"}
    text = node("PreviewAny", source=("plan", 0))
    return {**paint, "plan": plan, "text": text}


def two_styles() -> Prompt:
    """The left half in one style, the right half in another."""
    half = {"width": _SIZE["width"] // 2, "height": _SIZE["height"]}
    return {
        **load(content=CONTENT, left_style=STYLE, right_style=OTHER_STYLE),
        "black": node("SolidMask", value=0.0, **_SIZE),
        "white": node("SolidMask", value=1.0, **half),
        "left": node(
            "MaskComposite",
            destination=("black", 0),
            source=("white", 0),
            x=0,
            y=0,
            operation="add",
        ),
        "right": node("InvertMask", mask=("left", 0)),
        "stylize": node(
            "HiresStylize",
            content=("content", 0),
            style=("left_style", 0),
            style_2=("right_style", 0),
            mask=("left", 0),
            mask_2=("right", 0),
        ),
    }


# By the names of their files in hires/comfyui/example_workflows.
EXAMPLES: dict[str, Prompt] = {
    "stylize": viewed(stylize()),
    "poster": poster(paper="A2", dpi=150.0, bleed="3mm", brush_size="6mm"),
    "two_styles": viewed(two_styles()),
    "apply": apply(),
}
