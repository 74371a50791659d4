"""``hires inspect``: what a finished file is, and how it was painted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hires.cli.arguments.looking import Inspect
from hires.cli.typed import options_typed
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
    how = f"seed {made.seed}" if model is None else f"with the model {model}"
    if "variations" in made.settings:
        how += "; a contact sheet of the beginnings of what these commands paint"
    if "morph" in made.settings:
        how += f"; {made.settings['morph']} pictures, from style to style"
    if made.stopped:
        how += f", as it stood at {made.stopped}"
    yield "painted", f"by hires {made.version}, {how}"
    for one in made.inputs:
        yield one.role, f"{one.path} (SHA-256 {one.sha256[:16]}...)"
    yield "options", options_typed(made.settings) or "all as they are by default"
    for number, command in enumerate(made.settings.get("variations", ()), start=1):
        yield f"{number}", command
