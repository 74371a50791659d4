"""``hires export``: a trained model as ONNX."""

from __future__ import annotations

from pathlib import Path

from hires.cli.arguments.networks import Export
from hires.feedforward.export import ENDING, export, grain_to_add
from hires.feedforward.model import check_model_output, load_model


def run(job: Export) -> int:
    """Write the graph."""
    path = Path(job.output)
    check_model_output(path, ENDING)
    model = load_model(job.model)
    export(model, path)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
    note = grain_to_add(model)
    if note is not None:
        print(note)
    return 0
