"""``hires inspect``: what a finished file is, and how it was painted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hires.cli.arguments import Apply, Inspect, Texture
from hires.cli.options import options_of, parts_of
from hires.config.job import PaintJob
from hires.config.run import Config
from hires.config.texture import texture_config
from hires.image.decode.headers import Header, read_header
from hires.image.metadata.provenance import Provenance, ProvenanceError, from_xmp


def run(command: Inspect) -> int:
    """Print the outside of a file, the pictures it was painted from, and the options."""
    header = read_header(Path(command.file))
    try:
        made, problem = from_xmp(header.xmp), None
    except ProvenanceError as error:
        made, problem = None, str(error)
    if command.json:
        provenance = made.as_json() if made else None
        print(json.dumps({"file": _facts(header), "provenance": provenance}, indent=2))
        return 0
    rows = [("file", f"{command.file}: {_described(header)}")]
    rows += [("note", note) for note in header.notes]
    rows += _story(made) if made else [("painted", f"unknown: {problem}")]
    for name, text in rows:
        print(f"{name:<9}{text}")
    return 0


def _facts(header: Header) -> dict[str, Any]:
    def sides(size: tuple[float, float] | None) -> list[float] | None:
        return None if size is None else [size[1], size[0]]

    return {
        "format": header.kind,
        "pixels": sides(header.size),
        "bit_depth": header.bit_depth,
        "float": header.is_float,
        "channels": header.num_channels,
        "alpha": header.has_alpha,
        "space": header.space,
        "pdfx": header.pdfx,
        "dpi": header.dpi,
        "profile": header.profile,
        "page_mm": sides(header.page),
        "trim_mm": sides(header.trim),
        "notes": list(header.notes),
    }


def _described(header: Header) -> str:
    height, width = header.size
    depth = f"{header.bit_depth} bit{' float' * header.is_float}"
    parts = [f"{header.kind}, {width}x{height} px, {depth}"]
    if header.pdfx is not None:
        parts[0] = parts[0].replace("PDF", header.pdfx, 1)
    if header.space is not None:
        parts.append(header.space)
    if header.has_alpha:
        parts.append("with alpha")
    if header.dpi is not None:
        parts.append(f"{header.dpi:g} dpi")
    if header.trim is not None and header.page is not None:
        parts.append("trimmed to {1:g}x{0:g} mm".format(*header.trim))
        parts.append("page {1:g}x{0:g} mm".format(*header.page))
    parts.append(header.profile or "no colour profile")
    return ", ".join(parts)


def _story(made: Provenance) -> Iterator[tuple[str, str]]:
    model = made.settings.get("model")
    seed = f"seed {made.seed}" if model is None else f"with the model {model}"
    stopped = f", as it stood at {made.stopped}" if made.stopped else ""
    yield "painted", f"by hires {made.version}, {seed}{stopped}"
    for one in made.inputs:
        yield one.role, f"{one.path} (SHA-256 {one.sha256[:16]}...)"
    options = [*_options(made.settings)]
    yield "options", " ".join(options) if options else "all as they are by default"


def _options(settings: Mapping[str, Any]) -> Iterator[str]:
    """Options that differ from their defaults, as they would be typed."""
    is_texture = "content" in settings and settings["content"] is None
    command = Apply if "model" in settings else Texture if is_texture else PaintJob
    defaults: dict[str, Any] = {name: kind() for name, kind in parts_of(command).items() if name}
    if is_texture:
        defaults["config"] = texture_config(Config(), tileable=settings["tileable"])
    for option in sorted(options_of(command), key=lambda option: not option.group):
        group, name = option.key
        if not group and name not in ("aspect", "tileable", "bit_depth", "dpi"):
            continue
        default = getattr(defaults[group], name) if group else option.field.default
        value = (settings[group] if group else settings).get(name, default)
        value = tuple(value) if isinstance(value, list) else value
        if value != default:
            yield option.usage if option.is_switch else f"{option.flags[-1]} {option.text(value)}"
